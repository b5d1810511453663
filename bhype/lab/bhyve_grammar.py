"""The command line of bhyve(8), FreeBSD 14: from argv to a `Config`, with bhyve's own refusals.

Source of the grammar, texts and statuses: ``freebsd/bhyve.md`` 2, 5, 6 (from usr.sbin/bhyve/bhyverun.c and
amd64/pci_lpc.c), and qemu_fwcfg.c of the same folder for -f. What follows -s is in `bhyve_slots`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from bhype.lab import bhyve_slots, core
from bhype.lab.bhyve_config import Config, put, put_options

_LETTERS = "aehuwxACDHIPSWYk:f:o:p:G:c:s:m:l:K:U:"

USAGE = """\
Usage: bhyve [-AaCDeHhPSuWwxY]
             [-c [[cpus=]numcpus][,sockets=n][,cores=n][,threads=n]]
             [-G port] [-k config_file] [-l lpc] [-m mem] [-o var=value]
             [-p vcpu:hostcpu] [-r file] [-s pci] [-U uuid] vmname
       -A: create ACPI tables
       -a: local apic is in xAPIC mode (deprecated)
       -C: include guest memory in core file
       -c: number of CPUs and/or topology specification
       -D: destroy on power-off
       -e: exit on unhandled I/O access
       -f: name,[string|file]=data: fw_cfg item
       -G: start a debug server
       -H: vmexit from the guest on HLT
       -h: help
       -k: key=value flat config file
       -K: PS2 keyboard layout
       -l: LPC device configuration
       -m: memory size
       -o: set config 'var' to 'value'
       -P: vmexit from the guest on pause
       -p: pin 'vcpu' to 'hostcpu'
       -S: guest memory cannot be swapped
       -s: <slot,driver,configinfo> PCI slot config
       -U: UUID
       -u: RTC keeps UTC time
       -W: force virtio to use single-vector MSI
       -w: ignore unimplemented MSRs
       -x: local APIC is in x2APIC mode
       -Y: disable MPtable generation
"""

EX_USAGE = 64
_FW_CFG_NAME = 56  # bytes with the final NUL (QEMU_FWCFG_MAX_NAME)


LPC_DEVICES = ("bootrom", "com1", "com2", "com3", "com4", "tpm", "pc-testdev")

_FLAGS = {
    "a": ("x86.x2apic", "false"),
    "A": ("acpi_tables", "true"),
    "C": ("memory.guest_in_core", "true"),
    "D": ("destroy_on_poweroff", "true"),
    "e": ("x86.strictio", "true"),
    "H": ("x86.vmexit_on_hlt", "true"),
    "P": ("x86.vmexit_on_pause", "true"),
    "S": ("memory.wired", "true"),
    "u": ("rtc.use_localtime", "false"),
    "w": ("x86.strictmsr", "false"),
    "W": ("virtio_msix", "false"),
    "x": ("x86.x2apic", "true"),
    "Y": ("x86.mptable", "false"),
}
_VALUES = {"K": "keyboard.layout", "m": "memory.size", "U": "uuid"}


def usage(code: int) -> None:
    core.fail(USAGE, code)


def parse(argv: list[str]) -> Config:
    """The configuration that ``argv`` (without the program) asks for; ``name`` is set in it.

    Ends the program where bhyve does: usage (1; 0 for ``-h``), EX_USAGE (64), a wrong slot or file (4), or
    after ``-s help``, ``-l help`` (0) and ``config.dump`` (1).
    """
    config = Config()
    config.set("acpi_tables", "false")
    config.set("acpi_tables_in_memory", "true")
    config.set("memory.size", "256M")
    config.set("x86.strictmsr", "true")
    config.set("lpc.fwcfg", "bhyve")
    operands = []
    try:
        for letter, argument in _options(argv):
            if letter:
                _option(config, letter, argument)
            else:
                operands.append(argument)
    except core.BadOption as error:
        problem = "option requires an argument" if error.missing else "illegal option"
        core.warn(f"bhyve: {problem} -- {error.letter}")
        usage(1)
    if len(operands) > 1:
        usage(1)
    if operands:
        config.set("name", operands[0])
    if config.get("name") is None:
        usage(1)
    if config.flag("config.dump"):
        print("\n".join(config.dump()), flush=True)
        raise core.Exit(1)
    return config


def _options(argv: list[str]) -> Iterator[tuple[str, str]]:
    """getopt(3) step by step: an option acts before a later one is found wrong. An operand's letter is ""."""
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        for at, letter in enumerate(word[1:], 2):
            place = _LETTERS.find(letter)
            if place < 0 or letter == ":":
                raise core.BadOption(letter, missing=False)
            if not _LETTERS.startswith(":", place + 1):
                yield letter, ""
                continue
            if at == len(word) and not rest:
                raise core.BadOption(letter, missing=True)
            yield letter, word[at:] or rest.pop(0)
            break
    for operand in rest:
        yield "", operand


def _option(config: Config, letter: str, argument: str) -> None:
    if letter in _FLAGS:
        config.set(*_FLAGS[letter])
    elif letter in _VALUES:
        config.set(_VALUES[letter], argument)
    elif letter == "c":
        _topology(config, argument)
    elif letter == "f":
        if not _firmware_item(config, argument):
            core.fail(f"bhyve: invalid fwcfg item '{argument}'", EX_USAGE)
    elif letter == "G":
        _debugger(config, argument)
    elif letter == "h":
        usage(0)
    elif letter == "k":
        _file(config, argument)
    elif letter == "l":
        if "help".startswith(argument):
            print("\n".join(LPC_DEVICES), flush=True)
            raise core.Exit(0)
        if not _lpc(config, argument):
            core.fail(f"bhyve: invalid lpc device configuration '{argument}'", EX_USAGE)
    elif letter == "o":
        if not _assign(config, argument):
            core.fail(f"bhyve: invalid configuration option '{argument}'", EX_USAGE)
    elif letter == "p":
        if not _pin(config, argument):
            core.fail(f"bhyve: invalid vcpu pinning configuration '{argument}'", EX_USAGE)
    elif letter == "s":
        # strncmp(argument, "help", strlen(argument)): a prefix of "help" counts, the empty one too.
        if "help".startswith(argument):
            print("\n".join(bhyve_slots.MODELS), flush=True)
            raise core.Exit(0)
        bhyve_slots.add(config, argument)


def _topology(config: Config, argument: str) -> None:
    if not argument:
        for name in ("sockets", "cores", "threads", "cpus"):
            config.set(name, "1")
        return
    for token in argument.split(","):
        name, equals, value = token.partition("=")
        if not equals:
            config.set("cpus", token)
        elif name in ("cpus", "sockets", "cores", "threads"):
            config.set(name, value)
        else:
            core.fail(f"bhyve: invalid cpu topology '{argument}'", EX_USAGE)


def _firmware_item(config: Config, argument: str) -> bool:
    """``[name=]NAME,(string|file)=DATA``; a file is read at once. A string is given with its final NUL."""
    name, comma, content = argument.removeprefix("name=").partition(",")
    kind, equals, data = content.partition("=")
    if comma and len(name.encode()) >= _FW_CFG_NAME:
        core.warn(f'bhyve: fw_cfg name too long: "{argument}"')
        return False
    if not comma or not equals or kind not in ("string", "file"):
        core.warn(f'bhyve: Invalid fw_cfg option "{argument}"')
        core.warn("bhyve: -f [name=]<name>,(string|file)=<value>")
        return False
    if kind == "string":
        config.items.append((name, os.fsencode(data) + b"\0"))
        return True
    try:
        with open(core.root(data) if data.startswith("/") else data, "rb") as file:
            config.items.append((name, file.read()))
    except OSError as error:
        core.warn(f'bhyve: Can\'t open fw_cfg_user_file file "{data}": {error.strerror}')
        return False
    return True


def _debugger(config: Config, argument: str) -> None:
    if argument.startswith("w"):
        config.set("gdb.wait", "true")
        argument = argument[1:]
    address, colon, port = argument.rpartition(":")
    if colon:
        config.set("gdb.address", address)
    config.set("gdb.port", port)


def _file(config: Config, path: str) -> None:
    real = core.root(path) if path.startswith("/") else path
    try:
        with open(real) as file:
            lines = file.read().split("\n")
    except OSError as error:
        core.fail(f"bhyve: Failed to open configuration file {path}: {error.strerror}", 4)
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        if line and not line.startswith("#") and not _assign(config, line):
            core.fail(f"bhyve: {path} line {number}: invalid config option '{line}'", 4)


def _assign(config: Config, text: str) -> bool:
    name, _, value = text.partition("=")
    # A leading blank is part of no name that bhyve knows; the manual counts it as an error.
    if not value or name != name.lstrip():
        return False
    config.set(name, value)
    return True


def _pin(config: Config, argument: str) -> bool:
    match = re.match(r"\s*([+-]?\d+):\s*([+-]?\d+)", argument)
    if not match:
        core.warn(f"invalid format: {argument}")
        return False
    vcpu, cpu = int(match[1]), int(match[2])
    if vcpu < 0:
        core.warn(f"invalid vcpu '{vcpu}'")
        return False
    if not 0 <= cpu < 1024:
        core.warn(f"hostcpu '{cpu}' outside valid range from 0 to 1023")
        return False
    path = f"vcpu.{vcpu}.cpuset"
    before = config.get(path)
    config.set(path, f"{before},{cpu}" if before else str(cpu))
    return True


def _lpc(config: Config, argument: str) -> bool:
    name, comma, rest = argument.partition(",")
    name = name.lower()
    if name == "bootrom":
        if not comma:
            core.fail(f'bhyve: invalid bootrom option "{argument}"', 4)
        rom, _, rest = rest.partition(",")
        config.set("lpc.bootrom", rom)
        variables, comma, more = rest.partition(",")
        if variables and "=" not in variables:
            config.set("lpc.bootvars", variables)
            rest = more if comma else ""
        if rest:
            put_options(config.create("lpc"), rest)
        return True
    if name == "tpm":
        kind, comma, rest = rest.partition(",")
        if not kind:
            core.fail(f'bhyve: invalid tpm type "{argument}"', 4)
        path, _, more = rest.partition(",")
        if not comma:
            core.fail(f'bhyve: invalid tpm path "{argument}"', 4)
        node = config.create("tpm")
        put(node, "type", kind)
        put(node, "path", path)
        put_options(node, more or None)
        node.setdefault("version", "2.0")
        return True
    if name in ("com1", "com2", "com3", "com4") and comma:
        config.set(f"lpc.{name}.path", rest)
        return True
    if name == "pc-testdev":
        config.set("lpc.pc-testdev", "true")
        return True
    return False
