"""The seed of a VM: what cloud-init or nuageinit reads in its guest, made of the VM's row.

The file lies in the VM's dataset and is root's alone: hashes of passwords are in it. The web process makes the same
documents of the same row, for people to look at.
"""

from __future__ import annotations

import os
from typing import Any

from bhype import cloudinit
from bhype.cloudinit import Documents, Invalid, Port, Problem, Settings
from bhype.host import LocalHost
from bhype.tasks import OperationFailed
from bhype.vmrun import client
from vms import plan
from vms.models import VM, Snippet

# The end of a serial log that is searched for the guest's word that all is done.
TAIL = 1 << 18


def settings_of(vm: VM) -> Settings:
    """What the guest is to be told. Raises Invalid."""
    return cloudinit.parse(vm.cloud_init)


def medium(vm: VM) -> tuple[str, Documents]:
    """The seed's label, and its files by name: for cloud-init, or for an installer. Raises Invalid."""
    settings = settings_of(vm)
    if settings.installer:
        found = cloudinit.answers(settings, plan.instance_id(vm), vm.name, _answers_text(settings))
        return found.label, found.files
    ports = [Port(nic.index, nic.mac) for nic in vm.nics.all()]
    pieces = _snippets(settings)
    return cloudinit.LABEL, cloudinit.documents(settings, ports, plan.instance_id(vm), vm.name, pieces)


def _answers_text(settings: Settings) -> str:
    """Of one's own; "" for the built-in answers. Raises Invalid."""
    if not settings.answers:
        return ""
    row = Snippet.objects.filter(pk=settings.answers, kind=settings.installer).first()
    if row is None:
        raise Invalid(
            [Problem("answers", f"Snippet {settings.answers} is not in the library, or of another kind.")]
        )
    return row.text


def _snippets(settings: Settings) -> list[cloudinit.Snippet]:
    """In the order of the settings. Raises Invalid for one that is gone."""
    rows = Snippet.objects.in_bulk(settings.snippets) if settings.snippets else {}
    if missing := [key for key in settings.snippets if key not in rows]:
        raise Invalid([Problem("snippets", f"Snippet {missing[0]} is not in the library any more.")])
    found = [rows[key] for key in settings.snippets]
    if foreign := [row for row in found if row.kind not in {Snippet.Kind.USER_DATA, Snippet.Kind.SCRIPT}]:
        raise Invalid([Problem("snippets", f"{foreign[0].name} is for an installer.")])
    return [cloudinit.Snippet(row.kind, row.name, row.text) for row in found]


def image(vm: VM) -> bytes:
    """The seed as an ISO; the same settings give the same bytes. Raises Invalid."""
    label, files = medium(vm)
    return cloudinit.iso({name: text.encode() for name, text in files.items()}, label)


def write(host: LocalHost, vm: VM) -> None:
    """Let the seed's file be what the row says: written, or removed where the VM has none. Nothing is told of what is
    in it. Raises OperationFailed and OSError; the caller has checked the VM's place."""
    path = plan.seed_path(vm)
    if not plan.has_seed(vm):
        host.unlink(path)
        return
    try:
        wanted = image(vm)
    except Invalid as invalid:
        raise OperationFailed(
            f"The settings for cloud-init of {vm.name} are not right: {invalid}"
        ) from invalid
    if _content(host, path) != wanted:
        host.write_bytes(path, wanted, 0o600)


def _content(host: LocalHost, path: str) -> bytes | None:
    try:
        descriptor = os.open(host.path(path), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read() if os.fstat(descriptor).st_mode & 0o777 == 0o600 else None


def is_applied(host: LocalHost, vm: VM) -> bool:
    """Whether the guest has said on its first serial line that it has done what the seed tells."""
    told = cloudinit.applied_text(plan.instance_id(vm)).encode()
    return told in _tail(host, client.serial_logs(vm.name)[0])


def _tail(host: LocalHost, path: str) -> bytes:
    try:
        with open(host.path(path), "rb") as file:  # noqa: PTH123  (a path of the host)
            file.seek(max(0, host.size(path) - TAIL))
            return file.read(TAIL)
    except OSError:
        return b""


def settle(host: LocalHost, vm: VM) -> None:
    """Before a start: take out a seed that has done its work, if that is wished, else see that it is there.

    Raises as `write`."""
    if plan.has_seed(vm) and vm.cloud_init.get("eject") and is_applied(host, vm):
        note(vm, applied=plan.instance_id(vm))
    write(host, vm)


def note(vm: VM, **values: Any) -> None:
    """Write down what the panel keeps beside the settings; None takes a note away."""
    found = {**vm.cloud_init, **values}
    vm.cloud_init = {key: value for key, value in found.items() if value is not None}
    VM.objects.filter(pk=vm.pk).update(cloud_init=vm.cloud_init)
