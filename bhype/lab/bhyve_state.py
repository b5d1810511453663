"""Which VMs exist and which bhyve runs them; what bhyve, bhyvectl, ps and ifconfig(8) agree on.

``/dev/vmm/NAME`` is a file below the lab's root: the kernel's VM, which outlives the process. The state
``bhyve`` has one entry per process::

    {NAME: {"pid", "ticks", "started", "argv", "title", "files", "taps", "vnc_port", "qemu_pid", "folder",
            "cpus": [sockets, cores, threads], "memory"}}

ticks: the process' start time in clock ticks since boot (proc(5)), which tells it from a later process with
the same pid; started: seconds since the epoch; title: whether device initialisation is over, so that ps(1)
shows ``bhyve: NAME``; folder: LAB/run/bhyve.PID with ``control`` (see bhyve_run), gone when bhyve is;
memory: bytes. An entry whose process is gone is stale, see `running`.

The state ``loaded`` says what a loader (bhyveload, grub-bhyve) has put into a VM, by its name::

    {NAME: {"memory": bytes, "disk": path or None, "kernel": path or None, "initrd": path or None, "append": str}}

Paths are those of this machine; kernel and initrd lie in `loaded_folder` and go with the VM.
"""

from __future__ import annotations

import os
import time

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bhype.lab.core import State


def node(name: str) -> str:
    """The file that stands for the VM ``name`` in the kernel."""
    return core.root(f"/dev/vmm/{name}")


def exists(name: str) -> bool:
    return os.path.exists(node(name))


def create(name: str) -> None:
    """Make the VM ``name``. Raises FileExistsError."""
    os.makedirs(core.root("/dev/vmm"), exist_ok=True)
    os.close(os.open(node(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def loaded_folder(name: str) -> str:
    """Where a loader keeps the files that it has put into the VM's memory."""
    return f"{core.folder()}/run/loaded/{name}"


def load(name: str, **values: Any) -> None:
    """Note what a loader has put into the VM ``name``, see above."""
    with core.state("loaded") as state:
        state[name] = values


def take_loaded(name: str) -> State | None:
    """What was loaded into the VM, once: a guest that runs changes its memory, so the next start needs a loader."""
    with core.state("loaded") as state:
        found: State | None = state.pop(name, None)
        return found


def unload(name: str) -> None:
    """Forget what was loaded into the VM."""
    if take_loaded(name) is not None or os.path.exists(loaded_folder(name)):
        import shutil

        shutil.rmtree(loaded_folder(name), ignore_errors=True)


def destroy(name: str) -> None:
    """Remove the VM ``name``; devfs drops the folder with its last entry."""
    unload(name)
    try:
        os.unlink(node(name))
        os.rmdir(core.root("/dev/vmm"))
    except OSError:
        pass  # gone already, or other VMs are left


def ticks(pid: int) -> int | None:
    """The start time of the process ``pid`` in clock ticks since boot; None when there is none (or a zombie)."""
    fields = stat(pid)
    return int(fields[19]) if fields and fields[0] != "Z" else None


def stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on, or None."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def alive(entry: State) -> bool:
    """Whether the process of an entry still runs."""
    return ticks(entry["pid"]) == int(entry["ticks"])


def running() -> State:
    """The entries of living bhyves by VM name."""
    return {name: entry for name, entry in core.peek("bhyve").items() if alive(entry)}


def folder() -> str:
    """Where this process, a bhyve, keeps its files."""
    return f"{core.folder()}/run/bhyve.{os.getpid()}"


def claim(name: str, argv: list[str]) -> bool:
    """Enter this process as the bhyve of the VM ``name``; False when another one has it open."""
    with core.state("bhyve") as state:
        if name in state and alive(state[name]):
            return False
        state[name] = {
            "pid": os.getpid(), "ticks": ticks(os.getpid()), "started": time.time(), "argv": argv,
            "title": False, "files": [], "taps": [], "vnc_port": None, "qemu_pid": 0, "folder": folder(),
            "cpus": [1, 1, 1], "memory": 0,
        }  # fmt: skip
    return True


def open_tap(name: str, tap: str) -> bool:
    """Note that the bhyve of ``name`` has ``tap`` open; False when a bhyve has it already."""
    with core.state("bhyve") as state:
        if any(tap in entry["taps"] for entry in state.values() if alive(entry)):
            return False
        if name in state:
            state[name]["taps"].append(tap)
    return True


def update(name: str, **values: Any) -> None:
    """Change the entry of this process."""
    with core.state("bhyve") as state:
        state[name].update(values)


def release(name: str) -> None:
    """Take this process' entry back."""
    with core.state("bhyve") as state:
        if state.get(name, {}).get("pid") == os.getpid():
            del state[name]


def tap_openers() -> dict[str, int]:
    """The pid of the bhyve that has each tap open, by tap (ifconfig's ``Opened by PID``)."""
    return {tap: entry["pid"] for entry in running().values() for tap in entry["taps"]}


def is_open(name: str) -> bool:
    """Whether a bhyve runs the VM ``name``."""
    return name in running()


def register(argv: list[str]) -> None:
    """Let ps(1) show this process, one that is no bhyve, as ``argv`` for as long as it lives."""
    with core.state("processes") as state:
        for pid, entry in list(state.items()):
            if ticks(int(pid)) != entry["ticks"]:
                del state[pid]
        state[str(os.getpid())] = {"ticks": ticks(os.getpid()), "argv": argv, "started": time.time()}


def registered() -> dict[int, State]:
    """The registered processes that live, by pid."""
    found = core.peek("processes").items()
    return {int(pid): entry for pid, entry in found if ticks(int(pid)) == entry["ticks"]}
