"""Two bhyve command lines as the lab's bhyve understands them: its parser was written from bhyve's own manual and
knows nothing of the code under test."""

from __future__ import annotations

import getopt
import re
import shlex

from bhype.freebsd.bhyve import command
from bhype.lab import bhyve_grammar
from bhype.vmrun.config import parse
from bhype.vmrun.machine import machine

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def variables(argv: list[str]) -> set[str]:
    """What bhyve would be configured to, as lines of config.dump without what does not matter here."""
    found = dict(line.split("=", 1) for line in bhyve_grammar.parse(argv).dump())
    found["memory.size"] = _bytes(found["memory.size"])
    shape = {key: int(found.get(key, "1")) for key in ("cores", "threads")}
    cpus = int(found.pop("cpus", "0")) or int(found.get("sockets", "1")) * shape["cores"] * shape["threads"]
    sockets = int(found.get("sockets", str(cpus)))
    found |= {key: str(number) for key, number in {**shape, "sockets": sockets}.items()}
    kinds = {key.removesuffix(".device"): kind for key, kind in found.items() if key.endswith(".device")}
    for key in list(found):
        node, _, name = key.rpartition(".")
        is_net = kinds.get(node) in {"virtio-net", "e1000"}
        # The supervisor names a backend's kind, and gives passwords in a file; "tcp" is the old word for "rfb".
        if (is_net and name == "type") or name == "password":
            del found[key]
        elif kinds.get(node) == "fbuf" and name == "tcp":
            found[f"{node}.rfb"] = found.pop(key)
    # What FreeBSD 15 needs with the old firmware, and the tools have not learnt.
    found.pop("pci.enable_bars", None)
    for name in ("lpc.fwcfg", "x86.mptable", "virtio_msix"):
        if found.get(name) in {"bhyve", "true"}:
            del found[name]
    return {f"{key}={value}" for key, value in found.items()}


def lines(text: str) -> list[list[str]]:
    """The commands of a file, one a line, as words."""
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def of_document(document: dict) -> list[str]:
    """The words that vmrun gives bhyve for a document, without the program."""
    return list(command(machine(parse(document))).argv)[1:]


_LONG = {"--root": "-r", "--directory": "-d", "--device-map": "-m", "--memory": "-M", "--cons-dev": "-c"}


def loading(argv: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """A loader's program and options, memory in bytes, without the place of GRUB's device map."""
    program = argv[0].rpartition("/")[2]
    short = "c:d:g:m:M:r:S" if program == "grub-bhyve" else "c:d:e:h:l:m:SC"
    names = [f"{name[2:]}=" for name in _LONG]
    found, _ = getopt.getopt(argv[1:], short, names if program == "grub-bhyve" else [])
    flags = [(_LONG.get(flag, flag), value) for flag, value in found]
    if program == "grub-bhyve":
        flags = [(flag, value) for flag, value in flags if flag != "-m"]
    memory = "-M" if program == "grub-bhyve" else "-m"
    return program, sorted((flag, _bytes(value) if flag == memory else value) for flag, value in flags)


def _bytes(text: str) -> str:
    match = re.fullmatch(r"([0-9]+)([kmg]?)b?", text.lower())
    return str(int(match[1]) * _UNITS[match[2] or "m"])
