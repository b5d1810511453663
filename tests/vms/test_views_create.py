"""The create form: ten seconds, errors beside fields, nothing lost, nothing made twice."""

from __future__ import annotations

import pytest

from bhype.accounts.models import AuditEntry
from bhype.tasks.models import Task
from storage.models import Iso
from vms.models import VM

GIB = 2**30
QUICK = {"name": "shop", "cpus": "2", "memory": "2 GiB", "disk_size": "20G", "start": "on"}
ADVANCED = {"has_screen": "on", "screen": "1280x720", "has_serial": "on", "utc_clock": "on"}


def test_the_form_is_filled_in_already(as_user, operator, pool, switch):
    html = as_user(operator).get("/vms/new/").content.decode()
    assert 'value="vm1"' in html
    assert "left" in html
    assert 'data-memory-left="' in html


def test_creating_makes_the_row_asks_the_task_and_leads_to_the_vm(as_user, operator, pool, switch):
    iso = Iso.objects.create(pool=pool, name="debian.iso", size=1)
    data = QUICK | ADVANCED | {"switch": switch.pk, "iso": iso.pk}
    response = as_user(operator).post("/vms/new/", data)
    assert response.url == "/vms/shop/"
    vm = VM.objects.get()
    assert (vm.owner, vm.state, vm.cpus, vm.memory, vm.iso) == (operator, "creating", 2, 2 * GIB, iso)
    task = Task.objects.get()
    assert task.operation == "vms.create"
    assert task.params == {"vm_id": vm.pk, "start": True}
    assert AuditEntry.objects.filter(action="vms.create", object="vm shop", task_id=task.pk).exists()


def test_several_disks_come_in_order(as_user, operator, pool, switch):
    as_user(operator).post("/vms/new/", QUICK | ADVANCED | {"disk_size": ["20G", "100G"]})
    assert list(VM.objects.get().disks.values_list("index", "size")) == [(0, 20 * GIB), (1, 100 * GIB)]


def test_a_second_submit_makes_no_second_vm(as_user, operator, pool, switch):
    client = as_user(operator)
    client.post("/vms/new/", QUICK | ADVANCED)
    response = client.post("/vms/new/", QUICK | ADVANCED)
    assert response.status_code == 422
    assert 'id="id_name_error"' in response.content.decode()
    assert VM.objects.count() == Task.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""), ("name", "-web"), ("name", "web server"), ("name", "web%"), ("name", "we\nb"),
        ("name", "we\0b"), ("name", "\u0412\u0435\u0431"), ("name", "w" * 41), ("name", "new"),
        ("name", "web-"), ("cpus", "0"),
        ("cpus", "many"), ("cpus", "9" * 30), ("memory", "900T"), ("memory", "-1"),
        ("memory", "2X"), ("disk_size", "huge"), ("disk_size", "9999T"), ("iso", "999"), ("mac", "zz"),
        ("iso", "../../etc/passwd"), ("switch", "999"), ("pool", "999"), ("owner", "999"), ("screen", "1x1"),
        ("nic_model", "rtl8139"), ("disk_bus", "floppy"), ("tags", "Bad Tag"), ("tags", "x" * 601),
    ],
)  # fmt: skip
def test_bad_input_is_refused_beside_its_field_and_the_rest_is_kept(
    as_user, operator, pool, switch, field, value
):
    data = QUICK | ADVANCED | {"notes": "do not lose me", "switch": switch.pk, field: value}
    response = as_user(operator).post("/vms/new/", data)
    html = response.content.decode()
    assert response.status_code == 422
    assert f'id="id_{field}_error"' in html
    assert "do not lose me" in html
    assert VM.objects.count() == Task.objects.count() == 0


def test_only_those_who_may_create_see_it(as_user, client, viewer, alice, stranger, pool):
    assert client.get("/vms/new/").status_code == 302
    for user in (viewer, alice, stranger):
        assert as_user(user).get("/vms/new/").status_code == 404
        assert as_user(user).post("/vms/new/", QUICK).status_code == 404
    assert VM.objects.count() == 0


def test_an_operator_cannot_give_a_vm_to_somebody_else(as_user, operator, alice, pool, switch):
    response = as_user(operator).post("/vms/new/", QUICK | ADVANCED | {"owner": alice.pk})
    assert response.status_code == 422
    assert VM.objects.count() == 0


def test_without_a_pool_it_says_what_to_do(as_user, operator, host):
    response = as_user(operator).post("/vms/new/", QUICK | ADVANCED)
    assert response.status_code == 422
    assert "storage page" in response.content.decode()


def test_a_message_with_markup_stays_text(as_user, operator, pool, switch):
    html = as_user(operator).post("/vms/new/", QUICK | {"name": "<script>alert(1)</script>"}).content.decode()
    assert "<script>alert" not in html
