"""Addresses of the pages that bring VMs in. They begin with an underscore, which no name of a VM has."""

from __future__ import annotations

from django.urls import path

from . import views_import as views

urlpatterns = [
    path("_import/", views.describe, name="import"),
    path("_import/found/", views.found, name="import_found"),
    path("_import/found/<int:task>/<str:name>/", views.adopt, name="import_adopt"),
    path("_import/files/", views.files, name="import_files"),
    path("_import/files/<str:file>/", views.file, name="import_file"),
    path("_import/files/<str:file>/remove/", views.file_remove, name="import_file_remove"),
    path("_import/back/<slug:vm>/", views.give_back, name="import_back"),
]
