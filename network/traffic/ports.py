"""Which ports a page of traffic is about."""

from __future__ import annotations

from dataclasses import dataclass

from network import guests
from network.guests import Guest, Port
from network.models import Switch

from . import pages
from .pages import Now, Shown

# Guests' ports on the page of a switch; the list of its ports has all.
BUSIEST = 50


@dataclass(frozen=True, slots=True)
class Busy:
    """A guest's port with its rates now."""

    guest: Guest
    port: Port
    now: Now


def of_switch(switch: Switch) -> list[Shown]:
    """The switch itself and its uplink."""
    found = [
        Shown(
            f"switch:{switch.uuid}",
            switch.name,
            "Everything that comes into the switch and that it passes on, between its guests too.",
        )
    ]
    if switch.uplink:
        found.append(
            Shown(
                f"uplink:{switch.uplink}",
                f"Uplink {switch.uplink}",
                "By the host's view, all that uses the interface together.",
            )
        )
    return found


def of_guests(switch: Switch) -> list[tuple[Guest, Port]]:
    """The ports of guests that are plugged into the switch."""
    return [
        (guest, port)
        for guest in guests.find(switches=[switch.pk])
        for port in guest.ports
        if port.switch_id == switch.pk
    ]


def busiest(switch: Switch) -> list[Busy]:
    """The ports of guests that are measured now, those with most traffic first."""
    found = {port.key: (guest, port) for guest, port in of_guests(switch)}
    rates = pages.now(switch.host_id, found, BUSIEST)
    return [Busy(*found[key], one) for key, one in rates.items()]


def why_not(switch: Switch) -> str:
    """Why nothing is counted on this switch, a sentence; "" where it is."""
    if switch.technology == Switch.Technology.BRIDGE:
        return ""
    return (
        f"netstat counts interfaces, and the ports of a {switch.get_technology_display()} switch are none: only its"
        " uplink is measured."
    )
