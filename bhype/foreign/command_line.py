"""bhyve(8)'s command line, as typed or in a script, and the files of its ``-k``.

Grammar: bhyve(8), bhyve_config(5), bhyveload(8), grub-bhyve(8). Nothing is evaluated: a script with variables is
refused with the line that has them.
"""

from __future__ import annotations

import getopt
import re
import shlex

from .imported import Draft, Imported, Unreadable
from .tree import DEFAULTS, Tree, fill

_FLAGS = {
    "A": ("acpi_tables", "true"),
    "C": ("memory.guest_in_core", "true"),
    "D": ("destroy_on_poweroff", "true"),
    "e": ("x86.strictio", "true"),
    "H": ("x86.vmexit_on_hlt", "true"),
    "P": ("x86.vmexit_on_pause", "true"),
    "S": ("memory.wired", "true"),
    "u": ("rtc.use_localtime", "false"),
    "W": ("virtio_msix", "false"),
    "w": ("x86.strictmsr", "false"),
    "x": ("x86.x2apic", "true"),
    "a": ("x86.x2apic", "false"),
    "Y": ("x86.mptable", "false"),
    "m": ("memory.size", ""),
    "U": ("uuid", ""),
}
_OPTIONS = "aehuwxACDHIMPSWYk:f:o:p:G:c:s:m:l:K:U:r:n:"
# Words that may stand before the command itself, and those of their options that have an argument.
_BEFORE = {
    "sudo": "u:g:", "doas": "u:", "env": "", "exec": "", "nohup": "", "time": "", "do": "", "then": "",
    "nice": "n:", "protect": "p:g:dic", "daemon": "p:P:t:u:o:s:l:T:m:R:fcrSH", "cpuset": "l:d:p:t:j:s:x:n:c",
    "idprio": "", "rtprio": "", "!": "", "#": "", "$": "",
}  # fmt: skip
_PUNCTUATION = re.compile(r"[;&|<>()]+")


def read(text: str, *, name: str = "", folder: str = "", dataset: str = "") -> Imported:
    """One VM from its command line: bhyve and, before it, bhyveload or grub-bhyve if it has no boot ROM.

    Raises Unreadable when there is no bhyve in it, or something that a shell would have to evaluate.
    """
    draft = Draft(name, folder, dataset)
    commands = [command for line in _lines(text) for command in _commands(draft, line)]
    machines, loaders = [], []
    for words in commands:
        program, rest = _program(draft, words)
        if program == "bhyve":
            machines.append(rest)
        elif program in {"bhyveload", "grub-bhyve"}:
            loaders.append((program, rest))
        else:
            draft.left_out(f"the command {' '.join(words)[:200]}")
    if not machines:
        raise Unreadable("There is no bhyve command in it.")
    if len(machines) > 1:
        draft.note(f"There are {len(machines)} bhyve commands in it; the first was read.")
    tree = Tree(dict(DEFAULTS))
    parse(draft, tree, machines[0], whole=True)
    fill(draft, tree)
    _hint(draft)
    if loaders:
        _load(draft, *loaders[-1])
    elif "bootrom" not in draft.document:
        draft.document["loader"] = {"type": "bhyveload"}
        draft.note("It has no boot ROM, and what loaded its guest is not told: bhyveload was assumed.")
    return draft.finish()


def read_file(text: str, *, name: str = "", folder: str = "", dataset: str = "") -> Imported:
    """A configuration file as ``-k`` takes it, or as ``-o config.dump=1`` prints it."""
    draft = Draft(name, folder, dataset)
    tree = Tree(dict(DEFAULTS))
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals or not value or not re.fullmatch(r"[A-Za-z0-9_.-]+", key):
            raise Unreadable(f"Line {number} is not a variable of bhyve: {line[:80]!r}.")
        tree.values.pop(key, None)
        tree.values[key] = value
    fill(draft, tree)
    _hint(draft)
    if "bootrom" not in draft.document:
        draft.document["loader"] = {"type": "bhyveload"}
        draft.note("It has no boot ROM, and what loaded its guest is not told: bhyveload was assumed.")
    return draft.finish()


def _hint(draft: Draft) -> None:
    draft.document.setdefault("cpu", 1)
    if not draft.document.get("generate_acpi"):
        draft.note("It has no ACPI tables (-A), so that its guest does not react to the power button.")


def options(draft: Draft, words: list[str]) -> None:
    """Further words of a bhyve command line, without the name of a VM, into ``draft``."""
    tree = Tree()
    parse(draft, tree, words, whole=False)
    fill(draft, tree)


def parse(draft: Draft, tree: Tree, words: list[str], *, whole: bool) -> None:
    """Set the variables of the tree as bhyve does for ``words``. whole: the name of the VM follows the options."""
    try:
        found, rest = getopt.getopt(words, _OPTIONS)
    except getopt.GetoptError as error:
        if whole:
            raise Unreadable(f"bhyve has no such option: {error}.") from error
        tree.extra += words
        return
    for flag, value in found:
        _option(draft, tree, flag[1], value)
    if whole and len(rest) == 1:
        tree.values["name"] = rest[0]
    elif whole and (rest or "name" not in tree.values):
        raise Unreadable(f"bhyve takes one VM's name after its options, not {' '.join(rest) or 'none'!r}.")
    elif not whole:
        tree.extra += rest


def _option(draft: Draft, tree: Tree, flag: str, value: str) -> None:
    values = tree.values
    if flag in _FLAGS:
        variable, constant = _FLAGS[flag]
        values[variable] = constant or value
    elif flag == "c":
        for part in value.split(",") if value else ["1"]:
            key, equals, number = part.partition("=")
            values[key if equals else "cpus"] = number if equals else part
    elif flag == "p":
        vcpu, _, cpu = value.partition(":")
        variable = f"vcpu.{vcpu}.cpuset"
        values[variable] = f"{values[variable]},{cpu}" if variable in values else cpu
    elif flag == "s":
        _device(draft, tree, value)
    elif flag == "l":
        _lpc(tree, value)
    elif flag == "G":
        host, _, port = value.removeprefix("w").rpartition(":")
        values["gdb.port"] = port
        if host:
            values["gdb.address"] = host
        if value.startswith("w"):
            values["gdb.wait"] = "true"
    elif flag == "K":
        values["keyboard.layout"] = value
    elif flag == "o":
        key, equals, text = value.partition("=")
        if not equals or not text:
            draft.problem("vm", f"options: -o {value} is not a variable with a value.")
        else:
            values.pop(key, None)
            values[key] = text
    elif flag == "f":
        tree.fw_cfg.append(_fw_cfg(value))
    elif flag == "k":
        mend = "Put the lines of the file into the command line as -o, or import the file itself."
        draft.problem("vm", f"options: the file {value} of -k is not at hand.", mend)
    elif flag in {"r", "n"}:
        tree.extra += [f"-{flag}", value]
    elif flag == "I":
        draft.left_out("-I, which bhyve ignores")
    else:
        draft.left_out(f"-{flag}")


def _fw_cfg(value: str) -> dict[str, str]:
    name, _, rest = value.partition(",")
    kind, _, text = rest.partition("=")
    return {"name": name.removeprefix("name="), "file" if kind == "file" else "string": text}


def _lpc(tree: Tree, value: str) -> None:
    device, *words = value.split(",")
    device = device.lower()
    if device == "bootrom" and words:
        tree.values["lpc.bootrom"] = words[0]
        for word in words[1:]:
            key, equals, text = word.partition("=")
            tree.values[f"lpc.{key}" if equals else "lpc.bootvars"] = text if equals else word
    elif re.fullmatch(r"com[1-4]", device) and words:
        tree.values[f"lpc.{device}.path"] = ",".join(words)
    elif device == "tpm" and len(words) > 1:
        tree.values |= {"tpm.type": words[0], "tpm.path": words[1]}
        for word in words[2:]:
            key, _, text = word.partition("=")
            tree.values[f"tpm.{key}"] = text
    else:
        tree.extra += ["-l", value]


# Devices of which the first words are not pairs: the variables that they set.
_LEADING = {
    "virtio-blk": "path", "nvme": "path", "ahci-hd": "port.0.path", "ahci-cd": "port.0.path",
    "virtio-net": "backend", "e1000": "backend", "virtio-input": "path", "virtio-scsi": "dev", "uart": "path",
}  # fmt: skip


def _device(draft: Draft, tree: Tree, value: str) -> None:
    """``-s slot,emulation,conf``, as each emulation reads its conf."""
    place, _, device = value.partition(",")
    match = re.fullmatch(
        r"(?:([0-9]{1,3}):)??([0-9]{1,2})(?::([0-9]{1,2}))?|([0-9]{1,3}):([0-9]+):([0-9]+)", place
    )
    if not match or not device:
        draft.problem("pci", f"{value!r} is not a device in a slot.")
        return
    parts = [int(part) for part in place.split(":")]
    bus, slot, function = parts if len(parts) == 3 else (0, *parts, 0)[:3]
    node = f"pci.{bus}.{slot}.{function}"
    kind, *words = device.split(",")
    if node in tree.words:
        draft.problem(f"{bus}:{slot}:{function} {kind}", "The slot is taken by another device.")
        return
    tree.words[node] = device
    for key, text in _variables(kind, words).items():
        tree.values[f"{node}.{key}"] = text


def _variables(kind: str, words: list[str]) -> dict[str, str]:
    found = {"device": "ahci" if kind.startswith("ahci") else kind}
    prefix = ""
    if kind in {"ahci-hd", "ahci-cd"}:
        prefix = "port.0."
        found["port.0.type"] = kind[-2:]
    if kind == "ahci":
        return found | _ports(words)
    if kind == "virtio-console":
        for number, word in enumerate(words):
            name, _, path = word.partition("=")
            found |= {f"port.{number}.name": name, f"port.{number}.path": path}
        return found
    if kind == "xhci":
        return found | {f"slot.{number}.device": word for number, word in enumerate(words, 1)}
    if kind == "virtio-9p" and words:
        found["sharename"], _, found["path"] = words.pop(0).partition("=")
    elif kind == "passthru" and words:
        place = re.split(r"[/:]", words.pop(0))
        found |= (
            dict(zip(("bus", "slot", "func"), place, strict=False))
            if len(place) == 3
            else {"pptdev": place[0]}
        )
    elif kind in _LEADING and words and ("=" not in words[0] or words[0].startswith("/")):
        found[_LEADING[kind]] = words.pop(0)
    for word in words:
        key, equals, text = word.partition("=")
        key = "rfb" if kind == "fbuf" and key == "tcp" else key
        found[prefix + key] = text if equals else "true"
    return found


def _ports(words: list[str]) -> dict[str, str]:
    """``ahci``'s own list: hd:PATH or cd:PATH, each with options behind it."""
    found: dict[str, str] = {}
    number = -1
    for word in words:
        if word[:3] in {"hd:", "cd:"}:
            number += 1
            found |= {f"port.{number}.type": word[:2]} | (
                {f"port.{number}.path": word[3:]} if word[3:] else {}
            )
        else:
            key, equals, text = word.partition("=")
            found[f"port.{max(number, 0)}.{key}"] = text if equals else "true"
    return found


def _load(draft: Draft, program: str, words: list[str]) -> None:
    """The loader of a guest without a boot ROM."""
    loader = loader_of(draft, program, words)
    if "bootrom" in draft.document:
        draft.left_out(f"{program}, because the VM has a boot ROM")
    else:
        draft.document["loader"] = loader


def loader_of(draft: Draft, program: str, words: list[str]) -> dict[str, object]:
    """A bhyveload or grub-bhyve command as the "loader" of a vm.json; the rest of it is noted."""
    grub = program == "grub-bhyve"
    short = "c:d:g:hm:M:nr:SvVe:" if grub else "CSc:d:e:h:l:m:"
    names = [
        "root=",
        "directory=",
        "device-map=",
        "memory=",
        "cons-dev=",
        "grub-cfg=",
        "wire-memory",
        "no-insert",
    ]
    try:
        found, _ = getopt.gnu_getopt(words, short, names if grub else [])
    except getopt.GetoptError as error:
        draft.left_out(f"the options of {program} ({error})")
        found = []
    loader: dict[str, object] = {"type": "grub" if grub else "bhyveload"}
    environment: dict[str, str] = {}
    known = {"-r": "root", "--root": "root", "-d": "directory", "--directory": "directory"}
    if not grub:
        known = {"-d": "disk", "-l": "os_loader"}
    for flag, value in found:
        if flag in known:
            loader[known[flag]] = value
        elif flag == "-e" and not grub:
            key, _, text = value.partition("=")
            environment[key] = text
        elif flag not in {
            "-m",
            "-M",
            "-c",
            "-S",
            "-C",
            "--memory",
            "--cons-dev",
            "--device-map",
            "--wire-memory",
        }:
            draft.left_out(f"{flag} {value} of {program}".replace("  ", " "))
    if environment:
        loader["env"] = environment
    if loader.get("root") == "host":
        draft.note("Its grub.cfg lies on the host: put its text into the loader's config.")
        loader.pop("directory", None)
    return loader


def _lines(text: str) -> list[str]:
    """The lines of a script, with those that end in a backslash joined, without comments."""
    joined = re.sub(r"\\\n", " ", text)
    return [
        line for line in joined.split("\n") if line.strip() and not line.lstrip().startswith(("#!", "# "))
    ]


def _commands(draft: Draft, line: str) -> list[list[str]]:
    """The commands of one line, each as words. Redirections are left out."""
    if re.search(r"[$`](?! )", line):
        raise Unreadable(
            f"A shell would have to evaluate this: {line.strip()[:120]!r}. Write out what it stands for."
        )
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError as error:
        raise Unreadable(f"A quotation does not end: {line.strip()[:120]!r}.") from error
    commands: list[list[str]] = [[]]
    place = 0
    while place < len(words):
        word = words[place]
        if not _PUNCTUATION.fullmatch(word):
            commands[-1].append(word)
        elif "(" in word or ")" in word:
            raise Unreadable(f"A shell would have to evaluate this: {line.strip()[:120]!r}.")
        elif "<" in word or ">" in word:
            if commands[-1] and commands[-1][-1].isdigit():
                commands[-1].pop()
            place += 1
            draft.left_out(f"the redirection {word} {words[place] if place < len(words) else ''}".rstrip())
        else:
            commands.append([])
        place += 1
    return [command for command in commands if command]


def _program(draft: Draft, words: list[str]) -> tuple[str, list[str]]:
    """The program that a command runs, without sudo(8), nice(1), protect(1), daemon(8) and the like before it."""
    rest = list(words)
    while rest:
        name = rest[0].rpartition("/")[2]
        if name in {"bhyve", "bhyveload", "grub-bhyve"}:
            return name, rest[1:]
        if "=" in name and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", rest[0]):
            rest = rest[1:]
            continue
        if name not in _BEFORE:
            return name, rest[1:]
        try:
            found, rest = getopt.getopt(rest[1:], _BEFORE[name])
        except getopt.GetoptError:
            return name, rest[1:]
        if name == "protect":
            draft.document["protect"] = True
        elif name == "nice":
            level = dict(found).get("-n", "10")
            draft.document["nice"] = int(level) if re.fullmatch(r"[+-]?[0-9]{1,3}", level) else level
        elif name in {"cpuset", "idprio", "rtprio"}:
            draft.left_out(f"{name}, which ran bhyve")
    return "", []
