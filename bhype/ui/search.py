"""Global search: each app registers a function that finds its own things, so this room need not know them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.urls import NoReverseMatch, reverse

from .context import ITEMS

LIMIT = 8


@dataclass(frozen=True)
class Hit:
    title: str
    href: str
    icon: str = "chevron-right"
    note: str = ""
    # A word of state for a badge, such as "running".
    state: str = ""


# Label, name of the address, the right that its view asks for, icon.
MAKERS = (
    ("New virtual machine", "vms:new", "vms.create", "plus"),
    ("Deploy virtual machines", "vms:deploy", "vms.create", "bolt"),
    ("Templates", "vms:templates", "vms.create", "stack-2"),
    ("OS presets", "vms:presets", "templates.change", "adjustments-horizontal"),
    ("Profile and tokens", "accounts:profile", "self", "user-circle"),
)
PARTS = (
    ("Import a virtual machine", "vms:import", "vms.create", "download"),
    ("Virtual machines that start with the host", "vms:autostart", "hosts.view", "power"),
    ("Schedules of virtual machines", "vms:schedules_by_tag", "self", "calendar"),
    ("All schedules", "tasks:schedules", "self", "calendar"),
    ("Pools", "storage:pools", "storage.view", "database"),
    ("Disks", "storage:disks", "storage.view", "device-floppy"),
    ("Datasets", "storage:datasets", "storage.view", "folder"),
    ("Snapshots", "storage:snapshots", "storage.view", "camera"),
    ("Snapshot policies", "storage:policies", "storage.view", "calendar"),
    ("Install media", "storage:isos", "storage.view", "disc"),
    ("Images", "storage:images", "storage.view", "photo"),
    ("Catalogue of images", "storage:catalogue", "storage.view", "book"),
    ("Orphans: datasets that nobody has", "storage:orphans", "storage.view", "help-circle"),
    ("Switches", "network:switches", "network.view", "router"),
    ("Topology of the network", "network:topology", "network.view", "sitemap"),
    ("Firewall rules and forwards", "network:firewall", "network.view", "shield"),
    ("Logged packets of the firewall", "network:blocked", "network.view", "list-search"),
    ("Aliases", "network:aliases", "network.view", "tags"),
    ("Addresses", "network:addresses", "network.view", "address-book"),
    ("DHCP leases", "network:leases", "network.view", "clock"),
    ("WireGuard meshes", "network:wireguard", "network.view", "key"),
)

# (user, query) -> hits, best first, only what the user may see.
Finder = Callable[[Any, str], Iterable[Hit]]
# Of each group: its place (see register) and its finder.
_finders: dict[str, tuple[int, Finder]] = {}
OF_PAGES = 2


def register(name: str, finder: Finder, place: int = 1) -> None:
    """Add a group of hits called ``name``, such as "Virtual machines". Called from an AppConfig's ready().

    place: 0 for what most people look for, 3 for what comes after the pages.
    """
    _finders[name] = (place, finder)


def find(user: Any, query: str) -> list[tuple[str, list[Hit]]]:
    """The groups that have hits for ``query``, at most LIMIT hits each but for the pages; best first."""
    groups = [(OF_PAGES, "Pages", pages(user, query))]
    if query:
        groups += [
            (place, name, list(islice(finder(user, query), LIMIT)))
            for name, (place, finder) in _finders.items()
        ]
    return [(name, hits) for _, name, hits in sorted(groups, key=lambda group: group[0]) if hits]


def pages(user: Any, query: str) -> list[Hit]:
    """The pages of the side bar and what can be made, by name; with a query the parts of pages, too."""
    entries = [(item.label, item.url_name, item.right, item.icon) for item in ITEMS] + list(MAKERS)
    found = []
    for label, url_name, right, icon in entries + list(PARTS if query else ()):
        if query.lower() in label.lower() and user.can(right):
            try:
                found.append(Hit(label, reverse(url_name), icon))
            except NoReverseMatch:
                continue
    return found
