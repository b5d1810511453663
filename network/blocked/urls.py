"""Address of the page of logged packets."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [path("firewall/blocked/", views.index, name="blocked")]
