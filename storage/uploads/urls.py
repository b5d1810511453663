"""The addresses that browsers send files to."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("uploads/", views.uploads, name="uploads"),
    path("uploads/<uuid:upload>", views.upload, name="upload"),
]
