"""grub-bhyve(8): reads a grub.cfg, puts its kernel into the VM, and bhyve then starts it.

Source: grub2-bhyve's grub-core/kern/emu/main.c (options, texts) and GRUB's manual (the language). The file is
DIR/grub.cfg of the root device: a disk or CD of the device map, read with Debian's grub-fstest, or "host". Without
one, commands are read from standard input, as its prompt would. Of the language these are done: set, variables, if
with [ and its -e, -f, -d, -n, -z and equality, menuentry and submenu (the default one, by number or title), search,
linux, initrd, configfile, source and boot; others say nothing and do nothing. ``chainloader`` boots the root disk by
its own boot sector.
"""

from __future__ import annotations

import os
import re
import sys

from bhype.lab import bhyve_state, bhyveload, core, grub_disk, grub_kernel, grub_script
from bhype.lab.bhyve_machine import parse_size, real

USAGE = "Usage: grub-bhyve [OPTION...] vmname"
_LONG = {
    "root": "r", "device-map": "m", "directory": "d", "verbose": "v", "cons-dev": "c", "evga": "e", "grub-cfg": "g",
    "ncons": "n", "memory": "M", "help": "?",
}  # fmt: skip
_LETTERS = "r:m:d:vc:eg:nM:SH"


def main(argv: list[str]) -> int:
    core.fault(" ".join(["grub-bhyve", *argv]))
    options, words = _options(argv)
    given = dict(options)
    if "?" in given:
        print(USAGE)
        return 0
    size = given.get("M", "256")
    memory = parse_size(size)
    if memory is None:
        core.fail(f"Invalid guest memory size `{size}'.\nError in parsing command line arguments", 1)
    if not words:
        core.fail("Required VM name parameter not supplied\nTry `grub-bhyve --help' for more information.", 1)
    name = words[-1]
    bhyve_state.register(["/usr/local/sbin/grub-bhyve", *argv])
    _enter(name, memory)
    devices = grub_disk.device_map(real(given.get("m", "/boot/grub/device.map")))
    root = given.get("r", "host")
    places = grub_disk.Places(devices, root)
    script = grub_script.Script(places, root, insert_console="n" not in given)
    path = f"{given.get('d', '/boot/grub')}/{given.get('g', 'grub.cfg')}"
    try:
        text = places.read(path).decode(errors="replace")
    except grub_disk.Unreadable:
        # At the prompt: what is piped in, or somebody at the terminal.
        text = "" if sys.stdin.isatty() else sys.stdin.read()
    script.run(text)
    # Its -c is a device: without it the terminal is used, with another name there is none (console.c).
    if "c" not in given or bhyveload.is_console(given["c"]):
        for line in script.said:
            print(line)
    return _load(name, memory, script, devices, root)


def _options(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """argp(3): long options, too, and options after operands."""
    short: list[str] = []
    operands: list[str] = []
    for word in argv:
        match = re.fullmatch(r"--([a-z-]+)(?:=(.*))?", word)
        if not match:
            short.append(word)
            continue
        known = [name for name in _LONG if name.startswith(match[1])]
        if len(known) != 1 and match[1] not in _LONG:
            core.fail(
                f"grub-bhyve: unrecognized option '{word}'\nTry `grub-bhyve --help' for more information.", 64
            )
        short += [
            "-" + _LONG[match[1] if match[1] in _LONG else known[0]],
            *([match[2]] if match[2] is not None else []),
        ]
    options: list[tuple[str, str]] = []
    rest = short
    while rest:
        try:
            found, rest = core.getopt(rest, _LETTERS + "?")
        except core.BadOption as error:
            problem = "option requires an argument" if error.missing else "invalid option"
            core.fail(
                f"grub-bhyve: {problem} -- '{error.letter}'\nTry `grub-bhyve --help' for more information.",
                64,
            )
        options += found
        operands += rest[:1]
        rest = rest[1:]
    return options, operands


def _enter(name: str, memory: int) -> None:
    try:
        bhyveload.create(name, memory)
    except SystemExit:
        core.fail("Error in initializing VM", 1)


def _load(name: str, memory: int, script: grub_script.Script, devices: dict[str, str], root: str) -> int:
    folder = bhyve_state.loaded_folder(name)
    if script.kernel is not None:
        os.makedirs(folder, exist_ok=True)
        paths: dict[str, str | None] = {}
        kernel = grub_kernel.placed(script.kernel, memory)
        for kind, content in (("kernel", kernel), ("initrd", script.initrd)):
            paths[kind] = f"{folder}/{kind}" if content is not None else None
            if content is not None:
                with open(f"{folder}/{kind}", "wb") as file:
                    file.write(content)
        bhyve_state.load(name, memory=memory, disk=None, append=script.append, **paths)
        return 0
    disk = devices.get(root.partition(",")[0]) or devices.get("hd0")
    if script.booted and disk:
        bhyve_state.load(name, memory=memory, disk=disk, kernel=None, initrd=None, append="")
    return 0
