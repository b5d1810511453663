"""What the worker does to deploy a VM: clones of a template's disks, the seed, vm.json and the start, in one task.

The way from the request to bhyve is short on purpose (tests/vms/deploy/test_deploy.py counts its commands): what a new
VM cannot have is not looked for, as zfs(8) refuses to make what is there, and the supervisor looks again at what it
needs.
"""

from __future__ import annotations

from bhype.freebsd import zfs, zfs_keys
from bhype.host import CommandError
from bhype.tasks import Cancelled, OperationFailed, Run, ask
from storage.datasets.observe import refresh
from storage.datasets.operations_keys import taken
from storage.datasets.passphrases import Secret
from vms import parts, place, plan
from vms.life import starting
from vms.models import VM, Disk, Template
from vms.operating import State, VmParams, mark, vm_of, vm_operation
from vms.os_templates import build
from vms.os_templates.operations import check

FAILURES = (CommandError, OperationFailed, Cancelled, OSError)


class DeployParams(VmParams):
    """vm_id: a row in state "creating" that has its template (`orders.make`); secret: of the passphrase
    (storage.datasets.passphrases) of one that is to be encrypted."""

    start: bool = False
    secret: Secret = ""


@vm_operation("vms.deploy", "Deploy {vm}", right="vms.create", recover="vms.recover")
def deploy(run: Run, params: DeployParams) -> None:
    """Make the VM of its template's disks, which it shares unless it is encrypted, and start it if asked. Undone when
    it cannot be made; a VM that is made but cannot be started stays."""
    vm = vm_of(params)
    if vm.state != State.CREATING:
        raise OperationFailed(f"{vm.name} has been created already.")
    run.redact(vm.vnc_password)
    try:
        template = _template(run, vm)
        place.check(run.host, vm)
        _make(run, vm, template, taken(run, params.secret))
    except FAILURES:
        ask("vms.recover", {"vm_id": vm.pk}, None)
        raise
    if params.start:
        _start(run, vm)
    else:
        mark(vm, State.STOPPED)


def _template(run: Run, vm: VM) -> Template:
    """The template, as the user may have it. Raises OperationFailed."""
    rows = Template.objects.all() if run.user is None else Template.objects.visible_to(run.user)
    template = rows.select_related("pool", "host").filter(pk=vm.template_id or 0).first()
    if template is None:
        raise OperationFailed("The template does not exist any more, or is not published.")
    if template.state != Template.State.READY:
        raise OperationFailed(f"{template} is not ready.")
    check(template)
    if template.pool_id != vm.pool_id:
        raise OperationFailed("A VM lies in the pool of its template.")
    return template


def _make(run: Run, vm: VM, template: Template, passphrase: str | None) -> None:
    mine = {zfs.ID_PROPERTY: str(vm.uuid)}
    disks = [disk for disk in vm.disks.all() if disk.backing == Disk.Backing.VOLUME]
    run.stage("Copying the disks" if passphrase else "Cloning the disks", percent=10)
    run.host.run(
        zfs_keys.create_filesystem(vm.dataset, passphrase, mine)
        if passphrase
        else zfs.create_filesystem(vm.dataset, mine)
    )
    for disk, told in zip(disks, template.disks, strict=True):
        source = f"{build.disk_of(template, disk.index)}@{template.SNAPSHOT}"
        if passphrase:
            _copy(run, source, disk, mine)
        else:
            run.host.run(zfs.clone(source, disk.dataset, {**mine, "volmode": "dev"}))
        if disk.size > int(told["size"]):
            run.host.run(zfs.set_property(disk.dataset, "volsize", str(disk.size)))
    run.stage("Writing the configuration", percent=50)
    if vm.firmware == vm.Firmware.UEFI and run.host.exists(build.vars_path(template)):
        run.host.copy(build.vars_path(template), plan.vars_path(vm), 0o600)
    parts.finish(run, vm)
    if passphrase:
        refresh(run.host, vm.pool)


def _copy(run: Run, source: str, disk: Disk, mine: dict[str, str]) -> None:
    """A clone has the key of what it was made from, or none (zfs-load-key(8)): what is encrypted is written anew. A
    stream that is not raw takes the encryption of where it arrives (zfs-receive(8))."""

    def told(count: int) -> None:
        run.stage(f"Copying disk {disk.index}", percent=10 + 40 * min(1.0, count / max(1, disk.size)))

    run.host.pipe(zfs.send(source), zfs.receive(disk.dataset, {**mine, "volmode": "dev"}), told)
    run.host.run(zfs.destroy(f"{disk.dataset}@{source.rpartition('@')[2]}"))


def _start(run: Run, vm: VM) -> None:
    try:
        if run.host.exists(f"/dev/vmm/{vm.name}"):
            raise OperationFailed(f"{vm.name} was not started: the host runs a VM of this name already.")
        starting.claim_memory(run, vm, force=False)
        port = vm.vnc_port
        starting.settle_port(run, vm)
        document = plan.document(vm)
        if vm.vnc_port != port:
            parts.write_config(run, vm, document)
    except FAILURES as error:
        mark(vm, State.STOPPED, str(error))
        raise
    starting.launch(run, vm, plan.without_secrets(document))
