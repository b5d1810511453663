"""What the forms of the draft's rows have in common: rules, forwards and aliases."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from django import forms
from django.db.models import F

from bhype.hosts.models import Host
from bhype.ui.pages import STALE
from network.models import Alias, Forward, Rule

from . import wording
from .checks import Problem
from .wording import Naming
from .world import World

Row = TypeVar("Row", bound=Rule | Forward | Alias)
OFF = {"autocomplete": "off", "spellcheck": "false"}


class EndpointField(forms.ChoiceField):
    """A select of names. A word that is in use stays choosable when what it names is gone."""

    def offer(self, choices: wording.Choices, names: Naming, current: str) -> None:
        known = {word for _, rows in choices for word, _ in rows}
        if current and current not in known:
            choices = [*choices, ("Now", [(current, names.name(current).label)])]
        self.choices = [entry for label, rows in choices for entry in ([(label, rows)] if label else rows)]


class DraftForm(forms.Form, Generic[Row]):
    """A row of the draft, new or changed. It is stale when somebody has changed it since it was looked at
    (``revision``); what is wrong with it among the other rows (`checks`) stands beside the fields."""

    model: ClassVar[type[Any]]
    # What is stored of what was typed.
    columns: ClassVar[tuple[str, ...]]

    note = forms.CharField(required=False, max_length=200, widget=forms.TextInput(attrs=OFF))
    revision = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(
        self, data: Any, *, host: Host, names: Naming, world: World, instance: Row | None,
        initial: dict[str, Any] | None,
    ) -> None:  # fmt: skip
        super().__init__(data, initial=initial)
        self.host, self.names, self.world, self.instance = host, names, world, instance
        self.is_stale = False
        self.warnings: list[Problem] = []

    def problems(self) -> list[Problem]:
        """What is wrong with what was typed, among the other rows."""
        raise NotImplementedError

    def field_of(self, problem: Problem) -> str:
        """The field beside which a problem stands."""
        return problem.field

    def clean(self) -> dict[str, Any]:
        if self.instance is not None and self.cleaned_data.get("revision") not in {
            None,
            self.instance.revision,
        }:
            self._refuse()
        if not self.errors:
            for problem in self.problems():
                if problem.is_warning:
                    self.warnings.append(problem)
                else:
                    field = self.field_of(problem)
                    self.add_error(field if field in self.fields else None, problem.sentence)
        return self.cleaned_data

    def _refuse(self) -> None:
        self.is_stale = True
        self.add_error(None, STALE)

    def typed(self) -> dict[str, Any]:
        """The columns as they were typed."""
        return {name: self.cleaned_data[name] for name in self.columns}

    def create(self) -> Row:
        """A new row of what was typed."""
        return self.model.objects.create(host=self.host, **self.typed())  # type: ignore[no-any-return]

    def save(self) -> Row | None:
        """Write the row; None when somebody else has changed it since it was looked at."""
        if self.instance is None:
            return self.create()
        mine = self.model.objects.filter(pk=self.instance.pk, revision=self.instance.revision)
        if not mine.update(**self.typed(), revision=F("revision") + 1):
            self._refuse()
            return None
        self.instance.refresh_from_db()
        return self.instance
