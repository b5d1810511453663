from __future__ import annotations

from django.urls import path

from . import views
from .cloud_init import urls as cloud_init_urls
from .deploy import urls as deploy_urls
from .firewall import urls as firewall_urls
from .hardware import urls as hardware_urls
from .keys import urls as keys_urls
from .life import urls as life_urls
from .os_templates import urls as template_urls
from .snapshots import urls as snapshots_urls
from .traffic import urls as traffic_urls
from .transfer import urls_export, urls_import

app_name = "vms"
urlpatterns = [
    *life_urls.urlpatterns,
    path("", views.index, name="list"),
    # Neither can be the name of a VM: "new" is refused, and names have no underscore.
    path("new/", views.create, name="create"),
    path("_bulk/", views.bulk, name="bulk"),
    *urls_import.urlpatterns,
    *deploy_urls.urlpatterns,
    *template_urls.urlpatterns,
    *urls_export.urlpatterns,
    *keys_urls.urlpatterns,
    *snapshots_urls.urlpatterns,
    *cloud_init_urls.urlpatterns,
    *traffic_urls.urlpatterns,
    *firewall_urls.urlpatterns,
    path("<slug:vm>/", views.detail, name="detail"),
    *hardware_urls.urlpatterns,
    path("<slug:vm>/tasks/", views.tasks, name="tasks"),
    path("<slug:vm>/access/", views.access, name="access"),
    path("<slug:vm>/raw/", views.raw, name="raw"),
    path("<slug:vm>/edit/", views.edit, name="edit"),
    path("<slug:vm>/notes/", views.notes, name="notes"),
    path("<slug:vm>/action/", views.action, name="action"),
    path("<slug:vm>/row/", views.row, name="row"),
    path("<slug:vm>/menu/", views.menu, name="menu"),
    path("<slug:vm>/head/", views.head, name="head"),
]
