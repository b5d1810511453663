"""Addresses of the pages of aliases."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("aliases/", views.index, name="aliases"),
    path("aliases/new/", views.create, name="alias_new"),
    path("aliases/<int:alias>/", views.edit, name="alias"),
    path("aliases/<int:alias>/delete/", views.delete, name="alias_delete"),
]
