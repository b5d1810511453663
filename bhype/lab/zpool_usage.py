"""What zpool(8) says when it is not understood, and how it reads its words (OpenZFS 2.2's zpool_main.c)."""

from __future__ import annotations

import os
import sys

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# In zpool's order; None for an empty line.
TEXTS: dict[str, str] = {
    "version": "\tversion\n",
    "create": (
        "\tcreate [-fnd] [-o property=value] ... \n"
        "\t    [-O file-system-property=value] ... \n"
        "\t    [-m mountpoint] [-R root] <pool> <vdev> ...\n"
    ),
    "destroy": "\tdestroy [-f] <pool>\n",
    "add": "\tadd [-afgLnP] [-o property=value] <pool> <vdev> ...\n",
    "remove": "\tremove [-npsw] <pool> <device> ...\n",
    "labelclear": "\tlabelclear [-f] <vdev>\n",
    "checkpoint": "\tcheckpoint [-d [-w]] <pool> ...\n",
    "list": "\tlist [-gHLpPv] [-o property[,...]] [-T d|u] [pool] ... \n\t    [interval [count]]\n",
    "iostat": (
        "\tiostat [[[-c [script1,script2,...][-lq]]|[-rw]] [-T d | u] [-ghHLpPvy]\n"
        "\t    [[pool ...]|[pool vdev ...]|[vdev ...]] [[-n] interval [count]]\n"
    ),
    "status": (
        "\tstatus [--power] [-c [script1,script2,...]] [-DegiLpPstvx] [-T d|u] [pool] ...\n"
        "\t    [interval [count]]\n"
    ),
    "online": "\tonline [--power][-e] <pool> <device> ...\n",
    "offline": "\toffline [--power]|[[-f][-t]] <pool> <device> ...\n",
    "clear": "\tclear [[--power]|[-nF]] <pool> [device]\n",
    "attach": "\tattach [-fsw] [-o property=value] <pool> <device> <new-device>\n",
    "detach": "\tdetach <pool> <device>\n",
    "replace": "\treplace [-fsw] [-o property=value] <pool> <device> [new-device]\n",
    "scrub": "\tscrub [-s | -p] [-w] [-e] <pool> ...\n",
    "resilver": "\tresilver <pool> ...\n",
    "trim": "\ttrim [-dw] [-r <rate>] [-c | -s] <pool> [<device> ...]\n",
    "import": (
        "\timport [-d dir] [-D]\n"
        "\timport [-o mntopts] [-o property=value] ... \n"
        "\t    [-d dir | -c cachefile] [-D] [-l] [-f] [-m] [-N] [-R root] [-F [-n]] -a\n"
        "\timport [-o mntopts] [-o property=value] ... \n"
        "\t    [-d dir | -c cachefile] [-D] [-l] [-f] [-m] [-N] [-R root] [-F [-n]]\n"
        "\t    [--rewind-to-checkpoint] <pool | id> [newpool]\n"
    ),
    "export": "\texport [-af] <pool> ...\n",
    "reguid": "\treguid <pool>\n",
    "reopen": "\treopen [-n] <pool>\n",
    "upgrade": "\tupgrade\n\tupgrade -v\n\tupgrade [-V version] <-a | pool ...>\n",
    "history": "\thistory [-il] [<pool>] ...\n",
    "events": "\tevents [-vHf [pool] | -c]\n",
    "get": '\tget [-Hp] [-o "all" | field[,...]] <"all" | property[,...]> <pool> ...\n',
    "set": "\tset <property=value> <pool>\n\tset <vdev_property=value> <pool> <vdev>\n",
    "sync": "\tsync [pool] ...\n",
    "wait": "\twait [-Hp] [-T d|u] [-t <activity>[,...]] <pool> [interval]\n",
}


def text(command: str = "") -> str:
    """The usage of one command, or of all."""
    if not command:
        return (
            "usage: zpool command args ...\nwhere 'command' is one of the following:\n\n"
            + "".join(TEXTS.values())
            + "\nFor further help on a command or topic, run: zpool help [<topic>]\n"
        )
    found = "usage:\n" + TEXTS[command]
    if command in ("get", "set", "list"):
        found += _properties()
    return found


def _properties() -> str:
    from bhype.lab.openzfs.pool_properties import CHOICES, COLUMNS, SETTABLE

    lines = [f"\nthe following properties are supported:\n\n\t{'PROPERTY':<19s}  EDIT   VALUES\n\n"]
    for name in sorted(COLUMNS):
        values = " | ".join(CHOICES.get(name, ())) or "-"
        lines.append(f"\t{name:<19s}  {' YES' if name in SETTABLE else '  NO'}   {values}\n")
    lines.append(f"\t{'feature@...':<19s}   YES   disabled | enabled | active\n")
    lines.append("\nThe feature@ properties must be appended with a feature name.\nSee zpool-features(7).\n")
    return "".join(lines)


def refuse(command: str, reason: str = "") -> NoReturn:
    """The command line is wrong: the reason, the usage, exit 2."""
    core.fail((reason + "\n" if reason else "") + text(command), 2)


def options(
    command: str,
    argv: list[str],
    letters: str,
    long: dict[str, str] | None = None,
    *,
    names_missing: bool = True,
) -> tuple[list[tuple[str, str]], list[str]]:
    """getopt(3) with zpool(8)'s words for mistakes. long: letters of the words behind "--".

    names_missing: whether the command tells a missing argument from an unknown option.
    """
    words = []
    for index, word in enumerate(argv):
        if not word.startswith("-"):
            words += argv[index:]
            break
        if word.startswith("--") and len(word) > 2:
            if not long or word[2:] not in long:
                refuse(command, f"invalid option '{word[2:3] if not long else word}'")
            words.append(f"-{long[word[2:]]}")
        else:
            words.append(word)
    try:
        return core.getopt(words, letters)
    except core.BadOption as error:
        if error.missing and names_missing:
            refuse(command, f"missing argument for '{error.letter}' option")
        refuse(command, f"invalid option '{error.letter}'")


def interval(command: str, words: list[str]) -> tuple[list[str], float, int]:
    """Take ``interval [count]`` from the end of the words; 0 for none (get_interval_count())."""
    numbers: list[str] = []
    while words and len(numbers) < 2 and _is_number(words[-1]):
        numbers.insert(0, words[-1])
        words = words[:-1]
    if numbers and (float(numbers[0]) == 0):
        refuse(command, "interval cannot be zero")
    if not numbers:
        return words, 0.0, 0
    return words, float(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 0


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def rows(lines: list[list[str]]) -> None:
    sys.stdout.writelines("\t".join(line) + "\n" for line in lines)


def strerror(code: int) -> str:
    return os.strerror(code)
