"""What sits at bhyve's LPC bridge: serial ports, the boot ROM, the keyboard, and the TPM (``freebsd/bhyve.md`` 5).

Sources: usr.sbin/bhyve/amd64/pci_lpc.c, uart_backend.c, tpm_emul_passthru.c, tpm_emul_swtpm.c. A passed-through TPM is
checked only; the guest has none.
"""

from __future__ import annotations

import os
import re
import socket
import termios
from typing import Any

from bhype.lab import bhyve_host, core
from bhype.lab.bhyve_config import Config, Node
from bhype.lab.bhyve_machine import Device, Machine, Place, init_error, real

_MISSING = "No such file or directory"
_ROM_MAX = 16 << 20


def uart(machine: Machine, place: Place, node: Node, config: Config) -> None:
    path = config.value(node, "path")
    reason = open_serial(machine, path) if path else None
    if reason is not None:
        core.warn(f"Unable to initialize backend '{path}' for pci uart at {place[1]}:{place[2]}")
        init_error(reason)
    machine.devices.append(Device("uart", place, {"path": path}))


def init(machine: Machine, place: Place, node: Node, config: Config) -> None:
    if machine.lpc:
        core.warn("Only one LPC bridge is allowed.")
        init_error()
    if place[0] != 0:
        core.warn("LPC bridge can be present only on bus 0.")
        init_error()
    machine.lpc = True
    if machine.bootrom is not None:
        _rom(machine)
    for number in range(4):
        path = config.get(f"lpc.com{number + 1}.path")
        if path is None:
            continue
        reason = open_serial(machine, path)
        if reason is not None:
            core.warn(f"Unable to initialize backend '{path}' for LPC device com{number + 1}")
            init_error(reason)
        machine.serials[number] = path


def open_serial(machine: Machine, path: str) -> str | None:
    """The reason why ``path`` is no console for bhyve, or None. A TCP port is bound from here on."""
    if path == "stdio":
        taken = {
            *machine.serials,
            *(each.values.get("path") for each in machine.devices if each.kind == "uart"),
        }
        return "Device busy" if "stdio" in taken else None
    if path.startswith("tcp="):
        return _listen(machine, path)
    # nmdm(4) makes its nodes when they are opened.
    if re.fullmatch(r"/dev/nmdm[^/]+[AB]", path):
        return None if bhyve_host.is_loaded("nmdm") else _MISSING
    try:
        handle = os.open(real(path), os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        return error.strerror or ""
    try:
        termios.tcgetattr(handle)
    except termios.error:
        return "Inappropriate ioctl for device"
    finally:
        os.close(handle)
    return None


def _listen(machine: Machine, path: str) -> str | None:
    """``tcp=ADDRESS:PORT``, an IPv6 address in brackets."""
    address, _, port = path.removeprefix("tcp=").rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not port.isdigit() or not 0 < int(port) < 65536:
        return "Invalid argument"
    try:
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, int(port)))
        listener.listen(1)
    except socket.gaierror:
        return "Invalid argument"
    except OSError as error:
        return error.strerror or ""
    machine.listeners[path] = listener
    return None


def _rom(machine: Machine) -> None:
    rom, variables = machine.bootrom or "", machine.bootvars
    machine.bootrom = real(rom)
    try:
        with open(machine.bootrom, "rb") as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        core.warn(f'Error opening bootrom "{rom}": {error.strerror}')
        init_error(error.strerror or "")
    if size > _ROM_MAX or size < 4096 or size % 4096:
        core.warn(f"Invalid bootrom size {size}")
        init_error()
    if variables is None:
        return
    machine.bootvars = real(variables)
    try:
        with open(machine.bootvars, "r+b") as file:
            more = os.fstat(file.fileno()).st_size
    except OSError as error:
        core.warn(f'Error opening bootrom variable file "{variables}": {error.strerror}')
        init_error(error.strerror or "")
    if more < 4096 or more % 4096:
        core.warn(f"Invalid bootrom variable size {more}")
        init_error()
    if size + more > _ROM_MAX:
        core.warn(f"Invalid bootrom and variable aggregate size {size + more}")
        init_error()


def tpm(machine: Machine, config: Config) -> None:
    """Open the TPM, as bhyve does after the PCI devices. Ends the program with status 4 when it cannot."""
    node = config.find("tpm")
    if node is None:
        return
    kind, path = config.value(node, "type"), config.value(node, "path") or ""
    if (config.value(node, "version") or "2.0") != "2.0":
        core.warn(f"bhyve: tpm_device_create: unsupported tpm version {config.value(node, 'version')}")
    elif kind == "passthru":
        if os.path.exists(real(path)):
            return
        core.warn(f'bhyve: tpm_passthru_init: unable to open tpm device "{path}"')
    elif kind == "swtpm":
        machine.tpm = _connect(real(path))
        if machine.tpm:
            return
        core.warn(f'bhyve: tpm_swtpm_init: unable to connect to tpm socket "{path}"')
    else:
        core.warn(f'bhyve: tpm_device_create: unknown tpm type "{kind}"')
    core.fail("Failed to init TPM device", 4)


def _connect(path: str) -> Any:
    connection = socket.socket(socket.AF_UNIX)
    folder = os.getcwd()
    try:
        # From its folder, since a socket's path must be short.
        os.chdir(os.path.dirname(path))
        connection.connect(os.path.basename(path))
    except OSError:
        connection.close()
        return None
    finally:
        os.chdir(folder)
    return connection
