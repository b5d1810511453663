"""pf.conf(5) as the lab reads it: examples of the man page, exact errors, and what pfctl prints of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhype.lab.pf import parser, show
from bhype.lab.pf.world import Interface, World

WORLD = World(
    {
        "em0": Interface(
            ("192.0.2.10/24", "192.0.2.11/24", "fe80::1%em0/64", "2001:db8::10/64"), ("egress",)
        ),
        "em1": Interface((), ("lan",)),
        "lo0": Interface(("127.0.0.1/8", "::1/128"), ("lo",), is_loopback=True),
    }
)
FILES = {
    "/etc/hosts.txt": "10.1.1.1 # one\n!10.1.1.2\n10.2/16\n",
    "/etc/more.conf": "pass in quick on em1\n",
    "/etc/bad.conf": "pass in\nfrob\n",
}


def read(path):
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory")
    return FILES[path]


WORLD.read = read


def rules(text, world=WORLD, **options):
    return [show.text(rule) for rule in parser.parse(text, world=world, **options).rules()]


def errors(text, world=WORLD, **options):
    with pytest.raises(parser.Errors) as caught:
        parser.parse(text, world=world, **options)
    return caught.value.lines


# What pfctl -nv prints for a line: from print_rule() and the examples of pf.conf(5).
PRINTED = [
    ("pass", ["pass all flags S/SA keep state"]),
    ("block", ["block drop all"]),
    ("block return", ["block return all"]),
    ("block return-rst proto tcp", ["block return-rst proto tcp all"]),
    ("block return-rst(ttl 3) proto tcp", ["block return-rst(ttl 3) proto tcp all"]),
    ("block return-icmp", ["block return-icmp(port-unr, port-unr) all"]),
    ("block return-icmp(host-unr, 3) inet", ["block return-icmp(host-unr) inet all"]),
    ("block return-icmp6(admin-unr) inet6", ["block return-icmp6(admin-unr) inet6 all"]),
    ("block in log (all, user, to pflog1) quick", ["block drop in log (all, user, to pflog1) quick all"]),
    ("pass in on ! em0 all no state", ["pass in on ! em0 all no state"]),
    (
        "pass inet proto icmp icmp-type 8 code 0",
        ["pass inet proto icmp all icmp-type echoreq code 0 keep state"],
    ),
    (
        "pass inet6 proto icmp6 icmp6-type { unreach, neighbrsol }",
        [
            "pass inet6 proto ipv6-icmp all icmp6-type unreach keep state",
            "pass inet6 proto ipv6-icmp all icmp6-type neighbrsol keep state",
        ],
    ),
    (
        "pass proto { tcp, udp }",
        ["pass proto tcp all flags S/SA keep state", "pass proto udp all keep state"],
    ),
    ("pass proto tcp flags any", ["pass proto tcp all flags any keep state"]),
    ("pass proto tcp flags /SFRA", ["pass proto tcp all flags /FSRA keep state"]),
    ("pass from 10.0.0.5/24 to !10/8", ["pass inet from 10.0.0.0/24 to ! 10.0.0.0/8 flags S/SA keep state"]),
    ("pass from 10.0.0.1 - 10.0.0.9", ["pass inet from 10.0.0.1 - 10.0.0.9 to any flags S/SA keep state"]),
    ("pass from <a> to ! <b>", ["pass from <a> to ! <b> flags S/SA keep state"]),
    ("pass to (em0:network)/24", ["pass from any to (em0:network)/24 flags S/SA keep state"]),
    ("pass inet to (egress:0)", ["pass inet from any to (egress:0) flags S/SA keep state"]),
    (
        "pass to em0",
        [
            "pass inet from any to 192.0.2.10 flags S/SA keep state",
            "pass inet from any to 192.0.2.11 flags S/SA keep state",
            "pass inet6 from any to fe80::1 flags S/SA keep state",
            "pass inet6 from any to 2001:db8::10 flags S/SA keep state",
        ],
    ),
    ("pass inet to em0:network", ["pass inet from any to 192.0.2.0/24 flags S/SA keep state"] * 2),
    ("pass inet6 to em0:0", ["pass inet6 from any to 2001:db8::10 flags S/SA keep state"]),
    ("pass to fe80::2%em0", ["pass on em0 inet6 from any to fe80::2 flags S/SA keep state"]),
    ("block from no-route", ["block drop from no-route to any"]),
    ("block in from urpf-failed", ["block drop in from urpf-failed to any"]),
    ("pass from any to any port 22 proto tcp", None),
    ("pass proto tcp to port ssh", ["pass proto tcp from any to any port = ssh flags S/SA keep state"]),
    ("pass proto tcp from port > 1023", ["pass proto tcp from any port > 1023 to any flags S/SA keep state"]),
    ("pass proto udp to port 8000:8100", ["pass proto udp from any to any port 8000:8100 keep state"]),
    ("pass proto udp to port 1 >< 9", ["pass proto udp from any to any port 1 >< 9 keep state"]),
    ("pass proto udp to port 1 <> 9", ["pass proto udp from any to any port 1 <> 9 keep state"]),
    ("pass proto udp to port != 5", ["pass proto udp from any to any port != 5 keep state"]),
    (
        "pass out user { root, > 1000 }",
        ["pass out all user = 0 flags S/SA keep state", "pass out all user > 1000 flags S/SA keep state"],
    ),
    (
        "pass proto tcp keep state (max 5, source-track rule, max-src-states 2, overload <x> flush global,"
        " max-src-conn-rate 3/5, if-bound, tcp.first 9)",
        [
            "pass proto tcp all flags S/SA keep state (max 5, source-track rule, max-src-states 2,"
            " max-src-conn-rate 3/5, overload <x> flush global, if-bound, tcp.first 9)"
        ],
    ),
    ("pass proto tcp synproxy state", ["pass proto tcp all flags S/SA synproxy state"]),
    (
        'pass tag A tagged B rtable 0 label "x y"',
        ['pass all flags S/SA keep state label "x y" tag A tagged B rtable 0'],
    ),
    ("pass ! tagged B", ["pass all flags S/SA keep state ! tagged B"]),
    ("pass proto tcp probability 12.5%", ["pass proto tcp all flags S/SA keep state probability 12.5%"]),
    (
        "pass tos 0x10 prio 3 set prio (1, 2)",
        ["pass all flags S/SA tos 0x10 prio 3 set ( prio(1, 2) ) keep state"],
    ),
    ("pass in route-to (em0 192.0.2.1)", ["pass in route-to (em0 192.0.2.1) all flags S/SA keep state"]),
    (
        'pass in quick inet proto tcp to port 22 label "$if:$dstport"',
        ['pass in quick inet proto tcp from any to any port = ssh flags S/SA keep state label "any:22"'],
    ),
    ("match in on em0 scrub (no-df max-mss 1400)", ["match in on em0 all no-df max-mss 1400"]),
    (
        "scrub in on em0 all no-df random-id fragment reassemble",
        ["scrub in on em0 all no-df random-id fragment reassemble"],
    ),
    ("no scrub proto udp", ["no scrub proto udp all"]),
    ("nat on em0 from 10/8 to any -> em0", None),
    (
        "nat on em0 from 10.0.0.0/8 to any -> (em0)",
        ["nat on em0 inet from 10.0.0.0/8 to any -> (em0) round-robin"],
    ),
    ("nat on em0 from 10.0.0.0/8 -> (em0:0)", ["nat on em0 inet from 10.0.0.0/8 to any -> (em0:0)"]),
    (
        "nat on em0 from 10.0.0.0/8 -> 1.2.3.4 static-port",
        ["nat on em0 inet from 10.0.0.0/8 to any -> 1.2.3.4 static-port"],
    ),
    (
        "nat on em0 from 10.0.0.0/8 -> 1.2.3.4 port 1024:2047",
        ["nat on em0 inet from 10.0.0.0/8 to any -> 1.2.3.4 port 1024:2047"],
    ),
    (
        "nat pass on em0 inet from any -> { 1.2.3.4, 1.2.3.5 }",
        ["nat pass on em0 inet all -> { 1.2.3.4, 1.2.3.5 } round-robin"],
    ),
    ("nat on em0 inet from any -> 1.2.3.0/24 source-hash sticky-address", None),
    ("no nat on em0 from 10/8 to 10/8", ["no nat on em0 inet from 10.0.0.0/8 to 10.0.0.0/8"]),
    (
        "rdr on em0 proto tcp to 1.2.3.4 port 80 -> 10.0.0.1",
        ["rdr on em0 inet proto tcp from any to 1.2.3.4 port = http -> 10.0.0.1"],
    ),
    (
        "rdr pass log on em0 proto { tcp udp } to (em0) port 53 -> 10.0.0.1 port 5353",
        [
            f"rdr pass log on em0 inet proto {each} from any to (em0) port = domain -> 10.0.0.1 port 5353"
            for each in ("tcp", "udp")
        ],
    ),
    (
        "rdr on em0 inet6 proto tcp to port 2000:2009 -> fd00::1 port 3000:*",
        ["rdr on em0 inet6 proto tcp from any to any port 2000:2009 -> fd00::1 port 3000:3009"],
    ),
    ("binat on em0 from 10.0.0.1 to any -> 1.2.3.4", ["binat on em0 inet from 10.0.0.1 to any -> 1.2.3.4"]),
    ('nat-anchor "bhype/*"', ['nat-anchor "bhype/*" all']),
    ('rdr-anchor "x" on em0 proto tcp', ['rdr-anchor "x" on em0 proto tcp all']),
    ('anchor "bhype/*"', ['anchor "bhype/*" all']),
    (
        "anchor a in on em0 proto tcp to port 25",
        ['anchor "a" in on em0 proto tcp from any to any port = smtp'],
    ),
    (
        'antispoof log quick for em0 inet label "s"',
        [
            'block drop in log quick on ! em0 inet from 192.0.2.0/24 to any label "s"',
            'block drop in log quick on ! em0 inet from 192.0.2.0/24 to any label "s"',
            'block drop in log quick inet from 192.0.2.10 to any label "s"',
            'block drop in log quick inet from 192.0.2.11 to any label "s"',
        ],
    ),
    ("antispoof for lo0 inet", ["block drop in on ! lo0 inet from 127.0.0.0/8 to any"]),
    (
        "antispoof for (em1)",
        ["block drop in on ! em1 from (em1:network) to any", "block drop in from (em1) to any"],
    ),
]


@pytest.mark.parametrize(
    ("line", "expected"), [each for each in PRINTED if each[1]], ids=lambda each: str(each)[:60]
)
def test_a_line_becomes_the_rules_that_pfctl_prints(line, expected):
    assert rules(line + "\n") == expected


def test_it_reads_what_it_prints():
    for line, _ in PRINTED[:]:
        try:
            first = parser.parse(line, world=WORLD)
        except parser.Errors:
            continue
        printed = [show.text(rule, escape=True) for rule in first.rules()]
        again = parser.parse("\n".join(printed), world=WORLD, internal=True, name=line)
        assert again.rules() == first.rules(), line


ORDER = "Rules must be in order: options, ethernet, normalization, queueing, translation, filtering"
WRONG = [
    ("frob", ["stdin:1: syntax error"]),
    ("pass in on", ["stdin:1: syntax error"]),
    ("pass\npass foo\nblock bar\n", ["stdin:2: syntax error", "stdin:3: syntax error"]),
    ("pass in \\\n  foo", ["stdin:2: syntax error"]),
    ("pass on $ext", ["stdin:1: macro 'ext' not defined", "stdin:1: syntax error"]),
    ("pass\nnat on em0 from any -> (em0)", [f"stdin:2: {ORDER}"]),
    ("block\nset skip on lo0", [f"stdin:2: {ORDER}"]),
    ("nat-anchor x\nscrub in", [f"stdin:2: {ORDER}"]),
    ("pass from nohost", ["no IP address found for nohost", "stdin:1: could not parse host specification"]),
    (
        "pass from 10.0.0.300",
        ["no IP address found for 10.0.0.300", "stdin:1: could not parse host specification"],
    ),
    (
        "pass from 10.0.0.1/33",
        ["no IP address found for 10.0.0.1/33", "stdin:1: could not parse host specification"],
    ),
    ("pass proto frob", ["stdin:1: unknown protocol frob"]),
    ("pass proto tcp to port frob", ["stdin:1: unknown port frob"]),
    ("pass proto tcp to port 65536", ["stdin:1: illegal port value 65536"]),
    (
        "pass to port 22",
        [
            "stdin:1: port only applies to tcp/udp",
            "stdin:1: skipping rule due to errors",
            "stdin:1: rule expands to no valid combination",
        ],
    ),
    ("pass inet from ::1", ["stdin:1: rule expands to no valid combination"]),
    ("pass proto tcp to port {", ["stdin:1: syntax error"]),
    (f'pass label "{"x" * 64}"', ["stdin:1: rule label too long (max 63 chars)"]),
    (f"table <{'x' * 32}>", ["stdin:1: table name too long, max 31 chars"]),
    (f"pass from <{'x' * 32}>", [f"stdin:1: table name '{'x' * 32}' too long"]),
    (f"pass on {'x' * 16}", ["stdin:1: interface name too long"]),
    ("table <a> frob", ["stdin:1: invalid table option 'frob'"]),
    ("table <a> { <b> }", ["stdin:1: tables cannot contain tables"]),
    ("table <a> { (em0) }", ["stdin:1: dynamic addresses are not permitted inside tables"]),
    ('table <a> file "/none"', ['stdin:1: cannot load "/none": No such file or directory']),
    ("nat on em0 from any", ["stdin:1: translation rule requires '-> address'"]),
    ("no rdr on em0 from any -> 1.2.3.4", ["stdin:1: translation rule with 'no' does not need '->'"]),
    ("no nat pass on em0", ['stdin:1: "pass" not valid with "no"']),
    (
        "rdr on em0 proto tcp to 1.2.3.4 -> 10.0.0.1 static-port",
        ["stdin:1: the 'static-port' option is only valid with nat rules"],
    ),
    (
        "binat on em0 from 10.0.0.0/24 -> 1.2.3.4",
        ["stdin:1: 'binat' source mask and redirect mask must be the same"],
    ),
    ("pass flags S/A", ["stdin:1: invalid flags S/A"]),
    ("pass keep state keep state", ["stdin:1: modulate or keep cannot be redefined"]),
    ('anchor "_x"', ["stdin:1: anchor names beginning with '_' are reserved for internal use"]),
    ("pass out nat-to 1.2.3.4", ["stdin:1: syntax error"]),
    ('include "/none"', ["pfctl: /none: No such file or directory", "stdin:1: failed to include file /none"]),
    ('include "/etc/bad.conf"\nfrob\n', ["/etc/bad.conf:2: syntax error", "stdin:2: syntax error"]),
    ("set frob", ["stdin:1: syntax error"]),
    ("set timeout frob 3", ["stdin:1: unknown timeout frob"]),
    ("set limit frob 3", ["stdin:1: unable to set limit frob 3"]),
    ('anchor "x" {\npass\n', ["stdin:3: syntax error"]),
    (
        "pass inet proto icmp6 icmp6-type echoreq",
        [
            "stdin:1: proto icmp6 doesn't match address family inet",
            "stdin:1: skipping rule due to errors",
            "stdin:1: rule expands to no valid combination",
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=lambda each: str(each)[:40])
def test_an_error_is_told_as_pfctl_tells_it(text, expected):
    assert errors(text) == expected


def test_macros_lists_and_includes():
    text = 'ext = "em0"\nports = "{ 22 80 }"\nboth = $ports\ninclude "/etc/more.conf"\n'
    text += "pass on $ext proto tcp to port $both\n"
    assert rules(text) == [
        "pass in quick on em1 all flags S/SA keep state",
        "pass on em0 proto tcp from any to any port = ssh flags S/SA keep state",
        "pass on em0 proto tcp from any to any port = http flags S/SA keep state",
    ]
    assert rules("pass on $x", macros={"x": "em7"}) == ["pass on em7 all flags S/SA keep state"]


def test_tables_take_lists_files_and_interfaces():
    found = parser.parse(
        "table <a> persist const counters { 10.1/16, !10.1.2.3\n em1:network2 }\n".replace(
            "\n em1:network2", ""
        )
        + 'table <b> persist file "/etc/hosts.txt"\ntable <c> persist\ntable <d> { em0 }\n',
        world=WORLD,
    ).tables
    assert [("!" if each.negated else "") + each.value for each in found["a"].addresses] == [
        "10.1.0.0/16",
        "!10.1.2.3/32",
    ]
    assert (found["a"].persist, found["a"].const, found["a"].counters) == (True, True, True)
    assert [each.text() for each in found["b"].addresses] == ["10.1.1.1", "10.1.1.2", "10.2.0.0/16"]
    assert (found["c"].has_list, found["d"].has_list) == (False, True)
    assert len(found["d"].addresses) == 4


def test_anchors_hold_rules_in_braces_and_from_files():
    found = parser.parse(
        'anchor in on em0 {\n  block\n  anchor "inner" {\n    pass\n  }\n}\nanchor "x"\n'
        'load anchor "x" from "/etc/more.conf"\n',
        world=WORLD,
    )
    assert [show.text(rule) for rule in found.filter] == ["anchor in on em0 all", 'anchor "x" all']
    assert [show.text(rule) for rule in found.anchors["_1"].filter] == [
        "block drop all",
        'anchor "inner" all',
    ]
    assert len(found.anchors["_1"].anchors["inner"].filter) == 1
    assert len(found.anchors["x"].filter) == 1


def test_later_releases_know_more_words():
    ether = "ether block in on em0 proto 0x0806 from 02:00:00:00:00:01 to any\n".replace(" to any", "")
    assert [show.ether(each) for each in parser.parse(ether, world=WORLD).ether] == [
        "ether block in on em0 proto 0x0806 from 02:00:00:00:00:01 l3 all"
    ]
    older = World(WORLD.interfaces, release=13)
    assert errors(ether, older) == ["stdin:1: syntax error"]
    newer = World(WORLD.interfaces, release=15)
    assert rules("pass out on em0 inet from 10/8 nat-to (em0:0)", newer) == [
        "pass out on em0 inet from 10.0.0.0/8 to any flags S/SA keep state nat-to (em0:0)"
    ]
    assert rules("nat on em0 from 10/8 -> (em0:0)", newer) == [
        "nat on em0 inet from 10.0.0.0/8 to any -> (em0:0)"
    ]


# -- whatever can be written is printed so that it can be read ---------------------------------------

HOSTS = st.sampled_from(
    [
        "any",
        "10.0.0.1",
        "10.0.0.0/8",
        "! 10.1.0.0/16",
        "fd00::/64",
        "<guests>",
        "! <guests>",
        "(em0)",
        "(em0:0)",
        "self",
    ]
)
PORTS = st.sampled_from(
    ["", " port 22", " port 8000:8010", " port > 1023", " port { 80, 443, 1 >< 9 }", " port != www"]
)
TAILS = st.sampled_from(
    [
        "",
        " no state",
        " keep state (max 3, if-bound)",
        ' label "a b"',
        ' tag T label "x"',
        " modulate state",
        " ! tagged T",
    ]
)


@st.composite
def lines(draw):
    action = draw(st.sampled_from(["pass", "block", "block return", "block return-icmp(net-unr)", "match"]))
    words = [action, draw(st.sampled_from(["", "in", "out"]))]
    words += [draw(st.sampled_from(["", "log", "log (all)"])), draw(st.sampled_from(["", "quick"]))]
    words.append(draw(st.sampled_from(["", "on em0", "on ! em0", "on { em0, egress }"])))
    words.append(draw(st.sampled_from(["", "inet", "inet6"])))
    words.append(protocol := draw(st.sampled_from(["", "proto tcp", "proto { tcp udp }", "proto 47"])))
    ported = "tcp" in protocol
    words.append(
        f"from {draw(HOSTS)}{draw(PORTS) if ported else ''} to {draw(HOSTS)}{draw(PORTS) if ported else ''}"
    )
    words.append(draw(TAILS if action == "pass" else st.sampled_from(["", ' label "q\\"q"', " tag T"])))
    return " ".join(each for each in words if each)


@settings(max_examples=150, deadline=None)
@given(st.lists(lines(), min_size=1, max_size=4))
def test_rules_survive_being_printed(text):
    try:
        first = parser.parse("\n".join(text), world=WORLD)
    except parser.Errors as error:
        assert all("rule expands to no valid combination" in each for each in error.lines)
        return
    printed = "\n".join(show.text(rule, escape=True) for rule in first.rules())
    again = parser.parse(printed, world=World(interfaces={}, release=99), internal=True)
    assert again.rules() == first.rules()


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("pass blockinout quick<>{}()!=$\"'#,/\\\n-:0123456789.label \t"), max_size=60))
def test_no_text_breaks_the_reader(text):
    try:
        parser.parse(text, world=WORLD)
    except parser.Errors as error:
        assert error.lines
