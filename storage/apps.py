from __future__ import annotations

from django.apps import AppConfig


class StorageConfig(AppConfig):
    name = "storage"

    def ready(self) -> None:
        from bhype import live
        from bhype.hosts import checklist, observer
        from bhype.ui import search

        from . import observe, owned, owners, views
        from .pools import observe as observe_pools
        from .pools import samples

        observer.register(observe.observe, slow=True)
        observer.register(observe_pools.disks, "disks", slow=True)
        observer.register(samples.observe, "samples", slow=True)
        checklist.register(observe.checklist)
        for prefix in ("pool", "pools", "pool-samples", "disk"):
            live.register(prefix, lambda user, _topic: bool(user.can("storage.view")))
        search.register("Storage", views.find)
        owners.register("image", owned.images, label="image", part="images")
