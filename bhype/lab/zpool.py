"""zpool(8) of the lab: pools of plain files; groups such as log, cache and spare are not there."""

from __future__ import annotations

import os
import sys
import time

from bhype.lab import core
from bhype.lab.openzfs import making, names, pools
from bhype.lab.openzfs.reading import table
from bhype.lab.openzfs.store import F, Store, changing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

USAGE = {
    "create": (
        "\tcreate [-fnd] [-o property=value] ... \n"
        "\t    [-O file-system-property=value] ... \n"
        "\t    [-m mountpoint] [-R root] <pool> <vdev> ...\n"
    ),
    "destroy": "\tdestroy [-f] <pool>\n",
    "list": "\tlist [-gHLpPv] [-o property[,...]] [-T d|u] [pool] ... \n\t    [interval [count]]\n",
    "status": (
        "\tstatus [--power] [-c [script1,script2,...]] [-igLpPstvxD]  [-T d|u] [pool] ... \n"
        "\t    [interval [count]]\n"
    ),
    "get": '\tget [-Hp] [-o "all" | field[,...]] <"all" | property[,...]> <pool> ...\n',
    "import": "\timport [-d dir] [-D]\n\timport [-f] <pool | id> [newpool]\n",
    "export": "\texport [-af] <pool> ...\n",
    "scrub": "\tscrub [-s | -p] [-w] [-e] <pool> ...\n",
    "version": "\tversion\n",
}
SMALLEST = 64 * 1024**2
GROUPS = ("mirror", "raidz", "raidz1", "raidz2", "raidz3")
DEFAULT_COLUMNS = list(pools.COLUMNS)[:11]


def refuse(command: str, reason: str = "") -> NoReturn:
    """The command line is wrong: the reason, the usage, exit 2."""
    head = reason + "\n" if reason else ""
    if command:
        core.fail(f"{head}usage:\n{USAGE[command]}", 2)
    core.fail(
        head
        + "usage: zpool command args ...\nwhere 'command' is one of the following:\n\n"
        + "".join(USAGE.values())
        + "\nFor further help on a command or topic, run: zpool help [<topic>]\n",
        2,
    )


def options(command: str, argv: list[str], letters: str) -> tuple[list[tuple[str, str]], list[str]]:
    try:
        return core.getopt(argv, letters)
    except core.BadOption as error:
        if error.missing:
            refuse(command, f"missing argument for '{error.letter}' option")
        refuse(command, f"invalid option '{error.letter}'")


def main(argv: list[str]) -> int:
    if not argv:
        refuse("", "missing command")
    core.fault(" ".join(["zpool", *argv]))
    if argv[0] not in USAGE:
        refuse("", f"unrecognized command '{argv[0]}'")
    commands = {
        **{"create": create, "destroy": destroy, "list": list_, "status": status, "get": get},
        **{"import": import_, "export": export, "scrub": scrub, "version": making.version},
    }
    return commands[argv[0]](argv[1:])


def _opened(store: Store, wanted: list[str]) -> tuple[list[str], int]:
    """Those of the wanted pools that are there (all for []), and 1 if one is not."""
    found, code = [], 0
    for name in wanted or sorted(store.pools):
        if name in store.pools:
            found.append(name)
            continue
        wrong = names.pool_reason(name)
        core.warn(f"cannot open '{name}': {wrong or 'no such pool'}")
        code = 1
    return found, code


def _columns(command: str, text: str) -> list[str]:
    found = [pools.ALIASES.get(word, word) for word in text.split(",")]
    for word in found:
        if not pools.exists(word):
            refuse(command, f"bad property list: invalid property '{word}'")
    return found


def _values(store: Store, name: str, *, exact: bool) -> pools.PoolValues:
    return pools.PoolValues(store, name, exact=exact)


def list_(argv: list[str]) -> int:
    found, arguments = options("list", argv, "HLo:pP")
    letters = {letter for letter, _ in found}
    columns = DEFAULT_COLUMNS
    for letter, value in found:
        if letter == "o":
            columns = _columns("list", value)
    store = Store(core.peek("zfs"))
    chosen, code = _opened(store, arguments)
    rows = []
    for name in chosen:
        values = _values(store, name, exact="p" in letters)
        rows.append([values.get(column)[0] for column in columns])
    if "H" in letters:
        sys.stdout.writelines("\t".join(row) + "\n" for row in rows)
    elif rows:
        heads = [pools.COLUMNS.get(column, column.upper()) for column in columns]
        table(heads, rows, [column not in pools.LEFT for column in columns])
    elif not arguments:
        print("no pools available")
    return code


def get(argv: list[str]) -> int:
    found, arguments = options("get", argv, "Hpo:")
    letters = {letter for letter, _ in found}
    fields = ["name", "property", "value", "source"]
    for letter, value in found:
        if letter == "o" and value != "all":
            fields = value.split(",")
            for field in fields:
                if field not in ("name", "property", "value", "source"):
                    refuse("get", f"invalid column name '{field}'")
    if not arguments:
        refuse("get", "missing property argument")
    if arguments[0] == "all":
        wanted = [
            *(name for name in pools.COLUMNS if name != "name"),
            *(f"feature@{f}" for f in pools.FEATURES),
        ]
    else:
        wanted = _columns("get", arguments[0])
    store = Store(core.peek("zfs"))
    chosen, code = _opened(store, arguments[1:])
    rows = []
    for name in chosen:
        values = _values(store, name, exact="p" in letters)
        for prop in wanted:
            value, source = values.get(prop)
            parts = {"name": name, "property": prop, "value": value, "source": source}
            rows.append([parts[field] for field in fields])
    if "H" in letters:
        sys.stdout.writelines("\t".join(row) + "\n" for row in rows)
    elif rows:
        table([field.upper() for field in fields], rows, [False] * len(fields))
    return code


def status(argv: list[str]) -> int:
    found, arguments = options("status", argv, "DgLpPstvx")
    store = Store(core.peek("zfs"))
    chosen, code = _opened(store, arguments)
    if ("x", "") in found:
        sick = [name for name in chosen if store.pools[name]["health"] != "ONLINE"]
        if not sick and not code and store.pools:
            print(f"pool '{chosen[0]}' is healthy" if len(arguments) == 1 else "all pools are healthy")
            return 0
        chosen = sick
    for index, name in enumerate(chosen):
        print(("\n" if index else "") + _status(name, store.pools[name]), end="")
    if not chosen and not arguments:
        core.warn("no pools available")
    return code


def _status(name: str, pool: dict[str, Any]) -> str:
    rows = [("NAME", "STATE"), (name, pool["health"])]
    counts: dict[str, int] = {}
    for kind, *disks in pool["vdevs"]:
        if kind != "disk":
            rows.append((f"  {kind}-{counts.setdefault('', 0)}", "ONLINE"))
            counts[""] += 1
        rows += [(("    " if kind != "disk" else "  ") + disk, "ONLINE") for disk in disks]
    width = max(len(row[0]) for row in rows)
    lines = []
    for index, (label, state) in enumerate(rows):
        numbers = ("READ", "WRITE", "CKSUM") if index == 0 else ("0", "0", "0")
        lines.append(f"\t{label:<{width}}  {state:<8} {numbers[0]:>5} {numbers[1]:>5} {numbers[2]:>5}\n")
    return (
        f"  pool: {name}\n state: {pool['health']}\n"
        + _scan(pool)
        + "config:\n\n"
        + "".join(lines)
        + "\nerrors: No known data errors\n"
    )


def _scan(pool: dict[str, Any]) -> str:
    what, part = pools.scan(pool)
    if what == "none":
        return ""
    start = pool["scan"]["start"]
    if what == "running":
        left = int(pools.SCRUB_SECONDS * (1 - part))
        return (
            f"  scan: scrub in progress since {time.ctime(start)}\n"
            "\t0B / 0B scanned, 0B / 0B issued\n"
            f"\t0B repaired, {part * 100:.2f}% done, 00:00:{left:02d} to go\n"
        )
    if what == "canceled":
        return f"  scan: scrub canceled on {time.ctime(pool['scan']['canceled'])}\n"
    end = time.ctime(start + pools.SCRUB_SECONDS)
    return f"  scan: scrub repaired 0B in 00:00:{pools.SCRUB_SECONDS:02d} with 0 errors on {end}\n"


def scrub(argv: list[str]) -> int:
    found, arguments = options("scrub", argv, "sw")
    if not arguments:
        refuse("scrub", "missing pool name argument")
    stopping = ("s", "") in found
    with changing() as store:
        chosen, code = _opened(store, arguments)
        for name in chosen:
            pool = store.pools[name]
            running = pools.scan(pool)[0] == "running"
            if stopping and not running:
                core.warn(f"cannot cancel scrubbing {name}: there is no active scrub")
                code = 1
            elif stopping:
                pool["scan"]["canceled"] = int(time.time())
            elif running:
                core.warn(f"cannot scrub {name}: currently scrubbing; use 'zpool scrub -s' to cancel scrub")
                code = 1
            else:
                pool["scan"] = {"start": int(time.time())}
    if ("w", "") in found and not stopping and not code:
        time.sleep(pools.SCRUB_SECONDS)
    return code


def _vdevs(words: list[str]) -> list[list[str]]:
    vdevs: list[list[str]] = []
    for word in words:
        if word in GROUPS:
            vdevs.append(["raidz1" if word == "raidz" else word])
        elif vdevs and vdevs[-1][0] != "disk":
            vdevs[-1].append(word)
        else:
            vdevs.append(["disk", word])
    for kind, *disks in vdevs:
        least = 2 if kind == "mirror" else int(kind[5:]) + 1 if kind != "disk" else 1
        if len(disks) < least:
            core.fail(f"invalid vdev specification: {kind} requires at least {least} devices")
    return vdevs


def _sizes(store: Store, vdevs: list[list[str]], *, force: bool) -> dict[str, int]:
    """The size of each disk, once all of them may be used."""
    taken = {d: name for name, pool in store.pools.items() for _, *disks in pool["vdevs"] for d in disks}
    found: dict[str, int] = {}
    for _, *disks in vdevs:
        for disk in disks:
            path = core.root(disk if disk.startswith("/") else f"/dev/{disk}")
            if not os.path.exists(path) and disk.startswith("/"):
                core.fail(f"cannot open '{disk}': No such file or directory")
            if not os.path.exists(path):
                core.fail(
                    f"cannot open '{disk}': no such device in /dev\n"
                    "must be a full path or shorthand device name"
                )
            if disk in found:
                core.fail(f"invalid vdev specification: {disk} is used twice")
            if disk in taken:
                hint = "the following errors must be manually repaired:"
                if not force:
                    hint = "use '-f' to override the following errors:"
                shown = disk if disk.startswith("/") else f"/dev/{disk}"
                core.fail(
                    f"invalid vdev specification\n{hint}\n{shown} is part of active pool '{taken[disk]}'"
                )
            found[disk] = os.path.getsize(path)
    return found


def create(argv: list[str]) -> int:
    found, arguments = options("create", argv, "fndm:o:O:")
    letters = {letter for letter, _ in found}
    props: dict[str, str] = {}
    given: dict[str, str] = {}
    for letter, value in found:
        if letter in "oO":
            name, equals, setting = value.partition("=")
            if not equals:
                core.fail(f"missing '=' for -{letter} option")
            (props if letter == "o" else given)[name] = setting
        elif letter == "m":
            given["mountpoint"] = value
    if not arguments:
        refuse("create", "missing pool name argument")
    if len(arguments) < 2:
        refuse("create", "missing vdev specification")
    name = arguments[0]
    prefix = f"cannot create '{name}': "
    if "/" in name:
        core.fail(f"{prefix}invalid character '/' in pool name\nuse 'zfs create' to create a dataset")
    for prop in props:
        if pools.ALIASES.get(prop, prop) not in pools.SETTABLE:
            core.fail(f"property '{prop}' is not a valid pool property")
    with changing() as store:
        vdevs = _vdevs(arguments[1:])
        kinds = {vdev[0] for vdev in vdevs}
        if len(kinds) > 1 and "f" not in letters:
            both = " and ".join(sorted(kinds))
            core.fail(
                "invalid vdev specification\nuse '-f' to override the following errors:\n"
                f"mismatched replication level: both {both} vdevs are present"
            )
        disks = _sizes(store, vdevs, force="f" in letters)
        filesystem = making.parsed(given, F, prefix)
        if "n" in letters:
            print(f"would create '{name}' with the following layout:\n\n\t{name}")
            return 0
        wrong = names.pool_reason(name)
        if wrong:
            core.fail(prefix + wrong)
        if name in store.pools:
            core.fail(prefix + "pool already exists")
        if min(disks.values()) < SMALLEST:
            core.fail(prefix + "one or more devices is less than the minimum size (64M)")
        pools.make(store, name, pools.usable(vdevs, disks), vdevs, props, filesystem=filesystem)
    return 0


def destroy(argv: list[str]) -> int:
    _, arguments = options("destroy", argv, "f")
    if not arguments:
        refuse("destroy", "missing pool argument")
    if len(arguments) > 1:
        refuse("destroy", "too many arguments")
    with changing() as store:
        if _opened(store, arguments)[1]:
            raise core.Exit(1)
        if pools.busy(store, arguments[0]):
            core.fail(f"cannot destroy '{arguments[0]}': pool is busy")
        pools.end(store, arguments[0])
    return 0


def export(argv: list[str]) -> int:
    found, arguments = options("export", argv, "af")
    everything = ("a", "") in found
    if everything and arguments:
        refuse("export", "too many arguments")
    if not everything and not arguments:
        refuse("export", "missing pool argument")
    with changing() as store:
        chosen, code = _opened(store, arguments)
        for name in chosen:
            if pools.busy(store, name):
                core.warn(f"cannot export '{name}': pool is busy")
                code = 1
            else:
                pools.put_away(store, name)
    return code


def import_(argv: list[str]) -> int:
    _, arguments = options("import", argv, "d:Df")
    with changing() as store:
        away = store.data.get(pools.EXPORTED, {})
        if not arguments:
            _list_importable(away)
            return 0
        if len(arguments) > 2:
            refuse("import", "too many arguments")
        name = next((n for n, row in away.items() if arguments[0] in (n, str(row["pool"]["guid"]))), "")
        if not name:
            core.fail(f"cannot import '{arguments[0]}': no such pool available")
        new = arguments[-1] if len(arguments) == 2 else name
        if new in store.pools:
            core.fail(
                f"cannot import '{name}': a pool with that name already exists\n"
                "use the form 'zpool import <pool | id> <newpool>' to give it a new name"
            )
        pools.bring_back(store, name, new)
    return 0


def _list_importable(away: dict[str, Any]) -> None:
    if not away:
        core.warn("no pools available to import")
    for name, row in away.items():
        text = _status(name, {**row["pool"], "scan": {}})
        head, _, config = text.partition("config:")
        action = "action: The pool can be imported using its name or numeric identifier.\n"
        table_rows = [line for line in config.splitlines() if line.startswith("\t")][1:]
        body = "".join(line.rsplit(None, 3)[0] + "\n" for line in table_rows)
        pool_id = f"    id: {row['pool']['guid']}\n"
        lines = head.splitlines(keepends=True)
        print(f"{lines[0]}{pool_id}{lines[1]}{action}config:\n\n{body}")
