"""The addresses of snapshots."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("snapshots/", views.index, name="snapshots"),
    path("snapshots/all/", views.take_all, name="snapshots_all"),
    path("snapshots/do/", views.do, name="snapshots_do"),
    path("snapshots/delete/", views.delete, name="snapshots_delete"),
    path("snapshots/results/<int:task>/", views.result, name="snapshots_result"),
    path("snapshots/files/<int:task>/", views.file, name="snapshots_file"),
    path("snapshots/<int:snapshot>/", views.detail, name="snapshot"),
    # Before those of datasets, whose names may hold slashes.
    path("datasets/<path:dataset>/-/snapshots/", views.of_dataset, name="dataset_snapshots"),
    path("datasets/<path:dataset>/-/snapshots/take/", views.take, name="dataset_snapshot_take"),
]
