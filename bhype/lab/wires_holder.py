"""Holds the two network namespaces of a lab: ``wires_holder.py LAB`` (see `wires`).

It prints its pid and that of its child, which holds the namespace outside, and lives until LAB or its entry in
LAB/state/wires.json is gone. Then it ends what still runs in the namespaces, and they are gone with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time

_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PAUSE = 1.0  # seconds between two looks at the lab


def main(folder: str) -> None:
    if os.fork():  # nobody's child, so that nobody has to wait for it
        os._exit(0)
    libc = ctypes.CDLL(None, use_errno=True)
    _leave(libc)
    parent = os.getpid()
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        _leave(libc)
        os.close(1)
        os.close(2)
        os.write(tell, b"1")
        while True:
            signal.pause()
    os.close(tell)
    if not os.read(ready, 1):
        return
    libc.prctl(_PR_SET_NAME, b"bhype-wires", 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(parent, child, flush=True)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        _wait(folder)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_all({os.readlink(f"/proc/{pid}/ns/net") for pid in (parent, child)}, {parent, child})
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _leave(libc: ctypes.CDLL) -> None:
    if libc.unshare(_CLONE_NEWNET):
        sys.stdout.write(os.strerror(ctypes.get_errno()) + "\n")
        sys.stdout.flush()
        os._exit(1)


def _wait(folder: str) -> None:
    """Until the lab is gone, or knows this process no more."""
    seen = False
    while os.path.isdir(folder + "/state"):
        try:
            with open(folder + "/state/wires.json") as file:
                mine = json.load(file).get("pid") == os.getpid()
        except (OSError, ValueError):
            mine = False
        if seen and not mine:
            return
        seen = seen or mine  # whoever has started this process writes it down a moment later
        time.sleep(_PAUSE)


def _end_all(namespaces: set[str], spared: set[int]) -> None:
    """End the processes in these namespaces: at first kindly."""
    for number, pause in ((signal.SIGTERM, 0.5), (signal.SIGKILL, 0.0)):
        deadline = time.monotonic() + pause
        found = _inhabitants(namespaces) - spared
        for pid in found:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        while time.monotonic() < deadline and _inhabitants(namespaces) - spared:
            time.sleep(0.02)


def _inhabitants(namespaces: set[str]) -> set[int]:
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.readlink(f"/proc/{name}/ns/net") in namespaces:
                    found.add(int(name))
            except OSError:
                continue
    return found


if __name__ == "__main__":
    main(sys.argv[1])
