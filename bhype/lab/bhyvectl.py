"""bhyvectl(8) of FreeBSD 14: ``bhyvectl --vm=NAME [--cpu=N] ACTION...`` (``freebsd/bhyve.md`` 9).

What fails is told on standard output, as the real one does: ``VM:NAME is not created.`` (status 1) and
``errno = N`` (status 255). The options that read or write single registers are not in the lab.
"""

from __future__ import annotations

import json
import os
import socket

from bhype.lab import bhyve_host, bhyve_state, core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.core import State

_FLAGS = (
    "create", "destroy", "force-reset", "force-poweroff", "inject-nmi", "get-stats", "get-all", "getcap",
    "get-active-cpus", "get-suspended-cpus", "get-cpu-topology", "get-lowmem", "get-highmem",
)  # fmt: skip
_VALUES = ("vm", "cpu", "capname", "set-mem", "unassign-pptdev")

USAGE = "Usage: bhyvectl --vm=<vmname>\n       [--cpu=<vcpu_number>]\n" + "".join(
    f"       [--{option}]\n"
    for option in (
        *_FLAGS[:2], "get-all", "get-stats", "capname=<capname>", "getcap", "unassign-pptdev=<bus/slot/func>",
        "set-mem=<memory in units of MB>", "get-lowmem", "get-highmem", "inject-nmi", "force-reset",
        "force-poweroff", "get-active-cpus", "get-suspended-cpus", "get-cpu-topology",
    )
)  # fmt: skip

_EINVAL, _EEXIST, _ENOENT, _ENAMETOOLONG_AS_EINVAL = 22, 17, 2, 22
_PAGE = 4096
_HZ = os.sysconf("SC_CLK_TCK")


class _Errno(Exception):
    """A call into the kernel failed."""


def main(argv: list[str]) -> int:
    core.fault(" ".join(["bhyvectl", *argv]))
    asked = _parse(argv)
    name = asked.get("vm")
    if name is None:
        core.fail(USAGE, 1)
    try:
        if "create" in asked:
            _create(name)
        if not bhyve_state.exists(name) or not bhyve_host.is_loaded("vmm"):
            print(f"VM:{name} is not created.")
            return 1
        _act(name, asked)
        code = 0
    except _Errno as error:
        print(f"errno = {error}")
        code = 255
        if "create" in asked:
            return code
    if "destroy" in asked:
        _destroy(name)
    return code


def _parse(argv: list[str]) -> dict[str, str]:
    """getopt_long(3): ``--name``, ``--name=value``, ``--name value``, unambiguous prefixes; no short options."""
    asked: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            continue  # operands are not looked at, and options may follow them
        if not word.startswith("--"):
            _usage(f"illegal option -- {word[1]}")
        given, equals, value = word[2:].partition("=")
        names = [name for name in (*_FLAGS, *_VALUES) if name.startswith(given)]
        names = [given] if given in names else names
        if not given or not names:
            _usage(f"unrecognized option `{word}'")
        if len(names) > 1:
            _usage(f"option `--{given}' is ambiguous")
        name = names[0]
        if name in _FLAGS and equals:
            _usage(f"option `--{name}' doesn't allow an argument")
        if name in _VALUES and not equals:
            if not rest:
                _usage(f"option `--{name}' requires an argument")
            value = rest.pop(0)
        asked[name] = value
    return asked


def _usage(problem: str) -> None:
    core.warn(f"bhyvectl: {problem}")
    core.fail(USAGE, 1)


def _create(name: str) -> None:
    if not bhyve_host.is_loaded("vmm"):
        raise _Errno(_ENOENT)
    if not 0 < len(name.encode()) <= 229 or "/" in name:
        raise _Errno(_EINVAL)
    try:
        bhyve_state.create(name)
    except FileExistsError:
        raise _Errno(_EEXIST) from None


def _act(name: str, asked: dict[str, str]) -> None:
    entry = bhyve_state.running().get(name)
    sockets, cores, threads = entry["cpus"] if entry else (1, 1, 1)
    cpus = sockets * cores * threads
    cpu = int(asked["cpu"]) if asked.get("cpu", "0").isdigit() and "cpu" in asked else 0
    if cpu >= cpus:
        raise _Errno(_EINVAL)
    everything = "get-all" in asked
    if "unassign-pptdev" in asked:
        _unassign(name, asked["unassign-pptdev"])
    if "inject-nmi" in asked:
        _request(entry, "nmi")
    if everything or "get-lowmem" in asked or "get-highmem" in asked:
        _memory(entry)
    if everything or "getcap" in asked:
        for capability in ("hlt_exit", "mtrap_exit", "pause_exit", "unrestricted_guest", "enable_invpcid"):
            if asked.get("capname", capability) == capability:
                value = int(capability in ("hlt_exit", "unrestricted_guest"))
                print(f'Capability "{capability}" is {"" if value else "not "}set on vcpu {cpu}')
    if everything or "get-active-cpus" in asked:
        print("active cpus:\t " + (", ".join(map(str, range(cpus))) if entry else "(none)"))
    if everything or "get-suspended-cpus" in asked:
        print("suspended cpus:\t (none)")
    if everything or "get-cpu-topology" in asked:
        limit = bhyve_host.cpus()
        print(f"cpu_topology:\tsockets={sockets}, cores={cores}, threads={threads}, maxcpus={limit}")
    if everything or "get-stats" in asked:
        print(f"vcpu{cpu} stats:")
        for text, number in _stats(entry, cpu).items():
            print(f"{text:<40}\t{number}")
    if "force-reset" in asked:
        _request(entry, "reset")
    elif "force-poweroff" in asked:
        _request(entry, "poweroff")


def _unassign(name: str, text: str) -> None:
    from bhype.lab import pci

    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        _usage(f"invalid device '{text}'")
    if not pci.release(name, (int(parts[0]), int(parts[1]), int(parts[2]))):
        raise _Errno(_ENOENT)


def _memory(entry: State | None) -> None:
    size = entry["memory"] if entry else 0
    human = f"{size / (1 << 30):.1f}GB" if size >= 1 << 30 else f"{size >> 20}MB"
    print("Address     Length      Segment     Offset      Prot  Flags")
    if size:
        print(f"{0:<12X}{human:<12}{'sysmem':<12}{0:<12X}{'RWX':<6}")
    print("ID  Length      Name")
    if size:
        print(f"{0:<4}{human:<12}sysmem")


def _stats(entry: State | None, cpu: int) -> dict[str, int]:
    """vmm(4)'s counters in the order of their registration, from what Linux counts about QEMU."""
    status: dict[str, int] = {}
    ticks = 0
    if entry:
        try:
            with open(f"/proc/{entry['qemu_pid']}/status") as file:
                pairs = (line.split(":", 1) for line in file if ":" in line)
                status = {
                    key: int(rest.split()[0])
                    for key, rest in pairs
                    if rest.split()[:1] and rest.split()[0].isdigit()
                }
        except OSError:
            pass  # the guest ended just now
        fields = bhyve_state.stat(entry["qemu_pid"])
        ticks = int(fields[11]) + int(fields[12]) if fields else 0
    waits = status.get("voluntary_ctxt_switches", 0)
    forced = status.get("nonvoluntary_ctxt_switches", 0)
    return {
        "vcpu migration across host cpus": forced // 8,
        "total number of vm exits": waits + forced + ticks * 40,
        "vm exits due to external interrupt": forced,
        "number of times hlt was intercepted": waits,
        "number of times %cr access was intercepted": 0,
        "number of times rdmsr was intercepted": 0,
        "number of times wrmsr was intercepted": 0,
        "number of monitor trap exits": 0,
        "number of times pause was intercepted": 0,
        "vm exits due to interrupt window opening": 0,
        "vm exits due to nmi window opening": 0,
        "number of times in/out was intercepted": ticks * 10,
        "number of times cpuid was intercepted": 0,
        "vm exits due to nested page fault": ticks * 10,
        "vm exits for instruction emulation": ticks * 20,
        "number of vm exits for unknown reason": 0,
        "number of times astpending at exit": 0,
        "number of times idle requested at exit": 0,
        "number of vm exits handled in userspace": ticks * 30,
        "number of times rendezvous pending at exit": 0,
        "number of vm exits due to exceptions": 0,
        "Number of vpid invalidations saved": 0,
        "Number of vpid invalidations done": 0,
        "vcpu total runtime": ticks * 1_000_000_000 // _HZ,
        "Resident memory": status.get("VmRSS", 0) * 1024 // _PAGE * _PAGE if cpu == 0 else 0,
        "Wired memory": 0,
    }


def _destroy(name: str) -> None:
    entry = bhyve_state.running().get(name)
    bhyve_state.destroy(name)
    _request(entry, "destroy")


def _request(entry: State | None, verb: str) -> None:
    """Tell the bhyve of a VM; nothing to do when none runs or when it just ended."""
    if entry is None:
        return
    try:
        os.chdir(entry["folder"])  # a unix socket's path is short
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect("control")
            connection.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            connection.recv(4096)
    except OSError:
        pass
