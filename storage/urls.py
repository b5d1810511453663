from __future__ import annotations

from django.urls import path

from . import urls_datasets, urls_library, urls_snapshots, views
from .pools import urls as pools

app_name = "storage"
urlpatterns = [
    path("isos/", views.isos, name="isos"),
    *pools.urlpatterns,
    *urls_snapshots.urlpatterns,
    *urls_datasets.urlpatterns,
    *urls_library.urlpatterns,
]
