"""Fetches a file by HTTP, in as many goes as it takes: what is there already is kept when the server says by its
validator that the rest is of the same file (RFC 9110: Range, If-Range, Content-Range, ETag, Last-Modified).

http.client does the protocol; the connection is made here, to an address that was looked at (`address`), and each
redirect is looked at anew. There is no proxy, no cookie, no password.

The request: url, path (the file), memory (beside it: what the server said of the file), allow (networks), limit
(bytes), spare (bytes that stay free on the disk), seconds (for all), stall (seconds without a byte), tries (goes in a
row that bring nothing). The answer: url (where it was), size, name, sha256, sha512.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - before this process becomes nobody, who may not read it
import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from bhype.outside import address, cage
from bhype.outside.cage import Refused

REDIRECTS = 5
BLOCK = 1 << 18
AGENT = "bHype"
# Asked every so many bytes: whether the disk still has room.
ROOM_STEP = 64 << 20
MEMORY = 1 << 30
LONGEST_URL = 2000
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)
# A proxy or a busy server may do better in a moment.
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class Broken(Exception):
    """This go is over; another one may bring more."""


@dataclass(slots=True)
class Known:
    """What the server said of the file of which a part is there: a strong ETag, or when it was changed last; the
    size, None when it did not say."""

    url: str = ""
    etag: str = ""
    modified: str = ""
    size: int | None = None

    @property
    def validator(self) -> str:
        return self.etag or self.modified


@dataclass(slots=True)
class Job:
    """The request, with its files opened."""

    url: str
    file: int
    notes: int
    allow: list[address.Network]
    limit: int
    spare: int
    deadline: float
    stall: float
    tries: int


def parts_of(url: str) -> SplitResult:
    """The parts of a URL that may be fetched. Raises Refused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Refused("This is not a URL.") from error
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise Refused("A URL has at most 2000 letters, digits and signs of ASCII, and no blanks.")
    if parts.scheme not in {"http", "https"}:
        raise Refused("Only http and https are fetched.")
    if not parts.hostname or port == 0:
        raise Refused("The URL names no host.")
    if parts.username is not None or parts.password is not None:
        raise Refused("A URL with a user or a password is not fetched.")
    return parts


def name_of(url: str) -> str:
    """The name of the file at a URL; "" where it has none."""
    return unquote(urlsplit(url).path).rpartition("/")[2]


def main(request: Mapping[str, Any]) -> dict[str, Any]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    job = Job(
        url=request["url"],
        file=os.open(request["path"], flags, 0o600),
        notes=os.open(request["memory"], flags, 0o600),
        allow=address.networks(request["allow"]),
        limit=request["limit"],
        spare=request["spare"],
        deadline=time.monotonic() + request["seconds"],
        stall=request["stall"],
        tries=request["tries"],
    )
    context = ssl.create_default_context()
    cage.enter(seconds=int(request["seconds"]) + 60, memory=MEMORY, size=job.limit + BLOCK)
    return Fetch(job, context).run()


class Fetch:
    def __init__(self, job: Job, context: ssl.SSLContext) -> None:
        self._job = job
        self._context = context
        self._progress = cage.Progress()
        self._known = _recall(job)
        self._began = time.monotonic()
        self._first = self._done
        self._anew = 0

    @property
    def _done(self) -> int:
        return os.fstat(self._job.file).st_size

    def run(self) -> dict[str, Any]:
        """Fetch until it is whole. Raises Refused."""
        idle = 0
        while True:
            before = self._done
            try:
                place = self._go()
                break
            except Broken as error:
                idle = 0 if self._done > before else idle + 1
                if idle >= self._job.tries:
                    raise Refused(f"{error} It was tried {self._job.tries} times.") from error
                pause = min(30.0, 2.0**idle / 2)
                if time.monotonic() + pause > self._job.deadline:
                    raise Refused("It takes longer than it may.") from error
                self._tell(now=True, waiting=str(error))
                time.sleep(pause)
        os.fsync(self._job.file)
        return {"url": place, "name": name_of(place), "size": self._done, **self._digests()}

    # -- one go --------------------------------------------------------------------------------------

    def _go(self) -> str:
        """Fetch what is missing; the URL where it was. Raises Broken and Refused."""
        done = self._done
        if done and (not self._known.validator or self._known.url != self._job.url):
            self._forget()
            done = 0
        if done and self._known.size == done:
            return self._known.url
        headers = {"User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
        if done:
            headers |= {"Range": f"bytes={done}-", "If-Range": self._known.validator}
        connection, answer, place = self._ask(headers)
        with contextlib.closing(connection):
            self._begin(answer, done)
            try:
                self._take(answer)
            except (OSError, http.client.HTTPException) as error:
                raise Broken(f"The connection was lost: {_why(error)}.") from error
        if self._known.size is not None and self._done != self._known.size:
            raise Broken(f"The server sent {self._done} of {self._known.size} bytes.")
        return place

    def _ask(
        self, headers: dict[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse, str]:
        """The answer that is none of the redirects, and where it was."""
        url, parts = self._job.url, parts_of(self._job.url)
        for _ in range(REDIRECTS + 1):
            connection = self._connect(parts)
            try:
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", target, headers=headers)
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                raise Broken(f"{parts.hostname} does not answer as it should: {_why(error)}.") from error
            if answer.status not in {301, 302, 303, 307, 308}:
                return connection, answer, url
            url = urljoin(url, answer.getheader("Location") or "")
            connection.close()
            before, parts = parts, parts_of(url)
            if before.scheme == "https" and parts.scheme == "http":
                raise Refused(f"{before.hostname} leads from https to http.")
        raise Refused(f"It leads on more than {REDIRECTS} times.")

    def _connect(self, parts: SplitResult) -> http.client.HTTPConnection:
        """A connection to an address that was looked at. Raises Refused and Broken."""
        host = str(parts.hostname)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        timeout = min(self._job.stall, self._left())
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.default_port = 443 if parts.scheme == "https" else 80  # left out of the header Host
        failure: Exception | None = None
        for family, place in address.resolve(host, port, self._job.allow):
            plain = socket.socket(family, socket.SOCK_STREAM)
            plain.settimeout(timeout)
            try:
                plain.connect(place)
                connection.sock = (
                    self._context.wrap_socket(plain, server_hostname=host)
                    if parts.scheme == "https"
                    else plain
                )
            except ssl.SSLCertVerificationError as error:
                plain.close()
                raise Refused(f"The certificate of {host} is not valid: {error.verify_message}.") from error
            except OSError as error:
                plain.close()
                failure = error
            else:
                return connection
        raise Broken(f"{host} cannot be reached: {_why(failure)}.")

    def _begin(self, answer: http.client.HTTPResponse, done: int) -> None:
        """Look at the head of the answer: whether it goes on from ``done``, begins anew, or is none."""
        status = answer.status
        if status == 206 and done:
            found = _RANGE.fullmatch(answer.getheader("Content-Range") or "")
            size = int(found[3]) if found and found[3] != "*" else self._known.size
            if found and int(found[1]) == done and (self._known.size in {None, size}):
                self._known.size = size
                self._check_size(size)
                return
            self._forget()
            raise Broken("The server answered with another part than was asked for.")
        if status == 416 and done:
            self._forget()
            raise Broken("The file has changed on the server.")
        if status in _BUSY:
            raise Broken(f"The server says {status} {answer.reason}.")
        if status != 200:
            raise Refused(f"The server says {status} {answer.reason}.")
        self._forget()
        length = answer.getheader("Content-Length") or ""
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None
        self._check_size(size)
        self._known = Known(self._job.url, _strong(answer.getheader("ETag")), _date(answer), size)
        _remember(self._job, self._known)

    def _take(self, answer: http.client.HTTPResponse) -> None:
        """Write what comes behind what is there."""
        checked = done = self._done
        while block := answer.read1(BLOCK):
            if done + len(block) > self._job.limit:
                raise Refused(f"It has more than the {self._job.limit} bytes that are allowed.")
            if done - checked >= ROOM_STEP:
                self._check_room(0)
                checked = done
            _write(self._job.file, block, done)
            done += len(block)
            self._left()
            self._tell()
        if answer.length:  # read1 ends quietly where a server that told a length goes away
            raise http.client.IncompleteRead(b"", answer.length)

    def _left(self) -> float:
        left = self._job.deadline - time.monotonic()
        if left <= 0:
            raise Refused("It takes longer than it may.")
        return left

    def _check_size(self, size: int | None) -> None:
        if size is not None and size > self._job.limit:
            raise Refused(f"It has {size} bytes; {self._job.limit} are allowed.")
        self._check_room((size or 0) - self._done)

    def _check_room(self, wanted: int) -> None:
        room = os.fstatvfs(self._job.file)
        free = room.f_bavail * room.f_frsize
        if free - max(0, wanted) < self._job.spare:
            raise Refused(f"The pool has not enough room: {free} bytes are free.")

    def _forget(self) -> None:
        """Begin anew; where that helps nothing, give up. Raises Refused."""
        if self._done:
            self._anew += 1
            if self._anew > self._job.tries:
                raise Refused("The server does not send the file whole.")
        os.ftruncate(self._job.file, 0)
        self._known = Known()
        _remember(self._job, self._known)
        self._first, self._began = 0, time.monotonic()

    def _tell(self, *, now: bool = False, **more: Any) -> None:
        done = self._done
        speed = (done - self._first) / max(0.2, time.monotonic() - self._began)
        self._progress.tell(now=now, done=done, size=self._known.size, speed=int(speed), **more)

    def _digests(self) -> dict[str, str]:
        """Of the file as it lies there, whatever go brought which part."""
        kinds = {"sha256": hashlib.sha256(), "sha512": hashlib.sha512()}
        os.lseek(self._job.file, 0, os.SEEK_SET)
        read, size = 0, self._done
        while block := os.read(self._job.file, 1 << 20):
            for kind in kinds.values():
                kind.update(block)
            read += len(block)
            self._progress.tell(hashed=read, size=size)
        return {name: kind.hexdigest() for name, kind in kinds.items()}


def _write(file: int, block: bytes, place: int) -> None:
    """All of it. Raises Refused where the disk takes no more."""
    rest = memoryview(block)
    try:
        while rest:
            count = os.pwrite(file, rest, place)
            rest, place = rest[count:], place + count
    except OSError as error:
        raise Refused(f"It cannot be written: {error.strerror}.") from error


def _strong(tag: str | None) -> str:
    """An ETag by which two answers can be told to be of the same bytes (RFC 9110, 8.8.1)."""
    tag = (tag or "").strip()
    return tag if tag.startswith('"') and tag.endswith('"') and len(tag) > 2 and tag.isascii() else ""


def _date(answer: http.client.HTTPResponse) -> str:
    """When the file was changed last, where that is long enough ago to tell it from what came after it."""
    modified = (answer.getheader("Last-Modified") or "").strip()
    date = (answer.getheader("Date") or "").strip()
    try:
        age = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
    except (TypeError, ValueError):
        return ""
    return modified if age.total_seconds() >= 60 and modified.isascii() else ""


def _recall(job: Job) -> Known:
    try:
        found = json.loads(os.pread(job.notes, 1 << 16, 0))
        return Known(**found)
    except (ValueError, TypeError):
        return Known()


def _remember(job: Job, known: Known) -> None:
    """Half of it is no JSON, and then the file begins anew."""
    os.ftruncate(job.notes, 0)
    os.pwrite(job.notes, json.dumps(asdict(known)).encode(), 0)


def _why(error: BaseException | None) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, http.client.IncompleteRead):
        return "it ended in the middle"
    return str(getattr(error, "strerror", None) or error or type(error).__name__).rstrip(".")
