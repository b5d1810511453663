"""What loads a guest's system where no boot ROM does: bhyveload(8) or grub-bhyve(1), before every start.

It runs beside the supervisor's loop, its output in bhyve.log; on the VM's first serial line it can be talked to.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from bhype.freebsd import loaders
from bhype.freebsd.command import Command
from bhype.freebsd.ps import Process
from bhype.host import Host
from bhype.vmrun import child
from bhype.vmrun.config import Config, Loader
from bhype.vmrun.loop import Loop
from bhype.vmrun.outcome import last_words
from bhype.vmrun.rundir import LOG, RunDir

# Somebody may sit at its menu; one that asks nobody ends within seconds.
PATIENCE = 300.0
PROGRAMS = frozenset({os.path.basename(loaders.BHYVELOAD), os.path.basename(loaders.GRUB)})
DEVICE_MAP, GRUB_CONFIG = "device.map", "grub.cfg"


class NoLoader(Exception):
    """The loader cannot be run. A sentence."""


class Runner:
    """Runs a VM's loader, one at a time."""

    def __init__(self, rundir: RunDir, loop: Loop) -> None:
        self._rundir = rundir
        self._loop = loop
        self._child: child.Child | None = None
        self._log_offset = 0
        self._loaded: Callable[[str], None] = lambda failure: None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def start(self, config: Config, loaded: Callable[[str], None]) -> None:
        """``loaded`` is called once, with "" or with the reason why there is nothing to run. Raises NoLoader,
        CommandError, OSError."""
        self._loaded = loaded
        words = command(self._rundir.host, self._rundir, config)
        self._log_offset = self._rundir.log_size(LOG)
        here = "stdio" in dict(config.com).values()
        self._child = child.start(
            self._loop, self._rundir, words, self._ended, log=LOG, all_to_log=True, here=here
        )
        self._loop.later("loader", PATIENCE, self._late)

    def end(self) -> None:
        """Kill it; ``loaded`` is not called any more."""
        self._loop.cancel("loader")
        if self._child:
            self._child.end(signal.SIGKILL)
            self._child = None

    def _late(self) -> None:
        self.end()
        self._loaded(f"The loader did not load a system within {PATIENCE:g} s.")

    def _ended(self, code: int | None) -> None:
        self._child = None
        self._loop.cancel("loader")
        if code == 0:
            self._loaded("")
            return
        said = last_words(self._rundir.log_since(LOG, self._log_offset))
        end = (
            f"was killed by signal {-code}" if code is not None and code < 0 else f"failed with status {code}"
        )
        self._loaded(f"The loader {end}.{said}")


def command(host: Host, rundir: RunDir, config: Config) -> Command:
    """Write what the loader reads into the run directory and return its command line. Raises NoLoader, OSError."""
    loader = config.loader
    if loader is None:
        raise NoLoader("The VM has no loader.")
    try:
        if loader.type == "bhyveload":
            return _bhyveload(config, loader)
        return _grub(host, rundir, config, loader)
    except ValueError as error:
        raise NoLoader(f"The loader cannot be run: {error}") from error


def _bhyveload(config: Config, loader: Loader) -> Command:
    if loader.disk is None:
        raise NoLoader("bhyveload needs a disk to load from, and the VM has none.")
    environment = dict(loader.env)
    console = _console(config)
    if console == "stdio" and "stdio" not in dict(config.com).values():
        # Nobody can answer.
        environment.setdefault("autoboot_delay", "0")
    return loaders.bhyveload(
        config.name, memory=config.memory, disk=loader.disk, console=console,
        wired=config.flags["wire_guest_mem"], os_loader=loader.os_loader, environment=environment.items(),
    )  # fmt: skip


def _grub(host: Host, rundir: RunDir, config: Config, loader: Loader) -> Command:
    disks, media = ([path for kind, path in config.drives if kind == wanted] for wanted in ("hd", "cd"))
    host.write_text(rundir.file(DEVICE_MAP), loaders.device_map(disks, media), 0o600)
    root, directory = loader.root, loader.directory
    if loader.config is not None:
        host.write_text(rundir.file(GRUB_CONFIG), loader.config, 0o600)
        root, directory = "host", rundir.path
    return loaders.grub_bhyve(
        config.name, memory=config.memory, device_map=rundir.file(DEVICE_MAP), root=root,
        directory=directory, console=_console(config), wired=config.flags["wire_guest_mem"],
    )  # fmt: skip


def running(processes: list[Process], name: str) -> list[int]:
    """The loaders that are at work for the VM, whoever started them."""
    words = ((one.pid, one.command.split()) for one in processes)
    return [
        pid
        for pid, argv in words
        if len(argv) > 1
        and argv[-1] == name
        and any(os.path.basename(word) in PROGRAMS for word in argv[:-1])
    ]


def _console(config: Config) -> str:
    """The first serial line, where the guest's own console will be."""
    device = dict(config.com).get("com1", "stdio")
    return device if device.startswith("/dev/") else "stdio"
