"""Addresses of the library: install media, images and the catalogue."""

from __future__ import annotations

from django.urls import path

from . import views, views_catalogue

urlpatterns = [
    path("isos/", views.isos, name="isos"),
    path("isos/fetch/", views.iso_fetch, name="iso_fetch"),
    path("isos/<int:iso>/rename/", views.iso_rename, name="iso_rename"),
    path("isos/<int:iso>/delete/", views.iso_delete, name="iso_delete"),
    path("images/", views.images, name="images"),
    path("images/add/", views.image_add, name="image_add"),
    path("images/<int:image>/", views.image, name="image"),
    path("images/<int:image>/edit/", views.image_edit, name="image_edit"),
    path("images/<int:image>/delete/", views.image_delete, name="image_delete"),
    path("images/<int:image>/again/", views.image_again, name="image_again"),
    path("catalogue/", views_catalogue.entries, name="catalogue"),
    path("catalogue/new/", views_catalogue.new, name="catalogue_new"),
    path("catalogue/<int:entry>/", views_catalogue.edit, name="catalogue_edit"),
    path("catalogue/<int:entry>/fetch/", views_catalogue.fetch, name="catalogue_fetch"),
    path("catalogue/<int:entry>/reset/", views_catalogue.reset, name="catalogue_reset"),
]
