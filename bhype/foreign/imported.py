"""What a foreign description of a VM becomes: a vm.json, and what could not be said in it.

Everything here is data: nothing of the host is looked at, nothing is evaluated, and nothing is dropped without a
note.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from bhype.freebsd import names
from bhype.vmrun.config import Document, parse, select
from bhype.vmrun.machine import machine
from bhype.vmrun.problems import Problem, Unfit

TEXT_MAX = 1 << 20
DEPTH_MAX = 32
FIRMWARE = "/usr/local/share/uefi-firmware"
DISKS = frozenset({"virtio-blk", "ahci-hd", "nvme"})
_KEYS = ("name", "uuid", "cpu", "mem")  # these come first in a document, the devices last
_LARGE = "The text is larger than 1 MiB; no description of a VM is."
_SIZE = re.compile(r"\s*([0-9]{1,15})\s*([KMGTP]?)(I?B)?\s*", re.IGNORECASE)


class Unreadable(ValueError):
    """The text is not of the format, or hostile. The message is a sentence for the person who brought it."""


@dataclass(frozen=True, slots=True)
class SourceDisk:
    """A disk or CD that the VM had where it came from.

    device: index into the document's emulations; port: index into the ports of an "ahci" device, else None;
    path: as the document says it; format: raw, qcow2, vmdk, ...; size: bytes, None when the source does not tell.
    """

    device: int
    path: str
    port: int | None = None
    format: str = "raw"
    size: int | None = None
    is_cd: bool = False

    @property
    def is_volume(self) -> bool:
        return self.path.startswith("/dev/zvol/")


@dataclass(frozen=True, slots=True)
class About:
    """What a source says that no guest sees: for the panel's notes, tags and start with the host."""

    description: str = ""
    tags: tuple[str, ...] = ()
    autostart: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """document: a vm.json; notes: sentences on what was left out or changed; problems: what has to be mended
    before the document can be used, as vmrun tells it."""

    document: Document
    disks: tuple[SourceDisk, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    about: About = About()


@dataclass
class Draft:
    """An Imported in the making. name: what the source calls the VM; folder: where its relative files lie;
    dataset: the ZFS dataset of its volumes. formats and sizes are of disks, by path."""

    name: str = ""
    folder: str = ""
    dataset: str = ""
    document: Document = field(default_factory=dict)
    emulations: list[Document] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    formats: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    about: About = About()

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def problem(self, where: str, what: str, mend: str = "") -> None:
        self.problems.append(Problem(where, what, mend))

    def left_out(self, what: str) -> None:
        """Note that ``what`` has no place in a vm.json."""
        self.note(f"Left out: {what}.")

    def path(self, path: str) -> str:
        """``path`` as seen from the root, when the folder of the VM is known."""
        if path.startswith("/") or not self.folder:
            return path
        return f"{self.folder.rstrip('/')}/{path}"

    def nic(self, kind: str, bridge: str = "", **values: Any) -> Document:
        """A network port on a tap of its own, which the supervisor makes and puts into ``bridge``."""
        taps = sum(entry.get("type") == "tap" for entry in self.emulations)
        entry: Document = {"device": kind, "type": "tap", "name": f"tap{taps}", "fix": True}
        if bridge:
            entry["bridge"] = bridge
        entry.update(values)
        self.emulations.append(entry)
        return entry

    def screen_password(self, password: str) -> str:
        """VNC compares eight characters; a longer password lets in by its first eight."""
        if len(password) > 8:
            self.note("The VNC password was cut to its first eight characters, of which VNC uses no more.")
        return password[:8]

    def finish(self) -> Imported:
        """Check the document as the supervisor would, and say all that is wrong with it."""
        wanted = self.name or str(self.document.get("name", ""))
        name = usable_name(wanted)
        if wanted and name != wanted:
            self.note(f"The name {wanted!r} became {name!r}.")
        known = {"name": name, **{key: value for key, value in self.document.items() if key != "name"}}
        document = {key: known.pop(key) for key in _KEYS if key in known}
        document |= known | {"emulations": self.emulations}
        found, unknown = check(document)
        for key in unknown:
            self.left_out(f"{key}, which nothing reads")
        return Imported(
            document=document,
            disks=tuple(disks(document, self.formats, self.sizes)),
            notes=tuple(self.notes),
            problems=(*self.problems, *found),
            about=self.about,
        )


def check(document: Document) -> tuple[list[Problem], list[str]]:
    """The problems of a document and of each of its targets, and the keys that nothing reads."""
    problems: list[Problem] = []
    unknown: list[str] = []
    targets = document.get("targets")
    for target in (None, *(targets if isinstance(targets, dict) else ())):
        try:
            config = parse(select(document, target))
            machine(config)
            unknown += [key for key in config.unknown if key not in unknown]
        except Unfit as unfit:
            prefix = f"target {target}: " if target else ""
            found = [Problem(prefix + one.where, one.what, one.mend) for one in unfit.problems]
            seen = {(one.where, one.what) for one in problems}
            problems += [one for one in found if (one.where.removeprefix(prefix), one.what) not in seen]
    return problems, unknown


def disks(document: Document, formats: dict[str, str], sizes: dict[str, int]) -> list[SourceDisk]:
    """The disks and CDs of a document, those behind one AHCI controller, too."""
    found = []
    for index, entry in enumerate(document.get("emulations") or ()):
        if not isinstance(entry, dict):
            continue
        kind = str(entry.get("device"))
        parts: list[tuple[int | None, Any, bool]] = []
        if kind in DISKS or kind == "ahci-cd":
            parts = [(None, entry.get("path"), kind == "ahci-cd")]
        elif kind == "ahci" and isinstance(entry.get("ports"), list):
            ports = [port for port in entry["ports"] if isinstance(port, dict)]
            parts = [
                (number, port.get("path"), port.get("type") == "cd") for number, port in enumerate(ports)
            ]
        for port, path, is_cd in parts:
            if isinstance(path, str) and path:
                found.append(SourceDisk(index, path, port, formats.get(path, "raw"), sizes.get(path), is_cd))
    return found


def usable_name(name: str) -> str:
    """The nearest name that bhyve, ZFS and a host name all accept; "imported" when nothing is left."""
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower())
    plain = re.sub(r"^[^a-z]+", "", plain)[: names.VM_NAME_MAX].rstrip("-")
    return plain or "imported"


def clean(text: str) -> str:
    """The text, if it is one: not too large, no binary. Raises Unreadable."""
    if len(text) > TEXT_MAX:
        raise Unreadable(_LARGE)
    if re.search(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]", text):
        raise Unreadable("This is not text: it has control characters.")
    if len(text.encode()) > TEXT_MAX:
        raise Unreadable(_LARGE)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise Unreadable("The text is empty.")
    return text


def load_json(text: str) -> Document:
    """A JSON object of reasonable depth. Raises Unreadable."""

    def refuse(constant: str) -> None:
        raise Unreadable(f"This is not JSON: {constant} is no number.")

    try:
        value = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"This is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise Unreadable("This is not a JSON object.")
    if _depth(value) > DEPTH_MAX:
        raise Unreadable("The JSON is nested too deeply.")
    return value


def _depth(value: Any) -> int:
    """How deep lists and objects are nested; walked without recursion, and no further than needed."""
    depth, level = 0, [value]
    while level and depth <= DEPTH_MAX:
        depth += 1
        parts = [one for one in level if isinstance(one, dict | list)]
        level = [child for one in parts for child in (one.values() if isinstance(one, dict) else one)]
    return depth


def size(text: str, unit: str = "") -> int | None:
    """Bytes of a size such as 20G or 512MB, of 1024; without a letter of ``unit``. None when it is none."""
    match = _SIZE.fullmatch(text)
    if not match:
        return None
    letter = (match[2] or unit).upper()
    return int(match[1]) << (10 * (" KMGTP".index(letter) if letter else 0))


def numeral(text: str) -> int | str:
    """A whole number as such, any other text as it is: digits of other scripts, and what is too long for a number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else text


def memory(amount: int) -> str:
    """Bytes as vm.json writes memory: in whole M where possible, else K, rounded up."""
    if amount % (1 << 20) == 0:
        return f"{amount >> 20}M"
    return f"{-(-amount >> 10)}K"
