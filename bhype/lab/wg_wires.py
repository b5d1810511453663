"""Lets packets move through a lab's tunnels: a wireguard-go in the lab's namespace for each (see `wires`).

ifconfig has made the tun device; wireguard-go takes it, and goes when it goes. It listens below /run of a mount
namespace of its own, so that two labs can have tunnels of one name. Its protocol: https://www.wireguard.com/xplatform/
"""

from __future__ import annotations

import os
import socket
import time

from bhype.lab import bhyve_state, core, wg_config, wires

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Tunnel = dict[str, Any]

PROGRAM = "/usr/bin/wireguard-go"
_SECONDS = 10.0
_SCRIPT = 'mount -t tmpfs none /run && mkdir -m 700 /run/wireguard && exec "$0" -f "$1"'
# What it is told, and what it tells.
_TOLD = {"rx_bytes": "rx", "tx_bytes": "tx", "last_handshake_time_sec": "handshake"}


def carry(name: str, tunnel: Tunnel) -> None:
    """Bring the wireguard-go of the tunnel to what the state says; without one, no packet moves."""
    if not tunnel["private"] or not os.path.exists(PROGRAM):
        return
    if not _is_running(tunnel):
        _start(name, tunnel)
    lines = ["set=1", f"private_key={_hex(tunnel['private'])}", f"listen_port={tunnel['port']}"]
    for public in _peers(_ask(tunnel, "get=1")).keys() - tunnel["peers"].keys():
        lines += [f"public_key={_hex(public)}", "remove=true"]
    for public, peer in tunnel["peers"].items():
        lines += [f"public_key={_hex(public)}", f"preshared_key={_hex(peer['psk']) or '0' * 64}"]
        if peer["endpoint"]:
            lines.append(f"endpoint={peer['endpoint']}")
        lines += [f"persistent_keepalive_interval={peer['keepalive']}", "replace_allowed_ips=true"]
        lines += [f"allowed_ip={network}" for network in peer["allowed"]]
    _ask(tunnel, "\n".join(lines))


def look(name: str, tunnel: Tunnel) -> Tunnel:
    """The tunnel with what its wireguard-go knows; one that is missing is started."""
    if not os.path.exists(PROGRAM):
        return tunnel
    if not _is_running(tunnel):
        carry(name, tunnel)
    known = _peers(_ask(tunnel, "get=1"))
    peers = {public: peer | known.get(public, {}) for public, peer in tunnel["peers"].items()}
    return tunnel | {"peers": peers}


def _hex(key: str) -> str:
    return (wg_config.key_of(key) or b"").hex()


def _is_running(tunnel: Tunnel) -> bool:
    pid = tunnel.get("pid")
    return pid is not None and bhyve_state.ticks(pid) == tunnel.get("ticks")


def _start(name: str, tunnel: Tunnel) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    argv = wires.inside(["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", _SCRIPT])
    pid = os.posix_spawn(
        argv[0], [*argv, PROGRAM, name], {"PATH": wires.PATH, "LOG_LEVEL": "silent"}, setsid=True,
        file_actions=[(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)],
    )  # fmt: skip
    os.close(null)
    tunnel.update(pid=pid, ticks=bhyve_state.ticks(pid), device=name)
    deadline = time.monotonic() + _SECONDS
    while not os.path.exists(_socket(tunnel)):
        if os.waitpid(pid, os.WNOHANG)[0] or time.monotonic() > deadline:
            core.fail("Unable to modify interface: Operation not supported", 1)
        time.sleep(0.01)
    # It has set an MTU of its own.
    mtu = core.peek("ifconfig")["interfaces"][name]["mtu"]
    wires.run(["ip", "link", "set", "dev", name, "mtu", str(mtu)])


def _socket(tunnel: Tunnel) -> str:
    return f"/proc/{tunnel['pid']}/root/run/wireguard/{tunnel['device']}.sock"


def _ask(tunnel: Tunnel, question: str) -> list[tuple[str, str]]:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_SECONDS)
        try:
            line.connect(_socket(tunnel))
            line.sendall(question.encode() + b"\n\n")
            answer = b""
            while not answer.endswith(b"\n\n"):
                block = line.recv(65536)
                if not block:
                    break
                answer += block
        except OSError:
            # It has just ended.
            return []
    pairs = [text.partition("=") for text in answer.decode().split("\n") if text]
    found = [(key, value) for key, _, value in pairs]
    if found and found[-1][0] == "errno" and found[-1][1] not in ("0", "-0"):
        number = abs(int(found[-1][1]))
        core.fail(f"Unable to modify interface: {os.strerror(number)}", 1)
    return found


def _peers(pairs: list[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    peer: dict[str, Any] = {}
    for key, value in pairs:
        if key == "public_key":
            peer = found.setdefault(wg_config.text_of(bytes.fromhex(value)), {})
        elif key == "endpoint":
            peer["endpoint"] = value
        elif key in _TOLD:
            peer[_TOLD[key]] = int(value)
    return found
