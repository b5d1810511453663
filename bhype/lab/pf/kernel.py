"""What pf has loaded, in the lab's state "pf"::

    {"enabled", "since", "serial", "options": {as parser's},
     "anchors": {PATH: {"scrub"|"nat"|"binat"|"rdr"|"filter": [[id, text]...], "ether": [...]}},     "" is the main one
     "tables": {PATH: {NAME: {"persist", "const", "counters", "active", "addresses": [as "!10.0.0.0/8"], "since"}}},
     "labels": {id: [label...]}, of old rules too, which states may still be of,
     "counts": {id: [packets in, bytes in, packets out, bytes out, states made, states now, evaluations]}}

A rule lies there as pfctl prints it, and is read again from that. ``id`` is a rule's own and never used twice. A load
replaces an anchor at once: all programs take the state's lock.

Source: pfctl_rules() in S:sbin/pfctl/pfctl.c, pf_commit_rules() and pf_anchor_setup() in S:sys/netpfil/pf,
pfr_ina_commit() in S:sys/netpfil/pf/pf_table.c.
"""

from __future__ import annotations

import time

from bhype.lab import core
from bhype.lab.pf import parser, show
from bhype.lab.pf.model import Filter
from bhype.lab.pf.rules import Ruleset
from bhype.lab.pf.world import World, of_lab

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    State = dict[str, Any]

_OLD_LABELS = 1000
SECTIONS = ("scrub", "nat", "binat", "rdr", "filter")


class Refused(Exception):
    """The kernel's answer to a table command, in the words of pfr_strerror()."""


def loaded() -> bool:
    """Whether pf.ko is there."""
    return "pf" in core.peek("kld").get("loaded", {})


def world() -> World:
    """The lab's host as rules see it."""
    from bhype.lab import release

    found = of_lab(core.peek("ifconfig"), release.major(), _read)
    gateway = core.peek("route").get("routes", {}).get("default", "192.0.2.1")
    found.default = ""
    found.default = Filter(world=found).route(str(gateway)) or ""
    return found


def _read(path: str) -> str:
    with open(core.root(path) if path.startswith("/") else path) as file:
        return file.read()


def fresh(data: State) -> State:
    """The state with all its keys."""
    data.setdefault("enabled", False)
    data.setdefault("since", 0)
    data.setdefault("serial", 0)
    data.setdefault("options", {})
    data.setdefault("anchors", {"": {}})
    data.setdefault("tables", {})
    data.setdefault("counts", {})
    data.setdefault("labels", {})
    return data


def load(data: State, path: str, ruleset: Ruleset, sections: tuple[str, ...] = ("ether", *SECTIONS)) -> None:
    """Give the anchor ``path`` these rules and tables, with the anchors that they hold. Raises Refused."""
    if not path and sections == ("ether", *SECTIONS):
        data["options"] = {key: value for key, value in ruleset.options.items() if value is not None}
    _put(data, path, ruleset, sections)
    tidy(data)


def _put(data: State, path: str, ruleset: Ruleset, sections: tuple[str, ...]) -> None:
    anchor = data["anchors"].setdefault(path, {})
    keeps = data["options"].get("keepcounters")
    for section in SECTIONS:
        if section in sections:
            old = {text: number for number, text in anchor.get(section, ())} if keeps else {}
            lines = [show.text(rule, escape=True) for rule in getattr(ruleset, section)]
            anchor[section] = [[old.pop(line, 0) or _serial(data), line] for line in lines]
            for rule, (number, _) in zip(getattr(ruleset, section), anchor[section], strict=True):
                if rule.labels:
                    data["labels"][str(number)] = list(rule.labels)
    if "ether" in sections:
        anchor["ether"] = [[_serial(data), show.ether(rule)] for rule in ruleset.ether]
    for name, table in ruleset.tables.items():
        entry = table_of(data, path, name, make=True)
        entry.update(persist=table.persist, const=table.const, counters=table.counters, active=True)
        if table.has_list:
            entry["addresses"] = unique(
                f"{'!' * each.negated}{each.value or '0.0.0.0/0'}" for each in table.addresses
            )
            entry["since"] = int(time.time())
    for name, below in ruleset.anchors.items():
        _put(data, f"{path}/{name}" if path else name, below, ("ether", *SECTIONS))


def _serial(data: State) -> int:
    data["serial"] += 1
    return int(data["serial"])


def tidy(data: State) -> None:
    """Forget what nothing holds any more: anchors without rules, tables without a rule, counts without both."""
    numbers = set()
    words: dict[str, str] = {}
    for path, anchor in data["anchors"].items():
        lines = [line for section in SECTIONS for line in anchor.get(section, ())]
        numbers |= {str(number) for number, _ in (*lines, *anchor.get("ether", ()))}
        words[path] = "\n".join(text for _, text in lines)
    for path, tables in list(data["tables"].items()):
        used = words.get(path, "") if path else "\n".join(words.values())
        data["tables"][path] = {
            name: each for name, each in tables.items() if each["persist"] or f"<{name}>" in used
        }
        if not data["tables"][path]:
            del data["tables"][path]
    for path in list(data["anchors"]):
        if path and not words[path] and not data["anchors"][path].get("ether") and path not in data["tables"]:
            del data["anchors"][path]
    data["counts"] = {number: counts for number, counts in data["counts"].items() if number in numbers}
    for number in [each for each in data["labels"] if each not in numbers][:-_OLD_LABELS]:
        del data["labels"][number]


def unique(addresses: Any) -> list[str]:
    """Addresses without repetition, in the order of a radix tree: by family, number and length."""
    from ipaddress import ip_network

    def place(text: str) -> tuple[int, int, int]:
        network = ip_network(text.lstrip("!"), strict=False)
        return network.version, int(network.network_address), network.prefixlen

    return sorted(dict.fromkeys(addresses), key=place)


def table_of(data: State, path: str, name: str, *, make: bool = False) -> State:
    """The table of an anchor. Raises Refused if there is none and none is to be made."""
    tables = data["tables"].get(path, {})
    if name not in tables or not tables[name]["active"]:
        if not make:
            raise Refused("Table does not exist")
        flags = {"persist": False, "const": False, "counters": False, "active": False}
        data["tables"].setdefault(path, {}).setdefault(
            name, {**flags, "addresses": [], "since": int(time.time())}
        )
        if path:
            data["anchors"].setdefault(path, {})
    entry: State = data["tables"][path][name]
    return entry


def rules(data: State, path: str) -> Ruleset | None:
    """The rules of one anchor, without those of anchors below it; None for one that nobody has loaded."""
    anchor = data["anchors"].get(path)
    if anchor is None:
        return None
    lines = [text for section in ("ether", *SECTIONS) for _, text in anchor.get(section, ())]
    return parser.parse("\n".join(lines), name=path, world=_PLAIN, internal=True)


def numbers(data: State, path: str, section: str) -> list[int]:
    """The ids of an anchor's rules."""
    return [number for number, _ in data["anchors"].get(path, {}).get(section, ())]


def paths(data: State) -> list[str]:
    """All anchors, those too that are only named by a rule or lie between."""
    found = set(data["anchors"])
    for path, anchor in data["anchors"].items():
        for section in SECTIONS:
            for _, text in anchor.get(section, ()):
                word, _, rest = text.partition(' "')
                if word.endswith("anchor"):
                    name = rest.partition('"')[0].removesuffix("/*").removesuffix("*")
                    found.add(name.strip("/") if name.startswith("/") or not path else f"{path}/{name}")
    for path in list(found):
        parts = path.split("/")
        found |= {"/".join(parts[:count]) for count in range(1, len(parts))}
    return sorted(found - {""})


def filter_of(data: State, here: World | None = None) -> Filter:
    """The model of all that is loaded, with no states."""
    made = Filter(world=here or world(), is_enabled=data["enabled"])
    made.main.options = dict(data["options"])
    for path in sorted(data["anchors"]):
        found = rules(data, path)
        if found:
            target = made.find(path, make=True)
            assert target is not None
            for section in ("ether", *SECTIONS):
                setattr(target, section, getattr(found, section))
    for path, tables in data["tables"].items():
        for name, each in tables.items():
            if each["active"]:
                made.tables[path, name] = list(each["addresses"])
    return made


_PLAIN = World(interfaces={}, release=99, hosts={})
