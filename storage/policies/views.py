"""The pages of policies: what is taken when, and what goes again."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import prefetch_related_objects
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.tasks import requested
from bhype.ui.pages import posted, status_of
from storage.models import SnapshotPolicy

from . import plan
from .forms import PolicyForm, next_runs


@allow("storage.view")
def index(request: HttpRequest) -> HttpResponse:
    rows = SnapshotPolicy.objects.select_related("host", "created_by").prefetch_related("targets", "tiers")
    cards = [(row, plan.target_words(row.host, row.targets.all())) for row in rows]
    may_change = signed_in(request).can("storage.change")
    context = {"cards": cards, "tab": "policies", "may_change": may_change}
    return render(request, "storage/policies.html", context)


@allow("storage.change", methods="GET POST")
def create(request: HttpRequest) -> HttpResponse:
    return _form(request, PolicyForm(posted(request), host=Host.objects.this()))


@allow("storage.change", SnapshotPolicy, methods="GET POST", keyword="policy")
def edit(request: HttpRequest, policy: SnapshotPolicy) -> HttpResponse:
    return _form(request, PolicyForm(posted(request), host=policy.host, policy=policy))


def _form(request: HttpRequest, form: PolicyForm) -> HttpResponse:
    made = form.save(signed_in(request)) if form.is_bound and form.is_valid() else None
    if made:
        audit.record(request, "policies.change" if form.policy else "policies.add", f"policy {made.name}")
        messages.success(request, f"{made.name} is saved.")
        return redirect("storage:policy", made.pk)
    context = {"form": form, "policy": form.policy, "tab": "policies"}
    return render(request, "storage/policy_form.html", context, status=status_of(form))


@allow("storage.view", SnapshotPolicy, keyword="policy")
def detail(request: HttpRequest, policy: SnapshotPolicy) -> HttpResponse:
    """A policy with its next runs, and what it would do now."""
    prefetch_related_objects([policy], "targets", "tiers")
    forecasts, hidden = plan.dry_run(policy, timezone.now())
    tiers = [(tier, next_runs(tier.when, policy.time_zone)) for tier in policy.tiers.all()]
    context = {
        "policy": policy, "targets": plan.target_words(policy.host, policy.targets.all()), "tiers": tiers,
        "forecasts": forecasts, "hidden": hidden, "tab": "policies",
        "may_change": signed_in(request).can("storage.change"),
    }  # fmt: skip
    return render(request, "storage/policy.html", context)


@allow("storage.change", SnapshotPolicy, methods="POST", keyword="policy")
def change(request: HttpRequest, policy: SnapshotPolicy) -> HttpResponse:
    """``do``: enable, disable or remove."""
    wanted = request.POST.get("do")
    if wanted == "remove":
        policy.delete()
    elif wanted in {"enable", "disable"}:
        plan.switch(policy, enabled=wanted == "enable")
    else:
        return HttpResponseBadRequest("No such action.")
    audit.record(request, f"policies.{wanted}", f"policy {policy.name}")
    messages.success(request, f"{policy.name}: {wanted}d.")
    return redirect("storage:policies")


@allow("storage.change", SnapshotPolicy, methods="POST", keyword="policy")
def run(request: HttpRequest, policy: SnapshotPolicy) -> HttpResponse:
    """One of its tiers, now."""
    tier = policy.tiers.filter(kind=request.POST.get("tier", "")).first()
    if tier is None:
        return HttpResponseBadRequest("No such tier.")
    params = {"tier_id": tier.pk, "at": timezone.now().replace(microsecond=0).isoformat()}
    task = requested.on_page(
        request, "storage.run_tier", params, what=f"policy {policy.name}", said=f"{tier} has begun."
    )
    return redirect("tasks:detail", task.pk) if task else redirect("storage:policy", policy.pk)


@allow("storage.change")
@never_cache
def times(request: HttpRequest) -> HttpResponse:
    """The next runs of times that are being typed."""
    kind = next((key.removeprefix("when_") for key in request.GET if key.startswith("when_")), "")
    found = next_runs(request.GET.get(f"when_{kind}", "")[:200], request.GET.get("time_zone", "UTC"))
    return render(request, "storage/_policy_times.html", {"next": found})
