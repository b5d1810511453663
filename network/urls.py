from __future__ import annotations

from django.urls import path

from . import views

app_name = "network"
urlpatterns = [
    path("", views.switches, name="list"),
    path("", views.switches, name="switches"),
    path("<str:switch>/", views.detail, name="detail"),
]
