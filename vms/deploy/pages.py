"""What the pages of deploying show. Reads only."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict

from bhype.accounts.models import User
from bhype.tasks.models import Task
from vms.models import VM

from .forms import DeployForm, defaults

# What is kept when another template is chosen; the rest is as that template has it.
KEPT = (
    "template", "name", "count", "switch", "start", "owner", "mac", "addressing", "address", "gateway", "nameservers",
    "autostart", "tags", "notes",
)  # fmt: skip


def kept(query: QueryDict) -> dict[str, Any]:
    """What of the form is in the address."""
    found: dict[str, Any] = {
        name: query[name][:1000] for name in KEPT if query.get(name) and "\0" not in query[name]
    }
    if "name" in found:
        # An unticked box says nothing.
        found |= {name: name in query for name in ("start", "autostart")}
    return found


def groups(form: DeployForm) -> str:
    """What the page's script knows of each template: its sizes in bytes and its name, as JSON."""
    return json.dumps(
        {
            str(row.pk): {
                "name": row.name,
                "disk": sum(int(disk["size"]) for disk in row.disks),
                "seed": bool(row.cloud_init_kind),
                **defaults(row),
            }
            for row in form.templates
        }
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One VM of a batch; vm: None when it is gone, or not this user's to see."""

    task: Task
    name: str
    vm: VM | None


def batch(user: User, key: str, tasks: list[Task]) -> dict[str, Any]:
    keys = [int(task.params.get("vm_id", 0)) for task in tasks]
    vms = VM.objects.visible_to(user).in_bulk(keys)
    lines = [
        Line(task, task.title.removeprefix("Deploy "), vms.get(number))
        for task, number in zip(tasks, keys, strict=True)
    ]
    counts = Counter(task.status for task in tasks)
    done = sum(count for status, count in counts.items() if status not in Task.UNFINISHED)
    return {
        "key": key,
        "lines": lines,
        "done": done,
        "failed": done - counts[Task.Status.SUCCEEDED],
        "percent": 100 * done // len(tasks),
        "topic": "tasks" if user.can("tasks.view_all") else f"tasks:{user.pk}",
    }
