"""``zfs create``, ``clone`` and ``snapshot``."""

from __future__ import annotations

import os
import signal
import sys
import time

from bhype.lab import core
from bhype.lab.openzfs import crypt, files, names, properties, sizes, space
from bhype.lab.openzfs.store import F, S, Store, V, changing, reading
from bhype.lab.openzfs.usage import assignments, options, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SMALL_BLOCKS = (
    "Warning: volblocksize ({}) is less than the default minimum block size ({}).\n"
    "To reduce wasted space a volblocksize of {} is recommended."
)
# A value with which the kernel's ioctl cannot deal: zfs(8) aborts.
LONGEST_VALUE = 8192
TOO_LONG = "internal error: cannot create '{}': Argument list too long"


def opened(store: Store, name: str, kinds: tuple[str, ...] = (F, V, S)) -> str:
    """``name`` if there is such a dataset of one of the kinds; else the program fails as zfs_open() does."""
    wrong = names.reason(name, snapshot=None if S in kinds and len(kinds) > 1 else S in kinds)
    if not wrong and name not in store.datasets:
        wrong = "dataset does not exist"
    if not wrong and store.datasets[name]["type"] not in kinds:
        wrong = "operation not applicable to datasets of this type"
    if wrong:
        core.fail(f"cannot open '{name}': {wrong}")
    return name


def check_new(store: Store, name: str) -> None:
    """Fail unless a filesystem or volume ``name`` can be created: name, parents, not there yet."""
    prefix = f"cannot create '{name}': "
    wrong = names.reason(name, snapshot=False, creating=True)
    if wrong:
        core.fail(prefix + wrong)
    check_parents(store, name)
    if name in store.datasets:
        core.fail(prefix + "dataset already exists")


def check_parents(store: Store, name: str) -> None:
    """Fail as check_parents() in libzfs unless the dataset above ``name`` is a filesystem."""
    prefix = f"cannot create '{name}': "
    parent = name.rpartition("/")[0]
    if not parent:
        core.fail(prefix + "missing dataset name")
    pool = parent.partition("/")[0]
    if pool not in store.pools:
        core.fail(prefix + f"no such pool '{pool}'")
    if parent not in store.datasets:
        core.fail(prefix + "parent does not exist")
    if store.datasets[parent]["type"] != F:
        core.fail(prefix + "parent is not a filesystem")


def make_parents(store: Store, name: str) -> None:
    """The filesystems above ``name`` that are missing (``-p``)."""
    parent = name.rpartition("/")[0]
    if not parent or parent in store.datasets:
        return
    make_parents(store, parent)
    check_parents(store, parent)
    make_filesystem(store, parent, {})


def parsed(found: dict[str, str], kind: str, prefix: str, volsize: int = 0) -> dict[str, str]:
    """The properties of a new dataset, checked; fails with ``prefix`` and libzfs's reason."""
    result = {}
    for name, value in found.items():
        full = properties.full_name(name)
        try:
            result[full] = properties.parse(full, value, kind, creating=True, volsize=volsize)
        except properties.BadProperty as error:
            core.fail(prefix + str(error))
    return result


def need_room(store: Store, name: str, props: dict[str, str], prefix: str) -> None:
    """Fail if the pool cannot hold what the new dataset reserves."""
    wanted = max(int(props.get("refreservation", 0)), int(props.get("reservation", 0)))
    if (wanted or core.full()) and space.spare(store, name.rpartition("/")[0]) < max(wanted, 1):
        core.fail(prefix + "out of space")


def make_filesystem(
    store: Store, name: str, props: dict[str, str], *, mount: bool = True, crypt: dict[str, Any] | None = None
) -> None:
    """A new, empty filesystem, shown at its mountpoint unless ``mount`` is false. crypt: see crypt.py."""
    store.add(name, F, props=props, **(crypt or {}))
    os.makedirs(store.shelf(name), exist_ok=True)
    # Whatever the caller's umask: OpenZFS makes the root of a file system so (zfs_create_fs in zfs_znode.c).
    os.chmod(store.shelf(name), 0o755)
    if mount:
        store.show(name)


def create(argv: list[str]) -> int:
    """``zfs create``."""
    found, arguments = options("create", argv, "PV:b:nso:puv", "missing size argument")
    letters = {letter for letter, _ in found}
    given = assignments([value for letter, value in found if letter == "o"])
    if any(":" in prop and len(os.fsencode(value)) >= LONGEST_VALUE for prop, value in given.items()):
        core.warn(TOO_LONG.format(arguments[-1]))
        os.kill(os.getpid(), signal.SIGABRT)
    size: int | None = None
    for letter, value in found:
        if letter in "Vb":
            number = _size(value, "volume size" if letter == "V" else "volume block size")
            if letter == "V":
                size = number
            else:
                given["volblocksize"] = str(number)
    kind = F if size is None else V
    if letters & {"b", "s"} and kind == F:
        refuse("create", "'-s' and '-b' can only be used when creating a volume")
    if "u" in letters and kind == V:
        refuse("create", "'-u' can only be used when creating a filesystem")
    if not arguments:
        refuse("create", f"missing {kind} argument")
    if len(arguments) > 1:
        refuse("create", "too many arguments")
    name = arguments[0]
    if "n" in letters:
        store = reading()
        _create(store, name, size, given, letters, dry=True)
        return 0
    with changing() as store:
        _create(store, name, size, given, letters, dry=False)
    return 0


def _size(text: str, what: str) -> int:
    try:
        return sizes.parse(text)
    except sizes.BadSize as error:
        core.fail(f"bad {what} '{text}': {error}")


def _create(
    store: Store, name: str, size: int | None, given: dict[str, str], letters: set[str], *, dry: bool
) -> None:
    prefix = f"cannot {'verify' if dry else 'create'} '{name}': "
    kind = F if size is None else V
    pool = name.partition("/")[0]
    if (dry or kind == V) and pool not in store.pools:
        core.fail(f"cannot open '{pool}': no such pool")
    props = parsed(given, kind, prefix)
    if size is not None:
        block = int(props.get("volblocksize", properties.VOLBLOCKSIZE))
        size = (size + block - 1) // block * block
        props["volsize"] = str(size)
        if "s" not in letters and "refreservation" not in props:
            props["refreservation"] = str(properties.reservation_for(size, block))
    if "p" in letters and not names.reason(name, snapshot=False, creating=True):
        if name in store.datasets and store.datasets[name]["type"] == kind:
            return
        if not dry:
            make_parents(store, name)
    if letters & {"v", "P"}:
        _tell(name, props, letters, dry=dry)
    if dry:
        return
    check_new(store, name)
    if size == 0:
        core.fail(prefix + "volume size cannot be zero")
    crypted = crypt.chosen(store, name.rpartition("/")[0], props, prefix)
    need_room(store, name, props, prefix)
    if size is None:
        make_filesystem(store, name, props, mount="u" not in letters, crypt=crypted)
        return
    if int(props.get("volblocksize", properties.VOLBLOCKSIZE)) < properties.VOLBLOCKSIZE:
        least = properties.VOLBLOCKSIZE
        core.warn(SMALL_BLOCKS.format(props["volblocksize"], least, least))
    store.add(name, V, props=props, **crypted)
    files.make_volume(store.shelf(name), size)
    store.show(name)


def _tell(name: str, props: dict[str, str], letters: set[str], *, dry: bool) -> None:
    parseable = "P" in letters
    if "p" in letters:
        print(f"create_ancestors\t{name}" if parseable else f"{'would ' * dry}create ancestors of {name}")
    print(f"create\t{name}" if parseable else f"{'would ' * dry}create {name}")
    for prop, value in props.items():
        print(f"property\t{prop}\t{value}" if parseable else f"\t{prop}={value}")


def clone(argv: list[str]) -> int:
    """``zfs clone``."""
    found, arguments = options("clone", argv, "o:p")
    letters = {letter for letter, _ in found}
    given = assignments([value for letter, value in found if letter == "o"])
    if not arguments:
        refuse("clone", "missing source dataset argument")
    if len(arguments) < 2:
        refuse("clone", "missing target dataset argument")
    if len(arguments) > 2:
        refuse("clone", "too many arguments")
    snapshot, name = arguments
    prefix = f"cannot create '{name}': "
    with changing() as store:
        opened(store, snapshot, (S,))
        source = store.datasets[snapshot]
        kind = V if "volsize" in source else F
        if "p" in letters and not names.reason(name, snapshot=False, creating=True):
            if name in store.datasets:
                return 0
            make_parents(store, name)
        wrong = names.reason(name, snapshot=False, creating=True)
        if wrong:
            core.fail(prefix + wrong)
        check_parents(store, name)
        props = parsed(given, kind, prefix, source.get("volsize", 0))
        if name.partition("/")[0] != snapshot.partition("/")[0].partition("@")[0]:
            core.fail(prefix + "source and target pools differ")
        check_new(store, name)
        if kind == V:
            # The size and the blocks are part of the data; nothing else comes from the origin.
            props["volsize"] = str(source["volsize"])
            if "volblocksize" in source:
                props["volblocksize"] = source["volblocksize"]
        need_room(store, name, props, prefix)
        store.add(name, kind, props=props, origin=source["guid"], **crypt.of_clone(store, snapshot))
        files.clone(store.shelf(snapshot), store.shelf(name))
        locked = store.locked(name)
        store.show(name)
    if locked and kind == F:
        core.fail(
            f"cannot mount '/{name}': encryption key not loaded\nfilesystem successfully created, but not mounted"
        )
    return 0


def snapshot(argv: list[str]) -> int:
    """``zfs snapshot``: all or none."""
    found, arguments = options("snapshot", argv, "ro:")
    recursive = any(letter == "r" for letter, _ in found)
    given = assignments([value for letter, value in found if letter == "o"])
    if not arguments:
        refuse("snapshot", "missing snapshot argument")
    with changing() as store:
        wanted: dict[str, str] = {}
        for argument in arguments:
            dataset, at, tail = argument.partition("@")
            if not at:
                refuse("snapshot")
            wrong = names.reason(dataset, snapshot=False)
            if wrong or dataset not in store.datasets:
                refuse("snapshot", f"cannot open '{dataset}': {wrong or 'dataset does not exist'}")
            for owner in [dataset, *(store.below(dataset) if recursive else [])]:
                wanted[f"{owner}@{tail}"] = owner
        many = recursive or len(arguments) > 1
        problem = _snapshot_problem(store, wanted)
        if problem:
            core.fail(problem + ("\nno snapshots were created" if many else ""))
        props = parsed(given, S, "cannot create snapshots : ")
        _take(store, wanted, props)
    return 0


def _snapshot_problem(store: Store, wanted: dict[str, str]) -> str:
    for name in wanted:
        wrong = names.reason(name, snapshot=True, creating=True)
        if wrong:
            return f"cannot create snapshot '{name}': {wrong}"
    if len({name.partition("/")[0].partition("@")[0] for name in wanted}) > 1:
        return "cannot create snapshots : snapshots must be within the same pool"
    owners = list(wanted.values())
    if len(set(owners)) < len(owners):
        return "cannot create snapshots : multiple snapshots of same fs not allowed"
    there = [name for name in wanted if name in store.datasets]
    busy = [name for name, owner in wanted.items() if store.datasets[owner].get("partial", {}).get("new")]
    if busy:
        return f"cannot create snapshot '{busy[0]}': dataset is busy"
    if there:
        return "\n".join(f"cannot create snapshot '{name}': dataset already exists" for name in there)
    return _snapshot_room(store, wanted)


def _snapshot_room(store: Store, wanted: dict[str, str]) -> str:
    """What a reserved volume alone holds must be writable once more beside its snapshot."""
    reserved = {name: store.number(owner, "refreservation") for name, owner in wanted.items()}
    if not core.full() and not any(reserved.values()):
        return ""
    for name, owner in wanted.items():
        room = space.Space(store, owner.partition("/")[0])
        if core.full() or min(room.written[owner], reserved[name]) > room.free:
            return f"cannot create snapshot '{name}': out of space"
    return ""


def _take(store: Store, wanted: dict[str, str], props: dict[str, str]) -> None:
    txg = store.next_txg()
    now = int(time.time())
    for name, owner in wanted.items():
        live = store.datasets[owner]
        more = {}
        if live["type"] == V:
            more["volsize"] = int(live["props"]["volsize"])
            if "volblocksize" in live["props"]:
                more["volblocksize"] = live["props"]["volblocksize"]
        referenced = space.measure(store, owner)
        # Snapshots of one command are of one moment.
        store.add(name, S, txg=txg, props=dict(props), holds={}, creation=now, referenced=referenced, **more)
        files.copy(store.place(owner), store.shelf(name), store.inner_mounts(owner))
        live["snapshots_changed"] = now


def version(argv: list[str]) -> int:
    """``zfs version``."""
    if options("version", argv, "")[1]:
        refuse("version", "too many arguments")
    sys.stdout.write("zfs-2.2.7-FreeBSD_ge269af1b3\nzfs-kmod-2.2.7-FreeBSD_ge269af1b3\n")
    return 0
