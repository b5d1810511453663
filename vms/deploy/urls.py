"""Addresses of deployments, below vms/. But for deploy/, a word that no VM is called, they begin with an underscore or
stand below a VM."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("_new/", views.begin, name="new"),
    path("deploy/", views.form, name="deploy"),
    path("_deploy/<slug:key>/", views.batch, name="deploy_batch"),
    path("<slug:vm>/identity/", views.identity, name="identity"),
]
