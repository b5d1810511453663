"""Programs that stand in for bhyve(8) and those around it below a lab's root: quick, and told what to do.

Run as ``fakes.py ROOT PROGRAM ARGUMENTS...``. ROOT/fake/plan.json lists what each successive bhyve does:
``{"exit": 0, "after": 0.1, "stderr": "..."}`` ends by itself, so long after its supervisor has said that it runs
(with ``"init"``, after its own start: it never does), anything else waits. ``"deaf"`` ignores the
power button, ``"raw"`` dies of it (no ACPI), ``"stuck"`` also ignores bhyvectl.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import tty

ROOT = sys.argv[1]


def note(program: str, argv: list[str]) -> None:
    """Tell the test what was called, in order."""
    with open(f"{ROOT}/fake/calls", "a") as file:
        file.write(json.dumps([program, *argv]) + "\n")


def setting(name: str) -> dict:
    """What the test has told this program to do."""
    try:
        with open(f"{ROOT}/fake/{name}.json") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def register(name: str, command: str) -> None:
    """Be seen by ps(1)."""
    path = f"{ROOT}/fake/pids/{name}"
    with open(path + ".new", "w") as file:
        file.write(f"{os.getpid()} {command}")
    os.replace(path + ".new", path)


def running() -> dict[str, tuple[int, str]]:
    found = {}
    for name in os.listdir(f"{ROOT}/fake/pids"):
        if name.endswith(".new"):
            continue
        with open(f"{ROOT}/fake/pids/{name}") as file:
            pid, _, command = file.read().partition(" ")
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] != "Z":
                    found[name] = int(pid), command
        except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or read
            pass
    return found


def ps() -> int:
    shared = {"percent-cpu": "1.0", "rss": "1", "elapsed-times": "1"}
    rows = [{"pid": str(pid), "command": command, **shared} for pid, command in running().values()]
    sys.stdout.write(json.dumps({"process-information": {"process": rows}}))
    return 0


def load(program: str, argv: list[str]) -> int:
    """bhyveload and grub-bhyve: {"exit": 1, "after": 0.5, "stderr": "..."}; they make the VM in the kernel."""
    todo = setting("loader")
    note(program, argv)
    register(program, f"/usr/sbin/{program} {' '.join(argv)}")
    sys.stdout.write("Consoles: userboot\n")
    sys.stdout.flush()
    sys.stderr.write(todo.get("stderr", ""))
    sys.stderr.flush()
    time.sleep(todo.get("after", 0.0))
    os.makedirs(f"{ROOT}/dev/vmm", exist_ok=True)
    open(f"{ROOT}/dev/vmm/{argv[-1]}", "w").close()
    return todo.get("exit", 0)


def swtpm(argv: list[str]) -> int:
    """One client; ends with it."""
    note("swtpm", argv)
    todo = setting("swtpm")
    if "exit" in todo:
        sys.stderr.write("swtpm: Could not open the state file\n")
        return todo["exit"]
    words = argv[argv.index("--server") + 1].split(",")
    path = ROOT + next(word.removeprefix("path=") for word in words if word.startswith("path="))
    register("swtpm", f"/usr/local/bin/swtpm {' '.join(argv)}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        client, _ = server.accept()
        with client:
            while client.recv(100):
                pass
    return 0


def sysctl(argv: list[str]) -> int:
    if argv == ["kern.racct.enable"]:
        sys.stdout.write(f"kern.racct.enable: {setting('racct').get('enable', 0)}\n")
        return 0
    return subprocess.run([f"{ROOT}/sbin/sysctl.lab", *argv], check=False).returncode


def ngctl(argv: list[str]) -> int:
    """Nodes and how they hang together: a tap, its pipe, and an interface for which another tap stands in."""
    note("ngctl", argv)
    if setting("ngctl").get("fails") == argv[0]:
        sys.stderr.write("ngctl: send msg: No such file or directory\n")
        return 1
    if setting("ngctl").get("slow") == argv[0]:
        time.sleep(1.0)
    state = setting("nodes")
    alias = {node["path"]: node["name"] for node in state.values()}
    if "pipe" in state and "eiface" in state:
        alias[f"{state['pipe']['path']}.upper"] = state["eiface"]["name"]

    def at(path: str) -> str:
        return alias.get(path, path.removesuffix(":"))

    def ifconfig(*words: str) -> None:
        # Killed between the two, it may be there already, or gone.
        subprocess.run([f"{ROOT}/sbin/ifconfig", *words], check=False, capture_output=True)

    def keep() -> None:
        with open(f"{ROOT}/fake/nodes.new", "w") as file:
            json.dump(state, file)
        os.replace(f"{ROOT}/fake/nodes.new", f"{ROOT}/fake/nodes.json")

    if argv[0] == "list":
        for node in state.values():
            sys.stdout.write(f"  Name: {node['name']}   Type: {node['type']}   ID: 00000002   Num hooks: 2\n")
    elif argv[0] == "mkpeer":
        name = "tap900" if argv[2] == "eiface" else "unnamed"
        state[argv[2]] = {"name": name, "type": argv[2], "path": f"{argv[1]}{argv[3]}"}
        keep()  # first, so that no interface is ever without its node
        if argv[2] == "eiface":
            ifconfig(name, "create")
    elif argv[0] == "name":
        kind = next(kind for kind, node in state.items() if node["name"] == at(argv[1]))
        state[kind]["name"] = argv[2]
    elif argv[0] == "show":
        sys.stdout.write(f"  Name: {at(argv[2])}   Type: eiface   ID: 00000003   Num hooks: 1\n")
    elif argv[0] == "shutdown":
        kind = next((kind for kind, node in state.items() if node["name"] == at(argv[1])), None)
        if kind is None:
            return 1
        if kind == "eiface":
            ifconfig(state[kind]["name"], "destroy")
        del state[kind]
    keep()
    return 0


def bhyvectl(argv: list[str]) -> int:
    name = argv[0].removeprefix("--vm=")
    node = f"{ROOT}/dev/vmm/{name}"
    if "--create" in argv:
        # "going": how often the kernel still has what was destroyed.
        note("bhyvectl", argv)
        with open(f"{ROOT}/fake/calls") as file:
            asked = file.read().count('"bhyvectl"')
        if os.path.exists(node) or asked <= setting("machine").get("going", 0):
            sys.stdout.write("errno = 17\n")
            return 255
        os.makedirs(os.path.dirname(node), exist_ok=True)
        open(node, "w").close()
        return 0
    if not os.path.exists(node):
        sys.stdout.write(f"VM:{name} is not created.\n")
        return 1
    if "--destroy" in argv:
        os.unlink(node)
        return 0
    number = signal.SIGUSR1 if "--force-poweroff" in argv else signal.SIGUSR2
    if name in running():
        os.kill(running()[name][0], number)
    return 0


def wait_for_supervisor(name: str) -> None:
    """Until it knows that this bhyve runs: on a busy machine that takes longer than some guests live."""
    patience = time.monotonic() + 60
    while time.monotonic() < patience:
        try:
            with open(f"{ROOT}/var/run/bhype/vms/{name}/state.json") as file:
                state = json.load(file)
        except (FileNotFoundError, json.JSONDecodeError):
            return
        if state["pid"] == os.getpid() and state["state"] != "starting":
            return
        time.sleep(0.02)


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
    chip = next((word.split(",")[2] for word in argv if word.startswith("tpm,swtpm,")), "")
    tpm = socket.socket(socket.AF_UNIX)
    if chip:
        tpm.connect(ROOT + chip)
    if todo.get("stderr"):
        sys.stderr.write(todo["stderr"])
        sys.stderr.flush()
    if "init" not in todo:
        register(name, f"bhyve: {name} (bhyve)")
    if "exit" in todo and "init" not in todo:
        wait_for_supervisor(name)
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


def main(program: str, argv: list[str]) -> int:
    match program:
        case "ps":
            return ps()
        case "bhyvectl":
            return bhyvectl(argv)
        case "bhyve":
            return bhyve(argv)
        case "bhyveload" | "grub-bhyve":
            return load(program, argv)
        case "swtpm":
            return swtpm(argv)
        case "sysctl":
            return sysctl(argv)
        case "ngctl":
            return ngctl(argv)
    note(program, argv)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[2], sys.argv[3:]))
