"""User-data that people write: what is wrong is told with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype import cloudinit

H = "#cloud-config\n"


def told(text: str, kind: str = "cloud-init") -> list[str]:
    return [str(problem) for problem in cloudinit.check(text, kind)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "#!/bin/sh\necho",
        H,
        H + "# only a comment\n",
        H + "runcmd: [a]\n",
        H + "locale: en_US.UTF-8\n",
    ],
)
def test_what_is_right_is_not_told_of(text):
    assert told(text) == []


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("runcmd: [a]\n", "Line 1: The first line is #cloud-config"),
        ("\n" + H, "Line 1: The first line is #cloud-config"), ("\ufeff" + H, "Line 1: The first line is"),
        ("#cloud-confg\n", "Line 1: The first line is"), ("#include\nhttp://x", "Line 1: This is an include file"),
        ("Content-Type: multipart/mixed", "Line 1: This is a MIME message"),
        ("## template: jinja\n" + H, "Line 1: This is a template"),
        (H + "a: [1\nb: 2\n", "Line 3: This is not YAML"), (H + "\tx: 1\n", "Line 2: This is not YAML"),
        (H + "- a\n", "Line 2: It is a mapping"), (H + "just words\n", "Line 2: It is a mapping"),
        (H + "packages: nginx\n", "Line 2: packages is a list."),
        (H + "runcmd: [a]\nrun_cmd: [b]\n", "Line 3: cloud-init knows no 'run_cmd'. Is runcmd meant?"),
        (H + "runcmd: [a]\nlocale: C\nruncmd: [b]\n", "Line 4: runcmd is there already, in line 2."),
        (H + "write_files:\n  - path: a\n    path: b\n", "Line 4: path is there already"),
        (H + "runcmd: &x [a]\nbootcmd: *x\n", "Line 2: Aliases are not taken"),
        (H + "runcmd: !!binary aGk=\n", "It has a value"),
        (H + "runcmd: !!python/object:os.system x\n", "Line 2: This is not YAML"),
        (H + "? [a]\n: b\n", "Line 2: A key is a word."),
        (H + "package_update: maybe\n", "Line 2: package_update is true or false."),
        (H + "users: 5\n", "Line 2: users is a text or a list or a mapping."),
        (H + "runcmd: " + "[" * 40 + "]" * 40 + "\n", "Line 2: It is nested deeper"),
        (H + "x" * 70000, "It has more than 64 KiB."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text, start):
    found = told(text)
    assert found and found[0].startswith(start), found


def test_a_bomb_of_aliases_is_refused_at_once():
    lines = [
        "a0: &a0 [x,x,x,x,x,x,x,x]",
        *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)),
    ]
    assert "Aliases" in told(H + "\n".join(lines))[0]


def test_what_nuageinit_does_not_know_is_a_warning():
    (problem,) = cloudinit.check(H + "runcmd: [a]\nbootcmd: [b]\n", "nuageinit")
    assert problem.is_warning and problem.line == 3 and "bootcmd" in str(problem)


@given(st.text(max_size=200), st.booleans())
def test_any_text_is_right_or_is_told_of(text, with_header):
    for problem in cloudinit.check((H if with_header else "") + text):
        assert problem.field == "user_data" and problem.message.endswith((".", "?"))
