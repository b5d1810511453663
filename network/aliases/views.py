"""The pages of aliases."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.ui.pages import posted, status_of
from network.firewall.pages import world_now
from network.firewall.views import changed
from network.firewall.wording import naming
from network.models import Alias

from . import pages
from .forms import AliasForm


@allow("network.view")
def index(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    lines = pages.lines(Host.objects.this(), user)
    context = {"tab": "aliases", "lines": lines, "may_change": user.can("network.change")}
    return render(request, "network/aliases/index.html", context)


def _form(request: HttpRequest, alias: Alias | None) -> AliasForm:
    host = alias.host if alias else Host.objects.this()
    names = naming(host, None, signed_in(request))
    data = posted(request)
    return AliasForm(data, host=host, names=names, world=world_now(host), alias=alias)


@allow("network.change", methods="GET POST")
def create(request: HttpRequest) -> HttpResponse:
    return _answer(request, _form(request, None))


@allow("network.change", Alias, methods="GET POST")
def edit(request: HttpRequest, alias: Alias) -> HttpResponse:
    return _answer(request, _form(request, alias))


def _answer(request: HttpRequest, form: AliasForm) -> HttpResponse:
    saved = form.save() if form.is_bound and form.is_valid() else None
    if saved is not None:
        detail = {"kind": saved.kind, "entries": saved.entries}
        audit.record(
            request, f"aliases.{'change' if form.instance else 'add'}", f"alias {saved.name}", detail
        )
        changed("aliases")
        messages.success(request, f"{saved.name} is saved. Apply the draft to let it take effect.")
        return redirect("network:aliases")
    found = pages.uses(form.instance, form.names) if form.instance else []
    context = {"form": form, "alias": form.instance, "uses": found, "tab": "aliases"}
    return render(request, "network/aliases/form.html", context, status=status_of(form))


@allow("network.change", Alias, methods="POST")
def delete(request: HttpRequest, alias: Alias) -> HttpResponse:
    """Delete an alias that nobody uses."""
    found = pages.uses(alias, naming(alias.host, [], signed_in(request)))
    if found:
        messages.error(
            request,
            f"{alias.name} is in use by {', '.join(use.text for use in found[:5])}: change that first.",
        )
        return redirect("network:alias", alias.pk)
    audit.record(request, "aliases.delete", f"alias {alias.name}", {"entries": alias.entries})
    alias.delete()
    changed("aliases")
    messages.success(request, f"{alias.name} is deleted.")
    return redirect("network:aliases")
