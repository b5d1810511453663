"""What was found when somebody tried to break the networks: one test for each, named after what must not happen."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from django.utils import timezone

from bhype import commit
from bhype.commit import guard, record
from bhype.freebsd import pfctl
from bhype.freebsd.arp import Neighbour as Entry
from bhype.freebsd.ifconfig import Interface
from bhype.hosts.observer import Observer
from bhype.lab.pf.journey import journey, talk
from bhype.lab.pf.model import Packet
from bhype.lab.pf.world import Interface as LabInterface
from bhype.lab.pf.world import World as LabWorld
from bhype.tasks import ask
from network import guests
from network.addresses import known, observe
from network.addresses.known import Known
from network.aggregations import plan as aggregations
from network.dhcp import operations as dhcp
from network.dhcp import wanted as dhcp_wanted
from network.firewall import world as firewall_world
from network.firewall.document import Document, PolicyRow, RuleRow
from network.firewall.verdict import Packet as Asked
from network.firewall.verdict import verdict
from network.models import Allocation, DnsRecord, HostInterface, Lease, Mesh, MeshPeer, Neighbour, Switch
from network.switches import checks
from network.switches.wanted import Conflict, Seen
from network.wireguard import plan, rules
from tests.commit.conftest import kill_guards
from tests.network.firewall import worlds
from vms.models import Nic

OTHER = "58:9c:fc:00:00:99"
MOLE = "vm:55555555-0000-4000-8000-000000000000"


def claim(vm, *addresses: str) -> None:
    """As the owner of a VM may write it into its cloud-init."""
    vm.cloud_init = {"networks": [{"nic": 0, "addresses": [f"{one}/24" for one in addresses]}]}
    vm.save()


def of(switch) -> list[Known]:
    found = known.of(switch, guests.find(switches=[switch.pk]))
    return [one for each in found.values() for one in each]


# Guests, and people who have nothing but a VM.


@pytest.mark.parametrize("address", ["10.77.0.1", "198.51.100.9", "224.0.0.1", "127.0.0.1", "nonsense"])
def test_no_owner_of_a_vm_calls_it_by_the_hosts_address_or_one_of_the_internet(switch, vm, address):
    """Else it could send as the router; and a server outside would be none of the internet's for rules."""
    claim(vm, address)
    assert of(switch) == []


def test_no_owner_of_a_vm_takes_the_address_that_another_was_given(switch, vm):
    """Rules by name, forwards and the guard of ports follow addresses."""
    Lease.objects.create(switch=switch, address="10.77.0.66", mac=OTHER)
    claim(vm, "10.77.0.66", "10.77.0.67")
    assert of(switch) == [Known("10.77.0.67", "static")]
    assert not of(switch)[0].is_vouched
    Lease.objects.update(mac=vm.nics.get().mac)
    assert Known("10.77.0.66", "static") in of(switch)


def test_of_two_who_claim_an_address_the_first_has_it(switch, vm):
    claim(vm, "10.77.0.66")
    later = type(vm).objects.create(
        host=vm.host, pool=vm.pool, name="a-later", memory=1, vnc_port=5999, cloud_init=vm.cloud_init
    )
    Nic.objects.create(vm=later, index=0, switch=switch, mac=OTHER)
    found = known.of(switch, guests.find(switches=[switch.pk]))
    assert [key for key, each in found.items() if each] == [f"nic:{vm.nics.get().pk}"]


def test_an_address_of_another_interface_of_the_host_is_no_guests(switch, vm):
    public = Switch.objects.create(host=switch.host, name="public", kind="bridged", uplink="em0")
    vm.nics.update(switch=public)
    claim(vm, "192.0.2.10", "192.0.2.11")
    seen = firewall_world.Seen(own=("192.0.2.10",))
    (guest,) = firewall_world.load(switch.host, seen).guests
    assert guest.addresses == ("192.0.2.11",) == guest.ports[0].claimed


def test_a_guest_that_claims_the_admins_address_shuts_nobody_out():
    """T23: without the rules of a VM's owner, who may write any address of the network into its cloud-init."""
    admin = "192.168.9.20"
    liar = replace(
        worlds.mail,
        ports=(replace(worlds.mail.ports[0], bound=(admin,), known=(admin,), claimed=(admin,)),),
    )
    what = replace(worlds.world, guests=(liar,))
    nobody = Document(
        (RuleRow(1, worlds.MAIL, "out", "reject", peer="host"),), (), (), (PolicyRow(worlds.LAN, "lan", False, False),)
    )  # fmt: skip
    for main in (worlds.OPEN, worlds.SHUT):
        pf = worlds.loaded(nobody, main, what)
        for port in (22, 8080):
            there, back = talk(
                pf, Packet("", "", "tcp", admin, "192.168.9.1", 4000, port), "em1", worlds.AT, pfil=worlds.ALL
            )
            assert there.passes and back.passes
            mine = Packet("", "", "tcp", admin, "192.168.9.1", 5000, port)
            assert not journey(pf, mine, "tap1003", worlds.AT, pfil=worlds.ALL).passes


def private(monkeypatch) -> tuple[object, dict[str, str]]:
    """A private switch on which the host has an address, beside others for which it routes."""
    dark = replace(worlds.dark, addresses=("10.88.0.1/24",))
    port = firewall_world.Port(
        "nic:5", 3, "tap1005", "58:9c:fc:00:00:05", False, ("10.88.0.5",), ("10.88.0.5",)
    )
    mole = firewall_world.Guest(MOLE, "mole", (), (port,))
    what = replace(
        worlds.world, nets=(worlds.nat, worlds.lan, dark), guests=(*worlds.world.guests, mole),
        own=(*worlds.world.own, "10.88.0.1"),
    )  # fmt: skip
    interfaces = {
        **worlds.lab_world.interfaces,
        "sw-dark": LabInterface(("10.88.0.1/24",), ("bridge", "bhype"), ("tap1005",)),
        "tap1005": LabInterface((), ("tap", "bhype")),
    }
    monkeypatch.setattr(worlds, "lab_world", LabWorld(interfaces))
    return what, {**worlds.AT, "10.88.0.5": "tap1005"}


@pytest.mark.parametrize("main", [worlds.OPEN, worlds.SHUT])
def test_the_host_routes_for_no_private_switch(monkeypatch, main):
    what, at = private(monkeypatch)

    def passes(document, enters, source, target, port=80):
        pf = worlds.loaded(document, main, what)
        packet = Packet("", "", "tcp", source, target, 4000, port)
        return journey(pf, packet, enters, at, pfil=worlds.ALL).passes

    nothing = Document()
    for enters, source, target in [
        ("tap1005", "10.88.0.5", "10.77.0.5"), ("tap1005", "10.88.0.5", worlds.OUTSIDE),
        ("tap1005", "10.88.0.5", "192.168.9.20"), ("tap1001", "10.77.0.5", "10.88.0.5"),
        ("em0", worlds.OUTSIDE, "10.88.0.5"), ("em1", "192.168.9.20", "10.88.0.5"),
    ]:  # fmt: skip
        assert not passes(nothing, enters, source, target)
    assert passes(nothing, "tap1005", "10.88.0.5", "10.88.0.1")
    assert passes(nothing, "", "10.88.0.1", "10.88.0.5")
    # The page that answers "would it pass?" says the same.
    assert not verdict(nothing, what, Asked("10.88.0.5", "10.77.0.5", "tcp", 80)).passes
    assert not verdict(nothing, what, Asked("10.77.0.5", "10.88.0.5", "tcp", 80)).passes
    # Who wants it otherwise says so.
    some = Document((RuleRow(1, MOLE, "out", "pass", peer=worlds.WEB),))
    assert passes(some, "tap1005", "10.88.0.5", "10.77.0.5")
    assert not passes(some, "tap1001", "10.77.0.5", "10.88.0.5")


def test_a_guest_with_thousands_of_addresses_fills_neither_rows_nor_tables(switch, vm):
    mac = vm.nics.get().mac

    def entries(first: int, count: int, whose: str) -> list[Entry]:
        return [
            Entry(f"10.77.{n // 250}.{n % 250 + 2}", whose, switch.interface)
            for n in range(first, first + count)
        ]

    observe.store({switch.interface: switch}, entries(0, 500, mac), timezone.now())
    assert 0 < Neighbour.objects.count() <= observe.MOST
    # They are remembered for a while, and others come all the time; another machine has its own all the same.
    observe.store(
        {switch.interface: switch}, [*entries(500, 500, mac), *entries(1000, 1, OTHER)], timezone.now()
    )
    assert Neighbour.objects.filter(mac=mac).count() <= observe.MOST
    assert Neighbour.objects.filter(mac=OTHER).count() == 1
    for number in range(0, 6000, 50):
        whose = f"58:9c:fc:01:{number // 50 // 256:02x}:{number // 50 % 256:02x}"
        observe.store({switch.interface: switch}, entries(number + 2000, 50, whose), timezone.now())
    assert Neighbour.objects.count() <= observe.MOST_OF_ALL


@pytest.mark.parametrize("name", ["wpad", "WPAD", "isatap", "localhost"])
def test_no_guest_is_found_by_a_name_that_machines_ask_for_by_themselves(switch, vm, name):
    type(vm).objects.update(name=name)
    Switch.objects.update(has_dhcp=True, has_dns=True)
    (one,) = dhcp_wanted.of(switch.host)
    assert one.service is not None and not one.service.names
    assert name.lower() not in [client.name for client in one.service.clients]
    assert "by themselves" in one.problems[0]


def test_no_guest_takes_the_name_of_a_record_or_of_a_machine(switch, vm):
    Switch.objects.update(has_dhcp=True, has_dns=True)
    for mine in ({"kind": "A", "name": vm.name, "value": "10.77.0.9"}, None):
        if mine:
            DnsRecord.objects.create(switch=switch, **mine)
        else:
            DnsRecord.objects.all().delete()
            Allocation.objects.create(
                switch=switch, address="10.77.0.9", kind="lease", mac=OTHER, hostname=vm.name
            )
        (one,) = dhcp_wanted.of(switch.host)
        assert vm.nics.get().mac not in [client.mac for client in one.service.clients]
        assert "already" in one.problems[0]


# A web process that was taken over: what it writes into rows.


def test_no_row_lets_dnsmasq_serve_on_an_interface_of_the_host():
    row = Switch(name="evil", kind="nat", adopted="em0", address="192.0.2.10/24", has_dhcp=True)
    service = dhcp_wanted._service(row, dhcp_wanted._Rows(), [])
    em0 = Interface("em0", frozenset({"UP"}), addresses=("192.0.2.10/24",))
    assert not dhcp.has_interface(service, [em0])
    assert not dhcp.has_interface(service, [replace(em0, description="bhype/switch/other")])
    mine = replace(em0, name="sw-evil", description="bhype/switch/evil")
    assert dhcp.has_interface(replace(service, interface="sw-evil"), [mine])


@pytest.mark.parametrize("name", ["../../etc/x", "a/b", "", "-x", "a\nb"])
def test_a_switch_with_a_hostile_name_stops_no_other(ready, name):
    Switch.objects.create(
        host=Switch.objects.get().host, name=name, kind="nat", has_dhcp=True, address="10.9.0.1/24"
    )
    ask("network.ensure_dhcp", {"restart": [name]}, None)
    (task,) = ready.run_tasks()
    assert "Unexpected" not in task.error
    ready.sweep()


def test_a_row_that_one_part_of_the_observer_cannot_read_stops_no_other(ready, monkeypatch):
    from bhype.hosts import observer

    seen = []

    def stumbles(_sweep):
        raise TypeError("a row")

    monkeypatch.setattr(observer, "_functions", {"a": stumbles, "b": seen.append})
    monkeypatch.setattr(observer, "_slow", {})
    with pytest.raises(TypeError):
        Observer(ready.host).sweep()
    assert len(seen) == 1
    switch = Switch.objects.select_related("host").get()
    assert switch.host.problems == ["a: TypeError: a row"]


@pytest.mark.parametrize("routes", [["192.0.2.128/25"], ["192.0.0.0/16"], ["0.0.0.0/1"], ["2000::/3"]])
def test_nothing_leads_the_hosts_own_networks_into_a_tunnel(routes):
    mesh = Mesh(name="m", network="10.99.0.0/24")
    key = "A" * 42 + "A="
    me, other = (
        MeshPeer(pk=number, mesh=mesh, name=f"p{number}", address=f"10.99.0.{number}", public_key=key)
        for number in (1, 2)
    )
    other.routes = routes
    near = plan.nearby(mesh, [Interface("em0", addresses=("192.0.2.10/24", "fe80::1%em0/64"))])
    wanted = plan.wanted(mesh, me, [me, other], near)
    assert wanted.others == () and wanted.problems
    mesh.network = "192.0.2.0/24"
    with pytest.raises(rules.Bad):
        plan.wanted(mesh, me, [me], near)


# Whoever changes the network he came by.


def test_nobody_pulls_the_uplink_out_of_the_switch_that_has_the_hosts_address(host):
    for name in ("em0", "em1"):
        HostInterface.objects.create(host=host, name=name, kind="physical", mtu=1500)
    row = Switch.objects.create(
        host=host, name="public", kind="bridged", uplink="em0", host_addresses=["192.0.2.10/24"]
    )
    assert not checks.problems(row)
    for column, value in (("uplink", "em1"), ("uplink", ""), ("vlan", 7), ("technology", "netgraph")):
        changed = Switch.objects.get()
        setattr(changed, column, value)
        told = dict(checks.problems(changed))
        assert "move them back to em0 first" in told[column]


def test_no_row_puts_an_interface_with_the_hosts_address_into_an_aggregation():
    em0 = Interface("em0", frozenset({"UP"}), addresses=("192.0.2.10/24",))
    with pytest.raises(Conflict, match="addresses of the host"):
        aggregations.commands(aggregations.Wanted("lagg0", "lacp", ("em0",)), Seen((em0,)))


# Kills and full disks.


def test_a_full_disk_does_not_keep_the_old_rules_from_coming_back(ready, monkeypatch):
    commit.begin(ready.host, "trial", undo=[pfctl.flush_main("rules")], seconds=60)
    kill_guards(ready.host)  # or it may be faster
    change = record.read(ready.host, "trial")
    record.write(ready.host, change, deadline=change.deadline - 61, seconds=1)
    ran = []
    monkeypatch.setattr(record, "run", lambda _host, step: ran.append(step))

    def full(*_words, **_values):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(record, "write", full)
        with pytest.raises(OSError, match="No space"):
            guard.end(ready.host, "trial")
        assert [step["argv"][-1] for step in ran] == ["rules"]
        with pytest.raises(commit.TooLate):
            commit.confirm(ready.host, "trial")
    guard.end(ready.host, "trial")
    assert commit.look(ready.host, "trial").state == commit.State.REVERTED


def test_pf_is_not_on_after_a_boot_before_anybody_has_confirmed_it(ready):
    """Its own rules may cut off whoever asks, and after a boot nobody takes it back."""
    (ready.root / "etc/pf.conf").write_text(worlds.CALLS + "block all\n")
    ask("network.mend", {"fixes": ["pf", "pf_on", "pf_boot"]}, None)
    ready.run_tasks()
    change = commit.look(ready.host, "pf-on")
    assert change.state == commit.State.WAITING
    assert "YES" not in ready.commands("/usr/sbin/sysrc", "-i", "pf_enable")
    commit.revert(ready.host, "pf-on")
    assert "YES" not in ready.commands("/usr/sbin/sysrc", "-i", "pf_enable")
    ask("network.mend", {"fixes": ["pf_boot"]}, None)
    (task,) = ready.run_tasks()
    assert "confirm it" in task.error
    ask("network.mend", {"fixes": ["pf_on", "pf_boot"]}, None)
    ready.run_tasks()
    commit.confirm(ready.host, "pf-on")
    assert "YES" in ready.commands("/usr/sbin/sysrc", "-i", "pf_enable")
