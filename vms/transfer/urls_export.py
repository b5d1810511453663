"""Addresses of what goes out of a VM, below vms/."""

from __future__ import annotations

from django.urls import path

from . import views_export as views

urlpatterns = [
    path("<slug:vm>/export/", views.export, name="export"),
    path("<slug:vm>/export/<str:file>/", views.export_file, name="export_file"),
    path("<slug:vm>/export/<str:file>/remove/", views.export_remove, name="export_remove"),
    path("<slug:vm>/promote/", views.promote, name="promote"),
    path("<slug:vm>/recording/", views.recording, name="recording"),
]
