from __future__ import annotations

from django.urls import path

from . import views

app_name = "console"
urlpatterns = [
    path("console/<slug:what>/<str:name>/", views.page, name="page"),
    path("console/<slug:what>/<str:name>/ticket/", views.ticket, name="ticket"),
    path("console/<slug:what>/<str:name>/state/", views.state, name="state"),
]
