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


# (user, query) -> hits, best first, only what the user may see.
Finder = Callable[[Any, str], Iterable[Hit]]
_finders: dict[str, Finder] = {}


def register(name: str, finder: Finder) -> None:
    """Add a group of hits called ``name``, such as "Virtual machines". Called from an AppConfig's ready()."""
    _finders[name] = finder


def find(user: Any, query: str) -> list[tuple[str, list[Hit]]]:
    """The groups that have hits for ``query``, at most LIMIT hits each."""
    groups = [("Pages", pages(user, query))]
    if query:
        groups = [
            (name, list(islice(finder(user, query), LIMIT))) for name, finder in _finders.items()
        ] + groups
    return [(name, hits) for name, hits in groups if hits]


def pages(user: Any, query: str) -> list[Hit]:
    """The pages of the side bar, and what can be made, by name."""
    found = []
    makers = (
        ("New virtual machine", "vms:new", "vms.create", "plus"),
        ("Deploy virtual machines", "vms:deploy", "vms.create", "bolt"),
        ("Templates", "vms:templates", "vms.create", "stack-2"),
        ("OS presets", "vms:presets", "templates.change", "adjustments-horizontal"),
        ("Profile and tokens", "accounts:profile", "self", "user-circle"),
    )
    entries = [(item.label, item.url_name, item.right, item.icon) for item in ITEMS] + list(makers)
    for label, url_name, right, icon in entries:
        if query.lower() in label.lower() and user.can(right):
            try:
                found.append(Hit(label, reverse(url_name), icon))
            except NoReverseMatch:
                continue
    return found
