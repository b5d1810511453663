"""What is known of a VM's network ports beside its document."""

from __future__ import annotations

from django.db import transaction

from bhype.live import publish
from vms.models import Nic


def set_guard(nic: Nic, *, guarded: bool) -> None:
    """Let a port send with the addresses of its guest only, or with any. The firewall's observer follows."""
    with transaction.atomic():
        Nic.objects.filter(pk=nic.pk).update(may_spoof=not guarded)
        publish(nic.vm.subject, *([nic.switch.subject] if nic.switch else []))
    nic.may_spoof = not guarded
