"""What the pages of a switch have in common."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from bhype.accounts.access import signed_in
from network.models import Switch


def section(request: HttpRequest, switch: Switch, name: str) -> dict[str, Any]:
    """The context of a section of a switch's page, whose template extends network/switches/detail_base.html.

    name: "ports", "addresses", "nat", "rules" or "traffic". The section's address is network/switches/NAME/SECTION/
    and is called network:switch_SECTION.
    """
    return {
        "switch": switch,
        "section": name,
        "tab": "switches",
        "may_change": signed_in(request).can("network.change"),
    }
