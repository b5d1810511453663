"""Addresses are given to VMs, follow their ports, and go with them."""

from __future__ import annotations

import json

import pytest

from bhype.accounts.models import ApiToken
from bhype.cloudinit import Invalid
from network.addresses.allocate import Taken, allocate
from network.models import AddressPool, Allocation, Lease, Switch
from storage.models import Dataset
from tests.vms.deploy.test_deploy_pages import filled, golden  # noqa: F401
from vms import plan, wanted
from vms.cloud_init import changes
from vms.models import VM
from vms.transfer import copies


@pytest.fixture
def static(switch) -> AddressPool:
    """Three addresses, on a switch with DHCP and names."""
    Switch.objects.update(has_dhcp=True, has_dns=True)
    switch.refresh_from_db()
    return AddressPool.objects.create(switch=switch, purpose="static", first="10.77.0.10", last="10.77.0.12")


@pytest.fixture
def other(host) -> Switch:
    made = Switch.objects.create(host=host, name="lan2", kind="nat", address="10.78.0.1/24", has_dhcp=True)
    AddressPool.objects.create(switch=made, purpose="static", first="10.78.0.10", last="10.78.0.12")
    return made


def given() -> dict[str, str]:
    return {row.address: f"{row.kind} {row.port}" for row in Allocation.objects.all()}


def told(vm) -> dict:
    vm.refresh_from_db()
    return vm.cloud_init["networks"][0]


def plug(vm, switch, user):
    """Move the VM's port to another switch, as its form does."""
    vm = wanted.load(vm.pk)
    document = plan.document(vm)
    (port,) = [entry for entry in document["emulations"] if "bridge" in entry]
    port["bridge"] = switch.interface
    return wanted.save(vm, document, user)[0]


# Deploying.


def test_a_deployed_vm_takes_the_next_free_address_with_all_that_belongs_to_it(
    golden, static, operator, as_user  # noqa: F811
):  # fmt: skip
    Switch.objects.update(address6="fd00:77::1/64")
    AddressPool.objects.create(
        switch=static.switch, purpose="static", first="fd00:77::10", last="fd00:77::12"
    )
    answer = as_user(operator).post("/vms/deploy/", filled(operator, name="web1", addressing="pool"))
    assert answer.status_code == 302, answer.context["form"].errors
    vm = VM.objects.get()
    key = f"static nic:{vm.nics.get().pk}"
    assert given() == {"10.77.0.10": key, "fd00:77::10": key}
    assert told(vm) == {
        "nic": 0, "addresses": ["10.77.0.10/24", "fd00:77::10/64"], "gateway4": "10.77.0.1",
        "gateway6": "fd00:77::1", "nameservers": ["10.77.0.1", "fd00:77::1"], "search": ["nat.internal"],
    }  # fmt: skip
    vm.delete()
    assert given() == {}


def test_a_static_lease_needs_nothing_in_the_guest(golden, static, operator, as_user):  # noqa: F811
    golden.cloud_init_kind = ""
    golden.save()
    client = as_user(operator)
    assert client.post("/vms/deploy/", filled(operator, name="web1", addressing="lease")).status_code == 302
    assert given() == {"10.77.0.10": f"lease nic:{VM.objects.get().nics.get().pk}"}
    answer = client.post("/vms/deploy/", filled(operator, name="web2", addressing="pool"))
    assert "Nothing in this guest reads" in str(answer.context["form"].errors["addressing"])
    assert VM.objects.count() == 1


def test_many_take_as_many_or_none(golden, static, operator, as_user):  # noqa: F811
    client = as_user(operator)
    answer = client.post("/vms/deploy/", filled(operator, name="web{1..4}", addressing="pool"))
    assert answer.status_code == 422 and not VM.objects.exists()
    assert "have 3 free IPv4 addresses; needed: 4" in str(answer.context["form"].errors["addressing"])
    assert (
        client.post("/vms/deploy/", filled(operator, name="web{1..3}", addressing="pool")).status_code == 302
    )
    assert [told(vm)["addresses"] for vm in VM.objects.order_by("name")] == [
        ["10.77.0.10/24"], ["10.77.0.11/24"], ["10.77.0.12/24"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "field", "why"),
    [
        ({"addressing": "typed"}, "address", "Type the address"),
        ({"addressing": "pool", "address": "10.77.0.10/24"}, "addressing", "is typed under Advanced"),
        ({"addressing": "lease", "switch": ""}, "switch", "needs a switch"),
        ({"addressing": "x"}, "addressing", "valid choice"),
        ({"address": "10.77.0.1/24"}, "address", "the host's own address"),
        ({"address": "10.77.0.200/24"}, "address", "leased to mail"),
        ({"address": "10.77.0.11/24"}, "address", "belongs to printer"),
    ],
)
def test_an_address_that_cannot_be_is_refused_beside_its_field(
    golden, static, operator, words, field, why  # noqa: F811
):  # fmt: skip
    from vms.deploy.forms import DeployForm

    Lease.objects.create(
        switch=static.switch, address="10.77.0.200", mac="58:9c:fc:00:00:99", hostname="mail"
    )
    allocate(static.switch, "", "lease", address="10.77.0.11", mac="58:9c:fc:00:00:98", hostname="printer")
    form = DeployForm(filled(operator, name="web1") | words, user=operator)
    assert not (form.is_valid() and form.save())
    assert why in str(form.errors[field].as_data())
    assert not VM.objects.exists()


def test_a_typed_address_gets_the_router_and_the_name_servers_of_its_switch(
    golden, static, operator, as_user  # noqa: F811
):  # fmt: skip
    data = filled(operator, name="web1", addressing="typed", address="10.77.0.40/24")
    assert as_user(operator).post("/vms/deploy/", data).status_code == 302
    network = told(VM.objects.get())
    assert (network["gateway4"], network["nameservers"]) == ("10.77.0.1", ["10.77.0.1"])
    assert "10.77.0.40" in given()


def test_an_address_in_no_subnet_of_the_switch_is_told_of(golden, static, operator, as_user):  # noqa: F811
    client, said = as_user(operator), "10.99.0.40 is not in the subnet of nat, 10.77.0.0/24"
    data = filled(operator, name="web1", addressing="typed", address="10.99.0.40/24")
    assert said in client.post("/vms/deploy/", data, follow=True).content.decode()
    assert said in client.get("/vms/web1/cloud-init/").content.decode()
    assert given() == {}
    Switch.objects.update(address="")  # the host is not there, and knows no better
    assert said not in client.get("/vms/web1/cloud-init/").content.decode()


def test_the_api_deploys_with_addresses(golden, static, operator, client):  # noqa: F811
    _, secret = ApiToken.objects.issue(operator, "t", "full", None)
    call = {"HTTP_AUTHORIZATION": f"Bearer {secret}", "content_type": "application/json"}
    body = {"template": "golden", "name": "web1", "addressing": "pool", "start": False}
    assert client.post("/api/v1/vms/deploy", json.dumps(body), **call).status_code == 202
    VM.objects.update(state="stopped")
    (nic,) = client.get("/api/v1/vms/web1", **call).json()["nics"]
    assert nic["addresses"] == [{"address": "10.77.0.10", "source": "static"}]
    assert client.get("/api/v1/vms?q=10.77.0.1", **call).json()["count"] == 1
    assert client.get("/api/v1/vms?q=10.77.0.99", **call).json()["count"] == 0


# Changing.


def test_what_a_guest_is_told_is_its_own_until_it_is_told_something_else(vm, static, alice):
    def tell(*addresses):
        settings = {"kind": "cloud-init", "networks": [{"nic": 0, "addresses": list(addresses)}]}
        return changes.save(vm, settings if addresses else {}, alice)

    key = f"static nic:{vm.nics.get().pk}"
    tell("10.77.0.10/24", "192.168.5.5/24")
    assert given() == {"10.77.0.10": key}  # the other is in no subnet of the switch
    with pytest.raises(Taken, match="belongs to web1"):
        allocate(static.switch, "nic:999", "static", address="10.77.0.10")
    allocate(static.switch, "nic:999", "static", address="10.77.0.11")
    with pytest.raises(Invalid, match="belongs to somebody"):
        tell("10.77.0.11/24")
    assert given()["10.77.0.10"] == key  # nothing was changed
    tell("10.77.0.12/24")
    assert given() == {"10.77.0.12": key, "10.77.0.11": "static nic:999"}
    tell()
    assert set(given()) == {"10.77.0.11"}


def test_a_static_lease_follows_its_port_to_another_switch(vm, static, other, admin):
    key = f"nic:{vm.nics.get().pk}"
    allocate(static.switch, key, "lease")
    change = plug(vm, other, admin)
    assert given() == {"10.78.0.10": f"lease {key}"}
    assert change.notes == ("Its static lease is 10.78.0.10 of lan2 now; 10.77.0.10 of nat is free again.",)
    assert plug(vm, other, admin).notes == ()
    AddressPool.objects.filter(switch=static.switch).delete()
    assert "nothing in its place" in plug(vm, static.switch, admin).notes[0]
    assert given() == {}


def test_an_address_in_the_guest_cannot_follow(vm, static, other, alice, admin):
    settings = {"kind": "cloud-init", "networks": [{"nic": 0, "addresses": ["10.77.0.10/24"]}]}
    changes.save(vm, settings, alice)
    assert "set another there" in plug(vm, other, admin).notes[0]
    assert given() == {}


def test_a_copy_gets_a_static_lease_of_its_own(vm, static, pool, admin):
    key = f"nic:{vm.nics.get().pk}"
    allocate(static.switch, key, "lease")
    for name in (vm.dataset, f"{vm.dataset}/disk0"):
        Dataset.objects.create(pool=pool, name=name, kind="filesystem", bhype_id=str(vm.uuid))
    copy, _ = copies.make(vm, "web2", admin)
    assert given() == {"10.77.0.10": f"lease {key}", "10.77.0.11": f"lease nic:{copy.nics.get().pk}"}


def test_a_renamed_vm_keeps_and_a_removed_port_loses(vm, static):
    nic = vm.nics.get()
    allocate(static.switch, f"nic:{nic.pk}", "lease")
    VM.objects.filter(pk=vm.pk).update(name="web9")
    assert len(given()) == 1
    nic.delete()
    assert given() == {}


def test_the_settings_of_cloud_init_offer_the_next_free_address(vm, static, as_user, alice):
    client = as_user(alice)
    assert "next free of the switch (10.77.0.10)" in client.get("/vms/web1/cloud-init/edit/").content.decode()
    answer = client.post(
        "/vms/web1/cloud-init/edit/", {"revision": vm.revision, "kind": "cloud-init", "net0_mode": "pool"}
    )
    assert answer.status_code == 302, answer.context["form"].errors
    assert told(vm)["addresses"] == ["10.77.0.10/24"] and told(vm)["gateway4"] == "10.77.0.1"
    assert "10.77.0.10" in given()
    vm.refresh_from_db()
    words = {"kind": "cloud-init", "net0_mode": "static", "net0_addresses": "10.77.0.1/24"}
    answer = client.post("/vms/web1/cloud-init/edit/", {"revision": vm.revision, **words})
    assert "own address" in str(answer.context["form"].errors["net0_addresses"])


def test_a_new_vm_can_have_a_static_lease(static, pool, operator, as_user):
    _, secret = ApiToken.objects.issue(operator, "t", "full", None)
    call = {"HTTP_AUTHORIZATION": f"Bearer {secret}", "content_type": "application/json"}
    client = as_user(operator)
    body = {"name": "new1", "switch": "nat", "static_lease": True}
    assert client.post("/api/v1/vms", json.dumps(body), **call).status_code == 202
    assert given() == {"10.77.0.10": f"lease nic:{VM.objects.get().nics.get().pk}"}
    body |= {"name": "new2", "switch": None}
    answer = client.post("/api/v1/vms", json.dumps(body), **call)
    assert (answer.status_code, answer.json()["field"]) == (422, "static_lease")


def test_a_switch_without_dhcp_offers_its_pool_first(golden, static, operator):  # noqa: F811
    Switch.objects.update(has_dhcp=False)
    assert filled(operator)["addressing"] == "pool"


def test_pages_show_and_find_addresses(vm, static, as_user, alice, stranger):
    nic = vm.nics.get()
    Lease.objects.create(switch=static.switch, address="10.77.0.123", mac=nic.mac)
    client = as_user(alice)
    assert "10.77.0.123" in client.get("/vms/web1/").content.decode()
    assert "10.77.0.123" in client.get("/vms/?q=77.0.123").content.decode()
    assert "web1" not in client.get("/vms/?q=77.0.124", headers={"HX-Target": "vm-table"}).content.decode()
    assert "web1" in client.get("/search/?q=10.77.0.123").content.decode()
    assert "web1" not in as_user(stranger).get("/search/?q=10.77.0.123").content.decode()
