"""The form of an alias."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from bhype.hosts.models import Host
from network.firewall import checks, document
from network.firewall.checks import Problem
from network.firewall.document import AliasRow
from network.firewall.draft_forms import OFF, DraftForm
from network.firewall.wording import WIDE, Naming
from network.firewall.world import World
from network.models import Alias

NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
# Words that mean something else where names stand.
RESERVED = frozenset({*WIDE, "address", "alias", "tag", "switch", "vm", "jail", "tcp", "udp", "icmp"})


class AliasForm(DraftForm[Alias]):
    """Entries are typed by name, one in a line: addresses, VMs and jails, tags, switches, other aliases; or ports."""

    model, columns = Alias, ("name", "kind", "entries", "note")

    name = forms.CharField(
        max_length=31, help_text="small letters, digits, - and _", widget=forms.TextInput(attrs=OFF)
    )
    kind = forms.ChoiceField(choices=Alias.Kind.choices, label="What it names")
    entries = forms.CharField(
        required=False, max_length=40_000, widget=forms.Textarea(attrs={**OFF, "rows": 6}),
        help_text="one in a line. Hosts and networks: 192.0.2.7, 198.51.100.0/24, the name of a VM or jail, tag NAME, "
        "switch NAME, or another alias. Ports: 80, 8000-8010, or another alias of ports.",
    )  # fmt: skip

    def __init__(
        self, data: Any = None, *, host: Host, names: Naming, world: World, alias: Alias | None = None
    ) -> None:
        known = _initial(alias, names) if alias else None
        super().__init__(data, host=host, names=names, world=world, instance=alias, initial=known)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip().lower()
        if not NAME.fullmatch(name):
            raise ValidationError("A name has small letters, digits, - and _, and begins with a letter.")
        if name in RESERVED:
            raise ValidationError(f"“{name}” means something else in rules: choose another name.")
        return name

    def clean_entries(self) -> list[str]:
        lines = [" ".join(line.split()) for line in re.split(r"[\n,]", self.cleaned_data["entries"])]
        is_ports = self.data.get("kind") == Alias.Kind.PORTS
        return [self._word(line, is_ports=is_ports) for line in dict.fromkeys(lines) if line]

    def _word(self, line: str, *, is_ports: bool) -> str:
        """The word that is stored for what was typed; what names nothing stays as it is, and is refused."""
        aliases = {row.name: f"alias:{row.pk}" for row in self.names.aliases.values()}
        if is_ports:
            return aliases.get(line, line)
        kind, _, rest = line.partition(" ")
        if kind == "tag" and rest:
            return f"tag:{rest}"
        switches = {row.name: f"switch:{uuid}" for uuid, row in self.names.switches.items()}
        if kind == "switch" and rest in switches:
            return switches[rest]
        guests = {guest.name: guest.endpoint for guest in self.names.guests.values()}
        return "host" if line in {"host", WIDE["host"]} else aliases.get(line) or guests.get(line) or line

    def problems(self) -> list[Problem]:
        return [*checks.alias(self.row(), document.of(self.host), self.world), *self._misused()]

    def _misused(self) -> list[Problem]:
        """What is used as hosts cannot become ports, nor the other way."""
        from .pages import uses

        now = self.cleaned_data["kind"]
        if self.instance is None or (self.instance.kind == Alias.Kind.PORTS) == (now == Alias.Kind.PORTS):
            return []
        if not uses(self.instance, self.names):
            return []
        return [Problem("It is in use as what it was: make another alias instead.", "kind")]

    def row(self) -> AliasRow:
        chosen = self.cleaned_data
        number = self.instance.pk if self.instance else 0
        return AliasRow(number, chosen["name"], chosen["kind"], tuple(chosen["entries"]), chosen["note"])

    def save(self) -> Alias | None:
        """Write the alias; None when somebody was faster, with its name or with a change of it."""
        try:
            with transaction.atomic():
                return super().save()
        except IntegrityError:
            self.add_error("name", "There is an alias of this name already.")
            return None


def _initial(alias: Alias, names: Naming) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(alias, name) for name in ("name", "kind", "note", "revision")}
    shown = (
        names.ports(word) if alias.kind == Alias.Kind.PORTS else names.name(word).label
        for word in alias.entries
    )
    return values | {"entries": "\n".join(shown)}
