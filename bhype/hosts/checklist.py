"""What a host needs before the first VM runs. Each app adds what it knows; the host's page shows all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from django.urls import reverse

from .models import Host


@dataclass(frozen=True, slots=True)
class Item:
    """what: a sentence that is true or not; advice: what to do when it is not; places: labels of the pages where
    it is done, with their names or paths."""

    what: str
    is_done: bool
    advice: str
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def links(self) -> list[tuple[str, str]]:
        """Labels and paths of these pages."""
        return [
            (label, name if name.startswith("/") else reverse(name)) for label, name in self.places.items()
        ]


# What `observe` finds out of a host, in words.
_ABILITIES = {
    "vmm": "Virtual machines (vmm)",
    "modules": "All kernel modules loaded",
    "firmware": "UEFI firmware for guests",
    "swtpm": "TPMs for guests (swtpm)",
    "bridge_vlans": "VLANs on bridges (FreeBSD 15)",
    "passthru": "Gives PCI devices to VMs (BHYPE_ALLOW)",
}

Check = Callable[[Host], list[Item]]
_checks: list[Check] = []


def register(check: Check) -> None:
    """Add items to the list; called from ``AppConfig.ready``. ``check`` reads rows only."""
    if check not in _checks:
        _checks.append(check)


def items(host: Host) -> list[Item]:
    """The whole list for ``host``, the host's own part first."""
    features = host.features
    own = [
        Item(
            "The observer sees the host",
            host.is_online,
            "Start the panel, and with it the observer: make run.",
        ),
        Item(
            "The kernel can run virtual machines",
            bool(features.get("vmm")),
            "Load vmm(4): kldload vmm. If that fails, switch on VT-x or AMD-V in the host's firmware.",
        ),
        Item(
            "UEFI firmware for guests is installed",
            bool(features.get("firmware")),
            "Install it: pkg install edk2-bhyve.",
        ),
    ]
    return own + [item for check in _checks for item in check(host)]


def abilities(host: Host) -> list[tuple[str, bool]]:
    """What the host can do, in words, and whether it can."""
    return [(_ABILITIES.get(name, name), has) for name, has in host.features.items() if isinstance(has, bool)]
