"""docs/vm.schema.json and docs/vm-json.md: made from the tables, and as strict as they can be."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from bhype.vmrun import schema
from bhype.vmrun.config import FIXED, equals_root, parse
from bhype.vmrun.devices import KINDS
from bhype.vmrun.keys import KEYS
from bhype.vmrun.options import Option
from bhype.vmrun.problems import Unfit

from .conftest import PROJECT
from .documents import documents
from .schema_check import errors
from .test_cases import cases, document

SCHEMA = schema.schema()
SMALL = {"name": "a", "cpu": 1, "mem": "64M", "emulations": []}


def test_the_committed_schema_is_fresh():
    """If not: python -m bhype.vmrun --schema > docs/vm.schema.json"""
    assert (PROJECT / "docs/vm.schema.json").read_text() == schema.text()


def test_it_knows_every_key_and_device():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(SCHEMA["properties"]) == {*KEYS, "emulations", "targets", "bhype"}
    assert set(SCHEMA["$defs"]) == {*KINDS, "device", "target"}
    assert set(SCHEMA["$defs"]["target"]["properties"]) == {*KEYS, "emulations"} - FIXED
    for name, kind in KINDS.items():
        assert set(SCHEMA["$defs"][name]["properties"]) == {*kind.options, "slot", "fix"}


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(documents())
def test_every_valid_document_fits_it(found):
    parse(found)
    assert errors(SCHEMA, found) == []


@pytest.mark.parametrize("case", list(cases()))
def test_every_file_of_the_table_fits_it_unless_it_is_wrong(case):
    found = document(case)
    broken = errors(SCHEMA, found)
    if broken:
        # What the schema refuses, the parser refuses.
        assert case["problems"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"name": "-x"}, "$.name: pattern"),
        ({"name": None}, "$.name: type"),
        ({"cpu": {"cores": 1}}, "$.cpu: anyOf"),
        ({"cpu": 0}, "$.cpu: anyOf"),
        ({"mem": "512"}, "$.mem: pattern"),
        ({"utc_clock": 1}, "$.utc_clock: type"),
        ({"graphic": {"port": 1}}, "$.graphic: required"),
        ({"graphic": {"host": "::1", "width": 1}}, "$.graphic.width: minimum"),
        ({"tpm": {"type": "none"}}, "$.tpm.type: enum"),
        ({"pinning": {"x": [1]}}, "$.pinning.x: pattern"),
        ({"emulations": [{"device": "floppy"}]}, "$.emulations[0].device: enum"),
        ({"emulations": [{"device": "virtio-blk"}]}, "$.emulations[0]: required"),
        ({"emulations": [{"device": "nvme", "sectsz": 1}]}, "$.emulations[0].sectsz: enum"),
        (
            {"emulations": [{"device": "ahci", "ports": [{"type": "cd"}]}]},
            "$.emulations[0].ports[0]: required",
        ),
        ({"targets": {"a": {"mem": True}}}, "$.targets.a.mem: type"),
        ({"targets": {"a": {"emulations": [{}]}}}, "$.targets.a.emulations[0]: required"),
    ],
)
def test_mistakes_do_not_fit_it(change, where):
    assert where in errors(SCHEMA, {**SMALL, **change})


def options() -> list[Option]:
    found = [*KEYS.values(), *(option for kind in KINDS.values() for option in kind.options.values())]
    return [*found, *(inner for option in found for inner in option.options.values())]


def test_every_option_has_words_for_people_and_a_form():
    for option in options():
        assert option.label
        assert option.help.endswith((".", ")")), option.key
        assert option.kind in {"text", "number", "flag", "size", "path", "list", "table", "tables"}
    assert {option.group for option in KEYS.values()} == {
        "processor", "memory", "firmware", "screen", "serial", "host", "limits", "life",
    }  # fmt: skip
    assert {kind.group for kind in KINDS.values()} == {"disk", "network", "cd", "other"}


def test_every_default_is_a_value():
    for option in options():
        if option.default is not None:
            option.read(option.default)


def test_the_document_of_the_format_names_every_key_and_device():
    text = (PROJECT / "docs/vm-json.md").read_text()
    for word in [*KINDS, *(option.key for option in options())]:
        assert f"`{word}`" in text, word


# What equals root on the host.


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"limits": {"pcpu": 1}, "wire_guest_mem": True, "nice": -5}, []),
        ({"bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd", "varfile": "/tank/a/vars.fd"}, []),
        ({"bootrom": "/etc/master.passwd"}, ["vm: bootrom"]),
        ({"bootrom": "/usr/local/share/uefi-firmware/../../../../etc/x"}, ["vm: bootrom"]),
        ({"com1": "/dev/nmdm-a.1A", "com2": "stdio"}, []),
        ({"com1": "/dev/nmdm-other.1B"}, ["vm: com1"]),
        ({"com1": "/dev/nmdm-a.1B"}, ["vm: com1"]),
        ({"com1": "tcp=0.0.0.0:1"}, ["vm: com1"]),
        ({"gdb": 1}, ["vm: gdb"]),
        ({"options": {}}, ["vm: options"]),
        ({"extra_options": "x"}, ["vm: extra_options"]),
        ({"post_start_script": 7}, ["vm: post_start_script"]),
        ({"loader": {"type": "grub"}}, ["vm: loader"]),
        ({"fw_cfg": [{"name": "a", "string": "b"}]}, []),
        ({"fw_cfg": [{"name": "a", "string": "b"}, {"name": "a", "file": "/b"}]}, ["vm: fw_cfg"]),
        ({"tpm": {"type": "swtpm", "state": "/tank/a/tpm"}}, []),
        ({"tpm": {"type": "swtpm", "path": "/x.sock"}}, ["vm: tpm"]),
        ({"tpm": {"type": "passthru", "path": "/dev/tpm0"}}, ["vm: tpm"]),
        ({"targets": {"x": {"gdb": "1"}}}, ["targets x vm: gdb"]),
        ({"targets": {"x": {"emulations": [{"device": "raw", "value": "a"}]}}}, ["targets x emulations[0] raw: value"]),
        ({"targets": 7, "emulations": "x"}, []),
        ({"emulations": [7, {"device": []}, {"device": "floppy"}]}, []),
    ],
)  # fmt: skip
def test_main_keys_that_equal_root_are_named(change, found):
    assert equals_root({**SMALL, **change}) == found


@pytest.mark.parametrize(
    ("device", "keys"),
    [
        ({"device": "virtio-blk", "path": "/etc/passwd"}, []),
        ({"device": "ahci-cd"}, []),
        ({"device": "virtio-rnd"}, []),
        ({"device": "virtio-net", "name": "tap1", "type": "tap", "fix": True}, []),
        ({"device": "virtio-net", "name": "netmap:em0"}, ["name"]),
        ({"device": "e1000", "name": "vale0:1", "type": "vale"}, ["name", "type"]),
        ({"device": "virtio-net", "name": "netgraph,path=em0:,peerhook=lower"}, ["type", "path", "peerhook"]),
        ({"device": "virtio-net", "type": "slirp", "hostfwd": "x"}, ["type", "hostfwd"]),
        ({"device": "raw", "value": ""}, ["value"]),
        ({"device": "passthru", "src": "1:0:0", "rom": "/x"}, ["src", "rom"]),
        ({"device": "passthru", "lookup": {}}, ["lookup"]),
        ({"device": "virtio-9p", "share": "a", "path": "/"}, ["path"]),
        ({"device": "virtio-input", "path": "/dev/input/event0"}, ["path"]),
        ({"device": "virtio-scsi", "dev": "/dev/cam/ctl1.1"}, ["dev"]),
        ({"device": "hda", "rec": "/dev/dsp0"}, ["rec"]),
        ({"device": "uart", "path": "/dev/nmdm-x.1A"}, ["path"]),
        ({"device": "virtio-console", "ports": ["/var/run/bhype/vms/a/agent.sock"]}, []),
        ({"device": "virtio-console", "ports": [{"path": "/var/run/devd.pipe"}]}, ["ports"]),
        ({"device": "virtio-console", "ports": [{}, 7]}, ["ports"]),
    ],
)
def test_devices_that_equal_root_are_named(device, keys):
    where = f"emulations[0] {device['device']}"
    assert equals_root({**SMALL, "emulations": [device]}) == [f"{where}: {key}" for key in keys]


def test_a_problem_tells_its_key():
    with pytest.raises(Unfit) as caught:
        parse({**SMALL, "mem": "x", "graphic": {}, "emulations": [{"device": "nvme"}]})
    assert [(problem.where, problem.key) for problem in caught.value.problems] == [
        ("vm", "mem"),
        ("graphic", "host"),
        ("emulations[0] nvme", "path"),
    ]
