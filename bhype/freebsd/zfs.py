"""zfs(8): datasets, snapshots and their properties. Facts: zfs-list(8), zfs-create(8), zfsprops(7)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError, Query
from bhype.freebsd.rows import number, present, rows

PROGRAM = "/sbin/zfs"
# Whatever bHype made carries this user property; nothing without it is ever destroyed.
ID_PROPERTY = "org.bhype:id"
# zfs(8) walks all children on some calls, and waits for the pool's transaction group on all changes.
LIST_TIMEOUT = 60.0
CHANGE_TIMEOUT = 120.0
# A stream is as long as the disks in it.
STREAM_TIMEOUT = 24 * 3600.0

_PROPERTY = re.compile(r"[a-z0-9][a-z0-9:+._-]{0,254}")


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A filesystem or volume as zfs(8) lists it; sizes in bytes.

    kind: "filesystem" or "volume"; volsize: 0 for a filesystem; mountpoint: None for a volume, "none" and
    "legacy"; origin: the snapshot of which it is a clone; bhype_id: the value of ID_PROPERTY, also when
    inherited (``get_property`` tells its source).
    """

    name: str
    kind: str
    used: int
    available: int
    referenced: int
    volsize: int
    mountpoint: str | None
    origin: str | None
    bhype_id: str | None


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """name: dataset@snapshot; used: bytes that only it holds; referenced: bytes it gives access to."""

    name: str
    created: datetime
    used: int
    referenced: int
    bhype_id: str | None


@dataclass(frozen=True, slots=True)
class Property:
    """value: as ``-p`` gives it, None where there is none; source: "local", "inherited from X"..."""

    value: str | None
    source: str

    @property
    def is_local(self) -> bool:
        """Set on the dataset itself (or received with it), not inherited."""
        return self.source in {"local", "received"}


def create_filesystem(name: str, properties: Mapping[str, str] = {}, *, parents: bool = False) -> Command:
    """``parents``: make missing parents, and succeed when it exists (then its properties stay)."""
    flags = ["-p"] if parents else []
    return _change("create", *flags, *_options(properties), names.dataset(name))


def create_volume(name: str, size: int, properties: Mapping[str, str] = {}) -> Command:
    """A sparse volume of ``size`` bytes, kept from GEOM: the host never tastes a guest's partitions."""
    if size <= 0:
        raise names.BadName("A volume has a size above zero.")
    wanted = {"volmode": "dev", **properties}
    return _change("create", "-s", *_options(wanted), "-V", str(size), names.dataset(name))


def list_datasets(
    root: str, types: Sequence[str] = ("filesystem", "volume"), *, depth: int | None = None
) -> Query[list[DatasetInfo]]:
    """``root`` and everything below it, or ``depth`` levels. Fails when ``root`` does not exist."""
    reach = ["-r"] if depth is None else ["-d", str(depth)]
    columns = f"name,type,used,available,referenced,volsize,mountpoint,origin,{ID_PROPERTY}"
    argv = (PROGRAM, "list", "-Hp", *reach, "-t", ",".join(types), "-o", columns, names.dataset(root))
    return Query(Command(argv, timeout=LIST_TIMEOUT), _datasets)


def _datasets(text: str) -> list[DatasetInfo]:
    found = []
    for row in rows(text, 9):
        name, kind, used, available, referenced, volsize, mountpoint, origin, bhype_id = row
        if "%" in name:  # the hidden clone of a running zfs receive
            continue
        found.append(
            DatasetInfo(
                name=name,
                kind=kind,
                used=number(used, row),
                available=number(available, row),
                referenced=number(referenced, row),
                volsize=number(volsize, row),
                mountpoint=mountpoint if mountpoint.startswith("/") else None,
                origin=present(origin),
                bhype_id=present(bhype_id),
            )
        )
    return found


def list_folders(root: str) -> Query[dict[str, str]]:
    """Where ``root`` and the filesystems below it would be mounted by ``zfs mount -a`` and are not, parents first."""
    argv = (PROGRAM, "list", "-Hp", "-r", "-t", "filesystem", "-o", "name,canmount,mounted,mountpoint")
    return Query(Command((*argv, names.dataset(root)), timeout=LIST_TIMEOUT), _folders)


def _folders(text: str) -> dict[str, str]:
    found = {}
    for name, may, is_mounted, mountpoint in rows(text, 4):
        if may == "on" and is_mounted != "yes" and mountpoint.startswith("/") and "%" not in name:
            found[name] = mountpoint
    return found


def list_snapshots(root: str, *, recursive: bool = True) -> Query[list[SnapshotInfo]]:
    """The snapshots of ``root`` (and of everything below it), oldest first within a dataset."""
    reach = ["-r"] if recursive else ["-d", "1"]
    columns = f"name,creation,used,referenced,{ID_PROPERTY}"
    argv = (PROGRAM, "list", "-Hp", *reach, "-t", "snapshot", "-o", columns, names.dataset(root))
    return Query(Command(argv, timeout=LIST_TIMEOUT), _snapshots)


def _snapshots(text: str) -> list[SnapshotInfo]:
    found = []
    for row in rows(text, 5):
        name, creation, used, referenced, bhype_id = row
        if "@" not in name:
            raise ParseError(f"a snapshot expected: {row!r}")
        try:
            created = datetime.fromtimestamp(number(creation, row), UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise ParseError(f"a time expected: {row!r}") from error
        found.append(
            SnapshotInfo(name, created, number(used, row), number(referenced, row), present(bhype_id))
        )
    return found


def get_property(name: str, key: str) -> Query[Property]:
    """One property of a dataset or snapshot, with its source."""
    argv = (PROGRAM, "get", "-Hp", "-o", "source,value", _key(key), _any(name))
    return Query(Command(argv, timeout=LIST_TIMEOUT), _property)


def _property(text: str) -> Property:
    # A value may hold anything, also line ends: it is all that follows the first column.
    source, separator, value = text.removesuffix("\n").partition("\t")
    if not separator:
        raise ParseError(f"line 1: source and value expected: {text!r}")
    return Property(present(value), source)


def set_property(name: str, key: str, value: str) -> Command:
    return _change("set", _assignment(key, value), names.dataset(name))


def inherit(name: str, key: str) -> Command:
    """Take back what was set on the dataset: it has again what its parent has."""
    return _change("inherit", _key(key), names.dataset(name))


def destroy(name: str, *, recursive: bool = False) -> Command:
    """Destroy a dataset or snapshot, with ``recursive`` also all that is in it. Never a whole pool."""
    if "/" not in name:
        raise names.BadName(f"{name!r} is a pool; bHype destroys only what is inside one.")
    return _change("destroy", *(["-r"] if recursive else []), _any(name))


def snapshot(name: str, properties: Mapping[str, str] = {}, *, recursive: bool = False) -> Command:
    """Take ``dataset@snapshot``; with ``recursive`` at one moment for the datasets below, too."""
    return _change("snapshot", *(["-r"] if recursive else []), *_options(properties), names.snapshot(name))


def rollback(name: str, *, destroy_newer: bool = False) -> Command:
    """Go back to a snapshot; zfs(8) refuses when there are newer ones, unless they may go."""
    return _change("rollback", *(["-r"] if destroy_newer else []), names.snapshot(name))


def clone(source: str, name: str, properties: Mapping[str, str] = {}) -> Command:
    """A new dataset from a snapshot of the same pool. It inherits from its parent, not from the snapshot."""
    return _change("clone", *_options(properties), names.snapshot(source), names.dataset(name))


def promote(name: str) -> Command:
    """Make a clone independent of its origin: that, and all older snapshots, become its own."""
    return _change("promote", names.dataset(name))


def mount(name: str) -> Command:
    """Mount a filesystem that is not mounted."""
    return _change("mount", names.dataset(name))


def send(name: str, *, replicate: bool = False) -> Command:
    """The snapshot as a stream on standard output, without properties.

    replicate: with everything below, all older snapshots, and what is set on them (zfs-send(8) -R).
    """
    flags = ["-R"] if replicate else []
    words = (PROGRAM, "send", *flags, names.snapshot(name))
    return Command(words, timeout=STREAM_TIMEOUT)


def send_size(name: str, *, replicate: bool = False) -> Query[int]:
    """About how many bytes `send` will write."""
    flags = "-nPR" if replicate else "-nP"
    return Query(Command((PROGRAM, "send", flags, names.snapshot(name)), timeout=CHANGE_TIMEOUT), _send_size)


def _send_size(text: str) -> int:
    for row in rows(text, 2):
        if row[0] == "size":
            return number(row[1], row)
    raise ParseError(f"no size in what zfs send tells: {text[:200]!r}")


def receive(
    name: str, properties: Mapping[str, str] = {}, *, without: Sequence[str] = (), mounted: bool = True
) -> Command:
    """Make the dataset ``name``, which must not be there, from a stream on standard input.

    properties: set on it, whatever the stream says; what is below inherits them. without: taken from the stream by
    nobody (zfs-receive(8) -o and -x). There is no -F: nothing that exists is overwritten.
    """
    flags = [*_options(properties), *(word for key in without for word in ("-x", _key(key)))]
    if not mounted:
        flags.append("-u")
    return Command((PROGRAM, "receive", *flags, names.dataset(name)), timeout=STREAM_TIMEOUT)


def rename(name: str, new_name: str) -> Command:
    """Move a dataset within its pool."""
    return _change("rename", names.dataset(name), names.dataset(new_name))


def _change(*words: str) -> Command:
    return Command((PROGRAM, *words), timeout=CHANGE_TIMEOUT)


def _any(name: str) -> str:
    return names.snapshot(name) if "@" in name else names.dataset(name)


def _options(properties: Mapping[str, str]) -> list[str]:
    return [word for key, value in properties.items() for word in ("-o", _assignment(key, value))]


def _assignment(key: str, value: str) -> str:
    if not value.isprintable() or len(value.encode()) >= 8192:
        raise names.BadName(f"the value of the property {key} must be one line of text: {value[:80]!r}")
    return f"{_key(key)}={value}"


def _key(key: str) -> str:
    if not _PROPERTY.fullmatch(key):
        raise names.BadName(f"{key!r} is not the name of a ZFS property.")
    return key
