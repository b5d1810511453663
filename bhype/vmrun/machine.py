"""From a configuration to bhyve's command line: which device sits in which slot. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from bhype.freebsd.bhyve import Address, Machine, Slot
from bhype.vmrun.config import Config, Graphic
from bhype.vmrun.devices import Device
from bhype.vmrun.keys import CSM_ROM
from bhype.vmrun.problems import Problem, Unfit
from bhype.vmrun.rundir import EMPTY, RUN_DIR, SECRETS

# Lets bhyve itself give the devices' registers their places.
ENABLE_BARS = "pci.enable_bars"
# In the VM's run directory: where its own swtpm listens.
TPM_SOCKET = "tpm.sock"


def machine(config: Config, *, folder: str | None = None, wait: bool = True) -> Machine:
    """The VM as bhyve is told. folder: its run directory, with the VNC password, the socket of its own swtpm and
    what stands in for the medium of an empty drive; without it no secrets are read. wait: whether the guest may
    wait for a viewer (only before its first start). Raises Unfit when the devices do not fit on the bus."""
    secret_file = f"{folder}/{SECRETS}" if folder else None
    folder = folder or f"{RUN_DIR}/{config.name}"
    slots = tuple(_slots(config, folder, wait=wait))
    _check(config, slots)
    return Machine(
        name=config.name,
        topology=config.cpu,
        memory=config.memory,
        slots=slots,
        lpc=tuple(_lpc(config, folder)),
        uuid=config.uuid,
        gdb=config.gdb,
        keyboard=config.keyboard,
        pins=config.pinning,
        fw_cfg=tuple(f"{name},{kind}={content}" for name, kind, content in config.fw_cfg),
        variables=tuple(_variables(config)),
        options=config.extra_options,
        secret_file=secret_file,
        acpi=config.flags["generate_acpi"],
        wire_memory=config.flags["wire_guest_mem"],
        yield_on_hlt=config.flags["yield_on_hlt"],
        yield_on_pause=config.flags["yield_on_pause"],
        no_msix=config.flags["force_msi"],
        # Devices on another bus than the first are not found through the MP table.
        no_mptable=config.flags["disable_mptable_gen"] or any(slot.address.bus for slot in slots),
        utc_clock=config.flags["utc_clock"],
        ignore_msr=config.flags["ignore_msr"],
        destroy_on_poweroff=config.flags["power_off_destroy_vm"],
        guest_in_core=config.flags["guest_in_core"],
        x2apic=config.flags["x2apic"],
        strict_io=config.flags["strict_io"],
    )


def _lpc(config: Config, folder: str) -> Iterator[str]:
    """The words of -l: the boot ROM unless a loader has put a system into the memory, ports and TPM."""
    if config.loader is None:
        words = ["bootrom", config.bootrom]
        if config.varfile:
            words.append(config.varfile)
        if config.fwcfg != "bhyve":
            words.append(f"fwcfg={config.fwcfg}")
        yield ",".join(words)
    yield from (f"{key},{value}" for key, value in config.com)
    if config.tpm:
        path = config.tpm.path or f"{folder}/{TPM_SOCKET}"
        yield f"tpm,{config.tpm.type},{path},version={config.tpm.version}"


def _variables(config: Config) -> Iterator[tuple[str, str]]:
    """The words of -o. Without a boot ROM there is no other place for its interface."""
    if config.loader is not None and config.fwcfg != "bhyve":
        yield "lpc.fwcfg", config.fwcfg
    if config.loader is None and config.bootrom.endswith(CSM_ROM) and ENABLE_BARS not in dict(config.options):
        # Since FreeBSD 15 that is the boot ROM's to do, and this one does not; others than 15 do not read it.
        yield ENABLE_BARS, "true"
    yield from config.options


def _slots(config: Config, folder: str, *, wait: bool) -> Iterator[Slot]:
    """Explicit slots are kept; the rest go in order to the next that nobody names."""
    screen = config.graphic
    taken = {device.slot for device in config.devices} | {config.lpc_slot or Address(0, 31)}
    if screen:
        taken |= {screen.slot, *((screen.xhci_slot,) if screen.xhci_table else ())}
    free = (place for place in _places() if place not in taken)
    yield Slot(next(free), config.hostbridge)
    yield Slot(config.lpc_slot or Address(0, 31), "lpc")
    for device in config.devices:
        yield Slot(device.slot or _next(config, free), _argument(device, folder))
    if screen:
        secrets = (("password", screen.password),) if screen.password else ()
        yield Slot(screen.slot or _next(config, free), _frame_buffer(screen, wait=wait), secrets)
        if screen.xhci_table:
            yield Slot(screen.xhci_slot or _next(config, free), "xhci,tablet")


def _argument(device: Device, folder: str) -> str:
    """bhyve opens a medium for every drive (pci_ahci.c), so that an empty one has a file with nothing in it."""
    if device.kind == "ahci-cd" and not device.drives:
        device = replace(device, values={**device.values, "path": f"{folder}/{EMPTY}", "ro": True})
    return device.argument


def _places() -> Iterator[Address]:
    """Function 0 of slots 0 to 30 of every bus: slot 31 of the first is the LPC bridge's by custom."""
    return (Address(bus, slot) for bus, slot in product(range(256), range(31)))


def _next(config: Config, free: Iterator[Address]) -> Address:
    place = next(free, None)
    if place is None:
        raise Unfit(config.name, [Problem("pci", "There are more devices than slots.")])
    return place


def _frame_buffer(graphic: Graphic, *, wait: bool) -> str:
    host = f"[{graphic.host}]" if ":" in graphic.host else graphic.host
    words = ["fbuf", f"tcp={host}:{graphic.port}"]
    for key, value in (("w", graphic.width), ("h", graphic.height), ("vga", graphic.vga)):
        if value:
            words.append(f"{key}={value}")
    if graphic.wait and wait:
        words.append("wait")
    return ",".join(words)


def _check(config: Config, slots: tuple[Slot, ...]) -> None:
    problems = []
    seen: dict[Address, str] = {}
    for slot in slots:
        if slot.address in seen:
            where = f"{slot.address} {slot.device.split(',')[0]}"
            problems.append(
                Problem(
                    where, f"The slot is taken by {seen[slot.address]}.", "Leave it out, or choose another."
                )
            )
        seen[slot.address] = slot.device.split(",")[0]
    lpc = config.lpc_slot
    if lpc and lpc.bus:
        problems.append(Problem(f"{lpc} lpc", "The LPC bridge can only be on bus 0."))
    if not config.flags["wire_guest_mem"] and any(device.kind == "passthru" for device in config.devices):
        mend = 'Say "wire_guest_mem": true.'
        problems.append(Problem("memory", "A passed-through device needs the guest's memory wired.", mend))
    if problems:
        raise Unfit(config.name, problems)
