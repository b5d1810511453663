"""Addresses of templates and OS presets, below vms/. They begin with an underscore, or stand below a VM."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("_templates/", views.index, name="templates"),
    path("_templates/new/", views.create, name="template_new"),
    path("_templates/<int:template>/", views.detail, name="template"),
    path("_templates/<int:template>/change/", views.change, name="template_change"),
    path("_templates/<int:template>/publish/", views.publish_it, name="template_publish"),
    path("_templates/<int:template>/delete/", views.delete, name="template_delete"),
    path("_presets/", views.preset_list, name="presets"),
    path("_presets/new/", views.preset_new, name="preset_new"),
    path("_presets/<slug:preset>/", views.preset, name="preset"),
    path("_presets/<slug:preset>/do/", views.preset_do, name="preset_do"),
    path("<slug:vm>/template/", views.create_from_vm, name="template_from_vm"),
]
