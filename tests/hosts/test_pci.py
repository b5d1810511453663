"""The host's PCI devices: which are shown, reserved and given back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bhype.freebsd.ifconfig import Interface
from bhype.freebsd.pciconf import PciDevice as Found
from bhype.hosts import observe, operations, pci
from bhype.hosts.models import Host, PciDevice
from bhype.tasks import OperationFailed
from bhype.tasks.errors import Refused


def device(**more) -> Found:
    return Found(
        **(
            {
                "driver": "igb",
                "unit": 0,
                "domain": 0,
                "bus": 3,
                "slot": 0,
                "function": 0,
                "class_code": 0x020000,
            }
            | more
        )
    )


UP = frozenset({"UP"})


@pytest.mark.parametrize(
    ("more", "interfaces", "reason"),
    [
        ({}, [], ""),
        ({}, [Interface("igb0")], ""),
        ({}, [Interface("igb0", UP)], "The host uses igb0"),
        ({}, [Interface("igb0", addresses=("10.0.0.1/24",))], "The host uses igb0"),
        ({}, [Interface("igb0"), Interface("sw-lan", members=("igb0",))], "igb0 is part of sw-lan."),
        ({}, [Interface("igb1", UP)], ""),
        ({"driver": "ppt"}, [], ""),
        ({"driver": None, "class_code": 0x010802}, [], ""),
        ({"driver": "nvme", "class_code": 0x010802}, [], "The host may have disks on nvme0."),
        ({"driver": "pcib", "class_code": 0x060400, "header": 1}, [], "It is a bridge"),
        ({"driver": "isab", "class_code": 0x060100}, [], "It is a bridge"),
        ({"driver": "vgapci", "class_code": 0x030000, "header": 0x80}, [], ""),
        ({"domain": 1}, [], "only devices of PCI domain 0"),
    ],
)  # fmt: skip
def test_the_host_keeps_what_it_lives_on(more, interfaces, reason):
    said = pci.kept(device(**more), interfaces)
    assert said.startswith(reason) or reason in said
    assert bool(said) == bool(reason)


def test_loader_conf_takes_so_many_characters_per_variable():
    assert list(pci.loader_lines(["1/0/0", "1/0/1"])) == ['vmm_load="YES"', 'pptdevs="1/0/0 1/0/1"']
    lines = list(pci.loader_lines([f"{bus}/0/0" for bus in range(30)]))
    assert [line.partition("=")[0] for line in lines] == ["vmm_load", "pptdevs", "pptdevs2"]
    assert all(len(line.partition("=")[2]) <= pci.LONGEST + 2 for line in lines)


class Machine:
    """A host whose one command is devctl: it moves ``driver`` of the devices below."""

    def __init__(self, *devices: Found, fails: str = "") -> None:
        self.devices = list(devices)
        self.interfaces: list[Interface] = []
        self.fails = fails
        self.ran: list[tuple[str, ...]] = []

    def query(self, query):
        argv = query.command.argv
        if argv[0].endswith("pciconf"):
            return self.devices
        return self.interfaces if argv[0].endswith("ifconfig") else True

    def run(self, command) -> None:
        self.ran.append(command.argv)
        if self.fails:
            from bhype.host import CommandFailed, Result

            raise CommandFailed(command, Result(1, "", self.fails, 0.0), self.fails)
        words = command.argv
        new = words[-1] if words[1] == "set" else "igb"
        self.devices = [device(driver=new) if one.selector in words else one for one in self.devices]


def run(machine: Machine):
    return SimpleNamespace(host=machine, log=lambda text: None, stage=lambda text: None)


@pytest.fixture
def row(host) -> PciDevice:
    return PciDevice.objects.create(
        host=host,
        address="pci0:3:0:0",
        bus=3,
        slot=0,
        function=0,
        identity="8086:1521",
        driver="igb0",
        name="I350",
    )


@pytest.fixture(autouse=True)
def allowing(settings):
    """A host whose administrator lets VMs have its devices."""
    settings.ALLOW = ["passthru"]


@pytest.fixture
def nobody():
    """As before any room has entered itself."""
    kept, pci._owners[:] = pci._owners[:], []
    yield
    pci._owners[:] = kept


def test_a_device_is_reserved_and_given_back(row, nobody):
    machine = Machine(device())
    params = operations.DeviceParams(device_id=row.pk)
    for _ in range(2):
        operations.reserve_pci(run(machine), params)
        row.refresh_from_db()
        assert (row.is_reserved, row.driver) == (True, "ppt0")
    assert machine.ran == [("/usr/sbin/devctl", "set", "driver", "-f", "pci0:3:0:0", "ppt")]
    for _ in range(2):
        operations.release_pci(run(machine), params)
        row.refresh_from_db()
        assert (row.is_reserved, row.driver) == (False, "igb0")
    assert machine.ran[1:] == [("/usr/sbin/devctl", "clear", "driver", "-f", "pci0:3:0:0")]


def test_the_worker_looks_for_itself_whether_the_host_needs_it(row):
    machine = Machine(device())
    machine.interfaces = [Interface("igb0", UP)]
    with pytest.raises(OperationFailed, match="The host uses igb0"):
        operations.reserve_pci(run(machine), operations.DeviceParams(device_id=row.pk))
    assert machine.ran == []


def test_a_host_that_gives_no_devices_reserves_none_and_says_how_to(row, nobody, settings, as_user, admin):
    settings.ALLOW = ["raw"]
    page = as_user(admin).get("/hosts/lab/pci/").content.decode()
    assert "with &quot;passthru&quot; in BHYPE_ALLOW" in page
    assert "/pci/reserve/" not in page
    machine = Machine(device())
    with pytest.raises(OperationFailed, match="BHYPE_ALLOW"):
        operations.reserve_pci(run(machine), operations.DeviceParams(device_id=row.pk))
    assert machine.ran == []


def test_what_a_vm_has_is_not_released(row, nobody):
    pci.register(lambda host: {"pci0:3:0:0": pci.Owner("web1", "/vms/web1/")})
    machine = Machine(device(driver="ppt"))
    with pytest.raises(OperationFailed, match="web1 has pci0:3:0:0"):
        operations.release_pci(run(machine), operations.DeviceParams(device_id=row.pk))
    assert machine.ran == []


def test_one_that_loader_conf_reserves_is_told_as_such(row, nobody):
    machine = Machine(device(driver="ppt"), fails="Invalid argument")
    with pytest.raises(OperationFailed, match="take it out there and reboot"):
        operations.release_pci(run(machine), operations.DeviceParams(device_id=row.pk))


def test_a_device_that_is_gone_is_told(row):
    for operation in (operations.reserve_pci, operations.release_pci):
        with pytest.raises(OperationFailed, match="no such PCI device"):
            operation(run(Machine()), operations.DeviceParams(device_id=row.pk))


def test_the_observer_writes_what_changed_and_removes_what_went(host):
    answers = {
        "pciconf": [device(), device(bus=4, driver=None, vendor=0x10EC, device=0x8168)],
        "ifconfig": [],
    }
    sweep = SimpleNamespace(
        row=host, number=0, every=lambda count: True,
        ask=lambda query: answers[query.command.argv[0].rpartition("/")[2]],
    )  # fmt: skip
    assert observe.observe_pci(sweep)
    assert [(one.address, one.driver, one.identity) for one in host.pci_devices.all()] == [
        ("pci0:3:0:0", "igb0", "0000:0000"), ("pci0:4:0:0", "", "10ec:8168"),
    ]  # fmt: skip
    first = host.pci_devices.first().pk
    answers["pciconf"] = [device(driver="ppt")]
    assert observe.observe_pci(sweep)
    assert [(one.pk, one.driver, one.is_reserved) for one in host.pci_devices.all()] == [
        (first, "ppt0", True)
    ]


def test_the_page_shows_slots_owners_and_what_can_be_done(as_user, admin, viewer, host, row, nobody):
    PciDevice.objects.create(
        host=host, address="pci0:3:0:1", bus=3, slot=0, function=1, identity="8086:1521", driver="ppt0", name="<I350>",
        is_reserved=True,
    )  # fmt: skip
    PciDevice.objects.create(
        host=host, address="pci0:0:0:0", bus=0, slot=0, function=0, identity="8086:3ec2", kept="It is a bridge.",
    )  # fmt: skip
    pci.register(lambda host: {"pci0:3:0:1": pci.Owner("web1", "/vms/web1/")})
    host.features = {"passthru": True}
    host.save()
    page = as_user(admin).get("/hosts/lab/pci/").content.decode()
    assert "&lt;I350&gt;" in page
    assert "pptdevs=&quot;3/0/1&quot;" in page
    assert "Only a part of slot 0:3:0 is reserved" in page
    assert 'href="/vms/web1/"' in page
    assert page.count("/pci/reserve/") == 1
    assert page.count("/pci/release/") == 0
    seen = as_user(viewer).get("/hosts/lab/pci/").content.decode()
    assert "/pci/reserve/" not in seen


def test_only_admins_may_ask(as_user, admin, operator, stranger, row):
    for user in (operator, stranger):
        assert as_user(user).post("/hosts/lab/pci/reserve/", {"address": row.address}).status_code == 404
    client = as_user(admin)
    assert client.post("/hosts/lab/pci/reserve/", {"address": "pci0:9:0:0"}).status_code == 404
    assert client.post("/hosts/lab/pci/reserve/", {"address": row.address}).status_code == 302
    assert client.post("/hosts/lab/pci/release/", {"address": row.address}).status_code == 302
    from bhype.tasks.models import Task

    assert list(Task.objects.order_by("id").values_list("operation", "title")) == [
        ("hosts.reserve_pci", "Reserve I350 (pci0:3:0:0) for VMs"),
        ("hosts.release_pci", "Give I350 (pci0:3:0:0) back to the host"),
    ]
    with pytest.raises(Refused):
        operations.reserve_pci.ask({"device_id": 999}, admin)


def test_the_api_lists_and_changes_them(as_user, admin, viewer, stranger, row, nobody):
    pci.register(lambda host: {"pci0:3:0:0": pci.Owner("web1")})
    answer = as_user(viewer).get("/api/v1/hosts/lab/pci").json()
    assert [(one["address"], one["place"], one["used_by"]) for one in answer] == [
        ("pci0:3:0:0", "3/0/0", "web1")
    ]
    assert as_user(stranger).get("/api/v1/hosts/lab/pci").status_code == 404
    for user, address, status in (
        (viewer, row.address, 404),
        (admin, "pci0:9:0:0", 404),
        (admin, row.address, 202),
    ):
        answer = as_user(user).post(
            "/api/v1/hosts/lab/pci/reserve", {"address": address}, content_type="application/json"
        )
        assert answer.status_code == status


def test_the_vms_tell_which_devices_are_theirs(vm, row):
    from vms.models import Device

    for number, options in enumerate(({"src": "3/0/0"}, {"src": "4:0:1"}, {"lookup": {}})):
        Device.objects.create(vm=vm, kind="passthru", slot=f"0:{6 + number}:0", options=options)
    owner = pci.Owner("web1", "/vms/web1/")
    assert pci.owners(vm.host) == {"pci0:3:0:0": owner, "pci0:4:0:1": owner}


def test_a_row_belongs_to_one_host(host, row):
    other = Host.objects.create(name="other")
    assert pci.slots(other) == []
    assert [slot.place for slot in pci.slots(host)] == ["0:3:0"]


def test_a_network_card_of_the_lab_is_reserved_and_given_back(lab, admin, nobody):
    host = Host.objects.create(name="lab", cpus=8, memory=2**35)
    lab.sweep()
    card = host.pci_devices.get(address="pci0:3:0:1")
    assert (card.driver, card.kept, card.is_reserved) == ("igb1", "", False)
    assert host.pci_devices.get(driver="nvme0").kept
    for operation, driver in ((operations.reserve_pci, "ppt0"), (operations.release_pci, "igb1")):
        operation.ask({"device_id": card.pk}, admin)
        tasks = [task for task in lab.run_tasks() if task.operation == operation.name]
        assert [task.status for task in tasks] == ["succeeded"], tasks[0].error
        card.refresh_from_db()
        assert card.driver == driver
