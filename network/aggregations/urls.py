"""Addresses of the pages of aggregations, below network/."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("aggregations/", views.index, name="aggregations"),
    path("aggregations/new/", views.new, name="aggregation_new"),
    path("aggregations/<str:aggregation>/", views.edit, name="aggregation_edit"),
    path("aggregations/<str:aggregation>/delete/", views.delete, name="aggregation_delete"),
]
