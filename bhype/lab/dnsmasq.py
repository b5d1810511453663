"""dnsmasq(8): Debian's own, with the paths of the lab's FreeBSD taken below its root.

With wires on (see `wires`) it serves in the lab's namespace; without, nobody could hear it: then a process that does
nothing stands for it, and only what it would complain about at its start is looked at. Either ends with the lab.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time

from bhype.lab import bhyve_state, core, wires

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
# Seconds until it serves; IPv6 addresses are tentative for two.
PATIENCE = 15.0
_PATHS = re.compile(
    r"(conf-file|addn-hosts|resolv-file|dhcp-leasefile|dhcp-hostsfile|pid-file|log-facility)=(/.*)"
)
# What the lab's users are not, or have elsewhere; after the last line, so that the numbers of lines stay.
_MORE = "user=root\ngroup=root\n"


def main(argv: list[str]) -> int:
    core.fault(" ".join(["dnsmasq", *argv]))
    program = shutil.which("dnsmasq", path=PATH)
    if program is None:
        core.fail("dnsmasq: not installed on this machine", 127)
    config = next((word.partition("=")[2] for word in argv if word.startswith("--conf-file=")), "")
    words = [_below_root(word) for word in argv if not word.startswith("--conf-file=")]
    copy = _copy(config) if config else ""
    if config:
        words.append("--conf-file=" + (copy or core.root(config)))
    if "--test" in argv:
        code, said = _run([program, *words])
    else:
        code, said = _serve(argv, [program, *words], copy)
    if copy:  # SIGHUP does not make dnsmasq read it again
        os.unlink(copy)
    sys.stderr.write(said.replace(copy or core.root(config), config) if config else said)
    return code


def _below_root(word: str) -> str:
    """An option with its path, or a line of a configuration."""
    dashes, rest = word[: len(word) - len(word.lstrip("-"))], word.lstrip("-")
    match = _PATHS.fullmatch(rest)
    return f"{dashes}{match[1]}={core.root(match[2])}" if match else word


def _copy(config: str) -> str:
    """The configuration as this machine's dnsmasq takes it; "" when there is none."""
    folder = f"{core.folder()}/state/dnsmasq"
    os.makedirs(folder, exist_ok=True)
    try:
        with open(core.root(config)) as file:
            text = file.read()
    except OSError:
        return ""
    name = os.path.basename(config)
    more = _MORE + f"log-facility={folder}/{name}.log\n"
    path = f"{folder}/{name}.{os.getpid()}"
    core.replace(path, "\n".join(_below_root(line) for line in text.split("\n")) + more)
    return path


def _run(argv: list[str]) -> tuple[int, str]:
    import subprocess

    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.returncode, done.stderr


def _serve(argv: list[str], words: list[str], copy: str) -> tuple[int, str]:
    """Start it in a session of its own; (status, what it said) once it serves, or has ended."""
    pid_file = next((word.partition("=")[2] for word in words if word.startswith("--pid-file=")), "")
    heard = f"{core.folder()}/state/dnsmasq/said.{os.getpid()}"
    is_wired = wires.namespace() is not None
    if not is_wired:
        code, said = _run([words[0], "--test", *words[1:]])
        said = "" if not code else said
        if not code:
            code, said = _complaint(copy)
        if code:
            return code, said
    child = os.fork()
    if not child:
        _become(argv, words, heard, pid_file, is_wired=is_wired)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            with open(heard) as file:
                said = file.read()
            os.unlink(heard)
            return os.waitstatus_to_exitcode(status) or 5, said
        if _is_in(pid_file, child):
            os.unlink(heard)
            return 0, ""
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return 5, "dnsmasq: did not come up\n"


def _is_in(pid_file: str, pid: int) -> bool:
    try:
        with open(pid_file) as file:
            return file.read().strip() == str(pid)
    except OSError:
        return False


def _complaint(copy: str) -> tuple[int, str]:
    """What dnsmasq(8) would not start for: an interface that is not there, or an address that another one has."""
    interfaces = core.peek("ifconfig").get("interfaces", {})
    wanted = _interfaces(copy)
    for name in wanted:
        if name not in interfaces:
            return 2, f"dnsmasq: unknown interface {name}\n"
    for entry in bhyve_state.registered().values():
        file = next((word.partition("=")[2] for word in entry["argv"] if word.startswith("--conf-file=")), "")
        if entry["argv"][0].endswith("/dnsmasq") and set(wanted) & set(_interfaces(core.root(file))):
            address = interfaces[wanted[0]]["inet"][0].partition("/")[0]
            return 2, f"dnsmasq: failed to create listening socket for {address}: Address already in use\n"
    return 0, ""


def _interfaces(path: str) -> list[str]:
    try:
        with open(path) as file:
            return re.findall(r"^interface=(\S+)$", file.read(), re.MULTILINE)
    except OSError:
        return []


def _become(argv: list[str], words: list[str], heard: str, pid_file: str, *, is_wired: bool) -> NoReturn:
    """The child: dnsmasq itself in the lab's namespace, or what stands for it."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    said = os.open(heard, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for target, source in ((0, null), (1, null), (2, said)):
        os.dup2(source, target)
    os.chdir("/")
    try:
        bhyve_state.register(["/usr/local/sbin/dnsmasq", *argv])
        if is_wired:
            command = wires.inside([words[0], "--keep-in-foreground", *words[1:]])
            os.execv(command[0], command)
        idle = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dnsmasq_idle.py")
        os.execv(sys.executable, [sys.executable, "-S", "-I", idle, core.folder(), pid_file])
    except (OSError, wires.Unwired) as error:
        os.write(2, f"dnsmasq: {error}\n".encode())
    os._exit(5)
