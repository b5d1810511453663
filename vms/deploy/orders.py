"""Deploying: a VM whose disks are clones of a template's. The rows are made at once, the rest by vms.deploy."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import transaction

from bhype.accounts.models import User
from bhype.cloudinit import Invalid
from bhype.tasks import Refused, ask
from bhype.tasks.errors import not_found
from bhype.tasks.models import Task
from storage.datasets import passphrases
from vms import wanted
from vms.addresses import ties
from vms.cloud_init import changes as cloud_init
from vms.cloud_init import seeds
from vms.models import VM, Tag, Template
from vms.os_templates import documents
from vms.os_templates.documents import Wishes

ERRORS = (Refused, wanted.WantedError, Invalid)
# At most so many of a batch run at a time.
PARALLEL = 4
POOL = "deploy:"


@dataclass(frozen=True, slots=True)
class Order:
    """One VM that is wanted. cloud_init: as VM.cloud_init has it; addressing: how its first port comes to its address,
    `ties.POOL`, `ties.LEASE` or "" (by DHCP, or as cloud_init says); columns: further columns of VM, such as notes;
    passphrase: encrypts it, which takes copies of the template's disks instead of clones."""

    name: str
    owner: User
    wishes: Wishes = field(default_factory=Wishes)
    cloud_init: dict[str, Any] = field(default_factory=dict)
    addressing: str = ""
    start: bool = True
    tags: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)
    passphrase: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one order: a VM that is being deployed with its task, or the error."""

    name: str
    vm: VM | None = None
    task: Task | None = None
    error: str = ""
    cause: Exception | None = None


def make(template: Template, order: Order, user: User, *, pool: tuple[str, int] = ("", 0)) -> tuple[VM, Task]:
    """Make the rows of one VM and ask for its deployment, all or nothing. Raises Refused, WantedError, and Invalid for
    settings of cloud-init."""
    if not user.can("vms.create") or not Template.objects.visible_to(user).filter(pk=template.pk).exists():
        raise not_found()
    if template.state != Template.State.READY:
        raise Refused("conflict", f"{template} is not ready.", "template", 409)
    row = VM(
        host=template.host, pool=template.pool, owner=order.owner, name=order.name, template=template,
        cloud_init=order.cloud_init, **order.columns,
    )  # fmt: skip
    document, sizes = documents.for_vm(template.document, template.disks, row, order.wishes)
    with transaction.atomic():
        vm = wanted.apply(row, document, user, create=True, sizes=sizes).vm
        _address(vm, order)
        if vm.cloud_init:
            settings = seeds.settings_of(vm)
            cloud_init.require_usable(user, {*settings.snippets, *filter(None, [settings.answers])})
            seeds.medium(vm)
        if order.tags:
            Tag.objects.bulk_create([Tag(name=name) for name in order.tags], ignore_conflicts=True)
            vm.tags.set(Tag.objects.filter(name__in=order.tags))
        params = {"vm_id": vm.pk, "start": order.start}
        secret = {"secret": passphrases.seal(order.passphrase)} if order.passphrase else {}
        return vm, ask("vms.deploy", params | secret, user, pool=pool)


def _address(vm: VM, order: Order) -> None:
    """Give the VM its addresses: the next free one, or those that it is told. Raises Refused and Invalid."""
    if order.addressing:
        ties.begin(vm, order.addressing)
    else:
        seeds.settings_of(vm)
        ties.retold(vm, {})
    if vm.cloud_init:
        VM.objects.filter(pk=vm.pk).update(cloud_init=vm.cloud_init)


def make_many(template: Template, orders: Iterable[Order], user: User) -> tuple[str, list[Outcome]]:
    """`make` for each, `PARALLEL` of them at a time. One that is refused does not hold up the others. Returns the
    batch's key, by which `tasks_of` finds it again."""
    key, outcomes = secrets.token_hex(8), []
    for order in orders:
        try:
            vm, task = make(template, order, user, pool=(POOL + key, PARALLEL))
        except ERRORS as error:
            outcomes.append(Outcome(order.name, error=said(error), cause=error))
        else:
            outcomes.append(Outcome(order.name, vm, task))
    return key, outcomes


def said(error: Exception) -> str:
    """An error as a sentence for people."""
    if isinstance(error, wanted.WantedError):
        return " ".join(f"{fault.message[:1].upper()}{fault.message[1:]}" for fault in error.faults)
    if isinstance(error, Invalid):
        return " ".join(map(str, error.problems))
    return str(error)


def named(order: Order, name: str) -> Order:
    return replace(order, name=name)


def with_address(order: Order, address: str, **more: Any) -> Order:
    """The order with this address on its first port, see `addressed`."""
    return (
        replace(order, cloud_init=addressed(order.cloud_init, address, **more)) if order.cloud_init else order
    )


def addressed(
    settings: dict[str, Any],
    address: str,
    *,
    gateway: str | None = None,
    nameservers: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Settings of cloud-init with ``address``, "10.0.0.5/24", on the first port instead of what it had. Gateway and
    name servers: None keeps them."""
    networks = [dict(each) for each in settings.get("networks", ())]
    before = next((each for each in networks if each.get("nic") == 0), {})
    network = {**before, "nic": 0, "addresses": [address]}
    network.pop("dhcp", None)
    if gateway is not None:
        network |= {"gateway4": "", "gateway6": ""} | (
            {f"gateway{6 if ':' in gateway else 4}": gateway} if gateway else {}
        )
    if nameservers is not None:
        network["nameservers"] = list(nameservers)
    return {**settings, "networks": [network, *(each for each in networks if each.get("nic") != 0)]}


def tasks_of(key: str, user: User) -> list[Task]:
    """The tasks of a batch that this user may see, in their order."""
    return list(Task.objects.visible_to(user).filter(pool=POOL + key).order_by("id"))
