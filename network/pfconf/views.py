"""The page of pf.conf: what it lacks, where that belongs, and the button that adds it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.tasks import requested
from network.firewall import pages
from network.models import PfConf


@allow("network.view")
def index(request: HttpRequest) -> HttpResponse:
    host, user = Host.objects.this(), signed_in(request)
    row = PfConf.objects.filter(host=host).first()
    # The file may tell of the host's users and networks: it is for those who could change it.
    may_change = user.can("network.change")
    context = {
        "tab": "firewall", "conf": row, "lines": lines(row) if row and may_change else [],
        "may_change": may_change, "state": pages.state(host),
    }  # fmt: skip
    return render(request, "network/pfconf/index.html", context)


def lines(row: PfConf) -> list[dict[str, Any]]:
    """The file's lines with those that are missing in their places."""
    text = row.text.split("\n")
    if text[-1] == "":
        text.pop()
    new: dict[int, list[str]] = {}
    for one in row.missing:
        new.setdefault(one["after"], []).append(one["line"])
    found: list[dict[str, Any]] = []
    for number in range(len(text) + 1):
        if number:
            found.append({"text": text[number - 1], "is_new": False})
        found += [{"text": line, "is_new": True} for line in new.get(number, [])]
    return found


@allow("network.change", methods="POST")
def add(request: HttpRequest) -> HttpResponse:
    """Add the lines that were shown, if the file is still the one that was shown."""
    digest = request.POST.get("digest", "")[:64]
    requested.on_page(
        request, "network.add_anchors", {"digest": digest, "seconds": pages.SECONDS}, what="pf.conf",
        said="The lines are being added. Confirm it in the banner when it appears.",
    )  # fmt: skip
    return redirect("network:pf_conf")
