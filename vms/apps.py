from __future__ import annotations

from django.apps import AppConfig


class VmsConfig(AppConfig):
    name = "vms"

    def ready(self) -> None:
        from django.db.models.signals import post_delete, post_migrate

        from bhype import live
        from bhype.console import subjects
        from bhype.hosts import observer, pci
        from bhype.tasks import links
        from bhype.ui import search
        from network import guests as network_guests
        from storage import owners
        from storage.datasets import keys

        from . import doors, finder, guests, observe, owned, passthru
        from .addresses import ties
        from .keys import locking
        from .models import Nic
        from .os_templates import presets

        observer.register(observe.observe)
        observer.on_boot(observe.on_boot)
        pci.register(passthru.owners)
        for prefix in ("vm", "vm-snapshots"):
            live.register(prefix, doors.may_hear)
        live.register("vms", lambda user, topic: topic == "vms" and user.can("self"))
        for prefix in ("template", "templates"):
            live.register(prefix, lambda user, _topic: bool(user.can("vms.create")))
        subjects.register("vm", doors.console)
        links.register("vm", doors.page)
        links.register("template", doors.template_page)
        search.register("Virtual machines", finder.find, place=0)
        keys.on_unlocked(locking.unlocked)
        network_guests.register(guests.KIND, guests.resolve, label="VM")
        owners.register("vm", owned.vms, label="virtual machine", part="vms", give_url="vms:orphan")
        owners.register("template", owned.templates, label="template", part="templates")
        post_delete.connect(ties.forget, sender=Nic)
        post_migrate.connect(presets.after_migration, sender=self)
