"""A vm.json, its command, and what bhyve reads from it: the same machine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from bhype.freebsd.bhyve import command
from bhype.lab import bhyve_grammar
from bhype.lab.bhyve_config import Config as Understood
from bhype.vmrun.config import load, parse
from bhype.vmrun.devices import KINDS
from bhype.vmrun.keys import KEYS
from bhype.vmrun.machine import machine
from tests.vmrun import documents as given_documents
from tests.vmrun import settings as expected
from tests.vmrun.documents import documents


def understood(config: Understood) -> dict[str, str]:
    return dict(line.split("=", 1) for line in config.dump())


def empty(document: dict, entry: dict) -> dict:
    """What an empty drive has: bhyve opens a medium for every one."""
    if entry["device"] != "ahci-cd" or "path" in entry:
        return {}
    return {"path": f"/var/run/bhype/vms/{document['name']}/empty.iso", "ro": True}


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(documents())
def test_bhyve_reads_the_machine_that_the_document_describes(document):
    config = parse(load(json.dumps(document)))
    plan = machine(config)
    # A file may only be opened on the host; its item is compared below.
    items = tuple(item for item in plan.fw_cfg if ",file=" not in item)
    read = bhyve_grammar.parse(list(command(replace(plan, fw_cfg=items)).argv[1:]))
    found = understood(read)

    wanted = expected.main(document)
    places = iter(plan.slots)
    bridge = {"device": "hostbridge"}
    if document.get("hostbridge") == "amd_hostbridge":
        bridge |= {"pcireg.vendor": "0x1022", "pcireg.device": "0x7432"}
    devices = [
        bridge,
        {"device": "lpc"},
        *(expected.device({**entry, **empty(document, entry)}) for entry in document["emulations"]),
    ]
    if "graphic" in document:
        devices.append(expected.screen(document["graphic"]))
        if document["graphic"].get("xhci_table", True):
            devices.append({"device": "xhci", "slot.1.device": "tablet"})
    for device in devices:
        node = next(places).address.node
        wanted |= {f"{node}.{key}": value for key, value in device.items()}
    assert next(places, None) is None
    if document.get("disable_mptable_gen") or any(slot.address.bus for slot in plan.slots):
        wanted["x86.mptable"] = "false"
    assert found == wanted

    # Each device is where the document wants it.
    for entry, slot in zip(document["emulations"], plan.slots[2:], strict=False):
        assert entry.get("slot") in {None, str(slot.address)}
    assert read.items == [
        (item["name"], item["string"].encode() + b"\0")
        for item in document.get("fw_cfg", [])
        if "string" in item
    ]
    assert [item for item in plan.fw_cfg if "file=" in item] == [
        f"{item['name']},file={item['file']}" for item in document.get("fw_cfg", []) if "file" in item
    ]
    password = document.get("graphic", {}).get("password")
    assert plan.secrets.endswith(f".password={password}\n" if password else "")
    assert bool(plan.secrets) == bool(password)
    assert config.unknown == ()


def test_the_strategy_knows_every_key_and_device():
    """So that a new one is not forgotten in the round trip."""
    assert set(given_documents.KEYS) == set(KEYS)
    assert set(given_documents.DEVICES) == set(KINDS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_strategy_sets_every_option_of_every_device(kind):
    seen = {"lookup"}  # it needs a host, see test_check.py

    @settings(max_examples=120, deadline=None, database=None)
    @given(given_documents.DEVICES[kind])
    def collect(entry):
        seen.update(entry)

    collect()
    assert set(KINDS[kind].options) <= seen
