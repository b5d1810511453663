"""What the pages of templates show. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import Http404

from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.tasks.models import Task
from vms import sizes
from vms.deploy.forms import defaults
from vms.models import VM, Template

from . import rows as template_rows


@dataclass(frozen=True, slots=True)
class Row:
    """A version of a template. size: of its disks together, in bytes; users: how many volumes are clones of it."""

    template: Template
    size: int
    users: int

    @property
    def cpus(self) -> int:
        return int(defaults(self.template)["cpus"])

    @property
    def memory(self) -> int:
        """Bytes of each VM of it."""
        return sizes.parse(defaults(self.template)["memory"])


def missing() -> Http404:
    """What is forbidden looks like what is missing."""
    return Http404()


def families(user: User, host: Host) -> list[list[Row]]:
    """The versions of each template that the user may see, newest first, by name."""
    rows = Template.objects.visible_to(user).filter(host=host).select_related("pool", "preset", "image")
    found: dict[str, list[Row]] = {}
    counts = _counts(host)
    for row in rows.order_by("name", "-version"):
        found.setdefault(row.name, []).append(
            Row(row, sum(int(disk["size"]) for disk in row.disks), counts.get(row.dataset, 0))
        )
    return list(found.values())


def _counts(host: Host) -> dict[str, int]:
    """How many volumes were seen as clones of each template, by its dataset."""
    counts: dict[str, int] = {}
    for origin in template_rows.origins(host):
        dataset = origin.partition("@")[0].rpartition("/")[0]
        counts[dataset] = counts.get(dataset, 0) + 1
    return counts


def detail(user: User, template: Template) -> dict[str, Any]:
    """users: the VMs that were seen to live on its data, those that the user may not see only counted."""
    names = {
        name.removeprefix(f"{template.pool.home}/vms/").partition("/")[0]
        for name in template_rows.users(template)
    }
    seen = VM.objects.visible_to(user).filter(host=template.host_id, name__in=names).order_by("name")
    tasks = Task.objects.visible_to(user).filter(subject=template.subject)
    return {
        "template": template,
        "row": Row(template, sum(int(disk["size"]) for disk in template.disks), len(names)),
        "users": list(seen[:200]),
        "hidden": len(names) - seen.count(),
        "task": tasks.unfinished().order_by("id").first(),
        "may_change": user.can("templates.change"),
    }
