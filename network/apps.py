from __future__ import annotations

from django.apps import AppConfig


class NetworkConfig(AppConfig):
    name = "network"

    def ready(self) -> None:
        from bhype import live
        from bhype.hosts import checklist, observer
        from bhype.ui import search

        from .changes import observe as changes
        from .dhcp import observe as dhcp
        from .switches import observe, views
        from .traffic import observe as traffic

        observer.register(changes.observe, "changes")
        observer.register(observe.observe, "switches")
        observer.register(dhcp.observe, "dhcp")
        observer.register(traffic.observe, "traffic", slow=True)
        checklist.register(observe.checklist)
        checklist.register(dhcp.checklist)
        for prefix in ("switch", "switches", "network", "changes", "change", "leases"):
            live.register(prefix, lambda user, _topic: bool(user.can("network.view")))
        live.register("traffic", lambda user, topic: topic == "traffic" and bool(user.can("self")))
        search.register("Switches", views.find)
