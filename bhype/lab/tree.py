"""Makes a lab's folder: FreeBSD's tree with a wrapper for each program, firmware, a pool, interfaces."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sys
import time
import uuid

from bhype.lab import bhyve_state, core, disks, wires

PROGRAMS = {
    **{f"sbin/{name}": name for name in ("zfs", "zpool", "ifconfig", "kldload", "kldstat", "sysctl")},
    **{f"sbin/{name}": name for name in ("geom", "gpart")},
    **{"usr/sbin/diskinfo": "diskinfo", "usr/local/sbin/smartctl": "smartctl", "bin/ps": "ps"},
    **{f"usr/sbin/{name}": name for name in ("bhyve", "bhyvectl", "bhyveload", "devctl", "ngctl", "pciconf")},
    **{f"usr/bin/{name}": name for name in ("drill", "netstat", "protect", "rctl", "wg")},
    **{"sbin/pfctl": "pfctl", "usr/sbin/tcpdump": "tcpdump"},
    "usr/local/sbin/grub-bhyve": "grub_bhyve",
    **{"sbin/ping": "ping", "sbin/route": "route"},
    **{f"usr/sbin/{name}": name for name in ("arp", "ndp", "sysrc", "valectl")},
    **{"usr/bin/zstream": "zstream", "usr/bin/limits": "limits", "usr/local/bin/qemu-img": "qemu_img"},
}
FOLDERS = (
    *("dev", "dev/zvol", "etc/defaults", "tmp", "var/run", "var/log", "var/db", "usr/local/etc", "boot"),
    "usr/share/bhyve/kbdlayout",
)
# What the kernel was booted with: it counts what processes use, see rctl(8).
FILES = {
    "boot/loader.conf": 'zfs_load="YES"\nkern.racct.enable="1"\n',
    "dev/dsp0": "",
    "etc/defaults/rc.conf": (
        'gateway_enable="NO"\nipv6_gateway_enable="NO"\npf_enable="NO"\npf_rules="/etc/pf.conf"\n'
        'pflog_enable="NO"\nlocal_unbound_enable="NO"\nsshd_enable="NO"\ncloned_interfaces=""\n'
        'defaultrouter="NO"\nipv6_defaultrouter="NO"\n'
    ),
    "etc/rc.conf": (
        'hostname="lab"\nifconfig_em0="inet 192.0.2.10 netmask 255.255.255.0"\ndefaultrouter="192.0.2.1"\n'
        'zfs_enable="YES"\nsshd_enable="YES"\n'
    ),
    "etc/resolv.conf": "nameserver 192.0.2.1\n",
}
FIRMWARE = "usr/local/share/uefi-firmware"
# FreeBSD's file, Debian's file: the package edk2-bhyve and the package ovmf are built from the same source.
FIRMWARE_FILES = {
    "BHYVE_UEFI.fd": "OVMF_CODE_4M.fd",
    "BHYVE_UEFI_CODE.fd": "OVMF_CODE_4M.fd",
    "BHYVE_UEFI_VARS.fd": "OVMF_VARS_4M.fd",
}
OVMF = ("/usr/share/OVMF", "/usr/share/edk2/x64", "/usr/share/edk2/ovmf", "/usr/local/share/edk2-qemu")
GIB = 1024**3


def create(
    folder: str, *, cpus: int, memory: int, pool: str, size: int, nics: int = 1, release: str = ""
) -> list[str]:
    """Make the lab in ``folder``, or refresh it, keeping its pool, guests and interfaces. /boot/loader.conf is read.

    cpus, memory (bytes): what the host pretends to have. pool, size (bytes): its first pool. nics: how many NICs, em0
    and so on. release: of FreeBSD, one of `release.KERNELS`; "" leaves it as it is.
    Returns sentences about what is missing on this machine.
    """
    os.environ["BHYPE_LAB"] = folder = os.path.realpath(folder)
    for name in (*(f"root/{each}" for each in FOLDERS), "state/zfs-data"):
        os.makedirs(f"{folder}/{name}", exist_ok=True)
    programs = PROGRAMS
    if shutil.which("swtpm"):  # a package that a host may lack
        programs = programs | {"usr/local/bin/swtpm": "swtpm"}
    if shutil.which("dnsmasq", path=os.environ.get("PATH", "") + ":/usr/sbin"):
        programs = programs | {"usr/local/sbin/dnsmasq": "dnsmasq"}
    for path, program in programs.items():
        _wrapper(f"{folder}/root/{path}", program, folder)
    for path, text in (*FILES.items(), *_layouts()):
        if not os.path.exists(f"{folder}/root/{path}"):
            core.replace(f"{folder}/root/{path}", text)
    tunables = _tunables(f"{folder}/root/boot/loader.conf")
    with core.state("host") as host:
        host.setdefault("booted", int(time.time()))
        host.setdefault("uuid", str(uuid.uuid4()))
        host.update(cpus=cpus, memory=memory, tunables=tunables)
        if release:
            host["release"] = f"{release}-RELEASE"
    from bhype.lab import ifconfig_state, pci

    with core.state("pci") as data:
        pci.boot(data, tunables)
    from bhype.lab.openzfs import labels, pools, spec
    from bhype.lab.openzfs.store import changing

    disks.make(size + labels.START + labels.END)
    with changing() as store:
        pools.modernise(store)
        if not store.pools and labels.read("/dev/da0") is None:
            pools.make(store, pool, spec.Spec(["da0"]), {}, filesystem={})
    with core.state("ifconfig") as data:
        ifconfig_state.boot(data, nics)
    with core.state("route") as data:
        data.setdefault("routes", {"default": wires.OUTSIDE})
    wires.carry()
    return _firmware(f"{folder}/root/{FIRMWARE}")


def _layouts() -> list[tuple[str, str]]:
    """bhyve's keyboard layouts; what they say is not read here, QEMU has its own."""
    from bhype.lab.qemu import KEYBOARDS

    return [(f"usr/share/bhyve/kbdlayout/{name}", "") for name in KEYBOARDS]


def _tunables(path: str) -> dict[str, str]:
    """The variables of a loader.conf(5)."""
    with open(path) as file:
        return dict(re.findall(r'^\s*([A-Za-z0-9_.-]+)="?([^"\n]*)"?\s*$', file.read(), re.MULTILINE))


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


def disk(folder: str, happens: str, name: str, amount: int = 0) -> None:
    """Do to a disk of the lab what happens to disks (see `disks.change`); its pools notice at once."""
    os.environ["BHYPE_LAB"] = os.path.realpath(folder)
    from bhype.lab.openzfs import pools
    from bhype.lab.openzfs.store import changing

    disks.change(happens, name, amount)
    with changing() as store:
        pools.refresh(store, keep=True)


def wire(folder: str, what: str) -> bool:
    """Put the lab's wires "on" or "off", or ask for their "status"; whether they are on. Raises wires.Unwired."""
    os.environ["BHYPE_LAB"] = os.path.realpath(folder)
    if what != "status":
        wires.on() if what == "on" else wires.off()
    return wires.namespace() is not None


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
