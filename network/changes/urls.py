"""Addresses of what waits for a confirmation."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("changes/", views.banner, name="changes"),
    path("changes/<int:change>/", views.decide, name="change"),
]
