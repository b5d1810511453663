"""Of which release of FreeBSD the lab is: 14.3, unless ``python -m bhype.lab create`` was told another one."""

from __future__ import annotations

from bhype.lab import core

RELEASE = "14.3-RELEASE"
HOSTNAME = "lab"
# What uname -v says, and the version of the kernel's interfaces (S:sys/sys/param.h).
KERNELS = {
    "13.2": ("releng/13.2-n254617-525ecfdad597", "1302001"),
    "13.5": ("releng/13.5-n259162-882b9f3f2218", "1305000"),
    "14.3": ("releng/14.3-n271432-8c9ce319fef7", "1403000"),
    "15.0": ("releng/15.0-n280995-7aedc8de6446", "1500068"),
}


def release() -> str:
    """Such as "14.3-RELEASE"."""
    return str(core.peek("host").get("release") or RELEASE)


def major() -> int:
    return int(release().partition(".")[0])


def version() -> str:
    return f"FreeBSD {release()} {KERNELS[release().partition('-')[0]][0]} GENERIC"


def osreldate() -> str:
    return KERNELS[release().partition("-")[0]][1]
