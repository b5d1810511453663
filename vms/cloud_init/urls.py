"""The cloud-init tab of VMs, and the library of snippets."""

from __future__ import annotations

from django.urls import path

from . import views, views_snippets

urlpatterns = [
    path("_snippets/", views_snippets.index, name="snippets"),
    path("_snippets/new/", views_snippets.add, name="snippet_add"),
    path("_snippets/<int:snippet>/", views_snippets.show, name="snippet"),
    path("_snippets/<int:snippet>/edit/", views_snippets.edit, name="snippet_edit"),
    path("_snippets/<int:snippet>/delete/", views_snippets.delete, name="snippet_delete"),
    path("<slug:vm>/cloud-init/", views.overview, name="cloud_init"),
    path("<slug:vm>/cloud-init/edit/", views.edit, name="cloud_init_edit"),
    path("<slug:vm>/cloud-init/action/", views.action, name="cloud_init_action"),
    path("<slug:vm>/cloud-init/seed.iso", views.seed, name="cloud_init_seed"),
]
