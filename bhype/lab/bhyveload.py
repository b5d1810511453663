"""bhyveload(8): makes the VM and notes that the following bhyve is to boot the first disk, which the BIOS does.

Source: bhyveload(8), usr.sbin/bhyveload/bhyveload.c (grammar, texts, statuses). FreeBSD's own loader does not run
here: -e, -h and -C are accepted, and an OS loader (-l) must exist.
"""

from __future__ import annotations

import os
import re

from bhype.lab import bhyve_host, bhyve_state, core
from bhype.lab.bhyve_machine import NAME_MAX, parse_size, real

EX_USAGE = 64
USAGE = (
    "usage: bhyveload [-S][-c <console-device>] [-d <disk-path>] [-e <name=value>]\n"
    "                 [-h <host-path>] [-m memsize[K|k|M|m|G|g|T|t]] <vmname>"
)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["bhyveload", *argv]))
    try:
        options, words = core.getopt(argv, "CSc:d:e:h:l:m:")
    except core.BadOption as error:
        problem = "option requires an argument" if error.missing else "illegal option"
        core.fail(f"bhyveload: {problem} -- {error.letter}\n{USAGE}", 1)
    memory, disks, loader = 256 << 20, [], ""
    for letter, value in options:
        if letter == "c" and value != "stdio" and not is_console(value):
            core.fail(f"bhyveload: Could not open '{value}'", EX_USAGE)
        elif letter == "d":
            if not os.access(real(value), os.R_OK) or os.path.isdir(real(value)):
                core.fail(f"bhyveload: Could not open '{value}'", EX_USAGE)
            disks.append(real(value))
        elif letter == "l":
            if loader:
                core.fail("bhyveload: -l can only be given once", EX_USAGE)
            loader = value
        elif letter == "m":
            size = parse_size(value)
            if size is None:
                core.fail(f"bhyveload: Invalid memsize '{value}'", EX_USAGE)
            memory = size
    if len(words) != 1:
        core.fail(USAGE, 1)
    name = words[0]
    bhyve_state.register(["/usr/sbin/bhyveload", *argv])
    create(name, memory)
    if loader and not os.path.isfile(real(loader)):
        print(f'Cannot open "{loader}"')
        return 1
    if not disks:
        print("Consoles: userboot\n\nFreeBSD/amd64 User boot lua, Revision 1.2\ncan't load 'kernel'")
        return 1
    print("Consoles: userboot\n\nFreeBSD/amd64 User boot lua, Revision 1.2\nBooting...")
    bhyve_state.load(name, memory=memory, disk=disks[0], kernel=None, initrd=None, append="")
    return 0


def is_console(path: str) -> bool:
    """Whether a loader can open it."""
    if re.fullmatch(r"/dev/nmdm[^/]+[AB]", path):
        return bhyve_host.is_loaded("nmdm")
    return os.path.exists(real(path))


def create(name: str, memory: int) -> None:
    """Make the VM, or empty the one that is there. Ends the program with status 1 when the kernel refuses."""
    if not bhyve_host.is_loaded("vmm"):
        core.fail("vm_create: No such file or directory", 1)
    if not 0 < len(name.encode()) <= NAME_MAX or "/" in name:
        core.fail("vm_create: Invalid argument", 1)
    if bhyve_state.is_open(name):
        core.fail("vm_reinit: Device busy", 1)
    bhyve_state.unload(name)
    if not bhyve_state.exists(name):
        bhyve_state.create(name)
    if not 0 < memory <= bhyve_host.memory():
        core.fail(f"vm_setup_memory: {'Invalid argument' if memory == 0 else 'Cannot allocate memory'}", 1)
