from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [path("switches/<str:switch>/traffic/", views.switch, name="switch_traffic")]
