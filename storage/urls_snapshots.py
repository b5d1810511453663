"""The addresses of snapshots and of the policies that take them."""

from __future__ import annotations

from django.urls import path

from . import policies_views
from . import snapshots_views as views

urlpatterns = [
    path("snapshots/", views.index, name="snapshots"),
    path("snapshots/all/", views.take_all, name="snapshots_all"),
    path("snapshots/do/", views.do, name="snapshots_do"),
    path("snapshots/delete/", views.delete, name="snapshots_delete"),
    path("snapshots/results/<int:task>/", views.result, name="snapshots_result"),
    path("snapshots/files/<int:task>/", views.file, name="snapshots_file"),
    path("snapshots/<int:snapshot>/", views.detail, name="snapshot"),
    path("policies/", policies_views.index, name="policies"),
    path("policies/new/", policies_views.create, name="policy_new"),
    path("policies/times/", policies_views.times, name="policy_times"),
    path("policies/<int:policy>/", policies_views.detail, name="policy"),
    path("policies/<int:policy>/edit/", policies_views.edit, name="policy_edit"),
    path("policies/<int:policy>/change/", policies_views.change, name="policy_change"),
    path("policies/<int:policy>/run/", policies_views.run, name="policy_run"),
    # Before those of datasets, whose names may hold slashes.
    path("datasets/<path:dataset>/-/snapshots/", views.of_dataset, name="dataset_snapshots"),
    path("datasets/<path:dataset>/-/snapshots/take/", views.take, name="dataset_snapshot_take"),
]
