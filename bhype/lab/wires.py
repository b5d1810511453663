"""The wires of a lab: network namespaces of its own, in which its interfaces are real ones and frames move.

A lab is plain by default: `ifconfig` keeps a state and no frame moves. With wires on, a small process (`wires_holder`)
holds two namespaces: the host's own, and "outside", to which the host's uplinks lead. After each change of the state
`carry` brings the namespaces to what the state says (`wires_plan` says what that is, `wires_apply` does it). The
state "wires" says who holds them::

    {"folder", "pid", "ticks", "outside", "outside_ticks"}      pids, and their start times as in `bhyve_state`

It is root's, on Linux, and needs ``ip`` and ``nsenter``. docs/lab-network.md tells what is simulated.
"""

from __future__ import annotations

import os

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import CompletedProcess

PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
OUTSIDE = "192.0.2.1"  # the router outside, which is the host's default route
# The internet has one machine, the router, and one name. Its addresses are real ones: name servers do not believe in
# names for those that are kept for documents (dnsmasq's stop-dns-rebind).
EXAMPLE, EXAMPLE6 = "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"
_NAMES = (
    "dnsmasq", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-resolv", "--no-hosts", "--local=/#/",
    "--bind-interfaces", f"--listen-address={OUTSIDE}", "--listen-address=2001:db8:2::1",
    f"--host-record=example.org,{EXAMPLE},{EXAMPLE6}",
)  # fmt: skip
_SECONDS = 10.0


class Unwired(Exception):
    """Why there are no wires, as a sentence."""


def namespace() -> int | None:
    """A process that is in the lab's own network namespace; None while wires are off."""
    return _holder("pid", "ticks")


def outside_namespace() -> int | None:
    """A process that is in the namespace outside; None while wires are off."""
    return _holder("outside", "outside_ticks")


def _holder(pid: str, ticks: str) -> int | None:
    if not os.path.exists(f"{core.folder()}/state/wires.json"):
        return None
    from bhype.lab import bhyve_state

    found = core.peek("wires")
    # A lab that is a copy has no wires: they belong to the one it was copied from.
    if found.get("folder") != core.folder() or bhyve_state.ticks(found[pid]) != found[ticks]:
        return None
    return int(found[pid])


def inside(argv: list[str]) -> list[str]:
    """``argv`` as a command line that runs it in the lab's namespace. Raises Unwired."""
    return _enter(namespace(), argv)


def _enter(pid: int | None, argv: list[str]) -> list[str]:
    if pid is None:
        raise Unwired("The lab's wires are off.")
    return ["/usr/bin/nsenter", f"--net=/proc/{pid}/ns/net", "--", *argv]


def run(argv: list[str], *, check: bool = False, **options: object) -> CompletedProcess[str]:
    """Run a program of this machine in the lab's namespace; ``options`` are subprocess.run's. Raises Unwired."""
    return _run(inside(argv), check, options)


def outside(argv: list[str], *, check: bool = False, **options: object) -> CompletedProcess[str]:
    """Run a program of this machine in the namespace outside. Raises Unwired."""
    return _run(_enter(outside_namespace(), argv), check, options)


def _run(argv: list[str], check: bool, options: dict[str, object]) -> CompletedProcess[str]:  # noqa: FBT001
    import subprocess

    given = {"capture_output": True, "text": True, "env": {**os.environ, "PATH": PATH}} | options
    return subprocess.run(argv, check=check, **given)  # type: ignore[call-overload,no-any-return]


def on() -> None:
    """Put the wires up, unless they are, and carry the state into them. Raises Unwired."""
    started = False
    if namespace() is None:
        with core.state("wires") as data:
            if namespace() is None:
                data.clear()
                data.update(_start())
                _remove("wired.json")
                started = True
    carry()
    if started:
        _answer_names()


def _answer_names() -> None:
    """The name server outside; where dnsmasq is not installed there is none. It ends with the namespace."""
    import shutil
    import subprocess

    if shutil.which("dnsmasq", path=PATH):
        outside(list(_NAMES), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, capture_output=False)


def off() -> None:
    """Take the wires down, with all that runs in their namespaces."""
    if not os.path.exists(f"{core.folder()}/state/wires.json"):
        return
    with core.state("wires") as data:
        pid = namespace()
        data.clear()
        if pid is not None:
            _end(pid)
        _remove("wired.json")
    _remove("wires.json")


def carry() -> None:
    """Bring the namespaces to what the lab's state says; nothing while wires are off.

    Programs call this after they have changed the state and before they end.
    """
    pid = namespace()
    if pid is None:
        return
    from bhype.lab import wires_apply

    wires_apply.carry(pid, outside_namespace() or pid)
    if os.path.exists(f"{core.folder()}/state/pf.json"):
        from bhype.lab.pf import live

        live.carry()


def simulated() -> list[str]:
    """What is not as on a real host, as sentences for the pages."""
    if namespace() is None:
        return [
            "No frame leaves a guest for the host: guests of one switch are joined by sockets, and DHCP, NAT, rules"
            " and traffic are without effect."
        ]
    return [
        "VLANs: each tag of an uplink is a cable of its own, and guests that tag frames themselves are not heard.",
        "Link aggregation: the first of its ports carries all.",
    ]


def _remove(name: str) -> None:
    path = f"{core.folder()}/state/{name}"
    if os.path.exists(path):
        os.unlink(path)


def _start() -> dict[str, object]:
    import shutil
    import subprocess
    import sys

    if not sys.platform.startswith("linux"):
        raise Unwired("Wires need Linux' network namespaces.")
    if os.geteuid():
        raise Unwired("Wires need root.")
    missing = [name for name in ("nsenter", "ip", "tc") if not shutil.which(name, path=PATH)]
    if missing or not os.path.exists("/dev/net/tun"):
        raise Unwired(f"Wires need {', '.join(missing) or '/dev/net/tun'}.")
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wires_holder.py")
    holder = subprocess.Popen(
        [sys.executable, "-S", "-I", script, core.folder()],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/",
        start_new_session=True,
    )  # fmt: skip
    assert holder.stdout is not None
    answer = holder.stdout.readline().strip()
    holder.stdout.close()
    holder.wait()
    pid, _, outside = answer.partition(" ")
    if not (pid.isdigit() and outside.isdigit()):
        raise Unwired(f"This machine lets nobody have network namespaces: {answer or 'no answer'}.")
    from bhype.lab import bhyve_state

    ours, theirs = int(pid), int(outside)
    return {
        "folder": core.folder(), "pid": ours, "ticks": bhyve_state.ticks(ours),
        "outside": theirs, "outside_ticks": bhyve_state.ticks(theirs),
    }  # fmt: skip


def _end(pid: int) -> None:
    import signal
    import time

    from bhype.lab import bhyve_state

    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS
    while bhyve_state.ticks(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
