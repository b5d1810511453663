"""Reads the host's pf.conf now and then."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from django.db import transaction

from bhype.freebsd import pf_conf, sysrc
from bhype.freebsd.command import Query
from bhype.host import Host as Machine
from bhype.hosts.observer import Sweep
from bhype.live import publish
from network.firewall.observe import missing_calls
from network.models import Firewall, PfConf

# In sweeps.
EVERY = 15
# A file that is larger is not one that people write.
LARGEST = 256 * 1024


def observe(sweep: Sweep) -> bool | None:
    """Write the host's row of pf.conf."""
    if not sweep.every(EVERY):
        return False
    row = PfConf.objects.filter(host=sweep.row).first() or PfConf(host=sweep.row)
    found = look(sweep.host, path_of(sweep.ask))
    firewall = Firewall.objects.filter(host=sweep.row).first()
    found["is_asked"] = not missing_calls(sweep.ask) if firewall and firewall.has_pf else None
    if row.pk and all(getattr(row, name) == value for name, value in found.items()):
        return None
    with transaction.atomic():
        PfConf.objects.update_or_create(host=sweep.row, defaults=found | {"seen_at": sweep.now})
        publish("firewall")
    return None


def path_of(ask: Callable[[Query[Any]], Any]) -> str:
    """Where rc.conf(5) says that the file is. Raises CommandError."""
    path = str(ask(sysrc.read("pf_rules")).get("pf_rules", ""))
    return path if path.startswith("/") and ".." not in path.split("/") else pf_conf.PATH


def look(machine: Machine, path: str) -> dict[str, object]:
    """The columns that tell of the file as it is now. Raises OSError for one that cannot be read."""
    exists = machine.exists(path)
    if exists and machine.size(path) > LARGEST:
        return _columns(path, "", problem="It is too large to be read here.")
    text = machine.read_text(path) if exists else ""
    try:
        missing = [{"line": one.line, "after": one.after} for one in pf_conf.missing(text)]
    except pf_conf.Unreadable as error:
        return _columns(path, text, exists=exists, problem=str(error))
    return _columns(path, text, exists=exists) | {"missing": missing}


def _columns(path: str, text: str, *, exists: bool = True, problem: str = "") -> dict[str, object]:
    return {
        "path": path, "exists": exists, "text": text.replace("\0", ""), "digest": digest(text) if exists else "",
        "missing": [], "problem": problem,
    }  # fmt: skip


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
