"""VMs as networks see them."""

from __future__ import annotations

from network import guests
from network.guests import Port
from network.models import Switch
from vms import plan
from vms.models import VM, Nic, Tag


def only(**wanted):
    (found,) = guests.find(**wanted)
    return found


def test_a_vm_is_a_guest_with_its_ports_and_tags(vm, switch, alice):
    vm.tags.set([Tag.objects.create(name="web"), Tag.objects.create(name="db")])
    nic = vm.nics.get()
    guest = only(switches=[switch.pk])
    assert (guest.kind, guest.endpoint, guest.name) == ("vm", f"vm:{vm.uuid}", "web1")
    assert (guest.url, guest.tags, guest.person) == ("/vms/web1/", ("db", "web"), alice.pk)
    assert not guest.is_on
    assert guest.ports == (Port(f"nic:{nic.pk}", 0, switch.pk, nic.mac, f"tap{1000 + nic.pk}"),)
    assert only(endpoints=[f"vm:{vm.uuid}", "tag:web", "vm:nonsense", "any"]) == guest
    assert only(host_id=vm.host_id) == guest
    assert guests.find(endpoints=["jail:" + str(vm.uuid)]) == guests.find(host_id=0) == []


def test_its_addresses_are_those_that_cloud_init_tells(vm, switch):
    vm.cloud_init = {"networks": [{"nic": 0, "addresses": ["10.77.0.5/24", "fd00::5/64"]}, {"nic": 1}, "x"]}
    vm.save()
    assert only(host_id=vm.host_id).ports[0].static == ("10.77.0.5", "fd00::5")


def test_a_port_with_a_rate_is_another_interface(vm, switch):
    """Its tap stands behind an ng_pipe(4); what is in the bridge is what packets of others meet."""
    nic = vm.nics.get()
    nic.options = {"rate_in": "10M"}
    nic.save()
    assert only(host_id=vm.host_id).ports[0].interface == f"rtap{1000 + nic.pk}"
    switch.technology = Switch.Technology.NETGRAPH
    switch.save()
    assert only(host_id=vm.host_id).ports[0].interface == ""


def test_a_running_guest_keeps_what_it_was_started_with(vm, switch):
    """The MAC address is another from the next start on, and a port that is taken out is there until then."""
    nic = vm.nics.get()
    VM.objects.filter(pk=vm.pk).update(state="running", running=plan.document(vm))
    Nic.objects.filter(pk=nic.pk).update(mac="58:9c:fc:00:00:55", is_attached=False)
    VM.objects.filter(pk=vm.pk).update(revision=vm.revision + 1)
    port = only(switches=[switch.pk]).ports[0]
    assert (port.mac, port.key) == (nic.mac, f"nic:{nic.pk}")
    VM.objects.filter(pk=vm.pk).update(state="stopped")
    assert guests.find(switches=[switch.pk]) == []


def test_it_asks_as_often_for_many_as_for_one(vm, host, pool, switch, django_assert_max_num_queries):
    for number in range(10):
        row = VM.objects.create(
            host=host, pool=pool, name=f"more{number}", memory=1, vnc_port=6000 + number, vnc_password="x",
            state="running", running={"bhype": {"revision": 0}, "emulations": []},
        )  # fmt: skip
        Nic.objects.create(vm=row, index=0, switch=switch, mac=f"58:9c:fc:00:02:{number:02x}")
    with django_assert_max_num_queries(6):
        assert len(guests.find(switches=[switch.pk])) == 11
