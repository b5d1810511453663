"""The addresses of a VM's hardware."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("<slug:vm>/hardware/", views.hardware, name="hardware"),
    path("<slug:vm>/hardware/add/<slug:device>/", views.add, name="hardware_add"),
    path("<slug:vm>/hardware/at/<slug:slot>/", views.device, name="hardware_device"),
    path("<slug:vm>/hardware/unplug/", views.unplug, name="hardware_unplug"),
    path("<slug:vm>/hardware/attach/", views.attach, name="hardware_attach"),
    path("<slug:vm>/hardware/forget/", views.forget, name="hardware_forget"),
    path("<slug:vm>/hardware/medium/", views.medium, name="hardware_medium"),
    path("<slug:vm>/hardware/menu/", views.port_menu, name="hardware_port_menu"),
    path("<slug:vm>/hardware/link/", views.link, name="hardware_link"),
    path("<slug:vm>/hardware/guard/", views.guard, name="hardware_guard"),
    path("<slug:vm>/hardware/order/", views.order, name="hardware_order"),
    path("<slug:vm>/hardware/revert/", views.revert, name="hardware_revert"),
    path("<slug:vm>/hardware/edited/", views.answer_edit, name="hardware_edited"),
    path("<slug:vm>/hardware/vars/", views.reset_vars, name="hardware_vars"),
    path("<slug:vm>/hardware/<slug:section>/", views.section, name="hardware_section"),
    path("<slug:vm>/raw/edit/", views.edit_raw, name="raw_edit"),
]
