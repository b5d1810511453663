"""The lab's disks, what tells of them, and what happens to them (system.md section 5)."""

from __future__ import annotations

import json
import re

import pytest

from tests.lab.conftest import GIB


def do(lab, *words):
    answer = lab.admin("disk", lab.folder, *words)
    assert answer.code == 0, answer.err


def smart(lab, disk):
    answer = lab("smartctl", "--json=c", "-a", f"/dev/{disk}")
    found = json.loads(answer.out)
    assert found["smartctl"]["exit_status"] == answer.code
    return found


def test_a_host_has_a_system_disk_a_pool_and_free_disks(still_lab):
    names = still_lab.ok("sysctl", "-n", "kern.disks").split()
    assert names == ["nda1", "ada0", "da4", "da3", "da2", "da1", "da0", "nda0"]
    text = still_lab.ok("geom", "disk", "list")
    modes = dict(zip(re.findall(r"Geom name: (\w+)", text), re.findall(r"Mode: (\w+)", text), strict=True))
    assert modes["nda0"] == "r3w3e4" and modes["da0"] == "r1w1e1"
    assert {name for name, mode in modes.items() if mode == "r0w0e0"} == {
        *("da1", "da2", "da3", "da4", "ada0", "nda1"),
    }
    assert still_lab.ok("geom", "disk", "list", "da1") == (
        "Geom name: da1\nProviders:\n1. Name: da1\n   Mediasize: 68719476736 (64G)\n   Sectorsize: 512\n"
        "   Stripesize: 4096\n   Stripeoffset: 0\n   Mode: r0w0e0\n   descr: SEAGATE ST4000NM0025\n"
        "   lunid: 5000c5003d6a7794\n   ident: ZC1100D1\n   rotationrate: 7200\n   fwsectors: 63\n"
        "   fwheads: 255\n\n"
    )
    assert still_lab.fails("geom", "disk", "list", "da9") == "geom: No such geom: da9.\n"


def test_only_the_system_disk_has_partitions(still_lab):
    assert still_lab.ok("gpart", "show", "-p") == (
        "=>      40  67108784    nda0  GPT  (32G)\n"
        "        40    532480  nda0p1  efi  (260M)\n"
        "    532520   8388608  nda0p2  freebsd-swap  (4.0G)\n"
        "   8921128  56623104  nda0p3  freebsd-ufs  (27G)\n"
        "  65544232   1564592          - free -  (764M)\n\n"
    )
    assert still_lab.fails("gpart", "show", "da1") == "gpart: No such geom: da1.\n"


def test_disks_tell_their_sizes_and_names(still_lab):
    assert (
        still_lab.ok("diskinfo", "/dev/da1")
        == "/dev/da1\t512\t68719476736\t134217728\t4096\t0\t8354\t255\t63\n"
    )
    assert still_lab.fails("diskinfo", "da9") == "diskinfo: da9: No such file or directory\n"
    assert still_lab.ok("diskinfo", "-s", "da1") == "ZC1100D1\n"


@pytest.mark.parametrize("words", [["nda0"], ["-f", "nda0"], ["mirror", "nda0p3", "da1"], ["-f", "nda0p2"]])
def test_a_pool_takes_no_disk_that_the_host_uses(still_lab, words):
    options = [word for word in words if word == "-f"]
    devices = [word for word in words if word != "-f"]
    assert still_lab.fails("zpool", "create", *options, "data", *devices) == (
        "cannot create 'data': one or more devices is currently unavailable\n"
    )


def test_smart_tells_of_each_kind_of_disk(still_lab):
    sas, sata, nvme = smart(still_lab, "da1"), smart(still_lab, "ada0"), smart(still_lab, "nda1")
    assert [found["device"]["protocol"] for found in (sas, sata, nvme)] == ["SCSI", "ATA", "NVMe"]
    for found in (sas, sata, nvme):
        assert found["smart_status"]["passed"] is True
        assert 20 < found["temperature"]["current"] < 60
        assert found["power_on_time"]["hours"] >= 12345
    assert sas["scsi_grown_defect_list"] == 0
    assert {row["id"] for row in sata["ata_smart_attributes"]["table"]} >= {5, 197, 198}
    assert nvme["nvme_smart_health_information_log"]["percentage_used"] == 3
    missing = smart(still_lab, "da9")
    assert missing["smartctl"]["exit_status"] == 2
    assert "No such file or directory" in missing["smartctl"]["messages"][0]["string"]


def test_a_worn_disk_says_so_until_it_is_mended(lab):
    for disk in ("da1", "ada0", "nda1"):
        do(lab, "wear", disk)
        found = smart(lab, disk)
        assert (found["smartctl"]["exit_status"], found["smart_status"]["passed"]) == (8, False)
    cool = smart(lab, "da2")["temperature"]["current"]
    do(lab, "heat", "da2", "25")
    assert smart(lab, "da2")["temperature"]["current"] == cool + 25
    do(lab, "mend", "da1")
    assert smart(lab, "da1")["smart_status"]["passed"] is True
    do(lab, "break", "da1")
    assert smart(lab, "da1")["smartctl"]["exit_status"] == 2


def test_disks_come_and_go(lab):
    do(lab, "pull", "da4")
    assert "da4" not in lab.ok("sysctl", "-n", "kern.disks").split()
    assert lab.fails("zpool", "create", "data", "da4").startswith(
        "cannot open 'da4': no such device in /dev\n"
    )
    do(lab, "insert", "da4")
    do(lab, "add", "da5", str(8 * GIB))
    assert lab.ok("sysctl", "-n", "kern.disks").split()[0] == "da5"
    lab.ok("zpool", "create", "data", "da4", "da5")
    for words in (["pull", "da9"], ["insert", "da5"], ["add", "da5"], ["add", "sda"]):
        assert lab.admin("disk", lab.folder, *words).code == 2


def test_the_disks_of_a_lab_are_kept_when_it_is_made_again(lab):
    do(lab, "wear", "da1")
    lab.ok("zpool", "create", "data", "mirror", "da1", "da2")
    assert lab.admin("create", lab.folder).code == 0
    assert smart(lab, "da1")["smart_status"]["passed"] is False
    assert lab.ok("zpool", "list", "-H", "-o", "name,health") == "data\tONLINE\ntank\tONLINE\n"


def test_the_cache_in_memory_tells_its_sizes_and_hits(lab):
    def read(name):
        return int(lab.ok("sysctl", "-n", f"kstat.zfs.misc.arcstats.{name}"))

    assert 0 < read("size") <= read("c") <= read("c_max")
    assert read("l2_size") == 0
    lab.ok("zpool", "add", "tank", "cache", "nda1")
    assert read("l2_size") > GIB
    lab.ok("sysctl", f"vfs.zfs.arc.max={4 * GIB}")
    assert read("c_max") == 4 * GIB
