"""A vm.json becomes rows, and the rows become the same vm.json again; nobody gets more than is theirs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bhype.vmrun.config import equals_root, parse
from storage.models import Iso
from vms import plan, wanted
from vms.models import VM, Disk, Nic

MIB, GIB = 2**20, 2**30
Document = dict[str, Any]
OWN = "/dev/zvol/tank/bhype/vms/web1/disk"


@pytest.fixture
def iso(pool):
    return Iso.objects.create(pool=pool, name="debian.iso", size=MIB)


def faults(refused: pytest.ExceptionInfo[wanted.WantedError]) -> set[tuple[str, str]]:
    return {(fault.where.partition(" ")[0], fault.field) for fault in refused.value.faults}


def plain(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "bhype"}


def devices(document: Document) -> dict[str, Document]:
    return {entry["slot"]: entry for entry in document["emulations"]}


def optional(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries({}, optional=keys)


def entry(device: str, must: dict[str, Any] | None = None, **may: Any) -> st.SearchStrategy[Document]:
    fixed = {
        key: value if isinstance(value, st.SearchStrategy) else st.just(value)
        for key, value in (must or {}).items()
    }
    return st.fixed_dictionaries({"device": st.just(device), **fixed}, optional=may)


yes = st.booleans()
block = {
    "direct": yes, "nocache": yes, "ro": yes, "nodelete": yes, "logical_sector_size": st.sampled_from([512, 4096]),
    "ser": st.sampled_from(["A1", "disk-2"]), "bootindex": st.integers(0, 9),
}  # fmt: skip
net = {
    "mtu": st.sampled_from([1400, 9000]),
    "rate_in": st.just("10M"),
    "link": st.sampled_from(["up", "down"]),
}
others = st.one_of(
    entry("ahci-cd"),
    entry("ahci-cd", {"path": "/tank/bhype/isos/debian.iso"}, bootindex=st.integers(0, 3)),
    entry("nvme", {"ram": st.integers(1, 4096)}),
    entry("virtio-rnd"),
    entry("virtio-9p", {"share": "data", "path": "/srv/data"}, ro=yes),
    entry("virtio-input", {"path": "/dev/input/event0"}),
    entry("hda", {"play": "/dev/dsp0"}),
    entry("uart", {"path": "/dev/nmdm-web1.5A"}),
    entry("virtio-console", {"ports": [{"name": "org.a", "path": "/var/run/bhype/vms/web1/console-a.sock"}]}),
    entry("virtio-scsi", {"dev": "/dev/cam/ctl1.1"}),
    entry("passthru", {"src": "1:0:0"}),
    entry("raw", {"value": "virtio-rnd"}),
    entry("ahci", {"ports": [{"type": "hd", "path": "/srv/a.img"}, {"type": "cd", "path": "/srv/b.iso"}]}),
)
mains = optional(
    generate_acpi=yes, wire_guest_mem=st.just(True), yield_on_hlt=yes, utc_clock=yes, ignore_msr=yes, force_msi=yes,
    x2apic=yes, strict_io=yes, guest_in_core=yes, keyboard=st.sampled_from(["de_noacc", "us_unix"]),
    hostbridge=st.sampled_from(["hostbridge", "amd_hostbridge"]), pinning=st.just({"0": [2, 3]}),
    tpm=st.sampled_from(
        [
            {"type": "swtpm", "state": "/tank/bhype/vms/web1/tpm", "version": "2.0"},
            {"type": "passthru", "path": "/dev/tpm0"},
        ]
    ),
    options=st.just({"memory.guest_in_core": "true"}), extra_options=st.just(["-G", "1234"]),
    post_start_script=st.just("/root/run.sh"), limits=st.just({"pcpu": 150, "readbps": "10M"}),
    nice=st.integers(-20, 20), protect=yes,
    restart=st.just({"reboot_on": [0], "on_crash": True, "limit": 5}), gdb=st.just("127.0.0.1:1234"),
    fw_cfg=st.just([{"name": "opt/a", "string": "b"}]), com1=st.just("/dev/nmdm-web1.1A"),
    com2=st.sampled_from(["/dev/nmdm-web1.2A", "tcp=127.0.0.1:4001", "stdio"]),
    graphic=st.fixed_dictionaries(
        {"host": st.just("127.0.0.1"), "port": st.just(5901), "password": st.just("abc")},
        optional={"vga": st.sampled_from(["io", "off"]), "wait": yes, "xhci_table": yes, "slot": st.just("0:29:0")},
    ).map(lambda found: found | {"width": 1280, "height": 720}),
    targets=st.just({"install": {"next_target": "default", "emulations": [{"device": "virtio-rnd"}]}}),
)  # fmt: skip
boots = st.sampled_from(
    [
        {"bootrom": plan.FIRMWARE_CODE, "varfile": "/tank/bhype/vms/web1/uefi-vars.fd"},
        {"bootrom": plan.FIRMWARE_CSM},
        {"bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"},
        {"bootrom": "/srv/rom.fd", "varfile": "/tank/bhype/vms/web1/uefi-vars.fd"},
        {"loader": {"type": "bhyveload", "env": {"autoboot_delay": "1"}}},
        {"loader": {"type": "grub", "root": "hd0,msdos1"}},
    ]
)
cpus = st.sampled_from([{"sockets": 1, "cores": 2, "threads": 1}, {"sockets": 2, "cores": 2, "threads": 2}])


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A vm.json of the VM web1 of the fixtures, with any device, each in a slot of its own."""
    found = {
        "name": "web1", "cpu": draw(cpus), "mem": draw(st.sampled_from(["512M", "3072M"])), "hostbridge": "hostbridge",
        **draw(boots), **draw(mains),
    }  # fmt: skip
    entries = draw(st.lists(others, max_size=4))
    for number in range(draw(st.integers(1, 3))):
        disk = draw(st.sampled_from(["virtio-blk", "nvme", "ahci-hd"]))
        path = draw(
            st.sampled_from(
                [f"{OWN}{number}", f"/tank/bhype/vms/web1/disk{number + 5}.img", f"/srv/{number}.img"]
            )
        )
        entries.append(draw(entry(disk, {"path": path}, **block)))
    for number in range(draw(st.integers(0, 2))):
        mac = f"58:9c:fc:00:00:{number + 1:02x}"
        kind = draw(st.sampled_from(["virtio-net", "e1000"]))
        backend = draw(
            st.sampled_from(
                [
                    {"bridge": "sw-nat"},
                    {"name": f"vale0:{number}", "type": "vale"},
                    {"type": "netgraph", "path": "sw0:", "peerhook": "link0"},
                    {"name": f"tap{number}", "bridge": "bridge0", "type": "tap"},
                ]
            )
        )
        entries.append(draw(entry(kind, {"mac": mac, **backend}, **net)))
    for number, one in enumerate(entries):
        one["slot"] = f"0:{number + 4}:0"
    if any(one["device"] == "passthru" for one in entries):
        found["wire_guest_mem"] = True
    return found | {"emulations": entries}


def meaning(document: Document) -> Document:
    """The document as the supervisor understands it: what the panel may say in other words is the same then."""
    named = [
        {"name": "tap0", **one} if one.get("bridge") == "sw-nat" else one for one in document["emulations"]
    ]
    config = parse({**document, "emulations": named})
    entries = {}
    for device in config.devices:
        values = dict(device.values)
        if values.get("bridge") == "sw-nat":
            values = {
                key: value for key, value in values.items() if key not in {"name", "description", "type"}
            }
        entries[str(device.slot)] = (device.kind, device.fix or values.get("bridge") == "sw-nat", values)
    skip = {"devices", "unknown", "lpc_slot", "uuid", "flags"}
    flags = {**config.flags, "power_off_destroy_vm": True}
    return {name: getattr(config, name) for name in config.__slots__ if name not in skip} | {
        "flags": flags, "devices": entries, "targets": document.get("targets"),
    }  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(document=documents())
def test_what_was_applied_is_what_the_rows_say(vm, admin, iso, document):
    sizes = dict.fromkeys((one["path"] for one in document["emulations"] if "path" in one), 10 * GIB)
    before = copy.deepcopy(document)
    with transaction.atomic():
        change = wanted.apply(vm, document, admin, sizes=sizes)
        assert document == before, "the caller's document stays as it was"
        after = change.after
        assert meaning(after) == meaning(document)
        again = wanted.apply(vm, after, admin)
        assert not again.is_change
        assert again.after == plan.document(wanted.load(vm.pk))
        assert {fault.field for fault in _as_stranger(vm, after)} == set()
        transaction.set_rollback(True)


def _as_stranger(vm: VM, document: Document) -> tuple[wanted.Fault, ...]:
    """What an owner is refused who writes back what an admin had written: nothing."""
    try:
        wanted.apply(vm, document, vm.owner)
    except wanted.WantedError as refused:
        return refused.faults
    return ()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(document=documents())
def test_an_owner_gets_nothing_that_equals_root(vm, alice, iso, document):
    sizes = dict.fromkeys((one["path"] for one in document["emulations"] if "path" in one), 10 * GIB)
    own_line = any(one.get("path") == "/dev/nmdm-web1.5A" for one in document["emulations"])
    dangerous = [line for line in equals_root(document) if not (own_line and "uart" in line)]
    outside = [one for one in document["emulations"] if str(one.get("path")).startswith("/srv")]
    with transaction.atomic():
        try:
            wanted.apply(vm, document, alice, sizes=sizes)
            assert not dangerous
            assert not outside
        except wanted.WantedError as refused:
            assert dangerous or outside or "bridge0" in str(document), refused
        transaction.set_rollback(True)


# A new VM.


BROUGHT = {
    "name": "old-name", "uuid": "0b0d1c5e-3c1f-4a5e-9f2e-6f3a1a7a8b9c", "cpu": 4, "mem": "1G", "utc_clock": False,
    "bootrom": plan.FIRMWARE_CODE, "varfile": "/vm/old-name/vars.fd", "com1": "/dev/nmdm-old-name.1A",
    "graphic": {"host": "0.0.0.0", "port": 5900, "password": "abc"}, "lpc_slot": "0:1:0",
    "emulations": [
        {"device": "virtio-blk", "path": "/dev/zvol/tank/bhype/vms/new1/disk0", "slot": "3"},
        {"device": "e1000", "bridge": "sw-nat", "mac": "58:9C:FC:AA:00:01"},
        {"device": "ahci-cd"},
    ],
}  # fmt: skip


def bring(vm, user, **more: Any) -> wanted.Change:
    row = VM(host=vm.host, pool=vm.pool, owner=user, name="new1")
    sizes = {"/dev/zvol/tank/bhype/vms/new1/disk0": GIB}
    return wanted.apply(row, copy.deepcopy(BROUGHT) | more, user, create=True, sizes=sizes)


def test_a_document_from_elsewhere_becomes_a_vm_of_its_own(vm, alice):
    made = bring(vm, alice).vm
    assert (made.name, str(made.uuid), made.state) == ("new1", BROUGHT["uuid"], VM.State.CREATING)
    # As bhyve takes a number of CPUs alone.
    assert (made.cpus, made.sockets, made.utc_clock) == (4, 4, False)
    document = plan.document(wanted.load(made.pk))
    assert document["varfile"] == "/tank/bhype/vms/new1/uefi-vars.fd"
    assert document["com1"] == "/dev/nmdm-new1.1A"
    assert document["graphic"]["host"] == "127.0.0.1"
    assert document["graphic"]["port"] not in {0, vm.vnc_port}
    assert document["graphic"]["password"] == "abc"
    assert [(entry["device"], entry["slot"]) for entry in document["emulations"]] == [
        ("virtio-blk", "0:3:0"), ("ahci-cd", "0:4:0"), ("e1000", "0:10:0"),
    ]  # fmt: skip
    assert document["emulations"][2]["mac"] == "58:9c:fc:aa:00:01"


def test_what_is_taken_is_not_given_twice(vm, alice):
    bring(vm, alice)
    with pytest.raises(wanted.WantedError) as refused:
        bring(vm, alice)
    assert ("vm", "name") in faults(refused)
    row = VM(host=vm.host, pool=vm.pool, owner=alice, name="new2")
    document = copy.deepcopy(BROUGHT) | {"emulations": []}
    made = wanted.apply(row, document, alice, create=True).vm
    assert str(made.uuid) != BROUGHT["uuid"]
    assert len(set(VM.objects.values_list("vnc_port", flat=True))) == 3


# What is refused.


def entry_of(vm: VM, **entry: Any) -> Document:
    document = plan.document(wanted.load(vm.pk))
    document["emulations"].append(entry)
    return document


@pytest.mark.parametrize(
    ("entry", "field", "word"),
    [
        ({"device": "virtio-blk", "path": f"{OWN}1"}, "size", "how large"),
        ({"device": "virtio-blk", "path": f"{OWN}0"}, "path", "twice"),
        ({"device": "virtio-blk", "path": f"{OWN}01"}, "path", "bHype's own"),
        ({"device": "virtio-blk", "path": "/tank/bhype/vms/web1/disk0.img"}, "path", "another way"),
        ({"device": "virtio-blk", "path": "/dev/zvol/tank/bhype/vms/db1/disk0"}, "path", "another VM"),
        ({"device": "virtio-blk", "path": "disk.img"}, "path", "absolute"),
        ({"device": "ahci-cd", "path": "/tank/bhype/isos/none.iso"}, "path", "library"),
        ({"device": "virtio-net", "bridge": "sw-nat", "mac": "58:9c:fc:00:00:01"}, "mac", "port"),
        ({"device": "virtio-net", "bridge": "sw-dmz"}, "bridge", "nat"),
        ({"device": "virtio-rnd", "slot": "0:4:0"}, "", "taken"),
        ({"device": "virtio-rnd", "surprise": 1}, "surprise", "reads"),
        ({"device": "toaster"}, "device", "emulated"),
    ],
)
def test_a_device_that_does_not_fit_is_refused_where_it_is(vm, admin, entry, field, word):
    with pytest.raises(wanted.WantedError) as refused:
        wanted.apply(vm, entry_of(vm, **entry), admin)
    (fault,) = refused.value.faults
    assert fault.field == field
    assert word in fault.message
    assert fault.where.startswith("emulations[2]") or fault.where == "0:4:0 virtio-rnd"
    assert Disk.objects.count() == Nic.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "web2"}, "name"),
        ({"uuid": "0b0d1c5e-3c1f-4a5e-9f2e-6f3a1a7a8b9c"}, "uuid"),
        ({"lpc_slot": "0:2:0"}, "lpc_slot"),
        ({"power_off_destroy_vm": False}, "power_off_destroy_vm"),
        ({"cpu": 9}, "cpu"),
        ({"mem": "33G"}, "mem"),
        ({"mem": "1048577"}, "mem"),
        ({"varfile": "/etc/passwd"}, "varfile"),
        ({"graphic": {"host": "0.0.0.0"}}, "graphic"),
        ({"graphic": {"port": 22}}, "port"),
        ({"pinning": {"0": [9]}}, "pinning"),
        ({"com2": "tty"}, "com2"),
        ({"surprise": 1}, "surprise"),
        ({"next_target": "install"}, "next_target"),
        ({"targets": {"x": {"next_target": "y"}}}, "next_target"),
        ({"targets": {"x": {"mem": "99G"}}}, "mem"),
        ({"targets": {"x": {"graphic": {"host": "127.0.0.1", "port": 6000}}}}, "graphic"),
        ({"targets": {"x": {"emulations": [{"device": "toaster"}]}}}, "device"),
        ({"tpm": {"type": "passthru", "path": "/tank/bhype/x"}}, "tpm"),
        # Of a kind that no key has.
        ({"name": ["web1"]}, "name"),
        ({"tpm": {"type": "swtpm", "state": {}}}, "state"),
        ({"graphic": {"host": "127.0.0.1", "password": []}}, "password"),
        ({"targets": {"x": {"graphic": {"host": "127.0.0.1", "port": [5900]}}}}, "port"),
        ({"emulations": [{"device": "virtio-net", "type": [None], "bridge": "sw-nat"}]}, "type"),
    ],
)
def test_a_key_that_does_not_fit_is_refused_by_name(vm, admin, change, field):
    with pytest.raises(wanted.WantedError) as refused:
        wanted.apply(vm, plan.document(wanted.load(vm.pk)) | change, admin)
    assert field in {fault.field for fault in refused.value.faults}
    assert VM.objects.get().revision == 1


def test_all_that_is_wrong_is_said_at_once(vm, alice):
    document = entry_of(vm, device="raw", value="x") | {"cpu": 99, "mem": "99G", "gdb": "1"}
    with pytest.raises(wanted.WantedError) as refused:
        wanted.apply(vm, document, alice)
    assert faults(refused) == {("vm", "cpu"), ("vm", "mem"), ("vm", "gdb"), ("emulations[2]", "value")}


@pytest.mark.parametrize(
    "document",
    [None, [], "x", {"name": "\ud800"}, {"notes": "a\0b"}, {"cpu": float("nan")}, {"x": "y" * 300_000}],
)
def test_what_no_database_could_hold_is_refused(vm, admin, document):
    with pytest.raises(wanted.WantedError):
        wanted.apply(vm, document, admin)


def test_a_change_upon_an_older_revision_is_stale(vm, alice):
    document = plan.document(wanted.load(vm.pk))
    wanted.apply(vm, document | {"mem": "1G"}, alice, revision=1)
    with pytest.raises(wanted.WantedError) as refused:
        wanted.apply(vm, document | {"mem": "3G"}, alice, revision=1)
    assert refused.value.is_stale
    assert VM.objects.get().revision == 2


def test_two_guests_never_write_to_one_disk_of_the_host(vm, host, pool, admin):
    other = VM.objects.create(host=host, pool=pool, name="db1", memory=GIB, vnc_port=5999)
    for ro in (False, True):
        Disk.objects.all().delete()
        Disk.objects.create(vm=other, index=0, backing="path", host_path="/srv/a", size=0, options={"ro": ro})
        document = entry_of(vm, device="nvme", path="/srv/a", ro=True)
        if ro:
            assert wanted.apply(vm, document, admin).is_change
        else:
            with pytest.raises(wanted.WantedError, match="Another VM"):
                wanted.apply(vm, document, admin)


def test_what_is_detached_comes_back_as_it_was(vm, alice):
    before = plan.document(wanted.load(vm.pk))
    wanted.apply(vm, before | {"emulations": []}, alice)
    assert not Disk.objects.get().is_attached
    assert not Nic.objects.get().is_attached
    after = wanted.apply(vm, before, alice).after
    assert plain(after) == plain(before)
    assert Disk.objects.count() == Nic.objects.count() == 1


def test_adding_a_device_moves_no_other(vm, alice):
    before = devices(plan.document(wanted.load(vm.pk)))
    after = devices(wanted.apply(vm, entry_of(vm, device="virtio-rnd"), alice).after)
    assert {slot: entry for slot, entry in after.items() if slot in before} == before
