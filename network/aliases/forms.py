"""The form of an alias."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F

from bhype.hosts.models import Host
from network.firewall import checks, document
from network.firewall.document import AliasRow
from network.firewall.forms import STALE
from network.firewall.wording import WIDE, Naming
from network.firewall.world import World
from network.models import Alias

NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
# Words that mean something else where names stand.
RESERVED = frozenset({*WIDE, "address", "alias", "tag", "switch", "vm", "jail", "tcp", "udp", "icmp"})
_OFF = {"autocomplete": "off", "spellcheck": "false"}


class AliasForm(forms.Form):
    """Entries are typed by name, one in a line: addresses, VMs and jails, tags, switches, other aliases; or ports."""

    name = forms.CharField(
        max_length=31, help_text="small letters, digits, - and _", widget=forms.TextInput(attrs=_OFF)
    )
    kind = forms.ChoiceField(choices=Alias.Kind.choices, label="What it names")
    entries = forms.CharField(
        required=False, max_length=40_000, widget=forms.Textarea(attrs={**_OFF, "rows": 6}),
        help_text="one in a line. Hosts and networks: 192.0.2.7, 198.51.100.0/24, the name of a VM or jail, tag NAME, "
        "switch NAME, or another alias. Ports: 80, 8000-8010, or another alias of ports.",
    )  # fmt: skip
    note = forms.CharField(required=False, max_length=200, widget=forms.TextInput(attrs=_OFF))
    revision = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(
        self, data: Any = None, *, host: Host, names: Naming, world: World, alias: Alias | None = None
    ) -> None:
        super().__init__(data, initial=_initial(alias, names) if alias else None)
        self.host, self.names, self.world, self.instance = host, names, world, alias
        self.is_stale = False

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

    def clean(self) -> dict[str, Any]:
        if self.instance is not None and self.cleaned_data.get("revision") not in {
            None,
            self.instance.revision,
        }:
            self.is_stale = True
            self.add_error(None, STALE)
        if not self.errors:
            for problem in checks.alias(self.row(), document.of(self.host), self.world):
                if not problem.is_warning:
                    self.add_error(problem.field if problem.field in self.fields else None, problem.sentence)
            self._check_use()
        return self.cleaned_data

    def _check_use(self) -> None:
        """What is used as hosts cannot become ports, nor the other way."""
        was = self.instance.kind if self.instance else self.cleaned_data["kind"]
        now = self.cleaned_data["kind"]
        if self.instance and (was == Alias.Kind.PORTS) != (now == Alias.Kind.PORTS):
            from .pages import uses

            if uses(self.instance, self.names):
                self.add_error("kind", "It is in use as what it was: make another alias instead.")

    def row(self) -> AliasRow:
        chosen = self.cleaned_data
        number = self.instance.pk if self.instance else 0
        return AliasRow(number, chosen["name"], chosen["kind"], tuple(chosen["entries"]), chosen["note"])

    def save(self) -> Alias | None:
        """Write the alias; None when somebody was faster, with its name or with a change of it."""
        chosen = self.cleaned_data
        values = {name: chosen[name] for name in ("name", "kind", "entries", "note")}
        try:
            with transaction.atomic():
                if self.instance is None:
                    return Alias.objects.create(host=self.host, **values)
                mine = Alias.objects.filter(pk=self.instance.pk, revision=self.instance.revision)
                if mine.update(**values, revision=F("revision") + 1):
                    self.instance.refresh_from_db()
                    return self.instance
        except IntegrityError:
            self.add_error("name", "There is an alias of this name already.")
            return None
        self.is_stale = True
        self.add_error(None, STALE)
        return None


def _initial(alias: Alias, names: Naming) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(alias, name) for name in ("name", "kind", "note", "revision")}
    shown = (
        names.ports(word) if alias.kind == Alias.Kind.PORTS else names.name(word).label
        for word in alias.entries
    )
    return values | {"entries": "\n".join(shown)}
