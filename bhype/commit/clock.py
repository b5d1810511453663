"""Time that nobody can set: the monotonic clock, and which boot it counts from."""

from __future__ import annotations

import sys
import time

# clock_gettime(2): CLOCK_MONOTONIC is the same for all processes of one boot.
now = time.monotonic


def boot() -> str:
    """What tells this boot from every other one, in hexadecimal; empty where the kernel does not say.

    FreeBSD 13 and later: sysctl kern.boot_id, 16 random bytes. kern.boottime would not do: it moves with the clock.
    """
    if sys.platform == "linux":
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip().replace("-", "")
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    value = ctypes.create_string_buffer(16)
    size = ctypes.c_size_t(len(value))
    failed = libc.sysctlbyname(b"kern.boot_id", value, ctypes.byref(size), None, ctypes.c_size_t(0))
    return "" if failed else value.raw[: size.value].hex()
