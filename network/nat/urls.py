"""Addresses of the pages of NAT, below network/."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("switches/<str:switch>/nat/", views.section, name="switch_nat"),
    path("switches/<str:switch>/nat/mend/", views.mend, name="nat_mend"),
    path("switches/<str:switch>/nat/test/", views.test, name="nat_test"),
]
