"""ps(1) of FreeBSD 14: a few processes of the system, and the lab's bhyves with the figures of their guests.

Keywords, headers and the names in JSON are those of bin/ps/keyword.c; all values in JSON are text
(``{:field/%*s}`` in print.c), as in ``ps --libxo json`` of a real host::

    {"process-information": {"process": [{"pid":"83821","percent-cpu":"0.0", ...}, {"pid": ...}]}}

A bhyve has the title ``bhyve: NAME``, so its command reads ``bhyve: NAME (bhyve)``; before its devices are
initialised its argv is shown. Options that the panel has no use for are refused as unknown.
"""

from __future__ import annotations

import json
import os
import time

from bhype.lab import bhyve_state, core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from bhype.lab.core import State

USAGE = """\
usage: ps [--libxo] [-AaCcdeHhjlmrSTuvwXxZ] [-O fmt | -o fmt]
          [-G gid[,gid...]] [-J jid[,jid...]] [-M core] [-N system]
          [-p pid[,pid...]] [-t tty[,tty...]] [-U user[,user...]]
       ps [--libxo] -L"""

# keyword: (header, name in JSON, left-justified)
KEYWORDS = {
    "%cpu": ("%CPU", "percent-cpu", False),
    "%mem": ("%MEM", "percent-memory", False),
    "args": ("COMMAND", "arguments", True),
    "comm": ("COMMAND", "command", True),
    "command": ("COMMAND", "command", True),
    "etime": ("ELAPSED", "elapsed-time", False),
    "etimes": ("ELAPSED", "elapsed-times", False),
    "jid": ("JID", "jail-id", False),
    "nice": ("NI", "nice", False),
    "pid": ("PID", "pid", False),
    "ppid": ("PPID", "ppid", False),
    "rss": ("RSS", "rss", False),
    "state": ("STAT", "state", True),
    "time": ("TIME", "cpu-time", False),
    "tt": ("TT ", "terminal-name", False),
    "uid": ("UID", "uid", False),
    "user": ("USER", "user", True),
    "vsz": ("VSZ", "virtual-size", False),
}
ALIASES = {
    "ni": "nice",
    "pcpu": "%cpu",
    "pmem": "%mem",
    "stat": "state",
    "cputime": "time",
    "euid": "uid",
    "vsize": "vsz",
}

_SYSTEM = (
    (0, "[kernel]", "kernel", 1152),
    (1, "/sbin/init", "init", 1272),
    (2, "[clock]", "clock", 48),
    (6, "[pagedaemon]", "pagedaemon", 64),
    (11, "/sbin/devd", "devd", 2488),
    (12, "/usr/sbin/syslogd -s", "syslogd", 2856),
    (13, "/usr/sbin/cron -s", "cron", 2672),
)
_HZ = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def main(argv: list[str]) -> int:
    core.fault(" ".join(["ps", *argv]))
    style, argv = _libxo(argv)
    try:
        options, operands = core.getopt(argv, "aAdHhwxo:O:p:")
    except core.BadOption as error:
        problem = "option requires an argument" if error.missing else "illegal option"
        _usage(f"ps: {problem} -- {error.letter}")
    if operands:
        _usage(f"ps: illegal argument: {operands[0]}")
    columns: list[tuple[str, str]] = []
    pids: set[int] | None = None
    code = 0
    everything = False
    for letter, value in options:
        if letter in "oO":
            code |= _columns(columns, ["pid"] if letter == "O" else [])
            code |= _columns(columns, [value])
            code |= _columns(columns, ["tt,state,time,command"] if letter == "O" else [])
            if not columns:
                core.warn("ps: no valid keywords; valid keywords:")
                print(" ".join(sorted([*KEYWORDS, *ALIASES])))
                return 1
        elif letter == "p":
            pids = pids or set()
            for word in value.replace(",", " ").split():
                if not word.isdigit():
                    core.fail(f"ps: Invalid process id: {word}", 1)
                pids.add(int(word))
        elif letter in "aAx":
            everything = True
    columns = columns or [(name, KEYWORDS[name][0]) for name in ("pid", "tt", "state", "time", "command")]
    rows_ = rows()
    if pids is not None:
        rows_ = [row for row in rows_ if int(row["pid"]) in pids]
    elif not everything:
        rows_ = []  # no process of the lab has a terminal
    if style is None:
        _print_text(columns, rows_)
    else:
        _print_json(columns, rows_, pretty=style == "pretty")
    return code or (0 if rows_ else 1)


def _usage(problem: str) -> NoReturn:
    core.warn(problem)
    core.fail(USAGE, 1)


def _libxo(argv: list[str]) -> tuple[str | None, list[str]]:
    """xo_parse_args(3): takes ``--libxo json``, ``--libxo=json,pretty`` or ``--libxo:J`` out of ``argv``."""
    style: str | None = None
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--libxo":
            if not words:
                core.fail("ps: missing libxo option", 1)
            value = words.pop(0)
        elif word.startswith("--libxo="):
            value = word.partition("=")[2]
        elif word.startswith("--libxo:"):
            value = ",".join({"J": "json", "P": "pretty", "T": "text"}.get(c, c) for c in word[8:])
        else:
            rest.append(word)
            continue
        for option in value.replace(":", ",").split(","):
            if option == "json":
                style = style or "json"
            elif option == "pretty":
                style = "pretty"
            elif option == "text":
                style = None
            else:
                core.fail(f"ps: unknown libxo option value: '{option}'", 1)
    return style, rest


def _columns(columns: list[tuple[str, str]], formats: list[str]) -> int:
    """Add ``keyword,keyword=header`` to the columns; 1 when a keyword is unknown."""
    code = 0
    for text in formats:
        keywords, equals, header = text.partition("=")
        names = keywords.replace(",", " ").split()
        for at, name in enumerate(names):
            known = ALIASES.get(name, name)
            if known not in KEYWORDS:
                core.warn(f"ps: {name}: keyword not found")
                code = 1
                continue
            last = equals and at == len(names) - 1
            columns.append((known, header if last else KEYWORDS[known][0]))
    return code


def pids() -> set[int]:
    """The processes of the host."""
    guests = {entry["pid"] for entry in bhyve_state.running().values()}
    return guests | set(bhyve_state.registered()) | {pid for pid, *_ in _SYSTEM}


def rows() -> list[dict[str, str]]:
    """The processes of the host by their pids, each with all `KEYWORDS`."""
    guests = [_guest(name, entry) for name, entry in bhyve_state.running().items()]
    guests += [_other(pid, entry) for pid, entry in bhyve_state.registered().items()]
    taken = {row["pid"] for row in guests}
    host = core.peek("host")
    age = int(time.time() - host.get("booted", time.time()))
    found = [
        _row(pid, command, comm, rss, age=age, cpu=0.0, seconds=0, vsz=rss * 8)
        for pid, command, comm, rss in _SYSTEM
        if str(pid) not in taken
    ]
    memory = host.get("memory", 1 << 40) / 1024
    for row in found + guests:
        row["%mem"] = f"{int(row['rss']) / memory * 100:.1f}"
    return sorted(found + guests, key=lambda row: int(row["pid"]))


def _guest(name: str, entry: State) -> dict[str, str]:
    stat = bhyve_state.stat(entry["qemu_pid"])
    ticks = int(stat[11]) + int(stat[12]) if stat else 0
    age = max(time.time() - entry["started"], 0.1)
    # The figure since bhyve's last note (some seconds ago), so that an old guest's change is seen.
    before, since = 0, entry["started"]
    try:
        with open(entry["folder"] + "/cpu") as file:
            noted, when = file.read().split()
            if float(when):
                before, since = int(noted), float(when)
    except (OSError, ValueError):
        pass  # not noted yet
    cpu = max(ticks - before, 0) / _HZ / max(time.time() - since, 0.1) * 100
    command = f"bhyve: {name} (bhyve)" if entry["title"] else " ".join(entry["argv"])
    rss = int(stat[21]) * _PAGE // 1024 if stat else 0
    vsz = int(stat[20]) // 1024 if stat else 0
    return _row(entry["pid"], command, "bhyve", rss, age=int(age), cpu=cpu, seconds=ticks // _HZ, vsz=vsz)


def _other(pid: int, entry: State) -> dict[str, str]:
    """A loader or a TPM's emulator."""
    fields = bhyve_state.stat(pid)
    ticks = int(fields[11]) + int(fields[12]) if fields else 0
    rss, vsz = (int(fields[21]) * _PAGE // 1024, int(fields[20]) // 1024) if fields else (0, 0)
    age, argv = int(time.time() - entry["started"]), entry["argv"]
    return _row(
        pid, " ".join(argv), os.path.basename(argv[0])[:19], rss,
        age=age, cpu=ticks / _HZ / max(age, 1) * 100, seconds=ticks // _HZ, vsz=vsz,
    )  # fmt: skip


def _row(
    pid: int, command: str, comm: str, rss: int, *, age: int, cpu: float, seconds: int, vsz: int
) -> dict[str, str]:
    hours, rest = divmod(age, 3600)
    days, hours = divmod(hours, 24)
    clock = (
        f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"
        if hours or days
        else f"{rest // 60:02d}:{rest % 60:02d}"
    )
    try:
        nice = os.getpriority(os.PRIO_PROCESS, pid) if comm == "bhyve" else 0
    except OSError:
        nice = 0
    return {
        "nice": str(nice), "%cpu": f"{cpu:.1f}", "args": command, "comm": comm,
        "command": command, "etime": f"{days}-{clock}" if days else clock, "etimes": str(age), "jid": "0",
        "pid": str(pid), "ppid": "1" if pid > 1 else "0", "rss": str(rss), "state": "SC" if comm == "bhyve" else "Is",
        "time": f"{seconds // 60}:{seconds % 60:02d}.00", "tt": "- ", "uid": "0", "user": "root", "vsz": str(vsz),
    }  # fmt: skip


def _print_text(columns: list[tuple[str, str]], rows: list[dict[str, str]]) -> None:
    widths = [max([len(header), *(len(row[name]) for row in rows)]) for name, header in columns]
    lines = [dict(columns), *rows] if any(h for _, h in columns) else rows
    for line in lines:
        cells = []
        for at, ((name, _), width) in enumerate(zip(columns, widths, strict=True)):
            if not KEYWORDS[name][2]:
                cells.append(line[name].rjust(width))
            else:
                cells.append(line[name].ljust(width) if at < len(columns) - 1 else line[name])
        print(" ".join(cells))


def _print_json(columns: list[tuple[str, str]], rows: list[dict[str, str]], *, pretty: bool) -> None:
    found = [{KEYWORDS[name][1]: row[name] for name, _ in columns} for row in rows]
    if pretty:
        print(json.dumps({"process-information": {"process": found}}, indent=2))
        return
    processes = ", ".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in found)
    print('{"process-information": {"process": [' + processes + "]}}")
