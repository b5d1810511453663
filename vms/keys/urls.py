"""The key of an encrypted VM."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("<slug:vm>/key/", views.key, name="key"),
    path("<slug:vm>/key/unlock/", views.unlock, name="unlock"),
    path("<slug:vm>/key/lock/", views.lock, name="lock"),
    path("<slug:vm>/key/change/", views.change, name="change_key"),
]
