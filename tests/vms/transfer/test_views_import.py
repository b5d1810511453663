"""Bringing a VM in by its description: shown first, checked as a form is, then made."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from bhype.accounts.models import AuditEntry
from bhype.tasks.models import Task
from storage.models import Iso
from vms import plan
from vms.models import VM

GIB = 2**30
UUID = "0b1f9f4e-5f3c-4d5e-9b0a-2b1a6f0c1d2e"
CONF = f"""
loader="uefi"
cpu=2
memory=2G
network0_type="virtio-net"
network0_switch="nat"
network0_mac="58:9c:fc:01:02:03"
disk0_type="nvme"
disk0_name="disk0.img"
disk0_size="30G"
graphics="yes"
graphics_port="5999"
uuid="{UUID}"
limit_pcpu="50"
zfs_zvol_opts="volblocksize=128k"
"""
XML = """<domain type='bhyve'><name>Shop_1</name><memory unit='GiB'>1</memory><vcpu>2</vcpu>
<os><loader>/usr/local/share/uefi-firmware/BHYVE_UEFI.fd</loader></os><devices>
<disk type='file'><source file='/vm/a.img'/><target dev='sda' bus='sata'/></disk>
<disk type='file' device='cdrom'><source file='/iso/debian.iso'/><target dev='sdb' bus='sata'/></disk>
<interface type='bridge'><source bridge='virbr0'/><model type='e1000'/></interface>
<serial type='nmdm'><source master='/dev/nmdm7A'/></serial></devices></domain>"""


def test_a_description_is_shown_as_what_it_becomes_and_nothing_is_made(as_user, operator, pool, switch):
    answer = as_user(operator).post("/vms/_import/", {"text": CONF, "source_name": "web9"})
    html = answer.content.decode()
    assert answer.status_code == 200
    assert 'value="web9"' in html
    assert 'value="30G"' in html
    assert "Left out: the ZFS properties of new volumes" in html
    assert VM.objects.count() == Task.objects.count() == 0


def test_creating_makes_the_vm_with_its_parts(as_user, operator, pool, switch, settings):
    data = {
        "text": CONF, "format": "vm-bhyve", "source_name": "web9", "create": "1", "name": "web9", "pool": pool.pk,
        "disk_0": "empty", "size_0": "40G", "nic_1": switch.pk, "start": "on",
    }  # fmt: skip
    answer = as_user(operator).post("/vms/_import/", data)
    assert answer.url == "/vms/web9/"
    vm = VM.objects.get()
    assert (vm.state, vm.cpus, vm.memory, str(vm.uuid)) == ("creating", 2, 2 * GIB, UUID)
    assert vm.vnc_port == settings.VNC_FIRST_PORT
    (disk,), (nic,) = vm.disks.all(), vm.nics.all()
    assert (disk.bus, disk.size, disk.slot, disk.backing) == ("nvme", 40 * GIB, "0:4:0", "volume")
    assert (nic.switch, nic.mac, nic.slot) == (switch, "58:9c:fc:01:02:03", "0:5:0")
    assert plan.document(vm)["limits"] == {"pcpu": 50}
    task = Task.objects.get()
    assert (task.operation, task.params) == ("vms.create", {"vm_id": vm.pk, "start": True})
    assert AuditEntry.objects.filter(action="vms.import", object="vm web9").exists()


def test_drives_of_one_controller_become_disks_and_media_of_the_library(as_user, operator, pool, switch):
    iso = Iso.objects.create(pool=pool, name="debian.iso", size=1)
    client = as_user(operator)
    assert "Each drive of its SATA controller" in client.post("/vms/_import/", {"text": XML}).content.decode()
    client.post(
        "/vms/_import/",
        {"text": XML, "create": "1", "name": "shop-1", "medium_1": iso.pk, "nic_2": switch.pk},
    )
    vm = VM.objects.get(name="shop-1")
    assert [disk.bus for disk in vm.disks.all()] == ["ahci-hd"]
    assert [drive.iso for drive in vm.drives] == [iso]
    assert plan.document(vm)["com1"] == "/dev/nmdm-shop-1.1A"


def test_a_file_is_read_as_what_was_pasted(as_user, operator, pool, switch):
    file = SimpleUploadedFile("web9.conf", CONF.encode())
    assert as_user(operator).post("/vms/_import/", {"file": file}).status_code == 200
    picture = SimpleUploadedFile("a.png", b"\x89PNG\xff\xfe")
    answer = as_user(operator).post("/vms/_import/", {"file": picture})
    assert (answer.status_code, "not a text" in answer.content.decode()) == (422, True)


@pytest.mark.parametrize("text", ["", "Dear admin", "<!DOCTYPE a><domain/>", "{" * 5000, "bhyve -c $(id) a"])
def test_what_is_no_description_is_refused_beside_its_field(as_user, operator, pool, text):
    answer = as_user(operator).post("/vms/_import/", {"text": text})
    assert answer.status_code == 422
    assert 'id="id_text_error"' in answer.content.decode()


def test_what_another_vm_has_is_told(as_user, operator, pool, vm):
    text = CONF.replace("58:9c:fc:01:02:03", "58:9c:fc:00:00:01").replace(UUID, str(vm.uuid))
    client = as_user(operator)
    html = client.post("/vms/_import/", {"text": text, "source_name": "web1"}).content.decode()
    assert "Another VM has its UUID" in html and "Other VMs have its MAC addresses" in html
    create = {"text": text, "create": "1", "disk_0": "empty", "nic_1": vm.nics.get().switch_id}
    assert client.post("/vms/_import/", create | {"name": "web1"}).status_code == 422
    refused = client.post("/vms/_import/", create | {"name": "web2"})
    assert "Another network port has this MAC address" in refused.content.decode()
    assert client.post("/vms/_import/", create | {"name": "web2", "new_macs": "on"}).status_code == 302
    assert VM.objects.get(name="web2").uuid != vm.uuid


BHYVE = "bhyve -AH -c 1 -m 512M -s 0,hostbridge -s 31,lpc"
ROM = "-l bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"
ROOT = [
    f"{BHYVE} -s 5,passthru,1/0/0 -S {ROM} a",
    f"{BHYVE} -s 5,virtio-9p,s=/etc {ROM} a",
    f"{BHYVE} -o x.y=z -l bootrom,/etc/passwd a",
    f"bhyveload -m 512M -d /d a\n{BHYVE} -s 4,virtio-blk,/d a",
]


@pytest.mark.parametrize("text", ROOT)
def test_what_equals_root_is_for_who_may(as_user, operator, pool, text):
    client = as_user(operator)
    assert (
        "as much as being root on the host" in client.post("/vms/_import/", {"text": text}).content.decode()
    )
    answer = client.post("/vms/_import/", {"text": text, "create": "1", "name": "a", "disk_0": "path"})
    assert answer.status_code == 422
    assert not VM.objects.exists()


def test_an_admin_may_leave_a_disk_where_it_lies(as_user, admin, pool, switch):
    data = {"text": CONF, "folder": "/zroot/vm/web9", "create": "1", "name": "web9", "disk_0": "path"}
    as_user(admin).post("/vms/_import/", data)
    assert VM.objects.get().disks.get().host_path == "/zroot/vm/web9/disk0.img"


def test_only_who_may_create_sees_the_page(as_user, viewer, pool):
    assert as_user(viewer).get("/vms/_import/").status_code == 404
    assert as_user(viewer).post("/vms/_import/", {"text": CONF}).status_code == 404


def test_a_document_of_another_panel_is_not_taken_for_its_own(as_user, admin, pool, vm):
    document = {**plan.document(vm), "name": "web2"}
    as_user(admin).post(
        "/vms/_import/", {"text": json.dumps(document), "create": "1", "name": "web2", "new_macs": "on"}
    )
    made = VM.objects.get(name="web2")
    assert made.uuid != vm.uuid
    assert made.disks.get().path == "/dev/zvol/tank/bhype/vms/web2/disk0"


HOSTILE = [
    {"graphic": 5, "emulations": {"a": 1}, "cpu": [], "mem": {}},
    {
        "emulations": [
            None,
            5,
            {"device": None},
            {"device": "ahci", "ports": [1]},
            {"device": "ahci-cd", "path": 3},
        ]
    },
    {"emulations": [{"device": "nvme", "path": ["x"]}, {"device": "virtio-net", "bridge": {}, "mac": 1}]},
    {
        "emulations": [{"device": "virtio-console", "ports": [{"name": {}}, None]}],
        "com1": 7,
        "tpm": 1,
        "uuid": [],
    },
    {"targets": {"a": 1, "b": {"emulations": 3}}, "loader": "x", "limits": [], "name": {"a": 1}},
]


@pytest.mark.parametrize("document", HOSTILE)
def test_no_document_breaks_the_page(as_user, admin, pool, switch, document):
    text = json.dumps({"name": "a", "cpu": 1, "mem": "64M", **document})
    for more in ({}, {"create": "1", "name": "a"}):
        assert (
            as_user(admin).post("/vms/_import/", {"text": text, "format": "vmrun", **more}).status_code < 500
        )
