"""valectl(8): lists VALE's ports, plugs NICs in and out (S:usr.sbin/valectl/valectl.c)."""

from __future__ import annotations

from bhype.lab import core, vale, wires

USAGE = (
    "Usage:\nvale-ctl [arguments]\n"
    "\t-g interface\tinterface name to get info\n"
    "\t-d interface\tinterface name to be detached\n"
    "\t-a interface\tinterface name to be attached\n"
    "\t-h interface\tinterface name to be attached with the host stack\n"
    "with no arguments: list all existing vale ports"
)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["valectl", *argv]))
    if not argv:
        for name, switch, port in vale.rows():
            print(f"{name} bridge_idx {switch} port_idx {port}")
        return 1  # as list_all() ends
    try:
        options, rest = core.getopt(argv, "d:a:h:g:l:n:r:C:p:P:m:v")
    except core.BadOption as error:
        core.fail(f"bad option {error.letter} (null)\n{USAGE}", 1)
    asked = [(letter, name) for letter, name in options if letter in "dahl"]
    if rest or not asked:
        core.fail(USAGE, 1)
    letter, name = asked[-1]
    try:
        if letter == "l":
            _list(name)
        elif letter == "d":
            vale.detach(name)
        else:
            vale.attach(name, host=letter == "h")
    except vale.Refused as error:
        action = {"d": "detach", "l": "list"}.get(letter, "attach")
        core.fail(f"failed to {action} {name}: {error}", 1)
    wires.carry()
    return 0


def _list(name: str) -> None:
    for each, switch, port in vale.rows():
        if each == name:
            print(f"bridge_idx: {switch}\nport_idx:   {port}")
            return
    raise vale.Refused("No such file or directory")
