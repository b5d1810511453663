"""The host's side of a guest's network devices: taps, the bridges they are in, their rates and their links.

A bridge hands frames to a member's driver directly (bridge_enqueue in if_bridge.c), so ng_ether(4) sees what a
tap receives from its guest, but not what the bridge sends it. To limit both, a tap with a rate is not in the
bridge itself: behind it stand an ng_pipe(4) and an ng_eiface(4), and that interface is the member.

    guest - tap1001 - ng_ether lower - [lower PIPE upper] - ether EIFACE rtap1001 - bridge

Downstream of the pipe (upper to lower) is what the guest receives, upstream is what it sends.

A switch of netgraph is an ng_bridge(4) and an interface, both of its name; taps are joined to it as

    guest - tap1001 - ng_ether lower - link1001 BRIDGE "sw-lan" link0 - ether EIFACE sw-lan

and have no rates of their own.
"""

from __future__ import annotations

import re

from bhype.freebsd import ifconfig, ifconfig_switch, kld, ngctl
from bhype.freebsd.command import Command, ParseError
from bhype.freebsd.ifconfig import Interface
from bhype.host import CommandError, Host
from bhype.vmrun.config import Config
from bhype.vmrun.devices import Device

MODULES = ("ng_ether", "ng_pipe", "ng_eiface")
# In which each tap that is joined to a switch of netgraph has a link by its own number.
_NUMBER = re.compile(r"tap([0-9]{1,9})")
_TROUBLE = (CommandError, ParseError, ValueError)
Found = dict[str, Interface]


class Unmade(Exception):
    """Something could not be made or was made otherwise than asked. A sentence."""


def wanted_taps(config: Config) -> tuple[Device, ...]:
    """The network devices whose taps come and go with the VM."""
    return tuple(device for device in _taps(config) if device.fix)


def _taps(config: Config) -> tuple[Device, ...]:
    return tuple(one for one in config.devices if one.is_network and _is_tap(one))


def _is_tap(device: Device) -> bool:
    return device.backend in {"tap", "vmnet"}


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
    _plug(host, found, device, port)
    return is_sure and port == name


def _mtu(device: Device, found: Found) -> int | None:
    """The MTU asked for, else the bridge's: the first member would change it otherwise."""
    bridge = device.values.get("bridge")
    if bridge and bridge not in found:
        raise Unmade(f"The switch {bridge} of {device.values['name']} is missing.")
    wanted: int | None = device.values.get("mtu")
    return wanted or (found[bridge].mtu if bridge else None) or None


def is_node(bridge: Interface) -> bool:
    """Whether a switch is one of netgraph: its interface is no bridge then."""
    return "bridge" not in bridge.groups


def _plug(host: Host, found: Found, device: Device, port: str) -> None:
    """Plug the device into its switch, and out of all others. port: the tap, or what stands for it. Raises
    CommandError, Unmade."""
    name, bridge = device.values["name"], device.values.get("bridge")
    here = found[bridge] if bridge and is_up(device) else None
    names = {name, port_name(name)}
    _leave_nodes(host, found, name, here)
    if here is not None and is_node(here):
        _leave_bridges(host, found, names, None, port)
        _join_node(host, here.name, name)
        return
    _check_vlans(here, device)
    _leave_bridges(host, found, names, here.name if here else None, port)
    if here is not None:
        if port not in here.members:
            host.run(_add(here, port, device))
        _set_up(host, here, port, device)


def _leave_bridges(host: Host, found: Found, names: set[str], bridge: str | None, port: str) -> None:
    """Take the interfaces of a device out of all bridges, but ``port`` out of ``bridge``."""
    for other in found.values():
        for member in names.intersection(other.members):
            if other.name != bridge or member != port:
                host.run(ifconfig.remove_member(other.name, member))


def _vlans(device: Device) -> tuple[int, str]:
    """The VLAN of what comes without a tag, and those of what has one."""
    return device.values.get("vlan") or ifconfig_switch.UNTAGGED, device.values.get("tagged") or ""


def _add(bridge: Interface, port: str, device: Device) -> Command:
    if not bridge.filters_vlans:
        return ifconfig.add_member(bridge.name, port)
    untagged, tagged = _vlans(device)
    return ifconfig_switch.add_member(bridge.name, port, untagged=untagged, tagged=tagged)


def _check_vlans(bridge: Interface | None, device: Device) -> None:
    """A guest that belongs into a VLAN never gets into all of them. Raises Unmade."""
    if bridge is None or bridge.filters_vlans:
        return
    if device.values.get("vlan") or device.values.get("tagged", "all") != "all":
        raise Unmade(
            f"{device.values['name']} is to be in VLANs of the switch {bridge.name}, which has none: its bridge does "
            "not filter them."
        )


def _set_up(host: Host, bridge: Interface, port: str, device: Device) -> None:
    """What a member is besides being one: isolated from others, and in its VLANs."""
    member = bridge.member(port)
    private = bool(device.values.get("private"))
    if private != (member is not None and member.is_private):
        host.run(ifconfig.set_private(bridge.name, port, private=private))
    untagged, tagged = _vlans(device)
    if bridge.filters_vlans and member is not None and (member.untagged, member.tagged) != (untagged, tagged):
        host.run(ifconfig_switch.set_member_vlans(bridge.name, port, untagged=untagged, tagged=tagged))


def link_of(tap: str) -> str:
    """The hook of a netgraph switch that a tap is joined to. Raises Unmade."""
    match = _NUMBER.fullmatch(tap)
    if not match:
        raise Unmade(f"{tap} is no tap with a number, as a switch of netgraph needs it.")
    return f"link{match[1]}"


def _join_node(host: Host, node: str, tap: str) -> None:
    """Join a tap to the ng_bridge(4) of a switch."""
    if not host.query(kld.is_loaded("ng_ether")):
        host.run(kld.load("ng_ether"))
    link = link_of(tap)
    if any(hook.name == link for hook in host.query(ngctl.hooks(f"{node}:"))):
        return
    # Frames keep the guest's address.
    host.run(ngctl.message(f"{tap}:", "setautosrc", "0"))
    host.run(ngctl.connect(f"{node}:", f"{tap}:", link, "lower"))


def _leave_nodes(host: Host, found: Found, tap: str, here: Interface | None) -> None:
    """Take a tap out of all netgraph switches but one."""
    nodes = [
        one.name
        for one in found.values()
        if one is not here and ifconfig.GROUP in one.groups and one.name.startswith("sw-") and is_node(one)
    ]
    for node in nodes if _NUMBER.fullmatch(tap) else ():
        if any(hook.name == link_of(tap) for hook in host.query(ngctl.hooks(f"{node}:"))):
            host.run(ngctl.remove_hook(f"{node}:", link_of(tap)))


def _verify(device: Device, found: Found) -> None:
    name, bridge = device.values["name"], device.values.get("bridge")
    tap = found.get(name)
    if tap is None:
        raise Unmade(f"{name} was created but is not there.")
    for key, got in (("description", tap.description), ("mtu", tap.mtu)):
        asked = device.values.get(key)
        if asked and got != asked:
            raise Unmade(f"{name} did not take the {key} {asked!r}, it has {got!r}.")
    if bridge and is_node(found[bridge]):
        return
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
    limited = piped(host)
    for tap in taps:
        try:
            if port_name(tap) in there or pipe_name(tap) in limited:
                unshape(host, tap)
            if tap in there:
                host.run(ifconfig.destroy(tap))
        except _TROUBLE as error:
            failures.append(str(error))
    return failures


# Links.


def set_link(host: Host, device: Device) -> list[str]:
    """Plug a running guest's device in or out, as its configuration says. Returns what could not be done."""
    if not _is_tap(device):
        return [f"A {device.backend} backend is plugged in by bhyve itself, at the VM's start only."]
    name, bridge = device.values["name"], device.values.get("bridge")
    try:
        found = _look(host)
        if name not in found:
            return [f"The interface {name} is missing."]
        port = port_name(name) if port_name(name) in found else name
        if is_up(device) and bridge and bridge not in found:
            return [f"The switch {bridge} is missing."]
        _plug(host, found, device, port)
        if is_up(device) != found[name].is_up:
            host.run(ifconfig.up(name) if is_up(device) else ifconfig.down(name))
    except (*_TROUBLE, Unmade) as error:
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
    bridge = found.get(str(device.values.get("bridge")))
    if bridge is not None and is_node(bridge):
        unshape(host, tap)
        return tap, [f"The rate of {tap} is not limited: ports of a netgraph switch have no limits."]
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
    if not _is_tap(device):
        return [f"The rate of a {device.backend} backend is not limited: that is done for taps only."]
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
    paths = [f"{port_name(tap)}:"]
    if not _is_at_node(host, tap):
        paths += [f"{tap}:lower.upper", f"{tap}:lower"]
    for path in paths:
        try:
            host.run(ngctl.shutdown(path))
        except CommandError:
            continue


def _is_at_node(host: Host, tap: str) -> bool:
    """Whether a tap is joined to a switch of netgraph, which is nothing of its own."""
    try:
        return any(hook.kind == "bridge" for hook in host.query(ngctl.hooks(f"{tap}:")))
    except _TROUBLE:
        return False


def piped(host: Host) -> set[str]:
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
