"""bhyve's network devices and their backends, as net_backends.c and net_backend_slirp.c check them
(``freebsd/bhyve.md`` 4.1).

A guest at a tap or vmnet reaches what its bridge reaches in the lab (qemu_devices.py), also through an ng_pipe(4)
and an ng_eiface(4) behind the tap; slirp is QEMU's own. Netgraph, netmap and VALE are checked, and the guest has
a device whose cable ends nowhere. With wires on (`wires`) a guest holds a real tap instead, also at a bridge of
netgraph and at a VALE switch.
"""

from __future__ import annotations

import re
from typing import Any

from bhype.lab import bhyve_host, bhyve_state, core, netgraph, vale, wires
from bhype.lab.bhyve_config import Config, Node
from bhype.lab.bhyve_machine import Device, Machine, Place, init_error

_MISSING = "No such file or directory"
# The first of net_backend_set whose prefix the type begins with.
_BACKENDS = ("tap", "vmnet", "netgraph", "netmap", "vale", "slirp")
_FORWARD = re.compile(r"(tcp|udp):([0-9.]*):(\d{1,5})-([0-9.]*):(\d{1,5})")


def init(machine: Machine, place: Place, node: Node, config: Config) -> None:
    model = config.value(node, "device")
    mac = config.value(node, "mac")
    if mac is not None and (
        not re.fullmatch(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}", mac)
        or int(mac.partition(":")[0], 16) & 1
        or not int(mac.replace(":", ""), 16)
    ):
        core.warn(f"Invalid MAC {mac}")
        init_error("Invalid argument")
    values: dict[str, Any] = {"model": model, "mac": mac or _own_mac(machine.name, place), "tap": None}
    mtu = config.value(node, "mtu")
    if mtu is not None and not (mtu.isdigit() and 68 <= int(mtu) <= 65535):
        core.warn(f"Invalid mtu {mtu}")
        init_error("Invalid argument")
    if model == "virtio-net" and mtu:
        values["mtu"] = int(mtu)
    backend = config.value(node, "backend")
    if backend is not None:
        kind = config.value(node, "type") or backend
        prefix = next((each for each in _BACKENDS if kind.startswith(each)), None)
        if prefix in ("tap", "vmnet"):
            _open_tap(machine, backend)
            values |= {"tap": backend, "bridge": bhyve_host.bridge_of(backend)}
            _plug(machine, values, str(bhyve_host.index_of(backend)))
        elif prefix == "netgraph":
            _join_netgraph(machine, config, node)
            _plug(machine, values, f"s{machine.nodes[-1]}")
        elif prefix in ("netmap", "vale"):
            _open_netmap(machine, values, backend)
        elif prefix == "slirp":
            values["forward"] = _forwards(config.value(node, "hostfwd"))
        else:
            core.warn(f'Unable to find network backend "{backend}"')
            init_error("Invalid argument")
    machine.devices.append(Device("nic", place, values))


def _plug(machine: Machine, values: dict[str, Any], key: str) -> None:
    """Give the device its end of the wire, where the lab has wires (`wires_plan` for the key)."""
    if wires.namespace() is None:
        return
    from bhype.lab import wires_tap

    handle = wires_tap.open_wire(key)
    if handle is not None:
        machine.wires.append(handle)
        values["wire"] = handle


def _open_tap(machine: Machine, tap: str) -> None:
    if not bhyve_host.has_tap(tap):
        reason = _MISSING
    elif not bhyve_state.open_tap(machine.name, tap):
        reason = "Device busy"
    else:
        machine.taps.append(tap)
        return
    core.warn(f"open of tap device /dev/{tap} failed")
    init_error(reason)


def _join_netgraph(machine: Machine, config: Config, node: Node) -> None:
    path, peer_hook = config.value(node, "path"), config.value(node, "peerhook")
    if path is None:
        core.warn("path must be provided")
        init_error("Invalid argument")
    if peer_hook is None:
        core.warn("peer hook must be provided")
        init_error("Invalid argument")
    hook = config.value(node, "hook") or "vmlink"
    try:
        machine.nodes.append(netgraph.join(config.value(node, "socket"), hook, path, peer_hook))
    except netgraph.Taken as error:
        core.warn("can't get Netgraph sockets")
        init_error(str(error))
    except netgraph.Refused as error:
        core.warn("can't connect to node")
        init_error(str(error))


def _open_netmap(machine: Machine, values: dict[str, Any], backend: str) -> None:
    """``netmap:IFNAME`` needs the interface, ``valeN:PORT`` makes the switch and the port."""
    reason = ""
    if backend.startswith("netmap:"):
        name = re.split(r"[-*^{}/@]", backend.removeprefix("netmap:"))[0]
        reason = "" if bhyve_host.has_interface(name) else "Device not configured"
    else:
        try:
            switch, port = vale.join(backend)
        except vale.Refused as error:
            reason = str(error)
        else:
            _plug(machine, values, f"vale {switch}:{port}")
    if reason:
        core.warn(f"Unable to nm_open(): interface '{backend}', errno ({reason})")
        init_error(reason)


def _forwards(rules: str | None) -> list[str]:
    """``proto:hostaddr:hostport-guestaddr:guestport;...`` as QEMU has it, too."""
    found = rules.split(";") if rules else []
    for rule in found:
        match = _FORWARD.fullmatch(rule)
        if not match or not all(0 < int(port) < 65536 for port in (match[3], match[5])):
            core.warn(f"Invalid hostfwd rule '{rule}'")
            init_error("Invalid argument")
    return found


def _own_mac(name: str, place: Place) -> str:
    """bhyve's own choice: NetApp's prefix and a digest of ``slot-function-name``: it moves with the slot."""
    import hashlib

    digest = hashlib.md5(f"{place[1]}-{place[2]}-{name}".encode(), usedforsecurity=False).hexdigest()
    return f"00:a0:98:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"
