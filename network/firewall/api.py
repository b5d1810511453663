"""The API of rules: through the forms of the pages, so that both know the same rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from django.db import transaction
from django.http import HttpRequest, QueryDict
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import invalid
from bhype.accounts.models import User
from bhype.hosts.models import Host
from network.models import Rule, Switch

from . import order, pages, tester, views
from .forms import COLUMNS, PolicyForm, RuleForm
from .wording import ADDRESS, Naming, endpoints_of, naming

router = Router()


class RuleIn(Schema):
    """subject and peer are words: "any", "host", "internet", "vm:UUID", "jail:UUID", "tag:NAME", "switch:UUID",
    "alias:NUMBER", an address or a network. direction: "in" to the subject, "out" from it. ports: "22,8000-8010" or
    names of aliases. before: the rule before which a new one comes; without it, it comes last."""

    model_config = ConfigDict(extra="forbid")
    action: Rule.Action
    direction: Rule.Direction
    subject: str = Field(max_length=80)
    peer: str = Field("any", max_length=80)
    protocol: Rule.Protocol = Rule.Protocol.ANY
    ports: str = Field("", max_length=200)
    family: Rule.Family = Rule.Family.BOTH
    is_logged: bool = False
    is_enabled: bool = True
    note: str = Field("", max_length=200)
    before: int | None = None


class RuleOut(Schema):
    """place: among all rules, from 1; text: the rule as a sentence; packets, octets (bytes): met since it was
    loaded."""

    id: int
    place: int
    text: str
    action: str
    direction: str
    subject: str
    peer: str
    protocol: str
    ports: str
    family: str
    is_logged: bool
    is_enabled: bool
    note: str
    packets: int
    octets: int


class MoveRuleIn(Schema):
    model_config = ConfigDict(extra="forbid")
    to: Literal["up", "down"]


class SwitchPolicyIn(Schema):
    """What a switch does with packets that no rule tells of, to its guests and from them."""

    model_config = ConfigDict(extra="forbid")
    passes_in: bool
    passes_out: bool


class PacketIn(Schema):
    """The first packet of a connection. source and target are words as in rules; "internet" is anybody there."""

    source: str = Field(max_length=80)
    target: str = Field(max_length=80)
    protocol: Literal["tcp", "udp", "icmp"] = "tcp"
    port: int = Field(0, ge=0, le=65535)


class AnswerOut(Schema):
    """One pair of addresses; rules: who says it, "In force", "Draft" or "In force and draft"."""

    rules: str
    source: str
    target: str
    passes: bool
    sentence: str


def fields_of(values: Mapping[str, Any]) -> QueryDict:
    """A document as a form gets it."""
    data = QueryDict(mutable=True)
    for name, value in values.items():
        if isinstance(value, bool):
            if value:
                data[name] = "on"
        elif value is not None:
            data[name] = str(value)
    return data


def endpoint_fields(name: str, word: str, choices: Any) -> dict[str, str]:
    """A word as the two fields that a form has for it: what it does not offer is an address."""
    offered = {value for value, label in choices if not isinstance(label, list | tuple)}
    offered |= {value for _, rows in choices if isinstance(rows, list | tuple) for value, _ in rows}
    return {name: word} if word in offered else {name: ADDRESS, f"{name}_address": word}


def _out(row: Rule, place: int, names: Naming) -> dict[str, Any]:
    columns = {name: getattr(row, name) for name in (*COLUMNS, "packets", "octets")}
    return {"id": row.pk, "place": place, "text": names.rule(row), **columns}


def _one(user: User, row: Rule) -> dict[str, Any]:
    place = Rule.objects.filter(host=row.host, position__lte=row.position).count()
    return _out(row, place, naming(row.host, [row.subject, row.peer], user))


def _save(request: HttpRequest, payload: RuleIn, rule: Rule | None) -> Rule:
    user = signed_in(request)
    host = rule.host if rule else Host.objects.this()
    names, world = naming(host, None, user), pages.world_now(host)
    offered = RuleForm(host=host, names=names, world=world, rule=rule)
    values = payload.model_dump(exclude={"before"})
    values |= endpoint_fields("peer", payload.peer, offered["peer"].field.choices)  # type: ignore[attr-defined]
    form = RuleForm(fields_of(values), host=host, names=names, world=world, rule=rule, before=payload.before)
    saved = form.save() if form.is_valid() else None
    if saved is None:
        raise invalid(form, peer_address="peer")
    audit.record(
        request, f"rules.{'change' if rule else 'add'}", f"rule {saved.pk}", {"rule": names.rule(saved)}
    )
    views.changed()
    return saved


def _find(request: HttpRequest, pk: int, right: str = "network.change") -> Rule:
    return lookup(signed_in(request), Rule, right, pk=pk)


@router.get("/rules", response=list[RuleOut], summary="The rules of the draft, in their order")
def list_rules(request: HttpRequest, subject: str = "") -> list[dict[str, Any]]:
    """subject: only those about this one."""
    user, host = require(request, "network.view"), Host.objects.this()
    lines = pages.lists(host, user, [subject] if subject else None, ()).rules
    names = naming(host, endpoints_of(line.row for line in lines), user)
    return [_out(line.row, line.place, names) for line in lines]


@router.post("/rules", response={201: RuleOut}, summary="Add a rule to the draft")
def add_rule(request: HttpRequest, payload: RuleIn) -> Status[dict[str, Any]]:
    user = require(request, "network.change")
    return Status(201, _one(user, _save(request, payload, None)))


@router.get("/rules/{int:pk}", response=RuleOut, summary="One rule")
def get_rule(request: HttpRequest, pk: int) -> dict[str, Any]:
    return _one(signed_in(request), _find(request, pk, "network.view"))


@router.put(
    "/rules/{int:pk}", response=RuleOut, summary="Change a rule of the draft: what is left out is reset"
)
def change_rule(request: HttpRequest, pk: int, payload: RuleIn) -> dict[str, Any]:
    return _one(signed_in(request), _save(request, payload, _find(request, pk)))


@router.post("/rules/{int:pk}/move", response=RuleOut, summary="Let a rule change places with its neighbour")
def move_rule(request: HttpRequest, pk: int, payload: MoveRuleIn) -> dict[str, Any]:
    row = _find(request, pk)
    with transaction.atomic():
        audit.record(request, f"rules.{payload.to}", f"rule {row.pk}")
        order.move(row, up=payload.to == "up")
        views.changed()
    row.refresh_from_db()
    return _one(signed_in(request), row)


@router.delete("/rules/{int:pk}", response={204: None}, summary="Take a rule out of the draft")
def delete_rule(request: HttpRequest, pk: int) -> Status[None]:
    row = _find(request, pk)
    audit.record(request, "rules.delete", f"rule {row.pk}")
    row.delete()
    views.changed()
    return Status(204, None)


@router.put(
    "/switches/{name}/policy",
    response=SwitchPolicyIn,
    summary="What a switch does where no rule tells (draft)",
)
def set_policy(request: HttpRequest, name: str, payload: SwitchPolicyIn) -> Switch:
    switch = lookup(signed_in(request), Switch, "network.change", name=name)
    form = PolicyForm(fields_of(payload.model_dump()), instance=switch)
    if not form.is_valid():
        raise invalid(form)
    views.set_policy(request, switch, form)
    switch.refresh_from_db()
    return switch


@router.get("/firewall/test", response=list[AnswerOut], summary="Would this packet pass?")
def test_packet(request: HttpRequest, query: Query[PacketIn]) -> list[dict[str, Any]]:
    user, host = require(request, "network.view"), Host.objects.this()
    names = naming(host, None, user)
    offered = tester.PacketForm(names=names)
    values: dict[str, Any] = {"protocol": query.protocol, "port": query.port or None}
    for end in ("source", "target"):
        values |= endpoint_fields(end, getattr(query, end), offered[end].field.choices)  # type: ignore[attr-defined]
    form = tester.PacketForm(fields_of(values), names=names)
    if not form.is_valid():
        raise invalid(form, source_address="source", target_address="target")
    return [
        {
            "rules": label, "source": one.packet.source, "target": one.packet.target, "passes": one.verdict.passes,
            "sentence": one.verdict.sentence,
        }
        for label, answers in tester.both(host, form.cleaned_data)
        for one in answers
    ]  # fmt: skip
