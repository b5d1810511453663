"""What the pages of importing show of what the worker has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import Http404

from bhype.hosts.models import Host
from bhype.tasks.models import Task
from vms.models import VM

from .adoption import Found

FIND, ADOPT = "vms.find_foreign", "vms.adopt_foreign"


@dataclass(frozen=True, slots=True)
class Adopted:
    """A VM that came from another tool and can be given back."""

    vm: VM
    source: str


def search() -> dict[str, Any]:
    """The last search: its task, what it has found, and whether one is under way; the VMs that were taken over."""
    tasks = Task.objects.filter(operation=FIND, host=Host.objects.this().name)
    last = tasks.filter(status=Task.Status.SUCCEEDED).order_by("-pk").first()
    running = tasks.unfinished().order_by("-pk").first()
    found = [Found.from_json(one) for one in last.result.get("vms", [])] if last else []
    return {"search": last, "running": running, "found": found, "adopted": adopted()}


def found_vm(task: int, name: str) -> Found:
    """One VM of a search that has succeeded. Raises Http404."""
    row = Task.objects.filter(pk=task, operation=FIND, status=Task.Status.SUCCEEDED).first()
    rows = row.result.get("vms", []) if row else []
    found = next((Found.from_json(one) for one in rows if one["name"] == name), None)
    if found is None:
        raise Http404
    return found


def adopted() -> list[Adopted]:
    """The VMs that were taken over and are there."""
    sources: dict[int, str] = {}
    for task in Task.objects.filter(operation=ADOPT, status=Task.Status.SUCCEEDED).order_by("pk"):
        sources[task.params["vm_id"]] = task.params["source"]
    rows = VM.objects.filter(pk__in=sources).order_by("name")
    return [Adopted(vm, sources[vm.pk]) for vm in rows]


def adoption_of(vm: VM) -> dict[str, Any] | None:
    """The parameters with which a VM was taken over; None when it was not."""
    task = (
        Task.objects.filter(operation=ADOPT, status=Task.Status.SUCCEEDED, params__vm_id=vm.pk)
        .order_by("-pk")
        .first()
    )
    return dict(task.params) if task else None
