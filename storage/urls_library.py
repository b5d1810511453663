"""Addresses of the library: install media, images, the catalogue, and uploads."""

from __future__ import annotations

from django.urls import path

from . import views_catalogue, views_library, views_uploads

urlpatterns = [
    path("isos/", views_library.isos, name="isos"),
    path("isos/fetch/", views_library.iso_fetch, name="iso_fetch"),
    path("isos/<int:iso>/rename/", views_library.iso_rename, name="iso_rename"),
    path("isos/<int:iso>/delete/", views_library.iso_delete, name="iso_delete"),
    path("images/", views_library.images, name="images"),
    path("images/add/", views_library.image_add, name="image_add"),
    path("images/<int:image>/", views_library.image, name="image"),
    path("images/<int:image>/edit/", views_library.image_edit, name="image_edit"),
    path("images/<int:image>/delete/", views_library.image_delete, name="image_delete"),
    path("images/<int:image>/again/", views_library.image_again, name="image_again"),
    path("catalogue/", views_catalogue.entries, name="catalogue"),
    path("catalogue/new/", views_catalogue.new, name="catalogue_new"),
    path("catalogue/<int:entry>/", views_catalogue.edit, name="catalogue_edit"),
    path("catalogue/<int:entry>/fetch/", views_catalogue.fetch, name="catalogue_fetch"),
    path("catalogue/<int:entry>/reset/", views_catalogue.reset, name="catalogue_reset"),
    path("uploads/", views_uploads.uploads, name="uploads"),
    path("uploads/<uuid:upload>", views_uploads.upload, name="upload"),
]
