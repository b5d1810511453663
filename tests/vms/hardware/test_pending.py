"""What the next start will change, told and put back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vms.test_wanted import documents
from vms.hardware import pending

Document = dict[str, Any]


def base() -> Document:
    return {
        "name": "web1",
        "cpu": {"sockets": 1, "cores": 2, "threads": 1},
        "mem": "2048M",
        "graphic": {"host": "127.0.0.1", "port": 5900, "password": "********", "width": 1024, "height": 768},
        "emulations": [
            {"device": "virtio-blk", "slot": "0:4:0", "path": "/dev/zvol/tank/bhype/vms/web1/disk0"},
            {"device": "virtio-net", "slot": "0:10:0", "mac": "58:9c:fc:00:00:01", "bridge": "sw-nat",
             "name": "tap1001", "fix": True, "type": "tap", "description": "bhype/vm/x/0"},
        ],
    }  # fmt: skip


def told(running: Document, wanted: Document) -> dict[str, tuple[str, str]]:
    return {found.path: (found.before, found.after) for found in pending.differences(running, wanted)}


def test_a_guest_that_runs_as_wanted_has_nothing_pending():
    wanted = base()
    wanted["graphic"] |= {"password": "secret", "port": 5907}
    wanted["emulations"][1] |= {"name": "tap1002", "description": "bhype/vm/x/1"}
    wanted["bhype"] = {"revision": 7}
    wanted["generate_acpi"] = True
    wanted["emulations"][0]["ro"] = False
    assert told(base(), wanted) == {}


def test_each_change_is_told_in_words():
    wanted = base()
    wanted["cpu"] = {"sockets": 2, "cores": 2, "threads": 1}
    wanted["mem"] = "4096M"
    wanted["graphic"]["width"] = 1280
    wanted["wire_guest_mem"] = True
    wanted["emulations"][0]["ro"] = True
    wanted["emulations"][1]["bridge"] = "sw-dmz"
    wanted["emulations"].append({"device": "virtio-rnd", "slot": "0:20:0"})
    assert told(base(), wanted) == {
        "cpu": ("2 (1 socket, 2 cores, 1 thread)", "4 (2 sockets, 2 cores, 1 thread)"),
        "mem": ("2 GiB", "4 GiB"),
        "graphic.width": ("1024 pixels", "1280 pixels"),
        "wire_guest_mem": ("no", "yes"),
        "emulations[0:4:0].ro": ("no", "yes"),
        "emulations[0:10:0].bridge": ("sw-nat", "sw-dmz"),
        "emulations[0:20:0]": ("not there", "Entropy from the host."),
    }


def test_another_bus_is_a_change_of_the_same_disk():
    wanted = base()
    wanted["emulations"][0]["device"] = "nvme"
    assert told(base(), wanted) == {"emulations[0:4:0].device": ("VirtIO disk", "NVMe disk")}


def test_a_disk_that_moved_is_still_that_disk():
    wanted = base()
    wanted["emulations"][0]["slot"] = "0:7:0"
    assert told(base(), wanted) == {"emulations[0:7:0].slot": ("0:4:0", "0:7:0")}
    assert pending.put_back(wanted, base(), "emulations[0:7:0].slot")["emulations"][0]["slot"] == "0:4:0"


def test_one_difference_is_put_back_and_the_rest_stays():
    wanted = base()
    wanted["mem"] = "4096M"
    del wanted["emulations"][1]
    back = pending.put_back(wanted, base(), "removed[0:10:0]")
    assert set(told(base(), back)) == {"mem"}
    assert set(told(base(), pending.put_back(wanted, base(), "mem"))) == {"removed[0:10:0]"}


@pytest.mark.parametrize(
    "path", ["", "mem", "name", "emulations[0:99:0]", "emulations[0:4:0].path", "graphic.password"]
)
def test_only_what_differs_is_put_back(path):
    with pytest.raises(LookupError):
        pending.put_back(base(), base(), path)


@settings(max_examples=50)
@given(documents(), documents())
def test_all_that_differs_can_be_put_back(running, wanted):
    before = copy.deepcopy(wanted)
    assert pending.differences(running, pending.all_back(wanted, running)) == []
    assert wanted == before


@settings(max_examples=50)
@given(documents(), documents(), st.data())
def test_what_was_put_back_differs_no_more(running, wanted, data):
    found = pending.differences(running, wanted)
    if found:
        chosen = data.draw(st.sampled_from(found))
        back = pending.put_back(wanted, running, chosen.path)
        assert chosen.path not in told(running, back)


@settings(max_examples=30)
@given(documents())
def test_a_document_is_like_itself(document):
    assert pending.differences(document, document) == []
