"""The forms of rules and of what a switch does where no rule tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from bhype.hosts.models import Host
from network.models import Alias, Rule, Switch

from . import checks, document, order, wording, words
from .checks import Problem
from .document import RuleRow
from .draft_forms import OFF, DraftForm, EndpointField
from .wording import ADDRESS, Naming
from .world import World

# What a form shows at once; a rule with more names hides nothing, it is checked by numbers.
COLUMNS = (
    "action", "direction", "subject", "peer", "protocol", "ports", "family", "is_logged", "is_enabled", "note",
)  # fmt: skip


class RuleForm(DraftForm[Rule]):
    """A rule that reads as a sentence."""

    model, columns = Rule, COLUMNS

    action = forms.ChoiceField(choices=Rule.Action.choices, label="What happens")
    direction = forms.ChoiceField(choices=Rule.Direction.choices, label="Direction")
    subject = EndpointField(label="Subject", help_text="a VM, a jail, all with a tag, or all on a switch")
    peer = EndpointField(label="Other side")
    peer_address = forms.CharField(
        required=False, max_length=49, label="Address or network", help_text="such as 192.0.2.0/24 or 2001:db8::1",
        widget=forms.TextInput(attrs=OFF),
    )  # fmt: skip
    protocol = forms.ChoiceField(required=False, choices=Rule.Protocol.choices)
    ports = forms.CharField(required=False, max_length=200, widget=forms.TextInput(attrs=OFF))
    family = forms.ChoiceField(required=False, choices=Rule.Family.choices, label="Addresses")
    is_logged = forms.BooleanField(required=False, label="Log what it meets")
    is_enabled = forms.BooleanField(required=False, initial=True, label="On")

    def __init__(
        self, data: Any = None, *, host: Host, names: Naming, world: World, rule: Rule | None = None,
        initial: dict[str, Any] | None = None, before: int | None = None,
    ) -> None:  # fmt: skip
        """before: the number of the rule before which a new one comes; None for behind all."""
        known = _initial(rule, names) if rule else initial
        super().__init__(data, host=host, names=names, world=world, instance=rule, initial=known)
        self.before = before
        subject, peer = self.fields["subject"], self.fields["peer"]
        assert isinstance(subject, EndpointField)  # noqa: S101 - for the type
        assert isinstance(peer, EndpointField)  # noqa: S101
        subject.offer(wording.subjects(names), names, str(self.initial.get("subject", "")))
        current = str(self.initial.get("peer", ""))
        peer.offer(wording.peers(names), names, "" if current == ADDRESS else current)
        named = [row.name for row in names.aliases.values() if row.kind == Alias.Kind.PORTS]
        self.fields[
            "ports"
        ].help_text = (
            f"such as 80, 443 or 8000-8010{f', or {_listed(named)}' if named else ''}; empty for all"
        )

    def clean_ports(self) -> str:
        return read_ports(self.cleaned_data["ports"], self.names)

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        if chosen.get("peer") == ADDRESS:
            try:
                found = words.endpoint(chosen.get("peer_address", ""))
                if found.kind != "address":
                    raise words.BadWord("This is neither an address nor a network.")
                chosen["peer"] = found.value
            except words.BadWord as error:
                self.add_error("peer_address", str(error))
        return super().clean()

    def problems(self) -> list[Problem]:
        row, now = self.row(), document.of(self.host)
        place = next((at for at, one in enumerate(now.rules) if one.id == self.before), None)
        if self.instance is None and place is not None:
            now = replace(now, rules=(*now.rules[:place], row, *now.rules[place:]))
        return checks.rule(row, now, self.world)

    def field_of(self, problem: Problem) -> str:
        is_typed = problem.field == "peer" and self.data.get("peer") == ADDRESS
        return "peer_address" if is_typed else problem.field

    def row(self) -> RuleRow:
        """The rule that was typed, as it is compiled."""
        return RuleRow(id=self.instance.pk if self.instance else 0, **self.typed())

    def create(self) -> Rule:
        rule = Rule(host=self.host, **self.typed())
        order.insert(rule, self.before)
        return rule


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a switch does with packets that no rule tells of."""

    class Meta:
        model = Switch
        fields = ("passes_in", "passes_out")
        labels = {
            "passes_in": "Let in what no rule tells of",
            "passes_out": "Let out what no rule tells of",
        }
        help_texts = {
            "passes_in": "to its guests; off: only what a rule allows reaches them",
            "passes_out": "from its guests; off: they reach only what a rule allows",
        }


def read_ports(text: str, names: Naming) -> str:
    """Ports as they are stored: names of aliases become numbers. Raises ValidationError."""
    named = {row.name: row.pk for row in names.aliases.values() if row.kind == Alias.Kind.PORTS}
    found = [f"alias:{named[word]}" if word in named else word for word in text.replace(",", " ").split()]
    joined = ",".join(found)
    try:
        words.ports(joined)
    except words.BadWord as error:
        raise ValidationError(str(error)) from error
    return joined


def _initial(rule: Rule, names: Naming) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(rule, name) for name in (*COLUMNS, "revision")}
    values["ports"] = names.ports(rule.ports)
    if _is_address(rule.peer):
        values |= {"peer": ADDRESS, "peer_address": rule.peer}
    return values


def _is_address(word: str) -> bool:
    try:
        return words.endpoint(word).kind == "address"
    except words.BadWord:
        return False


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and others" if len(names) > 4 else shown
