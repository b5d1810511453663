"""Any valid vm.json, as a strategy of hypothesis; and the settings of bhyve_config(5) that it must become, written
down apart from what builds the command line."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Document = dict[str, Any]

_WORD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.: @+~()[]{}'\"!$&*;<>?|^äß"
_NAMES = "abcdefghijklmnopqrstuvwxyz0123456789_"


def _texts(alphabet: str = _WORD, size: int = 12) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=1, max_size=size)


def _optional(**values: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return values


flags = st.booleans()
names = _texts(_NAMES, 10)
files = names.map(lambda name: f"/vm/{name}.img")
# Also with what a shell, and bhyve's own grammar, might stumble over.
paths = st.one_of(files, _texts().map(lambda text: f"/vm/{text}/=x"), names.map(lambda name: f"{name}.img"))
ascii_texts = st.text("abcXYZ0123 _.-=/:", min_size=1, max_size=8).filter(lambda text: "/../" not in text)
sizes = st.tuples(st.integers(1, 900), st.sampled_from("KMGkmg")).map(lambda pair: f"{pair[0]}{pair[1]}")
numbers = st.integers(1, 65535)
macs = st.binary(min_size=5, max_size=5).map(lambda rest: f"58:{rest.hex(':')}")
taps = st.integers(0, 9999).map(lambda number: f"tap{number}")
sectors = st.sampled_from([512, 1024, 4096])

_NIC = _optional(
    mac=macs, mtu=st.integers(68, 9000), bridge=st.just("sw-nat"), description=_texts(),
    rate_in=st.sampled_from(["10M", 5000, "1g"]), rate_out=st.sampled_from(["64k", "2M"]),
    link=st.sampled_from(["up", "down"]), fix=flags,
    private=flags, vlan=st.integers(1, 4094), tagged=st.sampled_from(["all", "10", "10,20-30"]),
)  # fmt: skip
nics = st.one_of(
    st.fixed_dictionaries({"name": taps}, optional={"type": st.just("tap"), **_NIC}),
    st.fixed_dictionaries(
        {"name": names.map(lambda name: f"n{name}"), "type": st.sampled_from(["tap", "vmnet"])}, optional=_NIC
    ),
    st.fixed_dictionaries(
        {"type": st.just("netgraph"), "path": names.map(lambda name: f"{name}:"), "peerhook": st.just("link1")},
        optional={"hook": st.just("vmlink"), "socket": names, **_NIC},
    ),
    st.fixed_dictionaries({"name": st.just("netmap:em0"), "type": st.just("netmap")}, optional=_NIC),
    st.fixed_dictionaries({"name": st.integers(0, 9).map(lambda port: f"vale0:{port}")}, optional=_NIC),
    st.fixed_dictionaries({"type": st.just("slirp")}, optional=_NIC),
    st.fixed_dictionaries(
        {
            "type": st.just("slirp"),
            "hostfwd": st.lists(st.just("tcp:127.0.0.1:2222-10.0.2.15:22"), min_size=1, max_size=3),
        },
        optional=_NIC,
    ),
)  # fmt: skip

_BLOCK = _optional(
    direct=flags, nocache=flags, ro=flags, nodelete=flags, logical_sector_size=sectors,
    physical_sector_size=sectors, ser=ascii_texts, bootindex=st.integers(0, 9),
)  # fmt: skip
_ATA = {**_BLOCK, **_optional(nmrr=st.integers(0, 7200), rev=ascii_texts, model=ascii_texts)}
_NVME = {
    **_BLOCK,
    **_optional(
        maxq=numbers, qsz=numbers, ioslots=numbers, sectsz=st.sampled_from([512, 4096, "8192"]),
        eui64=st.just("0x589cfc2000000001"), dsm=st.sampled_from(["auto", "enable", "disable"]),
    ),
}  # fmt: skip


def _sectors(disk: Document) -> Document:
    """Both sizes as they can stand together."""
    logical, physical = disk.get("logical_sector_size"), disk.get("physical_sector_size")
    if physical and (not logical or physical < logical):
        return {**disk, "logical_sector_size": physical}
    return disk


def _of(required: Document, optional: Document) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries(required, optional=optional).map(_sectors)


ports = st.lists(_of({"type": st.sampled_from(["hd", "cd"]), "path": paths}, _ATA), min_size=1, max_size=4)
console_ports = st.lists(
    st.one_of(paths, st.fixed_dictionaries({"path": paths}, optional={"name": names})),
    min_size=1,
    max_size=16,
)
places = st.tuples(st.integers(0, 255), st.integers(0, 31), st.integers(0, 7))
roms = st.just("/vm/card.rom")
lines = st.one_of(
    st.just("stdio"),
    names.map(lambda name: f"/dev/nmdm-{name}.1A"),
    st.sampled_from(["tcp=127.0.0.1:4001", "tcp=[::1]:65535"]),
)
# One for each kind of device.
DEVICES: dict[str, st.SearchStrategy[Document]] = {
    "virtio-net": nics,
    "e1000": nics,
    "virtio-blk": _of({"path": paths}, _BLOCK),
    "ahci-hd": _of({"path": paths}, _ATA),
    "ahci-cd": _of({}, {"path": paths, **_ATA}),
    "ahci": st.fixed_dictionaries({"ports": ports}),
    "nvme": st.one_of(_of({"path": paths}, _NVME), _of({"ram": numbers}, _NVME)),
    "virtio-scsi": st.fixed_dictionaries(
        {"dev": st.just("/dev/cam/ctl1.1")}, optional={"iid": numbers, "bootindex": st.integers(0, 9)}
    ),
    "virtio-9p": st.fixed_dictionaries({"share": names, "path": files}, optional={"ro": flags}),
    "virtio-console": st.fixed_dictionaries({"ports": console_ports}),
    "virtio-rnd": st.just({}),
    "virtio-input": st.fixed_dictionaries({"path": st.just("/dev/input/event3")}),
    "xhci": st.just({}),
    "hda": st.fixed_dictionaries({}, optional={"play": st.just("/dev/dsp0"), "rec": st.just("/dev/dsp1")}),
    "uart": st.fixed_dictionaries({}, optional={"path": lines}),
    "passthru": st.one_of(
        st.fixed_dictionaries(
            {"src": places.map(lambda place: "{}:{}:{}".format(*place))},
            optional={"rom": roms, "bootindex": st.integers(0, 9)},
        )
    ),
    "raw": st.sampled_from([{"value": "virtio-rnd"}, {"value": "hda,play=/dev/dsp0"}]),
}


def _whole_size(graphic: Document) -> Document:
    if ("width" in graphic) == ("height" in graphic):
        return graphic
    return {**graphic, "width": 800, "height": 600}


GRAPHICS = st.fixed_dictionaries(
    {"host": st.sampled_from(["127.0.0.1", "0.0.0.0", "::1", "fe80::1"])},
    optional=_optional(
        port=st.integers(1, 65535), password=st.text("abc0123#=", min_size=1, max_size=8),
        width=st.integers(640, 3840), height=st.integers(480, 2160), vga=st.sampled_from(["io", "off", "on", False]),
        wait=flags, xhci_table=flags, slot=st.just("0:29:0"), xhci_slot=st.just("0:30:0"),
    ),
).map(_whole_size)  # fmt: skip
LOADERS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("bhyveload"), "disk": files},
        optional={"os_loader": files, "env": st.dictionaries(names, _texts(), max_size=3)},
    ),
    st.fixed_dictionaries(
        {"type": st.just("grub")},
        optional={"root": st.just("hd0,msdos1"), "directory": st.just("/grub2"), "config": st.just("boot\n")},
    ),
)
TPMS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("passthru"), "path": st.just("/dev/tpm0")}, optional={"version": st.just("2.0")}
    ),
    st.fixed_dictionaries({"type": st.just("swtpm"), "path": st.just("/vm/tpm.sock")}),
    st.fixed_dictionaries({"type": st.just("swtpm"), "state": st.just("/vm/tpm")}),
)  # fmt: skip
ITEMS = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"name": names.map(lambda name: f"opt/{name}"), "string": _texts(_WORD + ",=%")}
        ),
        st.fixed_dictionaries({"name": names, "file": st.just("/vm/item")}),
    ),
    min_size=1,
    max_size=3,
)
_NUMBER = st.integers(1, 4)
# One for each main key but for "emulations" and "targets".
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "name": st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True),
    "version": st.just(1),
    "uuid": st.uuids().map(str),
    "cpu": st.one_of(_NUMBER, st.fixed_dictionaries({"sockets": _NUMBER, "cores": _NUMBER, "threads": _NUMBER})),
    "pinning": st.fixed_dictionaries(
        {"0": st.one_of(st.integers(0, 64), st.lists(st.integers(0, 64), min_size=1), st.just("2-4,7"))}
    ),
    "mem": st.one_of(
        st.integers(1 << 20, 1 << 40),
        st.tuples(st.integers(1, 64), st.sampled_from("MGmgTt")).map(lambda pair: f"{pair[0]}{pair[1]}"),
    ),
    "bootrom": paths,
    "varfile": files,
    "fwcfg": st.sampled_from(["bhyve", "qemu"]),
    "fw_cfg": ITEMS,
    "loader": LOADERS,
    "tpm": TPMS,
    "hostbridge": st.sampled_from(["hostbridge", "amd_hostbridge"]),
    "lpc_slot": st.sampled_from(["31", "0:28:0", 28]),
    "graphic": GRAPHICS,
    "keyboard": st.sampled_from(["de_noacc", "us_dvorak"]),
    **dict.fromkeys(("com1", "com2", "com3", "com4"), lines),
    "gdb": st.sampled_from(["1234", "w127.0.0.1:1234", 5678]),
    "options": st.dictionaries(
        st.sampled_from(["bios.vendor", "system.serial_number", "chassis.sku"]), _texts(_WORD + ",=%"), max_size=3
    ),
    "extra_options": st.sampled_from([[], ["-o", "board.version=a b"], "-o 'board.version=a b'"]),
    "post_start_script": st.sampled_from(["/bin/true", "/bin/echo a 'b c'"]),
    "next_target": st.just("default"),
    "limits": st.fixed_dictionaries(
        {},
        optional=_optional(
            pcpu=st.integers(1, 800), readbps=sizes, writebps=sizes, readiops=numbers, writeiops=numbers
        ),
    ),
    "nice": st.integers(-20, 20),
    "protect": flags,
    "restart": st.fixed_dictionaries(
        {},
        optional=_optional(
            reboot_on=st.lists(st.integers(0, 4)), on_crash=flags, limit=st.integers(0, 9), within=numbers,
            delay=st.integers(0, 60),
        ),
    ),
    **dict.fromkeys(
        (
            "generate_acpi", "wire_guest_mem", "yield_on_hlt", "yield_on_pause", "force_msi", "disable_mptable_gen",
            "utc_clock", "ignore_msr", "power_off_destroy_vm", "guest_in_core", "x2apic", "strict_io",
        ),
        flags,
    ),
}  # fmt: skip
REQUIRED = ("name", "cpu", "mem")


@st.composite
def documents(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(DEVICES), most: int = 8) -> Document:
    """A valid vm.json with up to ``most`` devices of the ``kinds``, whose parts also go together."""
    document = draw(
        st.fixed_dictionaries(
            {key: KEYS[key] for key in REQUIRED},
            optional={key: value for key, value in KEYS.items() if key not in REQUIRED},
        )
    )
    document["emulations"] = [
        {"device": kind, **draw(DEVICES[kind])}
        for kind in draw(st.lists(st.sampled_from(kinds), max_size=most))
    ]
    free = draw(st.permutations([(bus, slot) for bus in (0, 1) for slot in range(1, 28)]))
    for (bus, slot), device in zip(free, document["emulations"], strict=False):
        if draw(st.booleans()):
            device["slot"] = draw(st.sampled_from([f"{bus}:{slot}:0", f"{bus}:{slot}:{slot % 8}"]))
    return _together(document)


def _together(document: Document) -> Document:
    """What is right alone and wrong beside the rest is mended."""
    if "fw_cfg" in document:
        document.pop("fwcfg", None)
    if any(device["device"] == "passthru" for device in document["emulations"]):
        document["wire_guest_mem"] = True
    if not _drives(document) and document.get("loader", {}).get("type") == "grub":
        document["emulations"].append({"device": "virtio-blk", "path": "/vm/boot.img"})
    on_stdio = [key for key in ("com1", "com2", "com3", "com4") if document.get(key) == "stdio"]
    for key in on_stdio[1:]:
        del document[key]
    return document


def _drives(document: Document) -> list[str]:
    return [
        device["device"]
        for device in document["emulations"]
        if device["device"] in {"virtio-blk", "ahci-hd", "ahci-cd", "nvme", "ahci"}
        and ("path" in device or "ports" in device)
    ]
