"""What a VM needs from its host, looked for before it starts. Changes nothing."""

from __future__ import annotations

import errno
import os
import socket
import stat

from bhype.freebsd import ifconfig, sysctl
from bhype.freebsd.bhyve import Machine
from bhype.freebsd.command import ParseError
from bhype.freebsd.ifconfig import Interface
from bhype.host import CommandError, Host
from bhype.vmrun.config import Config
from bhype.vmrun.devices import Device
from bhype.vmrun.problems import Problem

VARS = "BHYVE_UEFI_VARS.fd"


def check(host: Host, config: Config, machine: Machine) -> list[Problem]:
    """All that is missing or in use, with what to do about it."""
    problems = [*_kernel(host, config, machine), *_firmware(host, config), *_screen(config)]
    interfaces: dict[str, Interface] | None = None
    # The slots of a machine are the host bridge, the LPC bridge, then the devices in their order.
    for device, slot in zip(config.devices, machine.slots[2:], strict=False):
        where = f"{slot.address} {device.kind}"
        for path in device.files:
            problems += _file(host, where, path)
        for path in device.sockets:
            if not os.path.isdir(os.path.dirname(local(host, path)) or "."):
                problems.append(Problem(where, f"The folder of {path} is missing.", "Make it."))
        if device.is_network and device.backend == "tap":
            if interfaces is None:
                try:
                    interfaces = {found.name: found for found in host.query(ifconfig.list_interfaces())}
                except (CommandError, ParseError) as error:
                    problems.append(Problem("network", str(error)))
                    interfaces = {}
            problems += _tap(where, device, interfaces)
    return problems


def local(host: Host, path: str) -> str:
    """Where this process finds a file that bhyve is told of: relative ones are the caller's."""
    return host.path(path) if path.startswith("/") else path


def template(config: Config) -> str:
    """The UEFI variables that the firmware's package brings, to be copied for each VM."""
    return f"{os.path.dirname(config.bootrom)}/{VARS}"


def _kernel(host: Host, config: Config, machine: Machine) -> list[Problem]:
    problems = []
    try:
        found = host.query(sysctl.read("hw.physmem", "hw.vmm.maxcpu"))
    except (CommandError, ParseError) as error:
        return [Problem("kernel", str(error))]
    memory, cpus = found.get("hw.physmem", ""), found.get("hw.vmm.maxcpu", "")
    if memory.isdigit() and config.memory > int(memory):
        has = f"The VM wants {config.memory >> 20} MiB, the host has {int(memory) >> 20} MiB."
        problems.append(Problem("memory", has, "Give it less memory."))
    if cpus.isdigit() and machine.topology.cpus > int(cpus):
        has = f"The VM wants {machine.topology.cpus} CPUs, the host allows {cpus}."
        problems.append(Problem("cpu", has, "Give it fewer CPUs."))
    return problems


def _firmware(host: Host, config: Config) -> list[Problem]:
    problems = []
    if not os.path.isfile(local(host, config.bootrom)):
        mend = "Run: pkg install edk2-bhyve"
        problems.append(Problem("firmware", f"{config.bootrom} is missing.", mend))
    elif config.varfile and not os.path.isfile(local(host, config.varfile)):
        if not os.path.isfile(local(host, template(config))):
            mend = f"Copy one there; {template(config)} is missing, too."
            problems.append(Problem("firmware", f"{config.varfile} is missing.", mend))
        elif not os.path.isdir(os.path.dirname(local(host, config.varfile)) or "."):
            problems.append(Problem("firmware", f"The folder of {config.varfile} is missing.", "Make it."))
    return problems


def _file(host: Host, where: str, path: str) -> list[Problem]:
    try:
        mode = os.stat(local(host, path)).st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return [
            Problem(
                where, f"{path} cannot be opened: {reason}.", "Give another path, or take the device out."
            )
        ]
    # Volumes are devices, images are files; a folder or a socket is a mistake.
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode) or stat.S_ISCHR(mode)):
        return [Problem(where, f"{path} is neither a file nor a disk.", "Give another path.")]
    return []


def _tap(where: str, device: Device, interfaces: dict[str, Interface]) -> list[Problem]:
    name, bridge = device.values["name"], device.values.get("bridge")
    problems = []
    found = interfaces.get(name)
    if found is None and not device.fix:
        mend = f'Run: ifconfig {name} create; or say "fix": true.'
        problems.append(Problem(where, f"The interface {name} is missing.", mend))
    if found and found.opened_by:
        mend = "End that process, or choose another interface."
        problems.append(Problem(where, f"{name} is open in process {found.opened_by}.", mend))
    if bridge and bridge not in interfaces:
        problems.append(Problem(where, f"The switch {bridge} is missing.", f"Make the bridge {bridge}."))
    return problems


def _screen(config: Config) -> list[Problem]:
    """Whether bhyve could listen for VNC. A hint only: the port can be taken a moment later."""
    graphic = config.graphic
    if graphic is None:
        return []
    where, address = "graphic", f"{graphic.host}:{graphic.port}"
    family = socket.AF_INET6 if ":" in graphic.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As bhyve does: connections of the last run in TIME_WAIT do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((graphic.host, graphic.port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            mend = "Choose another port, or end what listens there."
            return [Problem(where, f"The port {address} is in use.", mend)]
        return [
            Problem(
                where, f"VNC cannot listen on {address}: {error.strerror or error}.", "Change host or port."
            )
        ]
    return []
