"""What ``pfctl -s`` prints.

Source: pfctl_show_rules(), pfctl_show_nat(), pfctl_show_anchors() and their kin in S:sbin/pfctl/pfctl.c,
print_status() in S:sbin/pfctl/pfctl_parser.c, print_state() in S:sbin/pfctl/pf_print_state.c, pfctl_table.c.
"""

from __future__ import annotations

import time

from bhype.lab import core
from bhype.lab.pf import kernel, live, names
from bhype.lab.pf import show as words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bhype.lab.pf.rules import Address, Ruleset
    from bhype.lab.pfctl import Call

    State = dict[str, Any]

# -- which -s wants what -----------------------------------------------------------------------------


def show(call: Call) -> int:
    """Print what ``call.show`` names; returns the exit status."""
    data = kernel.fresh(core.peek("pf"))
    if call.verbose or call.show in ("labels", "all", "states", "info"):
        live.read(data)
    shown = _Show(call, data)
    match call.show:
        case "ether":
            shown.ether(call.anchor, 0)
        case "rules":
            shown.rules(call.anchor, 0)
        case "nat":
            shown.nat(call.anchor, 0)
        case "labels":
            shown.labels(call.anchor)
        case "Anchors":
            return shown.anchors()
        case "Tables":
            shown.tables()
        case "info":
            shown.info()
        case "Running":
            print("Enabled" if data["enabled"] else "Disabled")
            return 0 if data["enabled"] else 1
        case "states":
            shown.states()
        case "timeouts":
            shown.timeouts()
        case "memory":
            shown.memory()
        case "Interfaces":
            shown.interfaces()
        case "all":
            shown.everything()
    return 0


class _Show:
    def __init__(self, call: Call, data: State) -> None:
        self.call = call
        self.data = data
        self.numeric = "P" in call.letters
        self.world = kernel.world()

    def _indent(self, depth: int) -> str:
        return "" if self.call.verbose else "  " * depth

    def _counts(self, path: str) -> Any:
        """With -vv, how many addresses a table or interface has."""
        if self.call.verbose < 2:
            return None

        def count(address: Address) -> str:
            if address.kind == "dynamic":
                return str(len(self.world.addresses(address.value, address.modifiers)))
            tables = self.data["tables"]
            found = tables.get(path, {}).get(address.value) or tables.get("", {}).get(address.value)
            return str(len(found["addresses"])) if found and found["active"] else "*"

        return count

    def _ruleset(self, path: str) -> Ruleset | None:
        found = kernel.rules(self.data, path)
        if found is None and path not in kernel.paths(self.data):
            core.warn("pfctl: DIOCGETRULES: Invalid argument")
        return found

    def _counters(self, number: int) -> None:
        if not self.call.verbose:
            return
        counts = self.data["counts"].get(str(number), [0, 0, 0, 0, 0, 0, 0])
        packets, octets = counts[0] + counts[2], counts[1] + counts[3]
        print(
            f"  [ Evaluations: {counts[6]:<8}  Packets: {packets:<8}  Bytes: {octets:<10}  States: {counts[5]:<6}]"
        )
        print(f"  [ Inserted: uid 0 pid {self.data.get('pid', 0)} State Creations: {counts[4]:<6}]")

    def rules(self, path: str, depth: int) -> None:
        found = self._ruleset(path)
        if found is None:
            return
        for section in ("scrub", "filter"):
            ids = kernel.numbers(self.data, path, section)
            for number, rule in enumerate(getattr(found, section)):
                text = words.text(rule, counts=self._counts(path), numeric=self.numeric)
                mark = f"@{number} " if self.call.verbose > 1 else ""
                name = rule.anchor.rpartition("/")[2]
                opens = bool(rule.anchor) and (name.startswith("_") or self.call.recurse)
                print(f"{self._indent(depth)}{mark}{text}{' {' * opens}")
                self._counters(ids[number])
                if opens:
                    self._inside(path, rule.anchor, depth)
                    print(f"{self._indent(depth)}}}")

    def _inside(self, path: str, name: str, depth: int) -> None:
        for below in self._below(path, name):
            if name.endswith("*"):
                print(f'{self._indent(depth + 1)}anchor "{below.rpartition("/")[2]}" all {{')
                self.rules(below, depth + 2)
                print(f"{self._indent(depth + 1)}}}")
            else:
                self.rules(below, depth + 1)

    def _below(self, path: str, name: str) -> list[str]:
        return kernel.filter_of(self.data, self.world).anchors_of(path, name)

    def nat(self, path: str, depth: int) -> None:
        found = self._ruleset(path)
        if found is None:
            return
        for section in ("nat", "rdr", "binat"):
            ids = kernel.numbers(self.data, path, section)
            for number, rule in enumerate(getattr(found, section)):
                opens = bool(rule.anchor) and self.call.recurse
                mark = f"@{number} " if self.call.verbose > 1 else ""
                text = words.text(rule, counts=self._counts(path), numeric=self.numeric)
                print(f"{self._indent(depth)}{mark}{text}{' {' * opens}")
                self._counters(ids[number])
                if opens:
                    for below in self._below(path, rule.anchor):
                        if below in self.data["anchors"]:
                            self.nat(below, depth + 1)
                    print(f"{self._indent(depth)}}}")

    def ether(self, path: str, depth: int) -> None:
        if self.world.release < 14:
            core.fail("pfctl: Unknown show modifier 'ether'", 1)
        found = self._ruleset(path)
        ids = kernel.numbers(self.data, path, "ether")
        for number, rule in enumerate(found.ether if found else ()):
            print(f"{self._indent(depth)}{f'@{number} ' if self.call.verbose > 1 else ''}{words.ether(rule)}")
            self._counters(ids[number])

    def labels(self, path: str) -> None:
        found = self._ruleset(path)
        ids = kernel.numbers(self.data, path, "filter")
        for number, rule in enumerate(found.filter if found else ()):
            if rule.labels:
                came, came_octets, left, left_octets, made, _, asked = self.data["counts"].get(
                    str(ids[number]), [0] * 7
                )
                figures = (
                    asked,
                    came + left,
                    came_octets + left_octets,
                    came,
                    came_octets,
                    left,
                    left_octets,
                    made,
                )
                print(*rule.labels, *figures)
            if rule.anchor and self.call.recurse:
                for below in self._below(path, rule.anchor):
                    if below in self.data["anchors"]:
                        self.labels(below)

    def anchors(self) -> int:
        return self._anchors(self.call.anchor)

    def _anchors(self, path: str) -> int:
        known = kernel.paths(self.data)
        if path and path not in known:
            core.warn(f"Anchor '{path}' not found.")
            return 0
        for each in known:
            parent, _, name = each.rpartition("/")
            if parent == path and (not name.startswith("_") or self.call.verbose):
                print(f"  {each}")
                if self.call.verbose:
                    self._anchors(each)
        return 0

    def tables(self) -> None:
        for name, each in sorted(self.data["tables"].get(self.call.anchor, {}).items()):
            if not each["active"] and self.call.verbose < 2:
                continue
            if not self.call.verbose:
                print(name)
                continue
            used = any(
                f"<{name}>" in text
                for section in kernel.SECTIONS
                for _, text in self.data["anchors"].get(self.call.anchor, {}).get(section, ())
            )
            letters = (
                *(("c", each["const"]), ("p", each["persist"]), ("a", each["active"]), ("i", False)),
                *(("r", used), ("h", False), ("C", each["counters"])),
            )
            flags = "".join(letter if is_set else "-" for letter, is_set in letters)
            print(f"{flags}\t{name}" + (f"\t{self.call.anchor}" if self.call.anchor else ""))
            print(f"\tAddresses:   {len(each['addresses'])}")
            print(f"\tCleared:     {time.ctime(each['since'])}")
            print(f"\tReferences:  [ Anchors: 0                  Rules: {int(used):<18} ]")
            print("\tEvaluations: [ NoMatch: 0                  Match: 0                  ]")

    def info(self) -> None:
        data = self.data
        word = "Enabled" if data["enabled"] else "Disabled"
        line = f"Status: {word}"
        if data["since"]:
            age = max(0, int(time.time()) - data["since"])
            days, rest = divmod(age, 86400)
            line += f" for {days} days {rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
        print(f"{line:<44}{'Debug: Urgent':>15}\n")
        if self.call.verbose:
            print("Hostid:   0x00000000\nChecksum: 0x00000000000000000000000000000000\n")
        states = sum(1 for _ in live.states())
        made = sum(counts[4] for counts in data["counts"].values())
        print(f"{'State Table':<27} {'Total':>14} {'Rate':>16}")
        print(f"  {'current entries':<25} {states:>14} {'':>14}")
        age = max(1, int(time.time()) - data["since"])
        for name, count in (("searches", 0), ("inserts", made), ("removals", max(0, made - states))):
            print(f"  {name:<25} {count:>14} {count / age:>14.1f}/s")
        print("Counters")
        reasons = (
            *(
                "match",
                "bad-offset",
                "fragment",
                "short",
                "normalize",
                "memory",
                "bad-timestamp",
                "congestion",
            ),
            *(
                "ip-option",
                "proto-cksum",
                "state-mismatch",
                "state-insert",
                "state-limit",
                "src-limit",
                "synproxy",
            ),
            "map-failed",
        )
        packets = sum(counts[0] + counts[2] for counts in data["counts"].values())
        for name in reasons:
            count = packets if name == "match" else 0
            print(f"  {name:<25} {count:>14} {count / age:>14.1f}/s")

    def states(self) -> None:
        for each in live.states():
            if self.call.interface and each.interface != self.call.interface:
                continue
            print(each.text())
            if self.call.verbose:
                counts = f"{each.packets}:0 pkts, {each.octets}:0 bytes"
                print(f"   age 00:00:00, expires in 24:00:00, {counts}, rule {each.rule}")
            if self.call.verbose > 1:
                print(f"   id: {each.number:016x} creatorid: 00000000")

    def timeouts(self) -> None:
        for name, default in names.TIMEOUTS.items():
            seconds = self.data["options"].get(f"timeout {name}", default)
            print(f"{name:<20} {seconds:>10}{'' if name.startswith('adaptive') else 's'}".rstrip())

    def memory(self) -> None:
        for name, default in names.LIMITS.items():
            limit = self.data["options"].get(f"limit {name}", default)
            print(f"{name:<13} hard limit {limit:8d}")

    def interfaces(self) -> None:
        found = {
            "all",
            *self.world.interfaces,
            *(g for each in self.world.interfaces.values() for g in each.groups),
        }
        skipped = {
            each
            for name in self.data["options"].get("skip", ())
            for each in (name, *self.world.members(name))
        }
        for name in sorted(found):
            if not self.call.interface or self.call.interface == name:
                print(name + " (skip)" * (bool(self.call.verbose) and name in skipped))

    def everything(self) -> None:
        self.call.show = "rules"
        path = self.call.anchor
        parts: list[tuple[str, Callable[[], object]]] = [
            ("TRANSLATION RULES", lambda: self.nat(path, 0)),
            ("FILTER RULES", lambda: self.rules(path, 0)),
            ("STATES", self.states),
            ("INFO", self.info),
            ("LABEL COUNTERS", lambda: self.labels(path)),
            ("TIMEOUTS", self.timeouts),
            ("LIMITS", self.memory),
            ("TABLES", self.tables),
        ]
        for title, part in parts:
            print(f"{title}:")
            part()
            print()
