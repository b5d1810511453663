"""What the VM pages show: rows with what can be done to them. Reads only; the list is in `vms.listing`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Prefetch, Sum, prefetch_related_objects
from django.urls import reverse

from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.tasks.models import Task

from . import plan, sizes
from .addresses import pages as addresses
from .hardware import pages as hardware_pages
from .models import VM, Device, Nic, VMQuerySet

# What an unfinished task makes of its VM, as the badge says it until the observer has seen it.
DOING = {
    "vms.create": "creating", "vms.start": "starting", "vms.stop": "stopping", "vms.poweroff": "stopping",
    "vms.restart": "restarting", "vms.reset": "resetting", "vms.delete": "deleting", "vms.clone": "creating",
    "vms.deploy": "creating",
}  # fmt: skip


@dataclass(frozen=True)
class Action:
    """One thing to do to a VM. ``help`` says what it means; ``question`` is asked before it is done."""

    name: str
    label: str
    icon: str
    help: str
    question: str = ""

    @property
    def operation(self) -> str:
        return f"vms.{self.name}"


_LOST = "Unsaved data in the guest is lost."
POWER = {
    action.name: action
    for action in (
        Action("start", "Start", "player-play", "Turn it on."),
        Action(
            "stop",
            "Stop",
            "player-stop",
            "Press its power button (ACPI): the guest shuts down by itself. A guest without ACPI stays on.",
        ),
        Action("restart", "Restart", "refresh", "Stop it by its power button (ACPI), then start it again."),
        Action("reset", "Reset", "rotate", "Restart it at once, as its reset button would.", _LOST),
        Action("poweroff", "Power off", "power", "Turn it off at once, as pulling its plug would.", _LOST),
    )
}


@dataclass(frozen=True)
class Row:
    """A VM as one user sees it: with what it is doing and what the user may do to it."""

    vm: VM
    user: User
    task: Task | None = None

    @property
    def doing(self) -> str:
        return DOING.get(self.task.operation, "") if self.task else ""

    @property
    def state(self) -> str:
        return self.doing or self.vm.state

    @property
    def label(self) -> str:
        return self.doing.capitalize() if self.doing else self.vm.get_state_display()

    @property
    def reason(self) -> str:
        return "" if self.doing else self.vm.reason

    def may(self, right: str) -> bool:
        return self.user.can(right, owner_id=self.vm.owner_id)

    @property
    def may_change(self) -> bool:
        return self.may("vms.change")

    @property
    def may_operate(self) -> bool:
        return self.may("vms.operate")

    @property
    def may_clone(self) -> bool:
        """Whoever copies a VM gets all that is on its disks."""
        return self.may_change and self.user.can("vms.create")

    @property
    def may_template(self) -> bool:
        return self.may_change and self.user.can("templates.change")

    @property
    def may_watch(self) -> bool:
        return self.may("vms.watch")

    @property
    def may_console(self) -> bool:
        return self.may("vms.console")

    @property
    def has_line(self) -> bool:
        """Whether it has a serial line with a log."""
        return self.vm.has_serial or any(f"com{number}" in self.vm.settings for number in (2, 3, 4))

    @property
    def may_delete(self) -> bool:
        return self.may("vms.delete")

    @property
    def pending(self) -> int:
        """How many changes wait for the next start."""
        return len(hardware_pages.changes_of(self.vm)) if _is_changed(self.vm) else 0

    @property
    def refusals(self) -> dict[str, str | None]:
        """For each action why it cannot be done now, or None."""
        state = {"restarting": "starting", "resetting": "starting"}.get(self.state, self.state)
        reasons = plan.actions(state)
        if not self.may("vms.operate"):
            reasons |= dict.fromkeys(POWER, "You may look at this VM, but not operate it.")
        if not self.may("vms.watch"):
            reasons["console"] = "You may not open the console of this VM."
        elif not (self.vm.has_screen or self.vm.has_serial):
            reasons["console"] = "It has neither a screen nor a serial console."
        if not self.may_delete:
            reasons["delete"] = "You may not delete this VM."
        elif self.vm.is_protected and not reasons["delete"]:
            reasons["delete"] = "It is protected. Take its protection away first."
        return reasons

    @property
    def power(self) -> list[tuple[Action, str | None]]:
        reasons = self.refusals
        return [(action, reasons.get(name)) for name, action in POWER.items()]

    @property
    def main(self) -> tuple[Action, str | None]:
        """The one power action of the row: stop what is on, start what is off."""
        name = "stop" if self.vm.is_on or self.state in {"starting", "restarting", "resetting"} else "start"
        return POWER[name], self.refusals.get(name)

    @property
    def console(self) -> str | None:
        return self.refusals.get("console")

    @property
    def url(self) -> str:
        return reverse("vms:detail", args=[self.vm.name])

    @property
    def console_url(self) -> str:
        return reverse("console:page", args=["vm", self.vm.name])

    @property
    def disk_total(self) -> int:
        return sum(disk.size for disk in self.vm.disks.all())

    @property
    def memory_percent(self) -> int:
        return min(100, round(100 * self.vm.memory_used / self.vm.memory)) if self.vm.memory else 0

    @property
    def cpu_percent(self) -> int:
        """Of all its CPUs together; ps(1) counts each as 100."""
        return min(100, round(self.vm.cpu_percent / max(1, self.vm.cpus)))


def rows_of(vms: Iterable[VM], user: User) -> list[Row]:
    """Rows with their unfinished tasks, by one query."""
    found = list(vms)
    tasks = Task.objects.filter(subject__in=[vm.subject for vm in found]).unfinished().order_by("id")
    running = {task.subject: task for task in tasks if task.operation in DOING}
    # Of the few whose changes are counted.
    prefetch_related_objects([vm for vm in found if _is_changed(vm)], _devices(), "nics__switch")
    return [Row(vm, user, running.get(vm.subject)) for vm in found]


def _is_changed(vm: VM) -> bool:
    """Whether changes may wait for its next start: it runs, and was written since it was started."""
    return (
        vm.is_on and vm.running is not None and (vm.running.get("bhype") or {}).get("revision") != vm.revision
    )


def _devices() -> Prefetch[Any]:
    return Prefetch("devices", Device.objects.select_related("iso__pool"))


def row_of(vm: VM, user: User) -> Row:
    return rows_of([vm], user)[0]


def with_parts(rows: VMQuerySet) -> VMQuerySet:
    """All that a row of the list shows, in a constant number of queries."""
    nics = Prefetch("nics", Nic.objects.select_related("switch"))
    return rows.select_related("host", "owner", "pool").prefetch_related("disks", nics, "tags")


def shown(vm: VM) -> VM:
    """The VM with all that its row and its overview show."""
    loaded = with_hardware(VM.objects.all()).get(pk=vm.pk)
    addresses.attach([loaded])
    return loaded


def with_hardware(rows: VMQuerySet) -> VMQuerySet:
    """All that the pages of one VM show."""
    return with_parts(rows).prefetch_related(_devices())


def tasks_of(vm: VM, user: User, limit: int = 50) -> list[Task]:
    """The VM's latest tasks that the user may see."""
    return list(Task.objects.visible_to(user).filter(subject=vm.subject).select_related("user")[:limit])


@dataclass(frozen=True)
class Capacity:
    """What is left of a host for one more VM. Zero where the host was not seen yet."""

    cpus: int
    memory: int
    memory_left: int
    disk_left: int

    @property
    def cpus_hint(self) -> str:
        return f"the host has {self.cpus}" if self.cpus else ""

    @property
    def memory_hint(self) -> str:
        return f"{sizes.human(self.memory_left)} left" if self.memory else ""

    @property
    def disk_hint(self) -> str:
        return f"{sizes.human(self.disk_left)} free" if self.disk_left else ""


def capacity(host: Host) -> Capacity:
    """CPUs in all, memory left by the VMs that are on, and the room of the largest adopted pool; in bytes."""
    on = VM.objects.filter(host=host, state__in=plan.ON).aggregate(total=Sum("memory"))["total"] or 0
    free = host.pools.filter(is_adopted=True).order_by("-free").values_list("free", flat=True).first() or 0
    return Capacity(host.cpus, host.memory, max(0, host.memory - min(host.memory // 10, 2**30) - on), free)


def command_line(vm: VM) -> str:
    """The bhyve command that runs the VM, or that its next start would run, without its VNC password."""
    text = shlex.join(vm.command) if vm.command else plan.command_line(vm)
    return re.sub(r"(password=)[^,\s']+", r"\1********", text)
