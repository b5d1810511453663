"""Deploying: a VM whose disks are clones of a template's. The rows are made at once, the rest by vms.deploy."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import transaction

from bhype.accounts.models import User
from bhype.tasks import Refused, ask
from bhype.tasks.errors import not_found
from bhype.tasks.models import Task

from . import templates_plan, wanted
from .models import VM, Tag, Template
from .templates_plan import Wishes

# At most so many of a batch run at a time.
PARALLEL = 4
POOL = "deploy:"


@dataclass(frozen=True, slots=True)
class Order:
    """One VM that is wanted. cloud_init: as VM.cloud_init has it; columns: further columns of VM, such as notes."""

    name: str
    owner: User
    wishes: Wishes = field(default_factory=Wishes)
    cloud_init: dict[str, Any] = field(default_factory=dict)
    start: bool = True
    tags: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one order: a VM that is being deployed with its task, or the error."""

    name: str
    vm: VM | None = None
    task: Task | None = None
    error: str = ""


def make(template: Template, order: Order, user: User, *, pool: tuple[str, int] = ("", 0)) -> tuple[VM, Task]:
    """Make the rows of one VM and ask for its deployment, all or nothing. Raises Refused and WantedError."""
    if not user.can("vms.create") or not Template.objects.visible_to(user).filter(pk=template.pk).exists():
        raise not_found()
    if template.state != Template.State.READY:
        raise Refused("conflict", f"{template} is not ready.", "template", 409)
    row = VM(
        host=template.host, pool=template.pool, owner=order.owner, name=order.name, template=template,
        cloud_init=order.cloud_init, **order.columns,
    )  # fmt: skip
    document, sizes = templates_plan.for_vm(template.document, template.disks, row, order.wishes)
    with transaction.atomic():
        vm = wanted.apply(row, document, user, create=True, sizes=sizes).vm
        if order.tags:
            Tag.objects.bulk_create([Tag(name=name) for name in order.tags], ignore_conflicts=True)
            vm.tags.set(Tag.objects.filter(name__in=order.tags))
        return vm, ask("vms.deploy", {"vm_id": vm.pk, "start": order.start}, user, pool=pool)


def make_many(template: Template, orders: Iterable[Order], user: User) -> tuple[str, list[Outcome]]:
    """`make` for each, `PARALLEL` of them at a time. One that is refused does not hold up the others. Returns the
    batch's key, by which `tasks_of` finds it again."""
    key, outcomes = secrets.token_hex(8), []
    for order in orders:
        try:
            vm, task = make(template, order, user, pool=(POOL + key, PARALLEL))
        except (Refused, wanted.WantedError) as error:
            outcomes.append(Outcome(order.name, error=said(error)))
        else:
            outcomes.append(Outcome(order.name, vm, task))
    return key, outcomes


def said(error: Refused | wanted.WantedError) -> str:
    """An error as a sentence for people."""
    if isinstance(error, wanted.WantedError):
        return " ".join(f"{fault.message[:1].upper()}{fault.message[1:]}" for fault in error.faults)
    return str(error)


def with_address(order: Order, address: str) -> Order:
    """The order with this address, "10.0.0.5/24", on its first port instead of DHCP."""
    networks = [dict(each) for each in order.cloud_init.get("networks", ())] or [{"nic": 0}]
    networks[0] = {**{key: networks[0][key] for key in networks[0].keys() - {"dhcp"}}, "addresses": [address]}
    return replace(order, cloud_init={**order.cloud_init, "networks": networks})


def tasks_of(key: str, user: User) -> list[Task]:
    """The tasks of a batch that this user may see, in their order."""
    return list(Task.objects.visible_to(user).filter(pool=POOL + key).order_by("id"))
