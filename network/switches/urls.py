"""Addresses of the pages of switches, below network/."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("", views.switches, name="list"),
    path("", views.switches, name="switches"),
    path("switches/new/", views.new, name="switch_new"),
    path("switches/ensure/", views.ensure, name="switches_ensure"),
    path("switches/<str:switch>/", views.detail, name="detail"),
    path("switches/<str:switch>/host/", views.host_address, name="switch_host"),
    path("switches/<str:switch>/edit/", views.edit, name="switch_edit"),
    path("switches/<str:switch>/delete/", views.delete, name="switch_delete"),
]
