"""pfctl(8): loads, shows, flushes and kills; see `pf` for what is behind it.

Source: pfctl(8), S:sbin/pfctl/pfctl.c and pfctl_table.c. Queues (ALTQ) and the rule optimizer are not here.
"""

from __future__ import annotations

import sys
import time

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from bhype.lab.pf.rules import Ruleset

USAGE = """usage: pfctl [-AdeghMmNnOPqRSrvz] [-a anchor] [-D macro=value] [-F modifier]
\t[-f file] [-i interface] [-K host | network]
\t[-k host | network | gateway | label | id] [-o level] [-p device]
\t[-s modifier] [-t table -T command [address ...]] [-x level]"""
SHOW = (
    *("ether", "nat", "queue", "rules", "Anchors", "Sources", "states", "info", "Interfaces", "labels"),
    *("timeouts", "memory", "Tables", "osfp", "Running", "all", "creatorids"),
)
CLEAR = (
    *("nat", "queue", "rules", "Sources", "states", "info", "Tables", "osfp", "Reset", "all", "ethernet"),
)
TABLE = ("kill", "flush", "add", "delete", "load", "replace", "show", "test", "zero", "expire", "reset")
LEVELS = ("none", "urgent", "misc", "loud")


class Call:
    """One call of pfctl with its options."""

    def __init__(self) -> None:
        self.letters: set[str] = set()
        self.verbose = 0
        self.anchor = ""
        self.recurse = False
        self.file: str | None = None
        self.show = self.clear = self.table = self.command = self.level = self.interface = ""
        self.macros: dict[str, str] = {}
        self.killers: list[str] = []
        self.sources: list[str] = []
        self.code = 0

    def say(self, text: str) -> None:
        """On stderr, unless -q."""
        if "q" not in self.letters:
            core.warn(text)

    @property
    def dry(self) -> bool:
        return "n" in self.letters


def usage(problem: str = "") -> NoReturn:
    core.fail(f"{problem}\n{USAGE}" if problem else USAGE, 1)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["pfctl", *argv]))
    call, words = _options(argv)
    from bhype.lab.pf import kernel

    if not call.dry and not kernel.loaded():
        core.fail("pfctl: /dev/pf: No such file or directory", 1)
    if call.verbose and (not call.dry or kernel.loaded()):
        core.warn("No ALTQ support in kernel\nALTQ related functions disabled")
    if call.dry:
        call.show = call.clear = call.level = ""
        call.letters -= {"d", "e"}
        return _load(call) if call.file is not None else 0
    if "d" in call.letters:
        _switch(call, on=False)
    if call.show:
        from bhype.lab import pfctl_show

        call.code = pfctl_show.show(call) or call.code
    if call.clear:
        from bhype.lab import pfctl_clear

        pfctl_clear.clear(call)
    if call.killers:
        from bhype.lab import pfctl_clear

        pfctl_clear.kill(call)
    if call.command:
        from bhype.lab import pfctl_table

        call.code = pfctl_table.command(call, words) or call.code
    elif call.file is not None:
        call.code = _load(call) or call.code
    if "e" in call.letters:
        _switch(call, on=True)
    if call.level:
        call.say(f"debug level set to '{call.level}'")
    return call.code


def _options(argv: list[str]) -> tuple[Call, list[str]]:
    call = Call()
    try:
        found, words = core.getopt(argv, "a:AdD:eqf:F:ghi:k:K:mMnNOo:Pp:rRS:s:t:T:vx:z")
    except core.BadOption as error:
        problem = "option requires an argument" if error.missing else "illegal option"
        usage(f"pfctl: {problem} -- {error.letter}")
    anchor: str | None = None
    for letter, value in found:
        match letter:
            case "h":
                usage()
            case "a":
                anchor = value
            case "D":
                name, sign, text = value.partition("=")
                if not sign or not name:
                    core.fail(f"pfctl: could not parse macro definition {value}", 1)
                call.macros[name] = text
            case "f":
                call.file = value
            case "F":
                call.clear = _lookup(value, CLEAR, "flush")
            case "s":
                call.show = _lookup(value, SHOW, "show")
            case "T":
                call.command = _lookup(value, TABLE, "table command")
            case "x":
                call.level = _lookup(value, LEVELS, "debug level")
            case "t":
                call.table = value
            case "i":
                call.interface = value
            case "k":
                call.killers.append(value)
            case "K":
                call.sources.append(value)
            case "v":
                call.verbose += 1
            case _:
                call.letters.add(letter)
    if call.command and not call.table and call.command != "load":
        usage()
    if (words and not call.command) or (call.table and not call.command):
        usage()
    if anchor is not None:
        _anchor(call, anchor)
    return call, words


def _lookup(word: str, known: tuple[str, ...], what: str) -> str:
    """The first of ``known`` that begins with ``word``."""
    found = next((each for each in known if word and each.startswith(word)), "")
    if not found:
        kinds = {"flush": "Unknown flush modifier", "show": "Unknown show modifier"}
        usage(f"pfctl: {kinds.get(what, f'Unknown {what}')} '{word}'")
    return found


def _anchor(call: Call, name: str) -> None:
    if not (call.show or call.clear or call.command or call.file is not None or call.killers):
        usage("pfctl: anchors apply to -f, -F, -s, and -T only")
    if name.endswith("*"):
        call.recurse = True
        name = name[:-2] if name.endswith("/*") else name[:-1]
    if len(name) > 1023:
        core.fail(f"pfctl: anchor name '{name}' too long", 1)
    call.anchor = name.strip("/")


def _switch(call: Call, *, on: bool) -> None:
    from bhype.lab.pf import kernel, live

    with core.state("pf") as data:
        kernel.fresh(data)
        if data["enabled"] == on:
            core.fail(f"pfctl: pf {'already' if on else 'not'} enabled", 1)
        data.update(enabled=on, since=int(time.time()))
    live.carry()
    call.say(f"pf {'enabled' if on else 'disabled'}")


# -- loading ---------------------------------------------------------------------------------------


def _load(call: Call) -> int:
    from bhype.lab.pf import kernel, live, parser

    assert call.file is not None
    if call.anchor.startswith("_") or "/_" in call.anchor:
        core.fail("pfctl: anchor names beginning with '_' cannot be modified from the command line", 1)
    text, name = _source(call.file)
    try:
        ruleset = parser.parse(text, name=name, world=kernel.world(), macros=call.macros)
    except parser.Errors as errors:
        core.fail("\n".join([*errors.lines, "pfctl: Syntax error in config file: pf rules not loaded"]), 1)
    if call.verbose:
        _echo(ruleset)
    if call.dry:
        return 0
    sections = _sections(call)
    with core.state("pf") as data:
        kernel.load(kernel.fresh(data), call.anchor, ruleset, sections)
    live.carry()
    return 0


def load_tables(call: Call) -> int:
    """``-T load -f FILE``: the tables of a file, and nothing else of it."""
    if call.file is None:
        usage()
    call.letters.add("O")
    return _load(call)


def _sections(call: Call) -> tuple[str, ...]:
    chosen: tuple[str, ...] = ()
    if "N" in call.letters:
        chosen += ("nat", "binat", "rdr")
    if "R" in call.letters:
        chosen += ("scrub", "filter")
    if {"O", "A"} & call.letters and not chosen:
        return ("none",)
    return chosen or ("ether", "scrub", "nat", "binat", "rdr", "filter")


def _source(path: str) -> tuple[str, str]:
    """The text of a file and the name that errors give it."""
    if path == "-":
        return sys.stdin.read(), "stdin"
    try:
        with open(core.root(path) if path.startswith("/") else path) as file:
            return file.read(), path
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "Illegal byte sequence"
        core.fail(
            f"pfctl: {path}: {reason}\npfctl: cannot open the main config file!: {reason}\n"
            "pfctl: Syntax error in config file: pf rules not loaded",
            1,
        )


def _echo(ruleset: Ruleset, depth: int = 0) -> None:
    """What -v tells while it loads."""
    from bhype.lab.pf import show

    for table in ruleset.tables.values():
        words = f"table <{table.name}>{' const' * table.const}{' persist' * table.persist}"
        words += " counters" * table.counters
        if table.has_list:
            words += " {" + "".join(f" {'!' * each.negated}{each.text()}" for each in table.addresses) + " }"
        print(words)
    for ether in ruleset.ether:
        print(f"{'  ' * depth}{show.ether(ether)}")
    for rule in ruleset.rules():
        inside = ruleset.anchors.get(rule.anchor) if rule.action == "anchor" else None
        print(f"{'  ' * depth}{show.text(rule)}{' {' if inside else ''}")
        if inside:
            _echo(inside, depth + 1)
            print(f"{'  ' * depth}}}")
