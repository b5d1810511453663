"""Whatever is done to VMs, and whoever is killed meanwhile: once all has settled, nothing is lost and nothing leaks.

Hypothesis drives operations, faults of commands, and kills of workers, supervisors and guests against the lab. The
guests are real, but have empty disks: their firmware is up within a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from datetime import timedelta
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bhype.accounts.models import User
from bhype.freebsd import ps
from bhype.hosts.models import Host
from bhype.hosts.observer import Observer
from bhype.live.models import Event
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from bhype.tasks.run import Run
from bhype.vmrun import client
from network.models import Switch
from storage.models import Pool
from tests.conftest import make_user
from tests.labhost import ready_lab
from vms import plan
from vms.forms import VMForm
from vms.models import VM

pytestmark = pytest.mark.guest
EXAMPLES = int(os.environ.get("BHYPE_LIFECYCLES", "8"))
STEPS = 9
NAMES = st.sampled_from(["a", "b"])
# Faults that come once, at the next command that meets them.
FAULTS = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {
            "command": st.sampled_from(
                [
                    "zfs create",
                    "zfs create -V",
                    "zfs destroy",
                    "zfs list",
                    "zfs rename",
                    "zfs set",
                    "ifconfig addm",
                    "bhyve",
                ]
            ),
            "do": st.sampled_from(["fail", "kill"]),
            "when": st.sampled_from(["before", "after"]),
            "nth": st.just(1),
        }
    ),
)
# At which of its commands the worker is killed, if at all.
DEATHS = st.one_of(st.none(), st.integers(1, 8))


class Killed(BaseException):
    """Stands for SIGKILL of the worker: no handler of the operation sees it."""


@contextlib.contextmanager
def dying(number: int | None):
    """Let the worker be killed just before its command ``number``."""
    calls = 0
    plain = Run.__init__

    def init(self, task):
        plain(self, task)
        run = self.host._run

        def count(command, kept):
            nonlocal calls
            calls += 1
            if calls == number:
                raise Killed
            return run(command, kept)

        self.host._run = count

    with mock.patch.object(Run, "__init__", init), contextlib.suppress(Killed):
        yield


class Lifecycle(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.lab = ready_lab()
        self.root = mock.patch("django.conf.settings.BHYPE_ROOT", str(self.lab.root))
        self.root.start()
        self.user = make_user("maker", "admin")
        self.observer = Observer(self.lab.host)
        # Numbers of VMs that were made whole and that nobody wanted to delete.
        self.kept: set[int] = set()
        self.make("a", start=True)

    def teardown(self) -> None:
        if hasattr(self, "lab"):
            try:
                self.settle()
            finally:
                self.root.stop()
                self.lab.end()
                for model in (Task, Event, VM, Switch, Pool, Host, User):
                    model.objects.all().delete()

    def work(self, fault: dict | None, death: int | None) -> None:
        """Let a worker run what is asked for; then another one takes its place."""
        if fault:
            self.lab.fault(**fault)
        with dying(death):
            self.lab.run_tasks()
        self.lab.clear_faults()
        self.lab.interrupt()

    @rule(name=NAMES, fault=FAULTS, death=DEATHS, start=st.booleans())
    def create(self, name: str, fault: dict | None, death: int | None, start: bool) -> None:
        self.make(name, fault, death, start=start)

    def make(self, name: str, fault: dict | None = None, death: int | None = None, *, start: bool) -> None:
        switch = Switch.objects.get()
        data = {
            "name": name, "cpus": "1", "memory": "64M", "disk_size": ["4M"], "switch": switch.pk, "start": start,
            "has_serial": True, "has_screen": name == "a",
        }  # fmt: skip
        form = VMForm(data, user=self.user)
        made = form.save(self.user) if form.is_valid() else None
        if made is None:
            assert VM.objects.filter(name=name).exists() or "dataset" in str(form.errors), form.errors
            return
        self.work(fault, death)
        if Task.objects.get(pk=made[1].pk).status == "succeeded":
            self.kept.add(made[0].pk)

    @rule(
        which=st.integers(0, 1),
        action=st.sampled_from(["start", "start", "stop", "poweroff", "reset", "restart", "delete"]),
        fault=FAULTS,
        death=DEATHS,
    )
    @precondition(lambda self: VM.objects.exists())
    def act(self, which: int, action: str, fault: dict | None, death: int | None) -> None:
        vms = list(VM.objects.order_by("name"))
        vm = vms[which % len(vms)]
        if plan.actions(vm.state).get(action):
            return
        if action == "delete":
            self.kept.discard(vm.pk)
        with contextlib.suppress(Refused):
            ask(
                f"vms.{action}",
                {"vm_id": vm.pk, **({"timeout": 3} if action in {"stop", "restart"} else {})},
                self.user,
            )
        self.work(fault, death)

    @rule(
        which=st.integers(0, 1),
        victims=st.sampled_from([("supervisor",), ("pid",), ("supervisor", "pid"), ("pid", "supervisor")]),
    )
    @precondition(lambda self: VM.objects.filter(state="running").exists())
    def kill(self, which: int, victims: tuple[str, ...]) -> None:
        names = list(VM.objects.filter(state="running").order_by("name").values_list("name", flat=True))
        state = client.read_state(self.lab.host, names[which % len(names)]) or {}
        for victim in victims:
            if state.get("state") == "running" and state.get(victim):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(state[victim], signal.SIGKILL)

    @rule(
        which=st.integers(0, 1),
        operation=st.sampled_from(["rename", "rename", "grow_disk", "configure", "move_disk", "reset_vars"]),
        name=st.sampled_from(["a", "b", "c"]),
        fault=FAULTS,
        death=DEATHS,
    )
    @precondition(lambda self: VM.objects.filter(state="stopped", disks__isnull=False).exists())
    def change(self, which: int, operation: str, name: str, fault: dict | None, death: int | None) -> None:
        """What is done to VMs that are off; the worker may be killed at later steps, too."""
        vms = list(VM.objects.filter(state="stopped", disks__isnull=False).distinct().order_by("pk"))
        vm, other = vms[which % len(vms)], vms[(which + 1) % len(vms)]
        disk = vm.disks.first()
        params = {
            "rename": {"vm_id": vm.pk, "name": name},
            "grow_disk": {"disk_id": disk.pk, "size": disk.size + 2**20},
            "move_disk": {"disk_id": disk.pk, "vm_id": other.pk},
        }.get(operation, {"vm_id": vm.pk})
        with contextlib.suppress(Refused):
            ask(f"vms.{operation}", params, self.user)
        self.work(fault, death and death + 4)

    @rule(fault=FAULTS)
    def reboot(self, fault: dict | None) -> None:
        """The host goes down in the middle of a start and comes back: no process, no node, no interface is left."""
        vm = VM.objects.filter(state="stopped").first()
        if vm is not None:
            ask("vms.start", {"vm_id": vm.pk}, self.user)
            self.work(fault, 6)
        for state in client.read_states(self.lab.host).values():
            for victim in ("supervisor", "pid"):
                if state.get(victim) and state["state"] in plan.ON:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(state[victim], signal.SIGKILL)
        self.lab.stop()
        for node in self.lab.nodes():
            (self.lab.root / "dev/vmm" / node).unlink()
        for tap in self.lab.taps():
            self.lab.commands("/sbin/ifconfig", tap, "destroy")
        ask("vms.autostart", {}, None)

    @rule()
    def look(self) -> None:
        self.observer.sweep()
        self.lab.run_tasks()

    def settle(self) -> None:
        """Let observer and worker do what they do by themselves; then nothing may be left over or missing."""
        end = time.monotonic() + 120
        while True:
            self.observer.number = 0
            self.observer.sweep()
            self.lab.run_tasks()
            wrong = self.wrong()
            if not wrong:
                return
            assert time.monotonic() < end, wrong
            time.sleep(0.2)

    def named(self, vm: VM) -> str:
        path = self.lab.root / vm.dataset / "vm.json"
        return json.loads(path.read_text())["name"] if path.exists() else "none"

    def wrong(self) -> str:
        """What is lost or left over, as a sentence; empty when all is well."""
        vms = list(VM.objects.select_related("pool").prefetch_related("disks", "nics"))
        if busy := [vm.name for vm in vms if vm.state in {"creating", "deleting", "starting", "stopping"}]:
            return f"not settled: {busy}"
        on = [vm for vm in vms if vm.is_on]
        running = {process.vm for process in self.lab.host.query(ps.processes())} - {None}
        files = client.read_states(self.lab.host)
        expected = {name for vm in vms for name in (vm.dataset, *(disk.dataset for disk in vm.disks.all()))}
        whole = {
            name for vm in vms if vm.pk in self.kept
            for name in (vm.dataset, *(disk.dataset for disk in vm.disks.all()))
        }  # fmt: skip
        datasets = self.lab.datasets()
        checks = {
            "lost VMs": {str(pk) for pk in self.kept - {vm.pk for vm in vms}},
            "other names than in vm.json": {
                vm.name for vm in vms if vm.pk in self.kept and self.named(vm) != vm.name
            },
            "lost datasets": whole - datasets,
            "leaked datasets": datasets - expected,
            "processes": running ^ {vm.name for vm in on},
            "taps": self.lab.taps() ^ {nic.tap for vm in on for nic in vm.nics.all()},
            "nodes in /dev/vmm": self.lab.nodes() ^ {vm.name for vm in on},
            "VMs without supervisor": {vm.name for vm in on if not files.get(vm.name, {}).get("supervised")},
            "supervisors without VM": {name for name, file in files.items() if file["supervised"]}
            - {vm.name for vm in on},
            "leaked run directories": self.lab.run_folders() - {vm.name for vm in vms},
        }
        return "; ".join(f"{what}: {sorted(names)}" for what, names in checks.items() if names)


def test_nothing_is_lost_and_nothing_leaks(db, settings_of_lifecycle):
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="BHYPE_LIFECYCLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.fixture
def settings_of_lifecycle(monkeypatch) -> None:
    """No waiting between two attempts of the system, and no end of them."""
    monkeypatch.setattr("bhype.hosts.observer.ASK_AGAIN", timedelta(0))
    monkeypatch.setattr("bhype.tasks.queue.MOST_RECOVERIES", 1000)
    monkeypatch.setattr("bhype.tasks.queue.REPEAT_AFTER", timedelta(0))
