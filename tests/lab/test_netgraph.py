"""ngctl: nodes, hooks and messages, as far as taps, bridges and rate limits need them."""

from __future__ import annotations

import re

import pytest

from tests.lab.conftest import drop_lab, make_lab

SEND = "ngctl: send msg: "
MISSING, EXISTS, INVALID = "No such file or directory", "File exists", "Invalid argument"


@pytest.fixture
def host(lab):
    lab.ok("kldload", "ng_ether", "ng_pipe", "ng_eiface", "ng_bridge")
    lab.ok("ifconfig", "tap", "create")
    return lab


@pytest.fixture(scope="module")
def still():
    lab = make_lab()
    lab.ok("kldload", "ng_ether", "ng_bridge")
    yield lab
    drop_lab(lab)


def nodes(lab):
    """The types of the named nodes; ngctl's own socket is left out."""
    rows = re.findall(
        r"  Name: (\S+) +Type: (\S+) +ID: [0-9a-f]{8}   Num hooks: (\d+)", lab.ok("ngctl", "list")
    )
    return {name: (kind, int(hooks)) for name, kind, hooks in rows if kind != "socket"}


def test_interfaces_are_nodes_once_ng_ether_is_loaded(lab):
    assert nodes(lab) == {}
    lab.ok("kldload", "ng_ether")
    assert nodes(lab) == {"em0": ("ether", 0)}
    lab.ok("ifconfig", "tap", "create", "name", "guest.0")
    assert nodes(lab) == {"em0": ("ether", 0), "guest_0": ("ether", 0)}
    lab.ok("ifconfig", "guest.0", "destroy")
    assert nodes(lab) == {"em0": ("ether", 0)}


def test_a_tap_gets_a_pipe_and_an_interface_behind_it(host):
    host.ok("ngctl", "mkpeer", "tap0:", "pipe", "lower", "lower")
    host.ok("ngctl", "name", "tap0:lower", "tap0_pipe")
    host.ok("ngctl", "msg", "tap0:", "setautosrc", "0")
    host.ok("ngctl", "mkpeer", "tap0_pipe:", "eiface", "upper", "ether")
    assert nodes(host) == {
        "em0": ("ether", 0), "tap0": ("ether", 1), "tap0_pipe": ("pipe", 2), "ngeth0": ("eiface", 1),
    }  # fmt: skip
    host.ok("ngctl", "name", "tap0:lower.upper", "rtap0")
    host.ok("ifconfig", "ngeth0", "name", "rtap0")
    host.ok(
        "ngctl",
        "msg",
        "tap0_pipe:",
        "setcfg",
        "{ downstream={ bandwidth=1000000 } upstream={ bandwidth=-1 } }",
    )
    assert "downstream={ bandwidth=1000000 }" in host.ok("ngctl", "msg", "tap0_pipe:", "getcfg")
    host.ok("ngctl", "msg", "tap0_pipe:", "setcfg", "{ bandwidth=99 delay=5 }")  # too slow: passed over
    assert "delay=5 downstream={ bandwidth=1000000 }" in host.ok("ngctl", "msg", "tap0_pipe:", "getcfg")
    assert host.ok("ngctl", "show", "tap0_pipe:").splitlines()[1:] == [
        "  Local hook      Peer name       Peer type    Peer ID         Peer hook      ",
        "  ----------      ---------       ---------    -------         ---------      ",
        f"  lower           tap0            ether        {number(host, 'tap0')}        lower          ",
        f"  upper           rtap0           eiface       {number(host, 'rtap0')}        ether          ",
    ]
    # the end of the interface's node ends the interface; the pipe stays while the tap hangs at it
    host.ok("ngctl", "shutdown", "rtap0:")
    assert "rtap0" not in host.ok("ifconfig", "-l").split()
    host.ok("ngctl", "shutdown", "tap0:lower")
    assert nodes(host) == {"em0": ("ether", 0), "tap0": ("ether", 0)}


def number(lab, name):
    return re.search(rf"  Name: {name} .*ID: (\w+)", lab.ok("ngctl", "list"))[1]


def test_a_destroyed_tap_takes_its_pipe_along(host):
    host.ok("ngctl", "mkpeer", "tap0:", "pipe", "lower", "lower")
    host.ok("ifconfig", "tap0", "destroy")
    assert nodes(host) == {"em0": ("ether", 0)}


def test_a_bridge_ends_with_its_last_hook_unless_it_is_persistent(host):
    for persistent in (True, False):
        host.ok("ngctl", "mkpeer", "em0:", "bridge", "lower", "link0")
        host.ok("ngctl", "name", "em0:lower", "br0")
        host.ok("ngctl", "connect", "em0:", "br0:", "upper", "link1")
        host.ok("ngctl", "connect", "tap0:", "br0:", "lower", "link7")
        assert nodes(host)["br0"] == ("bridge", 3)
        assert "xmitPackets" in host.ok("ngctl", "msg", "br0:", "getstats", "1")
        if persistent:
            host.ok("ngctl", "msg", "br0:", "setpersistent")
        for hook in ("link0", "link1", "link7"):
            host.ok("ngctl", "rmhook", "br0:", hook)
        assert ("br0" in nodes(host)) == persistent
        if persistent:
            host.ok("ngctl", "shutdown", "br0:")


REFUSED = [
    (("explode",), 64, "ngctl: explode: unknown command\n"),
    (("s",), 64, "ngctl: s: ambiguous command\n"),
    (("mkpeer", "em0:"), 64, "usage: mkpeer [path] <type> <hook> <peerhook>\n"),
    (("name", "em0:"), 64, "usage: name <path> <name>\n"),
    (("show", "none:"), 1, SEND + MISSING),
    (("show", "em0:lower"), 1, SEND + MISSING),
    (("show", "em0"), 1, SEND + MISSING),
    (("shutdown", "none:"), 1, f"ngctl: shutdown: {MISSING}"),
    (("mkpeer", "em0:", "vacuum", "lower", "x"), 1, SEND + MISSING),
    (("mkpeer", "em0:", "bridge", "lower", "wrong"), 1, SEND + INVALID),
    (("mkpeer", "em0:", "bridge", "wrong", "link0"), 1, SEND + INVALID),
    (("name", "em0:", "a.b"), 1, SEND + INVALID),
    (("name", "em0:", "em0"), 1, SEND + "Address already in use"),
    (("msg", "em0:", "explode"), 1, SEND + INVALID),
    (("msg", "em0:", "setpromisc", "x"), 1, SEND + INVALID),
    (("connect", "em0:", "none:", "lower", "link0"), 1, SEND + MISSING),
    (("rmhook", "em0:", "lower"), 1, SEND + MISSING),
]


@pytest.mark.parametrize(("argv", "code", "text"), REFUSED, ids=[" ".join(argv) for argv, _, _ in REFUSED])
def test_ngctl_refuses(still, argv, code, text):
    assert still.fails("ngctl", *argv, code=code).startswith(text)
    assert nodes(still) == {"em0": ("ether", 0)}


@pytest.mark.parametrize(
    "text", ["", "{", "x", "{ bandwidth }", "{ bandwidth=x }", "{ speed=1 }", "{ upstream=1 }"]
)
def test_a_pipe_refuses_a_wrong_configuration(host, text):
    host.ok("ngctl", "mkpeer", "tap0:", "pipe", "lower", "lower")
    assert host.fails("ngctl", "msg", "tap0:lower", "setcfg", text) == SEND + INVALID + "\n"


def test_types_are_those_of_loaded_modules(still):
    assert [line.split()[0] for line in still.ok("ngctl", "types").splitlines()[3:]] == [
        "bridge",
        "ether",
        "socket",
    ]
