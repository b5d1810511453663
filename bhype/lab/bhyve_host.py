"""What bhyve asks of the lab's kernel: modules, limits, taps and their bridges (state of other programs)."""

from __future__ import annotations

import ipaddress

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def is_loaded(module: str) -> bool:
    """Whether kldload(8) has loaded ``module``."""
    loaded: Any = core.peek("kld").get("loaded", {})
    return module in loaded or f"{module}.ko" in loaded


def cpus() -> int:
    """hw.vmm.maxcpu: as many vCPUs as the host has CPUs."""
    return int(core.peek("host").get("cpus", 16))


def memory() -> int:
    """hw.physmem in bytes."""
    return int(core.peek("host").get("memory", 1 << 40))


def has_interface(name: str) -> bool:
    return name in _interfaces()


def bridge_of(tap: str) -> dict[str, Any] | None:
    """The bridge that ``tap`` is a member of: ``{"name", "inet"}``, inet being ``10.0.0.1/24`` or None."""
    for name, interface in _interfaces().items():
        if tap in interface.get("members", ()):
            for entry in interface.get("inet", ()):
                try:
                    return {"name": name, "inet": str(ipaddress.IPv4Interface(entry))}
                except ValueError:
                    continue
            return {"name": name, "inet": None}
    return None


def _interfaces() -> dict[str, Any]:
    interfaces: dict[str, Any] = core.peek("ifconfig").get("interfaces", {})
    return interfaces
