"""Every address of the panel. The composition root: it imports the apps, nothing imports it."""

from __future__ import annotations

from django.urls import include, path

from bhype.api import api, documentation

urlpatterns = [
    path("", include("bhype.ui.urls")),
    path("", include("bhype.accounts.urls")),
    path("", include("bhype.console.urls")),
    path("tasks/", include("bhype.tasks.urls")),
    path("hosts/", include("bhype.hosts.urls")),
    path("storage/", include("storage.urls")),
    path("network/", include("network.urls")),
    path("vms/", include("vms.urls")),
    path("api/v1/docs", documentation, name="api-docs"),
    path("api/v1/", api.urls),
]

handler404 = "bhype.ui.views.not_found"
handler500 = "bhype.ui.views.server_error"
