"""Deploying VMs from templates: whole or not at all, in few commands, without copying data."""

from __future__ import annotations

import json
import os

import pytest

from bhype.accounts.models import User
from bhype.freebsd import zfs
from bhype.tasks import Refused, ask, queue
from network.models import Switch
from storage.models import Image, Pool
from tests.conftest import make_user
from tests.vms.test_operations import Killed
from tests.vms.transfer.test_copies import die_at
from vms.deploy import orders as deploy_orders
from vms.models import VM, OsPreset, Template
from vms.os_templates import rows as template_rows
from vms.os_templates.documents import Wishes
from vms.wanted import WantedError

MIB = 2**20


@pytest.fixture
def admin(db) -> User:
    return make_user("root1", "admin")


@pytest.fixture
def image(ready) -> Image:
    """An image of the library, made by hand: 4 MiB with something on it."""
    row = Image.objects.create(
        pool=Pool.objects.get(), name="debian12", os="debian12", size=4 * MIB, cloud_init="cloud-init",
        login="debian", state=Image.State.READY,
    )  # fmt: skip
    mark = f"{zfs.ID_PROPERTY}={row.uuid}"
    ready.commands(
        "/sbin/zfs", "create", "-s", "-o", mark, "-o", "volmode=dev", "-V", str(row.size), row.dataset
    )
    with open(ready.root / f"dev/zvol/{row.dataset}", "r+b") as file:
        os.pwrite(file.fileno(), b"golden", MIB)
    ready.commands("/sbin/zfs", "snapshot", row.snapshot)
    return row


def finish(lab):
    """Run what is queued; the first task, which is the one that was asked."""
    task, *_ = lab.run_tasks()
    return task


@pytest.fixture
def template(ready, image, admin) -> Template:
    preset = OsPreset.objects.get(name="debian12")
    row, _ = template_rows.make_from_image(image, "debian12", admin, preset=preset, is_published=True)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    row.refresh_from_db()
    return row


def order(name: str, owner: User, **more) -> deploy_orders.Order:
    return deploy_orders.Order(name, owner, **{"start": False, **more})


@pytest.fixture
def bridge(ready) -> str:
    return Switch.objects.get().interface


def read(lab, disk, at, count) -> bytes:
    with open(lab.root / f"dev/zvol/{disk}", "rb") as file:
        return os.pread(file.fileno(), count, at)


def origins(lab) -> dict[str, str]:
    lines = lab.commands("/sbin/zfs", "list", "-H", "-o", "name,origin", "-r", "tank/bhype").splitlines()
    return {name: origin for name, origin in (line.split("\t") for line in lines) if origin != "-"}


def snapshots(lab) -> set[str]:
    return set(lab.commands("/sbin/zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-r", "tank").split())


def test_a_template_of_an_image_shares_its_data(ready, template, image):
    assert (template.state, str(template), template.made_from) == ("ready", "debian12 v1", "image debian12")
    assert origins(ready) == {f"{template.dataset}/disk0": image.snapshot}
    assert {f"{template.dataset}@base", f"{template.dataset}/disk0@base"} < snapshots(ready)
    words = ("-Hr", "-o", "value,source", "-t", "filesystem,volume", "org.bhype:id", template.dataset)
    marks = ready.commands("/sbin/zfs", "get", *words)
    assert marks == f"{template.uuid}\tlocal\n" * 2
    assert read(ready, f"{template.dataset}/disk0", MIB, 6) == b"golden"


def test_a_vm_is_deployed(ready, template, admin, bridge):
    wishes = Wishes(cpus=2, memory=64 * MIB, bridge=bridge, disk=8 * MIB)
    vm, _ = deploy_orders.make(template, order("web1", admin, wishes=wishes, tags=("web",)), admin)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    vm.refresh_from_db()
    assert (vm.state, vm.cpus, vm.memory, vm.template, vm.owner) == ("stopped", 2, 64 * MIB, template, admin)
    assert [tag.name for tag in vm.tags.all()] == ["web"]
    disk, nic = vm.disks.get(), vm.nics.get()
    assert (disk.bus, disk.size, nic.switch.interface) == ("virtio-blk", 8 * MIB, bridge)
    assert (ready.root / f"dev/zvol/{disk.dataset}").stat().st_size == 8 * MIB
    assert read(ready, disk.dataset, MIB, 6) == b"golden"
    assert origins(ready)[disk.dataset] == f"{template.dataset}/disk0@base"
    marks = ready.commands("/sbin/zfs", "get", "-Hr", "-o", "value,source", "org.bhype:id", vm.dataset)
    assert marks == f"{vm.uuid}\tlocal\n" * 2
    document = json.loads((ready.root / vm.dataset / "vm.json").read_text())
    assert (document["name"], document["uuid"]) == ("web1", str(vm.uuid))
    assert (ready.root / vm.dataset / "uefi-vars.fd").stat().st_size > 0


def test_an_encrypted_vm_has_copies_of_its_own(ready, template, admin, bridge):
    words = "the words of web1"
    vm, asked = deploy_orders.make(
        template, order("web1", admin, passphrase=words, wishes=Wishes(disk=8 * MIB)), admin
    )
    assert words not in str(asked.params)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    disk = vm.disks.get()
    keys = ready.commands("/sbin/zfs", "list", "-Hr", "-o", "encryptionroot,keystatus", vm.dataset)
    assert keys == f"{vm.dataset}\tavailable\n" * 2
    assert disk.dataset not in origins(ready) and f"{disk.dataset}@base" not in snapshots(ready)
    assert read(ready, disk.dataset, MIB, 6) == b"golden"
    assert (ready.root / f"dev/zvol/{disk.dataset}").stat().st_size == 8 * MIB
    marks = ready.commands(
        "/sbin/zfs", "get", "-Hr", "-t", "filesystem,volume", "-o", "source", "org.bhype:id", vm.dataset
    )
    assert set(marks.split()) <= {"local", "received"}
    assert VM.objects.get(pk=vm.pk).state == "stopped"


def test_two_vms_of_one_template_have_nothing_of_each_other(ready, template, admin, bridge):
    vms = [
        deploy_orders.make(template, order(name, admin, wishes=Wishes(bridge=bridge)), admin)[0]
        for name in ("one", "two")
    ]
    assert {task.status for task in ready.run_tasks()} == {"succeeded"}
    for column in ("uuid", "vnc_port", "vnc_password"):
        assert len({getattr(vm, column) for vm in vms}) == 2, column
    assert len({vm.nics.get().mac for vm in vms}) == len({vm.disks.get().serial for vm in vms}) == 2
    with open(ready.root / f"dev/zvol/{vms[0].dataset}/disk0", "r+b") as file:
        os.pwrite(file.fileno(), b"mine!!", MIB)
    for owner in (vms[1].dataset, template.dataset):
        assert read(ready, f"{owner}/disk0", MIB, 6) == b"golden"


def test_the_guest_is_told_who_it_is(ready, template, admin, bridge):
    settings = {"kind": "cloud-init", "user": "ann", "hostname": "web1"}
    vm, _ = deploy_orders.make(
        template, order("web1", admin, wishes=Wishes(bridge=bridge), cloud_init=settings), admin
    )
    assert finish(ready).status == "succeeded"
    seed = ready.root / vm.dataset / "seed.iso"
    assert (seed.stat().st_mode & 0o777, b"CD001" in seed.read_bytes()) == (0o600, True)
    document = json.loads((ready.root / vm.dataset / "vm.json").read_text())
    assert f"/{vm.dataset}/seed.iso" in [entry.get("path") for entry in document["emulations"]]


PROGRAMS = ("zfs", "zpool", "ifconfig", "kldload", "kldstat", "sysctl", "ps", "bhyve", "bhyvectl")
# place.check, the dataset, the disk's clone; the host's memory, then the VM's needs; who runs, before bhyve and after;
# the interfaces, the tap, the switch; vmm and nmdm.
SHORT = {"zfs": 3, "sysctl": 2, "ps": 2, "ifconfig": 3, "kldstat": 2, "bhyve": 1}


def count_commands(lab) -> None:
    """Have the lab count its commands from now on."""
    faults = [{"command": name, "do": "slow", "seconds": 0} for name in PROGRAMS]
    (lab.folder / "faults.json").write_text(json.dumps(faults))


def counted(lab) -> dict[str, int]:
    """How often each program was called."""
    calls = json.loads((lab.folder / "state" / "faults.json").read_text())
    lab.clear_faults()
    return {json.loads(key)["command"]: number for key, number in calls.items()}


def test_the_way_from_the_request_to_bhyve_is_short(ready, template, admin, bridge):
    settings = {"kind": "cloud-init", "user": "ann"}
    wishes = Wishes(memory=64 * MIB, bridge=bridge)
    vm, _ = deploy_orders.make(
        template, order("web1", admin, wishes=wishes, cloud_init=settings, start=True), admin
    )
    count_commands(ready)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    found = counted(ready)
    print(f"{sum(found.values())} commands of FreeBSD and one supervisor: {found}")  # noqa: T201 - for people
    # bhyve may need more than one look until it runs.
    assert {**found, "ps": 2} == SHORT
    vm.refresh_from_db()
    assert vm.state == "running"


# What goes wrong.


def test_only_published_templates_are_for_everybody(ready, template, admin):
    other, nobody = make_user("other", "operator"), make_user("nobody")
    Template.objects.update(is_published=False)
    for user in (other, nobody):
        with pytest.raises(Refused, match="no such object"):
            deploy_orders.make(template, order("web1", user), user)
    Template.objects.update(is_published=True)
    with pytest.raises(Refused):
        deploy_orders.make(template, order("web1", nobody), nobody)
    deploy_orders.make(template, order("web1", other), other)
    # Hidden again before the worker comes to it.
    Template.objects.update(is_published=False)
    task = finish(ready)
    assert (task.status, "not published" in task.error) == ("failed", True), task.error
    assert not VM.objects.exists()


def test_names_that_are_taken_or_wrong_are_refused(ready, template, admin):
    deploy_orders.make(template, order("web1", admin), admin)
    for name in ("web1", "Web", "a/b", "-"):
        with pytest.raises(WantedError):
            deploy_orders.make(template, order(name, admin), admin)
    template.state = "deleting"
    with pytest.raises(Refused, match="not ready"):
        deploy_orders.make(template, order("web2", admin), admin)


def test_nothing_is_deployed_of_a_template_that_is_gone_meanwhile(ready, template, admin):
    deploy_orders.make(template, order("web1", admin), admin)
    Template.objects.update(state="deleting")
    first, *others = ready.run_tasks()
    assert (first.status, "not ready" in first.error) == ("failed", True)
    assert [(task.operation, task.status) for task in others] == [("vms.recover", "succeeded")]
    assert not VM.objects.exists()


def test_what_lies_there_already_is_left_alone(ready, template, admin):
    ready.commands("/sbin/zfs", "create", "tank/bhype/vms/web1")
    deploy_orders.make(template, order("web1", admin), admin)
    task = finish(ready)
    assert (task.status, "already exists" in task.error) == ("failed", True), task.error
    assert "tank/bhype/vms/web1" in ready.datasets()


def test_a_full_pool_leaves_nothing(ready, template, admin):
    deploy_orders.make(template, order("web1", admin), admin)
    ready.fault(command="zfs clone", do="full")
    first, *_ = ready.run_tasks()
    assert (first.status, "out of space" in first.error) == ("failed", True), first.error
    assert (ready.datasets(), VM.objects.count()) == (set(), 0)


def test_a_vm_that_cannot_be_started_stays(ready, template, admin):
    deploy_orders.make(template, order("web1", admin, wishes=Wishes(memory=31 << 30), start=True), admin)
    task = finish(ready)
    assert (task.status, "was not started" in task.error) == ("failed", True), task.error
    vm = VM.objects.get()
    assert (vm.state, "memory" in vm.reason, vm.dataset in ready.datasets()) == ("stopped", True, True)


def test_a_machine_of_that_name_that_runs_already_is_not_taken_over(ready, template, admin):
    (ready.root / "dev/vmm").mkdir(parents=True, exist_ok=True)
    (ready.root / "dev/vmm/web1").touch()
    deploy_orders.make(template, order("web1", admin, wishes=Wishes(memory=64 * MIB), start=True), admin)
    task = finish(ready)
    assert (task.status, "runs a VM of this name" in task.error) == ("failed", True), task.error
    assert VM.objects.get().state == "stopped"


def steps(ready, template, admin, monkeypatch) -> int:
    deploy_orders.make(template, order("count", admin), admin)
    with monkeypatch.context() as patch:
        count = die_at(patch, 0)
        assert finish(ready).status == "succeeded"
    ask("vms.delete", {"vm_id": VM.objects.get(name="count").pk}, None)
    assert finish(ready).status == "succeeded"
    return count["calls"]


def test_a_kill_at_any_step_leaves_nothing(ready, template, admin, monkeypatch):
    before, found = ready.commands("/sbin/zfs", "list", "-H", "-o", "name", "-t", "all"), 0
    for number in range(1, steps(ready, template, admin, monkeypatch) + 1):
        deploy_orders.make(template, order("web1", admin), admin)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            die_at(patch, number)
            ready.run_tasks()
        ready.interrupt()
        assert [task.status for task in ready.run_tasks()] == ["succeeded"]
        assert not VM.objects.exists()
        assert ready.commands("/sbin/zfs", "list", "-H", "-o", "name", "-t", "all") == before
        found += 1
    assert found >= 3


# Batches.


def test_a_batch_runs_four_at_a_time(ready, template, admin):
    orders = [order(f"web{number}", admin, wishes=Wishes(memory=64 * MIB)) for number in range(5)]
    key, outcomes = deploy_orders.make_many(template, [*orders, orders[0]], admin)
    assert [bool(outcome.task) for outcome in outcomes] == [True] * 5 + [False]
    assert "already a VM" in outcomes[-1].error
    tasks = deploy_orders.tasks_of(key, admin)
    assert [(task.title, task.pool_size) for task in tasks] == [(f"Deploy web{n}", 4) for n in range(5)]
    claimed = [queue.claim(workers=100) for _ in range(6)]
    assert [bool(one) for one in claimed] == [True] * 4 + [False] * 2
    assert deploy_orders.tasks_of(key, make_user("stranger")) == []


def test_no_data_is_copied(ready, template, admin):
    def used() -> int:
        """Blocks that the lab's volumes take, each counted once: clones of a volume are links or reflinks to it."""
        text = ready.commands(
            "/sbin/zfs", "list", "-Hp", "-o", "used", "-r", "-t", "volume", "tank/bhype/vms"
        )
        return sum(int(line) for line in text.split())

    deploy_orders.make_many(template, [order(f"web{number}", admin) for number in range(3)], admin)
    assert {task.status for task in ready.run_tasks()} == {"succeeded"}
    assert used() < 3 * 256 * 1024
