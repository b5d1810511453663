from __future__ import annotations

from django.urls import path

from . import views

app_name = "hosts"
urlpatterns = [
    path("", views.hosts, name="list"),
    path("<str:host>/", views.detail, name="detail"),
]
