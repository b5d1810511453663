"""The form of an aggregation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from network.models import Aggregation, HostInterface, Switch
from network.switches.checks import plain


def free_members(host: Host, row: Aggregation | None = None) -> list[HostInterface]:
    """Interfaces that an aggregation can be made of: cards without addresses that nothing else is made of."""
    interfaces = list(host.interfaces.all())
    own = {row.name} if row is not None else set()
    taken = {name for one in interfaces if one.name not in own for name in one.members}
    taken |= set(Switch.objects.filter(host=host).values_list("uplink", flat=True))
    for other in host.aggregations.exclude(name__in=own):
        taken |= set(other.members)
    taken |= {one.parent for one in interfaces}
    return [one for one in interfaces if one.kind == "physical" and not plain(one) and one.name not in taken]


def remove(row: Aggregation, user: User) -> Task:
    """Let the worker take it away, and then its row. Raises Refused while a switch leads through it."""
    switches = list(Switch.objects.filter(host=row.host, uplink=row.name).values_list("name", flat=True))
    if switches:
        raise Refused(
            "conflict",
            f"{row.name} is the uplink of {', '.join(switches)}: choose another there.",
            status=409,
        )
    with transaction.atomic():
        Aggregation.objects.filter(pk=row.pk).update(is_deleting=True)
        publish("switches")
        return ask("network.ensure", {}, user)


class AggregationForm(forms.Form):
    """Several network cards as one."""

    protocol = forms.ChoiceField(
        choices=Aggregation.Protocol.choices,
        help_text="LACP shares the load, and the switch that the cables lead to must know of it. Failover uses one at "
        "a time and needs nothing of it.",
    )
    members = forms.MultipleChoiceField(
        label="Made of", widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"})
    )

    def __init__(
        self, data: Mapping[str, Any] | None = None, *, host: Host, row: Aggregation | None = None
    ) -> None:
        self.host, self.row = host, row
        initial = {"protocol": row.protocol, "members": row.members} if row is not None else {}
        super().__init__(data, initial=initial)
        self.free = {one.name: one for one in free_members(host, row)}
        words = [
            (one.name, f"{one.name} ({one.status or ('up' if one.is_up else 'down')})")
            for one in self.free.values()
        ]
        self.fields["members"].choices = words  # type: ignore[attr-defined]

    def clean_members(self) -> list[str]:
        found: list[str] = self.cleaned_data["members"]
        if len({self.free[name].mtu for name in found}) > 1:
            raise ValidationError("They have different MTUs: give them the same first.")
        return found

    def save(self, user: User) -> tuple[Aggregation, Task]:
        """Store it and ask for what it needs. Raises Refused, and ValidationError when somebody was faster."""
        chosen = self.cleaned_data
        row = self.row or Aggregation(host=self.host, name=self._name())
        row.protocol, row.members = chosen["protocol"], chosen["members"]
        try:
            with transaction.atomic():
                row.save()
                publish("switches")
                return row, ask("network.ensure", {}, user)
        except IntegrityError as error:
            raise ValidationError("Somebody else has just made one. Try again.") from error

    def _name(self) -> str:
        used = {*self.host.interfaces.values_list("name", flat=True)}
        used |= {*self.host.aggregations.values_list("name", flat=True)}
        return next(name for number in range(1000) if (name := f"lagg{number}") not in used)
