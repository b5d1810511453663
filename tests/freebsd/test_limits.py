# ruff: noqa: PLW0108
"""rctl(8), protect(1), devctl(8) and ngctl(8): what reaches their command lines and what is read."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import devctl, names, ngctl, protect, rctl
from bhype.freebsd.command import Command, ParseError, Query

NODES = """\
There are 3 total nodes:
  Name: ix0             Type: ether           ID: 00000002   Num hooks: 2
  Name: <unnamed>       Type: ether           ID: 0000000a   Num hooks: 0
  Name: ngctl23503      Type: socket          ID: 0000001e   Num hooks: 0
"""


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            rctl.add(4711, {"pcpu": 150, "readbps": "10m"}),
            "/usr/bin/rctl -a process:4711:pcpu:deny=150 process:4711:readbps:throttle=10M",
        ),
        (rctl.add(1, {"writeiops": 500}), "/usr/bin/rctl -a process:1:writeiops:throttle=500"),
        (rctl.remove(4711), "/usr/bin/rctl -r process:4711"),
        (rctl.is_enabled(), "/sbin/sysctl kern.racct.enable"),
        (protect.protect(9), "/usr/bin/protect -p 9"),
        (protect.protect(9, on=False), "/usr/bin/protect -c -p 9"),
        (devctl.set_driver("pci0:1:0:0", "ppt"), "/usr/sbin/devctl set driver -f pci0:1:0:0 ppt"),
        (devctl.clear_driver("pci0:1:0:0"), "/usr/sbin/devctl clear driver -f pci0:1:0:0"),
        (ngctl.nodes(), "/usr/sbin/ngctl list"),
        (ngctl.name_of("tap1_pipe:upper"), "/usr/sbin/ngctl show -n tap1_pipe:upper"),
        (ngctl.make_peer("tap1:", "pipe", "lower", "lower"), "/usr/sbin/ngctl mkpeer tap1: pipe lower lower"),
        (ngctl.set_name("tap1:lower", "tap1_pipe"), "/usr/sbin/ngctl name tap1:lower tap1_pipe"),
        (ngctl.message("tap1:", "setautosrc", "0"), "/usr/sbin/ngctl msg tap1: setautosrc 0"),
        (
            ngctl.set_bandwidth("tap1_pipe:", downstream=10_000_000, upstream=None),
            "/usr/sbin/ngctl msg tap1_pipe: setcfg "
            "'{ downstream={ bandwidth=10000000 } upstream={ bandwidth=-1 } }'",
        ),
        (ngctl.shutdown("tap1_pipe:"), "/usr/sbin/ngctl shutdown tap1_pipe:"),
    ],
)
def test_commands_are_built(command, expected):
    argv = (command.command if isinstance(command, Query) else command).argv
    assert shlex.join(argv) == expected


TAKERS = [
    lambda text: rctl.add(1, {text: 1}),
    lambda text: rctl.add(1, {"pcpu": text}),
    lambda text: devctl.set_driver(text, "ppt"),
    lambda text: devctl.set_driver("pci0:1:0:0", text),
    lambda text: devctl.clear_driver(text),
    lambda text: ngctl.shutdown(text),
    lambda text: ngctl.set_name("tap1:", text),
    lambda text: ngctl.make_peer("tap1:", text, "lower", "lower"),
]


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("text", ["", "-f", "a b", "a\nb", "a:b:c", "..", "pci0:1:0:9", "1x", "a;b"])
def test_bad_words_never_reach_an_argv(taker, text):
    with pytest.raises(names.BadName):
        taker(text)


@given(st.text(max_size=20), st.sampled_from(TAKERS))
def test_no_text_becomes_an_option_or_more_than_a_word(text, taker):
    try:
        command: Command = taker(text)
    except names.BadName:
        return
    assert not text.startswith("-")
    assert text.isprintable()
    assert len(shlex.split(shlex.join(command.argv))) == len(command.argv)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: rctl.add(0, {"pcpu": 1}),
        lambda: rctl.add(1, {}),
        lambda: protect.protect(-1),
        lambda: ngctl.set_bandwidth("tap1_pipe:", downstream=99, upstream=None),
        lambda: ngctl.set_bandwidth("tap1_pipe:", downstream=None, upstream=2_000_000_000),
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(names.BadName):
        wrong()


@pytest.mark.parametrize(
    ("text", "on"), [("kern.racct.enable: 1\n", True), ("kern.racct.enable: 0\n", False), ("", False)]
)
def test_whether_the_kernel_counts_resources(text, on):
    assert rctl.is_enabled().parse(text) is on


def test_netgraph_nodes_are_read():
    assert ngctl.nodes().parse(NODES) == {"ix0": "ether", "ngctl23503": "socket"}
    assert ngctl.name_of("a:b").parse(NODES.splitlines()[1]) == "ix0"
    for text in ("  Name: ix0\n", NODES, ""):
        with pytest.raises(ParseError):
            ngctl.name_of("a:b").parse(text)


@given(st.text(max_size=200))
def test_any_other_answer_is_a_parse_error(text):
    try:
        ngctl.nodes().parse(text)
    except ParseError:
        return
