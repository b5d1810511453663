"""The draft takes effect, is kept or goes back; whoever dies in between, the host has the old rules or the new ones."""

from __future__ import annotations

import pytest

from bhype import commit
from bhype.tasks.models import Task
from network.blocked import observe as blocked
from network.firewall import document, rulesets
from network.models import Alias, Firewall, Forward, Rule, Ruleset, Switch

from .conftest import WEB
from .test_loading import confirmed, lines


def draft(filtered, **columns) -> Rule:
    values = {"subject": WEB, "direction": "in", "action": "block"} | columns
    return Rule.objects.create(host=filtered.host, **values)


def test_new_rules_wait_for_a_confirmation_and_then_last(filtered):
    rule = draft(filtered)
    task = filtered.do("network.apply_rules", seconds=300)
    assert task.status == "succeeded", task.error
    row = Ruleset.objects.get()
    assert (row.state, row.number, task.result) == ("pending", 1, {"ruleset": 1})
    assert f"bhype:rule:{rule.pk}" in filtered.rules() and f"bhype:rule:{rule.pk}" in row.text
    assert f"bhype:rule:{rule.pk}" not in filtered.read("rules.conf")
    busy = filtered.do("network.apply_rules")
    assert busy.status == "failed" and "waits" in busy.error
    # What is in force is the rule set that waits, not the draft, and not the old one.
    assert filtered.do("network.ensure_firewall").status == "succeeded"
    assert f"bhype:rule:{rule.pk}" in filtered.rules()
    assert filtered.do("network.confirm_rules", note="1").status == "succeeded"
    row.refresh_from_db()
    assert row.state == "confirmed" and row.ended_at
    assert f"bhype:rule:{rule.pk}" in filtered.read("rules.conf")
    late = filtered.do("network.revert_rules", note="1")
    assert late.status == "failed" and "confirmed already" in late.error


def test_a_new_rule_that_logs_is_listened_to_at_once(filtered):
    memory = filtered.lab.look().memory(blocked.Memory)
    Firewall.objects.update_or_create(host=filtered.host, defaults={"has_pf": True})
    try:
        blocked.observe(filtered.lab.look(1))
        draft(filtered, is_logged=True)
        filtered.do("network.apply_rules", seconds=300)
        assert "UP" in filtered.lab.commands("/sbin/ifconfig", "pflog0")
        # In the next sweep, whichever it is.
        blocked.observe(filtered.lab.look(2))
        assert memory.listener is not None
        assert not Task.objects.filter(operation="network.start_log").exists()
        filtered.do("network.revert_rules", note="1")
        blocked.observe(filtered.lab.look(3))
        assert memory.listener is None
    finally:
        blocked.end(memory)


def test_taken_back_the_old_rules_are_in_force_and_the_new_ones_a_draft(filtered):
    old = draft(filtered)
    confirmed(filtered)
    before = filtered.rules()
    new = draft(filtered, action="reject")
    Rule.objects.filter(pk=old.pk).delete()
    filtered.do("network.apply_rules", seconds=300)
    assert filtered.rules() != before
    assert filtered.do("network.revert_rules", note="2").status == "succeeded"
    row = Ruleset.objects.get(number=2)
    assert row.state == "reverted" and row.reason
    assert filtered.rules() == before
    assert [rule.pk for rule in Rule.objects.all()] == [new.pk]
    # An older rule set becomes the draft, with the numbers that it had.
    assert filtered.do("network.restore_ruleset", number=1).status == "succeeded"
    assert [rule.pk for rule in Rule.objects.all()] == [old.pk]
    assert filtered.rules() == before


def test_what_the_guard_has_taken_back_is_noticed(filtered):
    draft(filtered)
    filtered.do("network.apply_rules", seconds=300)
    commit.revert(filtered.lab.host, "firewall", "Nobody confirmed it in time.")
    Task.objects.all().delete()
    filtered.lab.sweep()
    row = Ruleset.objects.get()
    assert (row.state, row.reason) == ("reverted", "Nobody confirmed it in time.")
    assert {task.status for task in filtered.lab.run_tasks()} == {"succeeded"}
    assert "bhype:rule" not in filtered.rules()


def test_a_draft_that_is_wrong_is_refused_with_the_reason(filtered):
    filtered.do("network.ensure_firewall")
    before = filtered.rules()
    draft(filtered, ports="22")
    Forward.objects.create(host=filtered.host, subject=WEB, port=22, target_port=22)
    loop = Alias.objects.create(host=filtered.host, name="loop", kind="hosts")
    Alias.objects.filter(pk=loop.pk).update(entries=[f"alias:{loop.pk}"])
    task = filtered.do("network.apply_rules")
    assert task.status == "failed"
    row = Ruleset.objects.get()
    assert row.state == "refused"
    for sentence in ("Rule 1: Ports belong to TCP and UDP", "Port 22 of the host is ssh", "contains itself"):
        assert sentence in task.error and sentence in row.reason
    assert filtered.rules() == before


def test_what_pf_does_not_take_is_refused_with_its_words(filtered):
    draft(filtered)
    filtered.do("network.ensure_firewall")
    before = filtered.rules()
    text = "rules.pending.conf.check:3: syntax error"
    filtered.lab.fault(command="pfctl -n /var/db/bhype/pf/rules.pending.conf.check", do="fail", text=text)
    task = filtered.do("network.apply_rules")
    filtered.lab.clear_faults()
    assert task.status == "failed"
    assert Ruleset.objects.get().state == "refused"
    assert filtered.rules() == before


def test_connections_end_that_new_rules_forbid(filtered):
    confirmed(filtered, Rule(subject=WEB, direction="in", action="pass", protocol="tcp", ports="80"))
    number = Rule.objects.get().pk
    Rule.objects.all().delete()
    draft(filtered, direction="out", peer="internet")
    task = filtered.do("network.apply_rules", seconds=300)
    said = lines(task)
    assert f"pfctl -k label -k bhype:rule:{number}" in said
    assert "pfctl -k 10.77.0.5" in said and "pfctl -k 0.0.0.0/0 -k 10.77.0.5" in said


def test_a_document_comes_back_as_it_was(filtered):
    switch = filtered.switch
    alias = Alias.objects.create(host=switch.host, name="web", kind="hosts", entries=[WEB])
    other = Alias.objects.create(host=switch.host, name="mail", kind="ports", entries=["25"])
    draft(filtered, peer=f"alias:{alias.pk}", ports=f"alias:{other.pk}", protocol="tcp", note="why")
    Forward.objects.create(host=switch.host, subject=WEB, port=8022, target_port=22)
    before = document.of(switch.host)
    assert document.read(before.as_json()) == before
    Alias.objects.filter(pk=alias.pk).update(name="x")
    Alias.objects.filter(pk=other.pk).update(name="web")
    Rule.objects.all().delete()
    Switch.objects.update(passes_in=False)
    document.restore(switch.host, before)
    assert document.of(switch.host) == before
    with pytest.raises(ValueError, match="not a row"):
        document.read({"rules": [{}]})


def test_a_guest_that_is_gone_takes_no_other_rule_along(filtered, guest):
    confirmed(filtered, Rule(subject=WEB, direction="in", action="block"))
    guest.clear()
    task = filtered.do("network.ensure_firewall")
    assert task.status == "succeeded"
    (note,) = Firewall.objects.get().notes.values()
    assert "no switch" in note
    assert filtered.do("network.apply_rules", seconds=300).status == "succeeded"
    assert rulesets.in_force(filtered.host, filtered.lab.host).is_pending
