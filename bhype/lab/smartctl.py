"""smartctl(8) of smartmontools: ``smartctl -j -a DISK`` and the start of self-tests.

The JSON has the keys of smartmontools 7.4 (ataprint.cpp, scsiprint.cpp, nvmeprint.cpp) that tell of a disk's health.
The exit status is a mask: 1 a wrong command line, 2 no such device, 8 SMART says that the disk fails, 64 its log has
errors (smartctl(8), EXIT STATUS).
"""

from __future__ import annotations

import json
import os
import time

from bhype.lab import core, disks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FAILING = 8


def main(argv: list[str]) -> int:
    core.fault(" ".join(["smartctl", *argv]))
    as_json, words, test = _words(argv)
    if len(words) != 1:
        return _answer(
            argv, {}, 1, as_json, "smartctl requires a device name as the final command-line argument."
        )
    path = words[0] if words[0].startswith("/") else f"/dev/{words[0]}"
    name = path.removeprefix("/dev/")
    disk = disks.present().get(name)
    if disk is None:
        there = os.path.exists(core.root(path))
        why = (
            f"{path}: Unable to detect device type"
            if there
            else f"Smartctl open device: {path} failed: No such file or directory"
        )
        return _answer(argv, {}, 1 if there else 2, as_json, why)
    if disk.get("broken"):
        return _answer(argv, {}, 2, as_json, f"Smartctl open device: {path} failed: INQUIRY failed")
    if test:
        return _answer(argv, {"device": _device(name, disk)}, 0, as_json, "")
    found = report(name, disk)
    return _answer(argv, found, FAILING if disk.get("failing") else 0, as_json, "")


def _words(argv: list[str]) -> tuple[bool, list[str], str]:
    """Whether JSON is asked for, the device names, and the self-test that is to start."""
    as_json, test = False, ""
    words = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word.startswith(("--json", "-j")):
            as_json = True
        elif (
            word in ("-n", "-d", "-l", "-T", "-t", "--nocheck", "--device", "--log", "--tolerance", "--test")
            and rest
        ):
            value = rest.pop(0)
            test = value if word in ("-t", "--test") else test
        elif not word.startswith("-"):
            words.append(word)
    return as_json, words, test


def _answer(argv: list[str], found: dict[str, Any], code: int, as_json: bool, why: str) -> int:  # noqa: FBT001
    if not as_json:
        print("smartctl 7.4 2023-08-01 r5530 [FreeBSD 14.3-RELEASE amd64] (local build)")
        print("Copyright (C) 2002-23, Bruce Allen, Christian Franke, www.smartmontools.org\n")
        passed = found.get("smart_status", {}).get("passed")
        print(why or f"SMART overall-health self-assessment test result: {'PASSED' if passed else 'FAILED!'}")
        return code
    head: dict[str, Any] = {
        "json_format_version": [1, 0],
        "smartctl": {
            **{"version": [7, 4], "pre_release": False, "svn_revision": "5530"},
            **{"platform_info": "FreeBSD 14.3-RELEASE amd64", "build_info": "(local build)"},
            "argv": ["smartctl", *argv],
        },
    }
    if why:
        head["smartctl"]["messages"] = [{"string": why, "severity": "error"}]
    head["smartctl"]["exit_status"] = code
    now = int(time.time())
    stamp = {"local_time": {"time_t": now, "asctime": time.ctime(now) + " UTC"}} if found else {}
    print(json.dumps(head | stamp | found))
    return code


def _device(name: str, disk: disks.Disk) -> dict[str, str]:
    kind, protocol = {"da": ("scsi", "SCSI"), "ada": ("atacam", "ATA"), "nda": ("nvme", "NVMe")}[
        disk["driver"]
    ]
    return {"name": f"/dev/{name}", "info_name": f"/dev/{name}", "type": kind, "protocol": protocol}


def report(name: str, disk: disks.Disk) -> dict[str, Any]:
    """What the disk says of itself."""
    booted = core.peek("host").get("booted", 0)
    hours = disk["hours"] + max(0, int(time.time()) - booted) // 3600
    failing = bool(disk.get("failing"))
    heat = {"da": 34, "ada": 31, "nda": 41}[disk["driver"]] + disk.get("hot", 0) + len(disk["serial"]) % 3
    common = {
        "device": _device(name, disk),
        **{"model_name": disks.description(disk), "serial_number": disk["serial"]},
        "firmware_version": disk["revision"],
        "user_capacity": {"blocks": disk["size"] // disk["sector"], "bytes": disk["size"]},
        "logical_block_size": disk["sector"],
        "smart_support": {"available": True, "enabled": True},
        "smart_status": {"passed": not failing},
        "temperature": {"current": heat},
        "power_on_time": {"hours": hours},
        "power_cycle_count": 27,
    }
    more = {"da": _scsi, "ada": _ata, "nda": _nvme}[disk["driver"]](disk, hours, heat, failing)
    return common | more


def _scsi(disk: disks.Disk, hours: int, heat: int, failing: bool) -> dict[str, Any]:  # noqa: FBT001
    counters = {"errors_corrected_by_eccfast": 0, "total_uncorrected_errors": 4 if failing else 0}
    return {
        **{"scsi_vendor": disk["vendor"], "scsi_product": disk["model"], "scsi_revision": disk["revision"]},
        "rotation_rate": disk["rpm"],
        "temperature": {"current": heat, "drive_trip": 60},
        "scsi_grown_defect_list": 312 if failing else 0,
        "scsi_error_counter_log": {"read": counters, "write": counters},
    }


def _ata(disk: disks.Disk, hours: int, heat: int, failing: bool) -> dict[str, Any]:  # noqa: FBT001
    def attribute(number: int, name: str, value: int, limit: int, raw: int) -> dict[str, Any]:
        failed = "now" if value <= limit else ""
        return {
            **{
                "id": number,
                "name": name,
                "value": value,
                "worst": value,
                "thresh": limit,
                "when_failed": failed,
            },
            "raw": {"value": raw, "string": str(raw)},
        }

    table = [
        attribute(5, "Reallocated_Sector_Ct", 8 if failing else 100, 10, 1892 if failing else 0),
        attribute(9, "Power_On_Hours", 97, 0, hours),
        attribute(12, "Power_Cycle_Count", 99, 0, 27),
        attribute(177, "Wear_Leveling_Count", 96, 0, 41),
        attribute(190, "Airflow_Temperature_Cel", 100 - heat, 0, heat),
        attribute(197, "Current_Pending_Sector", 100, 0, 24 if failing else 0),
        attribute(198, "Offline_Uncorrectable", 100, 0, 6 if failing else 0),
        attribute(241, "Total_LBAs_Written", 99, 0, hours * 1_000_003),
    ]
    return {
        **{"rotation_rate": disk["rpm"], "form_factor": {"ata_value": 3, "name": "2.5 inches"}},
        "trim": {"supported": True, "deterministic": True, "zeroed": True},
        "ata_smart_attributes": {"revision": 1, "table": table},
        "ata_smart_self_test_log": {"standard": {"revision": 1, "count": 0}},
    }


def _nvme(disk: disks.Disk, hours: int, heat: int, failing: bool) -> dict[str, Any]:  # noqa: FBT001
    return {
        "nvme_total_capacity": disk["size"],
        "nvme_smart_health_information_log": {
            **{
                "critical_warning": 4 if failing else 0,
                "temperature": heat,
                "available_spare": 3 if failing else 100,
            },
            **{"available_spare_threshold": 10, "percentage_used": 104 if failing else 3},
            **{
                "data_units_read": hours * 911,
                "data_units_written": hours * 1203,
                "host_reads": hours * 70_001,
            },
            **{"host_writes": hours * 90_001, "controller_busy_time": hours, "power_cycles": 27},
            **{"power_on_hours": hours, "unsafe_shutdowns": 5, "media_errors": 17 if failing else 0},
            **{"num_err_log_entries": 0, "warning_temp_time": 0, "critical_comp_time": 0},
        },
    }
