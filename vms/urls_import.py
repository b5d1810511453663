"""Addresses of the pages that bring VMs in. They begin with an underscore, which no name of a VM has."""

from __future__ import annotations

from django.urls import path

from . import views_import as views

urlpatterns = [
    path("_import/", views.describe, name="import"),
]
