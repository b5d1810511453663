"""sysrc(8): reads and writes rc.conf(5) below the lab's root (S:usr.sbin/sysrc/sysrc)."""

from __future__ import annotations

import os
import re

from bhype.lab import core

USAGE = (
    "Usage: sysrc [OPTIONS] {name[[+|-]=value] ...|-a|-A|-l|-L [name ...]}\n"
    "Try `sysrc --help' for more information."
)
DEFAULTS, FILE = "/etc/defaults/rc.conf", "/etc/rc.conf"
_LINE = re.compile(r"""^\s*([A-Za-z_][A-Za-z0-9_]*)=("[^"]*"|'[^']*'|\S*)""")
_ASKED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:([+-]?=)(.*))?", re.DOTALL)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["sysrc", *argv]))
    try:
        options, words = core.getopt(argv, "acDdef:iNnqRxv")
    except core.BadOption as error:
        core.fail(f"sysrc: illegal option -{error.letter}\n{USAGE}", 1)
    letters = {letter for letter, _ in options}
    path = core.root(dict(options).get("f", FILE))
    if "a" in letters:
        for name, value in sorted(read(path).items()):
            _show(name, value, letters)
        return 0
    if not words:
        core.fail(USAGE, 1)
    return max(_one(word, path, letters) for word in words)


def _one(word: str, path: str, letters: set[str]) -> int:
    match = _ASKED.fullmatch(word)
    if not match:
        core.warn(f"sysrc: {word}: name contains characters not allowed in shell")
        return 1
    name, sign, value = match[1], match[2], match[3]
    mine = read(path)
    old = mine.get(name, read(core.root(DEFAULTS)).get(name))
    if "x" in letters:
        if name not in mine:
            core.warn(f"sysrc: unknown variable '{name}'")
            return 1
        write(path, name, None)
        return 0
    if sign is None:
        if old is None:
            if "i" not in letters:
                core.warn(f"sysrc: unknown variable '{name}'")
                return 1
            return 0
        _show(name, old, letters)
        return 0
    if sign != "=":
        value = _listed(old or "", value, add=sign == "+=")
    if "c" in letters:
        return 0 if old == value else 1
    write(path, name, value)
    if "q" not in letters:
        print(f"{name}: {old or ''} -> {value}")
    return 0


def _listed(old: str, value: str, *, add: bool) -> str:
    """``+=`` and ``-=``: words of a list, divided by the first character of the value, or by blanks."""
    mark = value[:1] if value[:1] in ",:;" else " "
    words = [word for word in old.split(mark) if word]
    for word in filter(None, value.split(mark)):
        if add and word not in words:
            words.append(word)
        elif not add:
            words = [each for each in words if each != word]
    return mark.join(words)


def _show(name: str, value: str, letters: set[str]) -> None:
    if "N" in letters:
        print(name)
    elif "n" in letters:
        print(value)
    else:
        print(f'{name}="{value}"' if "e" in letters else f"{name}: {value}")


def read(path: str) -> dict[str, str]:
    """What a file sets; the last line about a name counts."""
    found = {}
    if os.path.exists(path):
        with open(path) as file:
            for line in file:
                match = _LINE.match(line)
                if match:
                    found[match[1]] = match[2].strip("\"'")
    return found


def value(name: str) -> str:
    """A variable as rc(8) sees it."""
    return read(core.root(FILE)).get(name, read(core.root(DEFAULTS)).get(name, ""))


def write(path: str, name: str, value: str | None) -> None:
    """Set a variable in its line, or in a new one; None removes it."""
    lines = []
    if os.path.exists(path):
        with open(path) as file:
            lines = file.read().splitlines()
    new = [] if value is None else [f'{name}="{value}"']
    kept = []
    for line in lines:
        match = _LINE.match(line)
        if match and match[1] == name:
            kept += new
            new = []
        else:
            kept.append(line)
    core.replace(path, "\n".join([*kept, *new]) + "\n")
