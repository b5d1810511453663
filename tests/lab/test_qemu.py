"""How the lab's bhyve asks QEMU for its machine, seen in the argv of QEMU."""

from __future__ import annotations

import json
import os

import pytest

from bhype.lab import bhyve_devices, bhyve_grammar, bhyve_machine, qemu
from tests.lab import vnc
from tests.lab.conftest import drop_lab, make_lab

ROM = "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd"


@pytest.fixture(scope="module")
def host():
    lab = make_lab()
    lab.ok("kldload", "vmm", "nmdm", "if_bridge")
    for _ in range(3):
        lab.ok("ifconfig", "tap", "create")
    for tap, address in (("tap0", ["inet", "10.77.0.1/24"]), ("tap1", [])):
        bridge = lab.ok("ifconfig", "bridge", "create").strip()
        lab.ok("ifconfig", bridge, *address, "addm", tap, "up")
    lab.path("/vm").mkdir()
    lab.path("/vm/a, b").write_bytes(bytes(4096))
    yield lab
    drop_lab(lab)


@pytest.fixture
def build(host, monkeypatch, tmp_path):
    """``build(*argv)``: QEMU's argv for a bhyve command line, and the properties of its devices by driver."""
    monkeypatch.setenv("BHYPE_LAB", host.folder)

    def call(*argv: str) -> tuple[list[str], dict[str, dict]]:
        base = ["-A", "-s", "0,hostbridge", "-s", "31,lpc", "-l", f"bootrom,{ROM}"]
        config = bhyve_grammar.parse([*base, *argv, "vm1"])
        machine = bhyve_machine.basics(config)
        bhyve_devices.init(machine, config)
        if machine.screen:
            machine.screen["listener"].close()
        words = qemu.command(machine, str(tmp_path), 7, {"com1": 8})
        found = [json.loads(words[at + 1]) for at, word in enumerate(words) if word == "-device"]
        return words, {device["driver"]: device for device in found}

    return call


def backend(words, number=0):
    found = [json.loads(words[at + 1]) for at, word in enumerate(words) if word == "-netdev"]
    return {key: value for key, value in found[number].items() if key != "id"}


def test_a_device_stands_in_its_slot(build, host):
    (host.path("/vm") / "d").write_bytes(bytes(4096))
    _, devices = build(
        "-s", "4,virtio-blk,/vm/d", "-s", "5:0,nvme,/vm/d", "-s", "5:3,virtio-rnd",
        "-s", f"29,fbuf,rfb={vnc.free_port()}", "-s", "30,xhci,tablet",
    )  # fmt: skip
    assert devices["virtio-blk-pci"]["addr"] == "4.0"
    assert (devices["nvme"]["addr"], devices["nvme"]["multifunction"]) == ("5.0", True)
    assert (devices["virtio-rng-pci"]["addr"], "multifunction" in devices["virtio-rng-pci"]) == ("5.3", False)
    assert (devices["VGA"]["addr"], devices["qemu-xhci"]["addr"]) == ("1d.0", "1e.0")
    assert devices["usb-tablet"]["bus"] == "pci30.0.0"
    assert devices["isa-serial"] == {"driver": "isa-serial", "chardev": "com1", "index": 0}


def test_slots_that_a_q35_has_itself_are_moved(build):
    _, devices = build("-s", "31:1,virtio-rnd", "-s", "1,uart")
    assert devices["virtio-rng-pci"]["addr"] == "2.0"


def test_another_bus_is_behind_a_bridge(build):
    """The firmware numbers it: the root bus 1 comes before, so the bus behind its first bridge is 2."""
    words, devices = build("-s", "2:4:0,hda", "-s", "3:0:0,virtio-rnd", "-s", "2:4:1,uart")
    root = {"driver": "pxb-pcie", "id": "root2", "bus_nr": 1, "bus": "pcie.0", "addr": "1.0"}
    assert devices["pxb-pcie"] == root
    found = [json.loads(words[at + 1]) for at, word in enumerate(words) if word == "-device"]
    bridges = [device for device in found if device["driver"] == "i82801b11-bridge"]
    assert [(each["id"], each["bus"], each["addr"]) for each in bridges] == [
        ("bus2", "root2", "0.0"),
        ("bus3", "root2", "1.0"),
    ]
    assert (devices["virtio-rng-pci"]["bus"], devices["virtio-rng-pci"]["addr"]) == ("bus3", "0.0")
    assert (devices["intel-hda"]["addr"], devices["intel-hda"]["multifunction"]) == ("4.0", True)
    assert devices["hda-duplex"]["bus"] == "pci2.4.0.0"


def test_the_first_bus_needs_no_root_of_its_own(build):
    _, devices = build("-s", "1:3:0,virtio-rnd")
    assert (devices["i82801b11-bridge"]["id"], devices["i82801b11-bridge"]["bus"]) == ("bus1", "pcie.0")
    assert "pxb-pcie" not in devices


def test_devices_boot_in_the_order_of_their_slots(build, host):
    (host.path("/vm") / "d").write_bytes(bytes(4096))
    _, devices = build("-s", "5,virtio-blk,/vm/d", "-s", "3,ahci-cd", "-s", "6,nvme,/vm/d,bootindex=1")
    assert devices["nvme"]["bootindex"] == 1
    assert devices["ide-cd"]["bootindex"] == 2
    assert devices["virtio-blk-pci"]["bootindex"] == 3


def test_the_password_is_in_no_argument(build, tmp_path):
    words, _ = build("-s", f"29,fbuf,rfb=127.0.0.1:{vnc.free_port()},password=secret12more")
    assert "secret12" not in " ".join(words)
    assert (tmp_path / "secret").read_text() == "secret12"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_bridge_with_an_address_is_a_network_with_the_host(build):
    words, devices = build("-s", "5,virtio-net,tap0,mac=58:9c:fc:00:00:01")
    assert backend(words) == {"type": "user", "restrict": True, "net": "10.77.0.0/24", "host": "10.77.0.1"}
    assert devices["virtio-net-pci"]["mac"] == "58:9c:fc:00:00:01"


def test_a_bridge_without_an_address_is_a_wire_between_guests(build):
    words, _ = build("-s", "5,e1000,tap1")
    found = backend(words)
    assert (found["type"], found["localaddr"]) == ("socket", "127.0.0.1")
    assert found == backend(build("-s", "9,e1000,tap1")[0])


def test_a_tap_at_no_bridge_reaches_nobody(build):
    assert backend(build("-s", "5,virtio-net,tap2")[0])["type"] == "hubport"


def test_the_own_mac_of_bhyve_depends_on_slot_and_name(build):
    one = build("-s", "5,virtio-net,tap2")[1]["virtio-net-pci"]["mac"]
    assert one.startswith("00:a0:98:")
    assert one == build("-s", "5,virtio-net,tap2")[1]["virtio-net-pci"]["mac"]
    assert one != build("-s", "6,virtio-net,tap2")[1]["virtio-net-pci"]["mac"]


def test_topology_clock_and_uuid_are_passed_on(build):
    words, _ = build("-u", "-m", "1G", "-c", "cpus=4,sockets=1,cores=2,threads=2", "-U", "1-2")
    assert words[words.index("-smp") + 1] == "cpus=4,sockets=1,cores=2,threads=2,maxcpus=4"
    assert words[words.index("-m") + 1] == "1048576k"
    assert words[words.index("-rtc") + 1] == "base=utc"
    assert "acpi=off" not in words[words.index("-machine") + 1]


def test_without_acpi_tables_there_are_none(host, monkeypatch, tmp_path):
    monkeypatch.setenv("BHYPE_LAB", host.folder)
    config = bhyve_grammar.parse(["-s", "31,lpc", "-l", f"bootrom,{ROM}", "vm1"])
    machine = bhyve_machine.basics(config)
    bhyve_devices.init(machine, config)
    words = qemu.command(machine, str(tmp_path), 7, {})
    assert "acpi=off" in words[words.index("-machine") + 1].split(",")
    assert words[words.index("-rtc") + 1] == "base=localtime"


def test_variables_without_a_file_are_a_private_copy(build, host, tmp_path):
    build()
    assert (tmp_path / "vars").read_bytes() == host.path(
        os.path.dirname(ROM) + "/BHYVE_UEFI_VARS.fd"
    ).read_bytes()


def test_more_drives_than_a_controller_of_qemu_has(build, host):
    (host.path("/vm") / "d").write_bytes(bytes(4096))
    words, _ = build("-s", "4,ahci," + ",".join(["hd:/vm/d"] * 8))
    devices = [json.loads(words[at + 1]) for at, word in enumerate(words) if word == "-device"]
    controllers = [device["id"] for device in devices if device["driver"] == "ich9-ahci"]
    assert controllers == ["pci4.0", "pci1.0"]
    assert [device["bus"] for device in devices if device["driver"] == "ide-hd"][5:] == [
        "pci4.0.5",
        "pci1.0.0",
        "pci1.0.1",
    ]
