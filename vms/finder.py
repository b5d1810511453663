"""What global search finds of VMs: by name, note, tag, MAC or IP address; best those whose name it begins."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Case, Q, Value, When
from django.urls import reverse

from bhype.accounts.models import User
from bhype.ui.search import Hit

from .addresses.pages import with_address
from .models import VM, Nic


def find(user: User, query: str) -> Iterator[Hit]:
    with_mac = Nic.objects.filter(mac__icontains=query).values("vm")
    with_tag = VM.tags.through.objects.filter(tag__name=query).values("vm")
    rows = VM.objects.visible_to(user).filter(
        Q(name__icontains=query)
        | Q(notes__icontains=query)
        | Q(pk__in=with_mac)
        | Q(pk__in=with_tag)
        | Q(pk__in=with_address(query).values("vm"))
    )
    how_well = Case(
        When(name__istartswith=query, then=Value(0)),
        When(name__icontains=query, then=Value(1)),
        default=Value(2),
    )
    for vm in rows.select_related("owner").order_by(how_well, "name")[:8]:
        note = vm.owner.username if vm.owner else ""
        yield Hit(vm.name, reverse("vms:detail", args=[vm.name]), "device-desktop", note, vm.state)
