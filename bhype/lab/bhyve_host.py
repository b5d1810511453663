"""What bhyve asks of the lab's kernel: modules, limits, taps and their bridges (state of other programs)."""

from __future__ import annotations

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


def has_tap(device: str) -> bool:
    """Whether ``/dev/DEVICE`` exists; a renamed interface keeps its device."""
    return any(interface["device"] == device for interface in _interfaces().values())


def index_of(device: str) -> int:
    """The index of the interface of ``/dev/DEVICE``, 0 when there is none."""
    return next((each["index"] for each in _interfaces().values() if each["device"] == device), 0)


def has_interface(name: str) -> bool:
    return name in _interfaces()


def hostname() -> str:
    """kern.hostname."""
    return str(core.peek("sysctl").get("kern.hostname", "lab"))


def bridge_of(device: str) -> dict[str, Any] | None:
    """The bridge that the tap of ``device`` is a member of: ``{"name", "inet"}``, inet ``10.0.0.1/24`` or None.

    A member may also be the ng_eiface(4) that the tap is joined to by netgraph.
    """
    from bhype.lab import netgraph

    interfaces = _interfaces()
    names = {name for name, interface in interfaces.items() if interface["device"] == device}
    for each in list(names):
        names |= netgraph.interfaces_behind(each)
    for name, interface in interfaces.items():
        if names & set(interface.get("members", ())):
            return {"name": name, "inet": next(iter(interface["inet"]), None)}
    return None


def _interfaces() -> dict[str, Any]:
    interfaces: dict[str, Any] = core.peek("ifconfig").get("interfaces", {})
    return interfaces
