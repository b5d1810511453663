"""OS presets: shipped, changed by admins, reset; each is a VM that bhyve can run."""

from __future__ import annotations

import json

import pytest
from django.core.management.sql import emit_post_migrate_signal

from bhype.vmrun import config as configuration
from bhype.vmrun.devices import DISK, NETWORK_GROUP
from bhype.vmrun.machine import machine
from vms import plan, wanted
from vms.forms import VMForm
from vms.models import VM, OsPreset
from vms.os_templates import documents, presets

GIB = 2**30
# The OS list of the issue.
WANTED = {
    "debian11", "debian12", "ubuntu2004", "ubuntu2204", "ubuntu2404", "almalinux8", "almalinux9", "rockylinux8",
    "rockylinux9", "rhel8", "rhel9", "routeros7", "windows10", "windows11", "winserver2019", "winserver2022",
    "freebsd13", "freebsd14", "fedora", "opensuse", "openbsd", "netbsd", "alpine", "arch",
}  # fmt: skip


def test_the_list_has_all_that_is_wanted_and_a_source_for_each():
    assert presets.shipped().keys() >= WANTED
    for name, entry in presets.shipped().items():
        assert entry["sources"], name
        assert presets.problem_of(entry["document"]) == "", name


def test_they_are_rows_after_the_migrations(db):
    assert set(OsPreset.objects.values_list("name", flat=True)) == presets.shipped().keys()


def test_they_are_rows_after_a_flush(db):
    """It empties the tables and emits the signal, as it does behind tests with transactions of their own."""
    OsPreset.objects.all().delete()
    emit_post_migrate_signal(verbosity=0, interactive=False, db="default")
    assert set(OsPreset.objects.values_list("name", flat=True)) == presets.shipped().keys()


def test_each_is_a_machine(host, pool):
    for number, row in enumerate(OsPreset.objects.all()):
        draft = documents.of_image(row, size=GIB, firmware="uefi", cpus=row.cpus, memory=row.memory)
        vm = VM(host=host, pool=pool, name=f"vm{number}")
        document, sizes = documents.for_vm(draft.document, draft.disks, vm, documents.Wishes(bridge=""))
        made = wanted.apply(vm, document, None, create=True, sizes=sizes).vm
        config = configuration.parse(plan.document(made))
        assert (config.unknown, machine(config).topology.cpus) == ((), row.cpus), row.name
        assert [disk.size for disk in made.disks.all()] == [GIB], row.name


def test_an_admins_change_stays_until_it_is_reset(db):
    row = OsPreset.objects.get(name="debian12")
    row.memory, row.is_own = 5 * GIB, True
    row.save()
    OsPreset.objects.filter(name="debian11").update(title="Old")
    OsPreset.objects.filter(name="arch").delete()
    presets.seed()
    row.refresh_from_db()
    assert row.memory == 5 * GIB
    assert OsPreset.objects.get(name="debian11").title == "Debian 11"
    assert OsPreset.objects.filter(name="arch").exists()
    presets.reset(row)
    assert (OsPreset.objects.get(name="debian12").memory, row.is_own) == (2 * GIB, False)


def test_seeding_again_writes_nothing(db, django_assert_num_queries):
    with django_assert_num_queries(3):  # a savepoint and one look
        presets.seed()


@pytest.mark.parametrize(
    "document",
    [[], {"name": "x"}, {"uuid": "x"}, {"emulations": {}}, {"emulations": [1]}, {"emulations": [{"device": "x"}]},
     {"emulations": [{"device": "virtio-blk", "path": "/etc/passwd"}]},
     {"emulations": [{"device": "virtio-net", "mac": "x"}]}],
)  # fmt: skip
def test_what_is_of_one_vm_alone_is_refused(document):
    assert presets.problem_of(document)


def test_a_vm_without_a_preset_is_plain():
    assert (presets.disk_bus(None), presets.nic_model(None)) == ("virtio-blk", "virtio-net")
    assert presets.frame(None) == {"ignore_msr": True, "emulations": []}
    own = OsPreset(document={"emulations": [{"device": "nvme", "slot": "0:9:0", "ram": 1}]})
    assert presets.pattern(own, DISK) == {"device": "nvme", "ram": 1}
    assert presets.pattern(own, NETWORK_GROUP) == {"device": "virtio-net"}


def test_the_create_form_begins_with_what_the_system_wants(host, pool, switch, admin):
    form = VMForm(user=admin, initial={"preset": "windows11"})
    data = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    assert (data["cpus"], data["memory"], data["disk_size"], data["disk_bus"]) == (
        2,
        "4G",
        ["64G"],
        "ahci-hd",
    )
    assert (data["nic_model"], data["utc_clock"], data["has_serial"], data["has_screen"]) == (
        "e1000",
        False,
        False,
        True,
    )
    data |= {"name": "win", "switch": switch.pk, "pool": pool.pk, "owner": admin.pk, "iso": ""}
    form = VMForm(data, user=admin)
    assert form.is_valid(), form.errors
    vm, _ = form.save(admin)
    vm = VM.objects.get(pk=vm.pk)
    assert (vm.disks.get().bus, vm.disks.get().options) == ("ahci-hd", {"logical_sector_size": 512})
    assert (vm.nics.get().model, vm.settings["tpm"]) == ("e1000", {"type": "swtpm", "version": "2.0"})


def test_another_bus_than_the_systems_has_none_of_its_options(host, pool, admin):
    data = {
        "name": "win",
        "preset": "windows11",
        "cpus": 1,
        "memory": "1G",
        "disk_size": ["1G"],
        "disk_bus": "nvme",
    }
    form = VMForm(data, user=admin)
    assert form.is_valid(), form.errors
    vm, _ = form.save(admin)
    assert (vm.disks.get().bus, vm.disks.get().options) == ("nvme", {})


# Pages and API.


def test_admins_change_reset_and_add_presets(host, admin, as_user):
    client = as_user(admin)
    page = client.get("/vms/_presets/debian12/").content.decode()
    assert "vm-bhyve" in page
    data = {
        "title": "Mine", "family": "Debian", "cpus": 4, "memory": "3G", "disk_size": "9G", "login": "x",
        "cloud_init": "",
        "document": json.dumps({"emulations": [{"device": "nvme"}]}), "notes": "",
    }  # fmt: skip
    assert client.post("/vms/_presets/debian12/", data).status_code == 302
    row = OsPreset.objects.get(name="debian12")
    assert (row.title, row.cpus, row.memory, row.is_own, presets.disk_bus(row)) == (
        "Mine",
        4,
        3 * GIB,
        True,
        "nvme",
    )
    for wrong in ({"document": "{"}, {"document": "[]"}, {"cpus": 0}, {"memory": "1M"}, {"disk_size": "x"}):
        answer = client.post("/vms/_presets/debian12/", data | wrong)
        assert answer.status_code == 422, wrong
        assert b"is-invalid" in answer.content
    assert client.post("/vms/_presets/debian12/do/", {"do": "remove"}).status_code == 400
    assert client.post("/vms/_presets/debian12/do/", {"do": "reset"}).status_code == 302
    assert OsPreset.objects.get(name="debian12").title == "Debian 12"
    assert client.post("/vms/_presets/new/", data | {"name": "own"}).status_code == 302
    assert client.post("/vms/_presets/new/", data | {"name": "own"}).status_code == 422
    assert client.post("/vms/_presets/own/do/", {"do": "remove"}).status_code == 302
    assert not OsPreset.objects.filter(name="own").exists()


def test_others_see_no_such_pages(host, operator, as_user):
    for path in ("", "new/", "debian12/"):
        assert as_user(operator).get(f"/vms/_presets/{path}").status_code == 404
