"""The schema of vm.json: vmrun's, extended, without its mistakes."""

from __future__ import annotations

import itertools
import json
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhype.freebsd.bhyve import Address, command
from bhype.vmrun import config
from bhype.vmrun.config import load, parse, select
from bhype.vmrun.devices import KINDS
from bhype.vmrun.machine import machine
from bhype.vmrun.problems import Problem, Unfit, tree

# The example of vmrun's README.
README = {
    "name": "freebsd-test",
    "cpu": 2,
    "mem": "512M",
    "com1": "stdio",
    "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
    "emulations": [{"device": "virtio-net", "name": "tap3"}, {"device": "virtio-blk", "path": "disk.img"}],
    "targets": {
        "install": {
            "emulations": [{"device": "ahci-cd", "path": "FreeBSD-13.0-RELEASE-amd64-disc1.iso"}],
            "next_target": "default",
        }
    },
}
SMALL = {"name": "a", "cpu": 1, "mem": "64M", "emulations": []}


def line(document: dict, target: str | None = None) -> str:
    return shlex.join(command(machine(parse(select(document, target)))).argv)


def devices(*emulations: dict, **more: object) -> list[str]:
    """The -s words that these devices become, without host bridge and LPC."""
    words = shlex.split(line({**SMALL, **more, "emulations": list(emulations)}))
    found = [word for before, word in itertools.pairwise(words) if before == "-s"]
    return found[2:]


def complaints(document: dict, target: str | None = None) -> list[str]:
    with pytest.raises(Unfit) as caught:
        line(document, target)
    return [f"{problem.where}: {problem.what}" for problem in caught.value.problems]


def test_the_readmes_example_gives_the_command_that_vmrun_gives():
    """But for the absolute path of the program."""
    assert line(README) == (
        "/usr/sbin/bhyve -A -H -u -c 2 -m 524288K -s 0:0:0,hostbridge -s 0:31:0,lpc "
        "-s 0:1:0,virtio-net,tap3,type=tap -s 0:2:0,virtio-blk,disk.img "
        "-l bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd -l com1,stdio freebsd-test"
    )


def test_a_target_adds_its_devices():
    assert "-s 0:3:0,ahci-cd,FreeBSD-13.0-RELEASE-amd64-disc1.iso -l bootrom" in line(README, "install")
    assert parse(select(README, "install")).next_target == "default"


def test_default_goes_back_to_the_main_part():
    installed = select(README, "install")
    assert select(README, "default", installed) is README
    assert line(README, "default") == line(README)


def test_targets_add_up_on_the_way():
    document = {
        **SMALL,
        "varfile": "/vars",
        "targets": {
            "one": {
                "emulations": [{"device": "virtio-rnd"}],
                "mem": "128M",
                "next_target": "two",
                "name": "z",
            },
            "two": {"emulations": [{"device": "xhci"}], "bootrom": "/other.fd"},
        },
    }
    one = select(document, "one")
    two = parse(select(document, "two", one))
    assert [device.kind for device in two.devices] == ["virtio-rnd", "xhci"]
    assert two.memory == 128 << 20
    # The ROM and its variables change as a pair; the name never does; nor does an old next target come back.
    assert (two.bootrom, two.varfile, two.name, two.next_target) == ("/other.fd", None, "a", None)


def test_targets_in_a_circle_add_their_devices_once():
    document = {
        **SMALL,
        "emulations": [{"device": "virtio-rnd"}],
        "targets": {
            "one": {"emulations": [{"device": "virtio-rnd"}], "next_target": "one"},
            "two": {"emulations": [{"device": "xhci"}], "next_target": "one"},
        },
    }
    kinds, found = ["virtio-rnd", "virtio-rnd"], select(document, "one")
    for target in ("one", "two", "one", "two"):
        found = select(document, target, found)
        kinds += ["xhci"] if target == "two" and "xhci" not in kinds else []
        assert [device.kind for device in parse(found).devices] == kinds


def test_an_unknown_target_is_named():
    assert complaints(README, "nope") == ["targets: There is no target 'nope'."]


@pytest.mark.parametrize(
    ("written", "size"),
    [("512M", 512 << 20), ("2g", 2 << 30), ("1T", 1 << 40), ("4096k", 4 << 20), ("512mb", 512 << 20),
     ("1GiB", 1 << 30),     ("0512M", 512 << 20), (536870912, 512 << 20), ("128m", 128 << 20)],
)  # fmt: skip
def test_memory_is_written_in_any_unit(written, size):
    assert parse({**SMALL, "mem": written}).memory == size


@pytest.mark.parametrize(
    "written", ["512", "0x10M", "M", "1.5G", "-1M", "", True, [], 5, "1P", "9" * 99 + "M"]
)
def test_other_memory_is_refused(written):
    assert complaints({**SMALL, "mem": written})[0].startswith("vm: mem: ")


def test_threads_and_cores_are_not_swapped():
    assert "-c cpus=8,sockets=1,cores=4,threads=2 " in line(
        {**SMALL, "cpu": {"sockets": 1, "cores": 4, "threads": 2}}
    )


@pytest.mark.parametrize(
    "cpu", [0, -1, True, "two", {"cores": 2}, {"sockets": 0, "cores": 1, "threads": 1}, None, 1.5]
)
def test_other_cpus_are_refused(cpu):
    assert complaints({**SMALL, "cpu": cpu})


@pytest.mark.parametrize(
    ("emulation", "word"),
    [
        ({"device": "virtio-net", "name": "tap1", "mtu": "9000", "mac": "58:9C:FC:00:00:01"},
         "virtio-net,tap1,type=tap,mtu=9000,mac=58:9c:fc:00:00:01"),
        ({"device": "virtio-net", "name": "netgraph,x", "type": "tap"}, None),
        ({"device": "virtio-net", "name": "vale0:1"}, "virtio-net,vale0:1,type=vale"),
        ({"device": "e1000", "name": "tap1", "mtu": 1400}, "e1000,tap1,type=tap"),
        ({"device": "virtio-blk", "path": "/d", "nodelete": True, "logical_sector_size": 512,
          "physical_sector_size": 4096},
         "virtio-blk,/d,nodelete,sectorsize=512/4096"),
        ({"device": "virtio-blk", "path": "/d", "direct": True, "nocache": True, "ro": True},
         "virtio-blk,/d,direct,nocache,ro"),
        ({"device": "ahci-hd", "path": "/d", "ser": "x", "nmrr": 1}, "ahci-hd,/d,nmrr=1,ser=x"),
        ({"device": "ahci-cd"}, "ahci-cd,/var/run/bhype/vms/a/empty.iso,ro"),
        ({"device": "nvme", "path": "/d", "qsz": 64}, "nvme,/d,qsz=64"),
        ({"device": "nvme", "ram": 64}, "nvme,ram=64"),
        ({"device": "virtio-console", "ports": ["/a", {"path": "/b"}]}, "virtio-console,port1=/a,port2=/b"),
        ({"device": "virtio-rnd"}, "virtio-rnd"),
        ({"device": "xhci"}, "xhci,tablet"),
        ({"device": "raw", "value": "virtio-9p,home=/home"}, "virtio-9p,home=/home"),
    ],
)  # fmt: skip
def test_devices_become_bhyves_words(emulation, word):
    if word is None:
        with pytest.raises(Unfit):
            devices(emulation)
    else:
        assert devices(emulation) == [f"0:1:0,{word}"]


def test_passthrough_wants_wired_memory():
    emulation = {"device": "passthru", "src": "1:0:0", "rom": "/rom"}
    assert devices(emulation, wire_guest_mem=True) == ["0:1:0,passthru,1/0/0,rom=/rom"]
    assert complaints({**SMALL, "emulations": [emulation]}) == [
        "memory: A passed-through device needs the guest's memory wired."
    ]


def test_slots_that_are_named_are_kept_and_the_others_go_around_them():
    rnd = {"device": "virtio-rnd"}
    assert devices({**rnd, "slot": "0:2:0"}, rnd, rnd) == [
        "0:2:0,virtio-rnd",
        "0:1:0,virtio-rnd",
        "0:3:0,virtio-rnd",
    ]
    # A function beside does not block the slot.
    assert devices({**rnd, "slot": "0:1:1"}, rnd)[1] == "0:1:0,virtio-rnd"
    assert devices({**rnd, "slot": 5}, {**rnd, "slot": "6:1"}) == ["0:5:0,virtio-rnd", "0:6:1,virtio-rnd"]


def test_the_old_firmware_gets_its_devices_enabled_by_bhyve():
    """FreeBSD 15 leaves that to the boot ROM."""
    document = {**SMALL, "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI_CSM.fd"}
    assert machine(parse(document)).variables == (("pci.enable_bars", "true"),)
    own = {**document, "options": {"pci.enable_bars": "false"}}
    assert machine(parse(own)).variables == (("pci.enable_bars", "false"),)
    assert machine(parse({**document, "loader": {"type": "bhyveload", "disk": "/a.img"}})).variables == ()
    assert machine(parse(SMALL)).variables == ()


def test_the_host_bridge_makes_room():
    assert "-s 0:1:0,hostbridge" in line({**SMALL, "emulations": [{"device": "virtio-rnd", "slot": "0:0:0"}]})


def test_many_devices_go_on_to_the_next_bus():
    found = devices(*[{"device": "virtio-rnd"}] * 33)
    assert found[29].startswith("0:30:0,")
    assert found[30].startswith("1:0:0,")
    assert found[32].startswith("1:2:0,")
    assert " -Y " in line({**SMALL, "emulations": [{"device": "virtio-rnd"}] * 33})


def test_more_devices_than_slots_are_refused():
    assert complaints({**SMALL, "emulations": [{"device": "virtio-rnd"}] * 8000}) == [
        "pci: There are more devices than slots."
    ]


def test_the_lpc_bridge_can_move():
    document = {**SMALL, "lpc_slot": "0:5:0", "emulations": [{"device": "virtio-rnd", "slot": "0:31:0"}]}
    assert "-s 0:5:0,lpc -s 0:31:0,virtio-rnd" in line(document)
    assert complaints({**SMALL, "lpc_slot": "1:5:0"}) == ["1:5:0 lpc: The LPC bridge can only be on bus 0."]


def test_a_slot_taken_twice_is_named():
    rnd = {"device": "virtio-rnd", "slot": "0:31:0"}
    assert complaints({**SMALL, "emulations": [rnd]}) == ["0:31:0 virtio-rnd: The slot is taken by lpc."]


def test_the_screen_and_its_tablet_take_the_next_slots():
    graphic = {"host": "127.0.0.1", "port": 5901, "width": 1024, "height": 768, "vga": "io", "wait": True}
    assert devices({"device": "virtio-rnd"}, graphic=graphic)[1:] == [
        "0:2:0,fbuf,tcp=127.0.0.1:5901,w=1024,h=768,vga=io,wait",
        "0:3:0,xhci,tablet",
    ]
    assert devices(graphic={"host": "::1", "xhci_table": False}) == ["0:1:0,fbuf,tcp=[::1]:5900"]


def test_only_the_first_start_waits_for_a_viewer():
    found = parse({**SMALL, "graphic": {"host": "127.0.0.1", "wait": True}})
    assert "wait" in str(machine(found).slots[2])
    assert "wait" not in str(machine(found, wait=False).slots[2])


def test_the_password_is_in_a_file_not_in_the_command():
    found = parse({**SMALL, "graphic": {"host": "127.0.0.1", "password": "geheim12"}})
    plan = machine(found, folder="/var/run/x")
    assert "geheim12" not in " ".join(command(plan).argv)
    assert command(plan).argv[-3:] == ("-k", "/var/run/x/secret.conf", "a")
    assert plan.secrets == "pci.0.1.0.password=geheim12\n"


def test_all_flags_reach_bhyve():
    flags = [
        "wire_guest_mem",
        "yield_on_pause",
        "force_msi",
        "disable_mptable_gen",
        "ignore_msr",
        "power_off_destroy_vm",
    ]
    assert line({**SMALL, **dict.fromkeys(flags, True)}).startswith(
        "/usr/sbin/bhyve -A -S -H -P -W -Y -u -w -D "
    )
    off = dict.fromkeys(["generate_acpi", "yield_on_hlt", "utc_clock"], False)
    assert line({**SMALL, **off}).startswith("/usr/sbin/bhyve -c 1 ")


def test_extra_options_are_not_forgotten():
    document = {**SMALL, "extra_options": "-o 'a=b c' -x", "gdb": "127.0.0.1:1234"}
    assert line(document).endswith(" -o 'a=b c' -x a")
    assert "-G 127.0.0.1:1234" in line(document)
    assert line({**SMALL, "extra_options": ["-x"]}).endswith(" -x a")


def test_all_serial_lines_are_allowed():
    document = {**SMALL, "com4": "/dev/nmdm-a.4A", "com2": "/dev/nmdm2B"}
    assert "-l com2,/dev/nmdm2B -l com4,/dev/nmdm-a.4A a" in line(document)


def test_keys_that_nothing_reads_are_listed():
    document = {**SMALL, "colour": 1, "bhype": {"id": 1}, "emulations": [{"device": "virtio-rnd", "size": 1}]}
    assert parse(document).unknown == ("vm: colour", "emulations[0] virtio-rnd: size")


def test_all_mistakes_are_told_at_once():
    assert complaints(
        {
            "name": "-x",
            "cpu": "many",
            "uuid": "1",
            "com1": "/etc/passwd",
            "utc_clock": "yes",
            "emulations": [
                {"device": "virtio-blk", "path": "/a,ro"},
                {"device": "floppy"},
                {"device": "virtio-net"},
                {"device": "nvme"},
                7,
            ],
            "graphic": {"port": 0, "password": "longer than 8", "width": 10, "vga": "maybe"},
        }
    ) == [
        "vm: name: A name has letters, digits and . _ -, starts with a letter or digit, "
        "and has at most 60 characters.",
        "vm: cpu: 'many' is not a number.",
        "vm: uuid: '1' is not a UUID.",
        "vm: com1: '/etc/passwd' is not a serial line; "
        'write "stdio", a device such as /dev/nmdm-web1.1A, or tcp=127.0.0.1:4001.',
        "vm: utc_clock: 'yes' is not true or false.",
        "graphic: port: 0 is not a port.",
        "graphic: password: VNC uses only its first 8 characters.",
        "graphic: width: 10 is not between 640 and 3840.",
        "graphic: vga: 'maybe' is none of io, off, on.",
        "graphic: host: It is missing.",
        "vm: mem: It is missing.",
        "emulations[0] virtio-blk: path: '/a,ro' has a character that bhyve does not take literally "
        "(one of , % \\).",
        "emulations[1]: device: 'floppy' is not a device that can be emulated.",
        "emulations[2] virtio-net: name: It is missing.",
        "emulations[3] nvme: path: It needs a path or ram.",
        "emulations[4]: device: None is not a device that can be emulated.",
    ]


@pytest.mark.parametrize("text", ["", "[]", "{", "1", "[" * 100000, '{"name": NaN'])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(Unfit):
        load(text)


def test_problems_are_a_tree_by_device():
    problems = [
        Problem("0:1:0 virtio-blk", "a"),
        Problem("memory", "b", "Mend."),
        Problem("0:1:0 virtio-blk", "c"),
    ]
    assert tree("web1", problems) == (
        "web1\n"
        "├─ 0:1:0 virtio-blk\n"
        "│  ├─ a\n"
        "│  └─ c\n"
        "└─ memory\n"
        "   └─ b Mend."
    )  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
# Also values that are nearly right, so that the checks behind the first one are reached.
NEARLY = st.sampled_from(
    [
        "/a",
        "tap1",
        "1:0:0",
        "10M",
        "stdio",
        "tcp=1.2.3.4:99999",
        "::1",
        1,
        0,
        -1,
        512,
        True,
        "",
        "\x00",
        "ram=1",
        "grub",
    ]
)
VALUES = JSON | NEARLY | st.dictionaries(
    st.sampled_from(sorted({key for option in config.KEYS.values() for key in option.options})), NEARLY, max_size=4
)  # fmt: skip
DEVICE_KEYS = sorted({"device", "slot", "fix", *(key for kind in KINDS.values() for key in kind.options)})


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*config.KEYS, "emulations", "targets"]), VALUES),
    st.dictionaries(st.sampled_from(DEVICE_KEYS), VALUES),
    st.sampled_from([*KINDS, "x"]),
    st.none() | st.just("install"),
)
def test_no_document_breaks_it(changes, device, kind, target):
    """Whatever JSON holds: either a command of whole words, or problems."""
    document = {**README, **changes}
    if isinstance(document["emulations"], list):
        document["emulations"] = [*document["emulations"], {"device": kind, **device}]
    document = load(json.dumps(document))
    assert isinstance(config.equals_root(document), list)
    try:
        argv = command(machine(parse(select(document, target)))).argv
    except Unfit as error:
        assert error.problems
        assert tree(error.name, error.problems)
    else:
        assert all(word and word.isprintable() for word in argv)


@given(st.lists(st.none() | st.tuples(st.integers(0, 1), st.integers(0, 31), st.integers(0, 7)), max_size=40))
def test_no_two_devices_share_a_slot(places):
    emulations = [
        {"device": "virtio-rnd", **({"slot": ":".join(map(str, place))} if place else {})} for place in places
    ]
    try:
        slots = machine(parse({**SMALL, "emulations": emulations})).slots
    except Unfit:
        wanted = [place for place in places if place]
        assert len(set(wanted)) < len(wanted) or (0, 31, 0) in wanted
    else:
        addresses = [slot.address for slot in slots]
        assert len(set(addresses)) == len(addresses)
        for place, slot in zip(places, slots[2:], strict=True):
            assert place is None or slot.address == Address(*place)


def test_a_file_of_a_later_version_is_refused():
    assert parse({**SMALL, "version": 1}) == parse(SMALL)
    assert complaints({**SMALL, "version": 2}) == [
        "vm: version: this bHype reads version 1; the file is of version 2."
    ]


def test_names_are_those_that_bhyve_takes():
    for name in ("Windows_10", "FreeBSD-14.1", "9front", "a" * 60):
        assert parse({**SMALL, "name": name}).name == name
    for name in ("", "-a", ".", "../x", "a/b", "a b", "a" * 61, "tänk", "a\n"):
        assert complaints({**SMALL, "name": name})


def test_a_lone_device_may_stand_without_a_list():
    target = {"emulations": {"device": "hda"}}
    text = json.dumps({**SMALL, "emulations": {"device": "virtio-rnd"}, "targets": {"install": target}})
    devices = parse(select(load(text), "install")).devices
    assert [device.kind for device in devices] == ["virtio-rnd", "hda"]
