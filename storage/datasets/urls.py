"""The addresses of datasets. "-" is the name of none: what follows it is a part of the page, not of the name."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("datasets/", views.index, name="datasets"),
    path("orphans/", views.orphans, name="orphans"),
    path("datasets/<path:dataset>/-/new/", views.create, name="dataset_new"),
    path("datasets/<path:dataset>/-/properties/", views.properties, name="dataset_properties"),
    path("datasets/<path:dataset>/-/grow/", views.grow, name="dataset_grow"),
    path("datasets/<path:dataset>/-/danger/", views.danger, name="dataset_danger"),
    path("datasets/<path:dataset>/-/rename/", views.rename, name="dataset_rename"),
    path("datasets/<path:dataset>/-/preview/", views.preview, name="dataset_preview"),
    path("datasets/<path:dataset>/-/destroy/", views.destroy, name="dataset_destroy"),
    path("datasets/<path:dataset>/-/keep/", views.keep, name="dataset_keep"),
    path("datasets/<path:dataset>/-/unlock/", views.unlock, name="dataset_unlock"),
    path("datasets/<path:dataset>/-/lock/", views.lock, name="dataset_lock"),
    path("datasets/<path:dataset>/-/key/", views.change_key, name="dataset_key"),
    path("datasets/<path:dataset>/", views.detail, name="dataset"),
]
