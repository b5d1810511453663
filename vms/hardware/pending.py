"""What of a VM differs between the guest that runs and what is wanted: it applies at the next start. Pure.

Both sides are documents (vm.json). A path names one difference: "mem", "graphic.width", "emulations[0:4:0]" for a
device that is new, "removed[0:4:0]" for one that goes, both by their slots, "emulations[0:4:0].ro" for a key of one.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bhype.vmrun.changes import PORT
from bhype.vmrun.devices import CD, COMMON, DISK, KINDS, NETWORK_GROUP
from bhype.vmrun.keys import KEYS
from bhype.vmrun.options import Option
from vms import plan
from vms.sizes import human

Document = dict[str, Any]
# The panel's own, decided at each start, or fixed.
_IGNORED = frozenset(
    {"version", "bhype", "name", "uuid", "emulations", "$schema", "lpc_slot", "power_off_destroy_vm"}
)
_SECRET = frozenset({"graphic.password", "graphic.port"})
_LIVE = ("link", "rate_in", "rate_out")
# Of a port on a switch the panel names the tap.
_OF_SWITCH = frozenset({"name", "description", "type", "fix"})
_DEVICE = re.compile(r"(emulations|removed)\[([0-9]{1,3}:[0-9]{1,2}:[0-9])\](?:\.([a-z_0-9]{1,32}))?")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the next start changes. label: what it is; before and after: in words."""

    path: str
    label: str
    before: str
    after: str


def differences(running: Document, wanted: Document) -> list[Difference]:
    """What the next start changes; empty when the guest runs as it is wanted."""
    return [*_main(running, wanted), *_devices(running, wanted)]


def put_back(wanted: Document, running: Document, path: str) -> Document:
    """``wanted`` with the part at ``path`` as it runs. Raises LookupError when nothing differs there."""
    if path not in {found.path for found in differences(running, wanted)}:
        raise LookupError(path)
    result = copy.deepcopy(wanted)
    if device := _DEVICE.fullmatch(path):
        _put_device_back(result, running, device[2], device[3], is_there=device[1] == "emulations")
        return result
    key, _, inner = path.partition(".")
    if inner:
        _copy(result.setdefault(key, {}), _table(running, key), inner)
    elif key == "bootrom":
        for one in ("bootrom", "varfile", "loader"):
            _copy(result, running, one)
    else:
        _copy(result, running, key)
    return result


def all_back(wanted: Document, running: Document) -> Document:
    """``wanted`` as it runs, but for what is decided at each start."""
    result = {key: value for key, value in wanted.items() if key in _IGNORED and key != "emulations"}
    result |= {key: value for key, value in copy.deepcopy(running).items() if key not in result}
    if "graphic" in result and "graphic" in wanted:
        secret = {key: wanted["graphic"][key] for key in ("password", "port") if key in wanted["graphic"]}
        result["graphic"] = {**result["graphic"], **secret}
    return result


def with_live(running: Document, wanted: Document, plugged: str = "") -> Document:
    """``running`` after what a supervisor changes while its guest runs: limits, rates and cables, and where the port
    with the MAC address ``plugged`` is plugged in."""
    result = copy.deepcopy(running)
    for key in ("limits", "nice", "protect"):
        _copy(result, wanted, key)
    for _, before, after in _pairs(result, wanted):
        if before is not None and after is not None and _group(after) == NETWORK_GROUP:
            for key in (*_LIVE, *(PORT if after.get("mac") == plugged else ())):
                _copy(before, after, key)
    return result


def _copy(target: Document, source: Document, key: str) -> None:
    if key in source:
        target[key] = copy.deepcopy(source[key])
    else:
        target.pop(key, None)


# The main keys.


def _main(running: Document, wanted: Document) -> Iterator[Difference]:
    for key, option in KEYS.items():
        if key in _IGNORED:
            continue
        before, after = _value(running, option), _value(wanted, option)
        # A screen that comes or goes is one difference.
        if option.options and option.kind == "table" and before is not None and after is not None:
            yield from _inner(option, _table(running, key), _table(wanted, key))
        elif before != after:
            yield Difference(key, option.label, say(before, option), say(after, option))


def _inner(table: Option, before: Document, after: Document) -> Iterator[Difference]:
    for key, option in table.options.items():
        path = f"{table.key}.{key}"
        if path not in _SECRET and _value(before, option) != _value(after, option):
            label = f"{table.label}: {option.label}"
            yield Difference(
                path, label, say(_value(before, option), option), say(_value(after, option), option)
            )


def _value(source: Document, option: Option) -> Any:
    value = source.get(option.key)
    if isinstance(value, dict):
        value = {key: inner for key, inner in value.items() if f"{option.key}.{key}" not in _SECRET}
    return option.default if value is None and option.kind == "flag" else value


def _table(document: Document, key: str) -> Document:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


# Devices.


def entries(document: Document) -> dict[str, Document]:
    """The devices by their slots."""
    found = document.get("emulations")
    rows = found if isinstance(found, list) else []
    devices = (row for row in rows if isinstance(row, dict) and str(row.get("device")) in KINDS)
    return {str(row.get("slot")): row for row in devices}


def _pairs(running: Document, wanted: Document) -> Iterator[tuple[str, Document | None, Document | None]]:
    """Each device with the slot that names it, before and after: the same disk or address, else the same place."""
    before, after = entries(running), entries(wanted)
    matched: dict[str, str] = {}
    for are_one in (_is_same_thing, _is_same_place):
        for slot, entry in after.items():
            rest = [key for key in before if key not in matched.values()]
            if slot not in matched and (
                old := next((key for key in rest if are_one(before[key], entry)), None)
            ):
                matched[slot] = old
    for slot, entry in after.items():
        yield slot, before.get(matched.get(slot, "")), entry
    for slot, entry in before.items():
        if slot not in matched.values():
            yield slot, entry, None


def _is_same_thing(one: Document, other: Document) -> bool:
    return bool(_mark(one)) and _mark(one) == _mark(other) and _group(one) == _group(other)


def _is_same_place(one: Document, other: Document) -> bool:
    return one.get("slot") == other.get("slot") and one["device"] == other["device"]


def _group(entry: Document) -> str:
    return KINDS[entry["device"]].group


def _mark(entry: Document) -> str:
    """What a disk or port is, wherever it sits; "" of other devices."""
    if _group(entry) not in {DISK, NETWORK_GROUP}:
        return ""
    return str(entry.get("mac" if _group(entry) == NETWORK_GROUP else "path") or "")


def _devices(running: Document, wanted: Document) -> Iterator[Difference]:
    for slot, before, after in _pairs(running, wanted):
        path = f"emulations[{slot}]" if after else f"removed[{slot}]"
        entry = after or before or {}
        label = f"{KINDS[entry['device']].label} {slot}"
        if before is None or after is None:
            there = [summary(one) if one else "not there" for one in (before, after)]
            yield Difference(path, label, *there)
        else:
            yield from _keys(path, label, before, after)


def _keys(path: str, label: str, before: Document, after: Document) -> Iterator[Difference]:
    if before["device"] != after["device"]:
        labels = [KINDS[one["device"]].label for one in (before, after)]
        yield Difference(f"{path}.device", f"{label}: Model", *labels)
    if before.get("slot") != after.get("slot"):
        yield Difference(
            f"{path}.slot", f"{label}: PCI slot", str(before.get("slot")), str(after.get("slot"))
        )
    options = {**COMMON, **KINDS[before["device"]].options, **KINDS[after["device"]].options}
    hidden = (
        _OF_SWITCH
        if any(str(one.get("bridge")).startswith("sw-") for one in (before, after))
        else frozenset()
    )
    for key, option in options.items():
        if key == "slot" or key in hidden:
            continue
        old, new = _value(before, option), _value(after, option)
        if old != new:
            yield Difference(f"{path}.{key}", f"{label}: {option.label}", say(old, option), say(new, option))


def _put_device_back(
    result: Document, running: Document, slot: str, key: str | None, *, is_there: bool
) -> None:
    rows = result["emulations"]
    for place, before, after in _pairs(running, result):
        if place != slot or is_there != (after is not None):
            continue
        if after is None:
            taken = set(entries(result))
            free = slot if slot not in taken else plan.pick_slot(taken, plan.CD_SLOT)
            rows.append({**copy.deepcopy(before or {}), "slot": free})
        elif before is None:
            rows.remove(after)
        elif key is not None:
            _copy(after, before, key)
        return


# Words.


def say(value: Any, option: Option | None = None) -> str:
    """A value for people."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if option is not None and option.key == "cpu":
        return _cpus(value)
    if option is not None and option.key == "mem":
        return human(int(str(value)[:-1]) << 20) if re.fullmatch(r"[0-9]{1,12}M", str(value)) else str(value)
    if isinstance(value, dict | list):
        return _compact(value)
    unit = f" {option.unit}" if option is not None and option.unit else ""
    return f"{value}{unit}"


def _cpus(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    parts = [value.get(key, 1) for key in ("sockets", "cores", "threads")]
    if not all(isinstance(part, int) for part in parts):
        return _compact(value)
    total = parts[0] * parts[1] * parts[2]
    words = [
        f"{count} {name}{'s' if count != 1 else ''}"
        for count, name in zip(parts, ("socket", "core", "thread"), strict=True)
    ]
    return f"{total} ({', '.join(words)})"


def _compact(value: Any) -> str:
    if isinstance(value, dict) and all(not isinstance(one, dict | list) for one in value.values()):
        return ", ".join(f"{key} {say(one)}" for key, one in value.items()) or "nothing"
    if isinstance(value, list) and all(not isinstance(one, dict | list) for one in value):
        return ", ".join(map(str, value)) or "nothing"
    text = json.dumps(value)
    return text if len(text) < 200 else f"{text[:200]}…"


def summary(entry: Mapping[str, Any]) -> str:
    """A device in a few words: its disk, medium, switch or what it is made of."""
    kind = KINDS[entry["device"]]
    if kind.group == CD:
        return str(entry["path"]).rpartition("/")[2] if entry.get("path") else "empty"
    if kind.group == NETWORK_GROUP:
        where = str(entry.get("bridge") or entry.get("name") or entry.get("path") or entry.get("type"))
        mac = entry.get("mac")
        return f"{where.removeprefix('sw-')}, {mac}" if mac else where
    if entry.get("path"):
        words = str(entry["path"])
        name = words.rpartition("/")[2] if "/bhype/vms/" in words else words
        return f"{entry['share']}: {name}" if entry.get("share") else name
    shown = [
        f"{option.label}: {say(entry[key], option)}"
        for key, option in kind.options.items()
        if entry.get(key) is not None and option.kind != "flag"
    ]
    return "; ".join(shown[:3]) or kind.help
