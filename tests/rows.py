"""Many rows fast, for benches and demonstrations. Rows only: nothing is made on a host."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.tasks.models import Task, TaskLine
from network.models import Switch
from storage.models import Pool
from vms import plan
from vms.models import VM, Disk, Nic, Tag

TAGS = ("web", "db", "prod", "test", "ci", "mail")
STATES = (VM.State.RUNNING, VM.State.STOPPED, VM.State.RUNNING, VM.State.CRASHED, VM.State.STOPPED)
GIB = 2**30


def fill(vms: int = 1000, tasks: int = 100_000, owner: User | None = None) -> None:
    """Add ``vms`` VMs, each with a disk, a port and two tags, and ``tasks`` finished tasks about them.

    They belong to ``owner``, on this host, in its first pool and on its first switch; those are made if missing.
    """
    host = Host.objects.this()
    pool = host.pools.first() or Pool.objects.create(
        host=host, name="tank", is_adopted=True, size=4096 * GIB, free=2048 * GIB, health="ONLINE"
    )
    switch = host.switches.first() or Switch.objects.create(host=host, name="nat", kind=Switch.Kind.NAT)
    made = _vms(vms, host, pool, switch, owner)
    history(tasks, host, [vm.subject for vm in made], owner)


def _vms(count: int, host: Host, pool: Pool, switch: Switch, owner: User | None) -> list[VM]:
    used = set(VM.objects.filter(host=host).values_list("vnc_port", flat=True))
    ports = [port for port in plan.VNC_PORTS if port not in used]
    made = VM.objects.bulk_create(
        (
            VM(
                host=host, pool=pool, owner=owner, name=f"fill{number:05}", cpus=1 + number % 8,
                memory=(1 + number % 16) * GIB, vnc_port=ports[number], vnc_password=plan.new_vnc_password(),
                state=STATES[number % len(STATES)], cpu_percent=number % 100,
                memory_used=(1 + number % 16) * GIB // 2, notes=f"Number {number}",
            )
            for number in range(count)
        ),
        batch_size=500,
    )  # fmt: skip
    Disk.objects.bulk_create((Disk(vm=vm, index=0, size=20 * GIB) for vm in made), batch_size=500)
    Nic.objects.bulk_create(
        (
            Nic(
                vm=vm,
                index=0,
                switch=switch,
                mac="58:9c:fd:" + number.to_bytes(3, "big").hex(":"),
            )
            for number, vm in enumerate(made)
        ),
        batch_size=500,
    )
    Tag.objects.bulk_create([Tag(name=name) for name in TAGS], ignore_conflicts=True)
    tags = list(Tag.objects.filter(name__in=TAGS))
    through = VM.tags.through
    through.objects.bulk_create(
        (
            through(vm_id=vm.pk, tag_id=tags[(number + offset) % len(tags)].pk)
            for number, vm in enumerate(made)
            for offset in (0, 1)
        ),
        batch_size=500,
    )
    return made


def history(count: int, host: Host, subjects: list[str], owner: User | None) -> None:
    """Add ``count`` finished tasks about ``subjects``, one a second until now."""
    now = timezone.now()
    operations = ("vms.start", "vms.stop", "vms.create", "vms.reset")
    statuses = (Task.Status.SUCCEEDED, Task.Status.SUCCEEDED, Task.Status.FAILED, Task.Status.CANCELLED)
    for begin in range(0, count, 5000):
        batch = [
            Task(
                host=host.name, operation=operations[number % 4], user=owner,
                title=f"{operations[number % 4]} {number}",
                subject=subjects[number % len(subjects)] if subjects else "", status=statuses[number // 4 % 4],
                error="The guest did not react." if statuses[number // 4 % 4] == Task.Status.FAILED else "",
                percent=100, created_at=now - timedelta(seconds=count - number),
                started_at=now - timedelta(seconds=count - number),
                finished_at=now - timedelta(seconds=count - number - 1),
            )
            for number in range(begin, min(begin + 5000, count))
        ]  # fmt: skip
        made = Task.objects.bulk_create(batch, batch_size=500)
        TaskLine.objects.bulk_create(
            [TaskLine(task=task, text="Done.") for task in made[::50]], batch_size=500
        )
