"""The forms of pools and of addresses that are given."""

from __future__ import annotations

from typing import Any

from django import forms

from network import guests
from network.models import AddressPool, Allocation, Switch

from . import pools, ranges
from .allocate import allocate, next_free
from .ranges import Unfit

_TEXT = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
FAMILIES = ((4, "IPv4"), (6, "IPv6"))


def _line(length: int, label: str, help_text: str = "", **more: Any) -> forms.CharField:
    return forms.CharField(
        max_length=length, label=label, help_text=help_text, widget=forms.TextInput(attrs=_TEXT), **more
    )


class PoolForm(forms.Form):
    """A range of a switch. ``save`` returns None when it cannot be: the reason then stands in the form."""

    purpose = forms.ChoiceField(choices=AddressPool.Purpose.choices, label="Its addresses are")
    first = _line(45, "First address")
    last = _line(45, "Last address", "Both ends belong to the pool.")
    note = _line(200, "Note", required=False)

    def __init__(self, data: Any = None, *, pool: AddressPool) -> None:
        fields = ("purpose", "first", "last", "note")
        super().__init__(data, initial={name: getattr(pool, name) or None for name in fields})
        self.pool = pool
        self.fields["purpose"].initial = pool.purpose or AddressPool.Purpose.STATIC
        known = ranges.subnets(pool.switch)
        self.fields["first"].help_text = (
            f"In {' or '.join(str(one.network) for one in known)}." if known else ""
        )

    def save(self) -> AddressPool | None:
        for name in ("purpose", "first", "last", "note"):
            setattr(self.pool, name, self.cleaned_data[name])
        try:
            return pools.save(self.pool)
        except Unfit as unfit:
            self.add_error(unfit.field or None, str(unfit))
        return None


class GiveForm(forms.Form):
    """An address for a guest's port or another machine. Empty: the next free one."""

    port = forms.ChoiceField(required=False, label="For")
    kind = forms.ChoiceField(
        choices=Allocation.Kind.choices, label="How",
        help_text="A static lease is given by DHCP, always. What is reserved is given to nobody.",
    )  # fmt: skip
    family = forms.TypedChoiceField(choices=FAMILIES, coerce=int, label="Family", required=False)
    address = _line(45, "Address", required=False)
    mac = _line(17, "MAC address", "Of a machine that is no guest.", required=False)
    hostname = _line(63, "Name", "By which it is found, if it is no guest.", required=False)
    note = _line(200, "Note", required=False)

    def __init__(self, data: Any = None, *, switch: Switch, **options: Any) -> None:
        super().__init__(data, **options)
        self.switch = switch
        choices = [("", "Another machine, or nobody")]
        for guest in guests.find(switches=[switch.pk]):
            choices += [
                (port.key, f"{guest.name}, port {port.index} ({port.mac})")
                for port in guest.ports
                if port.switch_id == switch.pk
            ]
        self._choose("port", choices)
        versions = {one.version for one in ranges.subnets(switch)}
        if len(versions) < 2:
            self._choose("family", [row for row in FAMILIES if row[0] in versions] or list(FAMILIES[:1]))
        free = [one for version in sorted(versions) if (one := next_free(switch, version))]
        self.fields["address"].help_text = (
            f"Empty: the next free one of the pools, {' or '.join(free)}."
            if free
            else "No pool has a free address: type one."
        )

    def _choose(self, name: str, choices: list[Any]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101
        field.choices = choices

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or self.cleaned_data
        if chosen.get("port") and (chosen.get("mac") or chosen.get("hostname")):
            name = "mac" if chosen.get("mac") else "hostname"
            self.add_error(name, "A guest's port has its own. Leave this empty.")
        return chosen

    def save(self) -> Allocation | None:
        chosen = self.cleaned_data
        words = {name: chosen[name].strip() for name in ("address", "mac", "hostname", "note")}
        try:
            return allocate(self.switch, chosen["port"], chosen["kind"], chosen["family"] or 4, **words)
        except Unfit as unfit:
            self.add_error(unfit.field if unfit.field in self.fields else None, str(unfit))
        return None
