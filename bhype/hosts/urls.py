from __future__ import annotations

from django.urls import path

from . import views

app_name = "hosts"
urlpatterns = [
    path("", views.hosts, name="list"),
    path("<str:host>/", views.detail, name="detail"),
    path("<str:host>/pci/", views.pci_devices, name="pci"),
    path("<str:host>/pci/reserve/", views.reserve_pci, name="reserve_pci"),
    path("<str:host>/pci/release/", views.release_pci, name="release_pci"),
]
