"""Addresses of the pages of meshes, below network/. No mesh has an underscore in its name."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("wireguard/", views.index, name="wireguard"),
    path("wireguard/_new/", views.new, name="mesh_new"),
    path("wireguard/_peers/<int:peer>/", views.peer_edit, name="peer_edit"),
    path("wireguard/_peers/<int:peer>/remove/", views.peer_remove, name="peer_remove"),
    path("wireguard/_peers/<int:peer>/file/", views.peer_file, name="peer_file"),
    path("wireguard/<str:mesh>/", views.detail, name="mesh"),
    path("wireguard/<str:mesh>/edit/", views.edit, name="mesh_edit"),
    path("wireguard/<str:mesh>/apply/", views.apply, name="mesh_apply"),
    path("wireguard/<str:mesh>/delete/", views.delete, name="mesh_delete"),
    path("wireguard/<str:mesh>/peers/", views.peer_new, name="peer_new"),
]
