"""What the worker does to the install media of the library: files in POOL/bhype/isos, which appear there whole.

What is being written has a hidden name, `.DIGEST.new`, that no VM and no list takes for a medium.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from django.db import transaction
from pydantic import BaseModel, Field, field_validator

from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from storage import plan
from storage.models import Iso, Pool

from . import arriving, fetching
from .arriving import Arrived, SourceParams

COPY = 1 << 22


def _medium(value: str) -> str:
    if not plan.is_medium(value):
        raise ValueError(
            "A medium's name ends with .iso or .img and has letters, digits, blanks and . _ + -."
        )
    return value


class NewIsoParams(SourceParams):
    pool_id: int
    name: str = Field(max_length=128)

    _is_medium = field_validator("name")(_medium)


class IsoParams(BaseModel):
    iso_id: int


class RenameParams(IsoParams):
    name: str = Field(max_length=128)

    _is_medium = field_validator("name")(_medium)


def _pool_of(params: NewIsoParams) -> Pool | None:
    return Pool.objects.select_related("host").filter(pk=params.pool_id).first()


def _iso_of(params: IsoParams) -> Iso | None:
    return Iso.objects.select_related("pool__host").filter(pk=params.iso_id).first()


def _words(params: IsoParams) -> dict[str, str]:
    iso = _iso_of(params)
    pool, medium = (str(iso.pool_id), iso.name) if iso else ("0", f"medium {params.iso_id}")
    return {"medium": medium, "pool": pool}


_new_operation = partial(operation, lock="iso:{pool_id}:{name}", subject="isos", target=_pool_of)
_iso_operation = partial(
    operation,
    right="storage.change",
    lock="iso:{pool}:{medium}",
    subject="isos",
    target=_iso_of,
    describe=_words,
)


@_new_operation(
    "storage.fetch_iso",
    "Fetch the install medium {name}",
    right="storage.change",
    recover="storage.recover_iso",
)
def fetch_iso(run: Run, params: NewIsoParams) -> None:
    """Fetch an install medium, check it and put it into the library."""
    _make(run, params)


@_new_operation(
    "storage.make_iso", "Put {name} into the library", right="storage.change", recover="storage.recover_iso"
)
def make_iso(run: Run, params: NewIsoParams) -> None:
    """Put an uploaded file into the library as an install medium."""
    _make(run, params)


def _make(run: Run, params: NewIsoParams) -> None:
    pool = _pool(run, params)
    if os.path.lexists(run.host.path(_path(pool, params.name))):
        raise OperationFailed(f"There is already a medium {params.name}.")
    with (
        arriving.arrival(run, pool, params, _key(params)) as arrived,
        _draft(run, pool, params.name) as draft,
    ):
        run.stage("Putting it into the library", percent=85)
        size = _copy(run, arrived.path, draft)
        _keep(run, pool, params.name, arrived, size)
    run.result(name=params.name, size=size)


def _pool(run: Run, params: NewIsoParams) -> Pool:
    pool = _pool_of(params)
    if pool is None:
        raise OperationFailed("The pool is not on this host any more.")
    arriving.check_pool(pool)
    arriving.require_part(run, pool, "isos")
    return pool


def _path(pool: Pool, name: str) -> str:
    return f"/{pool.home}/isos/{name}"


def _key(params: NewIsoParams) -> str:
    return fetching.key_of("iso", params.pool_id, params.name, params.url)


def _new_path(pool: Pool, name: str) -> str:
    # Not its beginning: two long names may have the same.
    return _path(pool, f".{hashlib.sha256(name.encode()).hexdigest()[:40]}.new")


@contextmanager
def _draft(run: Run, pool: Pool, name: str) -> Iterator[str]:
    """Where the medium is written; gone afterwards unless it has been renamed."""
    path = _new_path(pool, name)
    run.host.unlink(path)
    try:
        yield path
    finally:
        run.host.unlink(path)


def _copy(run: Run, source: str, target: str) -> int:
    """Copy a file of the workspace, leaving holes; its size."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with (
        Path(run.host.path(source)).open("rb") as file,
        os.fdopen(os.open(run.host.path(target), flags, 0o644), "wb") as out,
    ):
        size = os.fstat(file.fileno()).st_size
        while block := file.read(COPY):
            if block.strip(b"\0"):
                out.write(block)
            else:
                out.seek(len(block), os.SEEK_CUR)
            run.check_cancelled()
        out.truncate(size)
        out.flush()
        os.fsync(out.fileno())
    if not size:
        raise OperationFailed("The file is empty.")
    return size


def _keep(run: Run, pool: Pool, name: str, arrived: Arrived, size: int) -> None:
    """Let the draft be the medium, and write its row before the observer does, or over what that has written."""
    facts = {"source": arrived.source[:1000], "sha256": arrived.sha256, "verified": arrived.verified[:100]}
    _rename(run, _new_path(pool, name), _path(pool, name))
    with transaction.atomic():
        Iso.objects.update_or_create(pool=pool, name=name, defaults={"size": size, **facts})
        publish("isos", "pools")


def _rename(run: Run, source: str, target: str) -> None:
    os.link(run.host.path(source), run.host.path(target), follow_symlinks=False)  # never over another
    run.host.unlink(source)


@_new_operation("storage.recover_iso", "Tidy up after the medium {name}")
def recover_iso(run: Run, params: NewIsoParams) -> None:
    """Remove what is half written of a medium. What was fetched stays: another try goes on from there."""
    run.host.unlink(_new_path(_pool(run, params), params.name))
    publish("isos")


def _found(run: Run, params: IsoParams) -> Iso:
    """The medium, which is a plain file of the library and in no VM's drive. Raises OperationFailed."""
    iso = _iso_of(params)
    if iso is None or not plan.is_medium(iso.name):
        raise OperationFailed("The install medium is not in the library any more.")
    arriving.check_pool(iso.pool)
    arriving.require_part(run, iso.pool, "isos")
    if users := users_of(iso):
        raise OperationFailed(f"{iso.name} is in the drive of {', '.join(users)}. Take it out first.")
    return iso


def users_of(iso: Iso) -> list[str]:
    """The names of the VMs that have it in a drive."""
    return sorted(set(iso.drives.values_list("vm__name", flat=True)))


@_iso_operation("storage.delete_iso", "Delete the install medium {medium}")
def delete_iso(run: Run, params: IsoParams) -> None:
    """Delete a medium that no VM has in a drive."""
    iso = _found(run, params)
    _require_plain(run, iso.path)
    run.host.unlink(iso.path)
    with transaction.atomic():
        iso.delete()
        publish("isos", "pools")


@_iso_operation("storage.rename_iso", "Rename the install medium {medium}", recover="storage.rename_iso")
def rename_iso(run: Run, params: RenameParams) -> None:
    """Rename a medium that no VM has in a drive. May be repeated after it was broken off."""
    iso = _found(run, params)
    _require_plain(run, iso.path)
    target = _path(iso.pool, params.name)
    if iso.name == params.name:
        return
    if not run.host.exists(iso.path):
        raise OperationFailed(f"{iso.path} is not there.")
    if not os.path.lexists(run.host.path(target)):
        _rename(run, iso.path, target)
    elif _are_one(run, iso.path, target):
        run.host.unlink(iso.path)
    else:
        raise OperationFailed(f"There is already a medium {params.name}.")
    with transaction.atomic():
        # The observer may have seen it under the new name already.
        Iso.objects.filter(pool=iso.pool, name=params.name).exclude(pk=iso.pk).delete()
        Iso.objects.filter(pk=iso.pk).update(name=params.name)
        publish("isos", "pools")


def _require_plain(run: Run, path: str) -> None:
    place = Path(run.host.path(path))
    if place.is_symlink() or (place.exists() and not stat.S_ISREG(place.lstat().st_mode)):
        raise OperationFailed(f"{path} is not a plain file.")


def _are_one(run: Run, one: str, other: str) -> bool:
    """Whether two names are of the same file."""
    return os.path.samestat(os.lstat(run.host.path(one)), os.lstat(run.host.path(other)))
