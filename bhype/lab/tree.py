"""Makes a lab's folder: FreeBSD's tree with a wrapper for each program, firmware, a pool, interfaces."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import time
import uuid

from bhype.lab import bhyve_state, core

PROGRAMS = {
    **{f"sbin/{name}": name for name in ("zfs", "zpool", "ifconfig", "kldload", "kldstat", "sysctl")},
    **{"bin/ps": "ps", "bin/freebsd-version": "freebsd_version", "usr/bin/uname": "uname"},
    **{"usr/sbin/bhyve": "bhyve", "usr/sbin/bhyvectl": "bhyvectl"},
    **{"usr/bin/zstream": "zstream", "usr/bin/limits": "limits", "usr/local/bin/qemu-img": "qemu_img"},
}
FOLDERS = ("dev", "dev/zvol", "etc", "tmp", "var/run", "var/log", "var/db", "usr/local/etc")
FIRMWARE = "usr/local/share/uefi-firmware"
# FreeBSD's file, Debian's file: the package edk2-bhyve and the package ovmf are built from the same source.
FIRMWARE_FILES = {
    "BHYVE_UEFI.fd": "OVMF_CODE_4M.fd",
    "BHYVE_UEFI_CODE.fd": "OVMF_CODE_4M.fd",
    "BHYVE_UEFI_VARS.fd": "OVMF_VARS_4M.fd",
}
OVMF = ("/usr/share/OVMF", "/usr/share/edk2/x64", "/usr/share/edk2/ovmf", "/usr/local/share/edk2-qemu")
GIB = 1024**3


def create(folder: str, *, cpus: int, memory: int, pool: str, size: int) -> list[str]:
    """Make the lab in ``folder``, or refresh it, keeping its pool, guests and interfaces.

    cpus, memory (bytes): what the host pretends to have. pool, size (bytes): its first pool.
    Returns sentences about what is missing on this machine.
    """
    os.environ["BHYPE_LAB"] = folder = os.path.realpath(folder)
    for name in (*(f"root/{each}" for each in FOLDERS), "state/zfs-data"):
        os.makedirs(f"{folder}/{name}", exist_ok=True)
    for path, program in PROGRAMS.items():
        _wrapper(f"{folder}/root/{path}", program, folder)
    with core.state("host") as host:
        host.setdefault("booted", int(time.time()))
        host.setdefault("uuid", str(uuid.uuid4()))
        host.update(cpus=cpus, memory=memory)
    from bhype.lab import ifconfig_run
    from bhype.lab.openzfs import pools
    from bhype.lab.openzfs.store import changing

    with changing() as store:
        if not store.pools:
            pools.make(store, pool, (size, size), [["disk", "vtbd1"]], {}, filesystem={})
    with core.state("ifconfig") as data:
        ifconfig_run.boot(data)
    return _firmware(f"{folder}/root/{FIRMWARE}")


def _wrapper(path: str, program: str, folder: str) -> None:
    """A shell script that becomes this Python without its site: that is half of the time to start."""
    launch = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")
    words = " ".join(shlex.quote(word) for word in (sys.executable, "-S", "-E", launch, program))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    core.replace(path, f'#!/bin/sh\nBHYPE_LAB={shlex.quote(folder)} exec {words} "$@"\n', 0o755)


def _firmware(folder: str) -> list[str]:
    os.makedirs(folder, exist_ok=True)
    missing = []
    for name, source in FIRMWARE_FILES.items():
        target = f"{folder}/{name}"
        found = next((f"{place}/{source}" for place in OVMF if os.path.exists(f"{place}/{source}")), "")
        if os.path.exists(target):
            continue
        if found:
            shutil.copyfile(found, target + ".new")
            os.replace(target + ".new", target)
        else:
            missing.append(name)
    if not missing:
        return []
    return [f"No UEFI firmware ({', '.join(missing)}): guests will not start. Install the package ovmf."]


def stop(folder: str, *, grace: float = 3.0) -> int:
    """End all guests of the lab: SIGTERM, after ``grace`` seconds SIGKILL. Returns how many there were."""
    os.environ["BHYPE_LAB"] = os.path.realpath(folder)
    guests = bhyve_state.running()
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        for entry in bhyve_state.running().values():
            try:
                os.kill(entry["pid"], number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + seconds
        while bhyve_state.running() and time.monotonic() < deadline:
            time.sleep(0.02)
    shutil.rmtree(core.root("/dev/vmm"), ignore_errors=True)
    return len(guests)


def set_faults(folder: str, text: str) -> None:
    """Give the lab the faults in ``text`` (JSON, one or a list; see core.fault), or none for ""."""
    folder = os.path.realpath(folder)
    for name in ("state/faults.json", "faults.json"):
        if os.path.exists(f"{folder}/{name}"):
            os.unlink(f"{folder}/{name}")
    if text:
        faults = json.loads(text)
        faults = faults if isinstance(faults, list) else [faults]
        for fault in faults:
            core.check_fault(fault)
        core.replace(f"{folder}/faults.json", json.dumps(faults))
