"""VMs of other tools on the host: found, taken over, given back; nothing of theirs is lost on the way."""

from __future__ import annotations

import json
import os

import pytest

from bhype.freebsd import zfs
from bhype.hosts.models import Host
from bhype.tasks import ask
from bhype.tasks.models import Schedule, Task
from tests.conftest import make_user
from vms.models import VM
from vms.transfer import adoption

MIB = 2**20
CONF = """loader="uefi"
uefi_vars="yes"
cpu=2
memory=512M
network0_type="virtio-net"
network0_switch="nat"
network0_mac="58:9c:fc:01:02:03"
disk0_type="virtio-blk"
disk0_name="disk0.img"
disk1_type="nvme"
disk1_name="data"
disk1_dev="sparse-zvol"
uuid="0b1f9f4e-5f3c-4d5e-9b0a-2b1a6f0c1d2e"
"""
HOSTER = {
    "cpu_sockets": 1, "cpu_cores": 1, "memory": "512M", "loader": "uefi", "vnc_port": 5950, "vnc_password": "s3cret12",
    "networks": [], "disks": [{"disk_type": "nvme", "disk_location": "internal", "disk_image": "disk0.img"}],
}  # fmt: skip


@pytest.fixture
def theirs(ready):
    """A host on which vm-bhyve and HosterCore have VMs."""
    host = ready.host
    for name in ("tank/vm", "tank/vm/web9", "tank/hoster", "tank/hoster/shop1"):
        host.run(zfs.create_filesystem(name))
    host.run(zfs.create_volume("tank/vm/web9/data", 64 * MIB))
    host.makedirs("/etc")
    host.write_text(
        "/etc/rc.conf", 'vm_enable="YES"\nvm_dir="zfs:tank/vm"  # here\nother="$(touch /tmp/never)"\n'
    )
    host.write_text("/tank/vm/web9/web9.conf", CONF)
    host.write_text("/tank/vm/web9/disk0.img", "the first disk" + "\n" * MIB)
    host.write_text("/tank/vm/web9/uefi-vars.fd", "their variables")
    host.makedirs("/opt/hoster-core/config_files")
    host.write_text(
        "/opt/hoster-core/config_files/host_config.json", json.dumps({"active_datasets": ["tank/hoster"]})
    )
    host.write_text("/tank/hoster/shop1/vm_config.json", json.dumps(HOSTER))
    host.write_text("/tank/hoster/shop1/disk0.img", "x" * MIB)
    return ready


@pytest.fixture
def root(db):
    return make_user("root1", "admin")


def run(lab) -> list[Task]:
    tasks = lab.run_tasks()
    assert all(task.status == "succeeded" for task in tasks), [task.error for task in tasks]
    return tasks


def look(lab, user) -> int:
    ask("vms.find_foreign", {}, user)
    return run(lab)[-1].pk


def adopt(client, task: int, name: str, **more):
    return client.post(f"/vms/_import/found/{task}/{name}/", {"name": name, "how": "move", **more})


def everything(lab) -> dict[str, bytes]:
    found = {}
    for folder, _, names in os.walk(lab.root / "tank"):
        for name in names:
            path = f"{folder}/{name}"
            with open(path, "rb") as file:
                found[os.path.relpath(path, lab.root)] = file.read()
    return found


def test_vms_of_other_tools_are_found_with_their_disks(theirs):
    found = adoption.candidates(theirs.host, ["tank/bhype"])
    assert [(one.format, one.name, one.dataset, one.obstacle) for one in found] == [
        ("hoster-core", "shop1", "tank/hoster/shop1", ""),
        ("vm-bhyve", "web9", "tank/vm/web9", ""),
    ]
    moves = [(move.old, move.new, move.is_volume, move.size) for move in found[1].moves]
    assert moves == [("disk0.img", "disk0.img", False, MIB + 14), ("data", "disk1", True, 64 * MIB)]
    again = adoption.Found.from_json(json.loads(json.dumps(found[0].as_json())))
    assert again.imported.document["graphic"]["port"] == 5950
    assert "s3cret12" not in json.dumps(found[0].as_json())


def test_what_cannot_be_moved_is_told(theirs):
    host = theirs.host
    host.run(zfs.create_filesystem("tank/vm/web9/more"))
    host.makedirs("/dev/vmm")
    host.write_text("/dev/vmm/shop1", "")
    found = {one.name: one.obstacle for one in adoption.candidates(host, ["tank/bhype"])}
    assert found == {
        "shop1": "It is running, or was not cleaned up: stop it where it was started.",
        "web9": "Its dataset holds more, which is none of its disks.",
    }
    assert all(
        "does not belong" in one.obstacle for one in adoption.candidates(host, []) if not one.is_running
    )


def test_a_vm_in_a_plain_folder_can_only_stay(theirs):
    host = theirs.host
    host.write_text("/etc/rc.conf", "vm_dir='/usr/vms'\n")
    host.makedirs("/usr/vms/web8")
    host.write_text("/usr/vms/web8/web8.conf", CONF)
    (found,) = [one for one in adoption.candidates(host, ["tank/bhype"]) if one.format == "vm-bhyve"]
    assert (found.dataset, found.moves) == ("", ())
    assert found.obstacle == "It lies in a folder and not in a dataset of its own."


def test_an_odd_rc_conf_finds_nothing(theirs):
    for text in ('vm_dir="$(id)"', "vm_dir=zfs:no/such", 'vm_dir="zfs:../../etc"', "vm_dir=relative", ""):
        theirs.host.write_text("/etc/rc.conf", text + "\n")
        found = adoption.candidates(theirs.host, ["tank/bhype"])
        assert [one.format for one in found] == ["hoster-core"], text


def test_a_dataset_is_taken_over_and_given_back_as_it_was(theirs, as_user, root):
    before = everything(theirs)
    client = as_user(root)
    task = look(theirs, root)
    assert "web9" in client.get("/vms/_import/found/").content.decode()
    page = client.get(f"/vms/_import/found/{task}/web9/").content.decode()
    assert "becomes disk1" in page and "58:9c:fc:01:02:03" in page
    switch = Host.objects.this().switches.get()
    assert adopt(client, task, "web9", nic_2=switch.pk).url == "/vms/web9/"
    run(theirs)
    vm = VM.objects.get(name="web9")
    assert (vm.state, str(vm.uuid)) == ("stopped", "0b1f9f4e-5f3c-4d5e-9b0a-2b1a6f0c1d2e")
    paths = [disk.path for disk in vm.disks.order_by("index")]
    assert paths == ["/tank/bhype/vms/web9/disk0.img", "/dev/zvol/tank/bhype/vms/web9/disk1"]
    assert theirs.host.read_text("/tank/bhype/vms/web9/disk0.img").startswith("the first disk")
    assert theirs.host.read_text("/tank/bhype/vms/web9/uefi-vars.fd") == "their variables"
    assert json.loads(theirs.host.read_text("/tank/bhype/vms/web9/vm.json"))["name"] == "web9"
    Schedule.objects.create(
        host="lab",
        operation="vms.start",
        subject=vm.subject,
        params={"vm_id": vm.pk},
        owner=root,
        when="daily",
    )
    assert client.post("/vms/_import/back/web9/").status_code == 302
    run(theirs)
    assert not VM.objects.filter(name="web9").exists()
    assert not Schedule.objects.exists()
    after = everything(theirs)
    assert after.keys() == before.keys()
    # Its first disk was made a whole number of MiB.
    assert after["tank/vm/web9/disk0.img"].startswith(before["tank/vm/web9/disk0.img"])
    assert not theirs.host.query(zfs.get_property("tank/vm/web9", zfs.ID_PROPERTY)).is_local


@pytest.mark.parametrize("step", ["zfs set", "zfs rename", "fails late"])
def test_a_take_over_that_fails_leaves_all_as_it_was(theirs, as_user, root, step):
    before = everything(theirs)
    task = look(theirs, root)
    switch = Host.objects.this().switches.get()
    if step == "fails late":
        theirs.fault(command="zfs rename", do="fail", nth=2)
    else:
        theirs.fault(command=step, do="fail", nth=1)
    adopt(as_user(root), task, "web9", nic_2=switch.pk)
    tasks = theirs.run_tasks()
    theirs.clear_faults()
    assert tasks[0].status == "failed"
    theirs.run_tasks()
    assert not VM.objects.filter(name="web9").exists()
    assert everything(theirs) == before
    assert not theirs.host.query(zfs.get_property("tank/vm/web9", zfs.ID_PROPERTY)).is_local


def test_a_take_over_whose_worker_died_is_undone(theirs, as_user, root):
    before = everything(theirs)
    task = look(theirs, root)
    adopt(as_user(root), task, "web9", nic_2=Host.objects.this().switches.get().pk)
    vm = VM.objects.get(name="web9")
    Task.objects.filter(operation="vms.adopt_foreign").update(status="running")
    theirs.host.run(zfs.set_property("tank/vm/web9", adoption.FROM_PROPERTY, "tank/vm/web9"))
    theirs.host.run(zfs.set_property("tank/vm/web9", zfs.ID_PROPERTY, str(vm.uuid)))
    theirs.host.run(zfs.rename("tank/vm/web9", "tank/bhype/vms/web9"))
    theirs.host.run(zfs.rename("tank/bhype/vms/web9/data", "tank/bhype/vms/web9/disk1"))
    theirs.interrupt()
    run(theirs)
    assert not VM.objects.filter(name="web9").exists()
    assert everything(theirs) == before


def test_t20_a_vm_is_given_back_to_where_it_came_from_and_nowhere_else(theirs, as_user, root):
    """As a compromised web process could: what a dataset inherits would mount a VM's files over the host's own."""
    task = look(theirs, root)
    adopt(as_user(root), task, "web9", nic_2=Host.objects.this().switches.get().pk)
    run(theirs)
    asked = Task.objects.get(operation="vms.adopt_foreign").params
    before = theirs.datasets()
    for operation in ("vms.return_foreign", "vms.recover_adoption", "vms.finish_return"):
        state = {"vms.recover_adoption": "creating", "vms.finish_return": "deleting"}.get(
            operation, "stopped"
        )
        VM.objects.update(state=state)
        Task.objects.create(
            host="lab", operation=operation, params={**asked, "source": "tank/etc"}, by_system=True, title="x"
        )
        (ended,) = theirs.run_tasks()
        assert ("did not come from" in ended.error, theirs.datasets()) == (True, before), ended.error


def test_a_vm_that_runs_is_not_taken(theirs, as_user, root):
    theirs.host.makedirs("/dev/vmm")
    theirs.host.write_text("/dev/vmm/web9", "")
    task = look(theirs, root)
    answer = adopt(as_user(root), task, "web9")
    assert (answer.status_code, "is running" in answer.content.decode()) == (422, True)
    assert not VM.objects.exists()


def test_what_has_changed_since_the_search_is_not_taken(theirs, as_user, root):
    task = look(theirs, root)
    theirs.host.write_text("/tank/vm/web9/web9.conf", CONF.replace("disk1_", "disk9_"))
    adopt(as_user(root), task, "web9", nic_2=Host.objects.this().switches.get().pk)
    tasks = theirs.run_tasks()
    assert tasks[0].status == "failed"
    assert "tank/vm/web9" in theirs.commands("/sbin/zfs", "list", "-H", "-o", "name")


def test_links_in_their_dataset_are_refused(theirs, as_user, root):
    os.symlink("/etc/passwd", theirs.root / "tank/vm/web9/trap")
    task = look(theirs, root)
    adopt(as_user(root), task, "web9", nic_2=Host.objects.this().switches.get().pk)
    tasks = theirs.run_tasks()
    assert "link" in tasks[0].error
    assert not theirs.host.exists("/tank/bhype/vms/web9")


@pytest.mark.parametrize("name", ["", "disk0.img"])
def test_t07_what_others_may_write_to_is_not_taken(theirs, as_user, root, name):
    path = theirs.root / "tank/vm/web9" / name
    task = look(theirs, root)
    path.chmod(path.stat().st_mode | 0o002)
    adopt(as_user(root), task, "web9", nic_2=Host.objects.this().switches.get().pk)
    tasks = theirs.run_tasks()
    assert "go-w" in tasks[0].error
    assert not theirs.host.exists("/tank/bhype/vms/web9")


def test_disks_can_stay_where_they_are_if_the_host_allows(theirs, as_user, root, settings):
    settings.ALLOW = ("/tank/hoster",)
    task = look(theirs, root)
    adopt(as_user(root), task, "shop1", how="leave", disk_0="path")
    run(theirs)
    vm = VM.objects.get(name="shop1")
    assert (vm.state, vm.disks.get().path) == ("stopped", "/tank/hoster/shop1/disk0.img")


def test_only_who_may_what_equals_root_sees_what_is_found(theirs, as_user, root):
    task = look(theirs, root)
    for role in ("operator", "viewer", ""):
        client = as_user(make_user(f"somebody{role}", role))
        for path in ("/vms/_import/found/", f"/vms/_import/found/{task}/web9/"):
            assert client.get(path).status_code == 404
            assert client.post(path).status_code == 404
    client = as_user(root)
    assert client.get(f"/vms/_import/found/{task}/nobody/").status_code == 404
    assert client.get("/vms/_import/found/999999/web9/").status_code == 404


def test_by_the_api_vms_are_found_taken_and_given_back(theirs, as_user, root):
    def call(user, method: str, path: str, body: object = None):
        url, more = f"/api/v1/vms/{path}", {"HTTP_ORIGIN": "http://testserver"}
        data = "" if body is None else json.dumps(body)
        return as_user(user).generic(method, url, data, content_type="application/json", **more)

    operator = make_user("somebody", "operator")
    for method, path in (("GET", "import/found"), ("POST", "import/found"), ("POST", "import/found/web9")):
        assert call(operator, method, path, {}).status_code == 404
    assert call(root, "GET", "import/found").json() == {"looked_at": None, "vms": []}
    assert call(root, "POST", "import/found").status_code == 202
    run(theirs)
    found = call(root, "GET", "import/found").json()["vms"]
    assert [(one["format"], one["name"]) for one in found] == [("hoster-core", "shop1"), ("vm-bhyve", "web9")]
    assert call(root, "POST", "import/found/nobody", {}).status_code == 404
    answer = call(root, "POST", "import/found/web9", {"switch": "none"})
    assert (answer.status_code, answer.json()["field"]) == (422, "switch")
    answer = call(root, "POST", "import/found/web9", {"switch": "nat", "name": "web10"})
    assert answer.status_code == 202, answer.content
    run(theirs)
    vm = VM.objects.get()
    assert (vm.name, vm.state, vm.nics.get().switch.name) == ("web10", "stopped", "nat")
    assert call(operator, "POST", "web10/give-back").status_code == 404
    assert call(root, "POST", "web10/give-back").status_code == 202
    run(theirs)
    assert not VM.objects.exists()
    assert theirs.host.exists("/tank/vm/web9/web9.conf")
