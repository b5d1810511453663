"""uname(1): a FreeBSD 14.3 host."""

from __future__ import annotations

from bhype.lab import core

RELEASE = "14.3-RELEASE"
VERSION = "FreeBSD 14.3-RELEASE releng/14.3-n271432-8c9ce319fef7 GENERIC"
HOSTNAME = "lab"
WORDS = {
    **{"s": "FreeBSD", "n": HOSTNAME, "r": RELEASE, "v": VERSION, "m": "amd64", "p": "amd64"},
    **{"i": "GENERIC", "K": "1403000", "U": "1403000"},
}
USAGE = "usage: uname [-abiKmnoprsUv]"


def main(argv: list[str]) -> int:
    core.fault(" ".join(["uname", *argv]))
    try:
        found, rest = core.getopt(argv, "abiKmnoprsUv")
    except core.BadOption as error:
        core.fail(f"uname: illegal option -- {error.letter}\n{USAGE}", 1)
    if rest:
        core.fail(USAGE, 1)
    letters = {letter.replace("o", "s") for letter, _ in found} or {"s"}
    if "a" in letters:
        letters |= set("snrvm")
    print(" ".join(WORDS[letter] for letter in "snrvmpiUK" if letter in letters))
    return 0
