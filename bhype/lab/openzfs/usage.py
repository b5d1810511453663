"""What zfs(8) says when it is not understood: OpenZFS 2.2's words, for the commands that the lab has."""

from __future__ import annotations

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

TEXTS = {
    "version": "\tversion\n",
    "create": (
        "\tcreate [-Pnpuv] [-o property=value] ... <filesystem>\n"
        "\tcreate [-Pnpsv] [-b blocksize] [-o property=value] ... -V <size> <volume>\n"
    ),
    "destroy": (
        "\tdestroy [-fnpRrv] <filesystem|volume>\n"
        "\tdestroy [-dnpRrv] <filesystem|volume>@<snap>[%<snap>][,...]\n"
        "\tdestroy <filesystem|volume>#<bookmark>\n"
    ),
    "snapshot": "\tsnapshot [-r] [-o property=value] ... <filesystem|volume>@<snap> ...\n",
    "rollback": "\trollback [-rRf] <snapshot>\n",
    "clone": "\tclone [-p] [-o property=value] ... <snapshot> <filesystem|volume>\n",
    "promote": "\tpromote <clone-filesystem>\n",
    "rename": (
        "\trename [-f] <filesystem|volume|snapshot> <filesystem|volume|snapshot>\n"
        "\trename -p [-f] <filesystem|volume> <filesystem|volume>\n"
        "\trename -u [-f] <filesystem> <filesystem>\n"
        "\trename -r <snapshot> <snapshot>\n"
    ),
    "mount": "\tmount\n\tmount [-flvO] [-o opts] <-a | filesystem>\n",
    "unmount": "\tunmount [-fu] <-a | filesystem|mountpoint>\n",
    "send": (
        "\tsend [-DLPbcehnpsVvw] [-i|-I snapshot]\n"
        "\t     [-R [-X dataset[,dataset]...]]     <snapshot>\n"
        "\tsend [-DnVvPLecw] [-i snapshot|bookmark] <filesystem|volume|snapshot>\n"
        "\tsend [-DnPpVvLec] [-i bookmark|snapshot] --redact <bookmark> <snapshot>\n"
        "\tsend [-nVvPe] -t <receive_resume_token>\n"
        "\tsend [-PnVv] --saved filesystem\n"
    ),
    "receive": (
        "\treceive [-vMnsFhu] [-o <property>=<value>] ... [-x <property>] ...\n"
        "\t    <filesystem|volume|snapshot>\n"
        "\treceive [-vMnsFhu] [-o <property>=<value>] ... [-x <property>] ... \n"
        "\t    [-d | -e] <filesystem>\n"
        "\treceive -A <filesystem|volume>\n"
    ),
    "list": (
        "\tlist [-Hp] [-r|-d max] [-o property[,...]] [-s property]...\n\t    "
        "[-S property]... [-t type[,...]] [filesystem|volume|snapshot] ...\n"
    ),
    "set": "\tset [-u] <property=value> ... <filesystem|volume|snapshot> ...\n",
    "get": (
        '\tget [-rHp] [-d max] [-o "all" | field[,...]]\n'
        "\t    [-t type[,...]] [-s source[,...]]\n"
        '\t    <"all" | property[,...]> [filesystem|volume|snapshot|bookmark] ...\n'
    ),
    "inherit": "\tinherit [-rS] <property> <filesystem|volume|snapshot> ...\n",
    "hold": "\thold [-r] <tag> <snapshot> ...\n",
    "holds": "\tholds [-rHp] <snapshot> ...\n",
    "bookmark": "\tbookmark <snapshot|bookmark> <newbookmark>\n",
    "diff": "\tdiff [-FHth] <snapshot> [snapshot|filesystem]\n",
    "load-key": "\tload-key [-rn] [-L <keylocation>] <-a | filesystem|volume>\n",
    "unload-key": "\tunload-key [-r] <-a | filesystem|volume>\n",
    "change-key": (
        "\tchange-key [-l] [-o keyformat=<value>]\n"
        "\t    [-o keylocation=<value>] [-o pbkdf2iters=<value>]\n"
        "\t    <filesystem|volume>\n"
        "\tchange-key -i [-l] <filesystem|volume>\n"
    ),
    "release": "\trelease [-r] <tag> <snapshot> ...\n",
}


def text(command: str) -> str:
    """The usage of one command, or of all for ""."""
    if not command:
        return (
            "usage: zfs command args ...\nwhere 'command' is one of the following:\n\n"
            + "".join(TEXTS.values())
            + "\nEach dataset is of the form: pool/[dataset/]*dataset[@name]\n"
            + _more()
        )
    if command in ("set", "get", "inherit", "list"):
        return "usage:\n" + TEXTS[command] + "\nThe following properties are supported:\n" + _properties()
    return "usage:\n" + TEXTS[command] + _more()


def _more() -> str:
    return (
        "\nFor the property list, run: zfs set|get\n"
        "\nFor the delegated permission list, run: zfs allow|unallow\n"
        "\nFor further help on a command or topic, run: zfs help [<topic>]\n"
    )


def _properties() -> str:
    from bhype.lab.openzfs.properties import TABLE

    lines = [f"\n\t{'PROPERTY':<21s} EDIT  INHERIT   VALUES\n\n"]
    for name, entry in sorted(TABLE.items()):
        edit = " NO" if entry.edit == "never" else "YES"
        inherits = "YES" if entry.inherits else " NO"
        values = entry.help or {"size": "<size>", "count": "<count>"}.get(entry.kind, "-")
        lines.append(f"\t{name:<21s}  {edit}      {inherits}   {values}\n")
    lines.append("\nSizes are specified in bytes with standard units such as K, M, G, etc.\n")
    lines.append("\nUser-defined properties can be specified by using a name containing a colon (:).\n")
    return "".join(lines)


def refuse(command: str, reason: str = "") -> NoReturn:
    """The command line is wrong: the reason, the usage, exit 2."""
    core.fail((reason + "\n" if reason else "") + text(command), 2)


def options(
    command: str, argv: list[str], letters: str, missing: str = ""
) -> tuple[list[tuple[str, str]], list[str]]:
    """getopt(3) with zfs(8)'s words for mistakes. missing: the words for an option without its argument."""
    try:
        return core.getopt(argv, letters)
    except core.BadOption as error:
        if error.missing and missing:
            refuse(command, missing.replace("%c", error.letter))
        refuse(command, f"invalid option '{error.letter}'")


def assignments(words: Sequence[str], code: int = 1) -> dict[str, str]:
    """The properties in ``name=value`` words (parseprop()); a wrong word ends the program with ``code``."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            core.fail("missing '=' for property=value argument", code)
        if name in found:
            core.fail(f"property '{name}' specified multiple times", code)
        found[name] = value
    return found
