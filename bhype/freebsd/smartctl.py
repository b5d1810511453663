"""smartctl(8) of smartmontools, where the host has it: what disks say of their own health."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from bhype.freebsd import zpool_layout
from bhype.freebsd.command import Command, ParseError, Query

PROGRAM = "/usr/local/sbin/smartctl"
# Bits of its exit status (smartctl(8), EXIT STATUS): 0 and 1 mean that nothing could be asked.
FAILING, PREFAIL, WAS_PREFAIL, ERRORS, TEST_FAILED = 8, 16, 32, 64, 128
# ATA attributes that foretell a failure: reallocated, pending and uncorrectable sectors.
_REALLOCATED, _PENDING, _UNCORRECTABLE = 5, 197, 198


@dataclass(frozen=True, slots=True)
class Health:
    """passed: None where the disk has no SMART; temperature in degrees Celsius; hours of its life; reallocated,
    pending, uncorrectable: counts of sectors; wear: percent of the life of flash that is used up; is_asleep: it was
    not woken up to be asked; warnings: sentences."""

    passed: bool | None = None
    temperature: int | None = None
    hours: int | None = None
    reallocated: int | None = None
    pending: int | None = None
    uncorrectable: int | None = None
    wear: int | None = None
    is_asleep: bool = False
    warnings: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As `PhysicalDisk.health` has it: without what is not known."""
        values = asdict(self).items()
        found = {key: value for key, value in values if key == "passed" or not _is_unknown(value)}
        if "warnings" in found:
            found["warnings"] = list(found["warnings"])
        return found


def health(disk: str) -> Query[Health]:
    """Asks the disk unless it sleeps (-n standby). Its exit status is a mask of bits, most of which are no failure."""
    argv = (PROGRAM, "--json=c", "-n", "standby", "-a", f"/dev/{zpool_layout.disk(disk)}")
    return Query(Command(argv, ok_codes=frozenset(range(256)), timeout=60.0), _health)


def self_test(disk: str, kind: str = "short") -> Command:
    """Let the disk test itself, beside its work: short takes minutes, long hours."""
    if kind not in {"short", "long"}:
        raise ValueError("a self-test is short or long")
    return Command((PROGRAM, "--json=c", "-t", kind, f"/dev/{zpool_layout.disk(disk)}"))


def _is_unknown(value: object) -> bool:
    return value is None or value is False or value == ()


def _health(text: str) -> Health:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"smartctl's JSON cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ParseError("smartctl's JSON is no object")
    status = _whole(_at(found, "smartctl", "exit_status")) or 0
    if _at(found, "power_mode", "name") in {"STANDBY", "SLEEP"} or (status & 2 and _is_asleep(found)):
        return Health(is_asleep=True)
    passed = _at(found, "smart_status", "passed")
    nvme = _at(found, "nvme_smart_health_information_log")
    flash = nvme if isinstance(nvme, dict) else {}
    sectors = _attributes(found)
    counted = {
        "reallocated": sectors.get(_REALLOCATED, _whole(_at(found, "scsi_grown_defect_list"))),
        "pending": sectors.get(_PENDING),
        "uncorrectable": sectors.get(_UNCORRECTABLE, _whole(flash.get("media_errors"))),
    }
    wear = _whole(flash.get("percentage_used"))
    if wear is None:
        wear = _whole(_at(found, "scsi_percentage_used_endurance_indicator"))
    return Health(
        passed=passed if isinstance(passed, bool) else None,
        temperature=_whole(_at(found, "temperature", "current")),
        hours=_whole(_at(found, "power_on_time", "hours")),
        reallocated=counted["reallocated"],
        pending=counted["pending"],
        uncorrectable=counted["uncorrectable"],
        wear=wear,
        warnings=tuple(_warnings(status, passed, counted, wear, _whole(flash.get("critical_warning")) or 0)),
    )


def _is_asleep(found: dict[str, Any]) -> bool:
    messages = _at(found, "smartctl", "messages")
    texts = (
        [str(one.get("string", "")) for one in messages if isinstance(one, dict)]
        if isinstance(messages, list)
        else []
    )
    return any("STANDBY mode" in text or "SLEEP mode" in text for text in texts)


def _warnings(
    status: int, passed: object, counted: dict[str, int | None], wear: int | None, critical: int
) -> list[str]:
    said = []
    if passed is False or status & FAILING:
        said.append("The disk says that it is failing: replace it now.")
    elif status & PREFAIL:
        said.append("A value is beyond its limit: the disk will fail soon.")
    if critical:
        said.append("It gives a critical warning.")
    for key, words in (
        ("reallocated", "has moved {} bad sectors"),
        ("pending", "cannot read {} sectors"),
        ("uncorrectable", "has lost the data of {} sectors"),
    ):
        if count := counted[key]:
            said.append(f"It {words.format(count)}.")
    if wear is not None and wear >= 90:
        said.append(f"{wear}% of its life is used up.")
    if status & TEST_FAILED:
        said.append("A test that it ran on itself has failed.")
    return said


def _attributes(found: dict[str, Any]) -> dict[int, int]:
    """Raw values of the ATA attributes, by number."""
    table = _at(found, "ata_smart_attributes", "table")
    values: dict[int, int] = {}
    for row in table if isinstance(table, list) else []:
        key, raw = _whole(_at(row, "id")), _whole(_at(row, "raw", "value"))
        if key is not None and raw is not None:
            values[key] = raw
    return values


def _at(found: Any, *path: str) -> Any:
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
