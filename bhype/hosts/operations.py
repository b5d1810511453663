"""What the worker does to the host itself."""

from __future__ import annotations

from django.conf import settings
from pydantic import BaseModel

from bhype.freebsd import devctl, ifconfig, kld, pciconf
from bhype.host import CommandFailed
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation

from . import pci
from .models import PciDevice
from .observe import MODULES


class Nothing(BaseModel):
    """No parameters."""


@operation("hosts.prepare", title="Load the kernel modules that VMs need", right="hosts.change", lock="host")
def prepare(run: Run, _params: Nothing) -> None:
    """Load vmm(4), nmdm(4), if_bridge(4) and tap(4) where they are missing. May be repeated."""
    for name in MODULES:
        if not run.host.query(kld.is_loaded(name)):
            run.stage(f"Loading {name}")
            run.host.run(kld.load(name))


class DeviceParams(BaseModel):
    device_id: int


def _device(params: DeviceParams) -> PciDevice | None:
    return PciDevice.objects.select_related("host").filter(pk=params.device_id).first()


def _words(params: DeviceParams) -> dict[str, str]:
    device = _device(params)
    return {"device": f"{device.name or device.identity} ({device.address})" if device else "a PCI device"}


def _look(run: Run, params: DeviceParams) -> tuple[PciDevice, pciconf.PciDevice]:
    """The row, and the device as the host has it now; a row says nothing about what root may do."""
    row = _device(params)
    found = {one.selector: one for one in run.host.query(pciconf.devices())}
    if row is None or row.address not in found:
        raise OperationFailed("The host has no such PCI device any more.")
    return row, found[row.address]


def _note(run: Run, row: PciDevice) -> pciconf.PciDevice:
    """Read back what has become of a device."""
    device = next(one for one in run.host.query(pciconf.devices()) if one.selector == row.address)
    PciDevice.objects.filter(pk=row.pk).update(
        driver=pci.driver_name(device), is_reserved=device.is_reserved, kept=""
    )
    publish(f"host:{row.host_id}")
    return device


@operation(
    "hosts.reserve_pci", title="Reserve {device} for VMs", right="hosts.change", lock="pci", target=_device,
    describe=_words,
)  # fmt: skip
def reserve_pci(run: Run, params: DeviceParams) -> None:
    """Give a device to ppt(4) until the next boot. May be repeated. Refuses what the host needs for itself."""
    if "passthru" not in settings.ALLOW:
        raise OperationFailed(f"This host gives no devices to VMs. {pci.ALLOWING}")
    row, device = _look(run, params)
    if device.is_reserved:
        _note(run, row)
        return
    interfaces = run.host.query(ifconfig.list_interfaces())
    reason = pci.kept(device, interfaces)
    if reason:
        raise OperationFailed(f"{row.address} stays the host's. {reason}")
    if not run.host.query(kld.is_loaded("vmm")):
        run.host.run(kld.load("vmm"))
    try:
        run.host.run(devctl.set_driver(row.address, pciconf.PPT))
    finally:
        device = _note(run, row)
    if not device.is_reserved:
        raise OperationFailed(f"devctl reported no error, but {row.address} is not reserved.")
    places = [one.place for one in run.host.query(pciconf.devices()) if one.is_reserved]
    run.log("For each boot, put into /boot/loader.conf:\n" + "\n".join(pci.loader_lines(places)))


@operation(
    "hosts.release_pci", title="Give {device} back to the host", right="hosts.change", lock="pci", target=_device,
    describe=_words,
)  # fmt: skip
def release_pci(run: Run, params: DeviceParams) -> None:
    """Let the host's own driver have a device again. May be repeated. Refuses what a VM has."""
    row, device = _look(run, params)
    owner = pci.owners(row.host).get(row.address)
    if owner:
        raise OperationFailed(f"{owner.name} has {row.address}: take it out of that VM first.")
    if device.is_reserved:
        try:
            run.host.run(devctl.clear_driver(row.address))
        except CommandFailed as error:
            raise OperationFailed(
                f"{error} If it is reserved in /boot/loader.conf (pptdevs), take it out there and reboot the host."
            ) from error
        finally:
            device = _note(run, row)
        if device.is_reserved:
            raise OperationFailed(f"devctl reported no error, but {row.address} is still reserved.")
    _note(run, row)
