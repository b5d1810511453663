"""Addresses of the page of pf.conf."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("firewall/pf-conf/", views.index, name="pf_conf"),
    path("firewall/pf-conf/add/", views.add, name="pf_conf_add"),
]
