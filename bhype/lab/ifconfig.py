"""ifconfig(8) of the lab: its options and lists; `ifconfig_run` does the words about one interface.

The state "ifconfig" has ``interfaces``, in order of creation: ``{NAME: {"kind", "device", "index", "up",
"mtu", "description", "groups", "ether", "inet", "inet6", "members", "private"}}``. device: the name at
creation; inet, inet6: lists of ``ADDRESS/PREFIX``; members, private: names, for a bridge; more keys are told of in
`ifconfig_bridge` and `ifconfig_clones`. ``nd6``: flags of IPv6, where they were changed. With wires on, each change is
carried into the lab's network namespace (`wires`); otherwise no packet moves.
"""

from __future__ import annotations

import sys
import time

from bhype.lab import bhyve_state, core, wires
from bhype.lab.ifconfig_state import CLONERS, FAMILIES, Trouble, forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.ifconfig_run import Run
    from bhype.lab.ifconfig_state import Interface

USAGE = (
    "usage: ifconfig [-j jail] [-f type:format] [-L] [-C] [-g groupname] interface address_family\n"
    "       ifconfig -a [-L] [-C] [-g groupname] [-d] [-m] [-u] [-v] [address_family]\n"
    "       ifconfig -l [-d] [-u] [address_family]\n"
    "       ifconfig [-L] [-d] [-m] [-u] [-v] [-C] [-g groupname]\n"
)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["ifconfig", *argv]))
    try:
        found, rest = core.getopt(argv, "adf:G:g:klLmuvC")
    except core.BadOption as error:
        problem = "option requires an argument" if error.missing else "illegal option"
        core.fail(f"ifconfig: {problem} -- {error.letter}\n{USAGE}", 1)
    letters = dict(found)
    if "C" in letters:
        print(" ".join(CLONERS))
        return 0
    if "g" in letters and not {"a", "l"} & set(letters) and not rest:
        _print_group(letters["g"])
        return 0
    if "l" in letters or "a" in letters or not rest:
        return _print_all(letters, rest)
    formats = letters.get("f", "")
    if len(rest) == 1 or (len(rest) == 2 and rest[1] in FAMILIES):
        _print_one(rest[0], formats)
        return 0
    from bhype.lab.ifconfig_run import Run

    run = Run(rest[0], rest[1:])
    with core.state("ifconfig") as data:
        try:
            run.all(data)
        except Trouble as error:
            trouble: Trouble | None = error
        else:
            trouble = None
    if run.made:
        from bhype.lab import kldload

        kldload.load(f"if_{run.made}")
    if run.doomed:
        _destroy_when_closed(run.doomed)
    if run.how == "remove" or run.address or run.doomed:
        from bhype.lab import routes

        routes.prune()
    wires.carry()
    if run.printed:
        print(run.name)
    _afterwards(run)
    if trouble:
        core.fail(str(trouble), trouble.code)
    return run.code


def _afterwards(run: Run) -> None:
    """What is told of, or done to, a bridge that is a real one."""
    from bhype.lab import ifconfig_bridge

    for what, name in run.later:
        if what == "addr":
            for line in ifconfig_bridge.learnt(_interfaces()[name], name):
                print(line)
        elif wires.namespace() is not None:
            from bhype.lab import wires_look

            wires_look.forget(name)


def _interfaces() -> dict[str, Interface]:
    found: dict[str, Interface] = core.peek("ifconfig")["interfaces"]
    return found


def _print_group(group: str) -> None:
    for name, interface in _interfaces().items():
        if group == "all" or group in interface["groups"]:
            print(name)


def _print_all(letters: dict[str, str], rest: list[str]) -> int:
    from bhype.lab import ifconfig_show

    family = rest[0] if rest else ""
    if len(rest) > 1 or (family and family not in FAMILIES):
        core.fail(USAGE, 1)
    interfaces = _interfaces()
    openers = bhyve_state.tap_openers()
    chosen = []
    for name, interface in interfaces.items():
        up = interface["up"] or interface["device"] in openers
        if ("u" in letters and not up) or ("d" in letters and up):
            continue
        if "g" in letters and letters["g"] not in (*interface["groups"], "all"):
            continue
        if "G" in letters and letters["G"] in interface["groups"]:
            continue
        if family == "ether" and interface["kind"] == "lo":
            continue
        if family in ("inet", "inet6") and not interface[family]:
            continue
        chosen.append(name)
    if "l" in letters:
        print(" ".join(chosen))
        return 0
    for name in chosen:
        sys.stdout.write(ifconfig_show.text(name, interfaces, openers, letters.get("f", "")))
    return 0


def _print_one(name: str, formats: str) -> None:
    from bhype.lab import ifconfig_show

    interfaces = _interfaces()
    if name not in interfaces:
        core.fail(f"ifconfig: interface {name} does not exist", 1)
    sys.stdout.write(ifconfig_show.text(name, interfaces, bhyve_state.tap_openers(), formats))


def _destroy_when_closed(name: str) -> None:
    """The kernel waits, however long, until nobody has the tap open; then the interface goes."""
    while True:
        with core.state("ifconfig") as data:
            interface = data["interfaces"].get(name)
            if not interface:
                return
            if interface["device"] not in bhyve_state.tap_openers():
                forget(data, name)
                return
        time.sleep(0.05)
