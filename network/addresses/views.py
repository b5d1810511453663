"""The pages of addresses: a switch's, and those of all switches."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import get_object_or_404, redirect, render

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.ui.pages import posted, render_page, status_of, wants
from network.models import AddressPool, Switch
from network.switches import pages

from . import pools
from .allocate import release
from .forms import GiveForm, PoolForm
from .lines import read, stale
from .picture import pictures

# Lines shown at once.
PAGE = 100
CHANGE = "network.change"


@allow("network.view", Switch)
def section(request: HttpRequest, switch: Switch) -> HttpResponse:
    table = read([switch])
    query = request.GET.get("q", "").strip()
    lines = [line for line in table.lines if line.matches(query)]
    rows = [(pool, span, sum(line.address in span for line in table.lines))
            for pool, span in table.pools[switch.pk]]  # fmt: skip
    context = pages.section(request, switch, "addresses") | {
        "lines": Paginator(lines, PAGE).get_page(request.GET.get("page")),
        "conflicts": [line for line in table.lines if line.other],
        "stale": sum(line.is_stale for line in table.lines), "query": query, "pools": rows,
        "pictures": pictures(switch, table),
        "problems": pools.problems(switch, [pool for pool, _, _ in rows]),
    }  # fmt: skip
    return render_page(request, "network/addresses/section.html", context, part="addresses")


@allow("network.view")
def index(request: HttpRequest) -> HttpResponse:
    """The addresses of all switches."""
    table = read(Switch.objects.select_related("host"))
    query = request.GET.get("q", "").strip()
    lines = [line for line in table.lines if line.matches(query)]
    context = {
        "lines": Paginator(lines, PAGE).get_page(request.GET.get("page")),
        "conflicts": [line for line in table.lines if line.other], "query": query, "tab": "addresses",
        "may_change": signed_in(request).can(CHANGE), "all": True,
    }  # fmt: skip
    fragment = wants(request, "address-table")
    return render(request, f"network/addresses/{'_table' if fragment else 'index'}.html", context)


@allow(CHANGE, Switch, methods="GET POST")
def pool_add(request: HttpRequest, switch: Switch) -> HttpResponse:
    return _pool(request, PoolForm(posted(request), pool=AddressPool(switch=switch)), "add")


@allow(CHANGE, Switch, methods="GET POST")
def pool_edit(request: HttpRequest, switch: Switch, pool_id: int) -> HttpResponse:
    pool = get_object_or_404(switch.pools, pk=pool_id)
    return _pool(request, PoolForm(posted(request), pool=pool), "change")


def _pool(request: HttpRequest, form: PoolForm, verb: str) -> HttpResponse:
    switch = form.pool.switch
    saved = form.save() if form.is_bound and form.is_valid() else None
    if saved is not None:
        audit.record(request, f"network.pool_{verb}", f"switch {switch.name}", {"pool": str(saved)})
        messages.success(request, f"The pool {saved} is saved.")
        return redirect("network:switch_addresses", switch.name)
    context = pages.section(request, switch, "addresses") | {"form": form, "pool": form.pool}
    return render(request, "network/addresses/pool.html", context, status=status_of(form))


@allow(CHANGE, Switch, methods="POST")
def pool_remove(request: HttpRequest, switch: Switch, pool_id: int) -> HttpResponse:
    pool = get_object_or_404(switch.pools, pk=pool_id)
    pools.remove(pool)
    audit.record(request, "network.pool_remove", f"switch {switch.name}", {"pool": str(pool)})
    messages.success(request, f"The pool {pool} is removed. What was given of it stays given.")
    return redirect("network:switch_addresses", switch.name)


@allow(CHANGE, Switch, methods="POST")
def pool_defaults(request: HttpRequest, switch: Switch) -> HttpResponse:
    """The usual pools, for a switch that has none."""
    made = pools.add_defaults(switch)
    audit.record(request, "network.pool_add", f"switch {switch.name}", {"pools": [str(one) for one in made]})
    if not made:
        messages.warning(request, f"There is no room for pools on {switch.name}: it has no subnet without.")
    return redirect("network:switch_addresses", switch.name)


@allow(CHANGE, Switch, methods="GET POST")
def give(request: HttpRequest, switch: Switch) -> HttpResponse:
    initial = {
        name: request.GET.get(name, "") for name in ("port", "address", "mac", "kind") if name in request.GET
    }
    form = GiveForm(posted(request), switch=switch, initial=initial)
    row = form.save() if form.is_bound and form.is_valid() else None
    if row is not None:
        detail = {"address": row.address, "kind": row.kind, "port": row.port, "mac": row.mac}
        audit.record(request, "network.address_give", f"switch {switch.name}", detail)
        messages.success(request, f"{row.address} is given.")
        return redirect("network:switch_addresses", switch.name)
    context = pages.section(request, switch, "addresses") | {"form": form}
    return render(request, "network/addresses/give.html", context, status=status_of(form))


@allow(CHANGE, Switch, methods="POST")
def act(request: HttpRequest, switch: Switch) -> HttpResponse:
    """``release``: the number of an allocation, or "stale" for those whose ports are gone."""
    wanted = request.POST.get("release", "")
    rows = switch.allocations.select_related("switch")
    if wanted == "stale":
        found = stale(switch)
    elif wanted.isdecimal() and len(wanted) < 19:
        found = [get_object_or_404(rows, pk=int(wanted))]
    else:
        return HttpResponseBadRequest("No such action.")
    released = ", ".join(str(row) for row in found)
    release(found)
    audit.record(request, "network.address_release", f"switch {switch.name}", {"addresses": released})
    messages.success(request, f"Released: {released or 'nothing'}.")
    return redirect("network:switch_addresses", switch.name)
