"""Reads a pf.conf(5): ``parse(text)`` gives the rules of one anchor, or all errors as pfctl(8) tells them.

Written from pf.conf(5)'s GRAMMAR; what the man page leaves open is as in S:sbin/pfctl/parse.y. ALTQ's queues are
read and forgotten, as the GENERIC kernel has none. pfctl's optimizer is not here: rules stay as they were written.
"""

from __future__ import annotations

from bhype.lab.pf import names, statements
from bhype.lab.pf.lexer import Lexer
from bhype.lab.pf.rules import Ruleset, Table
from bhype.lab.pf.words import TABLE_NAME, Bad
from bhype.lab.pf.world import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.pf.rules import Address

OPTION, ETHER, SCRUB, QUEUE, NAT, FILTER = range(1, 7)


class Errors(Exception):
    """What is wrong with a file, line by line, as pfctl prints it."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def parse(
    text: str,
    *,
    name: str = "stdin",
    world: World | None = None,
    macros: dict[str, str] | None = None,
    internal: bool = False,
) -> Ruleset:
    """The rules in ``text``. Raises Errors.

    name: how errors call the file. macros: as by ``-D``. internal: the text is what `show` printed, so that names of
    anchors may begin with "_".
    """
    parser = Parser(text, name, world or World(), macros)
    parser.internal = internal
    found = parser.all()
    if parser.errors:
        raise Errors(parser.errors)
    return found


class Parser(statements.Statements):
    """One file, the files that it includes, and the anchors inside braces."""

    def all(self) -> Ruleset:
        """Read to the end; errors stand in ``errors``."""
        self.stack: list[tuple[Ruleset, int]] = []
        self.ruleset = Ruleset()
        self.stage = 0
        self.files: list[tuple[str, Lexer]] = []
        while True:
            kind = self.peek()[0]
            if kind == "end":
                if not self.files:
                    break
                self.ahead.clear()
                self.name, self.lexer = self.files.pop()
                continue
            try:
                self._line(kind)
            except Bad:
                if self.peek()[0] not in ("\n", "end"):
                    self.ahead.clear()
                    self.lexer.rest_of_line()
        if self.stack:
            self.tell("syntax error")
            self.ruleset = self.stack[0][0]
        return self.ruleset

    def _line(self, kind: str) -> None:
        if kind == "\n":
            self.take()
            return
        if kind == "}" and self.stack:
            self.take()
            self.ruleset, self.stage = self.stack.pop()
        elif self.peek()[0] in ("word", "string") and self.peek(1)[0] == "=" and self.is_string():
            self._macro()
        else:
            self._statement()
        if self.peek()[0] not in ("\n", "end"):
            self.wrong()

    def _macro(self) -> None:
        name = self.string()
        if any(each.isspace() for each in name):
            self.refuse("macro name cannot contain whitespace")
        self.take()
        parts = []
        while self.peek()[0] in (
            "word",
            "string",
            "number",
            "{",
            "}",
            ",",
            "<",
            ">",
            "!",
            "=",
            "/",
            "(",
            ")",
            "-",
        ):
            text = self.take()[1]
            parts.append(text)
        if not parts:
            self.wrong()
        self.macros.setdefault(f"{name}", "")
        self.macros[name] = " ".join(parts)

    def order(self, stage: int) -> None:
        """Refuse what comes too late."""
        required = self.ruleset.options.get("require-order", "yes") != "no"
        if required and self.stage > stage:
            self.refuse(
                "Rules must be in order: options, ethernet, normalization, queueing, translation, filtering"
            )
        self.stage = max(self.stage, stage)

    def _statement(self) -> None:
        word = self.peek()[1] if self.peek()[0] == "word" else ""
        second = self.peek(1)[1]
        if word == "no" and second in ("nat", "rdr", "binat", "scrub"):
            word = second
        match word:
            case "set":
                self.take()
                self._setting()
            case "table":
                self.take()
                self._table()
            case "include":
                self.take()
                self._include()
            case "ether":
                self.order(ETHER)
                self.ether_rule()
            case "scrub":
                self.order(SCRUB)
                self.scrub_rule()
            case "altq" | "queue":
                self.order(QUEUE)
                self._altq()
            case "nat" | "rdr":
                self.order(NAT)
                self.translation()
            case "binat":
                self.order(NAT)
                self.binat()
            case "nat-anchor" | "rdr-anchor" | "binat-anchor":
                self.order(NAT)
                self.translation_anchor()
            case "pass" | "block" | "match":
                self.order(FILTER)
                self.filter_rule()
            case "antispoof":
                self.order(FILTER)
                self.antispoof()
            case "anchor":
                self.order(FILTER)
                inside = self.anchor_rule()
                if inside is not None:
                    self.stack.append((self.ruleset, self.stage))
                    self.ruleset, self.stage = inside, 0
            case "load":
                self.take()
                self._load()
            case _:
                self.wrong()

    # -- set, table, include, load -------------------------------------------------------------------

    def _setting(self) -> None:
        self.order(OPTION)
        options = self.ruleset.options
        word = self.peek()[1]
        if self.peek()[0] != "word":
            self.wrong()
        self.take()
        match word:
            case "timeout":
                for name, seconds in self.several(self._timeout):
                    options[f"timeout {name}"] = seconds
            case "limit":
                for name, count in self.several(self._limit):
                    options[f"limit {name}"] = count
            case "optimization":
                options[word] = self._one_of(
                    "default", "normal", "high-latency", "satellite", "aggressive", "conservative"
                )
            case "ruleset-optimization":
                options[word] = self._one_of("none", "basic", "profile")
            case "block-policy" | "fail-policy":
                options[word] = self.expect("drop", "return")
            case "state-policy":
                options[word] = self.expect("if-bound", "floating")
            case "require-order":
                options[word] = self.accept("no") or self._one_of("yes")
            case "loginterface":
                options[word] = self.string()
            case "fingerprints":
                options[word] = self.string()
            case "debug":
                options[word] = self._one_of("none", "urgent", "misc", "loud")
            case "hostid":
                options[word] = self.name_or_number()
            case "skip":
                self.expect("on")
                skipped = options.setdefault("skip", [])
                assert isinstance(skipped, list)
                skipped += [name for name, _ in self.several(self.interface)]
            case "state-defaults":
                options[word] = self.state_options()
            case "keepcounters":
                options[word] = True
            case "syncookies":
                options[word] = self._one_of("never", "always", "adaptive")
                while self.accept("("):
                    while not self.accept(")"):
                        self.take()
            case "reassemble":
                options[word] = self.accept("no") or self._one_of("yes")
            case _:
                self.wrong()

    def _one_of(self, *words: str) -> str:
        found = self.string()
        if found not in words:
            self.refuse(
                f"invalid value '{found}', expected 'yes' or 'no'" if words == ("yes",) else "syntax error"
            )
        return found

    def _timeout(self) -> tuple[str, int]:
        name = self.accept("interval") or self.string()
        seconds = self.number(0, reason="only positive values permitted")
        if name not in names.TIMEOUTS:
            self.refuse(f"unknown timeout {name}")
        return name, seconds

    def _limit(self) -> tuple[str, int]:
        name = self.string()
        count = self.number(0, reason="only positive values permitted")
        if name not in names.LIMITS:
            self.refuse(f"unable to set limit {name} {count}")
        return name, count

    def _table(self) -> None:
        self.expect("<")
        name = self.string()
        self.expect(">")
        if len(name) > TABLE_NAME:
            self.refuse(f"table name too long, max {TABLE_NAME} chars")
        table = Table(name)
        while self.peek()[0] not in ("\n", "end"):
            self._table_option(table)
        self.ruleset.tables[name] = table

    def _table_option(self, table: Table) -> None:
        if self.accept("{"):
            table.has_list = True
            self.lines()
            while not self.accept("}"):
                table.addresses += self._inside_table(self.host())
                self.lines()
                self.accept(",")
                self.lines()
        elif self.accept("file"):
            table.has_list = True
            table.addresses += self._lines_of(self.string())
        else:
            word = self.string()
            if word not in ("const", "persist", "counters"):
                self.refuse(f"invalid table option '{word}'")
            setattr(table, word, True)

    def _inside_table(self, found: list[Address]) -> list[Address]:
        reasons = {
            "dynamic": "dynamic addresses are not permitted inside tables",
            "table": "tables cannot contain tables",
            "no-route": '"no-route" is not permitted inside tables',
            "urpf-failed": '"urpf-failed" is not permitted inside tables',
            "range": "address ranges are not permitted inside tables",
        }
        for each in found:
            if each.kind in reasons:
                self.refuse(reasons[each.kind])
        return found

    def _lines_of(self, path: str) -> list[Address]:
        try:
            text = self.world.read(path)
        except OSError as error:
            self.refuse(f'cannot load "{path}": {error.strerror}')
        inner = Parser("\n".join(line.partition(";")[0] for line in text.splitlines()), self.name, self.world)
        found: list[Address] = []
        try:
            while inner.peek()[0] != "end":
                inner.lines()
                if inner.peek()[0] != "end":
                    found += inner.host(route=False)
        except Bad:
            self.refuse(f'file "{path}" contains bad data')
        return found

    def _include(self) -> None:
        path = self.string()
        if len(self.files) > 15:
            self.refuse(f"failed to include file {path}")
        try:
            text = self.world.read(path)
        except OSError as error:
            self.errors.append(f"pfctl: {path}: {error.strerror}")
            self.refuse(f"failed to include file {path}")
        if self.peek()[0] == "\n":
            self.take()
        self.files.append((self.name, self.lexer))
        self.name, self.lexer = path, Lexer(text + "\n", self.macros)
        self.ahead.insert(0, ("\n", "\n", 1))

    def _load(self) -> None:
        self.expect("anchor")
        name = self.string()
        self.expect("from")
        path = self.string()
        try:
            text = self.world.read(path)
        except OSError as error:
            self.refuse(f"cannot open {path}: {error.strerror}")
        inner = Parser(text, path, self.world, self.macros)
        target = self.ruleset
        for part in name.split("/"):
            target = target.anchors.setdefault(part, Ruleset())
        loaded = inner.all()
        self.errors += inner.errors
        target.__dict__.update(loaded.__dict__)

    def _altq(self) -> None:
        """ALTQ's statements, without looking at what they say."""
        depth = 0
        self.take()
        while self.peek()[0] != "end" and (depth or self.peek()[0] != "\n"):
            kind = self.take()[0]
            depth += (kind == "{") - (kind == "}")
