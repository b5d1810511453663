"""What is wanted comes into pf, stays there, and comes back when somebody has changed it."""

from __future__ import annotations

from bhype.host import LocalHost
from bhype.hosts.observer import booted
from bhype.tasks.models import Task
from network.firewall import compile, loaded, names, words
from network.guests import Guest, Port
from network.models import Firewall, Lease, Rule, Ruleset, Switch

from .conftest import MAC, WEB

TABLE = names.table_name(words.endpoint(WEB))


def lines(task: Task) -> str:
    return "\n".join(task.lines.values_list("text", flat=True))


def test_what_switches_need_is_loaded_once(filtered):
    first = filtered.do("network.ensure_firewall")
    assert first.status == "succeeded", first.error
    assert "nat on em0 inet from 10.77.0.0/24" in filtered.pfctl("-a", "bhype/base", "-s", "nat")
    assert 'label "bhype:switch:' in filtered.rules()
    assert filtered.table("bhype/base", "nic_1") == ["10.77.0.5"]
    again = filtered.do("network.ensure_firewall")
    assert " -f " in lines(first) and " -f " not in lines(again)


def test_guarded_ports_are_bound_to_their_mac_addresses(filtered):
    def most() -> str:
        return filtered.lab.commands("/sbin/ifconfig", "sw-nat").partition("ifmaxaddr ")[2].split()[0]

    filtered.lab.commands("/sbin/ifconfig", "tap1001", "create")
    filtered.lab.commands("/sbin/ifconfig", "sw-nat", "addm", "tap1001")
    assert most() == "0"
    assert filtered.do("network.ensure_firewall").status == "succeeded"
    assert most() == "1"
    assert f"{MAC} Vlan0 tap1001 0 flags=1<STATIC>" in filtered.lab.commands(
        "/sbin/ifconfig", "sw-nat", "addr"
    )
    Task.objects.all().delete()
    filtered.lab.sweep()
    assert not Task.objects.filter(operation="network.ensure_firewall").exists()
    Switch.objects.update(is_guarded=False)
    filtered.do("network.ensure_firewall")
    assert most() == "0"


def test_without_pf_nothing_is_done(ready):
    from bhype.tasks import ask

    task = ask("network.ensure_firewall", {}, None)
    ready.run_tasks()
    task.refresh_from_db()
    assert task.status == "succeeded" and "not in the kernel" in lines(task)
    Task.objects.all().delete()
    ready.sweep()
    assert not Task.objects.filter(operation="network.ensure_firewall").exists()


def test_tables_follow_addresses_without_a_reload(filtered):
    confirmed(filtered, Rule(subject=WEB, direction="in", action="block", peer="internet"))
    assert filtered.table("bhype/rules", TABLE) == ["10.77.0.5"]
    before = filtered.rules()
    Lease.objects.create(switch=filtered.switch, address="10.77.0.9", mac=MAC)
    Task.objects.all().delete()
    filtered.lab.sweep()
    assert filtered.table("bhype/rules", TABLE) == ["10.77.0.5", "10.77.0.9"]
    assert sorted(filtered.table("bhype/base", "nic_1")) == ["10.77.0.5", "10.77.0.9"]
    Lease.objects.all().delete()
    filtered.lab.sweep()
    assert filtered.table("bhype/rules", TABLE) == ["10.77.0.5"]
    assert filtered.rules() == before
    assert not Task.objects.filter(operation__startswith="network.ensure_firewall").exists()


def test_what_somebody_else_does_to_anchors_is_told_and_undone(filtered):
    filtered.do("network.ensure_firewall")
    before = filtered.rules(), filtered.pfctl("-a", "bhype/base", "-s", "rules")
    filtered.pfctl("-a", "bhype/base", "-F", "all")
    (filtered.lab.root / "tmp/evil.conf").write_text("pass quick all\n")
    filtered.pfctl("-a", "bhype/rules", "-f", "/tmp/evil.conf")
    Task.objects.all().delete()
    filtered.lab.sweep()
    filtered.host.refresh_from_db()
    for anchor in ("bhype/base", "bhype/rules"):
        assert any(anchor in problem for problem in filtered.host.problems)
    assert "network.ensure_firewall" in [task.operation for task in filtered.lab.run_tasks()]
    assert (filtered.rules(), filtered.pfctl("-a", "bhype/base", "-s", "rules")) == before
    filtered.lab.sweep()
    filtered.host.refresh_from_db()
    assert not any("bhype/" in problem for problem in filtered.host.problems)


def test_it_tells_when_pf_is_off_or_does_not_ask(filtered):
    filtered.do("network.ensure_firewall")
    filtered.pfctl("-d")
    filtered.lab.sweep()
    assert "switched off" in Firewall.objects.get().problems[0]
    filtered.pfctl("-e")
    # Meanwhile a switch changes, and is followed.
    Switch.objects.update(has_dns=True)
    (filtered.lab.root / "etc/pf.conf").write_text('nat-anchor "bhype/*"\npass all\n')
    filtered.pfctl("-f", "/etc/pf.conf")
    filtered.lab.sweep()
    assert "rdr-anchor, anchor" in Firewall.objects.get().problems[0]
    filtered.lab.run_tasks()
    assert "port = domain" in filtered.pfctl("-a", "bhype/base", "-s", "rules")


def test_rules_are_counted(filtered, monkeypatch):
    confirmed(filtered, Rule(subject=WEB, direction="in", action="block"))
    rule = Rule.objects.get()
    from bhype.freebsd import pfctl
    from bhype.freebsd.command import Query

    text = f"{compile.rule_label(rule.pk)} 9 7 700 3 300 4 400 1\n" * 2
    query = pfctl.counters("bhype/rules")
    monkeypatch.setattr(pfctl, "counters", lambda _: Query(query.command, lambda _: query.parse(text)))
    filtered.lab.sweep()
    rule.refresh_from_db()
    assert (rule.packets, rule.octets) == (14, 1400)


def test_after_a_boot_confirmed_rules_are_loaded_before_anything_else(filtered):
    confirmed(filtered, Rule(subject=WEB, direction="in", action="block"))
    filtered.lab.sweep()
    before = filtered.rules()
    for anchor in ("bhype/base", "bhype/rules"):
        filtered.pfctl("-a", anchor, "-F", "all")
    Task.objects.all().delete()
    booted(filtered.host)
    assert Task.objects.filter(operation="network.ensure_firewall").exists()
    filtered.lab.run_tasks()
    assert filtered.rules() == before
    filtered.pfctl("-a", "bhype/rules", "-F", "all")
    assert filtered.do("vms.autostart").status == "succeeded"
    assert filtered.rules() == before


def test_what_was_loaded_is_only_believed_when_it_can_be_read(tmp_path):
    machine = LocalHost(str(tmp_path))
    assert loaded.read(machine) == {}
    machine.makedirs(loaded.FOLDER)
    for text in ("", "[]", '{"bhype/base": {"x": 1}}', "{", "7"):
        machine.write_text(f"{loaded.FOLDER}/loaded.json", text)
        assert loaded.read(machine) == {}
    loaded.write(machine, "bhype/base", loaded.Loaded("a", "b", {"t": ["10.0.0.1"]}))
    assert loaded.read(machine)["bhype/base"].tables == {"t": ["10.0.0.1"]}


def test_rows_that_nobody_should_have_written_never_reach_pf(filtered, guest):
    """The web process is not root, and may be somebody else's: what it has written is checked again."""
    confirmed(filtered, Rule(subject=WEB, direction="in", action="block"))
    before = filtered.rules()
    Switch.objects.update(nat_interface="em0\npass quick all")
    bad = Port("nic:2", 0, filtered.switch.pk, 'ff:ff"', "tap1;x", False, ("10.77.0.7 }", "fe80::1%x"))
    guest.append(Guest("vm", WEB.replace("1", "2"), "x", "", filtered.host.pk, (), True, None, (bad,)))
    Switch.objects.create(host=filtered.host, name="pass", kind="nat", adopted="pass", address="10.9.0.1/24")
    assert filtered.do("network.ensure_firewall").status == "succeeded"
    assert "pass quick all" not in filtered.pfctl("-a", "bhype/base", "-s", "nat")
    row = Ruleset.objects.get()
    for document in (
        {"rules": [{"id": 1, "subject": 5, "direction": "in", "action": "block"}]},
        {"rules": {"id": 1}},
        {"aliases": [{"id": 1, "name": "x", "kind": "hosts", "entries": [1]}]},
        {"forwards": ["x"]},
    ):
        row.document = document
        row.save()
        task = filtered.do("network.ensure_firewall")
        assert task.status == "failed" and "cannot be read" in task.error
        assert filtered.rules() == before
    filtered.lab.sweep()
    filtered.host.refresh_from_db()
    assert any("cannot be made" in problem for problem in filtered.host.problems)


def confirmed(filtered, *rules: Rule) -> None:
    """Let these rules be in force, confirmed."""
    for place, rule in enumerate(rules):
        rule.host, rule.position = filtered.host, place
        rule.save()
    assert (task := filtered.do("network.apply_rules")).status == "succeeded", task.error
    assert filtered.do("network.confirm_rules").status == "succeeded"
    assert Ruleset.objects.first().state == "confirmed"
