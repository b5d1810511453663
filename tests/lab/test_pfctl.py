"""pfctl(8) of the lab: loads, anchors, tables and what it prints."""

from __future__ import annotations

import subprocess

import pytest

MAIN = """set skip on lo0
nat-anchor "bhype/*"
rdr-anchor "bhype/*"
pass in on em0 proto tcp to port 22
anchor "bhype/*"
"""


@pytest.fixture
def pf(lab):
    """A lab whose pf is loaded and on."""
    lab.ok("kldload", "pf")
    lab.path("/etc/pf.conf").write_text(MAIN)
    answer = lab("pfctl", "-ef", "/etc/pf.conf")
    assert (answer.code, answer.err) == (0, "pf enabled\n")
    return lab


def feed(lab, text, *arguments):
    """Run pfctl with ``text`` on its stdin."""
    done = subprocess.run(
        lab.argv("pfctl", *arguments), input=text, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_without_the_module_only_a_check_works(still_lab):
    assert still_lab.fails("pfctl", "-sr") == "pfctl: /dev/pf: No such file or directory\n"
    assert still_lab.fails("pfctl", "-e") == "pfctl: /dev/pf: No such file or directory\n"
    assert feed(still_lab, "pass\n", "-nf", "-") == (0, "", "")
    assert feed(still_lab, "frob\n", "-nf", "-") == (
        1,
        "",
        "stdin:1: syntax error\npfctl: Syntax error in config file: pf rules not loaded\n",
    )


def test_a_missing_file_and_wrong_options_are_refused(still_lab):
    text = still_lab.fails("pfctl", "-nf", "/none.conf")
    assert text.startswith("pfctl: /none.conf: No such file or directory\n")
    assert text.endswith("pfctl: Syntax error in config file: pf rules not loaded\n")
    assert still_lab.fails("pfctl", "-s", "frob").startswith(
        "pfctl: Unknown show modifier 'frob'\nusage: pfctl"
    )
    assert still_lab.fails("pfctl", "-F", "frob").startswith("pfctl: Unknown flush modifier 'frob'\n")
    assert still_lab.fails("pfctl", "-T", "show").startswith("usage: pfctl")
    assert still_lab.fails("pfctl", "-Z").startswith("pfctl: illegal option -- Z\nusage: pfctl")
    assert still_lab.fails("pfctl", "-n", "-a", "_x", "-f", "/etc/pf.conf") == (
        "pfctl: anchor names beginning with '_' cannot be modified from the command line\n"
    )


def test_pf_is_switched_on_and_off(lab):
    lab.ok("kldload", "pf")
    assert lab("pfctl", "-s", "Running").out == "Disabled\n"
    assert lab("pfctl", "-s", "Running").code == 1
    assert lab.fails("pfctl", "-d") == "pfctl: pf not enabled\n"
    assert lab("pfctl", "-e").err == "pf enabled\n"
    assert lab.fails("pfctl", "-e") == "pfctl: pf already enabled\n"
    assert lab.ok("pfctl", "-s", "Running") == "Enabled\n"
    assert lab.ok("pfctl", "-si").startswith("Status: Enabled for 0 days 00:00:0")
    assert lab("pfctl", "-qd").err == ""
    assert lab.ok("pfctl", "-si").startswith("Status: Disabled")


def test_loaded_rules_are_shown_as_the_kernel_has_them(pf):
    assert pf.ok("pfctl", "-sr") == (
        "pass in on em0 proto tcp from any to any port = ssh flags S/SA keep state\n"
        + 'anchor "bhype/*" all\n'
    )
    assert pf.ok("pfctl", "-P", "-sr").startswith(
        "pass in on em0 proto tcp from any to any port = 22 flags S/SA"
    )
    assert pf.ok("pfctl", "-sn") == 'nat-anchor "bhype/*" all\nrdr-anchor "bhype/*" all\n'
    assert pf.ok("pfctl", "-sA") == "  bhype\n"
    assert pf.ok("pfctl", "-sI").splitlines()[:2] == ["all", "em0"]
    shown = pf("pfctl", "-vvsr")
    assert shown.out.startswith("@0 pass in on em0 proto tcp")
    assert "  [ Evaluations: 0         Packets: 0         Bytes: 0           States: 0     ]\n" in shown.out
    assert shown.err == "No ALTQ support in kernel\nALTQ related functions disabled\n"


def test_an_anchor_is_loaded_at_once_or_not_at_all(pf):
    good = "table <vm1> persist { 10.0.0.5 }\nnat on em0 inet from 10.0.0.0/24 -> (em0:0)\n"
    good += 'block in quick from <vm1> label "a b"\n'
    assert feed(pf, good, "-a", "bhype/rules", "-f", "-") == (0, "", "")
    shown = pf.ok("pfctl", "-a", "bhype/rules", "-sr")
    assert shown == 'block drop in quick from <vm1> to any label "a b"\n'
    assert (
        pf.ok("pfctl", "-a", "bhype/rules", "-sn") == "nat on em0 inet from 10.0.0.0/24 to any -> (em0:0)\n"
    )
    assert pf.ok("pfctl", "-a", "bhype/rules", "-sl") == "a b 0 0 0 0 0 0 0 0\n"
    code, _, error = feed(pf, "pass\nfrob\n", "-a", "bhype/rules", "-f", "-")
    assert (code, error.splitlines()[0]) == (1, "stdin:2: syntax error")
    assert pf.ok("pfctl", "-a", "bhype/rules", "-sr") == shown
    pf.fault('{"command": "pfctl -f", "do": "kill"}')
    feed(pf, "pass\n", "-a", "bhype/rules", "-f", "-")
    pf.admin("clear", pf.folder)
    assert pf.ok("pfctl", "-a", "bhype/rules", "-sr") == shown
    assert pf("pfctl", "-vsA").out == "  bhype\n  bhype/rules\n"
    assert pf.ok("pfctl", "-a", "bhype", "-sA") == "  bhype/rules\n"
    assert 'anchor "rules" all {\n    block drop in quick' in pf.ok("pfctl", "-a", "*", "-sr")


def test_a_main_load_leaves_anchors_alone(pf):
    feed(pf, "block in quick on em0\n", "-a", "bhype/base", "-f", "-")
    pf.ok("pfctl", "-f", "/etc/pf.conf")
    assert pf.ok("pfctl", "-a", "bhype/base", "-sr") == "block drop in quick on em0 all\n"
    feed(pf, "", "-a", "bhype/base", "-f", "-")
    assert pf("pfctl", "-a", "bhype/base", "-sr").err == "pfctl: DIOCGETRULES: Invalid argument\n"


def test_an_anchor_is_flushed(pf):
    feed(
        pf,
        "table <t> persist { 10.0.0.1 }\nrdr on em0 proto tcp to port 80 -> 10.0.0.1\npass\n",
        "-a",
        "bhype/x",
        "-f",
        "-",
    )
    assert pf("pfctl", "-a", "bhype/x", "-F", "rules").err == "rules cleared\n"
    assert pf.ok("pfctl", "-a", "bhype/x", "-sr") == ""
    assert pf.ok("pfctl", "-a", "bhype/x", "-sn").startswith("rdr on em0 inet proto tcp")
    assert pf("pfctl", "-a", "bhype/x", "-F", "nat").err == "nat cleared\n"
    assert pf("pfctl", "-a", "bhype/x", "-F", "Tables").err == "1 tables deleted.\n"
    assert pf("pfctl", "-vsA").out == "  bhype\n"
    assert pf("pfctl", "-F", "states").err == "0 states cleared\n"


def test_tables_are_changed_and_asked(pf):
    table = ("-a", "bhype/rules", "-t", "vm1", "-T")
    assert pf.fails("pfctl", *table, "show") == "pfctl: Table does not exist.\n"
    feed(pf, "table <vm1> persist\npass from <vm1>\n", "-a", "bhype/rules", "-f", "-")
    assert pf("pfctl", *table, "add", "10.0.0.5", "fd00::1", "10.0.0.5").err == "2/3 addresses added.\n"
    assert pf.ok("pfctl", *table, "show") == "   10.0.0.5\n   fd00::1\n"
    assert pf("pfctl", *table, "replace", "10.0.0.5", "10.1.0.0/16", "!10.1.2.3").err == (
        "2 addresses added.\n1 addresses deleted.\n"
    )
    assert pf("pfctl", *table, "replace", "10.0.0.5", "10.1.0.0/16", "!10.1.2.3").err == "no changes.\n"
    assert pf.ok("pfctl", *table, "show") == "   10.0.0.5\n   10.1.0.0/16\n  !10.1.2.3\n"
    assert (
        found := pf("pfctl", *table, "test", "10.1.9.9")
    ).code == 0 and found.err == "1/1 addresses match.\n"
    assert (
        found := pf("pfctl", *table, "test", "10.1.9.9", "10.1.2.3")
    ).code == 2 and found.err == "1/2 addresses match.\n"
    assert pf("pfctl", *table, "delete", "10.0.0.5", "10.0.0.6").err == "1/2 addresses deleted.\n"
    assert feed(pf, "10.7.7.7 # a comment\n", *table, "add", "-f", "-")[2] == "1/1 addresses added.\n"
    assert pf.ok("pfctl", "-a", "bhype/rules", "-sT") == "vm1\n"
    assert pf("pfctl", "-a", "bhype/rules", "-vsT").out.startswith(
        "-pa-r--\tvm1\tbhype/rules\n\tAddresses:   3\n"
    )
    assert pf("pfctl", *table, "flush").err == "3 addresses deleted.\n"
    assert pf("pfctl", *table, "kill").err == "1 table deleted.\n"
    assert pf.fails("pfctl", *table, "add", "no.such.host") == (
        "no IP address found for no.such.host\npfctl: cannot decode no.such.host\n"
    )


def test_a_load_keeps_what_a_table_holds_unless_it_says_what(pf):
    table = ("-a", "bhype/rules", "-t", "vm1", "-T")
    feed(pf, "table <vm1> persist\npass from <vm1>\n", "-a", "bhype/rules", "-f", "-")
    pf("pfctl", *table, "add", "10.0.0.5")
    feed(pf, "table <vm1> persist\nblock from <vm1>\n", "-a", "bhype/rules", "-f", "-")
    assert pf.ok("pfctl", *table, "show") == "   10.0.0.5\n"
    feed(pf, "table <vm1> persist { }\nblock from <vm1>\n", "-a", "bhype/rules", "-f", "-")
    assert pf.ok("pfctl", *table, "show") == ""
    feed(pf, "table <vm1> const { 10.0.0.9 }\nblock from <vm1>\n", "-a", "bhype/rules", "-f", "-")
    assert pf.fails("pfctl", *table, "add", "10.0.0.5") == "pfctl: Operation not permitted.\n"


def test_a_command_makes_the_table_it_adds_to(pf):
    assert (
        pf("pfctl", "-t", "new", "-T", "add", "10.0.0.0/8").err == "1 table created.\n1/1 addresses added.\n"
    )
    assert pf.ok("pfctl", "-sT") == "new\n"


def test_labels_with_quotes_do_no_harm(pf):
    assert feed(pf, "pass label 'a\"b'\n", "-a", "bhype/q", "-f", "-") == (0, "", "")
    assert pf.ok("pfctl", "-a", "bhype/q", "-sr") == 'pass all flags S/SA keep state label "a"b"\n'


def test_a_dry_run_tells_what_it_would_load(still_lab):
    code, out, _ = feed(still_lab, "table <t> { 10.0.0.1 }\npass from <t>\nanchor {\nblock\n}\n", "-nvf", "-")
    assert (code, out) == (
        0,
        "table <t> { 10.0.0.1 }\npass from <t> to any flags S/SA keep state\nanchor all {\n  block drop all\n}\n",
    )


def test_timeouts_limits_and_all(pf):
    assert "tcp.established           86400s\n" in pf.ok("pfctl", "-st")
    assert "states        hard limit   100000\n" in pf.ok("pfctl", "-sm")
    assert "FILTER RULES:\npass in on em0" in pf.ok("pfctl", "-sa")
    assert pf("pfctl", "-k", "10.0.0.1").err == "killed 0 states from 1 sources and 0 destinations\n"
    assert pf("pfctl", "-k", "label", "-k", "x").err == "killed 0 states\n"
