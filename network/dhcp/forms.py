"""The forms of DHCP and names. They know what `config` refuses, and say it beside the field."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F

from bhype.live import publish
from network.addresses import defaults
from network.models import AddressPool, DnsRecord, Switch

from . import config, wanted, words
from .parts import Unwritable

_OFF = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}
COLUMNS = ("has_dhcp", "lease_seconds", "gateway", "ipv6", "has_dns", "domain", "upstreams")
LEASES = {
    600: "10 minutes",
    3600: "1 hour",
    12 * 3600: "12 hours",
    86400: "1 day",
    7 * 86400: "1 week",
    30 * 86400: "30 days",
}


class Stale(Exception):
    """Somebody has changed the switch since the form was shown."""


def lease_words(seconds: int) -> str:
    """How long a lease lasts, in words."""
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds and seconds % size == 0:
            count = seconds // size
            return f"{count} {name}" + ("s" if count > 1 else "")
    return f"{seconds} seconds"


class SettingsForm(forms.Form):
    """What a switch's dnsmasq does. Saving raises the switch's revision; a form that carries an older one is stale."""

    revision = forms.IntegerField(required=False, widget=forms.HiddenInput)
    has_dhcp = forms.BooleanField(
        required=False, label="Give IPv4 addresses (DHCP)", help_text="out of the switch's pools for DHCP"
    )
    lease_seconds = forms.TypedChoiceField(label="A lease lasts", coerce=int)
    gateway = forms.GenericIPAddressField(
        required=False,
        protocol="IPv4",
        label="Router",
        widget=forms.TextInput(attrs=_OFF),
        help_text="that guests are told of",
    )
    ipv6 = forms.ChoiceField(label="IPv6 addresses", choices=Switch.Ipv6.choices)
    has_dns = forms.BooleanField(
        required=False,
        label="Answer for names",
        help_text="Guests are found by their names, and ask this host for all others.",
    )
    domain = forms.CharField(
        required=False,
        max_length=100,
        widget=forms.TextInput(attrs=_OFF),
        help_text="behind the guests' names",
    )
    upstreams = forms.CharField(
        required=False,
        max_length=5000,
        label="Ask for other names",
        widget=forms.Textarea(attrs={**_OFF, "rows": 3, "placeholder": "the servers of this host"}),
        help_text="One in a line: an address (9.9.9.9), or a domain and who knows it (corp.example 10.0.0.53; with #"
        " in place of the address, whoever is asked for all). Empty for the name servers of this host. Only domains"
        " named here may lead to private addresses.",
    )

    def __init__(
        self, data: Any = None, *, switch: Switch, more_leases: tuple[int, ...] = (), **options: Any
    ) -> None:
        """more_leases: seconds that may be chosen besides `LEASES`."""
        initial = {column: getattr(switch, column) for column in (*COLUMNS, "revision")}
        initial["upstreams"] = "\n".join(shown(str(word)) for word in switch.upstreams)
        super().__init__(data, initial=initial, **options)
        self.switch = switch
        lengths = LEASES | {each: lease_words(each) for each in (switch.lease_seconds, *more_leases)}
        self.fields["lease_seconds"].choices = sorted(lengths.items())  # type: ignore[attr-defined]
        self.fields["domain"].widget.attrs["placeholder"] = f"{switch.name}.internal"
        own = switch.address.partition("/")[0] if switch.kind == Switch.Kind.NAT else ""
        self.fields["gateway"].widget.attrs["placeholder"] = own or "none"

    def clean_domain(self) -> str:
        text: str = self.cleaned_data["domain"].strip()
        if not text:
            return ""
        try:
            text = words.domain(text)
        except words.BadWord as error:
            raise ValidationError(str(error)) from error
        others = Switch.objects.filter(host=self.switch.host_id).exclude(pk=self.switch.pk)
        taken = next((other for other in others if other.guest_domain == text), None)
        if taken:
            raise ValidationError(f"The switch {taken.name} has this domain already.")
        return text

    def clean_upstreams(self) -> list[str]:
        found: dict[str, None] = {}
        own = {one.partition("/")[0] for one in (self.switch.address, self.switch.address6)}
        for line in self.cleaned_data["upstreams"].splitlines():
            if not line.strip():
                continue
            try:
                one = words.upstream(line)
            except words.BadWord as error:
                raise ValidationError(str(error)) from error
            if one.address in own:
                raise ValidationError(f"{one.address} is this switch's own address: it would ask itself.")
            found[str(one)] = None
        if len(found) > 50:
            raise ValidationError("At most 50 servers.")
        return list(found)

    def clean(self) -> dict[str, Any]:
        chosen, switch = self.cleaned_data, self.switch
        if self.errors:
            return chosen
        asks = chosen["has_dhcp"] or chosen["has_dns"] or chosen["ipv6"] != Switch.Ipv6.OFF
        if asks and switch.technology == Switch.Technology.VALE:
            raise ValidationError("A VALE switch has no interface on the host at which dnsmasq could listen.")
        if asks and not (switch.address or switch.address6):
            raise ValidationError(
                "Give the host an address on this switch first: DHCP and names are found there."
            )
        if chosen["has_dhcp"] and not switch.address:
            self.add_error("has_dhcp", "The host needs an IPv4 address on this switch for that.")
        if chosen["ipv6"] != Switch.Ipv6.OFF and not switch.address6:
            self.add_error("ipv6", "The host needs an IPv6 address on this switch for that.")
        if not self.errors and asks:
            self._try()
        return chosen

    def _try(self) -> None:
        """As a whole, by whoever writes the files."""
        tried = Switch.objects.select_related("host").get(pk=self.switch.pk)
        self._write(tried)
        try:
            found = config.build(wanted.service_of(tried))
        except Unwritable as error:
            raise ValidationError(str(error)) from error
        for problem in found.problems:
            if problem.startswith("The router"):
                self.add_error("gateway", problem)

    def _write(self, switch: Switch) -> None:
        for column in COLUMNS:
            setattr(
                switch,
                column,
                self.cleaned_data[column] or (None if column == "gateway" else self.cleaned_data[column]),
            )

    def save(self) -> Switch:
        """Write the columns; a switch without pools for DHCP gets some. Raises Stale."""
        chosen = self.cleaned_data
        with transaction.atomic():
            mine = Switch.objects.filter(pk=self.switch.pk)
            if chosen.get("revision") is not None:
                mine = mine.filter(revision=chosen["revision"])
            self._write(self.switch)
            values = {column: getattr(self.switch, column) for column in COLUMNS}
            if not mine.update(revision=F("revision") + 1, **values):
                raise Stale
            self._add_pools()
            publish(self.switch.subject, "switches")
        self.switch.refresh_from_db()
        return self.switch

    def _add_pools(self) -> None:
        switch, dhcp = self.switch, AddressPool.Purpose.DHCP
        gives = [switch.address] if switch.has_dhcp else []
        gives += [switch.address6] if switch.ipv6 == Switch.Ipv6.DHCP else []
        for address in gives:
            is_six = ":" in address
            if any(is_six == (":" in pool.first) for pool in switch.pools.all()):
                continue
            AddressPool.objects.bulk_create(
                AddressPool(switch=switch, purpose=one.purpose, first=one.first, last=one.last)
                for one in defaults.pools_for(address)
                if one.purpose == dhcp or not switch.pools.exists()
            )


def shown(word: str) -> str:
    """An upstream as people write it: ``corp.example 10.0.0.53``."""
    parts = [part for part in word.split("/") if part]
    return " ".join(parts)


class RecordForm(forms.Form):
    """A record of a switch."""

    kind = forms.ChoiceField(choices=DnsRecord.Kind.choices)
    name = forms.CharField(
        max_length=253,
        widget=forms.TextInput(attrs={**_OFF, "placeholder": "www"}),
        help_text="below the switch's domain; @ is the domain itself, and with a dot at its end a name is whole",
    )
    value = forms.CharField(
        max_length=500,
        strip=False,
        widget=forms.TextInput(attrs=_OFF),
        help_text="A, AAAA: an address. CNAME: a name that is known here. MX: 10 mail. SRV: priority, weight, port,"
        " name (0 5 389 ldap). TXT: a text.",
    )

    def __init__(
        self, data: Any = None, *, switch: Switch, record: DnsRecord | None = None, **options: Any
    ) -> None:
        initial = {"kind": record.kind, "name": record.name, "value": record.value} if record else None
        super().__init__(data, initial=initial, **options)
        self.switch, self.record = switch, record

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        if self.errors:
            return chosen
        below = self.switch.guest_domain
        chosen["name"] = chosen["name"].strip().lower()
        try:
            whole = words.name(chosen["name"], below)
        except words.BadWord as error:
            self.add_error("name", str(error))
            return chosen
        try:
            checked = words.record(chosen["kind"], chosen["name"], chosen["value"], below)
        except words.BadWord as error:
            self.add_error("value", str(error))
            return chosen
        chosen["value"] = self._spelt(checked, chosen["value"])
        self._clash(whole, checked)
        return chosen

    @staticmethod
    def _spelt(checked: words.Record, typed: str) -> str:
        """Addresses in one spelling, blanks once; names as they were typed: below the domain they move with it."""
        return checked.words[0] if checked.kind in {"A", "AAAA", "TXT"} else " ".join(typed.split()).lower()

    def _clash(self, whole: str, checked: words.Record) -> None:
        """An alias is the only record of its name (RFC 1034, 3.6.2), and leads to no alias that leads back."""
        others = DnsRecord.objects.filter(switch=self.switch)
        others = others.exclude(pk=self.record.pk) if self.record else others
        aliases: dict[str, str] = {}
        for other in others:
            try:
                one = words.record(other.kind, other.name, other.value, self.switch.guest_domain)
            except words.BadWord:
                continue  # what does not stand is in nobody's way
            if one.name == whole and one == checked:
                self.add_error(None, "There is this record already.")
            elif one.name == whole and "CNAME" in {one.kind, checked.kind}:
                self.add_error("name", f"{whole} has another record: a CNAME stands alone.")
            if one.kind == "CNAME":
                aliases[one.name] = one.words[0]
        if checked.kind == "CNAME" and config.loops(whole, checked.words[0], aliases):
            self.add_error("value", "These names would stand for one another in a circle.")

    def save(self) -> DnsRecord | None:
        """Write the record; None when somebody was faster with the same."""
        row = self.record or DnsRecord(switch=self.switch)
        for column in ("kind", "name", "value"):
            setattr(row, column, self.cleaned_data[column])
        try:
            with transaction.atomic():
                row.save()
                publish(self.switch.subject)
        except IntegrityError:
            self.add_error(None, "There is this record already.")
            return None
        return row
