"""The same commands for real OpenZFS and for the lab, and what of their answers must be the same.

A script (``scripts/*.txt``) is a list of shell commands, one in a line, that start with a new pool ``tank`` of 2 GiB.
``$R`` stands for the root of the file system ("" in the guest, the lab's root), ``$T`` for a folder of one's own.
The first character of a line says what is compared:

    $   exit status, stdout and stderr
    ~   the same, but numbers may differ by a tenth and 256 KiB: the lab counts files of its own
    %   the same as $, but lines may come in any order: OpenZFS goes through children, clones and holds by a hash
    ?   exit status and the first line of stderr: the usage that follows is another in each version
    -   nothing: Linux and FreeBSD, or the versions, differ here (the line above says how)
    #   a comment

Everywhere the same things are made the same (`normalised`): guids are random, times pass.
``recorded/NAME.json`` holds what the guest has answered, so that `make test` can hold the lab to it without a guest.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests import labfolder
from tests.openzfs.guest import Answer, Guest

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE / "scripts"
RECORDED = HERE / "recorded"
GIB = 2**30
NEW_POOL = """
cd /
umount -a -t zfs
for p in $(zpool list -H -o name); do zpool destroy -f $p; done
rm -rf /tmp/* /dev/zvol/* /tank /other
set -e
truncate -s 2176M /tmp/tank.img
zpool create -f -o ashift=12 tank /tmp/tank.img
mkdir /tmp/t
"""


@dataclass(frozen=True)
class Line:
    """One command of a script. mode: how its answers are compared, see above."""

    number: int
    mode: str
    command: str


def scripts() -> list[str]:
    return sorted(path.stem for path in SCRIPTS.glob("*.txt"))


def lines(name: str) -> list[Line]:
    found = []
    for number, text in enumerate((SCRIPTS / f"{name}.txt").read_text().splitlines(), 1):
        if not text or text.startswith("#"):
            continue
        mode, blank, command = text.partition(" ")
        assert mode in ("$", "~", "%", "?", "-") and blank, f"{name}.txt:{number}: {text}"
        found.append(Line(number, mode, command))
    return found


def ask_guest(guest: Guest, script: list[Line]) -> list[Answer]:
    """What real OpenZFS answers."""
    ready = guest.run(NEW_POOL)
    assert ready.code == 0, ready
    answers = []
    for line in script:
        settled = "zpool sync;" if line.mode == "~" else ""
        answers.append(guest.run(f"R= T=/tmp/t; {settled} {line.command}"))
    return answers


def ask_lab(script: list[Line]) -> list[Answer]:
    """What the lab answers."""
    folder = tempfile.mkdtemp(prefix="bl-", dir="/tmp")
    try:
        labfolder.make(folder, size=2 * GIB)
        root = f"{folder}/root"
        scratch = f"{folder}/t"
        os.mkdir(scratch)
        where = {"R": root, "T": scratch, "PATH": f"{root}/sbin:{root}/usr/bin:/usr/bin:/bin"}
        answers = []
        for line in script:
            done = subprocess.run(
                ["/bin/sh", "-c", line.command],
                env={"LC_ALL": "C", "TZ": "UTC", **where},
                stdin=subprocess.DEVNULL,
                cwd=scratch,
                capture_output=True,
                timeout=60,
                check=False,
            )
            out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
            same = [text.replace(root, "").replace(scratch, "/tmp/t") for text in (out, err)]
            answers.append(Answer(done.returncode, *same))
        return answers
    finally:
        shutil.rmtree(folder)


# -- what is the same ----------------------------------------------------------------------------------

DATE = re.compile(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d "
                  r"[ \d]\d:\d\d(:\d\d)? \d{4}\b")  # fmt: skip
CLOCK = re.compile(r"\b\d\d:\d\d:\d\d\b")
EPOCH = re.compile(r"\b1[5-9]\d{8}\b")
GUID = re.compile(r"\b\d{16,20}\b|\b0x[0-9a-f]{14,16}\b")
TOKEN = re.compile(r"\b1-[0-9a-f]{6,12}-[0-9a-f]+-[0-9a-f]+\b")
SPEED = re.compile(r"in [\d.]+ seconds \([^)]*\)")
NUMBER = re.compile(r"\b(\d+(?:\.\d+)?)([KMGTPE]?)(?:i?B)?\b")


def normalised(answer: Answer) -> Answer:
    """Guids by the order of their appearance, times and tokens by their kind alone."""
    seen: dict[str, str] = {}

    def guid(found: re.Match[str]) -> str:
        if found[0] in ("18446744073709551615",):
            return found[0]
        return seen.setdefault(found[0], f"GUID{len(seen) + 1}")

    def plain(text: str) -> str:
        for pattern, word in (
            (TOKEN, "TOKEN"),
            (DATE, "DATE"),
            (CLOCK, "CLOCK"),
            (EPOCH, "EPOCH"),
            (SPEED, "SPEED"),
        ):
            text = pattern.sub(word, text)
        return GUID.sub(guid, text)

    return Answer(answer.code, plain(answer.out), plain(answer.err))


def differ(line: Line, real: Answer, lab: Answer) -> bool:
    """Whether the lab's answer is not the real one's."""
    if line.mode == "-":
        return False
    real, lab = normalised(real), normalised(lab)
    if line.mode == "?":
        return (real.code, real.err.partition("\n")[0]) != (lab.code, lab.err.partition("\n")[0])
    if line.mode == "~":
        return (real.code, real.err) != (lab.code, lab.err) or not _alike(real.out, lab.out)
    if line.mode == "%":
        return _sorted(real) != _sorted(lab)
    return real != lab


def _sorted(answer: Answer) -> Answer:
    return Answer(answer.code, *("".join(sorted(text.splitlines())) for text in (answer.out, answer.err)))


def _alike(real: str, lab: str) -> bool:
    if NUMBER.sub("N", " ".join(real.split())) != NUMBER.sub("N", " ".join(lab.split())):
        return False
    pairs = zip(NUMBER.findall(real), NUMBER.findall(lab), strict=True)
    for first, second in pairs:
        one, other = (
            float(number) * 1024 ** " KMGTPE".index(unit or " ") for number, unit in (first, second)
        )
        if abs(one - other) > max(one, other) * 0.1 + 256 * 1024:
            return False
    return True


def differences(script: list[Line], real: list[Answer], lab: list[Answer]) -> list[str]:
    """What is not the same, for people."""
    found = []
    for line, one, other in zip(script, real, lab, strict=True):
        if differ(line, one, other):
            parts = [f"line {line.number}: {line.command}"]
            for who, answer in (("real", normalised(one)), ("lab ", normalised(other))):
                parts.append(f"  {who} [{answer.code}]")
                parts += [f"  {who} | {text}" for text in answer.out.splitlines()[:30]]
                parts += [f"  {who} ! {text}" for text in answer.err.splitlines()[:12]]
            found.append("\n".join(parts))
    return found


def recorded(name: str) -> list[Answer]:
    """What the guest has answered to the script as it is now. Raises AssertionError when it has changed."""
    data = json.loads((RECORDED / f"{name}.json").read_text())
    script = lines(name)
    assert [entry["command"] for entry in data] == [line.command for line in script], (
        f"{name}.txt has changed: BHYPE_RECORD=1 pytest tests/openzfs asks the guest again"
    )
    return [Answer(entry["code"], entry["out"], entry["err"]) for entry in data]


def record(name: str, script: list[Line], answers: list[Answer]) -> None:
    """Keep the guest's answers, normalised."""
    RECORDED.mkdir(exist_ok=True)
    plain = [normalised(answer) for answer in answers]
    data = [
        {"command": line.command, "code": answer.code, "out": answer.out, "err": answer.err}
        for line, answer in zip(script, plain, strict=True)
    ]
    (RECORDED / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
