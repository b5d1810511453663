"""geom(8), gpart(8), diskinfo(8) and smartctl(8)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import geom, names, smartctl
from bhype.freebsd.command import ParseError

DISKS = """\
Geom name: ada0
Providers:
1. Name: ada0
   Mediasize: 512110190592 (477G)
   Sectorsize: 512
   Stripesize: 4096
   Stripeoffset: 0
   Mode: r2w2e3
   descr: Samsung SSD 850 PRO 512GB
   lunid: 5002538d40dc1b2f
   ident: S250NXAG900000X
   rotationrate: 0
   fwsectors: 63
   fwheads: 16

Geom name: da1
Providers:
1. Name: da1
   Mediasize: 4000787030016 (3.6T)
   Sectorsize: 4096
   Mode: r0w0e0
   descr: ATA WDC: WD40EFRX
   ident: (null)
   rotationrate: 5400

Geom name: cd0
Providers:
1. Name: cd0
   Mediasize: 0 (0B)
   Sectorsize: 2048
   Mode: r0w0e0
   descr: (null)
   rotationrate: unknown

"""
PARTITIONS = """\
=>        40  1000215136    ada0  GPT  (477G)
          40      532480  ada0p1  efi  (260M)
      532520        2008          - free -  (1.0M)
      534528   999680000  ada0p2  freebsd-zfs  (477G)
  1000214528         648          - free -  (324K)

=>       63  41942979  vtbd1  MBR  (20G)
         63         1         - free -  (512B)
         64  41942976  vtbd1s1  freebsd  [active]  (20G)
   41943040         2         - free -  (1.0K)

=>       0  41942976  vtbd1s1  BSD  (20G) [CORRUPT]
         0  41942976  vtbd1s1a  freebsd-ufs  (20G)

"""


def test_disks_are_read():
    ada, da, cd = geom.list_disks().parse(DISKS)
    assert (ada.name, ada.size, ada.sector_size, ada.serial) == ("ada0", 512110190592, 512, "S250NXAG900000X")
    assert (ada.is_rotating, ada.is_open) == (False, True)
    assert (da.description, da.serial, da.sector_size) == ("ATA WDC: WD40EFRX", "", 4096)
    assert (da.is_rotating, da.is_open) == (True, False)
    assert (cd.size, cd.is_rotating, cd.description) == (0, None, "")
    assert geom.list_disks().parse("") == []


def test_partitions_are_read():
    ada, mbr, bsd = geom.list_partitions().parse(PARTITIONS)
    assert (ada.name, ada.scheme, ada.parts) == (
        "ada0",
        "GPT",
        (("ada0p1", "efi"), ("ada0p2", "freebsd-zfs")),
    )
    assert (mbr.name, [kind.split()[0] for _, kind in mbr.parts]) == ("vtbd1", ["freebsd"])
    assert (bsd.name, bsd.parts) == ("vtbd1s1", (("vtbd1s1a", "freebsd-ufs"),))


def test_a_disks_size_is_read():
    assert geom.size("da1").parse("/dev/da1\t512\t68719476736\t134217728\t4096\t0\n") == 68719476736
    with pytest.raises(ParseError):
        geom.size("da1").parse("da1\n")


@pytest.mark.parametrize("name", ["", "da", "../etc", "da1 ", "-f", "gpt/x", "a" * 40 + "1", "da1;"])
@pytest.mark.parametrize("taker", [geom.size, smartctl.health, smartctl.self_test])
def test_only_disks_are_asked(taker, name):
    with pytest.raises(names.BadName):
        taker(name)


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        (geom.list_disks, "Geom name: da0\nProviders:\n"),
        (geom.list_disks, DISKS.replace("512110190592", "much")),
        (geom.list_partitions, "nonsense\n"),
        (geom.list_partitions, "          40      532480  ada0p1  efi  (260M)\n"),
        (lambda: smartctl.health("da0"), "smartctl: not found"),
        (lambda: smartctl.health("da0"), "[]"),
    ],
)
def test_what_is_not_understood_is_refused(parser, text):
    with pytest.raises(ParseError):
        parser().parse(text)


@given(st.data())
def test_no_text_breaks_a_parser(data):
    query, good = data.draw(
        st.sampled_from([(geom.list_disks(), DISKS), (geom.list_partitions(), PARTITIONS)])
    )
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    try:
        query.parse(good[:start] + data.draw(st.text(max_size=60)) + good[end:])
    except ParseError as error:
        assert str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["smartctl", "exit_status", "smart_status", "passed", "temperature", "current", "table",
             "id", "raw", "value",
             "ata_smart_attributes", "nvme_smart_health_information_log", "percentage_used", "messages", "power_mode"]
        ),
        inner,
        max_size=4,
    ),
)  # fmt: skip


@given(JSON)
def test_no_json_breaks_smart(found):
    try:
        health = smartctl.health("da0").parse(json.dumps(found))
    except ParseError:
        return
    assert json.dumps(health.document())


def smart(**values: object) -> smartctl.Health:
    return smartctl.health("da0").parse(json.dumps({"smartctl": {"exit_status": 0}} | values))


def test_a_well_disk_is_read():
    health = smart(
        smart_status={"passed": True}, temperature={"current": 35}, power_on_time={"hours": 1000},
        ata_smart_attributes={"table": [{"id": 5, "raw": {"value": 0}}, {"id": 197, "raw": {"value": 0}}]},
    )  # fmt: skip
    assert (health.passed, health.temperature, health.hours, health.warnings) == (True, 35, 1000, ())
    assert health.document() == {
        "passed": True,
        "temperature": 35,
        "hours": 1000,
        "reallocated": 0,
        "pending": 0,
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"smart_status": {"passed": False}}, "replace it now"),
        ({"smartctl": {"exit_status": 8}}, "replace it now"),
        ({"smartctl": {"exit_status": 16}}, "fail soon"),
        ({"smartctl": {"exit_status": 128}}, "has failed"),
        ({"ata_smart_attributes": {"table": [{"id": 5, "raw": {"value": 8}}]}}, "moved 8 bad sectors"),
        ({"ata_smart_attributes": {"table": [{"id": 197, "raw": {"value": 2}}]}}, "cannot read 2 sectors"),
        ({"scsi_grown_defect_list": 4}, "moved 4 bad sectors"),
        (
            {"nvme_smart_health_information_log": {"percentage_used": 97, "critical_warning": 4}},
            "critical warning",
        ),
        ({"nvme_smart_health_information_log": {"percentage_used": 97}}, "97% of its life"),
    ],
)
def test_a_failing_disk_is_told(values, said):
    assert any(said in warning for warning in smart(**values).warnings)


@pytest.mark.parametrize(
    "values",
    [
        {"power_mode": {"name": "STANDBY"}},
        {
            "smartctl": {
                "exit_status": 2, "messages": [{"string": "Device is in STANDBY mode, exit(2)"}],
            }
        },
    ],
)  # fmt: skip
def test_a_sleeping_disk_is_not_woken(values):
    assert smart(**values).is_asleep
