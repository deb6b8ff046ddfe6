"""What the station measures, and what people say about it."""

from django.conf import settings
from django.db import models


class Reading(models.Model):
    """A temperature. The data logger makes the id, so that one sent twice is known again."""

    id = models.UUIDField(primary_key=True)
    taken_at = models.DateTimeField(db_index=True)
    fahrenheit = models.FloatField()
    # How often the logger has sent it: more than once if it didn't hear that it had been stored.
    received = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["-taken_at"]


class Note(models.Model):
    """A line that someone wrote under the readings."""

    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    text = models.CharField(max_length=200)
    written_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-written_at"]
