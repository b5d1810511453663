"""Addresses of the pages of port forwards."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("firewall/forwards/new/", views.create, name="forward_new"),
    path("firewall/forwards/<int:forward>/", views.edit, name="forward_edit"),
    path("firewall/forwards/<int:forward>/change/", views.change, name="forward_change"),
]
