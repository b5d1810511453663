from __future__ import annotations

from django.urls import path

from . import urls_datasets, urls_library, views

app_name = "storage"
urlpatterns = [
    path("", views.pools, name="list"),
    path("", views.pools, name="pools"),
    path("isos/", views.isos, name="isos"),
    path("pools/<str:pool>/adopt/", views.adopt, name="adopt"),
    *urls_datasets.urlpatterns,
    *urls_library.urlpatterns,
]
