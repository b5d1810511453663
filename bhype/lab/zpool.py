"""zpool(8) of the lab: OpenZFS 2.2's, on the lab's disks and on files."""

from __future__ import annotations

from bhype.lab import core
from bhype.lab.zpool_usage import TEXTS, refuse

MODULES = {
    **dict.fromkeys(("list", "get", "status", "iostat", "history", "events", "version"), "zpool_show"),
    **dict.fromkeys(("create", "destroy", "add", "set", "labelclear", "upgrade", "reguid"), "zpool_make"),
    **dict.fromkeys(
        ("attach", "detach", "replace", "online", "offline", "clear", "remove", "reopen"), "zpool_devices"
    ),
    **dict.fromkeys(("scrub", "resilver", "trim", "wait", "checkpoint", "sync"), "zpool_work"),
    **dict.fromkeys(("import", "export"), "zpool_import"),
}
# Python has words of these names.
FUNCTIONS = {"list": "list_", "set": "set_", "import": "import_"}


def main(argv: list[str]) -> int:
    if not argv:
        refuse("", "missing command")
    command = argv[0]
    if command in ("-V", "--version"):
        command = "version"
    if command in ("-?", "--help", "help"):
        from bhype.lab.zpool_usage import text

        print(text(argv[1] if len(argv) > 1 and argv[1] in TEXTS else ""), end="")
        return 0
    core.fault(" ".join(["zpool", *argv]))
    if command not in MODULES:
        refuse("", f"unrecognized command '{command}'")
    module = __import__(f"bhype.lab.{MODULES[command]}", fromlist=["*"])
    code: int = getattr(module, FUNCTIONS.get(command, command))(argv[1:])
    return code
