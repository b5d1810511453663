"""Addresses of the pages of the tasks, below tasks/."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "tasks"
urlpatterns = [
    path("", views.list_, name="list"),
    path("drawer/", views.drawer, name="drawer"),
    path("badge/", views.badge, name="badge"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/log/", views.log, name="log"),
    path("<int:pk>/cancel/", views.cancel, name="cancel"),
    path("<int:pk>/retry/", views.retry, name="retry"),
]
