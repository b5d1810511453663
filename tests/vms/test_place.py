"""Rows are written by a process that is not root; root's worker follows none of them out of bHype's datasets."""

from __future__ import annotations

import json

import pytest

from bhype.host import CommandError
from bhype.tasks import OperationFailed, ask
from bhype.vmrun.devices import KINDS
from bhype.vmrun.keys import KEYS
from storage.models import Iso, Pool
from tests.vms.test_operations import finish, maker, new_vm  # noqa: F401
from vms import place, wanted
from vms.models import VM, Disk


@pytest.fixture
def made(ready, maker):  # noqa: F811
    vm, _ = new_vm(maker)
    assert finish(ready).status == "succeeded"
    return VM.objects.get(pk=vm.pk)


def test_a_whole_vm_passes(ready, made):
    place.check(ready.host, made)


def test_nothing_is_run_from_a_folder_that_is_no_dataset_of_bhype(ready, made, maker):  # noqa: F811
    """As a compromised web process could: a pool that is a folder for everybody, with a vm.json that runs a script."""
    folder = ready.root / "tmp/bhype/vms/web1"
    folder.mkdir(parents=True)
    witness = ready.root / "tmp/ran"
    document = json.loads((ready.root / "tank/bhype/vms/web1/vm.json").read_text())
    document["post_start_script"] = "/tmp/script"
    (folder / "vm.json").write_text(json.dumps(document))
    (ready.root / "tmp/script").write_text(f"#!/bin/sh\ntouch {witness}\n")
    evil = Pool.objects.create(host=made.host, name="tmp", is_adopted=True, size=2**40)
    VM.objects.filter(pk=made.pk).update(pool=evil)
    for operation in ("vms.start", "vms.configure"):
        ask(operation, {"vm_id": made.pk}, None)
        assert finish(ready).status == "failed"
    assert json.loads((folder / "vm.json").read_text()) == document
    assert not witness.exists()
    assert ready.nodes() == set()


def test_a_medium_lies_in_the_library_and_nowhere_else(ready, made):
    evil = Pool.objects.create(host=made.host, name="tmp", is_adopted=True)
    for pool, name in ((evil, "x.iso"), (made.pool, "../../../etc/master.passwd"), (made.pool, "a,b.iso")):
        made.devices.all().delete()
        made.devices.create(kind="ahci-cd", iso=Iso.objects.create(pool=pool, name=name))
        with pytest.raises((OperationFailed, CommandError)) as refused:
            place.check(ready.host, made)
        assert (
            "bHype made" in str(refused.value)
            or "medium" in str(refused.value)
            or "exist" in str(refused.value)
        )


@pytest.mark.parametrize(
    "name", ["../x", "tank/other", "a b", "-r", "tank@x", "tank%x", "tank\n", "", "tänk", "x" * 201]
)
def test_a_pool_has_the_name_of_a_pool(made, name):
    made.pool.name = name
    assert place.problem_of(made)


@pytest.mark.parametrize("name", ["../x", "-x", "a/b", "a,b", "a%b", "a b", "A", "web1\n", "", "x" * 41])
def test_a_vm_has_the_name_of_a_vm(made, name):
    made.name = name
    assert place.problem_of(made)


def test_devices_are_those_that_the_forms_offer(made):
    Disk.objects.filter(vm=made, index=0).update(bus="passthru")
    assert "passthru" in place.problem_of(VM.objects.get(pk=made.pk))


def test_the_screen_never_takes_a_port_of_the_hosts_own(made):
    made.vnc_port = 22
    assert "22" in place.problem_of(made)


def test_only_vms_of_bhype_are_cleaned_up(ready, made):
    node = ready.root / "dev/vmm/somebody-elses"
    node.parent.mkdir(exist_ok=True)
    node.write_text("")
    ask("vms.clean_up", {"nodes": ["somebody-elses", "../../etc/passwd"], "taps": ["em0"]}, None)
    assert finish(ready).status == "succeeded"
    assert node.exists()
    node.unlink()


def test_a_pool_below_another_one_is_not_adopted(ready):
    pool = Pool.objects.create(host=Pool.objects.get().host, name="tank/bhype/vms")
    ask("storage.adopt", {"pool_id": pool.pk}, None)
    assert "not the name of a pool" in finish(ready).error


# What equals root on the host (T10): the host itself must allow it.


@pytest.fixture
def rows(ready, alice):
    """A VM of which only the rows are there, on a host with its datasets."""
    pool = Pool.objects.get()
    return VM.objects.create(
        host=pool.host,
        pool=pool,
        owner=alice,
        name="web1",
        memory=2**30,
        vnc_port=5900,
        vnc_password="x",
        state="stopped",
    )


def refused(ready, vm: VM, **entry: object) -> str:
    """Why the worker does not start a VM with this device, whatever its rows say; "" when it would."""
    vm.devices.all().delete()
    device = entry.pop("device")
    vm.devices.create(kind=device, slot="0:20:0", options=entry)
    if device == "passthru":
        vm.settings = {"wire_guest_mem": True}
    try:
        place.check(ready.host, vm)
    except OperationFailed as error:
        return str(error)
    return ""


RAW = {"device": "raw", "value": "virtio-rnd"}
FOLDER = {"device": "virtio-9p", "share": "data", "path": "/srv/data"}
TAP = {"device": "virtio-net", "name": "tap5", "bridge": "sw-nat", "fix": True}
ALLOWED = [
    (RAW, "raw"),
    ({"device": "passthru", "src": "1:0:0"}, "passthru"),
    (FOLDER, "/srv"),
    ({"device": "virtio-input", "path": "/dev/input/event0"}, "/dev/input"),
    ({"device": "hda", "play": "/dev/dsp0"}, "/dev/dsp0"),
    ({"device": "ahci", "ports": [{"type": "hd", "path": "/srv/a.img"}]}, "/srv"),
    ({"device": "uart", "path": "/dev/nmdm-other.1A"}, "raw"),
    ({"device": "virtio-console", "ports": ["/srv/a.sock"]}, "/srv"),
]
IN_OWN_WORDS = [
    {"extra_options": ["-G", "1"]},
    {"options": {"a.b": "c"}},
    {"post_start_script": "/root/x"},
    {"gdb": "1234"},
    {"com2": "tcp=127.0.0.1:4001"},
    {"com2": "/dev/nmdm-other.1A"},
    {"targets": {"x": {"extra_options": ["-G", "1"]}}},
    {"targets": {"x": {"emulations": [TAP]}}},
]


def test_t10_what_equals_root_needs_the_word_of_the_host(ready, rows, settings):
    for entry, word in ALLOWED:
        settings.ALLOW = []
        assert "BHYPE_ALLOW" in refused(ready, rows, **entry), entry
        settings.ALLOW = [word]
        assert refused(ready, rows, **entry) == "", entry
    rows.devices.all().delete()
    for key in IN_OWN_WORDS:
        rows.settings = key
        settings.ALLOW = ["passthru", "/"]
        with pytest.raises(OperationFailed, match='with "raw" in BHYPE_ALLOW'):
            place.check(ready.host, rows)
        settings.ALLOW = ["raw"]
        place.check(ready.host, rows)
    # A loader runs on the host, with what is on the guest's disk.
    rows.settings, settings.ALLOW, rows.firmware = {"loader": {"disk": "/srv/x"}}, ["passthru"], "bhyveload"
    with pytest.raises(OperationFailed, match="BHYPE_ALLOW"):
        place.check(ready.host, rows)


def test_t7_links_are_no_way_out_of_a_folder_that_is_allowed(ready, rows, settings):
    settings.ALLOW = ["/srv"]
    (ready.root / "srv/data").mkdir(parents=True)
    assert refused(ready, rows, **FOLDER) == ""
    (ready.root / "srv/data").rmdir()
    (ready.root / "srv/data").symlink_to(ready.root / "etc")
    assert "BHYPE_ALLOW" in refused(ready, rows, **FOLDER)
    (ready.root / "srv/data").unlink()
    (ready.root / "srv/data").symlink_to(ready.root / "tank/bhype")
    settings.ALLOW = ["/srv", "/tank"]
    assert "bHype's own" in refused(ready, rows, **FOLDER)


NOBODYS = (
    "/tank/bhype/vms/other/disk0.img", "/dev/zvol/tank/bhype/vms/other/disk0", "/tank/bhype", "/srv/../etc/passwd",
    "/srv//x", "/srv/./x", "srv/x", "/srv/a%b", "/var/run/bhype/vms/web1/control.sock", "/dev/vmm/other",
)  # fmt: skip


def test_t7_what_is_bhypes_own_or_no_plain_path_is_nobodys(ready, rows, settings):
    settings.ALLOW = ["raw", "passthru", "/"]
    for path in NOBODYS:
        for entry in ({**FOLDER, "path": path}, {"device": "ahci", "ports": [{"type": "hd", "path": path}]}):
            said = refused(ready, rows, **entry)
            assert said, path
            assert "BHYPE_ALLOW" not in said
        rows.devices.all().delete()
        disk = Disk.objects.create(vm=rows, index=7, slot="0:9:0", backing="path", host_path=path, size=0)
        with pytest.raises(OperationFailed):
            place.check(ready.host, rows)
        disk.delete()


def test_t6_words_of_rows_that_bhyve_would_split_never_reach_it(ready, rows, settings):
    settings.ALLOW = ["raw", "passthru", "/"]
    for entry in (
        {**FOLDER, "share": "a,b"},
        {"device": "virtio-net", "name": "tap0,x"},
        {"device": "nvme", "ram": "1,path=/etc/x"},
        {"device": "toaster"},
    ):
        assert refused(ready, rows, **entry), entry


@pytest.mark.parametrize(
    "more",
    [
        {"extra_options": ["-G", "1"]},
        {"emulations": [RAW]},
        {"emulations": [FOLDER]},
        {"tpm": {"type": "passthru", "path": "/dev/tpm0"}},
        {"targets": {"x": {"emulations": [RAW]}}},
    ],
)
def test_t9_what_is_brought_in_is_asked_the_same(host, pool, alice, more):
    """A document from elsewhere gives its bringer no more than a form would."""
    row = VM(host=host, pool=pool, owner=alice)
    with pytest.raises(wanted.WantedError, match=r"vms\.root"):
        wanted.apply(row, {"name": "x", "cpu": 1, "mem": "1G", "emulations": [], **more}, alice, create=True)
    assert not VM.objects.exists()


def test_every_key_that_equals_root_is_seen_by_the_worker(vm):
    """Whatever vmrun's tables call equal to root is a need here."""
    for name, kind in KINDS.items():
        for key, option in kind.options.items():
            if option.equals_root is True:
                assert place.needs(vm, {"emulations": [{"device": name, key: "/srv/x"}]}), (name, key)
    for key, option in KEYS.items():
        if option.equals_root is True:
            assert place.needs(vm, {key: {"type": "grub"}}), key
