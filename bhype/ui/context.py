"""What every page knows: the panel's name, this host's name, and the side bar by right. Asks no database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

PANEL_NAME = "bHype"


@dataclass(frozen=True)
class Item:
    """One entry of the side bar: shown to those who hold ``right``; ``key`` is pressed after ``g``."""

    label: str
    icon: str
    url_name: str
    right: str
    key: str
    # For the bar at the bottom of a phone.
    short: str = ""


ITEMS = (
    Item("Virtual machines", "device-desktop", "vms:list", "self", "v", "VMs"),
    Item("Storage", "database", "storage:list", "storage.view", "s"),
    Item("Network", "network", "network:list", "network.view", "n"),
    Item("Hosts", "server-2", "hosts:list", "hosts.view", "h"),
    Item("Tasks", "list-check", "tasks:list", "self", "t"),
    Item("Users", "users", "accounts:users", "users.manage", "u"),
    Item("Audit log", "history", "accounts:audit", "audit.view", "a", "Audit"),
)


def panel(request: HttpRequest) -> dict[str, Any]:
    """Context processor: ``panel_name``, ``host_name``, ``nav``."""
    user = getattr(request, "user", None)
    signed_in = user is not None and user.is_authenticated
    return {
        "panel_name": PANEL_NAME,
        "host_name": settings.HOST_NAME,
        "nav": _nav(request, user) if signed_in else [],
    }


def _nav(request: HttpRequest, user: Any) -> list[dict[str, Any]]:
    match = request.resolver_match
    here = match.view_name if match else ""
    entries = []
    for item in ITEMS:
        try:
            href = reverse(item.url_name)
        except NoReverseMatch:  # that app is not part of this installation
            continue
        app = item.url_name.partition(":")[0]
        # A console belongs to its VM.
        part = "vms" if here.startswith("console:") else here.partition(":")[0]
        active = here == item.url_name if app == "accounts" else part == app
        if user.can(item.right):
            entries.append(
                {
                    "label": item.label,
                    "short": item.short or item.label,
                    "icon": item.icon,
                    "href": href,
                    "key": item.key,
                    "active": active,
                }
            )
    return entries
