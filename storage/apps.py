from __future__ import annotations

from django.apps import AppConfig


class StorageConfig(AppConfig):
    name = "storage"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from bhype import live
        from bhype.hosts import checklist, observer
        from bhype.tasks import links
        from bhype.ui import search

        from . import observe, owned, owners, views
        from .datasets import pages as dataset_pages
        from .library import catalogue
        from .library import pages as library_pages
        from .policies import plan as policies
        from .pools import observe as observe_pools
        from .pools import samples
        from .snapshots import observe as snapshots_observe
        from .uploads.operations import observe as observe_uploads

        post_migrate.connect(catalogue.sync, sender=self)
        observer.register(observe.observe, slow=True)
        observer.register(observe_pools.disks, "disks", slow=True)
        observer.register(samples.observe, "samples", slow=True)
        observer.register(observe_uploads, "uploads", slow=True)
        observer.register(snapshots_observe.observe, "snapshots", slow=True)
        observer.register(policies.observe, "policies")
        checklist.register(observe.checklist)
        for prefix in ("dataset", "pool", "pools", "pool-samples", "disk", "snapshots", "policies", "policy"):
            live.register(prefix, lambda user, _topic: bool(user.can("storage.view")))
        links.register("dataset", dataset_pages.page)
        links.register("image", library_pages.page)
        links.register("isos", library_pages.media_page)
        for prefix in ("image", "images", "isos", "catalogue"):
            live.register(prefix, lambda user, _topic: bool(user.can("storage.view")))
        live.register("uploads", lambda user, topic: topic == f"uploads:{user.pk}")
        search.register("Storage", views.find)
        owners.register("image", owned.images, label="image", part="images")
