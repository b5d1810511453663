"""The addresses of a VM's snapshots."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("<slug:vm>/snapshots/", views.index, name="snapshots"),
    path("<slug:vm>/snapshots/take/", views.take, name="snapshots_take"),
    path("<slug:vm>/snapshots/do/", views.do, name="snapshots_do"),
    path("<slug:vm>/snapshots/delete/", views.delete, name="snapshots_delete"),
    path("<slug:vm>/snapshots/rollback/", views.rollback, name="snapshots_rollback"),
    path("<slug:vm>/snapshots/finish/", views.finish, name="snapshots_finish"),
    path("<slug:vm>/snapshots/results/<int:task>/", views.result, name="snapshots_result"),
]
