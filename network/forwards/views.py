"""The pages of port forwards. They are listed with the rules and on the pages of their guests."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import F
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.ui.pages import posted, status_of
from network.firewall.pages import world_now
from network.firewall.views import back, changed
from network.firewall.wording import naming
from network.models import Forward

from .forms import ForwardForm


def _form(request: HttpRequest, forward: Forward | None) -> ForwardForm:
    host = forward.host if forward else Host.objects.this()
    names = naming(host, None, signed_in(request))
    data = posted(request)
    subject = request.GET.get("subject", "")[:80]
    return ForwardForm(data, host=host, names=names, world=world_now(host), forward=forward, subject=subject)


@allow("network.change", methods="GET POST")
def create(request: HttpRequest) -> HttpResponse:
    """A new forward; ``subject`` in the address says where to."""
    return _answer(request, _form(request, None))


@allow("network.change", Forward, methods="GET POST")
def edit(request: HttpRequest, forward: Forward) -> HttpResponse:
    return _answer(request, _form(request, forward))


def _answer(request: HttpRequest, form: ForwardForm) -> HttpResponse:
    saved = form.save() if form.is_bound and form.is_valid() else None
    if saved is None:
        context: dict[str, Any] = {
            "form": form, "forward": form.instance, "tab": "firewall", "back": back(request, "network:firewall"),
        }  # fmt: skip
        return render(request, "network/forwards/form.html", context, status=status_of(form))
    verb = "change" if form.instance else "add"
    audit.record(request, f"forwards.{verb}", f"forward {saved.pk}", {"forward": form.names.forward(saved)})
    changed()
    for warning in form.warnings:
        messages.warning(request, warning.sentence)
    messages.success(request, "Saved. Apply the draft to let it take effect.")
    return redirect(back(request, "network:firewall"))


@allow("network.change", Forward, methods="POST")
def change(request: HttpRequest, forward: Forward) -> HttpResponse:
    """``do``: on, off or delete."""
    wanted = request.POST.get("do", "")
    if wanted not in {"on", "off", "delete"}:
        return HttpResponseBadRequest("No such action.")
    names = naming(forward.host, [forward.subject, forward.source], signed_in(request))
    audit.record(request, f"forwards.{wanted}", f"forward {forward.pk}", {"forward": names.forward(forward)})
    if wanted == "delete":
        forward.delete()
    else:
        Forward.objects.filter(pk=forward.pk).update(is_enabled=wanted == "on", revision=F("revision") + 1)
    changed()
    return redirect(back(request, "network:firewall"))
