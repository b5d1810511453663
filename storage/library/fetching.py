"""Files from the internet, fetched by a program that runs as nobody (`bhype.outside.fetch`).

What is being fetched lies in the fetches of a pool's transfers, under a key of its own, and stays there when it stops:
the next task with the same key goes on where the last one ended, if the file on the server is still the same. It goes
after a week.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from bhype import outside
from bhype.host import CommandFailed
from bhype.outside import fetch as program
from bhype.outside.cage import Refused as RefusedUrl
from bhype.tasks import OperationFailed, Run
from storage.models import Pool
from storage.sizes import GIB, human
from storage.uploads import transfers

from .checksums import Digest

LIMIT = 512 * GIB
# What stays free in the pool, whatever is fetched.
SPARE = 4 * GIB
SECONDS = 12 * 3600
STALL = 60.0
TRIES = 5
TEXT_LIMIT = 4 << 20


class Unable(OperationFailed):
    """This host could not do it; the file that came is not to blame."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """path: on the host; url: where it was after all redirects; name: the last part of that."""

    path: str
    url: str
    name: str
    size: int
    sha256: str
    sha512: str

    def has(self, digest: Digest) -> bool:
        known = {"sha256": self.sha256, "sha512": self.sha512}
        return known.get(digest.algorithm) == digest.value


def problem_of(url: str) -> str | None:
    """Why a URL cannot be fetched, as far as can be told without asking anybody; None when it may."""
    try:
        program.parts_of(url)
    except RefusedUrl as refused:
        return str(refused)
    return None


def shown(url: str) -> str:
    """A URL for logs: what follows a question mark may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + ("?..." if parts.query else "")


def key_of(*words: object) -> str:
    """The name under which something is being fetched."""
    return hashlib.sha256("\0".join(str(word) for word in words).encode()).hexdigest()[:40]


def fetch(run: Run, pool: Pool, key: str, url: str, span: tuple[float, float] = (0, 100)) -> Fetched:
    """Fetch a file, or the rest of it. span: where the percentage of the task begins and ends. Raises
    OperationFailed, and CommandStopped when the task is cancelled; what has come is kept."""
    path = part_of(pool, key)
    run.log(f"Fetching {shown(url)}")
    first, last = span
    ear = outside.Ear()

    def heard(piece: str) -> None:
        for told in ear.hear(piece):
            text, share = _words(told)
            run.stage(text, percent=None if share is None else first + (last - first) * share)

    answer = _ask(run, path, url, LIMIT, heard)
    run.log(f"{human(answer['size'])}, SHA-256 {answer['sha256']}")
    return Fetched(path, answer["url"], answer["name"], answer["size"], answer["sha256"], answer["sha512"])


def fetch_small(run: Run, space: str, url: str) -> str:
    """A list of checksums, a signature, an index: its path in the workspace. Raises as `fetch`."""
    run.log(f"Fetching {shown(url)}")
    path = f"{space}/{key_of(url)}"
    _ask(run, path, url, TEXT_LIMIT)
    return path


def forget(run: Run, pool: Pool, key: str) -> None:
    """Remove what has come."""
    for path in (part_of(pool, key), _notes(part_of(pool, key))):
        with contextlib.suppress(NotADirectoryError):
            run.host.unlink(path)


def part_of(pool: Pool, key: str) -> str:
    return f"{transfers.folder(pool, transfers.FETCHES)}/{key}.part"


def _notes(path: str) -> str:
    return f"{path}.json"


def _ask(
    run: Run, path: str, url: str, limit: int, heard: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Run the program. Raises OperationFailed with what it says."""
    if query := urlsplit(url).query:
        run.redact(query)
    request = {
        "url": url,
        "path": run.host.path(path),
        "memory": run.host.path(_notes(path)),
        "allow": settings.FETCH_ALLOW,
        "limit": limit,
        "spare": SPARE,
        "seconds": SECONDS,
        "stall": STALL,
        "tries": TRIES,
    }
    return ask(run, "fetch", request, SECONDS + 600.0, heard)


def ask(
    run: Run,
    program: str,
    request: Mapping[str, Any],
    timeout: float,
    heard: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The answer of a program of `bhype.outside`. Raises OperationFailed when it refuses what came from outside, and
    Unable when it could not do its work."""
    try:
        result = run.host.run(outside.command(program, request, timeout=timeout), heard=heard)
    except CommandFailed as error:
        lines = [line for line in error.result.stderr.splitlines() if line.strip()]
        why = lines[-1] if lines else f"status {error.result.code}"
        raise Unable(f"The program that does it has ended: {why}") from error
    answer = outside.answer(result.stdout)
    if not answer:
        raise Unable("The program that does it gave no answer.")
    if "error" in answer:
        raise (Unable if answer.get("is_host") else OperationFailed)(str(answer["error"]))
    return answer


def _words(told: Mapping[str, Any]) -> tuple[str, float | None]:
    """What the program tells, for people, and which part of all that is; None when nobody knows."""
    size = told.get("size")
    if "hashed" in told:
        return "Checking", told["hashed"] / size if size else None
    done, speed = int(told.get("done") or 0), int(told.get("speed") or 0)
    if waiting := told.get("waiting"):
        return f"{str(waiting)[:90]} Trying again", None
    words = [human(done) + (f" of {human(size)}" if size else ""), f"{human(speed)}/s"]
    if size and speed:
        words.append(f"{_time((size - done) / speed)} left")
    return f"Fetching: {', '.join(words)}", done / size if size else None


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
