"""The pages, and the API of the data logger."""

import json
import uuid
from datetime import datetime

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db.models import F
from django.http import HttpResponseBadRequest, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import select_template
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from station import RELEASE

from .forms import NoteForm
from .models import Note, Reading


def home(request):
    """The newest readings and notes."""
    # The content version that belongs to the release the router meant this request for: texts can come with
    # the release that needs them, and both are there while two releases serve.
    meant_for = request.headers.get("X-Cutover-Release", RELEASE)
    welcome = select_template([f"readings/releases/{meant_for}.html", "readings/releases/any.html"])
    return render(
        request,
        "readings/home.html",
        {
            "welcome": welcome,
            "readings": Reading.objects.all()[:10],
            "notes": Note.objects.select_related("author")[:10],
            "form": NoteForm(),
            "release": RELEASE,
        },
    )


@login_required
@require_POST
def add_note(request):
    form = NoteForm(request.POST)
    if form.is_valid():
        note = form.save(commit=False)
        note.author = request.user
        note.save()
    return redirect("home")


@csrf_exempt
@require_POST
def receive_reading(request):
    """Stores a reading: 201 if it is new, 200 if it had been stored already."""
    if request.headers.get("Authorization") != f"Bearer {settings.LOGGER_KEY}":
        return JsonResponse({"error": "unknown data logger"}, status=401)
    try:
        sent = json.loads(request.body)
        number = uuid.UUID(sent["id"])
        values = {"taken_at": datetime.fromisoformat(sent["taken_at"]), "fahrenheit": float(sent["fahrenheit"])}
    except (ValueError, KeyError, TypeError) as error:
        return HttpResponseBadRequest(f"not a reading: {error}")
    _, is_new = Reading.objects.get_or_create(id=number, defaults=values)
    if not is_new:
        Reading.objects.filter(id=number).update(received=F("received") + 1)
    return JsonResponse({"id": str(number), "new": is_new}, status=201 if is_new else 200)


def up(request):
    """For the router's health checks: this copy serves, and this is its release."""
    return JsonResponse({"release": RELEASE})
