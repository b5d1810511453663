"""The pages of deploying: the form, what became of a batch, and a new identity for a VM."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.ui.pages import posted, render_page, status_of
from vms import pages
from vms.addresses import ties
from vms.models import VM, Template

from . import orders
from . import pages as deploy_pages
from .forms import DeployForm
from .forms_identity import IdentityForm


@allow("vms.create")
def begin(request: HttpRequest) -> HttpResponse:
    """Where a new VM begins: with the templates where there are any, else with an install medium."""
    some = Template.objects.visible_to(signed_in(request)).exists()
    return redirect("vms:deploy" if some else "vms:create")


@allow("vms.create", methods="GET POST")
@sensitive_post_parameters("password", "passphrase")
def form(request: HttpRequest) -> HttpResponse:
    """``template``: the number of the one to begin with; with other fields in the query, these are kept."""
    user = signed_in(request)
    if request.method == "POST":
        form = DeployForm(request.POST, user=user)
        saved = form.save() if form.is_valid() else None
        if saved is not None:
            return _deployed(request, *saved)
    else:
        form = DeployForm(user=user, initial=deploy_pages.kept(request.GET))
    context = {
        "form": form,
        "capacity": pages.capacity(Host.objects.this()),
        "groups": deploy_pages.groups(form),
    }
    return render(request, "vms/deploy.html", context, status=status_of(form))


def _deployed(request: HttpRequest, key: str, outcomes: list[orders.Outcome]) -> HttpResponse:
    for outcome in outcomes:
        if outcome.vm:
            audit.record(
                request,
                "vms.deploy",
                f"vm {outcome.name}",
                {"template": str(outcome.vm.template)},
                task=outcome.task,
            )
            for stray in ties.strays(outcome.vm):
                messages.warning(request, f"{outcome.name}: {stray}")
        else:
            messages.error(request, f"{outcome.name}: {outcome.error}")
    if key:
        return redirect("vms:deploy_batch", key)
    messages.success(request, f"{outcomes[0].name} is being deployed.")
    return redirect("vms:detail", outcomes[0].name)


@allow("vms.create")
def batch(request: HttpRequest, key: str) -> HttpResponse:
    user = signed_in(request)
    tasks = orders.tasks_of(key, user)
    if not tasks:
        raise Http404
    context = deploy_pages.batch(user, key, tasks)
    return render_page(request, "vms/deploy_batch.html", context, part="batch")


@allow("vms.change", VM, methods="GET POST")
@sensitive_post_parameters("password")
def identity(request: HttpRequest, vm: VM) -> HttpResponse:
    form = IdentityForm(posted(request), vm=vm)
    task = form.save(signed_in(request)) if form.is_bound and form.is_valid() else None
    if task:
        audit.record(request, "vms.reset_identity", f"vm {vm.name}", {"fields": form.changed_data}, task=task)
        return redirect("tasks:detail", task.pk)
    return render(request, "vms/identity.html", {"form": form, "vm": vm}, status=status_of(form))
