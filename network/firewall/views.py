"""The pages of rules: the list, the form with its preview, and what a switch does where no rule tells."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import F
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.ui.pages import status_of
from network.models import Rule, Switch
from network.switches.pages import section

from . import order, pages, preview
from .forms import COLUMNS, PolicyForm, RuleForm
from .wording import naming


def changed(*topics: str) -> None:
    """The draft is another one: open pages of rules fetch themselves."""
    publish("firewall", *topics)


@allow("network.view")
def index(request: HttpRequest) -> HttpResponse:
    """The host's rules in their order, and its forwards."""
    host, user, subject = Host.objects.this(), signed_in(request), request.GET.get("subject", "")[:80]
    found = pages.lists(host, user, [subject] if subject else None)
    context = {
        "tab": "firewall", "lines": found.rules, "subject": subject, "forwards": found.forwards,
        "subjects": found.subjects, "may_change": user.can("network.change"), "back": request.get_full_path(),
        "state": found.state, "nat": Switch.objects.filter(host=host, kind=Switch.Kind.NAT).first(),
        "simulated": host.features.get("simulated", ""),
    }  # fmt: skip
    return render(request, "network/firewall/index.html", context)


@allow("network.view")
@never_cache
def draft(request: HttpRequest) -> HttpResponse:
    """What would be applied, how it differs from what is in force, and what is wrong with it."""
    host, user = Host.objects.this(), signed_in(request)
    context = {
        "draft": pages.draft(host, user, audit.address_of(request)), "seconds": pages.SECONDS,
        "shortest": pages.SHORTEST, "longest": pages.LONGEST, "may_change": user.can("network.change"),
        "back": back(request, "network:firewall"),
    }  # fmt: skip
    return render(request, "network/firewall/_draft.html", context)


def _form(
    request: HttpRequest, rule: Rule | None, data: Any, initial: dict[str, Any] | None = None
) -> RuleForm:
    host, before = rule.host if rule else Host.objects.this(), _number(request, "before")
    names, world = naming(host, None, signed_in(request)), pages.world_now(host)
    return RuleForm(data, host=host, names=names, world=world, rule=rule, initial=initial, before=before)


def _number(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


@allow("network.change", methods="GET POST")
def create(request: HttpRequest) -> HttpResponse:
    """A new rule; the address may say what is known of it already, and before which one it comes."""
    if request.method == "POST":
        return _save(request, _form(request, None, request.POST))
    known = {name: request.GET[name][:200] for name in (*COLUMNS, "peer_address") if name in request.GET}
    return _show(request, _form(request, None, None, {"action": "pass", "is_enabled": True, **known}))


@allow("network.change", Rule, methods="GET POST")
def edit(request: HttpRequest, rule: Rule) -> HttpResponse:
    if request.method == "POST":
        return _save(request, _form(request, rule, request.POST))
    return _show(request, _form(request, rule, None))


def _save(request: HttpRequest, form: RuleForm) -> HttpResponse:
    rule = form.save() if form.is_valid() else None
    if rule is None:
        return _show(request, form)
    verb = "change" if form.instance else "add"
    audit.record(
        request, f"rules.{verb}", f"rule {rule.pk}", {"rule": form.names.rule(rule), "note": rule.note}
    )
    changed()
    for warning in form.warnings:
        messages.warning(request, warning.sentence)
    messages.success(request, "Saved. Apply the draft to let it take effect.")
    return redirect(back(request, "network:firewall"))


def _show(request: HttpRequest, form: RuleForm) -> HttpResponse:
    context = {
        "form": form,
        "rule": form.instance,
        "tab": "firewall",
        "back": back(request, "network:firewall"),
    }
    return render(request, "network/firewall/rule.html", context, status=status_of(form))


def back(request: HttpRequest, name: str) -> str:
    """The page of the panel from which a form was opened, or the one with this name."""
    wanted = request.GET.get("next", "")
    # A path of this panel and nothing else: "//host" and "/\\host" lead elsewhere.
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_ours and len(wanted) < 500 else reverse(name)


@allow("network.change")
@never_cache
def check(request: HttpRequest) -> HttpResponse:
    """What a rule that is being typed means: its sentence, pf's lines, and what is wrong with it."""
    number = _number(request, "rule")
    rule = Rule.objects.select_related("host").filter(pk=number).first() if number else None
    form = _form(request, rule, request.GET)
    context = {"preview": preview.of(form) if form.is_valid() else None, "form": form}
    return render(request, "network/firewall/_preview.html", context)


@allow("network.change", Rule, methods="POST")
def change(request: HttpRequest, rule: Rule) -> HttpResponse:
    """``do``: up, down, on, off, duplicate or delete. ``among``: the subject that the list is filtered by."""
    wanted = request.POST.get("do", "")
    if wanted not in DONE:
        return HttpResponseBadRequest("No such action.")
    names = naming(rule.host, [rule.subject, rule.peer], signed_in(request))
    audit.record(request, f"rules.{wanted}", f"rule {rule.pk}", {"rule": names.rule(rule)})
    DONE[wanted](rule, request.POST.get("among", ""))
    changed()
    return redirect(back(request, "network:firewall"))


def _move(rule: Rule, among: str, *, up: bool) -> None:
    seen = Rule.objects.filter(host=rule.host, subject=among) if among else None
    order.move(rule, up=up, among=None if seen is None else set(seen.values_list("pk", flat=True)))


def _switch(rule: Rule, *, on: bool) -> None:
    Rule.objects.filter(pk=rule.pk).update(is_enabled=on, revision=F("revision") + 1)


def _duplicate(rule: Rule) -> None:
    """A copy behind it that is off, until somebody has changed it: it would never be met."""
    following = Rule.objects.filter(host=rule.host, position__gt=rule.position).first()
    copy = Rule(host=rule.host, **{name: getattr(rule, name) for name in COLUMNS} | {"is_enabled": False})
    order.insert(copy, following.pk if following else None)


DONE: dict[str, Any] = {
    "up": lambda rule, among: _move(rule, among, up=True),
    "down": lambda rule, among: _move(rule, among, up=False),
    "on": lambda rule, _among: _switch(rule, on=True),
    "off": lambda rule, _among: _switch(rule, on=False),
    "duplicate": lambda rule, _among: _duplicate(rule),
    "delete": lambda rule, _among: rule.delete(),
}


@allow("network.view", Switch)
def switch_rules(request: HttpRequest, switch: Switch) -> HttpResponse:
    """The section "Rules" of a switch: those about it and about its guests, and what happens where none tells."""
    from network import guests

    found = guests.find(host_id=switch.host_id, switches=[switch.pk])
    words = {f"switch:{switch.uuid}", *(guest.endpoint for guest in found)}
    words |= {f"tag:{tag}" for guest in found for tag in guest.tags}
    lines = pages.lists(switch.host, signed_in(request), words, ()).rules
    context = section(request, switch, "rules") | {
        "lines": lines, "policy": PolicyForm(instance=switch), "own": f"switch:{switch.uuid}",
        "back": request.get_full_path(),
    }  # fmt: skip
    return render(request, "network/firewall/switch.html", context)


@allow("network.change", Switch, methods="POST")
def policy(request: HttpRequest, switch: Switch) -> HttpResponse:
    """Change what happens on a switch to what no rule tells of; as rules, it takes effect when it is applied."""
    form = PolicyForm(request.POST, instance=switch)
    if form.is_valid():
        set_policy(request, switch, form)
        messages.success(request, "Saved. Apply the draft to let it take effect.")
    return redirect("network:switch_rules", switch.name)


def set_policy(request: HttpRequest, switch: Switch, form: PolicyForm) -> None:
    Switch.objects.filter(pk=switch.pk).update(**form.cleaned_data, revision=F("revision") + 1)
    audit.record(request, "switches.policy", f"switch {switch.name}", form.cleaned_data)
    changed(switch.subject)
