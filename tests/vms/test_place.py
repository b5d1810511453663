"""Rows are written by a process that is not root; root's worker follows none of them out of bHype's datasets."""

from __future__ import annotations

import json

import pytest

from bhype.host import CommandError
from bhype.tasks import OperationFailed, ask
from storage.models import Iso, Pool
from tests.vms.test_operations import finish, maker, new_vm  # noqa: F401
from vms import place
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
