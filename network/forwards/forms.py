"""The form of a port forward."""

from __future__ import annotations

from typing import Any

from django import forms

from bhype.hosts.models import Host
from network.firewall import checks, document, wording, words
from network.firewall.checks import Problem
from network.firewall.document import ForwardRow
from network.firewall.draft_forms import OFF, DraftForm, EndpointField
from network.firewall.wording import ADDRESS, Naming, span
from network.firewall.world import World
from network.models import Forward

COLUMNS = (
    "subject", "protocol", "port", "target_port", "count", "interface", "source", "is_logged", "is_enabled", "note",
)  # fmt: skip


class ForwardForm(DraftForm[Forward]):
    """A port of the host, or several that follow one another, and the guest that they lead to."""

    model, columns = Forward, COLUMNS

    subject = EndpointField(label="Leads to")
    protocol = forms.ChoiceField(choices=Forward.Protocol.choices, initial=Forward.Protocol.TCP)
    outside = forms.CharField(
        max_length=11, label="Port of the host", help_text="such as 8080, or several: 8000-8010",
        widget=forms.TextInput(attrs={**OFF, "inputmode": "numeric"}),
    )  # fmt: skip
    inside = forms.CharField(
        max_length=11, required=False, label="Port of the guest", help_text="the first one; empty for the same",
        widget=forms.TextInput(attrs={**OFF, "inputmode": "numeric"}),
    )  # fmt: skip
    source = EndpointField(label="Who may use it", initial="any")
    source_address = forms.CharField(
        required=False, max_length=18, label="Address or network", help_text="such as 192.0.2.0/24",
        widget=forms.TextInput(attrs=OFF),
    )  # fmt: skip
    interface = forms.CharField(
        required=False, max_length=15, label="Comes in by", widget=forms.TextInput(attrs=OFF),
        help_text="an interface of the host; empty for that of its default route",
    )  # fmt: skip
    is_logged = forms.BooleanField(required=False, label="Log new connections")
    is_enabled = forms.BooleanField(required=False, initial=True, label="On")

    def __init__(
        self, data: Any = None, *, host: Host, names: Naming, world: World, forward: Forward | None = None,
        subject: str = "",
    ) -> None:  # fmt: skip
        initial = _initial(forward) if forward else {"subject": subject} if subject else None
        super().__init__(data, host=host, names=names, world=world, instance=forward, initial=initial)
        guests = [
            (label, rows) for label, rows in wording.subjects(names) if label not in {"Tags", "Switches"}
        ]
        target, source = self.fields["subject"], self.fields["source"]
        assert isinstance(target, EndpointField)  # noqa: S101 - for the type
        assert isinstance(source, EndpointField)  # noqa: S101
        target.offer(guests, names, str(self.initial.get("subject", "")))
        current = str(self.initial.get("source", ""))
        source.offer(wording.peers(names), names, "" if current == ADDRESS else current)

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        first, count = self._ports("outside", chosen.get("outside", ""))
        chosen["port"], chosen["count"] = first, count
        typed = chosen.get("inside", "")
        chosen["target_port"], inner = self._ports("inside", typed) if typed else (first, count)
        if typed and "-" in typed and inner != count and not self.errors:
            self.add_error("inside", "As many ports as outside, or only the first one.")
        if chosen.get("source") == ADDRESS:
            try:
                chosen["source"] = words.endpoint(chosen.get("source_address", "")).value or "?"
            except words.BadWord as error:
                self.add_error("source_address", str(error))
        return super().clean()

    def _ports(self, field: str, text: str) -> tuple[int, int]:
        """The first port of "8000-8010" and how many there are."""
        try:
            found = words.ports(text)
            (first, last), *rest = found.ranges
            if rest or found.aliases:
                raise words.BadWord("One port, or several that follow one another.")
        except (words.BadWord, ValueError) as error:
            if field not in self.errors:
                self.add_error(field, str(error) if isinstance(error, words.BadWord) else "Which port?")
            return 0, 1
        return first, last - first + 1

    def problems(self) -> list[Problem]:
        return checks.forward(self.row(), document.of(self.host), self.world)

    def field_of(self, problem: Problem) -> str:
        field = {"port": "outside", "target_port": "inside", "count": "outside"}.get(
            problem.field, problem.field
        )
        is_typed = field == "source" and self.data.get("source") == ADDRESS
        return "source_address" if is_typed else field

    def row(self) -> ForwardRow:
        return ForwardRow(id=self.instance.pk if self.instance else 0, **self.typed())


def _initial(row: Forward) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(row, name) for name in (*COLUMNS, "revision")}
    values |= {"outside": span(row.port, row.count), "inside": span(row.target_port, row.count)}
    try:
        if words.endpoint(row.source).kind == "address":
            values |= {"source": ADDRESS, "source_address": row.source}
    except words.BadWord:
        pass
    return values
