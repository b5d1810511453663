from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bhype.tasks.models import Task
from storage.models import Dataset, Iso
from vms import plan
from vms.forms import EditVMForm, VMForm, values
from vms.models import VM, Nic

GOOD = {
    "name": "db1", "cpus": "2", "memory": "2G", "disk_size": ["20G"], "has_screen": "on", "screen": "1024x768",
    "has_serial": "on", "utc_clock": "on",
}  # fmt: skip


@pytest.fixture
def iso(pool) -> Iso:
    return Iso.objects.create(pool=pool, name="debian.iso", size=1)


def filled(user, **data: object) -> VMForm:
    return VMForm({**GOOD, **data}, user=user)


def test_it_makes_rows_and_asks_for_the_creation(operator, pool, switch, iso):
    form = filled(
        operator, iso=str(iso.pk), switch=str(switch.pk), tags="web, prod,web", notes="a\r\nb", start="on"
    )
    assert form.is_valid(), form.errors
    vm, task = form.save(operator)
    assert (vm.name, vm.cpus, vm.memory, vm.owner, vm.pool, vm.iso) == ("db1", 2, 2**31, operator, pool, iso)
    assert vm.state == "creating"
    assert vm.notes == "a\nb"
    assert [tag.name for tag in vm.tags.all()] == ["prod", "web"]
    assert [(disk.index, disk.size, disk.bus) for disk in vm.disks.all()] == [(0, 20 * 2**30, "virtio-blk")]
    assert [(nic.switch, nic.model) for nic in vm.nics.all()] == [(switch, "virtio-net")]
    assert (task.operation, task.params, task.subject) == (
        "vms.create",
        {"vm_id": vm.pk, "start": True},
        vm.subject,
    )
    assert task.title == "Create db1"


def test_it_takes_several_disks_or_none(operator, pool):
    form = filled(operator, disk_size=["1G", "512M", ""])
    assert form.is_valid(), form.errors
    vm, _ = form.save(operator)
    assert [disk.size for disk in vm.disks.all()] == [2**30, 2**29]
    form = filled(operator, name="none", disk_size="0")
    assert form.is_valid(), form.errors
    assert not form.save(operator)[0].disks.exists()


BAD = [
    ("name", ""), ("name", "-db"), ("name", "db-"), ("name", "Db1"), ("name", "db 1"), ("name", " db1"),
    ("name", "db1 "),
    ("name", "db%1"), ("name", "db1\n"), ("name", "db\0"), ("name", "дб"), ("name", "\uff44b"), ("name", "1db"),
    ("name", "a" * 41), ("name", "web1"), ("name", "new"), ("name", "bulk"), ("name", "a/b"), ("name", ".."),
    ("name", "a@b"), ("name", "db_1"),
    ("cpus", ""), ("cpus", "0"), ("cpus", "-1"), ("cpus", "9"), ("cpus", "x"), ("cpus", "1.5"), ("cpus", "9" * 30),
    ("memory", ""), ("memory", "0"), ("memory", "1"), ("memory", "-2G"), ("memory", "2X"), ("memory", "31.5G"),
    ("memory", "64G"), ("memory", "2000000T"), ("memory", "2\nG"), ("memory", "33554433"),
    ("disk_size", ""), ("disk_size", "x"), ("disk_size", "101G"), ("disk_size", "-1G"), ("disk_size", "1K"),
    ("disk_size", ["1G"] * 33), ("disk_size", ["1G", "0"]), ("disk_size", "1000000T"),
    ("iso", "999"), ("iso", "x"), ("iso", "../../etc/passwd"), ("iso", "/etc/passwd"),
    ("switch", "999"), ("switch", "sw-nat"), ("pool", "999"), ("owner", "999"),
    ("disk_bus", "ide"), ("nic_model", "rtl8139"), ("screen", "1x1"), ("screen", "1024x768,vga=on"),
    ("mac", "58:9c:fc:00:00:01"), ("mac", "58-9C-FC-00-00-02"), ("mac", "01:00:00:00:00:01"), ("mac", "x"),
    ("mac", "00:00:00:00:00:00"), ("mac", "58:9c:fc:00:00:02,mtu=1"),
    ("tags", "Web"), ("tags", "a b"), ("tags", "-a"), ("tags", "a" * 33),
    ("tags", ",".join(f"t{n}" for n in range(17))),
    ("tags", "a\0"), ("notes", "x" * 10_001), ("notes", "a\0b"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD)
def test_bad_input_is_refused_beside_its_field(operator, vm, switch, field, value):
    before = VM.objects.count()
    data = {"switch": str(switch.pk)} if field == "mac" else {}
    form = filled(operator, **data, **{field: value})
    assert not form.is_valid()
    assert list(form.errors) == [field]
    assert VM.objects.count() == before
    assert not Task.objects.exists()


def test_a_mac_address_without_a_switch_is_refused(operator, pool):
    form = filled(operator, mac="58:9c:fc:00:00:02")
    assert not form.is_valid()
    assert "mac" in form.errors


def test_a_host_without_a_pool_says_what_to_do(operator, host):
    form = filled(operator)
    assert not form.is_valid()
    assert "Adopt one" in form.errors["pool"][0]


def test_a_dataset_in_the_way_is_refused_beside_the_name(operator, pool):
    Dataset.objects.create(pool=pool, name="tank/bhype/vms/db1", kind="filesystem")
    form = filled(operator)
    assert not form.is_valid()
    assert "tank/bhype/vms/db1" in form.errors["name"][0]


def test_only_admins_choose_another_owner(operator, admin, alice, pool):
    assert not filled(operator, owner=str(alice.pk)).is_valid()
    form = filled(admin, owner=str(alice.pk))
    assert form.is_valid(), form.errors
    assert form.save(admin)[0].owner == alice


def test_of_two_with_one_name_the_second_is_refused_beside_the_name(operator, pool):
    first, second = filled(operator), filled(operator)
    assert first.is_valid() and second.is_valid()
    assert first.save(operator)
    assert second.save(operator) is None
    assert "already a VM" in second.errors["name"][0]
    assert VM.objects.count() == Task.objects.count() == 1


def test_of_two_with_one_mac_address_the_second_is_refused_beside_it(operator, pool, switch):
    data = {"switch": str(switch.pk), "mac": "58:9c:fc:00:00:02"}
    first, second = filled(operator, **data), filled(operator, name="db2", **data)
    assert first.is_valid() and second.is_valid()
    assert first.save(operator)
    assert second.save(operator) is None
    assert "mac" in second.errors
    assert Nic.objects.count() == VM.objects.count() == 1


def test_who_may_not_create_is_refused_and_nothing_is_made(stranger, pool):
    form = filled(stranger)
    assert form.is_valid(), form.errors
    assert form.save(stranger) is None
    assert form.errors
    assert not VM.objects.exists()


def test_each_vm_has_a_port_of_its_own(operator, vm, pool, settings):
    settings.VNC_FIRST_PORT = vm.vnc_port
    ports = set()
    for number in range(3):
        form = filled(operator, name=f"x{number}")
        assert form.is_valid()
        ports.add(form.save(operator)[0].vnc_port)
    assert ports == {5901, 5902, 5903}


def test_a_fresh_form_suggests_name_pool_and_switch(operator, vm, pool, switch):
    form = VMForm(user=operator)
    assert form.initial["name"] == "vm1"
    assert form.initial["pool"] == pool
    assert form.initial["switch"] == switch


TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.dictionaries(st.sampled_from(sorted(VMForm.base_fields)), TEXT))
def test_no_text_breaks_the_form(operator, pool, data):
    form = VMForm({**GOOD, **data}, user=operator)
    if form.is_valid():
        assert form.cleaned_data["memory"] >= plan.MEMORY_MIN


def edit(user, vm, **data: object) -> EditVMForm:
    wanted = {name: value for name, value in values(vm).items() if value or name == "revision"}
    wanted["tags"] = ",".join(wanted.get("tags", []))
    return EditVMForm({**wanted, **data}, user=user, vm=vm)


def test_a_change_raises_the_revision_and_asks_for_a_new_configuration(alice, vm):
    form = edit(alice, vm, memory="4G", tags="new")
    assert form.is_valid(), form.errors
    changed, task = form.save(alice)
    assert (changed.memory, changed.revision, changed.owner) == (2**32, 2, alice)
    assert [tag.name for tag in changed.tags.all()] == ["new"]
    assert task.operation == "vms.configure"


def test_notes_alone_need_no_new_configuration(alice, vm):
    form = edit(alice, vm, notes="hello")
    assert form.is_valid(), form.errors
    changed, task = form.save(alice)
    assert changed.notes == "hello"
    assert task is None


def test_a_form_that_is_out_of_date_changes_nothing(alice, vm):
    form = edit(alice, VM.objects.get(), memory="4G")
    VM.objects.filter(pk=vm.pk).update(revision=7)
    vm.refresh_from_db()
    stale = edit(alice, vm, memory="4G", revision="1")
    assert not stale.is_valid()
    assert stale.is_stale
    assert form.is_valid()  # it was checked before the other change came
    assert form.save(alice) is None
    assert form.is_stale
    vm.refresh_from_db()
    assert vm.memory == 2**31


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, v in BAD if f in EditVMForm.base_fields])
def test_a_bad_change_is_refused_beside_its_field(alice, vm, field, value):
    form = edit(alice, vm, **{field: value})
    assert not form.is_valid()
    assert list(form.errors) == [field]


def test_an_owner_cannot_give_a_vm_away(alice, admin, stranger, vm):
    assert not edit(alice, vm, owner=str(stranger.pk)).is_valid()
    form = edit(admin, vm, owner=str(stranger.pk))
    assert form.is_valid(), form.errors
    assert form.save(admin)[0].owner == stranger
