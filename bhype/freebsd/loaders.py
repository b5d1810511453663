"""bhyveload(8) and grub-bhyve(1): load an operating system into a VM that has no boot ROM.

Both make the VM in the kernel when it is missing, and must be run again before every start of bhyve(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bhype.freebsd import names
from bhype.freebsd.command import Command

BHYVELOAD = "/usr/sbin/bhyveload"
GRUB = "/usr/local/sbin/grub-bhyve"
STDIO = "stdio"
_VARIABLE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_ROOT = re.compile(r"(hd|cd)[0-9]{1,2}(,[a-z0-9]{1,10})*|host")


def bhyveload(
    name: str,
    *,
    memory: int,
    disk: str,
    console: str = STDIO,
    wired: bool = False,
    os_loader: str | None = None,
    environment: Iterable[tuple[str, str]] = (),
) -> Command:
    """Run FreeBSD's loader from ``disk``. memory: bytes, as bhyve is given; console: "stdio" or a device;
    environment: variables of loader(8)."""
    argv = [BHYVELOAD, *_wired(wired=wired), "-c", console if console == STDIO else _file(console)]
    argv += ["-m", _kilobytes(memory), "-d", _file(disk)]
    if os_loader is not None:
        argv += ["-l", _file(os_loader)]
    for key, value in environment:
        if not _VARIABLE.fullmatch(key) or not value.isprintable():
            raise names.BadName(f"{key!r} is not a variable of the loader.")
        argv += ["-e", f"{key}={value}"]
    return Command((*argv, names.machine(name)))


def grub_bhyve(
    name: str,
    *,
    memory: int,
    device_map: str,
    root: str,
    directory: str | None = None,
    console: str = STDIO,
    wired: bool = False,
) -> Command:
    """Run GRUB. device_map: the file that `device_map` makes; root: as "hd0,msdos1", or "host" with the
    ``directory`` of a grub.cfg on the host."""
    if not _ROOT.fullmatch(root):
        raise names.BadName(f"{root!r} is not a place that GRUB knows, such as hd0,msdos1.")
    # Its -c is a device and nothing else (grub_ncurses_init() in grub-core/term/emu/console.c).
    argv = [GRUB, *_wired(wired=wired), *([] if console == STDIO else ["-c", _file(console)])]
    argv += ["-m", _file(device_map), "-M", _kilobytes(memory), "-r", root]
    if directory is not None:
        argv += ["-d", _file(directory)]
    return Command((*argv, names.machine(name)))


def device_map(disks: Iterable[str], media: Iterable[str]) -> str:
    """GRUB's names for the files of a VM: a line such as ``(hd0) /dev/zvol/tank/web1`` for each."""
    lines = [f"(hd{number}) {_file(path)}" for number, path in enumerate(disks)]
    lines += [f"(cd{number}) {_file(path)}" for number, path in enumerate(media)]
    return "".join(f"{line}\n" for line in lines)


def _wired(*, wired: bool) -> list[str]:
    return ["-S"] if wired else []


def _kilobytes(memory: int) -> str:
    """As bhyve is told: the loader makes the memory, and both must mean the same."""
    return f"{-(-memory // 1024)}K"


def _file(path: str) -> str:
    if not path or path.startswith("-") or not path.isprintable():
        raise names.BadName(f"{path!r} is not a path.")
    return path
