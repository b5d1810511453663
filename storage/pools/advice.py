"""What to do about a pool that is not well. Pure."""

from __future__ import annotations

from typing import Any

# Worst first; what is not in here is well.
ORDER = {"SUSPENDED": 0, "FAULTED": 1, "UNAVAIL": 1, "REMOVED": 2, "DEGRADED": 3, "OFFLINE": 3}


def rank(health: str, status: dict[str, Any], level: int) -> int:
    """Where a pool stands in the list: the lower, the earlier it is shown."""
    if health in ORDER:
        return ORDER[health]
    if isinstance(status.get("errors"), list) or any(errors(one) for one in leaves(status)):
        return 4
    return 5 if level >= 90 else 6 if level else 9


def advice(health: str, status: dict[str, Any]) -> list[str]:
    """What to do, as sentences; [] for a pool that is well."""
    said = []
    if health == "SUSPENDED":
        said.append("All reading and writing waits. Connect the missing disks again, then clear the errors.")
    elif health in {"FAULTED", "UNAVAIL"}:
        said.append(
            "The pool cannot be used. Connect the missing disks again; if they are lost, restore from a backup."
        )
    for leaf in leaves(status):
        name, state = leaf["name"], leaf["state"]
        if "resilvering" in leaf.get("note", ""):
            continue
        if state in {"UNAVAIL", "REMOVED"}:
            was = leaf.get("note", "").removeprefix("was ")
            shown = was if was.startswith("/dev/") else name
            said.append(f"{shown} is gone. Connect it again and put it online, or replace it.")
        elif state == "FAULTED":
            said.append(f"{name} has failed and is not used any more. Replace it.")
        elif state == "OFFLINE":
            said.append(f"{name} was taken offline. Put it online, or replace it.")
        elif errors(leaf):
            said.append(
                f"{name} has had {errors(leaf)} error{'s' if errors(leaf) > 1 else ''}. Check its cable and its "
                "health, scrub the pool, then clear the errors. If they come back, replace it."
            )
    damaged = status.get("errors")
    if isinstance(damaged, list) and damaged:
        said.append(
            f"{len(damaged)} file{'s are' if len(damaged) > 1 else ' is'} damaged: "
            "restore from a snapshot or a backup, then scrub."
        )
    return said


def errors(member: dict[str, Any]) -> int:
    return int(member.get("read", 0)) + int(member.get("write", 0)) + int(member.get("checksum", 0))


def groups(status: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """(title, members) of each part of a pool: its data first."""
    root = (status.get("config") or [{}])[0]
    parts = [("Data", root.get("children") or [])]
    titles = {
        "special": "Special",
        "dedup": "Deduplication",
        "logs": "Log",
        "cache": "Cache",
        "spares": "Spares",
    }
    return [
        part
        for part in (*parts, *((title, status.get(key) or []) for key, title in titles.items()))
        if part[1]
    ]


def leaves(status: dict[str, Any]) -> list[dict[str, Any]]:
    """All disks of a pool."""
    found: list[dict[str, Any]] = []

    def walk(member: dict[str, Any]) -> None:
        children = member.get("children") or []
        if not children:
            found.append(member)
        for child in children:
            walk(child)

    for _, members in groups(status):
        for member in members:
            walk(member)
    return found


def data_groups(status: dict[str, Any]) -> list[tuple[str, int]]:
    """(kind, width) of the data groups, a single disk as ("stripe", 1)."""
    found = []
    for member in dict(groups(status)).get("Data", []):
        kind = str(member["name"]).rpartition("-")[0]
        children = member.get("children") or []
        if not children or kind in {"replacing", "spare"}:
            found.append(("stripe", 1))
        else:
            found.append((kind.split(":")[0] if kind.startswith("draid") else kind, len(children)))
    return found
