"""Addresses of the pages of a VM's life, below vms/. Names of VMs have no underscore."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("_autostart/", views.autostart, name="autostart"),
    path("_autostart/do/", views.autostart_do, name="autostart_do"),
    path("_schedules/", views.schedules_by_tag, name="schedules_by_tag"),
    path("_orphans/<int:pk>/", views.orphan, name="orphan"),
    path("_orphans/<int:pk>/give/", views.orphan_give, name="orphan_give"),
    path("<slug:vm>/rename/", views.rename, name="rename"),
    path("<slug:vm>/clone/", views.clone, name="clone"),
    path("<slug:vm>/start/", views.start, name="start"),
    path("<slug:vm>/schedules/", views.schedules, name="schedules"),
    path("<slug:vm>/schedules/add/", views.schedule, name="schedule"),
    path("<slug:vm>/life/", views.life, name="life"),
    path("<slug:vm>/delete/", views.delete, name="delete"),
    path("<slug:vm>/disks/<int:pk>/", views.disk, name="disk"),
    path("<slug:vm>/disks/<int:pk>/change/", views.disk_change, name="disk_change"),
]
