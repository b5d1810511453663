"""What each device of a VM needs from its host."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

from bhype.freebsd import ifconfig, ngctl, pciconf
from bhype.freebsd.bhyve import Machine
from bhype.freebsd.command import ParseError
from bhype.freebsd.ifconfig import Interface
from bhype.freebsd.pciconf import PciDevice
from bhype.host import CommandError, Host
from bhype.vmrun.config import Config
from bhype.vmrun.devices import Device
from bhype.vmrun.files import disk, folder, missing, shared
from bhype.vmrun.outcome import ON
from bhype.vmrun.problems import Problem
from bhype.vmrun.rundir import RUN_DIR

_TROUBLE = (CommandError, ParseError)


def check(
    host: Host, config: Config, machine: Machine, interfaces: list[Interface] | None = None
) -> list[Problem]:
    """The problems of the devices, each under its slot and kind, in the order of the document. interfaces: those of
    the host, where they are known."""
    # The slots of a machine are the host bridge, the LPC bridge, then the devices in their order.
    places = [
        (f"{slot.address} {device.kind}", device)
        for device, slot in zip(config.devices, machine.slots[2:], strict=False)
    ]
    found = [
        *(problem for where, device in places for problem in _files(host, where, device)),
        *_networks(host, [(where, device) for where, device in places if device.is_network], interfaces),
        *_guests(
            host, config.name, [(where, device) for where, device in places if device.kind == "passthru"]
        ),
    ]
    order = {where: number for number, (where, _) in enumerate(places)}
    return sorted(found, key=lambda problem: order.get(problem.where, -1))


def located(host: Host, devices: tuple[Device, ...]) -> tuple[Device, ...]:
    """The devices, with a place for those of the host that are to be looked up and are there. Two of the same kind
    get two places. Raises CommandError, ParseError."""
    there = host.query(pciconf.devices())
    found = []
    for device in devices:
        match = next((one for one in there if _is_wanted(device, one)), None)
        if match:
            there.remove(match)
            values = {key: value for key, value in device.values.items() if key != "lookup"}
            device = replace(device, values={**values, "src": match.place})  # noqa: PLW2901
        found.append(device)
    return tuple(found)


def _is_wanted(device: Device, there: PciDevice) -> bool:
    """vmrun writes a device's own number, then its subsystem's: 0xVVVVSSSS and 0xDDDDSSSS."""
    lookup = device.values.get("lookup")
    if lookup is None or there.domain:
        return False
    vendor, number = int(lookup["vendor"], 16), int(lookup["device"], 16)
    return (there.vendor, there.subvendor, there.device, there.subdevice) == (
        vendor >> 16,
        vendor & 0xFFFF,
        number >> 16,
        number & 0xFFFF,
    )


def _files(host: Host, where: str, device: Device) -> Iterator[Problem]:
    for path in device.files:
        yield from disk(host, where, path)
    for path in device.sockets:
        yield from folder(host, where, path)
    values = device.values
    match device.kind:
        case "virtio-9p":
            yield from shared(host, where, values["path"])
        case "virtio-input":
            yield from missing(host, where, values["path"], "Choose a device of /dev/input.")
        case "virtio-scsi":
            yield from missing(host, where, values["dev"], "Make the port: ctladm port -c.")
        case "hda":
            for path in {values[key] for key in ("play", "rec") if key in values}:
                yield from missing(host, where, path, "Load the driver of the sound card, or choose another.")


# Network.


def _networks(
    host: Host, places: list[tuple[str, Device]], interfaces: list[Interface] | None
) -> Iterator[Problem]:
    if not places:
        return
    try:
        known = host.query(ifconfig.list_interfaces()) if interfaces is None else interfaces
        found = {interface.name: interface for interface in known}
    except _TROUBLE as error:
        yield Problem("network", str(error))
        found = {}
    for where, device in places:
        match device.backend:
            case "tap" | "vmnet":
                yield from _tap(where, device, found)
            case "netgraph":
                yield from _node(host, where, device.values["path"])
            case "netmap":
                # netmap:em0, with netmap(4)'s own endings for rings and directions.
                name = re.split(r"[-*^{/@]", device.values["name"].removeprefix("netmap:"))[0]
                if name not in found:
                    yield Problem(where, f"The interface {name} is missing.", "Choose another interface.")


def _tap(where: str, device: Device, interfaces: dict[str, Interface]) -> Iterator[Problem]:
    name, bridge = device.values["name"], device.values.get("bridge")
    found = interfaces.get(name)
    if found is None and not device.fix:
        mend = f'Run: ifconfig {name} create; or say "fix": true.'
        yield Problem(where, f"The interface {name} is missing.", mend)
    if found and found.opened_by:
        mend = "End that process, or choose another interface."
        yield Problem(where, f"{name} is open in process {found.opened_by}.", mend)
    if bridge and bridge not in interfaces:
        yield Problem(where, f"The switch {bridge} is missing.", f"Make the bridge {bridge}.")


def _node(host: Host, where: str, path: str) -> Iterator[Problem]:
    """bhyve joins a node that is there already."""
    try:
        nodes = host.query(ngctl.nodes())
    except _TROUBLE as error:
        yield Problem(where, str(error))
        return
    name = path.partition(":")[0]
    # Those without a name are addressed by their number, and not in the list.
    if name not in nodes and not name.startswith("["):
        yield Problem(where, f"There is no netgraph node {name}.", f"Make it: ngctl name PATH {name}")


# Passthrough.


def _guests(host: Host, name: str, places: list[tuple[str, Device]]) -> Iterator[Problem]:
    if not places:
        return
    try:
        there = {device.place: device for device in host.query(pciconf.devices()) if not device.domain}
    except _TROUBLE as error:
        yield Problem("passthru", str(error))
        return
    holders = passed_through(host)
    seen: set[str] = set()
    for where, device in places:
        place = device.values.get("src")
        if place is None:
            wanted = " ".join(device.values["lookup"].values())
            yield Problem(where, f"The host has no (other) device {wanted}.", "See: pciconf -l")
            continue
        if place in seen:
            yield Problem(where, f"{place} is given to the VM twice.", "Take one out.")
        seen.add(place)
        yield from _reserved(where, place, there.get(place), is_made=device.fix)
        holder = holders.get(place)
        if holder not in {None, name}:
            yield Problem(where, f"{place} is in use by the VM {holder}.", "Stop that VM first.")


def _reserved(where: str, place: str, device: PciDevice | None, *, is_made: bool) -> Iterator[Problem]:
    if device is None:
        yield Problem(where, f"The host has no PCI device {place}.", "See: pciconf -l")
    elif not device.is_endpoint:
        yield Problem(where, f"{place} is a bridge, which stays the host's.", "Choose a device behind it.")
    elif not device.is_reserved and not is_made:
        taken = f"the driver {device.driver}" if device.driver else "no driver"
        mend = f'Run: devctl set driver -f {device.selector} ppt; or say "fix": true.'
        yield Problem(where, f"{place} is not reserved for guests, it has {taken}.", mend)


def passed_through(host: Host, run_dir: str = RUN_DIR) -> dict[str, str]:
    """The devices (as "1/0/0") of the VMs that are on, with the VM's name: ppt(4) tells nobody who has one."""
    found = {}
    for name in host.listdir(run_dir) if host.exists(run_dir) else ():
        try:
            state = json.loads(host.read_text(f"{run_dir}/{name}/state.json"))
            words = state["command"] if state["state"] in ON else []
        except (OSError, ValueError, KeyError, TypeError):
            continue
        for word in words:
            if match := re.match(r"[0-9:]+,passthru,([0-9]+/[0-9]+/[0-9]+)(,|$)", str(word)):
                found[match[1]] = name
    return found
