from __future__ import annotations

from django.apps import AppConfig


class NetworkConfig(AppConfig):
    name = "network"

    def ready(self) -> None:
        from bhype import live
        from bhype.hosts import checklist, observer
        from bhype.ui import search

        from .switches import observe, views

        observer.register(observe.observe, "switches")
        checklist.register(observe.checklist)
        for prefix in ("switch", "switches", "network"):
            live.register(prefix, lambda user, _topic: bool(user.can("network.view")))
        search.register("Switches", views.find)
