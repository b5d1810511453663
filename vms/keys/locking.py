"""VMs in encrypted datasets: they wait while these are locked, and go on when somebody gives the passphrase."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bhype.hosts.models import Host
from bhype.tasks import OperationFailed, Refused, Run, ask
from storage.datasets import keys
from storage.datasets.operations_keys import taken
from storage.datasets.passphrases import Secret
from storage.models import Dataset, Pool
from vms.life import power
from vms.models import VM
from vms.operating import State, VmParams, mark, require_whole, row_of, vm_of, vm_operation
from vms.owned import volumes

REASON = "It waits for its passphrase."
# /dev/zvol nodes appear a moment after the key is loaded.
ZVOL_SECONDS = 10.0


class UnlockParams(VmParams):
    """secret: what `passphrases.seal` returned; start: the VM starts if it starts with the host, and so do others that
    have the same key."""

    secret: Secret = ""
    start: bool = True


class ChangeKeyParams(VmParams):
    secret: Secret
    new_secret: Secret


class SettleParams(VmParams):
    start: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """How a VM's dataset is encrypted. root: whose key it has; is_own: it is the VM's alone; is_locked: it waits;
    location: where the key is, "prompt" for a passphrase."""

    cipher: str
    root: str
    is_own: bool
    is_locked: bool
    location: str

    @property
    def needs_passphrase(self) -> bool:
        """Whether a person gives it, and not a file of the host."""
        return self.location in {"", "prompt"}


def key_of(vm: VM) -> Key | None:
    """The encryption of a VM as observed, in one query; None when nothing of it is encrypted."""
    rows = Dataset.objects.filter(pool=vm.pool_id, name__startswith=vm.dataset).exclude(encryption_root="")
    found = [row for row in rows if row.name == vm.dataset or row.name.startswith(f"{vm.dataset}/")]
    if not found:
        return None
    row = min(found, key=lambda row: (not row.is_locked, row.name))
    location = str(row.properties.get("keylocation", ["prompt"])[0])
    root = row.encryption_root
    return Key(row.encryption, root, root == vm.dataset, row.is_locked, location)


def locked(host: Host) -> set[str]:
    """The datasets of the VMs of which something is locked, as observed; in one query."""
    rows = Dataset.objects.filter(pool__host=host, key_status="unavailable").select_related("pool")
    found = set()
    for row in rows:
        home = f"{row.pool.home}/vms/"
        if row.name.startswith(home):
            found.add(home + row.name.removeprefix(home).partition("/")[0])
    return found


def is_locked(run: Run, vm: VM) -> bool:
    """Whether the VM is locked, as its host says now."""
    try:
        keys.require_unlocked(run.host, vm.pool, vm.dataset, vm.name)
    except OperationFailed:
        return True
    return False


@vm_operation("vms.unlock", "Unlock {vm}", recover="vms.settle_key")
def unlock(run: Run, params: UnlockParams) -> None:
    """Load the keys that the VM's datasets need and are missing, and mount what has them."""
    passphrase = taken(run, params.secret)
    vm = vm_of(params)
    require_whole(vm)
    for root in _roots(vm):
        keys.unlock(run, vm.pool, root, passphrase, start=params.start)


@vm_operation("vms.lock", "Lock {vm}", recover="vms.settle_key")
def lock(run: Run, params: VmParams) -> None:
    """Lock a VM that is off and has a key of its own."""
    vm = vm_of(params)
    require_whole(vm)
    if power.is_on(run.host, vm.name):
        raise OperationFailed(f"{vm.name} is on. Stop it first.")
    _require_own(vm)
    keys.lock(run, vm.pool, vm.dataset)
    mark(vm, State.LOCKED, REASON)


@vm_operation("vms.change_key", "Change the passphrase of {vm}", right="vms.change")
def change_key(run: Run, params: ChangeKeyParams) -> None:
    """Give a VM that is unlocked another passphrase, for whoever knows the one that it has."""
    old, new = taken(run, params.secret), taken(run, params.new_secret)
    vm = vm_of(params)
    require_whole(vm)
    _require_own(vm)
    keys.change(run, vm.pool, vm.dataset, old or "", new or "")


@vm_operation("vms.settle_key", "Look after the key of {vm}", right=None)
def settle_key(run: Run, params: SettleParams) -> None:
    """Mount what is unlocked, after the worker died or was stopped; what is locked stays so."""
    vm = row_of(params)
    if vm is None or vm.state in {State.CREATING, State.DELETING}:
        run.log("There is nothing to look after.")
        return
    for root in _roots(vm):
        keys.settle(run, vm.pool, root, start=params.start)


def _roots(vm: VM) -> list[str]:
    roots = keys.roots(vm.pool, vm.dataset)
    if not roots:
        raise OperationFailed(f"{vm.name} is not encrypted.")
    outside = [root for root in roots if not root.startswith(f"{vm.pool.home}/")]
    if outside:
        raise OperationFailed(f"{outside[0]} is not bHype's: unlock it on the host, with zfs load-key.")
    return roots


def _require_own(vm: VM) -> None:
    root = next(iter(_roots(vm)))
    if root != vm.dataset:
        raise OperationFailed(f"{vm.name} has the key of {root}: do this there.")


def unlocked(run: Run, pool: Pool, names: list[str], *, start: bool) -> None:
    """Datasets can be reached again (storage.datasets.keys): VMs that waited for it can start, and those that start
    with the host do."""
    waiting = VM.objects.filter(pool=pool, state=State.LOCKED).select_related("pool", "host")
    still = locked(pool.host)
    for vm in waiting.prefetch_related("disks").order_by("start_order", "name"):
        if not any(name == vm.dataset or name.startswith(f"{vm.dataset}/") for name in names):
            continue
        if vm.dataset in still:
            run.log(f"{vm.name} still waits for another key.")
            continue
        mark(vm, State.STOPPED)
        if start and vm.autostart:
            _start(run, vm)


def _start(run: Run, vm: VM) -> None:
    deadline = time.monotonic() + ZVOL_SECONDS
    for path in [disk.path for disk in volumes(vm)]:
        while not run.host.exists(path) and time.monotonic() < deadline:
            run.check_cancelled()
            time.sleep(0.1)
    try:
        ask("vms.start", {"vm_id": vm.pk}, None)
    except Refused as refused:
        run.log(f"{vm.name} was not started: {refused}")
    else:
        run.log(f"{vm.name} waited for this, and starts.")
