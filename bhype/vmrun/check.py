"""What a VM needs from its host, looked for before it starts. Changes nothing."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import replace

from bhype.freebsd import loaders, ps, swtpm, sysctl
from bhype.freebsd.bhyve import Machine
from bhype.freebsd.command import ParseError
from bhype.freebsd.ifconfig import Interface
from bhype.host import CommandError, Host
from bhype.vmrun import check_devices
from bhype.vmrun.config import Config
from bhype.vmrun.files import folder, local, missing
from bhype.vmrun.keys import CSM_ROM, DEFAULT_ROM
from bhype.vmrun.problems import Problem

VARS = "BHYVE_UEFI_VARS.fd"
LAYOUTS = "/usr/share/bhyve/kbdlayout"
# Since when bhyve's screen may be larger than 1920x1200 (usr.sbin/bhyve/pci_fbuf.c; param.h).
LARGE_SCREENS = 1401000
# Since when bhyve has -f, QEMU's firmware interface and TPMs: before, it refuses its command line.
FIRMWARE_ITEMS = 1400000


def check(
    host: Host, config: Config, machine: Machine, interfaces: list[Interface] | None = None
) -> list[Problem]:
    """All that is missing or in use, with what to do about it. The host is asked only for what the VM needs.
    interfaces: those of the host, where they are known."""
    found = [*_kernel(host, config, machine), *_firmware(host, config), *_parts(host, config)]
    devices = check_devices.check(host, config, machine, interfaces)
    return [*found, *_lines(host, config), *_screen(config), *devices]


def running(host: Host, config: Config) -> list[Problem]:
    """Whether a bhyve of that name runs already. A supervisor takes it over instead."""
    try:
        pids = [one.pid for one in host.query(ps.processes()) if one.vm == config.name]
    except (CommandError, ParseError) as error:
        return [Problem("name", str(error))]
    mend = "Stop it, or choose another name."
    return [Problem("name", f"{config.name} runs already, process {pid}.", mend) for pid in pids]


def locate(host: Host, config: Config) -> Config:
    """Give each passed-through device that is to be looked up its place on this host. Those that are not there
    stay as they are, and `check` names them. Raises CommandError, ParseError."""
    if not any("lookup" in device.values for device in config.devices):
        return config
    devices = check_devices.located(host, config.devices)
    return replace(config, devices=devices)


def template(config: Config) -> str:
    """The UEFI variables that the firmware's package brings, to be copied for each VM."""
    return f"{os.path.dirname(config.bootrom)}/{VARS}"


def _kernel(host: Host, config: Config, machine: Machine) -> Iterator[Problem]:
    names = ("hw.physmem", "hw.vmm.maxcpu", "hw.ncpu", "kern.osreldate")
    try:
        answer = host.query(sysctl.read(*names))
    except (CommandError, ParseError) as error:
        yield Problem("kernel", str(error))
        return
    # What this kernel does not tell is not refused.
    memory, maximum, cpus, release = (
        int(word) if (word := answer.get(name, "")).isdigit() else None for name in names
    )
    if memory is not None and config.memory > memory:
        has = f"The VM wants {config.memory >> 20} MiB, the host has {memory >> 20} MiB."
        yield Problem("memory", has, "Give it less memory.")
    if maximum is not None and machine.topology.cpus > maximum:
        has = f"The VM wants {machine.topology.cpus} CPUs, the host allows {maximum}."
        yield Problem("cpu", has, "Give it fewer CPUs.")
    beyond = sorted({cpu for _, cpu in config.pinning if cpus is not None and cpu >= cpus})
    if beyond:
        has = f"There is no CPU {', '.join(map(str, beyond))}: the host has {cpus}, from 0 on."
        yield Problem("pinning", has, "Choose others.")
    has_interface = config.fwcfg == "qemu" and not config.fw_cfg
    wanted = {"fwcfg": has_interface, "fw_cfg": config.fw_cfg, "tpm": config.tpm}
    for key in wanted if release is not None and release < FIRMWARE_ITEMS else ():
        if wanted[key]:
            yield Problem(key, "bhyve has that since FreeBSD 14.0.", "Take it out, or upgrade the host.")
    graphic = config.graphic
    is_large = graphic and ((graphic.width or 0) > 1920 or (graphic.height or 0) > 1200)
    if graphic and is_large and release is not None and release < LARGE_SCREENS:
        has = f"{graphic.width}x{graphic.height} is more than the 1920x1200 of this release."
        yield Problem("graphic", has, "Choose a smaller size.")


def _firmware(host: Host, config: Config) -> Iterator[Problem]:
    if config.loader is not None:
        is_ours = config.loader.type == "bhyveload"
        program = loaders.BHYVELOAD if is_ours else loaders.GRUB
        mend = "It is part of FreeBSD's base system." if is_ours else "Run: pkg install grub2-bhyve"
        yield from missing(host, "loader", program, mend)
        for path in (config.loader.disk, config.loader.os_loader):
            if path is not None and path not in (named for _, named in config.drives):
                yield from missing(host, "loader", path)
    elif not os.path.isfile(local(host, config.bootrom)):
        package = "uefi-edk2-bhyve-csm" if config.bootrom.endswith(CSM_ROM) else "edk2-bhyve"
        is_packaged = os.path.dirname(config.bootrom) == os.path.dirname(DEFAULT_ROM)
        mend = f"Run: pkg install {package}" if is_packaged else "Give the path of a firmware."
        yield Problem("firmware", f"{config.bootrom} is missing.", mend)
    elif config.varfile and not os.path.isfile(local(host, config.varfile)):
        if not os.path.isfile(local(host, template(config))):
            mend = f"Copy one there; {template(config)} is missing, too."
            yield Problem("firmware", f"{config.varfile} is missing.", mend)
        else:
            yield from folder(host, "firmware", config.varfile)


def _parts(host: Host, config: Config) -> Iterator[Problem]:
    """Files and programs that single keys ask for."""
    for name, kind, path in config.fw_cfg:
        if kind == "file":
            yield from missing(host, f"fw_cfg {name}", path)
    if config.keyboard:
        mend = f"Choose one of {LAYOUTS}."
        yield from missing(host, "keyboard", f"{LAYOUTS}/{config.keyboard}", mend)
    if config.post_start_script:
        yield from missing(host, "post_start_script", config.post_start_script[0])
    if config.tpm and config.tpm.path:
        mend = "Run: kldload tpm" if config.tpm.type == "passthru" else "Start its swtpm."
        yield from missing(host, "tpm", config.tpm.path, mend)
    elif config.tpm:
        yield from missing(host, "tpm", swtpm.PROGRAM, "Run: pkg install swtpm")


def _lines(host: Host, config: Config) -> Iterator[Problem]:
    """Serial ports and the debugger that listen on the network."""
    for key, device in config.com:
        if device.startswith("tcp="):
            address, _, port = device.removeprefix("tcp=").rpartition(":")
            yield from _listener(key, address.strip("[]"), int(port))
    if config.gdb:
        address, _, port = config.gdb.removeprefix("w").rpartition(":")
        yield from _listener("gdb", address.strip("[]") or "127.0.0.1", int(port))


def _screen(config: Config) -> Iterator[Problem]:
    if config.graphic and config.graphic.vga != "on":
        yield from _listener("graphic", config.graphic.host, config.graphic.port)


def _listener(where: str, host: str, port: int) -> Iterator[Problem]:
    """Whether bhyve could listen there. A hint only: the port can be taken a moment later."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As bhyve does: connections of the last run in TIME_WAIT do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            mend = "Choose another port, or end what listens there."
            yield Problem(where, f"The port {address} is in use.", mend)
            return
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        yield Problem(where, f"It cannot listen on {address}: {reason}.", "Change host or port.")
