from __future__ import annotations

from django.urls import path

from . import views

app_name = "vms"
urlpatterns = [
    path("", views.index, name="list"),
    # Neither can be the name of a VM: "new" is refused, and names have no underscore.
    path("new/", views.create, name="create"),
    path("_bulk/", views.bulk, name="bulk"),
    path("<slug:vm>/", views.detail, name="detail"),
    path("<slug:vm>/hardware/", views.hardware, name="hardware"),
    path("<slug:vm>/tasks/", views.tasks, name="tasks"),
    path("<slug:vm>/access/", views.access, name="access"),
    path("<slug:vm>/raw/", views.raw, name="raw"),
    path("<slug:vm>/edit/", views.edit, name="edit"),
    path("<slug:vm>/notes/", views.notes, name="notes"),
    path("<slug:vm>/action/", views.action, name="action"),
    path("<slug:vm>/delete/", views.delete, name="delete"),
    path("<slug:vm>/row/", views.row, name="row"),
    path("<slug:vm>/menu/", views.menu, name="menu"),
    path("<slug:vm>/head/", views.head, name="head"),
]
