"""What is set on datasets and what they inherit: the properties that people may change, and one question for those
of all datasets. Facts: zfsprops(7), zfs-get(8)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bhype.freebsd import names
from bhype.freebsd.command import Command, Query
from bhype.freebsd.rows import present, rows
from bhype.freebsd.zfs import CHANGE_TIMEOUT, ID_PROPERTY, LIST_TIMEOUT, PROGRAM, Property

# Set on a dataset that nothing owns and that is to stay: it is no orphan any more.
KEPT = "org.bhype:kept"
FILESYSTEM, VOLUME = "filesystem", "volume"
BOTH = (FILESYSTEM, VOLUME)
_ON_OFF = ("on", "off")
_CACHES = ("all", "metadata", "none")
# gzip-1 to gzip-9 and zstd-1 to zstd-19 are there as well; these are those that differ in a way that can be felt.
_COMPRESSIONS = (
    "on", "off", "lz4", "zle", "zstd-fast", "zstd", "zstd-6", "zstd-9", "zstd-12", "zstd-15", "zstd-19", "gzip-1",
    "gzip", "gzip-9",
)  # fmt: skip
_BLOCKS = tuple(str(512 << power) for power in range(12))
_SIZE = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Setting:
    """A property that people may change.

    kinds: of which datasets; choices: the values there are, () for a size in bytes, of which 0 is none; default: what
    holds where nothing is set; inherits: whether a child has it from its parent; warning: what to know before.
    """

    name: str
    label: str
    help: str
    kinds: tuple[str, ...] = BOTH
    choices: tuple[str, ...] = ()
    default: str = "0"
    inherits: bool = True
    warning: str = ""

    @property
    def is_size(self) -> bool:
        return not self.choices

    @property
    def has_blocks(self) -> bool:
        """Whether the choices are numbers of bytes."""
        return self.choices == _BLOCKS

    def check(self, value: str) -> str:
        """The value as zfs(8) takes it. Raises BadName with a sentence."""
        if self.is_size:
            if not _SIZE.fullmatch(value) or int(value) >= 1 << 63:
                raise names.BadName(f"{self.label} is a number of bytes, 0 for none.")
            # Of a quota zfs(8) refuses 0: "use 'none' to disable quota/refquota" (libzfs_dataset.c).
            return value if int(value) else "none"
        if value not in self.choices:
            raise names.BadName(f"{self.label} is one of {', '.join(self.choices)}.")
        return value


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "quota",
            "Quota",
            "The most that it may use with its snapshots and all below it.",
            (FILESYSTEM,),
            inherits=False,
        ),
        Setting(
            "refquota",
            "Quota of itself",
            "The most that it may use without snapshots and what is below it.",
            (FILESYSTEM,),
            inherits=False,
        ),
        Setting(
            "reservation",
            "Reservation",
            "Space that the pool keeps for it with its snapshots and all below it.",
            inherits=False,
        ),
        Setting(
            "refreservation",
            "Reservation of itself",
            "Space that the pool keeps for it alone. Of a volume as large as itself, its writes never fail.",
            inherits=False,
        ),
        Setting(
            "compression",
            "Compression",
            "How new data is compressed: on is lz4, and costs next to nothing.",
            choices=_COMPRESSIONS,
            default="on",
        ),
        Setting(
            "recordsize",
            "Record size",
            "The largest block of new files.",
            (FILESYSTEM,),
            _BLOCKS,
            "131072",
        ),
        Setting(
            "atime",
            "Access times",
            "Whether reading a file writes down when.",
            (FILESYSTEM,),
            _ON_OFF,
            "on",
        ),
        Setting(
            "sync",
            "Synchronous writes",
            "What happens when a program asks for its data to be safe.",
            choices=("standard", "always", "disabled"),
            default="standard",
            warning="With disabled, the last seconds before a power failure are lost although programs were told "
            "that they are safe.",
        ),
        Setting(
            "logbias",
            "Log",
            "Whether synchronous writes are to be quick (latency) or to spare the log device (throughput).",
            choices=("latency", "throughput"),
            default="latency",
        ),
        Setting(
            "primarycache",
            "Memory cache",
            "What of it the ARC keeps.",
            choices=_CACHES,
            default="all",
        ),
        Setting(
            "secondarycache",
            "Cache devices",
            "What of it the pool's cache devices keep.",
            choices=_CACHES,
            default="all",
        ),
        Setting(
            "copies",
            "Copies",
            "How often new data is stored, besides what the pool does.",
            choices=("1", "2", "3"),
            default="1",
        ),
        Setting(
            "dedup",
            "Deduplication",
            "Whether equal blocks are stored once.",
            choices=("off", "on", "verify"),
            default="off",
            warning="It needs about 5 GiB of memory for each TiB, and what was written so stays so.",
        ),
        Setting(
            "snapdir",
            "Snapshot folder",
            "Whether .zfs is listed in its folder.",
            (FILESYSTEM,),
            ("hidden", "visible"),
            "hidden",
        ),
        Setting("readonly", "Read-only", "Whether nobody can write.", choices=_ON_OFF, default="off"),
    )
}
# What tells of a dataset beyond what `zfs.list_datasets` does; read only.
FACTS = (
    "usedbydataset", "usedbysnapshots", "usedbychildren", "usedbyrefreservation", "logicalused", "compressratio",
    "creation", "volblocksize", "mounted", "encryption", "encryptionroot", "keystatus", "keyformat", "keylocation",
)  # fmt: skip
_ASKED = (*SETTINGS, *FACTS, ID_PROPERTY, KEPT)
# All but "default", which would be most of the lines.
_SOURCES = "local,received,inherited,temporary,none"


def of_all(root: str) -> Query[dict[str, dict[str, Property]]]:
    """The properties of ``root`` and of every filesystem and volume below it, by dataset and name: what is set there or
    inherited, and FACTS. What has its default is left out. Sizes in bytes; creation in seconds since 1970."""
    # The value comes last: that of a user property may hold anything.
    columns = "name,property,source,value"
    argv = (
        *(PROGRAM, "get", "-Hp", "-r", "-t", "filesystem,volume", "-s", _SOURCES, "-o", columns),
        *(",".join(_ASKED), names.dataset(root)),
    )
    return Query(Command(argv, timeout=LIST_TIMEOUT), _by_dataset)


def _by_dataset(text: str) -> dict[str, dict[str, Property]]:
    found: dict[str, dict[str, Property]] = {}
    for name, key, source, value in rows(text, 4):
        if "%" in name:  # the hidden clone of a running zfs receive
            continue
        mine = found.setdefault(name, {})
        if present(value) is not None:
            mine[key] = Property(value, source)
    return found


def set_several(name: str, changes: Mapping[str, str]) -> Command:
    """Set settings of a dataset at once; each is checked. Raises BadName."""
    if not changes:
        raise names.BadName("There is nothing to set.")
    words = [f"{key}={setting_of(key).check(value)}" for key, value in changes.items()]
    return Command((PROGRAM, "set", *words, names.dataset(name)), timeout=CHANGE_TIMEOUT)


def setting_of(key: str) -> Setting:
    """The setting of this name. Raises BadName."""
    found = SETTINGS.get(key)
    if found is None:
        raise names.BadName(f"{key!r} is no property that can be changed here.")
    return found


def settings_of(kind: str) -> list[Setting]:
    """The settings of datasets of a kind, in the order in which they are shown."""
    return [setting for setting in SETTINGS.values() if kind in setting.kinds]


def source_of(source: str) -> str:
    """The dataset that an inherited property comes from; "" of one that is not inherited."""
    return source.removeprefix("inherited from ") if source.startswith("inherited from ") else ""


def first_local(properties: Mapping[str, Property], keys: Iterable[str]) -> list[str]:
    """Those of the properties that are set on the dataset itself."""
    return [key for key in keys if key in properties and properties[key].is_local]
