"""bhyve's frame buffer with its VNC server, as pci_fbuf.c and rfb.c read its options (``freebsd/bhyve.md`` 4.4)."""

from __future__ import annotations

import re
import socket

from bhype.lab import core
from bhype.lab.bhyve_config import Config, Node
from bhype.lab.bhyve_machine import Device, Machine, init_error

_WIDTH, _HEIGHT = (640, 1920), (480, 1200)  # FreeBSD 14.0; later releases allow 3840x2160


def init(machine: Machine, place: tuple[int, int, int], node: Node, config: Config) -> None:
    """Check the options and bind the port; ``machine.screen`` says what the guest's screen is."""
    if machine.screen is not None:
        core.warn("Only one frame buffer device is allowed.")
        init_error()
    value = config.value(node, "rfb") or config.value(node, "tcp") or ""
    address, port = _rfb_address(value)
    vga = config.value(node, "vga")
    if vga not in (None, "io", "on", "off"):
        core.warn(f'fbuf: Invalid vga setting: "{vga}"')
        init_error()
    width, height = (
        atoi(config.value(node, name) or str(default)) for name, default in (("w", 1024), ("h", 768))
    )
    if width > _WIDTH[1] or height > _HEIGHT[1]:
        core.warn(f"fbuf: max resolution is {_WIDTH[1]}x{_HEIGHT[1]}")
        init_error()
    if width < _WIDTH[0] or height < _HEIGHT[0]:
        core.warn(f"fbuf: minimum resolution is {_WIDTH[0]}x{_HEIGHT[0]}")
        init_error()
    machine.screen = {
        "address": address, "port": port, "width": width, "height": height, "listener": None,
        "password": (config.value(node, "password") or "")[:8] or None,
        "wait": config.node_flag(node, "wait"),
    }  # fmt: skip
    if vga == "on":
        core.warn("pci_fbuf: VGA rendering not enabled")
    else:
        machine.screen["listener"] = _listen(address, port)
    machine.devices.append(Device("fbuf", place, {"width": width, "height": height}))


def _rfb_address(value: str) -> tuple[str, int]:
    address, port = "127.0.0.1", ""
    if value.startswith("["):
        inner, bracket, rest = value[1:].partition("]")
        if not bracket or not inner or (rest and not rest.startswith(":")):
            core.warn(f'fbuf: Invalid IPv6 address: "{value}"')
            init_error()
        address, port = inner, rest[1:]
        missing = rest == ":"
    elif ":" in value:
        host, _, port = value.partition(":")
        address, missing = host or address, not port
    else:
        port, missing = value, False
    if missing:
        core.warn(f'fbuf: Missing port number: "{value}"')
        init_error()
    return address, atoi(port) or 5900


def _listen(address: str, port: int) -> socket.socket:
    """The VNC server's socket. bhyve serves one client at a time: the others wait in its queue of one."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1)
    except socket.gaierror as error:
        core.warn(f"getaddrinfo: {error.strerror}")
        init_error()
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or "Invalid argument"
        core.warn(f"bind: {reason}")
        init_error(reason)
    return listener


def atoi(text: str) -> int:
    """As atoi(3): the number at the beginning, or 0."""
    match = re.match(r"\s*[+-]?\d+", text)
    return int(match[0]) if match else 0
