"""Where bHype's anchors belong in somebody's pf.conf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import pf_conf

USUAL = """\
# A firewall.
ext_if = "em0"  # outside
table <friends> persist { 192.0.2.1, \\
    192.0.2.2 }
set skip on lo0
scrub in all

nat on $ext_if inet from 10.0.0.0/8 to any -> ($ext_if)

block in log all
pass in on $ext_if proto tcp to port { 22
  443 } keep state
pass out all
"""


def test_lines_go_behind_what_is_there():
    assert pf_conf.missing(USUAL) == [
        pf_conf.Insertion('nat-anchor "bhype/*"', 8),
        pf_conf.Insertion('rdr-anchor "bhype/*"', 8),
        pf_conf.Insertion('anchor "bhype/*"', 13),
    ]
    lines = pf_conf.insert(USUAL, "ours").splitlines()
    assert lines[8:11] == ["# ours", 'nat-anchor "bhype/*"', 'rdr-anchor "bhype/*"']
    assert lines[-2:] == ["# ours", 'anchor "bhype/*"']
    assert [line for line in lines if line not in {"# ours", *pf_conf.NEEDED}] == USUAL.splitlines()


def test_what_is_complete_is_left_alone():
    once = pf_conf.insert(USUAL)
    assert not pf_conf.missing(once)
    assert pf_conf.insert(once) == once


def test_an_empty_file_gets_all_three_in_order():
    text = pf_conf.insert("", "x")
    assert text == '# x\nnat-anchor "bhype/*"\nrdr-anchor "bhype/*"\nanchor "bhype/*"\n'


def test_translation_goes_before_the_first_filter_rule():
    text = pf_conf.insert("set skip on lo\n\npass all", "x")
    assert text.split("\n")[:4] == ["set skip on lo", "# x", 'nat-anchor "bhype/*"', 'rdr-anchor "bhype/*"']
    assert text.endswith('pass all\n# x\nanchor "bhype/*"\n')


def test_macros_stay_before_what_uses_them():
    text = pf_conf.insert('a = "em0"\nb = "em1"\n', "x")
    assert text.startswith('a = "em0"\nb = "em1"\n# x\nnat-anchor')


@pytest.mark.parametrize(
    "rule", ["block quick all", "block drop in log quick all", "pass out quick keep state"]
)
def test_filter_rules_go_before_one_that_lets_nothing_past(rule):
    text = f"pass in quick proto tcp to port 22\n{rule}\npass all\n"
    place = pf_conf.missing(text)[-1]
    assert (place.line, place.after) == ('anchor "bhype/*"', 1)


@pytest.mark.parametrize(
    "rule", ["block quick on em0 all", "block all", "pass quick proto tcp all", "block quick to 10.0.0.1"]
)
def test_other_rules_are_not_in_the_way(rule):
    assert pf_conf.missing(f"{rule}\n")[-1].after == 1


@pytest.mark.parametrize(
    "line",
    [
        'anchor "bhype/*" on em0',
        'anchor "bhype"',
        'anchor "*"',
        '# anchor "bhype/*"',
        'anchor "bhype/*" { pass all }',
        'x = "anchor bhype/*"',
    ],
)
def test_an_anchor_with_conditions_or_in_a_comment_does_not_count(line):
    assert 'anchor "bhype/*"' in [each.line for each in pf_conf.missing(f"{line}\n")]


@pytest.mark.parametrize(
    "line", ['anchor "bhype/*" all', "anchor 'bhype/*'", 'anchor \\\n "bhype/*"  # ours']
)
def test_other_spellings_count(line):
    assert 'anchor "bhype/*"' not in [each.line for each in pf_conf.missing(f"{line}\n")]


def test_an_inline_anchor_is_one_statement():
    text = 'anchor "mine" {\n  block quick all\n  pass in all\n}\npass all\n'
    rows = pf_conf.statements(text)
    assert [(row.first, row.last) for row in rows] == [(1, 4), (5, 5)]
    assert pf_conf.missing(text)[-1].after == 5


def test_a_comment_goes_on_behind_a_backslash():
    assert not pf_conf.statements("# a \\\nblock quick all\n")


def test_quotes_hide_what_is_in_them():
    rows = pf_conf.statements('x = "a # \\" { b\n c"\npass all\n')
    assert [(row.section, row.first, row.last) for row in rows] == [
        (pf_conf.OTHER, 1, 2),
        (pf_conf.FILTER, 3, 3),
    ]


@pytest.mark.parametrize(("text", "line"), [('pass\nx = "a', 2), ("a = { b", 1), ("pass\n}", 2)])
def test_what_is_not_closed_is_refused_by_line(text, line):
    with pytest.raises(pf_conf.Unreadable, match=f"Line {line}:"):
        pf_conf.missing(text)


STATEMENT = st.sampled_from(
    [
        "", "# note", 'm = "x"', "table <t> { 1.2.3.4,\n 5.6.7.8 }", "set skip on lo", "scrub in all",
        "nat on em0 from any to any -> (em0)", "no nat on em1 all", "rdr pass on em0 proto tcp to port 80 -> 10.0.0.1",
        'nat-anchor "bhype/*"', 'rdr-anchor "bhype/*"', 'anchor "bhype/*"', "pass in \\\n all", "block quick all",
        "antispoof for em0", 'load anchor "x" from "/y"', 'anchor "u" {\n pass\n}',
    ]
)  # fmt: skip


@given(st.lists(STATEMENT, max_size=8))
def test_a_file_in_order_stays_in_order_and_loses_nothing(chosen):
    def section(text: str) -> int:
        found = pf_conf.statements(text)
        return found[0].section if found else 0

    ordered = sorted(chosen, key=section)
    text = "\n".join(ordered)
    result = pf_conf.insert(text, "x")
    assert not pf_conf.missing(result)
    sections = [row.section for row in pf_conf.statements(result) if row.section]
    assert sections == sorted(sections)
    kept = [line for line in result.split("\n") if line != "# x"]
    for line in pf_conf.NEEDED:
        if line not in text.split("\n"):
            kept.remove(line)
    assert [line for line in kept if line] == [line for line in text.split("\n") if line]
