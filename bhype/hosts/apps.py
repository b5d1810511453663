from __future__ import annotations

from django.apps import AppConfig


class HostsConfig(AppConfig):
    name = "bhype.hosts"

    def ready(self) -> None:
        from bhype import live

        from . import observe, observer

        observer.register(observe.observe)
        observer.register(observe.run_schedules, "schedules")
        observer.register(observe.observe_pci, "pci", slow=True)
        for prefix in ("host", "hosts"):
            live.register(prefix, lambda user, _topic: bool(user.can("hosts.view")))
