"""Changing what a guest is told by cloud-init: the wanted columns, and the task that writes the seed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import transaction

from bhype import cloudinit
from bhype.accounts.models import User
from bhype.cloudinit import Documents, Invalid, Problem
from bhype.cloudinit.settings import HIDDEN, NOTES
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from storage.models import Image
from vms import plan, wanted
from vms.addresses import ties as addresses
from vms.models import VM, Snippet
from vms.operating import changed

from . import seeds

Values = dict[str, Any]
INSTALLERS = {str(value): label for value, label in Snippet.Kind.choices if value in cloudinit.HOWTO}
NO_HASH = (
    "Windows takes no hash, and nothing else is kept of a password: leave it empty. The user signs in on the screen "
    "without one, and is asked for a new one at once."
)
_BUSY = {VM.State.CREATING: "created", VM.State.DELETING: "deleted"}


def save(
    vm: VM, values: Values, user: User, *, revision: int | None = None, again: bool = False
) -> tuple[VM, Task | None]:
    """Store the settings and have the seed written; {} takes them away. again: the guest takes itself for a new one.

    Returns the VM as it is now, and no task when nothing has changed. Raises Invalid, Refused, and WantedError when
    ``revision`` is not the VM's any more."""
    with transaction.atomic():
        vm = _locked(vm, revision)
        notes = {key: value for key, value in vm.cloud_init.items() if key in NOTES}
        # Somebody may be told less than all: the hash of a password stays unless another is given.
        new = {**notes, **values} if values else {}
        if new != vm.cloud_init or (again and new):
            new.pop("applied", None)
        if new == vm.cloud_init and not again:
            return vm, None
        require_usable(user, _added(vm, new))
        before, vm.cloud_init = vm.cloud_init, new
        vm.cloud_init_generation += bool(again and new)
        if new:
            vm.cloud_init = {**new, "slot": new.get("slot") or plan.free_slot(vm, plan.SEED_SLOT)}
            seeds.medium(vm)
        addresses.retold(vm, before)
        return vm, _write(vm, user)


def take_out(vm: VM, user: User) -> Task | None:
    """The seed leaves the VM at its next start, and its file goes. Raises Refused."""
    with transaction.atomic():
        vm = _locked(vm, None)
        if not plan.has_seed(vm):
            return None
        vm.cloud_init = {**vm.cloud_init, "applied": plan.instance_id(vm)}
        return _write(vm, user)


def put_back(vm: VM, user: User, *, again: bool = False) -> Task | None:
    """The seed is in the VM from its next start on. again: as in `save`. Raises Refused and Invalid."""
    settings = {key: value for key, value in vm.cloud_init.items() if key not in NOTES or key == "device"}
    with transaction.atomic():
        if not again and plan.has_seed(vm):
            return None
        if not again:
            vm = _locked(vm, None)
            seeds.note(vm, applied=None)
            return _write(vm, user)
        return save(vm, settings, user, again=True)[1]


def require_usable(user: User, snippets: Iterable[int]) -> None:
    """Raise Invalid for a snippet that ``user`` may not use; that it exists is not told."""
    wanted_keys = set(snippets)
    usable = set(Snippet.objects.visible_to(user).filter(pk__in=wanted_keys).values_list("pk", flat=True))
    if missing := wanted_keys - usable:
        raise Invalid([Problem("snippets", f"There is no snippet {min(missing)} in the library.")])


def _added(vm: VM, new: Values) -> set[int]:
    """Snippets that the VM has not had yet; numbers only, what else stands there is refused with the rest."""
    values = new.get("snippets")
    found = {value for value in values if type(value) is int} if isinstance(values, list) else set()
    if type(new.get("answers")) is int and new["answers"]:
        found.add(new["answers"])
    return found - {*(vm.cloud_init.get("snippets") or ()), vm.cloud_init.get("answers")}


def _locked(vm: VM, revision: int | None) -> VM:
    wanted.lock(vm.pk)
    row = wanted.load(vm.pk)
    if row.state in _BUSY:
        raise Refused("conflict", f"{row.name} is being {_BUSY[VM.State(row.state)]}.", status=409)
    if revision is not None and revision != row.revision:
        raise wanted.WantedError([wanted.Fault("vm", "", wanted.STALE)], is_stale=True)
    return row


def _write(vm: VM, user: User) -> Task:
    changed(vm, cloud_init=vm.cloud_init, cloud_init_generation=vm.cloud_init_generation)
    return ask("vms.configure", {"vm_id": vm.pk}, user)


# Shown.


def shown(vm: VM, *, bodies: bool) -> tuple[Documents, tuple[Problem, ...]]:
    """The documents as people may see them, without secrets, or what is wrong with the settings. bodies: with what the
    guest runs, which those may see who may change the VM."""
    if not vm.cloud_init:
        return {}, ()
    try:
        found = seeds.medium(vm)[1]
    except Invalid as invalid:
        return {}, invalid.problems
    if not vm.cloud_init.get("installer"):
        return cloudinit.without_secrets(found, bodies=bodies), ()
    secret = vm.cloud_init.get("password_hash") or HIDDEN
    return {name: text.replace(secret, HIDDEN) if bodies else HIDDEN for name, text in found.items()}, ()


def public(vm: VM) -> Values:
    """The settings without the hash of the password and the panel's notes."""
    hidden = (NOTES - {"device"}) | {"password_hash"}
    return {key: value for key, value in vm.cloud_init.items() if key not in hidden}


def summary(vm: VM) -> list[tuple[str, str]]:
    """The settings in words."""
    values = vm.cloud_init
    ports = [
        f"port {each['nic']}: {', '.join(each.get('addresses') or ()) or 'DHCP'}"
        for each in values.get("networks") or ()
    ]
    names = Snippet.objects.in_bulk(values.get("snippets") or [])
    kind = (
        INSTALLERS.get(values.get("installer", ""))
        or Image.CloudInit(values.get("kind") or "cloud-init").label
    )
    keys, scripts = len(values.get("ssh_keys") or ()), len(values.get("scripts") or ())
    sign_in = "set" if values.get("password_hash") else "none: nobody signs in by password"
    if values.get("installer") == Snippet.Kind.AUTOUNATTEND:
        sign_in = "none: it is asked for at the first sign-in"
    rows = [
        ("For", kind),
        ("User", values.get("user") or "the one that the image has"),
        ("Password", sign_in),
        ("SSH keys", str(keys) if keys else "none"),
        ("Host name", values.get("fqdn") or values.get("hostname") or cloudinit.host_name(vm.name)),
        ("Addresses", "; ".join(ports)),
        ("Time zone", values.get("timezone") or ""),
        ("Locale", values.get("locale") or ""),
        ("Packages", " ".join(values.get("packages") or ())),
        ("Snippets", ", ".join(row.name for row in names.values())),
        ("User-data", "own" if values.get("user_data") else ""),
        ("Scripts", str(scripts) if scripts else ""),
    ]
    return [(label, value) for label, value in rows if value]
