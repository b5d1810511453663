"""``pfctl -t TABLE -T COMMAND``. Source: pfctl_table() and its messages in S:sbin/pfctl/pfctl_table.c."""

from __future__ import annotations

import sys
import time
from ipaddress import ip_network

from bhype.lab import core
from bhype.lab.pf import kernel, live, words
from bhype.lab.pf.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bhype.lab.pfctl import Call

    State = dict[str, Any]


def command(call: Call, addresses: list[str]) -> int:
    """Do it and tell; returns the exit status."""
    if len(call.table) > words.TABLE_NAME:
        core.fail(f"pfctl: table name '{call.table}' too long" if call.table else "pfctl: no table", 1)
    if call.command == "load":
        from bhype.lab import pfctl

        return pfctl.load_tables(call)
    if call.command in ("kill", "flush") and (addresses or call.file):
        from bhype.lab import pfctl

        pfctl.usage()
    wanted = (
        _addresses(call, addresses) if call.command in ("add", "delete", "replace", "test", "show") else []
    )
    changes = call.command not in ("show", "test")
    try:
        if not changes:
            return _look(call, kernel.fresh(core.peek("pf")), wanted)
        with core.state("pf") as data:
            told = _change(call, kernel.fresh(data), wanted, addresses)
    except kernel.Refused as error:
        core.warn(f"pfctl: {error}.")
        return 1
    live.carry()
    for each in told:
        call.say(each)
    return 0


def _addresses(call: Call, given: list[str]) -> list[str]:
    """The addresses of the command line and of its file, as "!10.0.0.0/8"."""
    lines = list(given)
    if call.file == "-":
        lines += sys.stdin.read().splitlines()
    elif call.file is not None:
        try:
            with open(core.root(call.file) if call.file.startswith("/") else call.file) as file:
                lines += file.read().splitlines()
        except OSError as error:
            core.fail(f"pfctl: cannot load {call.file}: {error.strerror}", 1)
    found = []
    for line in lines:
        for word in line.partition("#")[0].partition(";")[0].split():
            found += _decode(word)
    return found


def _decode(word: str) -> list[str]:
    parser = Parser(word, "", kernel.world())
    try:
        hosts = parser.host(route=False)
        if parser.peek()[0] != "end" or any(each.kind not in ("net", "any") for each in hosts):
            parser.wrong()
    except words.Bad:
        unresolved = [line for line in parser.errors if line.startswith("no IP")]
        core.fail("\n".join([*unresolved, f"pfctl: cannot decode {word}"]), 1)
    return [f"{'!' * each.negated}{each.value or '0.0.0.0/0'}" for each in hosts]


def _shown(entry: str) -> str:
    address, _, prefix = entry.lstrip("!").partition("/")
    full = "128" if ":" in address else "32"
    return f"  {'!' if entry.startswith('!') else ' '}{address}{'' if prefix == full else '/' + prefix}"


def _look(call: Call, data: State, wanted: list[str]) -> int:
    table = kernel.table_of(data, call.anchor, call.table)
    if call.command == "show":
        for entry in table["addresses"]:
            print(_shown(entry))
            if call.verbose:
                print(f"\tCleared:     {time.ctime(table['since'])}")
        return 0
    met = [entry for entry in wanted if _matches(table["addresses"], entry)]
    if call.verbose:
        for entry in met:
            print(_shown(entry))
    call.say(f"{len(met)}/{len(wanted)} addresses match.")
    return 0 if len(met) == len(wanted) else 2


def _matches(entries: list[str], asked: str) -> bool:
    network: Any = ip_network(asked.lstrip("!"), strict=False)
    best: tuple[int, bool] = (-1, False)
    for entry in entries:
        other: Any = ip_network(entry.lstrip("!"))
        if other.version == network.version and network.subnet_of(other) and other.prefixlen > best[0]:
            best = other.prefixlen, not entry.startswith("!")
    return best[1]


def _change(call: Call, data: State, wanted: list[str], given: list[str]) -> list[str]:
    """Change the table and say what was done. Raises kernel.Refused."""
    told = []
    if call.command in ("add", "replace"):
        try:
            kernel.table_of(data, call.anchor, call.table)
        except kernel.Refused:
            kernel.table_of(data, call.anchor, call.table, make=True).update(persist=True, active=True)
            told.append("1 table created.")
    table = kernel.table_of(data, call.anchor, call.table)
    if call.command == "kill":
        del data["tables"][call.anchor][call.table]
        kernel.tidy(data)
        return ["1 table deleted."]
    if table["const"] and call.command not in ("zero", "expire"):
        raise kernel.Refused("Operation not permitted")
    old = table["addresses"]
    match call.command:
        case "flush":
            table["addresses"] = []
            told.append(f"{len(old)} addresses deleted.")
        case "add":
            new = kernel.unique([*old, *wanted])
            told.append(f"{len(new) - len(old)}/{len(wanted)} addresses added.")
            table["addresses"] = new
        case "delete":
            table["addresses"] = [each for each in old if each not in wanted]
            told.append(f"{len(old) - len(table['addresses'])}/{len(wanted)} addresses deleted.")
        case "replace":
            table["addresses"] = kernel.unique(wanted)
            added, gone = set(wanted) - set(old), set(old) - set(wanted)
            changes = [
                f"{len(each)} addresses {verb}."
                for each, verb in ((added, "added"), (gone, "deleted"))
                if each
            ]
            told += changes or ["no changes."]
        case "expire":
            if len(given) != 1 or not given[0].isdigit():
                core.fail(f"pfctl: expiry time must be a positive number: {' '.join(given)}", 1)
            due = table["since"] + int(given[0]) <= time.time()
            table["addresses"] = [] if due else old
            told.append(f"{len(old) if due else 0}/{len(old)} addresses expired.")
        case _:
            table["since"] = int(time.time())
            told.append(f"{len(old)} addresses cleared." if given else "1 table/stats cleared.")
    return told
