"""``zpool list``, ``get``, ``status``, ``iostat``, ``history``, ``events`` and ``version``: they change nothing."""

from __future__ import annotations

import sys
import time

from bhype.lab import core
from bhype.lab.openzfs import making, names, pool_history, pool_status, pools, sizes, vdevs
from bhype.lab.openzfs.pool_properties import ALIASES, CHOICES, COLUMNS, DEFAULT_COLUMNS, FEATURES, LEFT
from bhype.lab.openzfs.reading import table
from bhype.lab.zpool_usage import interval, options, refuse, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.openzfs.store import Store
    from bhype.lab.openzfs.vdevs import Pool, Vdev


def opened(store: Store, wanted: list[str]) -> tuple[list[str], int]:
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
    found = [ALIASES.get(word, word) for word in text.split(",")]
    for word in found:
        if not pools.exists(word):
            refuse(command, f"bad property list: invalid property '{word}'")
    return found


def version(argv: list[str]) -> int:
    """``zpool version``."""
    return making.version(argv)


# -- list --------------------------------------------------------------------------------------------


def list_(argv: list[str]) -> int:
    """``zpool list``."""
    found, words = options("list", argv, "gHLo:pPT:v")
    letters = {letter for letter, _ in found}
    columns = list(DEFAULT_COLUMNS)
    for letter, value in found:
        if letter == "o":
            columns = _columns("list", value)
    words, seconds, count = interval("list", words)
    code, turn = 0, 0
    while True:
        turn += 1
        store = pools.opened()
        chosen, code = opened(store, words)
        code = 0 if chosen else code  # pool_list_iter() has the last word
        _list(store, chosen, columns, letters)
        if not chosen and not words and "H" not in letters:
            print("no pools available")
        if not seconds or turn == count:
            return code
        sys.stdout.flush()
        time.sleep(seconds)


def _list(store: Store, chosen: list[str], columns: list[str], letters: set[str]) -> None:
    lines: list[tuple[str, list[list[str]]]] = []
    style = pool_status.Style(letters & {"g", "P"})
    for name in chosen:
        values = pools.PoolValues(store, name, exact="p" in letters)
        line = [values.get(column)[0] for column in columns]
        more = list(_vdev_rows(store, name, style, exact="p" in letters)) if "v" in letters else []
        lines.append((name, [line, *more]))
    if "H" in letters:
        for _, group in lines:
            rows(group[:1])
            rows([["", *row] for row in (_strip(row) for row in group[1:])])
        return
    heads = [COLUMNS.get(column, column.upper()) for column in columns]
    if "v" not in letters:
        if lines:
            _table(columns, heads, [group[0] for _, group in lines])
        return
    _list_verbose(store, lines, heads, columns, style)


def _width(column: str) -> int:
    """The least width of a column (zprop_width() in zprop_common.c)."""
    if column == "health":
        return 8
    head = len(COLUMNS.get(column, column))
    if column in CHOICES:
        return max(head, *(len(word) for word in CHOICES[column]))
    return head if column in LEFT or column not in COLUMNS else max(5, head)


def _table(columns: list[str], heads: list[str], lines: list[list[str]]) -> None:
    widths = [max(_width(c), *(len(row[i]) for row in [heads, *lines])) for i, c in enumerate(columns)]
    for row in [heads, *lines]:
        cells = [
            cell
            if column in LEFT and index == len(columns) - 1
            else cell.ljust(widths[index])
            if column in LEFT
            else cell.rjust(widths[index])
            for index, (column, cell) in enumerate(zip(columns, row, strict=True))
        ]
        sys.stdout.write("  ".join(cells) + "\n")


def _strip(row: list[str]) -> list[str]:
    return [row[0].strip(), *row[1:]]


# Of the columns behind a device's name (print_one_column(), print_list_stats()).
WIDTHS = (5, 5, 5, 7, 8, 5, 5, 5, 8)
DASHES = "      -      -      -        -         -      -      -      -         -"


def _list_verbose(
    store: Store,
    lines: list[tuple[str, list[list[str]]]],
    heads: list[str],
    columns: list[str],
    style: pool_status.Style,
) -> None:
    first = max((pool_status.width(name, store.pools[name], style) for name, _ in lines), default=10)
    widths = [first]
    widths += [max(_width(c), *(len(g[0][i]) for _, g in lines)) for i, c in enumerate(columns) if i]
    cells = [heads, *(group[0] for _, group in lines)]

    def line(row: list[str]) -> str:
        parts = [row[0].ljust(first)]
        for index, cell in enumerate(row[1:], 1):
            left = columns[index] in LEFT
            last = index == len(row) - 1
            parts.append(
                cell if left and last else cell.ljust(widths[index]) if left else cell.rjust(widths[index])
            )
        return "  ".join(parts) + "\n"

    sys.stdout.write(line(cells[0]))
    for _, group in lines:
        sys.stdout.write(line(group[0]))
        for row in group[1:]:
            if row[-1] == "-" and row[-2] == "-" and row[1] == "-" and len(row) == 11:
                sys.stdout.write(row[0].ljust(first) + DASHES + "\n")
                continue
            parts = [row[0].ljust(first)]
            parts += [cell.rjust(width) for cell, width in zip(row[1:], WIDTHS, strict=True)]
            sys.stdout.write("  ".join(parts) + "\n")


def _vdev_rows(store: Store, name: str, style: pool_status.Style, *, exact: bool) -> list[list[str]]:
    """A row of ten cells for each device, one of eleven for the head of a class."""
    pool = store.pools[name]
    used = pools.shares(store, name)
    found: list[list[str]] = []

    def size(number: int) -> str:
        return str(number) if exact else sizes.human(number, "")

    def walk(vdev: Vdev, label: str, depth: int, *, top: bool, spare: bool = False) -> None:
        state = vdevs.state(vdev)[0]
        if spare:
            state = "INUSE" if _in_use(pool, vdev) else "AVAIL" if state == "ONLINE" else state
        row = [" " * depth + label]
        if top:
            room = vdevs.space(vdev) if "asize" in vdev else vdevs.asize(vdev)
            taken = used.get(vdev["guid"], 0)
            part = taken * 10000 // room if room else 0
            human = f"{part / 100:.2f}%" if part < 1000 else f"{part / 100:.1f}%" if part < 10000 else "100%"
            row += [
                size(vdev.get("size", room)),
                size(taken),
                size(room - taken),
                "-",
                "-",
                "0" if exact else "0%",
            ]
            row += [str(part // 100) if exact else human, "-"]
        else:
            row += [size(vdev["size"]) if vdev["kind"] in vdevs.LEAVES else "-", *["-"] * 7]
        found.append([*row, state])
        for index, child in enumerate(vdev.get("children", ())):
            walk(child, vdevs.name(child, index=index, style=style.name), depth + 2, top=False)

    for top in pool["tops"]:
        if top.get("class") == "" and top["kind"] != "hole":
            walk(top, vdevs.name(top, style=style.name), 2, top=True)
    for key, head in pool_status.CLASSES.items():
        tops = [top for top in pool["tops"] if top.get("class") == key and top["kind"] != "hole"]
        if tops:
            found.append([head, *["-"] * 10])
        for top in tops:
            walk(top, vdevs.name(top, style=style.name), 2, top=True)
    for head, group in (("cache", pool["cache"]), ("spare", pool["spares"])):
        if group:
            found.append([head, *["-"] * 10])
        for each in group:
            label = vdevs.name(each, style=style.name)
            walk(each, label, 2, top=head == "cache", spare=head == "spare")
    return found


def _in_use(pool: Pool, spare: Vdev) -> bool:
    return any(each["guid"] == spare["guid"] for top in pool["tops"] for each in vdevs.leaves(top))


# -- get ---------------------------------------------------------------------------------------------


def get(argv: list[str]) -> int:
    """``zpool get`` of pools; properties of vdevs are not there."""
    found, words = options("get", argv, "Hpo:", names_missing=False)
    letters = {letter for letter, _ in found}
    fields = ["name", "property", "value", "source"]
    for letter, value in found:
        if letter == "o" and value != "all":
            fields = value.split(",")
            for field in fields:
                if field not in ("name", "property", "value", "source"):
                    refuse("get", f"invalid column name '{field}'")
    if not words:
        refuse("get", "missing property argument")
    store = pools.opened()
    if words[1:] and words[1] not in store.pools:
        core.fail(f"Cannot get properties of {words[1]}: no such pool available.")
    if words[0] == "all":
        wanted = [*(name for name in COLUMNS if name != "name"), *(f"feature@{f}" for f in FEATURES)]
    else:
        wanted = _columns("get", words[0])
    chosen, code = opened(store, words[1:])
    lines = []
    for name in chosen:
        values = pools.PoolValues(store, name, exact="p" in letters)
        own = sorted(key for key in store.pools[name]["props"] if ":" in key) if words[0] == "all" else []
        for prop in wanted + own:
            value, source = values.get(prop)
            parts = {"name": name, "property": prop, "value": value, "source": source}
            lines.append([parts[field] for field in fields])
    if "H" in letters:
        rows(lines)
    elif lines:
        heads = [field.upper() for field in fields]
        if "value" in fields:
            at = fields.index("value")
            least = max(_width(prop) if prop in COLUMNS else 0 for prop in wanted)
            heads[at] = heads[at].ljust(least) if at < len(fields) - 1 else heads[at]
        table(heads, lines, [False] * len(fields))
    return code


# -- status ------------------------------------------------------------------------------------------


def status(argv: list[str]) -> int:
    """``zpool status``."""
    found, words = options("status", argv, "c:DegiLpPstT:vx", {"power": "L"})
    letters = {letter for letter, _ in found}
    words, seconds, count = interval("status", words)
    turn = 0
    while True:
        turn += 1
        store = pools.opened()
        chosen, code = opened(store, words)
        shown = 0
        for name in chosen:
            pool = store.pools[name]
            if "x" in letters and pool_status.reason(pool) in pool_status.HEALTHY:
                if words:
                    print(f"pool '{name}' is healthy")
                continue
            print(("\n" if shown else "") + pool_status.text(name, pool, pool_status.Style(letters)), end="")
            shown += 1
        if not store.pools and not words:
            core.warn("no pools available")
        elif "x" in letters and not words and not shown:
            print("all pools are healthy")
        if not seconds or turn == count:
            return code
        sys.stdout.flush()
        time.sleep(seconds)


# -- iostat ------------------------------------------------------------------------------------------


def iostat(argv: list[str]) -> int:
    """``zpool iostat [-HLpPvyg] [pool ...] [interval [count]]``: no histograms, latencies or queues."""
    found, words = options("iostat", argv, "gHhLnpPT:vy", names_missing=False)
    letters = {letter for letter, _ in found}
    words, seconds, count = interval("iostat", words)
    from bhype.lab import zpool_iostat

    return zpool_iostat.run(words, letters, seconds, count)


# -- history -----------------------------------------------------------------------------------------


def history(argv: list[str]) -> int:
    """``zpool history``: what was done to the pools; internal events are told for commands only."""
    found, words = options("history", argv, "il")
    letters = {letter for letter, _ in found}
    store = pools.opened()
    chosen, code = opened(store, words)
    for name in chosen:
        print(f"History for '{name}':")
        for line in pool_history.lines(name, long="l" in letters):
            print(line)
        print()
    if not chosen and not words:
        core.warn("no pools available")
    return code


def events(argv: list[str]) -> int:
    """``zpool events [-H]``: those of commands; ``-c`` forgets them."""
    found, words = options("events", argv, "vHfc")
    letters = {letter for letter, _ in found}
    if "c" in letters:
        with core.state("zfs-events") as data:
            count = len(data.pop("events", []))
        print(f"cleared {count} events")
        return 0
    if "H" not in letters:
        print(f"{'TIME':<30} CLASS")
    for event in core.peek("zfs-events").get("events", []):
        if words and event["pool"] not in words:
            continue
        when = time.strftime("%b %d %Y %H:%M:%S", time.localtime(event["at"]))
        print(f"{when}.{event['ns']:09d}{chr(9) if 'H' in letters else ' '}{event['class']}")
    return 0
