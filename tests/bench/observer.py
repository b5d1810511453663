"""One observer sweep with 10, 100 and 1,000 running VMs: how many commands, how many SQL statements, how long.

The VMs have everything that a sweep looks at: rows, run directories, datasets, volumes, taps, nodes in /dev/vmm
and processes in ps(1). They are entered into the lab's state directly, since 1,000 guests do not fit a small machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from bhype.freebsd.command import Command  # noqa: E402
from bhype.host import LocalHost, Result  # noqa: E402
from bhype.hosts.models import Host  # noqa: E402
from bhype.hosts.observer import Observer  # noqa: E402
from bhype.lab.openzfs.store import changing  # noqa: E402
from bhype.tasks.models import Task  # noqa: E402
from bhype.vmrun.client import RUN_DIR  # noqa: E402
from network.models import Switch  # noqa: E402
from storage.models import Pool  # noqa: E402
from tests.bench.report import show  # noqa: E402
from tests.labhost import Lab, prepare  # noqa: E402
from tests.rows import fill  # noqa: E402
from vms import plan  # noqa: E402
from vms.models import VM  # noqa: E402

SIZES = (10, 100, 1000)
# Storage is looked at in one of five sweeps; two such rounds, and one before them that is not counted.
SWEEPS = 15


class Counter:
    """Listens to a host: how many commands it ran, and for how many seconds."""

    def __init__(self) -> None:
        self.commands, self.seconds = 0, 0.0

    def started(self, _command: Command) -> None:
        self.commands += 1

    def output(self, _stream: str, _line: str) -> None:
        return

    def finished(self, _command: Command, result: Result) -> None:
        self.seconds += result.seconds


def change(lab: Lab, name: str, key: str, entries: dict[str, Any]) -> None:
    """Add entries to a state of the lab, below ``key`` or at its top."""
    path = lab.folder / "state" / f"{name}.json"
    state = json.loads(path.read_text()) if path.exists() else {}
    (state[key] if key else state).update(entries)
    path.write_text(json.dumps(state))


def move_in(lab: Lab, vms: list[VM], pid: int) -> None:
    """Let the lab have these VMs running. The process ``pid`` stands for bhyve and supervisor of each."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    guests, taps, datasets = {}, {}, {}
    for number, vm in enumerate(vms):
        disk, nic = vm.disks.all()[0], vm.nics.all()[0]
        guests[vm.name] = {
            "pid": pid, "ticks": ticks, "started": time.time(), "argv": ["bhyve", vm.name], "title": True,
            "files": [], "taps": [nic.tap], "vnc_port": None, "qemu_pid": pid, "folder": "/nonexistent",
            "cpus": [1, 1, 1], "memory": 0,
        }  # fmt: skip
        taps[nic.tap] = {
            "kind": "tap", "device": nic.tap, "index": 100 + number, "up": True, "mtu": 1500, "groups": ["tap"],
            "description": f"bhype/vm/{vm.uuid}/0", "ether": nic.mac, "inet": [], "inet6": [],
        }  # fmt: skip
        props = {"org.bhype:id": str(vm.uuid)}
        common = {"guid": 1000 + number, "txg": 100 + number, "creation": int(time.time())}
        datasets[vm.dataset] = {"type": "filesystem", "props": props, "shown": f"/{vm.dataset}", **common}
        volume = {"type": "volume", "props": {**props, "volsize": str(disk.size)}, "shown": disk.path}
        datasets[disk.dataset] = {**volume, **common, "guid": 100_000 + number}
        state = {
            "name": vm.name, "uuid": str(vm.uuid), "state": "running", "reason": "", "pid": pid, "supervisor": pid,
            "started_at": time.time(), "exit_code": None, "restarts": 0, "taps": [],
            "command": ["/usr/sbin/bhyve", vm.name],
        }  # fmt: skip
        lab.host.makedirs(f"{RUN_DIR}/{vm.name}")
        lab.host.write_text(f"{RUN_DIR}/{vm.name}/state.json", json.dumps(state))
        lab.host.makedirs(f"/{vm.dataset}")
        lab.host.write_text(plan.config_path(vm), "{}")
        lab.host.makedirs("/dev/vmm")
        lab.host.write_text(f"/dev/vmm/{vm.name}", "")
    change(lab, "bhyve", "", guests)
    bridge = json.loads((lab.folder / "state" / "ifconfig.json").read_text())["interfaces"]["sw-nat"]
    taps["sw-nat"] = bridge | {"members": [*bridge["members"], *taps]}
    change(lab, "ifconfig", "interfaces", taps)
    os.environ["BHYPE_LAB"] = str(lab.folder)
    with changing() as zfs:
        for name, row in datasets.items():
            zfs.datasets[name] = row


def measure(size: int) -> None:
    for model in (VM, Switch, Pool, Host, Task):
        model.objects.all().delete()
    stand_in = subprocess.Popen(["/bin/sleep", "600"])
    lab = Lab(Path(tempfile.mkdtemp(prefix="bhl-", dir="/tmp")))
    try:
        settings.BHYPE_ROOT = str(lab.root)
        prepare(lab)
        fill(size, 0)
        VM.objects.update(state=VM.State.RUNNING)
        move_in(
            lab,
            list(VM.objects.select_related("pool", "host").prefetch_related("disks", "nics")),
            stand_in.pid,
        )
        before = Task.objects.count()
        counter = Counter()
        observer = Observer(LocalHost(str(lab.root), listener=counter))
        figures = []
        for _ in range(SWEEPS):
            counter.commands, counter.seconds = 0, 0.0
            began = time.perf_counter()
            with CaptureQueriesContext(connection) as queries:
                sweep = observer.sweep()
            seconds = time.perf_counter() - began
            figures.append((counter.commands, len(queries), seconds, seconds - counter.seconds))
        usual = [figure for number, figure in enumerate(figures) if number >= 5 and number % 5]
        full = [figure for number, figure in enumerate(figures) if number >= 5 and number % 5 == 0]
        for name, found in (("most sweeps", usual), ("with storage", full)):
            show(f"{size:,} VMs, {name}: commands", max(figure[0] for figure in found), "constant")
            show(f"{size:,} VMs, {name}: SQL statements", max(figure[1] for figure in found))
            whole, own = (statistics.median(figure[at] for figure in found) * 1000 for at in (2, 3))
            what = f"{size:,} VMs, {name}: time without / with commands"
            show(what, f"{own:.0f} / {whole:.0f} ms", "median; every 2 s; the commands are the lab's")
        running = VM.objects.filter(state=VM.State.RUNNING).count()
        if running != size or sweep.problems or Task.objects.count() != before:
            show(
                "  not as expected: running, problems, new tasks",
                f"{running}, {sweep.problems}, {Task.objects.count() - before}",
            )
    finally:
        stand_in.kill()
        stand_in.wait()
        lab.end()


def main() -> None:
    call_command("migrate", verbosity=0)
    for size in SIZES:
        measure(size)


if __name__ == "__main__":
    main()
