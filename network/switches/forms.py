"""The form of a switch. It fills in what its kind decides, and tells what is wrong beside the field (`checks`)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F

from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import ask
from bhype.tasks.models import Task
from bhype.ui.pages import STALE
from network.models import HostInterface, Switch

from . import checks, defaults

_OFF = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}
COLUMNS = (
    "name", "kind", "note", "technology", "adopted", "address", "address6", "uplink", "vlan", "vxlan", "vxlan_local",
    "vxlan_remote", "mtu", "is_isolated", "has_vlans", "is_guarded", "nat_interface",
)  # fmt: skip
# They are what a switch is: another one has others.
FIXED = ("name", "adopted")


class SwitchForm(forms.Form):
    """A new switch, or one that is changed. What is left empty is filled in."""

    revision = forms.IntegerField(required=False, widget=forms.HiddenInput)
    name = forms.CharField(
        max_length=12, widget=forms.TextInput(attrs=_OFF), help_text="a-z, 0-9 and -, such as lan or dmz-2"
    )
    kind = forms.ChoiceField(choices=Switch.Kind.choices)
    note = forms.CharField(required=False, max_length=200, widget=forms.TextInput(attrs=_OFF))
    address = forms.CharField(
        required=False, max_length=49, label="IPv4 address of the host", widget=forms.TextInput(attrs=_OFF)
    )
    address6 = forms.CharField(
        required=False, max_length=49, label="IPv6 address of the host", widget=forms.TextInput(attrs=_OFF),
        help_text="With its prefix length, such as fd77::1/64.",
    )  # fmt: skip
    uplink = forms.ChoiceField(
        required=False,
        label="Uplink",
        help_text="The interface of the host by which its guests reach the network.",
    )
    vlan = forms.IntegerField(
        required=False, min_value=1, max_value=4094, label="VLAN of the uplink",
        help_text="Only this one of the uplink; empty for all that has no tag.",
    )  # fmt: skip
    vxlan = forms.IntegerField(
        required=False, min_value=1, max_value=2**24 - 1, label="Number of the tunnel",
        help_text="The same on all hosts of this switch.",
    )  # fmt: skip
    vxlan_local = forms.CharField(
        required=False, max_length=45, label="Sent from", widget=forms.TextInput(attrs=_OFF),
        help_text="An address of this host.",
    )  # fmt: skip
    vxlan_remote = forms.CharField(
        required=False, max_length=45, label="Sent to", widget=forms.TextInput(attrs=_OFF),
        help_text="The address of the other host, or for several a multicast group such as 239.0.0.42.",
    )  # fmt: skip
    technology = forms.ChoiceField(
        choices=Switch.Technology.choices, required=False,
        help_text="if_bridge does all. Guests of netgraph and VALE pass no packet filter; VALE is fastest.",
    )  # fmt: skip
    adopted = forms.ChoiceField(
        required=False, label="Bridge that is there",
        help_text="Made by somebody else: guests are plugged in, nothing else of it is changed.",
    )  # fmt: skip
    mtu = forms.IntegerField(
        required=False, label="MTU", help_text="Bytes; empty for that of the uplink, or 1500."
    )
    is_isolated = forms.BooleanField(
        required=False, label="Keep its guests apart",
        help_text="They reach the host and the uplink, and not each other.",
    )  # fmt: skip
    is_guarded = forms.BooleanField(
        required=False, label="Guard its ports",
        help_text="Guests send with their own MAC and IP addresses only. A single port can be let off.",
    )  # fmt: skip
    has_vlans = forms.BooleanField(
        required=False, label="VLANs of ports",
        help_text="Each port is in a VLAN of its own or is a trunk. From FreeBSD 15.0 on.",
    )  # fmt: skip
    nat_interface = forms.ChoiceField(
        required=False, label="Leaves by", help_text="Whose address its guests have outside."
    )

    def __init__(
        self, data: Mapping[str, Any] | None = None, *, host: Host, switch: Switch | None = None, kind: str = "",
        adopted: str = "",
    ) -> None:  # fmt: skip
        """kind, adopted: of a new one, as its form begins."""
        kinds = {*Switch.Kind.values}
        kind = str(data.get("kind", "")) if data is not None else kind
        new = Switch(host=host, kind=kind if kind in kinds else Switch.Kind.NAT, adopted=adopted, mtu=0)
        self.row, self.host, self.is_new = switch or new, host, switch is None
        # Its network was chosen by `defaults`.
        self.is_filled = False
        if switch is None and not adopted:
            defaults.fill(new, checks.used(new))
        initial = {column: getattr(self.row, column) for column in (*COLUMNS, "revision")}
        if self.is_new:
            initial |= {"mtu": None, "is_guarded": not adopted}
        super().__init__(data, initial=initial)
        self._choices()
        for name in FIXED if switch is not None else ():
            self.fields[name].disabled = True
        if switch is not None and self._guests():
            self.fields["technology"].disabled = True
            self.fields["technology"].help_text = "It can be changed when nothing is plugged in."

    def _choices(self) -> None:
        interfaces = list(self.host.interfaces.all())
        named = {one.name: one for one in interfaces}
        fit = [one for one in interfaces if not checks.uplink_problem(one, named)]
        bridges = [one for one in interfaces if one.kind == "bridge" and not one.is_own]
        self._set("uplink", "none", [(one.name, uplink_words(one)) for one in fit])
        self._set(
            "adopted", "none", [(one.name, f"{one.name} ({one.description or 'bridge'})") for one in bridges]
        )
        outer = [
            one for one in interfaces if one.kind in (*checks.UPLINKS, "bridge", "wg") and not one.is_own
        ]
        self._set(
            "nat_interface", "the way to the rest of the world", [(one.name, one.name) for one in outer]
        )

    def _set(self, name: str, empty: str, choices: list[tuple[str, str]]) -> None:
        current = str(getattr(self.row, name))
        if current and current not in dict(choices):
            choices.append((current, f"{current} (not there now)"))
        self.fields[name].choices = [("", empty), *choices]  # type: ignore[attr-defined]

    def _guests(self) -> list[str]:
        return plugged_in(self.row) if self.row.pk else []

    def clean_name(self) -> str:
        return str(self.cleaned_data["name"]).strip().lower()

    def clean(self) -> dict[str, Any]:
        if self.errors:
            return self.cleaned_data
        chosen, row = self.cleaned_data, self.row
        for column in COLUMNS:
            value = chosen[column]
            setattr(row, column, value.strip() if isinstance(value, str) else value)
        row.technology = row.technology or Switch.Technology.BRIDGE
        if self.is_new and row.kind == Switch.Kind.NAT and not row.adopted:
            self.is_filled = not row.address
            defaults.fill(row, checks.used(row))
        row.mtu = row.mtu or checks.usual_mtu(row)
        for column, sentence in checks.problems(row):
            self.add_error(column, sentence)
        if row.pk:
            self._check_given()
        return chosen

    def _check_given(self) -> None:
        """Addresses that somebody has for good stay inside the switch's networks."""
        if self.errors:
            return
        given = [
            one.address
            for one in self.row.allocations.exclude(kind="reserved")
            if not inside(one.address, self.row)
        ]
        if given:
            shown = ", ".join(given[:5]) + (" and others" if len(given) > 5 else "")
            column = "address6" if ":" in given[0] else "address"
            self.add_error(
                column, f"Guests have addresses outside of this network: {shown}. Release them first."
            )

    def save(self, user: User) -> tuple[Switch, Task]:
        """Store the switch and ask for what it needs on the host. Raises Refused, and ValidationError when somebody was
        faster."""
        row = self.row
        try:
            with transaction.atomic():
                Host.objects.select_for_update(no_key=True).get(pk=row.host_id)
                if row.pk and not self._claim():
                    raise ValidationError(STALE, code="stale")
                self._check_again()
                row.save()
                row.refresh_from_db()
                for pool in row.pools.all():
                    if not (inside(pool.first, row) and inside(pool.last, row)):
                        pool.delete()
                defaults.make_pools(row)
                publish(row.subject, "switches")
                return row, ask("network.ensure", {}, user)
        except IntegrityError as error:
            raise ValidationError("There is a switch of this name already.") from error

    def _check_again(self) -> None:
        """Of those who save at the same moment each sees the switches of those before: no two have the same network or
        uplink. A network that nobody has chosen is another one then."""
        if self.is_filled:
            self.row.address = ""
            defaults.fill(self.row, checks.used(self.row))
        for _, sentence in checks.problems(self.row):
            raise ValidationError(sentence)

    def _claim(self) -> bool:
        """Raise the revision, of the row that the form was made from only."""
        told = self.cleaned_data.get("revision")
        seen = self.row.revision if told is None else told
        mine = Switch.objects.filter(pk=self.row.pk, revision=seen, is_deleting=False)
        self.row.revision = seen + 1
        return bool(mine.update(revision=F("revision") + 1))


class MoveForm(forms.Form):
    """How the host's addresses are moved."""

    is_back = forms.BooleanField(required=False, widget=forms.HiddenInput)
    seconds = forms.IntegerField(
        min_value=20, max_value=600, initial=90, label="Seconds to confirm it in",
        help_text="Without a confirmation the addresses go back by themselves.",
    )  # fmt: skip


def inside(address: str, row: Switch) -> bool:
    """Whether an address is in one of the networks of a switch."""
    return any(ip_address(address) in ip_interface(own).network for own in row.addresses)


def uplink_words(one: HostInterface) -> str:
    """An interface as people choose it: its state, its addresses, and whether the host is reached by it."""
    words = ["up" if one.is_up else "down"]
    if one.status and one.status != "active":
        words = [one.status]
    if one.kind != "physical":
        words.insert(0, "aggregation" if one.kind == "lagg" else one.kind)
    words += [address.partition("/")[0] for address in checks.plain(one)][:2]
    if one.is_default:
        words.append("the host's way out")
    return f"{one.name} ({', '.join(words)})"


def plugged_in(row: Switch) -> list[str]:
    """The names of what has a port on a switch, whether it is on or not."""
    from network import guests

    names = {guest.name for guest in guests.find(switches=[row.pk])}
    return sorted(names | set(row.nics.values_list("vm__name", flat=True)))
