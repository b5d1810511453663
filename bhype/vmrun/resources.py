"""What a VM needs and its supervisor makes: taps in their bridges, UEFI variables, free socket paths."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable

from bhype.freebsd import bhyvectl, devctl, ifconfig, kld, pciconf
from bhype.freebsd.ifconfig import Interface
from bhype.freebsd.ps import Process
from bhype.host import CommandError, Host
from bhype.vmrun import nics
from bhype.vmrun.check import template
from bhype.vmrun.config import Config
from bhype.vmrun.files import local

# How long the kernel may take to free a VM's memory, and how often it is asked.
GONE_WITHIN = 30.0
POLL = 0.05


def find_bhyve(processes: list[Process], name: str) -> int | None:
    """The process of a VM's bhyve, if one runs."""
    for process in processes:
        # Before its initialisation is over it shows its argv, not its title.
        words = process.command.split()
        is_starting = len(words) > 1 and words[-1] == name and words[0].endswith("/bhyve")
        if process.vm == name or is_starting:
            return process.pid
    return None


def prepare(
    host: Host,
    config: Config,
    note_taps: Callable[[list[str]], None],
    interfaces: list[Interface] | None = None,
) -> list[str]:
    """Make all that is made for each start; ``note_taps`` hears of the taps first. interfaces: those of the host,
    where they are known. Returns what is not as wanted but keeps no guest from running. Raises CommandError,
    nics.Unmade, OSError."""
    warnings: list[str] = []
    if nics.wanted_taps(config):
        if interfaces is None:
            interfaces = host.query(ifconfig.list_interfaces())
        note_taps(nics.ours(config, interfaces))
        warnings = nics.make(host, config, interfaces)
    reserve_devices(host, config)
    make_variables(host, config)
    remove_sockets(host, config)
    return warnings


def reserve_devices(host: Host, config: Config) -> None:
    """Take the passed-through devices that say "fix" from the host's drivers; they stay reserved. Raises
    CommandError, ParseError."""
    wanted = {one.values.get("src") for one in config.devices if one.kind == "passthru" and one.fix}
    if not wanted:
        return
    for device in host.query(pciconf.devices()):
        if device.place in wanted and not device.domain and not device.is_reserved:
            host.run(devctl.set_driver(device.selector, pciconf.PPT))


def load_modules(host: Host, config: Config) -> None:
    """The kernel's parts for VMs; raises CommandError."""
    if not host.query(kld.is_loaded("vmm")):
        host.run(kld.load("vmm"))
    if any("/dev/nmdm" in device for _, device in config.com) and not host.query(kld.is_loaded("nmdm")):
        host.run(kld.load("nmdm"))


def make_variables(host: Host, config: Config) -> None:
    """Give the VM its own UEFI variables when it has none: the packaged file must never be written."""
    if (
        config.loader is None
        and config.varfile
        and config.varfile.startswith("/")
        and not host.exists(config.varfile)
    ):
        host.copy(template(config), config.varfile, 0o600)


def remove_sockets(host: Host, config: Config) -> None:
    """bhyve makes the sockets of a virtio-console and fails when they are there. Other files stay; of a socket that
    cannot be removed bhyve tells."""
    for device in config.devices:
        for path in device.sockets:
            place = local(host, path)
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.lstat(place).st_mode):
                    os.unlink(place)


def destroy_machine(host: Host, name: str) -> list[str]:
    """Remove the VM from the kernel when it is there; returns what could not be done."""
    if not host.exists(f"/dev/vmm/{name}"):
        return []
    try:
        host.run(bhyvectl.destroy(name))
    except CommandError as error:
        return [str(error)]
    return []


def renew_machine(host: Host, name: str) -> list[str]:
    """Put an empty VM in the place of the one that the kernel has, if it has one; returns what could not be done.

    Until FreeBSD 14.0 bhyvectl(8) only asks for the destruction (destroy_dev_sched_cb() in sys/amd64/vmm/vmm_dev.c):
    the name stays taken until the memory is free, and whatever opened the VM meanwhile would fail.
    """
    if not host.exists(f"/dev/vmm/{name}"):
        return []
    failures = destroy_machine(host, name)
    deadline = time.monotonic() + GONE_WITHIN
    while not failures:
        try:
            host.run(bhyvectl.create(name))
            break
        except CommandError as error:
            if time.monotonic() > deadline:
                failures = [f"The kernel does not let go of the VM {name}: {error}"]
            time.sleep(POLL)
    return failures
