"""The addresses of policies."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("policies/", views.index, name="policies"),
    path("policies/new/", views.create, name="policy_new"),
    path("policies/times/", views.times, name="policy_times"),
    path("policies/<int:policy>/", views.detail, name="policy"),
    path("policies/<int:policy>/edit/", views.edit, name="policy_edit"),
    path("policies/<int:policy>/change/", views.change, name="policy_change"),
    path("policies/<int:policy>/run/", views.run, name="policy_run"),
]
