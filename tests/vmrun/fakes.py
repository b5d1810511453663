"""Programs that stand in for bhyve(8), bhyvectl(8) and ps(1) below a lab's root: quick, and told what to do.

Run as ``fakes.py ROOT PROGRAM ARGUMENTS...``. ROOT/fake/plan.json lists what each successive bhyve does:
``{"exit": 0, "after": 0.1, "stderr": "..."}`` ends by itself, anything else waits. ``"deaf"`` ignores the
power button, ``"raw"`` dies of it (no ACPI), ``"stuck"`` also ignores bhyvectl.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import tty

ROOT = sys.argv[1]


def pid_file(name: str) -> str:
    return f"{ROOT}/fake/pids/{name}"


def running() -> dict[str, int]:
    found = {}
    for name in os.listdir(f"{ROOT}/fake/pids"):
        with open(pid_file(name)) as file:
            pid = int(file.read())
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] != "Z":
                    found[name] = pid
        except FileNotFoundError:
            pass
    return found


def ps() -> int:
    shared = {"percent-cpu": "1.0", "rss": "1", "elapsed-times": "1"}
    rows = [
        {"pid": str(pid), "command": f"bhyve: {name} (bhyve)", **shared} for name, pid in running().items()
    ]
    sys.stdout.write(json.dumps({"process-information": {"process": rows}}))
    return 0


def bhyvectl(argv: list[str]) -> int:
    name = argv[0].removeprefix("--vm=")
    node = f"{ROOT}/dev/vmm/{name}"
    if not os.path.exists(node):
        sys.stdout.write(f"VM:{name} is not created.\n")
        return 1
    if "--destroy" in argv:
        os.unlink(node)
        return 0
    number = signal.SIGUSR1 if "--force-poweroff" in argv else signal.SIGUSR2
    if name in running():
        os.kill(running()[name], number)
    return 0


def bhyve(argv: list[str]) -> int:
    name = argv[-1]
    with open(f"{ROOT}/fake/starts", "a") as file:
        file.write(json.dumps(argv) + "\n")
    with open(f"{ROOT}/fake/starts") as file:
        number = len(file.readlines())
    with open(f"{ROOT}/fake/plan.json") as file:
        plan = json.load(file)
    todo = plan[min(number, len(plan)) - 1] if plan else {}
    ended: list[int] = []

    def end(code: int) -> None:
        ended.append(code)

    signal.signal(signal.SIGUSR1, lambda *_: None if todo.get("stuck") else end(1))
    signal.signal(signal.SIGUSR2, lambda *_: end(0))
    if todo.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif not todo.get("raw"):
        signal.signal(signal.SIGTERM, lambda *_: end(1))
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    os.makedirs(f"{ROOT}/dev/vmm", exist_ok=True)
    open(f"{ROOT}/dev/vmm/{name}", "w").close()
    if "-k" in argv:
        with open(ROOT + argv[argv.index("-k") + 1]) as file, open(f"{ROOT}/fake/secret", "w") as copy:
            copy.write(file.read())
    line, link = serial(argv)
    if todo.get("stderr"):
        sys.stderr.write(todo["stderr"])
        sys.stderr.flush()
    if "init" not in todo:
        with open(pid_file(name) + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.replace(pid_file(name) + ".new", pid_file(name))
    deadline = time.monotonic() + todo["after"] if "exit" in todo else None
    while not ended:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([wake, *([line] if line >= 0 else [])], [], [], left)
        if wake in ready:
            os.read(wake, 64)
        if line in ready:
            ended += type_in(line)
        if deadline and time.monotonic() >= deadline:
            end(todo["exit"])
    if link:
        os.unlink(link)
    if ended[0] == 1 and "-D" in argv:
        os.unlink(f"{ROOT}/dev/vmm/{name}")
    return ended[0]


def serial(argv: list[str]) -> tuple[int, str]:
    """A guest that says "ready" and echoes; Ctrl-P powers off, Ctrl-R reboots, Ctrl-F floods."""
    device = next((word.partition(",")[2] for word in argv if word.startswith("com1,/dev/")), "")
    if not device:
        return -1, ""
    master, slave = os.openpty()
    tty.setraw(slave)
    link = f"{ROOT}{device[:-1]}B"
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(os.ttyname(slave), link)
    os.write(master, b"ready\r\n")
    return master, link


def type_in(line: int) -> list[int]:
    typed = os.read(line, 4096)
    for key, code in ((b"\x10", 1), (b"\x12", 0)):
        if key in typed:
            return [code]
    if b"\x06" in typed:
        for number in range(20000):
            os.write(line, b"%063d\n" % number)
    os.write(line, typed)
    return []


if __name__ == "__main__":
    program, arguments = sys.argv[2], sys.argv[3:]
    if program == "ps":
        sys.exit(ps())
    sys.exit(bhyvectl(arguments) if program == "bhyvectl" else bhyve(arguments))
