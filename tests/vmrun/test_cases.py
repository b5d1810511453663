"""Files as vmrun's users have them, and as bHype writes them, with the command or the complaints that follow.

A case has either ``file`` (of cases/files) or ``vm``, laid over the smallest VM, with ``devices`` for emulations;
``targets`` are chosen one after the other, as at each restart. Then ``command`` is the whole line, ``starts``,
``has`` and ``ends`` are parts of it, ``slots`` are its -s words behind the two bridges, ``problems`` what is wrong.
"""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path

import pytest

from bhype.freebsd.bhyve import command
from bhype.vmrun.config import load, parse, select
from bhype.vmrun.machine import machine
from bhype.vmrun.problems import Unfit

CASES = Path(__file__).with_name("cases")
SMALLEST = {"name": "a", "cpu": 1, "mem": "64M", "emulations": []}


def cases():
    for path in sorted(CASES.glob("*.json")):
        for case in json.loads(path.read_text()):
            yield pytest.param(case, id=f"{path.stem}: {case['about']}")


def document(case: dict) -> dict:
    if "file" in case:
        return load((CASES / "files" / f"{case['file']}.json").read_text())
    devices = {"emulations": case["devices"]} if "devices" in case else {}
    return {**SMALLEST, **case.get("vm", {}), **devices}


def line(case: dict) -> str:
    whole = document(case)
    selected = whole
    for target in case.get("targets", ()):
        selected = select(whole, target, selected)
    return shlex.join(command(machine(parse(selected), folder="/run")).argv)


@pytest.mark.parametrize("case", list(cases()))
def test_a_file_becomes_the_command_or_the_complaints(case):
    if "problems" in case:
        with pytest.raises(Unfit) as caught:
            line(case)
        assert [f"{problem.where}: {problem.what}" for problem in caught.value.problems] == case["problems"]
        return
    found = line(case)
    # The password's file is named last; nothing of the rest depends on it.
    found = found.replace(" -k /run/secret.conf", "")
    assert found == case.get("command", found)
    assert found.startswith(case.get("starts", ""))
    assert found.endswith(case.get("ends", ""))
    assert case.get("has", "") in found
    if "slots" in case:
        words = [word for before, word in itertools.pairwise(shlex.split(found)) if before == "-s"]
        assert words[2:] == case["slots"]


def test_there_are_many_cases():
    assert len(list(cases())) >= 60
