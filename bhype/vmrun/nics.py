"""The host's side of a guest's network devices: taps, the bridges they are in, their rates and their links.

A bridge hands frames to a member's driver directly (bridge_enqueue in if_bridge.c), so ng_ether(4) sees what a
tap receives from its guest, but not what the bridge sends it. To limit both, a tap with a rate is not in the
bridge itself: behind it stand an ng_pipe(4) and an ng_eiface(4), and that interface is the member.

    guest - tap1001 - ng_ether lower - [lower PIPE upper] - ether EIFACE rtap1001 - bridge

Downstream of the pipe (upper to lower) is what the guest receives, upstream is what it sends.
"""

from __future__ import annotations

from bhype.freebsd import ifconfig, kld, ngctl
from bhype.freebsd.command import Command, ParseError
from bhype.freebsd.ifconfig import Interface
from bhype.host import CommandError, Host
from bhype.vmrun.config import Config
from bhype.vmrun.devices import Device

MODULES = ("ng_ether", "ng_pipe", "ng_eiface")
_TROUBLE = (CommandError, ParseError, ValueError)
Found = dict[str, Interface]


class Unmade(Exception):
    """Something could not be made or was made otherwise than asked. A sentence."""


def wanted_taps(config: Config) -> tuple[Device, ...]:
    """The network devices whose taps come and go with the VM."""
    return tuple(device for device in _taps(config) if device.fix)


def _taps(config: Config) -> tuple[Device, ...]:
    return tuple(one for one in config.devices if one.is_network and one.backend in {"tap", "vmnet"})


def port_name(tap: str) -> str:
    """The interface that stands in the bridge for a tap with a rate."""
    return f"r{tap}"


def tap_of(member: str) -> str:
    """The tap that is meant by a bridge's member: itself, or the one that stands behind it."""
    return member[1:] if member.startswith("rtap") else member


def pipe_name(tap: str) -> str:
    return f"{tap}_pipe"


def is_up(device: Device) -> bool:
    return str(device.values.get("link", "up")) == "up"


def has_rate(device: Device) -> bool:
    return any(device.values.get(key) for key in ("rate_in", "rate_out"))


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


def make(host: Host, config: Config, interfaces: list[Interface]) -> list[str]:
    """Bring every wanted tap to its description, MTU, rate and bridge. Returns what is not as wanted but does
    not keep the guest from running. Raises CommandError or Unmade."""
    devices = wanted_taps(config)
    if not devices:
        return []
    found = {interface.name: interface for interface in interfaces}
    warnings: list[str] = []
    is_sure = True
    for device in devices:
        is_sure = _make(host, device, found, warnings) and is_sure
    if not is_sure:
        found = _look(host)
        for device in devices:
            _verify(device, found)
    return warnings


def _make(host: Host, device: Device, found: Found, warnings: list[str]) -> bool:
    """Whether nothing was said against it: ifconfig(8) only warns about a refused description or MTU."""
    name, description = device.values["name"], device.values.get("description")
    bridge = device.values.get("bridge")
    mtu = _mtu(device, found)
    tap = found.get(name)
    if tap is None:
        made = host.run(
            ifconfig.create(name, description=description, group=ifconfig.GROUP, mtu=mtu, up=True)
        )
        is_sure = not made.stderr.strip()
    else:
        is_sure = False
        if description and tap.description != description:
            host.run(ifconfig.set_description(name, description))
        if mtu and tap.mtu != mtu:
            host.run(ifconfig.set_mtu(name, mtu))
    port, told = shape(host, device, found, mtu)
    warnings += told
    _join(host, found, bridge if is_up(device) else None, port, {name, port_name(name)})
    return is_sure and port == name


def _mtu(device: Device, found: Found) -> int | None:
    """The MTU asked for, else the bridge's: the first member would change it otherwise."""
    bridge = device.values.get("bridge")
    if bridge and bridge not in found:
        raise Unmade(f"The switch {bridge} of {device.values['name']} is missing.")
    wanted: int | None = device.values.get("mtu")
    return wanted or (found[bridge].mtu if bridge else None) or None


def _join(host: Host, found: Found, bridge: str | None, port: str, names: set[str]) -> None:
    """Make ``port``, and no other of ``names``, a member of ``bridge``, and of no other."""
    for other in found.values():
        for member in names.intersection(other.members):
            if other.name != bridge or member != port:
                host.run(ifconfig.remove_member(other.name, member))
    if bridge and port not in found[bridge].members:
        host.run(ifconfig.add_member(bridge, port))


def _verify(device: Device, found: Found) -> None:
    name, bridge = device.values["name"], device.values.get("bridge")
    tap = found.get(name)
    if tap is None:
        raise Unmade(f"{name} was created but is not there.")
    for key, got in (("description", tap.description), ("mtu", tap.mtu)):
        asked = device.values.get(key)
        if asked and got != asked:
            raise Unmade(f"{name} did not take the {key} {asked!r}, it has {got!r}.")
    if bridge and is_up(device) and not {name, port_name(name)}.intersection(found[bridge].members):
        raise Unmade(f"{name} did not become a member of {bridge}.")


def destroy(host: Host, taps: list[str]) -> list[str]:
    """Destroy those that exist and are bHype's; returns what could not be done, as sentences."""
    if not taps:
        return []
    try:
        interfaces = host.query(ifconfig.list_interfaces())
    except _TROUBLE as error:
        return [str(error)]
    there = {one.name for one in interfaces if ifconfig.GROUP in one.groups}
    failures = []
    piped = _piped(host)
    for tap in taps:
        try:
            if port_name(tap) in there or pipe_name(tap) in piped:
                unshape(host, tap)
            if tap in there:
                host.run(ifconfig.destroy(tap))
        except _TROUBLE as error:
            failures.append(str(error))
    return failures


# Links.


def set_link(host: Host, device: Device) -> list[str]:
    """Plug a running guest's device in or out, as its configuration says. Returns what could not be done."""
    name, bridge = device.values["name"], device.values.get("bridge")
    try:
        found = _look(host)
        if name not in found:
            return [f"The interface {name} is missing."]
        port = port_name(name) if port_name(name) in found else name
        if is_up(device) and bridge and bridge not in found:
            return [f"The switch {bridge} is missing."]
        _join(host, found, bridge if is_up(device) else None, port, {name, port_name(name)})
        if is_up(device) != found[name].is_up:
            host.run(ifconfig.up(name) if is_up(device) else ifconfig.down(name))
    except _TROUBLE as error:
        return [f"{name} is not as wanted: {error}"]
    return []


def pull_cables(host: Host, config: Config) -> list[str]:
    """Take down the taps whose link is down: bhyve(8) sets those that it opens up."""
    return [problem for one in _taps(config) if not is_up(one) for problem in set_link(host, one)]


# Rates.


def shape(host: Host, device: Device, found: Found, mtu: int | None = None) -> tuple[str, list[str]]:
    """Limit a tap as its device says; returns the interface that belongs into the bridge, and what could not be
    done. A pipe that is there stays, with no limit if none is wanted."""
    tap = device.values["name"]
    port = port_name(tap)
    if not has_rate(device) and port not in found:
        return tap, []
    try:
        if port not in found:
            _insert(host, tap, device.values.get("description"), mtu)
        down, up = (_bandwidth(device.values.get(key)) for key in ("rate_in", "rate_out"))
        host.run(ngctl.set_bandwidth(f"{pipe_name(tap)}:", downstream=down, upstream=up))
    except _TROUBLE as error:
        unshape(host, tap)
        return tap, [f"The rate of {tap} is not limited: {error}"]
    return port, []


def reshape(host: Host, device: Device) -> list[str]:
    """The same for a running guest, the bridge included."""
    try:
        found = _look(host)
        _, warnings = shape(host, device, found, found[device.values["name"]].mtu if found else None)
    except (*_TROUBLE, KeyError) as error:
        return [f"The rate of {device.values['name']} is not limited: {error}"]
    return warnings + set_link(host, device)


def _insert(host: Host, tap: str, description: str | None, mtu: int | None) -> None:
    """Put the pipe and the interface behind a tap. Raises CommandError."""
    for module in MODULES:
        if not host.query(kld.is_loaded(module)):
            host.run(kld.load(module))
    port, pipe = port_name(tap), pipe_name(tap)
    # What an interrupted attempt has left.
    unshape(host, tap)
    host.run(ngctl.make_peer(f"{tap}:", "pipe", "lower", "lower"))
    host.run(ngctl.set_name(f"{tap}:lower", pipe))
    # Frames keep the guest's address.
    host.run(ngctl.message(f"{tap}:", "setautosrc", "0"))
    host.run(ngctl.make_peer(f"{pipe}:", "eiface", "upper", "ether"))
    made = host.query(ngctl.name_of(f"{pipe}:upper"))
    host.run(ngctl.set_name(f"{pipe}:upper", port))
    host.run(ifconfig.rename(made, port))
    for words in _dress(port, description, mtu):
        host.run(words)


def _dress(port: str, description: str | None, mtu: int | None) -> list[Command]:
    commands = [ifconfig.set_group(port, ifconfig.GROUP)]
    if description:
        commands.append(ifconfig.set_description(port, description))
    if mtu:
        commands.append(ifconfig.set_mtu(port, mtu))
    return [*commands, ifconfig.up(port)]


def unshape(host: Host, tap: str) -> None:
    """Take away the pipe and the interface behind a tap, as far as they are there, whatever they are called."""
    for path in (f"{port_name(tap)}:", f"{tap}:lower.upper", f"{tap}:lower"):
        try:
            host.run(ngctl.shutdown(path))
        except CommandError:
            continue


def _piped(host: Host) -> set[str]:
    """The names of all netgraph nodes; without ng_pipe(4) nobody is asked."""
    try:
        if host.query(kld.is_loaded("ng_pipe")):
            return {*host.query(ngctl.nodes())}
    except _TROUBLE:
        pass
    return set()


def _bandwidth(rate: int | None) -> int | None:
    """What the pipe can do: beyond its fastest it lets everything through."""
    if not rate or rate > ngctl.FASTEST:
        return None
    return max(rate, ngctl.SLOWEST)


def _look(host: Host) -> Found:
    return {interface.name: interface for interface in host.query(ifconfig.list_interfaces())}
