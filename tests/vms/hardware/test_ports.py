"""Network ports on switches of every technology: isolation, VLANs, guard; who may choose them; moving while it runs."""

from __future__ import annotations

import pytest

from bhype.tasks.models import Task
from bhype.vmrun.config import parse
from network.models import Switch
from vms import place, plan, wanted
from vms.models import VM, Nic

from .test_hardware import fields

PAGE = "/vms/web1/hardware/at/0-10-0/"


@pytest.fixture
def lan(host):
    return Switch.objects.create(host=host, name="lan", kind="private")


def document() -> dict:
    return plan.document(wanted.load(VM.objects.get().pk))


def entry() -> dict:
    return next(one for one in document()["emulations"] if one["device"] == "virtio-net")


def send(client, **changes):
    sent = fields(client.get(PAGE)) | changes
    return client.post(PAGE, {key: value for key, value in sent.items() if value is not None})


def test_an_isolated_switch_sets_its_ports_apart_and_leaves_them_as_they_were(vm, switch):
    Switch.objects.update(is_isolated=True)
    assert entry()["private"] is True
    wanted.apply(wanted.load(vm.pk), document(), None)
    assert Nic.objects.get().options == {}
    Switch.objects.update(is_isolated=False)
    assert "private" not in entry()


def test_a_port_of_a_vale_switch_has_no_tap(vm, switch):
    Switch.objects.update(technology="vale")
    nic = Nic.objects.select_related("switch").get()
    found = entry()
    assert (found["type"], found["name"]) == ("vale", f"vale{switch.pk}:{1000 + nic.pk}")
    parse(document())
    row = wanted.load(vm.pk)
    assert [need for need in place.needs(row, document(), {nic.port}) if "net" in need.where] == []
    assert not wanted.apply(row, document(), None).is_change


def test_it_moves_from_a_bridge_to_vale_and_back(as_user, alice, vm, lan):
    Switch.objects.filter(name="lan").update(technology="vale")
    assert send(as_user(alice), switch="sw-lan").status_code == 302
    assert (entry()["type"], entry()["bridge"]) == ("vale", "sw-lan")
    assert send(as_user(alice), switch="sw-nat").status_code == 302
    assert (entry()["type"], entry()["name"]) == ("tap", Nic.objects.get().tap)


def test_a_running_guest_is_plugged_into_the_other_switch_at_once(as_user, alice, vm, lan):
    VM.objects.update(state="running", running=document())
    assert send(as_user(alice), switch="sw-lan").status_code == 302
    assert "vms.plug" in set(Task.objects.values_list("operation", flat=True))
    assert Task.objects.get(operation="vms.plug").title.endswith("of web1 into lan")


def test_one_of_vale_waits_for_the_next_start(as_user, alice, vm, lan):
    Switch.objects.filter(name="lan").update(technology="vale")
    VM.objects.update(state="running", running=document())
    send(as_user(alice), switch="sw-lan")
    assert "vms.plug" not in set(Task.objects.values_list("operation", flat=True))


def test_vlans_are_for_those_who_may_change_networks(as_user, alice, admin, vm):
    Switch.objects.update(has_vlans=True)
    send(as_user(alice), vlan="10", tagged="20-30")
    assert Nic.objects.get().options == {}
    assert send(as_user(admin), vlan="10", tagged="20-30").status_code == 302
    assert Nic.objects.get().options == {"vlan": 10, "tagged": "20-30"}
    # What an admin has chosen stays when the owner changes something else.
    assert send(as_user(alice), mtu="1400").status_code == 302
    assert Nic.objects.get().options["vlan"] == 10


@pytest.mark.parametrize("keys", [{"vlan": 11}, {"vlan": None}, {"tagged": "all"}, {"bridge": "sw-lan"}])
def test_an_owner_takes_no_port_out_of_its_vlan_by_its_document(vm, alice, lan, keys):
    Switch.objects.update(has_vlans=True)
    Nic.objects.update(options={"vlan": 10})
    changed = document()
    next(one for one in changed["emulations"] if one["device"] == "virtio-net").update(keys)
    field = "tagged" if "tagged" in keys else "vlan"
    with pytest.raises(wanted.WantedError) as caught:
        wanted.apply(wanted.load(vm.pk), changed, alice)
    assert field in {fault.field for fault in caught.value.faults}


def test_an_owner_may_set_a_port_apart_but_not_together(vm, alice):
    def change(value: bool | None):
        changed = document()
        next(one for one in changed["emulations"] if one["device"] == "virtio-net")["private"] = value
        wanted.apply(wanted.load(vm.pk), changed, alice)

    change(True)
    assert Nic.objects.get().options == {"private": True}
    with pytest.raises(wanted.WantedError):
        change(None)


def test_ports_of_a_switch_without_vlans_are_in_none(as_user, admin, vm):
    answer = send(as_user(admin), vlan="10")
    assert answer.status_code == 422
    assert "make a switch for each VLAN" in answer.context["form"].errors["vlan"][0]
    assert send(as_user(admin), tagged="all").status_code == 302


def test_the_guard_of_a_port_is_for_those_who_may_change_networks(as_user, alice, admin, vm):
    sent = {"index": Nic.objects.get().index, "guard": "off"}
    assert as_user(alice).post("/vms/web1/hardware/guard/", sent).status_code == 404
    assert as_user(admin).post("/vms/web1/hardware/guard/", sent).status_code == 302
    assert Nic.objects.get().may_spoof
    answer = as_user(admin).post("/vms/web1/hardware/guard/", sent | {"guard": "on"}, HTTP_HX_REQUEST="true")
    assert answer.status_code == 204 and "toast" in answer["HX-Trigger"]
    assert not Nic.objects.get().may_spoof


def test_a_switch_page_leads_to_the_cable_and_the_guard_of_its_ports(as_user, alice, admin, vm):
    index = Nic.objects.get().index
    page = as_user(admin).get("/network/switches/nat/").content.decode()
    assert f'href="/vms/web1/hardware/?index={index}" data-menu' in page and 'id="menu"' in page

    address = f"/vms/web1/hardware/menu/?index={index}"
    menu = as_user(admin).get(address).content.decode()
    assert f'hx-post="/vms/web1/hardware/link/" hx-vals=\'{{"index":"{index}","link":"down"}}\'' in menu
    assert f'hx-post="/vms/web1/hardware/guard/" hx-vals=\'{{"index":"{index}","guard":"off"}}\'' in menu
    Nic.objects.update(options={"link": "down"}, may_spoof=True)
    menu = as_user(admin).get(address).content.decode()
    assert "Plug the cable in" in menu and "Let it send in its own name only" in menu

    for wrong in ("?index=7", "?index=-1", "?index=x", "?index=99999", "?index=%C2%B2", ""):
        assert as_user(admin).get(f"/vms/web1/hardware/menu/{wrong}").status_code == 404
    assert as_user(alice).get(address).status_code == 404


def test_a_switch_page_of_fifty_ports_is_small(as_user, admin, vm, switch):
    rows = VM.objects.bulk_create(
        VM(
            host=vm.host, pool=vm.pool, owner=vm.owner, name=f"machine-{number:03}", memory=2**30,
            vnc_port=6000 + number, vnc_password="x" * 8, state=VM.State.RUNNING,
        )
        for number in range(60)
    )  # fmt: skip
    Nic.objects.bulk_create(
        Nic(vm=row, index=0, slot="0:10:0", switch=switch, mac=f"58:9c:fc:00:01:{number:02x}")
        for number, row in enumerate(rows)
    )
    page = as_user(admin).get("/network/switches/nat/").content

    assert page.count(b"data-menu") == 50
    assert len(page) < 60_000
