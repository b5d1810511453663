"""What a VM needs and its supervisor makes: taps in their bridges, UEFI variables, free socket paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from bhype.freebsd import bhyvectl, ifconfig, kld, ps
from bhype.freebsd.ifconfig import Interface
from bhype.host import CommandError, Host
from bhype.vmrun.check import local, template
from bhype.vmrun.config import Config
from bhype.vmrun.devices import Device


class Unmade(Exception):
    """Something could not be made or was made otherwise than asked. A sentence."""


def wanted_taps(config: Config) -> tuple[Device, ...]:
    """The network devices whose taps come and go with the VM."""
    return tuple(device for device in config.devices if device.is_network and device.fix)


def find_bhyve(host: Host, name: str) -> int | None:
    """The process of a VM's bhyve, if one runs. Raises CommandError, ParseError."""
    for process in host.query(ps.processes()):
        # Before its initialisation is over it shows its argv, not its title.
        words = process.command.split()
        is_starting = len(words) > 1 and words[-1] == name and words[0].endswith("/bhyve")
        if process.vm == name or is_starting:
            return process.pid
    return None


def prepare(host: Host, config: Config, note_taps: Callable[[list[str]], None]) -> None:
    """Make all that is made for each start; ``note_taps`` hears of the taps first. Raises CommandError, Unmade,
    OSError."""
    if wanted_taps(config):
        interfaces = host.query(ifconfig.list_interfaces())
        note_taps(ours(config, interfaces))
        make_taps(host, config, interfaces)
    make_variables(host, config)
    remove_sockets(host, config)


def load_modules(host: Host, config: Config) -> None:
    """The kernel's parts for VMs; raises CommandError."""
    if not host.query(kld.is_loaded("vmm")):
        host.run(kld.load("vmm"))
    if any("/dev/nmdm" in device for _, device in config.com) and not host.query(kld.is_loaded("nmdm")):
        host.run(kld.load("nmdm"))


def ours(config: Config, interfaces: list[Interface]) -> list[str]:
    """The taps that may be destroyed when the VM ends: those still to be made, and those that an earlier run
    of this VM has left, by their description. Others belong to somebody else."""
    found = {interface.name: interface for interface in interfaces}
    names = []
    for device in wanted_taps(config):
        name, description = device.values["name"], device.values.get("description")
        if name not in found or (description and found[name].description == description):
            names.append(name)
    return names


def make_taps(host: Host, config: Config, interfaces: list[Interface]) -> None:
    """Bring every wanted tap to its description, MTU and bridge. Raises CommandError or Unmade."""
    devices = wanted_taps(config)
    if not devices:
        return
    found = {interface.name: interface for interface in interfaces}
    for device in devices:
        _make_tap(host, device, found)
    # ifconfig(8) only warns about a refused description or MTU.
    found = {interface.name: interface for interface in host.query(ifconfig.list_interfaces())}
    for device in devices:
        _verify(device, found)


def _make_tap(host: Host, device: Device, found: dict[str, Interface]) -> None:
    name, description = device.values["name"], device.values.get("description")
    bridge = device.values.get("bridge")
    mtu = _mtu(device, found)
    tap = found.get(name)
    if tap is None:
        host.run(ifconfig.create(name, description=description, group=ifconfig.GROUP, mtu=mtu, up=True))
    else:
        if description and tap.description != description:
            host.run(ifconfig.set_description(name, description))
        if mtu and tap.mtu != mtu:
            host.run(ifconfig.set_mtu(name, mtu))
    for other in found.values():
        if name in other.members and other.name != bridge:
            host.run(ifconfig.remove_member(other.name, name))
    if bridge and name not in found[bridge].members:
        host.run(ifconfig.add_member(bridge, name))


def _mtu(device: Device, found: dict[str, Interface]) -> int | None:
    """The MTU asked for, else the bridge's: the first member would change it otherwise."""
    bridge = device.values.get("bridge")
    if bridge and bridge not in found:
        raise Unmade(f"The switch {bridge} of {device.values['name']} is missing.")
    wanted: int | None = device.values.get("mtu")
    return wanted or (found[bridge].mtu if bridge else None) or None


def _verify(device: Device, found: dict[str, Interface]) -> None:
    name, bridge = device.values["name"], device.values.get("bridge")
    tap = found.get(name)
    if tap is None:
        raise Unmade(f"{name} was created but is not there.")
    for key, got in (("description", tap.description), ("mtu", tap.mtu)):
        asked = device.values.get(key)
        if asked and got != asked:
            raise Unmade(f"{name} did not take the {key} {asked!r}, it has {got!r}.")
    if bridge and name not in found[bridge].members:
        raise Unmade(f"{name} did not become a member of {bridge}.")


def destroy_taps(host: Host, taps: list[str]) -> list[str]:
    """Destroy those that exist and are bHype's; returns what could not be done, as sentences."""
    if not taps:
        return []
    try:
        interfaces = host.query(ifconfig.list_interfaces())
        there = {interface.name for interface in interfaces if ifconfig.GROUP in interface.groups}
    except (CommandError, ValueError) as error:
        return [str(error)]
    failures = []
    for tap in taps:
        if tap in there:
            try:
                host.run(ifconfig.destroy(tap))
            except CommandError as error:
                failures.append(str(error))
    return failures


def make_variables(host: Host, config: Config) -> None:
    """Give the VM its own UEFI variables when it has none: the packaged file must never be written."""
    if config.varfile and config.varfile.startswith("/") and not host.exists(config.varfile):
        host.copy(template(config), config.varfile, 0o600)


def remove_sockets(host: Host, config: Config) -> None:
    """bhyve makes the sockets of a virtio-console and fails when they are there. Other files stay."""
    for device in config.devices:
        for path in device.sockets:
            place = local(host, path)
            try:
                if stat.S_ISSOCK(os.lstat(place).st_mode):
                    os.unlink(place)
            except FileNotFoundError:
                continue


def destroy_machine(host: Host, name: str) -> list[str]:
    """Remove the VM from the kernel when it is there; returns what could not be done."""
    if not host.exists(f"/dev/vmm/{name}"):
        return []
    try:
        host.run(bhyvectl.destroy(name))
    except CommandError as error:
        return [str(error)]
    return []
