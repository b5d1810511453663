"""The panel's command lines and a real zfs(8) of another make: zfs-fuse, pool version 23, on a file.

A quick look, collected by ``make test-long``: seconds, no guest. What zfs-fuse is too old for is left out: volumes,
bookmarks, ``list -p``, ``diff``, ``destroy -n``, ``receive -o``, encryption.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from bhype.freebsd import zfs, zfs_keys, zfs_snapshots
from bhype.freebsd.command import Command, Query
from bhype.host import CommandFailed, LocalHost, leash

T = TypeVar("T")

pytestmark = pytest.mark.root

SBIN = "/usr/sbin:/sbin"
INSTALL = "apt-get install --no-install-recommends --no-remove zfs-fuse"
PATIENCE = 60.0
# Its socket, lock and cache of pools have fixed places. In a mount namespace of its own these are empty, and it meets
# no zfs-fuse that this machine may run. No fork: the process that is started becomes the daemon.
START = """
mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib/zfs && mkdir -p /run/zfs /run/lock/zfs &&
exec zfs-fuse -n --no-kstat-mount -a 0 -e 0 -m 64
"""


class ZfsFuse:
    """A pool "tank" of a zfs-fuse of its own, in a private mount namespace.

    Nothing of it is seen outside, and all its mounts go with its last process. Daemon and commands are on this
    process's leash: they end with it, however that ends.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._host = LocalHost(leashed=True)
        shell = [_program("unshare"), "-m", "--propagation", "private", "/bin/sh", "-c", START]
        with (folder / "log").open("wb") as log:
            self.daemon = subprocess.Popen(
                leash.words(shell),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PATH": SBIN + ":/usr/bin:/bin"},
            )
        try:
            self._wait()
            (folder / "disk").touch()
            os.truncate(folder / "disk", 256 << 20)
            words = ("create", "-O", "atime=off", "-m", str(folder / "tank"), "tank", str(folder / "disk"))
            self._host.run(self._inside(Command((_program("zpool"), *words))))
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self.daemon.poll() is None and time.monotonic() < deadline, (
                "zfs-fuse does not start (it needs root, /dev/fuse and the right to mount): "
                + (self.folder / "log").read_text()
            )
            # Before the namespace is there, zpool(8) would speak to this machine's own daemon.
            if Path(f"/proc/{self.daemon.pid}/comm").read_text().strip() == "zfs-fuse":
                with contextlib.suppress(CommandFailed):
                    self._host.run(self._inside(Command((_program("zpool"), "list"))))
                    return
            time.sleep(0.02)

    def _inside(self, command: Command) -> Command:
        words = (_program("nsenter"), "-m", "-t", str(self.daemon.pid), "--")
        return replace(command, argv=(*words, _program(Path(command.argv[0]).name), *command.argv[1:]))

    def run(self, command: Command) -> None:
        """A command that changes something. Raises CommandFailed.

        FUSE unmounts in its own time, so the first destroy or rename of what was mounted finds it busy.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self._host.run(self._inside(command))
                return
            except CommandFailed as error:
                is_busy = (
                    command.argv[1] in {"destroy", "rename", "unmount"} and "is busy" in error.result.stderr
                )
                if not is_busy or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def rename(self, dataset: str, target: str) -> None:
        """Rename a mounted filesystem. One that zfs(8) itself unmounts for it is busy at every try, see `run`."""
        self.run(zfs_keys.unmount(dataset))
        self.run(zfs.rename(dataset, target))
        self.run(zfs.mount(target))

    def refuses(self, command: Command, why: str) -> None:
        with pytest.raises(CommandFailed) as caught:
            self._host.run(self._inside(command))
        assert why in caught.value.result.stderr

    def query(self, query: Query[T]) -> T:
        return self._host.query(replace(query, command=self._inside(query.command)))

    def pipe(self, source: Command, sink: Command) -> int:
        return self._host.pipe(self._inside(source), self._inside(sink))

    def names(self, root: str, kind: str) -> list[str]:
        """What is there; the panel's own lists ask for -p, which this zfs(8) does not know."""
        words = ("list", "-H", "-r", "-t", kind, "-o", "name", root)
        return self._host.run(self._inside(Command((zfs.PROGRAM, *words)))).stdout.split()

    def path(self, dataset: str) -> Path:
        """Where the files of a filesystem lie, seen from outside."""
        return Path(f"/proc/{self.daemon.pid}/root{self.folder}") / dataset

    def write(self, dataset: str, name: str, size: int = 300_000) -> None:
        (self.path(dataset) / name).write_bytes(random.Random(f"{dataset} {name}").randbytes(size))

    def digest(self, dataset: str) -> str:
        """Of the names and bytes of all files of a filesystem, without those below it."""
        assert self.query(zfs.get_property(dataset, "mounted")).value == "yes"
        found = hashlib.sha256()
        for path in sorted(self.path(dataset).iterdir()):
            if path.is_file():
                found.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return found.hexdigest()

    def close(self) -> None:
        self.daemon.kill()
        self.daemon.wait(PATIENCE)


def _program(name: str) -> str:
    return shutil.which(name, path=SBIN + ":/usr/bin:/bin") or pytest.fail(
        f"{name} is not there: {INSTALL}" if name.startswith("z") else f"{name} (util-linux) is not there"
    )


@contextlib.contextmanager
def started(folder: Path) -> Iterator[ZfsFuse]:
    # Not OpenZFS's zfs(8), which has the same name and speaks to this machine's own pools.
    _program("zfs-fuse")
    fuse = ZfsFuse(folder)
    try:
        yield fuse
    finally:
        fuse.close()


def traces(folder: Path) -> list[str]:
    """The processes that still see something mounted in ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder) in (process / "mountinfo").read_text():
                found.append(process.name)
    return found


def is_gone(folder: Path) -> bool:
    """Whether nothing is mounted in ``folder`` any more; a umount(8) of the daemon's may need a moment to end."""
    deadline = time.monotonic() + PATIENCE
    while traces(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not traces(folder)


@pytest.fixture(scope="module")
def fuse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZfsFuse]:
    folder = tmp_path_factory.mktemp("fuse")
    with started(folder) as fuse:
        fuse.run(zfs.create_filesystem("tank/bhype"))
        yield fuse
    assert is_gone(folder)


@pytest.fixture
def vm(fuse: ZfsFuse, request: pytest.FixtureRequest) -> Iterator[str]:
    """The dataset of a VM with bHype's mark, another one below it, and files in both."""
    name = f"tank/bhype/{request.node.name.removeprefix('test_')}"
    fuse.run(zfs.create_filesystem(f"{name}/vm", {zfs.ID_PROPERTY: str(uuid.uuid4())}, parents=True))
    fuse.run(zfs.create_filesystem(f"{name}/vm/nvram", {"compression": "on"}))
    fuse.write(f"{name}/vm", "disk0")
    fuse.write(f"{name}/vm/nvram", "vars.fd")
    yield f"{name}/vm"
    fuse.run(zfs.destroy(name, recursive=True))
    assert name not in fuse.names("tank", "filesystem")


def test_the_mark_is_local_and_inherited_below(fuse, vm):
    mark = fuse.query(zfs.get_property(vm, zfs.ID_PROPERTY))
    assert mark.is_local
    assert uuid.UUID(mark.value)
    below = fuse.query(zfs.get_property(f"{vm}/nvram", zfs.ID_PROPERTY))
    assert (below.value, below.is_local) == (mark.value, False)
    fuse.run(zfs.set_property(f"{vm}/nvram", zfs.ID_PROPERTY, "another"))
    assert fuse.query(zfs.get_property(f"{vm}/nvram", zfs.ID_PROPERTY)) == zfs.Property("another", "local")
    fuse.run(zfs.inherit(f"{vm}/nvram", zfs.ID_PROPERTY))
    assert fuse.query(zfs.get_property(f"{vm}/nvram", zfs.ID_PROPERTY)) == below
    # Made again with -p, it stays what it is.
    fuse.run(zfs.create_filesystem(vm, {zfs.ID_PROPERTY: "other"}, parents=True))
    assert fuse.query(zfs.get_property(vm, zfs.ID_PROPERTY)) == mark


def test_a_tree_goes_back_to_its_snapshots(fuse, vm):
    properties = zfs_snapshots.properties("manual", "before the upgrade: 100 % safe")
    before = fuse.digest(vm), fuse.digest(f"{vm}/nvram")
    fuse.run(zfs.snapshot(f"{vm}@one", properties, recursive=True))
    assert fuse.names(vm, "snapshot") == [f"{vm}@one", f"{vm}/nvram@one"]
    for key, value in properties.items():
        assert fuse.query(zfs.get_property(f"{vm}/nvram@one", key)) == zfs.Property(value, "local")
    mark = fuse.query(zfs.get_property(f"{vm}@one", zfs.ID_PROPERTY))
    assert mark.value == fuse.query(zfs.get_property(vm, zfs.ID_PROPERTY)).value

    fuse.write(vm, "new")
    (fuse.path(f"{vm}/nvram") / "vars.fd").write_bytes(b"broken")
    fuse.run(zfs.snapshot(f"{vm}@two"))
    assert fuse.digest(vm) != before[0]
    fuse.refuses(zfs.rollback(f"{vm}@one"), "more recent snapshots exist")
    fuse.run(zfs.rollback(f"{vm}@one", destroy_newer=True))
    fuse.run(zfs.rollback(f"{vm}/nvram@one"))
    assert (fuse.digest(vm), fuse.digest(f"{vm}/nvram")) == before
    assert fuse.names(vm, "snapshot") == [f"{vm}@one", f"{vm}/nvram@one"]


def test_a_note_is_changed_and_taken_away(fuse, vm):
    fuse.run(zfs.snapshot(f"{vm}@one", zfs_snapshots.properties("manual", "first")))
    fuse.run(zfs_snapshots.annotate(f"{vm}@one", "second"))
    assert fuse.query(zfs.get_property(f"{vm}@one", zfs_snapshots.NOTE_PROPERTY)).value == "second"
    fuse.run(zfs_snapshots.annotate(f"{vm}@one", ""))
    assert fuse.query(zfs.get_property(f"{vm}@one", zfs_snapshots.NOTE_PROPERTY)).value is None


def test_a_clone_is_promoted_and_outlives_its_origin(fuse, vm):
    base, clone = vm, vm.replace("/vm", "/clone")
    before = fuse.digest(base)
    fuse.run(zfs.snapshot(f"{base}@base"))
    fuse.run(zfs.clone(f"{base}@base", clone, {zfs.ID_PROPERTY: "clone"}))
    assert fuse.digest(clone) == before
    assert fuse.query(zfs.get_property(clone, "origin")).value == f"{base}@base"
    assert fuse.query(zfs.get_property(clone, zfs.ID_PROPERTY)) == zfs.Property("clone", "local")
    fuse.write(clone, "own")
    assert fuse.digest(base) == before
    with_own = fuse.digest(clone)
    fuse.refuses(zfs.destroy(base, recursive=True), "has dependent clones")

    fuse.run(zfs.promote(clone))
    assert fuse.query(zfs.get_property(clone, "origin")).value is None
    assert fuse.query(zfs.get_property(base, "origin")).value == f"{clone}@base"
    fuse.run(zfs.destroy(base, recursive=True))
    moved = clone.replace("/clone", "/renamed")
    fuse.rename(clone, moved)
    assert fuse.digest(moved) == with_own
    assert fuse.names(moved, "snapshot") == [f"{moved}@base"]


def test_what_is_held_stays(fuse, vm):
    fuse.run(zfs.snapshot(f"{vm}@one", recursive=True))
    fuse.run(zfs_snapshots.hold("backup", f"{vm}@one", recursive=True))
    fuse.run(zfs_snapshots.hold("template", f"{vm}@one"))
    fuse.refuses(zfs_snapshots.hold("backup", f"{vm}@one"), "tag already exists")
    fuse.run(zfs_snapshots.release("backup", f"{vm}@one", recursive=True))
    fuse.refuses(zfs_snapshots.destroy(vm, ["one"]), "dataset is busy")
    fuse.run(zfs_snapshots.destroy(f"{vm}/nvram", ["one"]))
    assert fuse.names(vm, "snapshot") == [f"{vm}@one"]
    fuse.run(zfs_snapshots.release("template", f"{vm}@one"))
    fuse.run(zfs_snapshots.destroy(vm, ["one"], recursive=True))
    assert fuse.names(vm, "snapshot") == []


def test_a_replica_gets_the_tree_and_increments(fuse, vm):
    replica = vm.replace("/vm", "/replica")
    fuse.run(zfs.snapshot(f"{vm}@one", zfs_snapshots.properties("manual", "first"), recursive=True))
    whole = fuse.pipe(zfs.send(f"{vm}@one", replicate=True), zfs.receive(replica, mounted=False))
    assert whole > 600_000
    assert fuse.names(replica, "snapshot") == [f"{replica}@one", f"{replica}/nvram@one"]
    mark = fuse.query(zfs.get_property(replica, zfs.ID_PROPERTY))
    assert mark.is_local
    assert mark.value == fuse.query(zfs.get_property(vm, zfs.ID_PROPERTY)).value
    note = fuse.query(zfs.get_property(f"{replica}/nvram@one", zfs_snapshots.NOTE_PROPERTY))
    assert note.value == "first"

    fuse.write(vm, "disk1", 50_000)
    (fuse.path(vm) / "disk0").unlink()
    fuse.run(zfs.snapshot(f"{vm}@two"))
    # The panel has no command line for increments of its own.
    increment = Command((zfs.PROGRAM, "send", "-i", "@one", f"{vm}@two"))
    assert 50_000 < fuse.pipe(increment, zfs.receive(replica, mounted=False)) < 200_000
    fuse.run(zfs.mount(replica))
    fuse.run(zfs.mount(f"{replica}/nvram"))
    assert fuse.digest(replica) == fuse.digest(vm)
    assert fuse.digest(f"{replica}/nvram") == fuse.digest(f"{vm}/nvram")
    assert fuse.query(zfs.get_property(f"{replica}@two", "guid")) == fuse.query(
        zfs.get_property(f"{vm}@two", "guid")
    )
    with pytest.raises(CommandFailed, match="must specify -F"):
        fuse.pipe(zfs.send(f"{vm}@one"), zfs.receive(replica))
    assert fuse.names(replica, "snapshot") == [f"{replica}@one", f"{replica}@two", f"{replica}/nvram@one"]


def test_a_failure_leaves_no_daemon_and_no_mounts(tmp_path):
    with pytest.raises(CommandFailed, match="does not exist"), started(tmp_path) as fuse:
        fuse.run(zfs.create_filesystem("tank/a"))
        fuse.write("tank/a", "disk0")
        assert str(fuse.daemon.pid) in traces(tmp_path)
        fuse.run(zfs.destroy("tank/b"))
    assert fuse.daemon.returncode is not None
    assert is_gone(tmp_path)


def test_a_missing_program_is_named_with_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SBIN", "/nonexistent")
    why = r"zfs-fuse is not there: apt-get install .* zfs-fuse"
    with pytest.raises(pytest.fail.Exception, match=why), started(tmp_path):
        pass
