"""Addresses of the pages of the tasks, below tasks/."""

from __future__ import annotations

from django.urls import path

from . import views, views_schedules

app_name = "tasks"
urlpatterns = [
    path("", views.list_, name="list"),
    path("drawer/", views.drawer, name="drawer"),
    path("badge/", views.badge, name="badge"),
    path("schedules/", views_schedules.list_, name="schedules"),
    path("schedules/<int:pk>/", views_schedules.change, name="schedule_change"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/log/", views.log, name="log"),
    path("<int:pk>/cancel/", views.cancel, name="cancel"),
    path("<int:pk>/retry/", views.retry, name="retry"),
]
