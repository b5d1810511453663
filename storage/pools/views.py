"""The pages of pools and physical disks. Each loads, checks, asks for an operation, and answers from rows."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.utils import timezone

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.tasks import requested
from bhype.tasks.models import Schedule
from bhype.tasks.rows import schedule_rows
from bhype.ui.pages import posted, render_page, status_of, wants
from storage import owners
from storage.models import Dataset, Iso, PhysicalDisk, Pool

from . import pages
from .forms import AddForm, ImportForm, NewDiskForm, PoolForm, ScheduleForm, TypedForm


@allow("storage.view")
def index(request: HttpRequest) -> HttpResponse:
    context = {"cards": pages.cards(), "tab": "pools", "may_change": signed_in(request).can("storage.change")}
    context["free"] = len(pages.free_disks(Host.objects.this()))
    return render_page(request, "storage/pools.html", context, part="pools")


@allow("storage.change", Pool, methods="POST")
def adopt(request: HttpRequest, pool: Pool) -> HttpResponse:
    said, what = f"{pool.name} is being adopted.", f"pool {pool.name}"
    requested.on_page(request, "storage.adopt", {"pool_id": pool.pk}, what=what, said=said)
    return redirect("storage:pools")


# One pool.


def _page(request: HttpRequest, pool: Pool, tab: str, *forms: Form, **more: Any) -> HttpResponse:
    card = pages.card(pool, pages.samples_of(pool))
    context = {"pool": pool, "card": card, "tab": tab, "may_change": signed_in(request).can("storage.change")}
    return render_page(
        request, f"storage/pool_{tab}.html", context | more, part="pool-part", status=status_of(*forms)
    )


@allow("storage.view", Pool)
def detail(request: HttpRequest, pool: Pool) -> HttpResponse:
    return _page(request, pool, "status", parts=pages.tree(pool))


@allow("storage.view", Pool)
def usage(request: HttpRequest, pool: Pool) -> HttpResponse:
    wanted = request.GET.get("range", "day")
    wanted = wanted if wanted in pages.RANGES else "day"
    return _page(
        request, pool, "usage", charts=pages.usage(pool, wanted), wanted=wanted, ranges=list(pages.RANGES)
    )


@allow("storage.view", Pool)
def members(request: HttpRequest, pool: Pool) -> HttpResponse:
    disks = pool.host.physical_disks.all()
    return _page(request, pool, "disks", parts=pages.tree(pool, disks), free=pages.free_disks(pool.host))


@allow("storage.view", Pool)
def maintenance(request: HttpRequest, pool: Pool) -> HttpResponse:
    return _maintenance(request, pool)


def _maintenance(request: HttpRequest, pool: Pool, *forms: Form, **more: Any) -> HttpResponse:
    user = signed_in(request)
    found = Schedule.objects.filter(subject=f"pool:{pool.pk}").select_related("owner")
    shown = [
        (name, pool.properties.get(name, ["", ""])[0], words) for name, words in pages.PROPERTIES.items()
    ]
    context: dict[str, Any] = {
        "form": ScheduleForm(pool=pool, user=user), "schedules": schedule_rows(found, user), "properties": shown,
        "destroy": TypedForm(name=pool.name),
    } | _inside(pool)  # fmt: skip
    return _page(request, pool, "maintenance", *forms, **(context | more))


def _inside(pool: Pool) -> dict[str, Any]:
    """What lies in a pool, for whoever wants to export or destroy it."""
    inside = [owner for owner in owners.find() if owner.pool_id == pool.pk]
    isos = Iso.objects.filter(pool=pool, size__gt=0).count()
    datasets = Dataset.objects.filter(pool=pool).exclude(bhype_id="bhype").count()
    return {"inside": inside, "on": [one for one in inside if one.is_on], "isos": isos, "datasets": datasets}


@allow("storage.change", Pool, methods="POST")
def do(request: HttpRequest, pool: Pool) -> HttpResponse:
    """``do``: scrub, pause_scrub, stop_scrub, trim, stop_trim, clear, export, or NAME=VALUE of a property."""
    wanted = request.POST.get("do", "")
    found = _operation(pool, wanted)
    if found is None:
        return HttpResponseBadRequest("No such action.")
    operation, params, said = found
    task = requested.on_page(
        request, operation, {"pool_id": pool.pk} | params, what=f"pool {pool.name}", said=said
    )
    if operation == "storage.export_pool" and task:
        return redirect("tasks:detail", task.pk)
    return redirect("storage:pool_maintenance" if "=" in wanted else "storage:pool", pool.name)


def _operation(pool: Pool, wanted: str) -> tuple[str, dict[str, Any], str] | None:
    """(operation, parameters, sentence) of a button."""
    action, _, what = wanted.rpartition("_")
    if what in {"scrub", "trim"} and action in {"", "pause", "stop"}:
        verb = {"": "started", "pause": "paused", "stop": "stopped"}[action]
        return f"storage.{what}", {"action": action or "start"}, f"The {what} of {pool.name} is being {verb}."
    if wanted == "clear":
        return "storage.clear_errors", {}, f"The errors of {pool.name} are being cleared."
    if wanted == "export":
        return "storage.export_pool", {}, f"{pool.name} is being exported."
    name, equals, value = wanted.partition("=")
    if equals and name in pages.PROPERTIES and value in {"on", "off"}:
        return "storage.set_pool_property", {"name": name, "value": value}, f"{name} is being set to {value}."
    return None


@allow("storage.change", Pool, methods="POST")
def schedule(request: HttpRequest, pool: Pool) -> HttpResponse:
    form = ScheduleForm(request.POST, pool=pool, user=signed_in(request))
    made = form.save() if form.is_valid() else None
    if made is None:
        return _maintenance(request, pool, form, form=form)
    audit.record(request, "schedules.add", str(made))
    messages.success(request, f"{made.title}: {made.when}.")
    return redirect("storage:pool_maintenance", pool.name)


@allow("storage.change", Pool, methods="POST")
def destroy(request: HttpRequest, pool: Pool) -> HttpResponse:
    form = TypedForm(request.POST, name=pool.name)
    if form.is_valid():
        said, what = f"{pool.name} is being destroyed.", f"pool {pool.name}"
        if task := requested.on_page(
            request, "storage.destroy_pool", {"pool_id": pool.pk}, what=what, said=said, form=form
        ):
            return redirect("tasks:detail", task.pk)
    return _maintenance(request, pool, form, destroy=form)


# Its disks.


@allow("storage.change", Pool, methods="GET POST")
def add(request: HttpRequest, pool: Pool) -> HttpResponse:
    form = AddForm(posted(request), pool=pool)
    if form.is_bound and form.is_valid():
        said, what = f"Disks are being added to {pool.name}.", f"pool {pool.name}"
        if task := requested.on_page(
            request, "storage.add_disks", form.params(), what=what, said=said, form=form
        ):
            return redirect("tasks:detail", task.pk)
    return render(request, "storage/pool_add.html", {"pool": pool, "form": form}, status=status_of(form))


_DONE = {
    "replace": "is being replaced",
    "attach": "is being given a mirror",
    "online": "is being put online",
    "offline": "is being taken offline",
    "clear": "has its errors cleared",
    "detach": "is being detached",
    "remove": "is being taken out",
}


@allow("storage.change", Pool, methods="GET POST")
def member(request: HttpRequest, pool: Pool) -> HttpResponse:
    """``member`` names it; ``do``: replace, attach, or an action of storage.change_disk."""
    row = pages.member(pool, str((posted(request) or request.GET).get("member", ""))[:255])
    if row is None:
        raise Http404
    wanted = request.POST.get("do", "")
    forms = {
        name: NewDiskForm(request.POST if wanted == name else None, pool=pool, prefix=name, least=row.size)
        for name in ("replace", "attach")
    }
    if wanted and wanted not in row.actions:
        return HttpResponseBadRequest("No such action.")
    chosen = forms.get(wanted)
    what, said = f"pool {pool.name} {row.name}", f"{row.shown} {_DONE.get(wanted, '')}."
    task = None
    if chosen is not None and chosen.is_valid():
        task = requested.on_page(
            request, f"storage.{wanted}_disk", chosen.params(row.name), what=what, said=said, form=chosen
        )
    elif chosen is None and wanted:
        params = {"pool_id": pool.pk, "member": row.name, "action": wanted}
        task = requested.on_page(request, "storage.change_disk", params, what=what, said=said)
    if task:
        return redirect("storage:pool", pool.name)
    context = {"pool": pool, "row": row, **forms}
    return render(request, "storage/pool_member.html", context, status=status_of(*forms.values()))


# New ones.


@allow("storage.change", methods="GET POST")
def new(request: HttpRequest) -> HttpResponse:
    host = Host.objects.this()
    if request.method == "GET":
        # What was chosen so far is in the address: the plan is drawn anew with each change.
        form = PoolForm(host=host, seen=request.GET)
        template = "storage/_pool_plan.html" if wants(request, "pool-plan") else "storage/pool_new.html"
        return render(request, template, {"form": form})
    form = PoolForm(request.POST, host=host)
    if form.is_valid():
        said, what = f"{form.cleaned_data['name']} is being made.", f"pool {form.cleaned_data['name']}"
        if task := requested.on_page(
            request, "storage.create_pool", form.params(), what=what, said=said, form=form
        ):
            return redirect("tasks:detail", task.pk)
    return render(request, "storage/pool_new.html", {"form": form}, status=422)


@allow("storage.change", methods="GET POST")
def import_(request: HttpRequest) -> HttpResponse:
    """``do``: look, or import one of those that were found."""
    host, task = Host.objects.this(), pages.found_pools(signed_in(request))
    if request.POST.get("do") == "look":
        requested.on_page(
            request, "storage.find_pools", {}, what=f"host {host.name}", said="Looking at the disks."
        )
        return redirect("storage:pool_import")
    found = list((task.result or {}).get("pools", [])) if task else []
    bound = ImportForm(posted(request), host=host, found=found)
    if bound.is_bound and bound.is_valid():
        said, what = f"{bound.cleaned_data['name']} is being imported.", f"pool {bound.cleaned_data['name']}"
        if made := requested.on_page(
            request, "storage.import_pool", bound.cleaned_data, what=what, said=said, form=bound
        ):
            return redirect("tasks:detail", made.pk)
    forms = [
        (
            one,
            bound if bound.is_bound and bound.data.get("guid") == one["guid"]
            else ImportForm(host=host, found=found, initial={"guid": one["guid"], "name": one["name"]}),
        )
        for one in found
    ]  # fmt: skip
    context = {"found": forms, "task": task, "now": timezone.now()}
    return render_page(
        request, "storage/pool_import.html", context, part="pool-import", status=status_of(bound)
    )


# Physical disks.


@allow("storage.view")
def disks(request: HttpRequest) -> HttpResponse:
    rows = PhysicalDisk.objects.select_related("host")
    context = {"disks": rows, "tab": "disks", "may_change": signed_in(request).can("storage.change")}
    return render_page(request, "storage/disks.html", context, part="disks")


@allow("storage.change", methods="POST")
def test_disk(request: HttpRequest, pk: int) -> HttpResponse:
    row = PhysicalDisk.objects.filter(pk=pk).first()
    if row is None:
        raise Http404
    params = {"disk_id": row.pk, "kind": "long" if request.POST.get("kind") == "long" else "short"}
    said, what = f"{row.name} tests itself.", f"disk {row.name}"
    requested.on_page(request, "storage.test_disk", params, what=what, said=said)
    return redirect("storage:disks")
