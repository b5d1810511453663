"""What all programs of the lab share: where the lab lies, its state, and the faults it is told to have.

The lab's folder is named by the environment variable ``BHYPE_LAB``, which the wrappers below ``root/`` set::

    root/             what FreeBSD would have at /
    state/NAME.json   the state of one subsystem ("zfs", "net", "kld", "bhyve", ...); NAME.lock guards it
    faults.json       a list of faults, see `fault`

A program is a module ``bhype.lab.PROGRAM`` with ``main(argv: list[str]) -> int``, started by ``launch.py``.
These programs are started thousands of times: import little.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing them costs more than the rest of the program
    from types import TracebackType
    from typing import Any, NoReturn

    State = dict[str, Any]


class Exit(SystemExit):
    """Ends the program with ``code`` after everything around it (locks, files) was tidied up."""


def fail(text: str, code: int = 1) -> NoReturn:
    """Print ``text`` on stderr and end the program with ``code``. Inside `state`, nothing is written."""
    warn(text)
    raise Exit(code)


def warn(text: str) -> None:
    """Print ``text`` on stderr."""
    sys.stdout.flush()
    sys.stderr.write(text if text.endswith("\n") else text + "\n")
    sys.stderr.flush()


def folder() -> str:
    """The lab's folder, an absolute path."""
    path = os.environ.get("BHYPE_LAB")
    if not path:
        fail("BHYPE_LAB is not set: start the program through the lab's wrapper", 70)
    return path


def root(path: str) -> str:
    """Where FreeBSD's absolute ``path`` lies on this machine."""
    return folder() + "/root" + path


class state:
    """The state ``name`` as a dict, locked against all other programs; written back when changed.

    The new state replaces the old one atomically and only when the block ends without an exception, so a
    program that fails or is killed leaves the old state.
    """

    def __init__(self, name: str) -> None:
        self.path = f"{folder()}/state/{name}.json"
        self.lock = f"{folder()}/state/{name}.lock"

    def __enter__(self) -> State:
        self.handle = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self.handle, fcntl.LOCK_EX)
        self.text = _read(self.path)
        self.data: State = json.loads(self.text) if self.text else {}
        return self.data

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                text = json.dumps(self.data)
                if text != self.text:
                    replace(self.path, text)
        finally:
            os.close(self.handle)


class BadOption(Exception):
    """A letter that getopt(3) does not know, or one that lacks its argument."""

    def __init__(self, letter: str, *, missing: bool) -> None:
        self.letter = letter
        self.missing = missing


def getopt(argv: list[str], letters: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Split ``argv`` as FreeBSD's getopt(3) does: options until the first word that is none, then the rest.

    letters: as in C, ``"rV:"`` has -r and -V with an argument. Raises BadOption.
    """
    options: list[tuple[str, str]] = []
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        cluster = word[1:]
        while cluster:
            letter, cluster = cluster[0], cluster[1:]
            place = letters.find(letter)
            if place < 0 or letter == ":":
                raise BadOption(letter, missing=False)
            if letters[place + 1 : place + 2] != ":":
                options.append((letter, ""))
                continue
            if not cluster and not rest:
                raise BadOption(letter, missing=True)
            options.append((letter, cluster or rest.pop(0)))
            break
    return options, rest


def peek(name: str) -> State:
    """The state ``name`` as it is now, without waiting for anybody. Changes to it go nowhere."""
    text = _read(f"{folder()}/state/{name}.json")
    return json.loads(text) if text else {}


def replace(path: str, text: str, mode: int = 0o644) -> None:
    """Give the file ``path`` the content ``text``; a reader sees the old or the new one, never a part."""
    draft = f"{path}.{os.getpid()}"
    with open(draft, "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    os.replace(draft, path)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""


_after: list[State] = []
_full = False


def fault(command: str) -> None:
    """Fail as LAB/faults.json tells; every program calls this once, with its words: ``"zfs create tank/a"``.

    faults.json is a list of dicts. A fault meets a command whose words contain all words of its "command" in
    this order, so "zfs create" meets ``zfs create -p tank/a`` and "ifconfig addm" meets any addm.
      do: "fail" (print "text", exit with "code", default 1), "hang" (for an hour), "slow" (for "seconds"),
          "kill" (SIGKILL to itself) or "full" (the pool has no space left, see `full`)
      nth: only the nth call that meets it, counted from 1 since the faults were set; default every call
      when: "before" the work (default) or "after" it
    """
    global _full  # noqa: PLW0603
    try:
        with open(folder() + "/faults.json") as file:
            faults: list[State] = json.load(file)
    except FileNotFoundError:
        return
    words = command.split()
    met = [entry for entry in faults if _contains(words, entry["command"].split())]
    if not met:
        return
    due = []
    with state("faults") as calls:
        for entry in met:
            key = json.dumps(entry, sort_keys=True)
            calls[key] = calls.get(key, 0) + 1
            if entry.get("nth", calls[key]) == calls[key]:
                due.append(entry)
    for entry in due:
        if entry["do"] == "full":
            _full = True
        elif entry.get("when") == "after":
            _after.append(entry)
        else:
            _suffer(entry)


def check_fault(entry: object) -> None:
    """Raise ValueError unless ``entry`` is a fault as `fault` describes it."""
    known = {"command", "nth", "do", "seconds", "text", "code", "when"}
    if not isinstance(entry, dict) or not isinstance(entry.get("command"), str) or not entry["command"]:
        raise ValueError("a fault is an object with at least a command")
    if entry.get("do") not in ("fail", "hang", "slow", "kill", "full"):
        raise ValueError("do is one of fail, hang, slow, kill and full")
    if entry.get("when", "before") not in ("before", "after"):
        raise ValueError("when is before or after")
    if set(entry) - known:
        raise ValueError(f"a fault has no {', '.join(sorted(set(entry) - known))}")


def finish() -> None:
    """Suffer the faults that come after the work. ``launch.py`` calls this when ``main`` has returned."""
    sys.stdout.flush()
    for entry in _after:
        _suffer(entry)


def full() -> bool:
    """Whether a fault says that no pool has space left."""
    return _full


def _contains(words: list[str], wanted: list[str]) -> bool:
    rest = iter(words)
    return all(word in rest for word in wanted)


def _suffer(entry: State) -> None:
    import time

    match entry["do"]:
        case "fail":
            fail(entry.get("text", "internal error: the lab was told to fail"), entry.get("code", 1))
        case "hang":
            time.sleep(3600)
        case "slow":
            time.sleep(entry.get("seconds", 3))
        case "kill":
            sys.stdout.flush()
            os.kill(os.getpid(), 9)
        case other:
            fail(f"faults.json: unknown fault {other!r}", 70)
