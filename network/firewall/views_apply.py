"""Applying the draft, going back, and asking whether a packet would pass."""

from __future__ import annotations

from difflib import unified_diff

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.tasks import Refused, ask
from network.models import Ruleset

from . import difference, document, pages, tester
from .document import Document
from .views import back, changed
from .wording import endpoints_of, naming

PAGE = 50


@allow("network.change", methods="POST")
def apply(request: HttpRequest) -> HttpResponse:
    """Load the draft; within ``seconds`` it must be confirmed. Leads back to the page that it was asked from."""
    text = request.POST.get("seconds", "")
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else pages.SECONDS
    seconds = max(pages.SHORTEST, min(pages.LONGEST, seconds))
    try:
        task = ask("network.apply_rules", {"seconds": seconds}, signed_in(request))
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect(back(request, "network:firewall"))
    audit.record(request, "rules.apply", "firewall", {"seconds": seconds}, task)
    messages.success(request, "The rules are being applied. Confirm them in the banner when it appears.")
    changed()
    return redirect(back(request, "network:firewall"))


@allow("network.change", methods="POST")
def discard(request: HttpRequest) -> HttpResponse:
    """Make the draft what is in force."""
    host = Host.objects.this()
    row, old = pages.in_force(host)
    with transaction.atomic():
        document.restore(host, old)
        audit.record(request, "rules.discard", f"rule set {row.number if row else 0}")
        changed("switches")
    messages.success(request, "The draft is as what is in force.")
    return redirect(back(request, "network:firewall"))


@allow("network.view")
def history(request: HttpRequest) -> HttpResponse:
    rows = Ruleset.objects.filter(host=Host.objects.this()).select_related("user").defer("document", "text")
    context = {
        "tab": "firewall", "rulesets": Paginator(rows, PAGE).get_page(request.GET.get("page")),
        "may_change": signed_in(request).can("network.change"),
    }  # fmt: skip
    return render(request, "network/firewall/history.html", context)


def _find(number: int) -> Ruleset:
    row = (
        Ruleset.objects.select_related("host", "user").filter(host=Host.objects.this(), number=number).first()
    )
    if row is None:
        raise Http404
    return row


@allow("network.view")
def ruleset(request: HttpRequest, number: int) -> HttpResponse:
    """A rule set of the past: its text, and what going back to it would change."""
    row, user = _find(number), signed_in(request)
    before = Ruleset.objects.filter(host=row.host, number__lt=number).first()
    old, new = _read(row), document.of(row.host)
    every = [*old.rules, *old.forwards, *new.rules, *new.forwards]
    names = naming(
        row.host,
        endpoints_of(every) | {word for one in (*old.aliases, *new.aliases) for word in one.entries},
        user,
    )
    text = unified_diff(
        (before.text if before else "").splitlines(), row.text.splitlines(), "before", "then", lineterm=""
    )
    context = {
        "tab": "firewall", "ruleset": row, "differences": difference.between(new, old, names), "diff": list(text),
        "may_change": user.can("network.change"),
    }  # fmt: skip
    return render(request, "network/firewall/ruleset.html", context)


def _read(row: Ruleset) -> Document:
    try:
        return document.read(row.document)
    except ValueError:
        return Document()


@allow("network.change", methods="POST")
def restore(request: HttpRequest, number: int) -> HttpResponse:
    """Make a rule set of the past the draft."""
    row = _find(number)
    with transaction.atomic():
        document.restore(row.host, _read(row))
        audit.record(request, "rules.restore", f"rule set {row.number}")
        changed("switches")
    messages.success(request, f"Rule set {row.number} is the draft now. Apply it to let it take effect.")
    return redirect("network:firewall")


@allow("network.view")
@never_cache
def test(request: HttpRequest) -> HttpResponse:
    """Would this packet pass, by the draft and by what is in force?"""
    host, user = Host.objects.this(), signed_in(request)
    form = tester.PacketForm(request.GET or None, names=naming(host, None, user))
    answers = tester.both(host, form.cleaned_data) if form.is_valid() else []
    found = [{"label": label, "verdicts": verdicts} for label, verdicts in answers]
    context = {"tab": "firewall", "form": form, "answers": found}
    return render(request, "network/firewall/tester.html", context, status=422 if form.errors else 200)
