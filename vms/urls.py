from __future__ import annotations

from django.urls import path

from . import (
    urls_cloud_init,
    urls_export,
    urls_import,
    urls_key,
    urls_life,
    urls_snapshots,
    urls_templates,
    views,
    views_hardware,
)

app_name = "vms"
urlpatterns = [
    *urls_life.urlpatterns,
    path("", views.index, name="list"),
    # Neither can be the name of a VM: "new" is refused, and names have no underscore.
    path("new/", views.create, name="create"),
    path("_bulk/", views.bulk, name="bulk"),
    *urls_import.urlpatterns,
    *urls_templates.urlpatterns,
    *urls_export.urlpatterns,
    *urls_key.urlpatterns,
    *urls_snapshots.urlpatterns,
    *urls_cloud_init.urlpatterns,
    path("<slug:vm>/", views.detail, name="detail"),
    path("<slug:vm>/hardware/", views_hardware.hardware, name="hardware"),
    path("<slug:vm>/hardware/add/<slug:device>/", views_hardware.add, name="hardware_add"),
    path("<slug:vm>/hardware/at/<slug:slot>/", views_hardware.device, name="hardware_device"),
    path("<slug:vm>/hardware/unplug/", views_hardware.unplug, name="hardware_unplug"),
    path("<slug:vm>/hardware/attach/", views_hardware.attach, name="hardware_attach"),
    path("<slug:vm>/hardware/forget/", views_hardware.forget, name="hardware_forget"),
    path("<slug:vm>/hardware/medium/", views_hardware.medium, name="hardware_medium"),
    path("<slug:vm>/hardware/link/", views_hardware.link, name="hardware_link"),
    path("<slug:vm>/hardware/order/", views_hardware.order, name="hardware_order"),
    path("<slug:vm>/hardware/revert/", views_hardware.revert, name="hardware_revert"),
    path("<slug:vm>/hardware/edited/", views_hardware.answer_edit, name="hardware_edited"),
    path("<slug:vm>/hardware/vars/", views_hardware.reset_vars, name="hardware_vars"),
    path("<slug:vm>/hardware/<slug:section>/", views_hardware.section, name="hardware_section"),
    path("<slug:vm>/tasks/", views.tasks, name="tasks"),
    path("<slug:vm>/access/", views.access, name="access"),
    path("<slug:vm>/raw/", views.raw, name="raw"),
    path("<slug:vm>/raw/edit/", views_hardware.edit_raw, name="raw_edit"),
    path("<slug:vm>/edit/", views.edit, name="edit"),
    path("<slug:vm>/notes/", views.notes, name="notes"),
    path("<slug:vm>/action/", views.action, name="action"),
    path("<slug:vm>/row/", views.row, name="row"),
    path("<slug:vm>/menu/", views.menu, name="menu"),
    path("<slug:vm>/head/", views.head, name="head"),
]
