"""zfs(8) of the lab."""

from __future__ import annotations

from bhype.lab import core
from bhype.lab.openzfs import guard, pool_history
from bhype.lab.openzfs.usage import TEXTS, refuse

MODULES = {
    **dict.fromkeys(("list", "get", "holds"), "reading"),
    **dict.fromkeys(("create", "clone", "snapshot", "version"), "making"),
    **dict.fromkeys(("hold", "release", "bookmark"), "keeping"),
    **dict.fromkeys(("load-key", "unload-key", "change-key"), "keys"),
    **dict.fromkeys(("set", "inherit", "rename", "promote"), "changing"),
    **dict.fromkeys(("destroy", "rollback"), "destroying"),
    **{
        "diff": "diffing",
        "send": "sending",
        "receive": "receiving",
        "mount": "mounting",
        "unmount": "mounting",
    },
}
ALIASES = {"snap": "snapshot", "recv": "receive", "umount": "unmount"}
# Python has words of these names.
FUNCTIONS = {"list": "list_", "set": "set_"}


def main(argv: list[str]) -> int:
    if not argv:
        refuse("", "missing command")
    command = ALIASES.get(argv[0], argv[0])
    if command in ("-?", "--help", "help"):
        from bhype.lab.openzfs.usage import text

        print(text(""), end="")
        return 0
    if command in ("-V", "--version"):
        command = "version"
    core.fault(" ".join(["zfs", command, *argv[1:]]))
    if command not in TEXTS:
        refuse("", f"unrecognized command '{argv[0]}'")
    guard.check(command, argv[1:])
    module = __import__(f"bhype.lab.openzfs.{MODULES[command]}", fromlist=["*"])
    code: int = getattr(module, FUNCTIONS.get(command, command.replace("-", "_")))(argv[1:])
    if not code and command in guard.PREFIXES:
        pool_history.log_zfs(["zfs", *argv])
    return code
