"""Addresses of templates, OS presets and deployments, below vms/. But for deploy/, a word that no VM is called, they
begin with an underscore or stand below a VM."""

from __future__ import annotations

from django.urls import path

from . import views_deploy, views_templates

urlpatterns = [
    path("_new/", views_deploy.begin, name="new"),
    path("deploy/", views_deploy.form, name="deploy"),
    path("_deploy/<slug:key>/", views_deploy.batch, name="deploy_batch"),
    path("_templates/", views_templates.index, name="templates"),
    path("_templates/new/", views_templates.create, name="template_new"),
    path("_templates/<int:template>/", views_templates.detail, name="template"),
    path("_templates/<int:template>/change/", views_templates.change, name="template_change"),
    path("_templates/<int:template>/publish/", views_templates.publish_it, name="template_publish"),
    path("_templates/<int:template>/delete/", views_templates.delete, name="template_delete"),
    path("_presets/", views_templates.preset_list, name="presets"),
    path("_presets/new/", views_templates.preset_new, name="preset_new"),
    path("_presets/<slug:preset>/", views_templates.preset, name="preset"),
    path("_presets/<slug:preset>/do/", views_templates.preset_do, name="preset_do"),
    path("<slug:vm>/template/", views_templates.create_from_vm, name="template_from_vm"),
    path("<slug:vm>/identity/", views_deploy.identity, name="identity"),
]
