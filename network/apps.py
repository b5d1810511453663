from __future__ import annotations

from django.apps import AppConfig


class NetworkConfig(AppConfig):
    name = "network"

    def ready(self) -> None:
        from bhype import live
        from bhype.hosts import checklist, observer
        from bhype.ui import search

        from .dhcp import observe as dhcp
        from .switches import observe, views

        observer.register(observe.observe, "switches")
        observer.register(dhcp.observe, "dhcp")
        checklist.register(observe.checklist)
        checklist.register(dhcp.checklist)
        for prefix in ("switch", "switches", "network", "leases"):
            live.register(prefix, lambda user, _topic: bool(user.can("network.view")))
        search.register("Switches", views.find)
