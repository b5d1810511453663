"""A vm.json as libvirt's XML, and back."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.foreign import libvirt, read
from bhype.vmrun.problems import Unfit

from .same import of_document, variables

CASES = Path(__file__).parent / "cases"
UUID = "8f1b2a34-0c5d-4e6f-9a7b-112233445566"
# What libvirt's bhyve driver always does.
BASE = {
    "name": "web1",
    "uuid": UUID,
    "generate_acpi": True,
    "yield_on_hlt": True,
    "yield_on_pause": True,
    "ignore_msr": True,
    "wire_guest_mem": False,
    "utc_clock": True,
    "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd",
    "lpc_slot": "0:31:0",
}


def back(document: dict) -> tuple[dict, tuple[str, ...]]:
    text, notes = libvirt.write(document)
    found = read("libvirt", text)
    assert found.problems == ()
    return found.document, notes


@pytest.mark.parametrize("path", sorted((CASES / "libvirt").glob("*.xml")), ids=lambda path: path.stem)
def test_what_was_read_from_libvirt_is_written_as_it_was(path):
    document = read("libvirt", path.read_text()).document
    again, _ = back(document)
    assert again == document


@pytest.mark.parametrize(
    "path",
    sorted(CASES.glob("bhyve/*.sh")) + sorted(CASES.glob("vm-bhyve/*.conf")) + sorted(CASES.glob("hoster-core/*.json")),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)  # fmt: skip
def test_other_vms_run_the_same_by_way_of_libvirt(path):
    """But for what libvirt's driver always passes, and for what the notes tell."""
    document = read(
        path.parent.name, path.read_text(), folder=f"/vm/{path.stem}", dataset=f"vm/{path.stem}"
    ).document
    document |= {"yield_on_hlt": True, "yield_on_pause": True}
    again, notes = back(document)
    got, wanted = variables(of_document(again)), variables(of_document(document))
    if any("host bridge" in note for note in notes):
        wanted = {line for line in wanted if ".pcireg." not in line}
    assert got == wanted


def test_the_xml_is_libvirts():
    document = {
        **BASE, "cpu": {"sockets": 1, "cores": 2, "threads": 1}, "mem": "2048M",
        "graphic": {"host": "127.0.0.1", "port": 5901, "password": "s3<r&t", "slot": "0:1:0", "xhci_slot": "0:2:0"},
        "com1": "/dev/nmdm-web1.1A",
        "emulations": [
            {"device": "virtio-blk", "slot": "0:4:0", "path": "/dev/zvol/tank/bhype/vms/web1/disk0"},
            {"device": "virtio-net", "slot": "0:10:0", "type": "tap", "name": "tap1001", "bridge": "sw-nat",
             "mac": "58:9c:fc:00:00:01", "fix": True},
        ],
    }  # fmt: skip
    text, notes = libvirt.write(document)
    assert notes == ()
    root = ElementTree.fromstring(text)
    assert root.get("type") == "bhyve"
    assert root.findtext("memory") == str(2048 * 1024)
    assert root.find("devices/graphics").get("passwd") == "s3<r&t"
    assert root.find("devices/disk/source").get("dev") == "/dev/zvol/tank/bhype/vms/web1/disk0"
    assert root.find("devices/interface/source").get("bridge") == "sw-nat"
    assert [one.get("type") for one in root.findall("devices/controller")] == ["isa", "usb"]
    assert back(document)[0]["emulations"] == document["emulations"]


def test_what_libvirt_cannot_say_is_told():
    document = {
        **BASE, "cpu": 1, "mem": "64M", "nice": 5, "protect": True, "hostbridge": "amd_hostbridge",
        "limits": {"pcpu": 50, "readbps": "10M"}, "restart": {"limit": 3}, "yield_on_pause": False,
        "post_start_script": "/root/x.sh", "emulations": [], "targets": {"a": {"emulations": []}},
    }  # fmt: skip
    _, notes = libvirt.write(document)
    assert [note for note in notes if note.startswith("Left out")] == [
        "Left out: the limit of the CPU.",
        "Left out: how often and how fast it is started again.",
        "Left out: the host bridge amd_hostbridge.",
        "Left out: the priority.",
        "Left out: the protection from running out of memory.",
        "Left out: the script after the start.",
        "Left out: the targets; libvirt has none.",
    ]
    assert "libvirt always passes -P: a spinning guest leaves the CPU to others." in notes


def test_an_unfit_document_is_not_written():
    with pytest.raises(Unfit):
        libvirt.write({"name": "a", "cpu": 1, "mem": "lots", "emulations": []})


# Any machine that both can say.

_path = st.sampled_from(["/a.img", "/dev/zvol/tank/a", "/with space/b.img", "/iso/ä.iso"])
_block = st.fixed_dictionaries(
    {"path": _path},
    optional={
        "ser": st.sampled_from(["S1", "a b"]),
        "bootindex": st.integers(0, 9),
        "ro": st.just(True),
        "direct": st.just(True),
        "nocache": st.just(True),
        "nodelete": st.just(True),
        "logical_sector_size": st.just(512),
    },
)
_ata = st.builds(
    lambda block, more: block | more,
    _block,
    st.fixed_dictionaries(
        {}, optional={"nmrr": st.integers(0, 15000), "rev": st.just("R1"), "model": st.just("M")}
    ),
)


_nothing = st.just({})


def _kind(name: str, values: st.SearchStrategy[dict] = _nothing) -> st.SearchStrategy[dict]:
    return values.map(lambda found: {"device": name, "slot": "", **found})


_mac = st.integers(0, 0xFFFFFF).map(
    lambda n: "58:9c:fc:" + ":".join(f"{n:06x}"[i : i + 2] for i in (0, 2, 4))
)
_some = st.fixed_dictionaries
_on = st.just(True)
_tap = _some(
    {"type": st.just("tap"), "name": st.just("tap7"), "fix": _on, "bridge": st.just("sw-a")},
    optional={
        "mac": _mac,
        "mtu": st.integers(68, 9000),
        "link": st.just("down"),
        "rate_in": st.sampled_from(["8K", "800K"]),
    },
)
_port = st.builds(lambda kind, port: {"type": kind, **port}, st.sampled_from(["hd", "cd"]), _ata)
_device = st.one_of(
    _kind("virtio-blk", _block),
    _kind("ahci-hd", _ata),
    _kind("ahci-cd", _ata),
    _kind("ahci-cd"),
    _kind("ahci", st.lists(_port, min_size=2, max_size=4).map(lambda ports: {"ports": ports})),
    _kind("nvme", _block),
    _kind("nvme", st.just({"ram": 64, "maxq": 4})),
    _kind("virtio-net", _tap),
    _kind("e1000", _tap),
    _kind("e1000", st.just({"type": "slirp"})),
    _kind("virtio-net", st.just({"type": "netgraph", "path": "br0:", "peerhook": "link2"})),
    _kind("virtio-net", st.just({"type": "vale", "name": "vale1:3"})),
    _kind("virtio-rnd"),
    _kind("virtio-scsi", _some({"dev": st.just("/dev/cam/ctl1.1")}, optional={"iid": st.integers(0, 9)})),
    _kind("virtio-9p", _some({"share": st.just("s"), "path": st.just("/srv")}, optional={"ro": _on})),
    _kind(
        "virtio-console",
        st.just({"ports": [{"name": "org.a", "path": "/run/a"}, {"name": "b", "path": "/run/b"}]}),
    ),
    _kind("virtio-input", st.just({"path": "/dev/input/event0"})),
    _kind("hda", _some({}, optional={"play": st.just("/dev/dsp0"), "rec": st.just("/dev/dsp1")})),
    _kind("uart", st.just({"path": "/dev/nmdm5A"})),
    _kind(
        "passthru",
        _some({"src": st.just("1:0:2")}, optional={"rom": st.just("/r.rom"), "bootindex": st.integers(1, 3)}),
    ),
    _kind("xhci"),
)
_graphic = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["127.0.0.1", "::1"]),
        "port": st.integers(5900, 5999),
        "xhci_table": st.booleans(),
    },
    optional={
        "password": st.just("a'b\"<&>"),
        "wait": st.just(True),
        "vga": st.sampled_from(["io", "off", "on"]),
    },
)
_flags = ["force_msi", "disable_mptable_gen", "power_off_destroy_vm", "guest_in_core", "x2apic", "strict_io"]
_boot = st.one_of(
    st.just({}),
    st.just({"varfile": "/vars.fd"}),
    st.just({"loader": {"type": "bhyveload"}}),
    st.just(
        {
            "loader": {
                "type": "bhyveload",
                "env": {"autoboot_delay": "3"},
                "os_loader": "/boot/userboot_lua.so",
            }
        }
    ),
)
_main = st.fixed_dictionaries(
    {
        "cpu": st.one_of(st.integers(2, 8), st.just({"sockets": 2, "cores": 3, "threads": 2})),
        "mem": st.integers(64, 10**6).map(lambda n: f"{n}M"),
        **dict.fromkeys(("wire_guest_mem", "utc_clock", "ignore_msr", "generate_acpi"), st.booleans()),
    },
    optional={
        **dict.fromkeys(_flags, st.just(True)),
        "pinning": st.just({"0": [2, 3], "1": [0]}),
        "limits": st.just({"readbps": 1000, "writeiops": 5}),
        "restart": st.sampled_from([{"on_crash": True}, {"reboot_on": []}, {"reboot_on": [0, 1]}]),
        "com1": st.just("/dev/nmdm-web1.1A"),
        "com2": st.sampled_from(["stdio", "tcp=127.0.0.1:4001", "tcp=[::1]:4001"]),
        "gdb": st.just("w127.0.0.1:1234"),
        "keyboard": st.just("de_noacc"),
        "options": st.just({"system.serial_number": "1 2", "x.y": "z"}),
        "tpm": st.sampled_from([{"type": "passthru", "path": "/dev/tpm0"}, {"type": "swtpm", "state": "/t"}]),
    },
)


@st.composite
def documents(draw) -> dict:
    devices = draw(st.lists(_device, max_size=6))
    slots = draw(st.permutations([f"0:{slot}:0" for slot in range(1, 31)] + ["1:3:0", "0:30:1"]))
    for entry, slot in zip(devices, slots, strict=False):
        entry["slot"] = slot
    document = {**BASE, **draw(_main), "emulations": devices}
    boot = draw(_boot)
    if any(entry["device"] == "passthru" for entry in devices):
        document["wire_guest_mem"] = True
    if "loader" in boot and not any(
        "path" in entry and entry["device"] in {"virtio-blk", "nvme", "ahci-hd"} for entry in devices
    ):
        boot = {}
    if "loader" in boot:
        del document["bootrom"]
        for entry in devices:
            for holder in (entry, *entry.get("ports", ())):
                if isinstance(holder, dict) and entry["device"] != "passthru":
                    holder.pop("bootindex", None)
    document |= boot
    if draw(st.booleans()):
        graphic = draw(_graphic) | {"slot": slots[10]}
        document["graphic"] = graphic | ({"xhci_slot": slots[11]} if graphic["xhci_table"] else {})
        if not graphic["xhci_table"]:
            # A tablet beside a screen is the screen's: that is the same machine.
            document["emulations"] = [entry for entry in devices if entry["device"] != "xhci"]
    return document


def _plain(document: dict) -> dict:
    """Devices in the order of their slots: libvirt and arguments keep an order of their own."""
    entries = sorted(document["emulations"], key=lambda entry: entry["slot"])
    loader = document.get("loader", {})
    return {
        **document,
        "emulations": [
            {key: value for key, value in entry.items() if value is not False} for entry in entries
        ],
        **({"loader": {key: value for key, value in loader.items() if key != "disk"}} if loader else {}),
        "graphic": {key: value for key, value in document.get("graphic", {}).items() if value is not False},
        "fwcfg": "",
    }


@given(documents())
def test_a_document_comes_back_from_libvirt_as_it_was(document):
    again, notes = back(document)
    if "Left out: what bhyveload is told; libvirt knows no quotation there." in notes:
        document |= {"loader": {"type": "bhyveload"}}
    assert _plain(again) == _plain(document), notes


KVM = """<domain type='kvm' id='3'>
<name>db.example.org</name><title>Database</title><metadata><x:os xmlns:x='http://x'/></metadata>
<memory unit='KiB'>4194304</memory><vcpu placement='static' current='1'>4</vcpu>
<os firmware='efi'><type arch='x86_64' machine='pc-q35-8.2'>hvm</type>
<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader><boot dev='hd'/></os>
<cpu mode='host-passthrough' check='none'/><features><acpi/><apic/><vmport state='off'/></features>
<clock offset='utc'><timer name='rtc' tickpolicy='catchup'/></clock><pm><suspend-to-mem enabled='no'/></pm>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none' discard='unmap'/>
<source file='/var/lib/libvirt/images/db.qcow2'/><target dev='vda' bus='virtio'/>
<address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>
<disk type='block' device='disk'><source dev='/dev/vg/data'/><target dev='sda' bus='scsi'/></disk>
<disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>
<interface type='network'><mac address='52:54:00:11:22:33'/><source network='default'/>
<model type='rtl8139'/></interface>
<serial type='pty'><target type='isa-serial' port='0'/></serial><console type='pty'/>
<graphics type='spice' autoport='yes'/><video><model type='qxl' ram='65536'/></video>
<input type='tablet' bus='usb'/><input type='keyboard' bus='ps2'/>
<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
<hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/></source></hostdev>
<watchdog model='itco' action='reset'/></devices></domain>"""


def test_a_vm_of_kvm_becomes_one_of_bhyve_and_all_that_changes_is_told():
    found = read("libvirt", KVM, folder="/vm/db")
    assert found.problems == ()
    document = found.document
    assert (document["name"], document["cpu"], document["mem"]) == ("db-example-org", 4, "4096M")
    assert document["bootrom"].endswith("BHYVE_UEFI.fd")
    assert [(entry["device"], entry["slot"]) for entry in document["emulations"]] == [
        ("virtio-blk", "0:6:0"), ("ahci-hd", "0:3:0"), ("ahci-cd", "0:4:0"), ("e1000", "0:5:0"),
    ]  # fmt: skip
    assert found.disks[0].format == "qcow2"
    assert (document["com1"], document["tpm"]["state"]) == ("/dev/nmdm-db-example-org.1A", "/vm/db/tpm")
    told = "\n".join(found.notes)
    for word in (
        "VM of kvm",
        "1 of its 4 CPUs",
        "qcow2",
        "scsi to SATA",
        "rtl8139",
        "default",
        "spice",
        "watchdog",
    ):
        assert word in told, told
    for word in ("vmport", "host-passthrough", "domain/pm", "kind usb", "metadata", "OVMF_CODE"):
        assert word in told, told
