"""The command line of bhyve(8), FreeBSD 14: from argv to a `Config`, with bhyve's own refusals.

Source of the grammar, texts and statuses: ``freebsd/bhyve.md`` 2, 3, 5, 6 (from usr.sbin/bhyve/bhyverun.c,
pci_emul.c and amd64/pci_lpc.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bhype.lab import core
from bhype.lab.bhyve_config import Config, Node, put, put_options

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

# Emulations by the name on the command line, and the model that the configuration calls them.
MODELS = {
    name: name
    for name in (
        "hostbridge", "passthru", "virtio-net", "virtio-blk", "virtio-scsi", "virtio-9p", "virtio-rnd",
        "virtio-console", "virtio-input", "ahci", "e1000", "uart", "lpc", "fbuf", "xhci", "nvme", "hda",
    )
} | {"amd_hostbridge": "hostbridge", "ahci-hd": "ahci", "ahci-cd": "ahci"}  # fmt: skip

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
        _firmware_item(config, argument)
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
            print("\n".join(MODELS), flush=True)
            raise core.Exit(0)
        _slot(config, argument)


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


def _firmware_item(config: Config, argument: str) -> None:
    name, comma, content = argument.partition(",")
    kind, equals, data = content.partition("=")
    if not (name and comma and equals and data) or kind not in ("string", "file"):
        core.fail(f"bhyve: invalid fwcfg item '{argument}'", EX_USAGE)
    # Names hold slashes and dots (opt/org.example/x), so they are no path of the tree.
    put(config.create(f"fwcfg.{kind}"), name.replace(".", "_"), data)


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


def _slot(config: Config, argument: str) -> None:
    place, comma, rest = argument.partition(",")
    emulation, more, conf = rest.partition(",")
    where = _place(place)
    if not comma or where is None:
        core.fail(f'Invalid PCI slot info field "{argument}"', 4)
    text = ":".join(map(str, where))
    if emulation not in MODELS:
        core.fail(f'pci slot {text}: unknown device "{emulation}"', 4)
    path = "pci." + text.replace(":", ".")
    if config.find(path) is not None:
        core.fail(f"pci slot {text} already occupied!", 4)
    node = config.create(path)
    put(node, "device", MODELS[emulation])
    _conf(node, emulation, conf if more else None)


def _place(text: str) -> tuple[int, int, int] | None:
    """``S``, ``S:F`` or ``B:S:F`` as sscanf(3) reads it: what follows a number is ignored."""
    number = r"\s*([+-]?\d+)"
    for pattern in (f"{number}:{number}:{number}", f"{number}:{number}", number):
        match = re.match(pattern, text)
        if match:
            parts = [int(part) for part in match.groups()]
            bus, slot, function = (
                parts if len(parts) == 3 else [0, *parts] if len(parts) == 2 else [0, parts[0], 0]
            )
            if 0 <= bus < 256 and 0 <= slot < 32 and 0 <= function < 8:
                return bus, slot, function
            return None
    return None


def _conf(node: Node, emulation: str, conf: str | None) -> None:
    """What stands after the emulation's name, in the form of that device."""
    if emulation == "amd_hostbridge":
        node["pcireg"] = {"vendor": "0x1022", "device": "0x7432"}
    if conf is None and emulation not in ("ahci-hd", "ahci-cd"):
        return
    conf = conf or ""
    first, _, rest = conf.partition(",")
    more = rest or None
    if emulation in ("ahci-hd", "ahci-cd"):
        port: Node = {"type": emulation.removeprefix("ahci-")}
        node["port"] = {"0": port}
        if conf:
            put(port, "path", first)
            put_options(port, more)
    elif emulation == "ahci":
        _ahci_ports(node, conf)
    elif emulation == "virtio-blk" or (emulation == "nvme" and not conf.startswith("ram=")):
        put(node, "path", first)
        put_options(node, more)
    elif emulation in ("virtio-net", "e1000"):
        put(node, "backend", first)
        if first in ("netgraph", "slirp"):
            put(node, "type", first)
        put_options(node, more)
    elif emulation == "virtio-9p":
        share, equals, path = first.partition("=")
        if not equals:
            core.fail(f"bhyve: Invalid path for 9P share: {first}", 4)
        put(node, "sharename", share)
        put(node, "path", path)
        put_options(node, more)
    elif emulation == "virtio-console":
        ports: Node = {}
        node["port"] = ports
        for number, port_conf in enumerate(conf.split(",")):
            name, _, path = port_conf.partition("=")
            ports[str(number)] = {"name": name, "path": path}
    elif emulation in ("virtio-input", "uart"):
        put(node, "path", first)
        put_options(node, more)
    elif emulation == "virtio-scsi" and "=" not in first:
        put(node, "dev", first)
        put_options(node, more)
    elif emulation == "passthru":
        put(node, "pptdev", first)
        put_options(node, more)
    elif emulation == "xhci":
        node["slot"] = {
            str(number): {"device": device} for number, device in enumerate(conf.split(","), 1) if device
        }
    else:
        put_options(node, conf)


def _ahci_ports(node: Node, conf: str) -> None:
    """``hd:PATH,option,cd:PATH,...``: an option belongs to the port before it."""
    ports: Node = {}
    node["port"] = ports
    port: Node | None = None
    for token in conf.split(","):
        kind, colon, path = token.partition(":")
        if colon and kind in ("hd", "cd"):
            port = {"type": kind}
            if path:
                port["path"] = path
            ports[str(len(ports))] = port
        elif port is None:
            core.fail(f'pci_ahci: invalid port configuration "{token}"', 4)
        else:
            put_options(port, token)
