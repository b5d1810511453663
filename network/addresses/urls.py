from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("addresses/", views.index, name="addresses"),
    path("switches/<str:switch>/addresses/", views.section, name="switch_addresses"),
    path("switches/<str:switch>/addresses/act/", views.act, name="address_act"),
    path("switches/<str:switch>/addresses/give/", views.give, name="address_give"),
    path("switches/<str:switch>/pools/add/", views.pool_add, name="pool_add"),
    path("switches/<str:switch>/pools/usual/", views.pool_defaults, name="pool_defaults"),
    path("switches/<str:switch>/pools/<int:pool_id>/", views.pool_edit, name="pool_edit"),
    path("switches/<str:switch>/pools/<int:pool_id>/remove/", views.pool_remove, name="pool_remove"),
]
