"""What the pages of aliases show. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

from bhype.accounts.models import User
from bhype.hosts.models import Host
from network.firewall.wording import Named, Naming, naming
from network.models import Alias, Forward, Rule


@dataclass(frozen=True, slots=True)
class Use:
    """Where an alias is used: a sentence, and the page of it."""

    text: str
    url_name: str
    number: int


@dataclass(frozen=True, slots=True)
class Line:
    row: Alias
    entries: list[Named]
    uses: list[Use]


def lines(host: Host, user: User) -> list[Line]:
    """All aliases of a host with what is in them and who uses them; constant in queries."""
    rows = list(Alias.objects.filter(host=host))
    names = naming(host, {word for row in rows for word in row.entries}, user)
    rules, forwards = list(Rule.objects.filter(host=host)), list(Forward.objects.filter(host=host))
    return [Line(row, _entries(row, names), _uses(row, rules, forwards, rows, names)) for row in rows]


def _entries(row: Alias, names: Naming) -> list[Named]:
    if row.kind == Alias.Kind.PORTS:
        return [Named(names.ports(word)) for word in row.entries]
    return [names.name(word) for word in row.entries]


def uses(alias: Alias, names: Naming) -> list[Use]:
    """Who uses this alias."""
    host = alias.host
    rules, forwards = list(Rule.objects.filter(host=host)), list(Forward.objects.filter(host=host))
    return _uses(alias, rules, forwards, list(Alias.objects.filter(host=host)), names)


def _uses(
    alias: Alias, rules: list[Rule], forwards: list[Forward], aliases: list[Alias], names: Naming
) -> list[Use]:
    word = f"alias:{alias.pk}"
    found = [
        Use(f"rule {place}", "network:rule_edit", row.pk)
        for place, row in enumerate(rules, 1)
        if word in {row.subject, row.peer, *row.ports.split(",")}
    ]
    found += [
        Use(f"forward of port {row.port}", "network:forward_edit", row.pk)
        for row in forwards
        if row.source == word
    ]
    found += [
        Use(f"alias {row.name}", "network:alias", row.pk)
        for row in aliases
        if any(word in entry.split(",") for entry in row.entries)
    ]
    return found
