"""Addresses of the pages of pools and physical disks, below storage/."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="list"),
    path("", views.index, name="pools"),
    path("disks/", views.disks, name="disks"),
    path("disks/<int:pk>/test/", views.test_disk, name="disk_test"),
    path("pools/new/", views.new, name="pool_new"),
    path("pools/import/", views.import_, name="pool_import"),
    path("pools/<str:pool>/", views.detail, name="pool"),
    path("pools/<str:pool>/usage/", views.usage, name="pool_usage"),
    path("pools/<str:pool>/disks/", views.members, name="pool_disks"),
    path("pools/<str:pool>/maintenance/", views.maintenance, name="pool_maintenance"),
    path("pools/<str:pool>/adopt/", views.adopt, name="adopt"),
    path("pools/<str:pool>/do/", views.do, name="pool_do"),
    path("pools/<str:pool>/schedule/", views.schedule, name="pool_schedule"),
    path("pools/<str:pool>/add/", views.add, name="pool_add"),
    path("pools/<str:pool>/member/", views.member, name="pool_member"),
    path("pools/<str:pool>/destroy/", views.destroy, name="pool_destroy"),
]
