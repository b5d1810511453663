"""Addresses of the library: install media, images, the catalogue, and uploads."""

from __future__ import annotations

from django.urls import path

from . import views_uploads

urlpatterns = [
    path("uploads/", views_uploads.uploads, name="uploads"),
    path("uploads/<uuid:upload>", views_uploads.upload, name="upload"),
]
