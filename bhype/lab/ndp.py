"""ndp(8): the table of neighbours, and what is taken out of it (S:usr.sbin/ndp/ndp.c)."""

from __future__ import annotations

from bhype.lab import core, libxo, neighbours, release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bhype.lab.neighbours import Row

USAGE = (
    "usage: ndp [-nt] hostname\n"
    "       ndp [-nt] -a | -c | -p | -r | -H | -P | -R\n"
    "       ndp [-nt] -A wait\n"
    "       ndp [-nt] -d hostname\n"
    "       ndp [-nt] -f filename\n"
    "       ndp [-nt] -i interface [flags...]\n"
    "       ndp [-nt] -s nodename etheraddr [temp] [proxy]"
)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["ndp", *argv]))
    # No libxo before FreeBSD 15.
    as_json, words = libxo.take(argv) if release.major() >= 15 else (False, argv)
    try:
        options, rest = core.getopt(words, "acnd:st")
    except core.BadOption:
        core.fail(USAGE, 1)
    given = dict(options)
    rows = neighbours.table("inet6")
    if "s" in given:
        if len(rest) < 2:
            core.fail(USAGE, 1)
        interface = neighbours.interface_for(rest[0].partition("%")[0])
        if not interface:
            core.fail(f"ndp: RTM_GET({rest[0]}) failed", 1)
        neighbours.put(rest[0], rest[1].lower(), interface)
        return 0
    if "c" in given or "d" in given:
        for row in rows:
            if given.get("d", row["address"]) == row["address"] and (
                row["expires"] is not None or "d" in given
            ):
                neighbours.drop(row)
                print(f"{row['address']} ({_scoped(row)}) deleted")
        return 0
    if "a" not in given and len(rest) != 1:
        core.fail(USAGE, 1)
    if "a" not in given:
        rows = [row for row in rows if rest[0] in (row["address"], _scoped(row))]
        if not rows:
            core.fail(f"ndp: {rest[0]} ({rest[0]}) -- no entry", 1)
    if as_json:
        libxo.show("1", ndp={"neighbor-cache": [_entry(row) for row in rows]})
        return 0
    print(f"{'Neighbor':<36.36} {'Linklayer Address':<17.17} {'Netif':>6.6} {'Expire':<9.9} S Flags")
    for row in rows:
        print(_text(row))
    return 0


def _scoped(row: Row) -> str:
    link = f"%{row['interface']}" if row["address"].startswith("fe80:") else ""
    return str(row["address"]) + link


def _entry(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "address": _scoped(row), "mac-address": row["ether"] or "(incomplete)", "interface": row["interface"]
    }  # fmt: skip
    found |= {"permanent": True} if row["expires"] is None else {"expires_sec": row["expires"]}
    return found | {"neighbor-state": row["state"], "nd-flags": ""}


def _text(row: Row) -> str:
    ether = row["ether"] or "(incomplete)"
    expires = "permanent" if row["expires"] is None else _seconds(row["expires"])
    return f"{_scoped(row):<36} {ether:<17} {row['interface']:>6} {expires:<9.9} {row['state']} "


def _seconds(total: int) -> str:
    """sec2str(): 1d2h3m4s, without the units that are empty before the first."""
    found = ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, total = divmod(total, size)
        if number or found or unit == "s":
            found += f"{number}{unit}"
    return found
