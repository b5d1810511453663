"""The form of a policy: of what, when, and how many stay."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.tasks import schedules
from storage import owners
from storage.models import Dataset, SnapshotPolicy, SnapshotTier

from . import plan

KEEP_MAX = 10_000
_OFF = {"autocomplete": "off", "spellcheck": "false"}


class PolicyForm(forms.Form):
    """A policy with its targets and tiers. A tier without times is none."""

    name = forms.CharField(max_length=64, widget=forms.TextInput(attrs=_OFF))
    time_zone = forms.ChoiceField(label="Time zone", help_text="of all its times")
    is_enabled = forms.BooleanField(required=False, initial=True, label="Enabled")
    production = forms.BooleanField(required=False, label="Everything in production")
    tags = forms.MultipleChoiceField(required=False, label="Everything with a tag")
    things = forms.MultipleChoiceField(required=False, label="These")
    datasets = forms.CharField(
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={**_OFF, "rows": 2}),
        help_text="one in a line, each with all below it",
    )
    notes = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(
        self, data: Any = None, *, host: Host, policy: SnapshotPolicy | None = None, **options: Any
    ) -> None:
        super().__init__(data, initial=_values(policy) if policy else _fresh(), **options)
        self.host, self.policy = host, policy
        for kind, label in SnapshotTier.Kind.choices:
            when, keep = plan.DEFAULTS[kind]
            attrs = {**_OFF, "placeholder": when}
            self.fields[f"when_{kind}"] = forms.CharField(
                required=False,
                max_length=schedules.LONGEST,
                label=f"{label}, when",
                widget=forms.TextInput(attrs=attrs),
            )
            self.fields[f"keep_{kind}"] = forms.IntegerField(
                required=False, min_value=1, max_value=KEEP_MAX, label=f"{label}, how many stay",
                widget=forms.NumberInput(attrs={"placeholder": keep}),
            )  # fmt: skip
        self._choose()

    def _choose(self) -> None:
        mine = [one for one in owners.find() if one.host_id == self.host.pk]
        kept = {(target.kind, target.value) for target in self.policy.targets.all()} if self.policy else set()
        tags = {tag for one in mine for tag in one.tags} | {value for kind, value in kept if kind == plan.TAG}
        kinds = {kind for kind, _ in plan.target_kinds()}
        things = {f"{one.kind} {one.uuid}": one.name for one in mine if one.kind in kinds}
        for kind, value in kept:
            if kind not in {plan.TAG, plan.PRODUCTION, plan.DATASET}:
                things.setdefault(f"{kind} {value}", "one that is gone")
        self._offer("tags", [(tag, tag) for tag in sorted(tags)])
        self._offer("things", sorted(things.items(), key=lambda pair: pair[1]))
        self._offer("time_zone", [(zone, zone) for zone in schedules.zones()])

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        self.fields[name].choices = choices  # type: ignore[attr-defined]

    @property
    def tiers(self) -> list[dict[str, Any]]:
        """The rows of the table: kind, its fields, and its next runs or what is wrong with its times."""
        return [
            {
                "kind": kind, "label": label, "when": self[f"when_{kind}"], "keep": self[f"keep_{kind}"],
                "next": next_runs(str(self[f"when_{kind}"].value() or ""), str(self["time_zone"].value() or "UTC")),
            }
            for kind, label in SnapshotTier.Kind.choices
        ]  # fmt: skip

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        others = SnapshotPolicy.objects.filter(host=self.host, name=name)
        if (others.exclude(pk=self.policy.pk) if self.policy else others).exists():
            raise ValidationError("There is a policy of this name already.")
        return name

    def clean_datasets(self) -> list[str]:
        wanted = list(dict.fromkeys(self.cleaned_data["datasets"].split()))
        ours = Dataset.objects.filter(pool__host=self.host, pool__is_adopted=True).exclude(bhype_id="")
        there = set(ours.filter(name__in=wanted).values_list("name", flat=True))
        kept = {target.value for target in self.policy.targets.all()} if self.policy else set()
        if missing := [name for name in wanted if name not in there | kept]:
            raise ValidationError(f"{missing[0]} is no dataset of bHype.")
        return wanted

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        for kind in SnapshotTier.Kind.values:
            when = " ".join(str(chosen.get(f"when_{kind}", "")).split())
            if not when:
                continue
            try:
                schedules.upcoming(when, chosen.get("time_zone") or "UTC", timezone.now(), 1)
            except schedules.BadSchedule as error:
                self.add_error(f"when_{kind}", str(error))
            if chosen.get(f"keep_{kind}") is None and f"keep_{kind}" not in self.errors:
                chosen[f"keep_{kind}"] = plan.DEFAULTS[kind][1]
        if not self.errors:
            if not self.wanted_targets():
                self.add_error(None, "Say of what snapshots are to be taken.")
            if not self.wanted_tiers():
                self.add_error(None, "Say when: at least one line needs its times.")
        return chosen

    def wanted_targets(self) -> list[tuple[str, str]]:
        chosen = self.cleaned_data
        return [
            *([(plan.PRODUCTION, "")] if chosen["production"] else []),
            *((plan.TAG, tag) for tag in chosen["tags"]),
            *((kind, uuid) for kind, _, uuid in (word.partition(" ") for word in chosen["things"])),
            *((plan.DATASET, name) for name in chosen["datasets"]),
        ]

    def wanted_tiers(self) -> dict[str, tuple[str, int]]:
        chosen = self.cleaned_data
        found = {
            kind: " ".join(str(chosen.get(f"when_{kind}", "")).split()) for kind in SnapshotTier.Kind.values
        }
        return {kind: (when, chosen[f"keep_{kind}"]) for kind, when in found.items() if when}

    def save(self, user: User) -> SnapshotPolicy | None:
        """Write the policy; None when somebody was faster with its name."""
        chosen = self.cleaned_data
        row = self.policy or SnapshotPolicy(host=self.host, created_by=user)
        for column in ("name", "time_zone", "is_enabled", "notes"):
            setattr(row, column, chosen[column])
        try:
            with transaction.atomic():
                row.save()
                plan.write(row, self.wanted_targets(), self.wanted_tiers())
        except IntegrityError:
            self.add_error("name", "There is a policy of this name already.")
            return None
        return row


def _fresh() -> dict[str, Any]:
    found: dict[str, Any] = {"time_zone": "UTC", "is_enabled": True}
    for kind in ("hourly", "daily", "weekly"):
        found[f"when_{kind}"], found[f"keep_{kind}"] = plan.DEFAULTS[kind]
    return found


def _values(policy: SnapshotPolicy) -> dict[str, Any]:
    targets = list(policy.targets.all())
    own = {plan.TAG, plan.PRODUCTION, plan.DATASET}
    found: dict[str, Any] = {
        "name": policy.name,
        "time_zone": policy.time_zone,
        "is_enabled": policy.is_enabled,
        "notes": policy.notes,
        "production": any(target.kind == plan.PRODUCTION for target in targets),
        "tags": [target.value for target in targets if target.kind == plan.TAG],
        "things": [f"{target.kind} {target.value}" for target in targets if target.kind not in own],
        "datasets": "\n".join(target.value for target in targets if target.kind == plan.DATASET),
    }
    for tier in policy.tiers.all():
        found[f"when_{tier.kind}"], found[f"keep_{tier.kind}"] = tier.when, tier.keep
    return found


def next_runs(when: str, zone: str) -> dict[str, Any]:
    """The next five runs in words, or what is wrong: {"runs": [...], "problem": ""}."""
    if not when.strip():
        return {"runs": [], "problem": ""}
    try:
        found = schedules.upcoming(when, zone, timezone.now())
    except schedules.BadSchedule as error:
        return {"runs": [], "problem": str(error)}
    return {"runs": [f"{moment:%a %Y-%m-%d %H:%M %Z}" for moment in found], "problem": ""}
