"""Addresses of the pages of switches, below network/."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("", views.switches, name="list"),
    path("", views.switches, name="switches"),
    path("switches/<str:switch>/", views.detail, name="detail"),
]
