"""The pages of hosts."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from bhype.accounts.access import allow

from . import checklist
from .models import Host


@allow("hosts.view")
def hosts(request: HttpRequest) -> HttpResponse:
    fragment = request.headers.get("HX-Target") == "hosts"
    return render(
        request, "hosts/_hosts.html" if fragment else "hosts/hosts.html", {"hosts": Host.objects.all()}
    )


@allow("hosts.view", Host)
def detail(request: HttpRequest, host: Host) -> HttpResponse:
    items = checklist.items(host)
    context = {"host": host, "items": items, "is_ready": all(item.is_done for item in items)}
    fragment = request.headers.get("HX-Target") == "host"
    return render(request, "hosts/_host.html" if fragment else "hosts/host.html", context)
