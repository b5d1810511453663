"""How a file becomes an image or an install medium: fetched or uploaded, checked, unpacked, put where it belongs.

Nothing that failed a check leaves the transfers of its pool; what is put into the library appears there whole.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urljoin

from pydantic import BaseModel, Field, field_validator, model_validator

from bhype import outside
from bhype.freebsd import names, zfs
from bhype.host import CommandFailed
from bhype.outside.fetch import name_of
from bhype.tasks import OperationFailed, Run
from storage import plan
from storage.models import Pool
from storage.sizes import GIB, human
from storage.uploads import transfers

from . import catalogue, checksums, fetching
from .checksums import BadChecksum, Digest
from .fetching import SPARE

LIMIT = 512 * GIB
UNPACK_SECONDS, SIGNATURE_SECONDS = 6 * 3600, 1800


class SourceParams(BaseModel):
    """Where a file comes from, and how it is known to be the right one.

    Either url, or file: USER/NAME in the imports of the pool. index_url, index_pattern: of an index whose newest name
    is the {name} in the URLs. checksum: hexadecimals; checksum_url: of a file that has it; signature_url: of an OpenPGP
    signature of that file, unless that is signed in clear, or of the file itself where there is no such; signing_key:
    the public keys, armored: with them a signature must be there."""

    url: str = Field("", max_length=1000)
    index_url: str = Field("", max_length=1000)
    index_pattern: str = Field("", max_length=200)
    file: str = Field("", max_length=160)
    checksum: str = Field("", max_length=200)
    checksum_url: str = Field("", max_length=1000)
    signature_url: str = Field("", max_length=1000)
    signing_key: str = Field("", max_length=100_000)

    @field_validator("url", "index_url", "checksum_url", "signature_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        # One that is made of another is looked at when it is known.
        if value and not value.startswith("{url}") and (problem := fetching.problem_of(value)):
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

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.url or self.index_url) == bool(self.file):
            raise ValueError("Give either a URL or a file.")
        if self.index_url and not self.index_pattern:
            raise ValueError("An index needs a pattern of names.")
        if self.checksum and self.checksum_url:
            raise ValueError("Give a checksum or the URL of one, not both.")
        if (self.checksum_url or self.signature_url) and self.file:
            raise ValueError("An uploaded file is checked by a checksum that is given with it.")
        if self.signature_url and not self.signing_key:
            raise ValueError("A signature needs the key by which it is checked.")
        if self.signing_key and not (self.checksum_url or self.signature_url):
            raise ValueError("With a key there must be a signature, or a checksum file that is signed.")
        return self


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
def arrival(run: Run, pool: Pool, source: SourceParams, key: str) -> Iterator[Arrived]:
    """The file, checked and unpacked. What was fetched stays when this is broken off, and goes when it was used or
    did not pass. Raises OperationFailed."""
    check_pool(pool)
    with transfers.workspace(run, pool) as space:
        if not source.file:
            source = resolved(run, source, space)
        arrive = _uploaded if source.file else _fetched
        arrived = arrive(run, pool, source, key, space)
        try:
            yield unpacked(run, arrived, space)
        except fetching.Unable:
            raise
        except OperationFailed:
            # It is not what it should be; fetched again it would not be either.
            fetching.forget(run, pool, key)
            raise
    if not source.file:
        fetching.forget(run, pool, key)
    else:
        transfers.discard(run, pool, source.file)


def check_pool(pool: Pool) -> None:
    """The web process writes rows; root follows only names that are some."""
    try:
        names.pool(pool.name)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error


def resolved(run: Run, source: SourceParams, space: str) -> SourceParams:
    """The source with the newest name that its index has now. Raises OperationFailed."""
    urls = {"url": source.url, "checksum_url": source.checksum_url, "signature_url": source.signature_url}
    if source.index_url:
        place = run.host.path(fetching.fetch_small(run, space, source.index_url))
        try:
            name = catalogue.newest(Path(place).read_text("utf-8", "replace"), source.index_pattern)
        except catalogue.NoNewest as error:
            raise OperationFailed(str(error)) from error
        run.log(f"The newest is {name}.")
        urls["url"] = urls["url"] or urljoin(source.index_url, "{name}")
        urls = {key: catalogue.filled(value, name=name) for key, value in urls.items()}
    urls = {key: catalogue.filled(value, url=urls["url"]) for key, value in urls.items()}
    return source.model_copy(update=urls)


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
    if source.signing_key and source.signature_url and not source.checksum_url:
        try:
            verified.append(check_signature(run, source, source.signature_url, found.path, space).label)
        except OperationFailed:
            fetching.forget(run, pool, key)
            raise
    return Arrived(found.path, fetching.shown(source.url), name, found.sha256, ", ".join(verified))


def _expected(run: Run, source: SourceParams, space: str, name: str, verified: list[str]) -> Digest | None:
    """The digest that the file must have. Raises OperationFailed."""
    try:
        if source.checksum:
            return checksums.parse(source.checksum)
        if not source.checksum_url:
            return None
        path = fetching.fetch_small(run, space, source.checksum_url)
        text = Path(run.host.path(path)).read_text("utf-8", "replace")
        if source.signing_key:
            is_clear = text.startswith("-----BEGIN PGP SIGNED MESSAGE-----") or not source.signature_url
            signed = check_signature(run, source, "" if is_clear else source.signature_url, path, space)
            # What stands around a text that is signed in clear is anybody's.
            text = signed.text if is_clear else text
            verified.append(signed.label)
        return checksums.find(text, name)
    except BadChecksum as error:
        raise OperationFailed(str(error)) from error


@dataclass(frozen=True, slots=True)
class Signed:
    """label: what was checked, in words; text: what is signed, of a file that is signed in clear."""

    label: str
    text: str


def check_signature(run: Run, source: SourceParams, signature_url: str, path: str, space: str) -> Signed:
    """Check who signed the file at ``path``; with no URL it is signed in clear. Raises OperationFailed."""
    signature = b""
    if signature_url:
        place = fetching.fetch_small(run, space, signature_url)
        signature = Path(run.host.path(place)).read_bytes()
        if not signature:
            raise OperationFailed("The signature is empty.")
    request = {
        "path": run.host.path(path),
        "signature": base64.b64encode(signature).decode(),
        "key": source.signing_key,
        "seconds": SIGNATURE_SECONDS,
    }
    run.stage("Checking the signature")
    answer = fetching.ask(run, "signature", request, SIGNATURE_SECONDS + 60.0)
    run.log(f"Signed with the key {answer['key']}.")
    label = "OpenPGP, expired key" if answer["is_expired"] else "OpenPGP"
    return Signed(label, answer["text"])


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
            transfers.discard(run, pool, source.file)
            raise OperationFailed(
                f"The {expected.label} of {name} is not the one that was announced. The file was thrown away."
            )
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
