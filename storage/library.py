"""How a file becomes an image or an install medium: fetched or uploaded, checked, unpacked, put where it belongs.

Nothing that failed a check leaves the transfers of its pool; what is put into the library appears there whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from bhype import outside
from bhype.freebsd import names, zfs
from bhype.host import CommandFailed
from bhype.outside.fetch import name_of
from bhype.tasks import OperationFailed, Run

from . import checksums, fetching, plan, transfers
from .checksums import BadChecksum, Digest
from .fetching import SPARE
from .models import Pool
from .sizes import GIB, human

LIMIT = 512 * GIB
UNPACK_SECONDS = 6 * 3600


class SourceParams(BaseModel):
    """Where a file comes from, and how it is known to be the right one. Either url, or file: USER/NAME in the imports
    of the pool. checksum: hexadecimals; checksum_url: of a file that has it; signature_url: of an OpenPGP signature of
    that file, or of the file itself where there is none; signing_key: the public key, armored."""

    url: str = Field("", max_length=1000)
    file: str = Field("", max_length=160)
    checksum: str = Field("", max_length=200)
    checksum_url: str = Field("", max_length=1000)
    signature_url: str = Field("", max_length=1000)
    signing_key: str = Field("", max_length=100_000)

    @field_validator("url", "checksum_url", "signature_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value and (problem := fetching.problem_of(value)):
            raise ValueError(problem)
        return value

    @field_validator("file")
    @classmethod
    def _is_file(cls, value: str) -> str:
        if value and not transfers.is_file(value):
            raise ValueError("This is not the name of a file for import.")
        return value

    @field_validator("checksum")
    @classmethod
    def _is_checksum(cls, value: str) -> str:
        if value:
            checksums.parse(value)
        return value


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file that was checked, in the workspace of its task or among the fetches. source: where it came from;
    name: its own, unpacked; sha256: of it as it came; verified: what was checked, in words."""

    path: str
    source: str
    name: str
    sha256: str
    verified: str


@contextmanager
def arrival(run: Run, pool: Pool, source: SourceParams, key: str) -> Iterator[tuple[Arrived, str]]:
    """The file, checked and unpacked, and the workspace of the task, which goes afterwards. What was fetched stays
    when this is broken off, and goes when it was used or did not pass. Raises OperationFailed."""
    check_pool(pool)
    with transfers.workspace(run, pool) as space:
        arrive = _fetched if source.url else _uploaded
        arrived = arrive(run, pool, source, key, space)
        yield unpacked(run, arrived, space), space
    fetching.forget(run, pool, key)


def check_pool(pool: Pool) -> None:
    """The web process writes rows; root follows only names that are some."""
    try:
        names.pool(pool.name)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error


def _fetched(run: Run, pool: Pool, source: SourceParams, key: str, space: str) -> Arrived:
    verified: list[str] = []
    name = name_of(source.url)
    expected = _expected(run, source, space, name, verified)
    found = fetching.fetch(run, pool, key, source.url, (2, 70))
    if expected is not None:
        if not found.has(expected):
            fetching.forget(run, pool, key)
            raise OperationFailed(
                f"What was fetched is not what was announced: its {expected.label} is "
                f"{found.sha256 if expected.algorithm == 'sha256' else found.sha512}, not {expected.value}. "
                "It was thrown away."
            )
        verified.insert(0, expected.label)
    return Arrived(found.path, fetching.shown(source.url), name, found.sha256, ", ".join(verified))


def _expected(run: Run, source: SourceParams, space: str, name: str, verified: list[str]) -> Digest | None:
    """The digest that the file must have. Raises OperationFailed."""
    try:
        if source.checksum:
            return checksums.parse(source.checksum)
        if not source.checksum_url:
            return None
        text = fetching.fetch_bytes(run, space, source.checksum_url).decode("utf-8", "replace")
        return checksums.find(text, name)
    except BadChecksum as error:
        raise OperationFailed(str(error)) from error


def _uploaded(run: Run, pool: Pool, source: SourceParams, _key: str, space: str) -> Arrived:
    path = transfers.take(run, pool, source.file, space)
    run.stage("Checking", percent=5)
    kinds = {"sha256": hashlib.sha256(), "sha512": hashlib.sha512()}
    with Path(run.host.path(path)).open("rb") as file:
        while block := file.read(1 << 20):
            for kind in kinds.values():
                kind.update(block)
            run.check_cancelled()
    name = source.file.rpartition("/")[2]
    verified = ""
    if source.checksum:
        expected = checksums.parse(source.checksum)
        if kinds[expected.algorithm].hexdigest() != expected.value:
            raise OperationFailed(f"The {expected.label} of {name} is not the one that was announced.")
        verified = expected.label
    return Arrived(path, name, name, kinds["sha256"].hexdigest(), verified)


def unpacked(run: Run, arrived: Arrived, space: str) -> Arrived:
    """The file itself, where it is packed what is in it."""
    ear = outside.Ear()
    target = f"{space}/unpacked"

    def heard(piece: str) -> None:
        for told in ear.hear(piece):
            if told.get("of"):
                share = told["read"] / told["of"]
                run.stage(f"Unpacking: {human(int(told['size']))}", percent=70 + 10 * share)

    request = {
        "source": run.host.path(arrived.path),
        "target": run.host.path(target),
        "limit": LIMIT,
        "spare": SPARE,
        "seconds": UNPACK_SECONDS,
    }
    run.stage("Unpacking", percent=70)
    answer = fetching.ask(run, "unpack", request, UNPACK_SECONDS + 600.0, heard)
    if not answer["kind"]:
        return arrived
    run.log(f"Unpacked ({answer['kind']}): {human(answer['size'])}")
    inner = answer.get("name") or arrived.name.rpartition(".")[0]
    return Arrived(target, arrived.source, inner, arrived.sha256, arrived.verified)


def require_part(run: Run, pool: Pool, part: str) -> None:
    """Raise OperationFailed unless the part of a pool's home ("images", "isos") is there and bHype's own."""
    name = f"{pool.home}/{part}"
    try:
        found = run.host.query(zfs.get_property(name, zfs.ID_PROPERTY))
    except CommandFailed as error:
        raise OperationFailed(f"There is no dataset {name}: adopt the pool again.") from error
    if not found.is_local or found.value != plan.HOME_ID:
        raise OperationFailed(f"{name} was not made by bHype.")
