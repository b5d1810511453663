"""Giving a VM a new identity: what a copy of a machine must not share with it."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import F
from pydantic import Field

from bhype.freebsd import names
from bhype.tasks import OperationFailed, Run
from vms import edited, parts, place, plan
from vms.life import renaming
from vms.models import VM
from vms.operating import State, VmParams, changed, require_off, row_of, vm_of, vm_operation


class IdentityParams(VmParams):
    """name: a new one, "" keeps it; macs: new addresses for its ports; screen: a new password for its screen."""

    name: str = Field("", max_length=names.VM_NAME_MAX)
    macs: bool = True
    screen: bool = True


@vm_operation(
    "vms.reset_identity", "Give {vm} a new identity", right="vms.change", recover="vms.settle_identity"
)
def reset_identity(run: Run, params: IdentityParams) -> None:
    """Let a VM that is off be another one: name, addresses, password of the screen, and a new generation of its seed,
    by which cloud-init takes the guest for a new one: it makes new SSH host keys and sets name, users and network anew.

    The UUID stays, as what bHype has on the host carries it; what else the guest calls its own, as /etc/machine-id, is
    the guest's.
    """
    vm = vm_of(params)
    require_off(run, vm)
    place.check(run.host, vm)
    edited.require_answered(run.host, vm)
    if params.name and params.name != vm.name:
        renaming.rename(run, renaming.RenameParams(vm_id=vm.pk, name=params.name))
        vm = vm_of(params)
    run.stage("Writing the configuration", percent=60)
    _renew(vm, params)
    run.redact(vm.vnc_password)
    parts.complete(run, vm)


def _renew(vm: VM, params: IdentityParams) -> None:
    for _ in range(8):
        try:
            with transaction.atomic():
                for nic in vm.nics.all() if params.macs else ():
                    vm.nics.filter(pk=nic.pk).update(mac=plan.new_mac(), shares_mac=False)
                columns = {"vnc_password": plan.new_vnc_password()} if params.screen else {}
                changed(vm, cloud_init_generation=F("cloud_init_generation") + 1, **columns)
        except IntegrityError:
            # Another VM has this address; the next one is as random.
            continue
        return
    raise OperationFailed("No free MAC address was found; try again.")


@vm_operation("vms.settle_identity", "Finish the new identity of {vm}", right=None)
def settle_identity(run: Run, params: VmParams) -> None:
    """Bring the host to what the rows say, after a worker has died half-way."""
    renaming.settle(run, VmParams(vm_id=params.vm_id))
    vm = row_of(params)
    if vm is None or vm.state in {State.CREATING, State.DELETING}:
        return
    run.redact(vm.vnc_password)
    parts.complete(run, vm)
