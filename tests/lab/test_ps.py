"""ps without a guest; with one: test_bhyve_guest.py. Names and forms from FreeBSD's bin/ps/keyword.c."""

from __future__ import annotations

import json

import pytest

NOT_FOUND = "ps: foo: keyword not found\n"


def test_json_is_that_of_libxo(lab):
    out = lab.ok("ps", "--libxo", "json", "-axo", "pid,pcpu,rss,etimes,command")
    assert out.startswith('{"process-information": {"process": [{"pid":"0","percent-cpu":"0.0","rss":"')
    rows = json.loads(out)["process-information"]["process"]
    assert list(rows[1]) == ["pid", "percent-cpu", "rss", "elapsed-times", "command"]
    assert all(isinstance(value, str) for row in rows for value in row.values())
    assert [row["command"] for row in rows][:2] == ["[kernel]", "/sbin/init"]
    assert lab.ok("ps", "--libxo=json", "-a", "-x", "-o", "pid") == lab.ok("ps", "-axo", "pid", "--libxo:J")
    assert json.loads(lab.ok("ps", "--libxo", "json,pretty", "-ax"))


def test_text_has_columns(lab):
    lines = lab.ok("ps", "-axo", "pid,command").splitlines()
    assert lines[:3] == ["PID COMMAND", "  0 [kernel]", "  1 /sbin/init"]
    assert lab.ok("ps", "-axo", "pid=,user=").splitlines()[0] == ",user="
    assert lab.ok("ps", "-o", "pid=", "-p", "1").splitlines() == ["1"]
    assert lab.ok("ps", "-ax").splitlines()[0].split() == ["PID", "TT", "STAT", "TIME", "COMMAND"]


def test_a_process_is_found_by_its_pid(lab):
    assert lab.ok("ps", "-p", "1", "-o", "command") == "COMMAND\n/sbin/init\n"
    missing = lab("ps", "-p", "99999", "-o", "pid")
    assert (missing.code, missing.out) == (1, "PID\n")


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["-q"], "ps: illegal option -- q\nusage: ps [--libxo]"),
        (["-ax", "foo"], "ps: illegal argument: foo\nusage: ps"),
        (["-o"], "ps: option requires an argument -- o\nusage: ps"),
        (["-p", "x"], "ps: Invalid process id: x\n"),
        (["--libxo", "jsno"], "ps: unknown libxo option value: 'jsno'\n"),
        (["-axo", "foo"], NOT_FOUND + "ps: no valid keywords; valid keywords:\n"),
    ],
)
def test_wrong_words_are_refused(lab, argv, text):
    answer = lab("ps", *argv)
    assert answer.code == 1
    assert answer.err.startswith(text)


def test_an_unknown_keyword_is_left_out(lab):
    answer = lab("ps", "-axo", "pid,foo")
    assert (answer.code, answer.err) == (1, NOT_FOUND)
    assert answer.out.startswith("PID\n")
