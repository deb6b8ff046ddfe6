"""Which view answers which path."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from readings import views

urlpatterns = [
    path("", views.home, name="home"),
    path("notes/", views.add_note, name="add-note"),
    path("login/", LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("api/readings/", views.receive_reading, name="receive-reading"),
    path("up", views.up, name="up"),
]
