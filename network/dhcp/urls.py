"""Addresses of the pages of DHCP and names, below network/."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("leases/", views.leases, name="leases"),
    path("leases/<int:lease>/", views.lease, name="lease"),
    path("switches/<str:switch>/dhcp/", views.section, name="switch_dhcp"),
    path("switches/<str:switch>/dhcp/settings/", views.settings, name="dhcp_settings"),
    path("switches/<str:switch>/dhcp/apply/", views.apply, name="dhcp_apply"),
    path("switches/<str:switch>/records/new/", views.record_new, name="record_new"),
    path("records/<int:record>/", views.record, name="record"),
    path("records/<int:record>/delete/", views.record_delete, name="record_delete"),
]
