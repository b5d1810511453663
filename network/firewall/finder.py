"""What global search finds of rules, forwards and aliases: by what their lists say of them, or their notes."""

from __future__ import annotations

from collections.abc import Iterator

from django.urls import reverse

from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.ui.search import Hit
from network.models import Alias

from . import pages


def find(user: User, query: str) -> Iterator[Hit]:
    """Rules and forwards, which may be hundreds; constant in queries."""
    if not user.can("network.view"):
        return
    word, page = query.lower(), reverse("network:firewall")
    found = pages.lists(Host.objects.this(), user)
    for kind, lines in (("rule", found.rules), ("forward", found.forwards)):
        for line in lines:
            text = f"{line.row.get_action_display()}: {line.text}" if kind == "rule" else line.text
            if word in f"{text}\n{line.row.note}".lower():
                name, icon = f"{kind}-{line.row.pk}", "shield" if kind == "rule" else "arrow-right"
                yield Hit(text, f"{page}#{name}", icon, line.row.note, "" if line.row.is_enabled else "off")


def find_aliases(user: User, query: str) -> Iterator[Hit]:
    """Aliases by name, note, or part of what is in them."""
    if not user.can("network.view"):
        return
    word, page = query.lower(), reverse("network:aliases")
    for row in Alias.objects.filter(host=Host.objects.this()):
        if word in "\n".join((row.name, row.note, *row.entries)).lower():
            yield Hit(row.name, f"{page}#alias-{row.pk}", "tags", row.note or ", ".join(row.entries[:3]))
