"""Everything that the pages of rules can do, the API can."""

from __future__ import annotations

import json

import pytest

from bhype.accounts.models import ApiToken, AuditEntry
from bhype.tasks.models import Task
from network.models import Alias, Allocation, Firewall, Forward, HostChange, PfConf, Rule, Ruleset, Switch


@pytest.fixture
def web1(vm, host, switch):
    Firewall.objects.create(
        host=host, seen={"own": ["10.77.0.1"], "egress": "em0", "ssh_ports": [22]}, has_pf=True
    )
    Allocation.objects.create(
        switch=switch, address="10.77.0.10", kind="lease", port=f"nic:{vm.nics.get().pk}"
    )
    return f"vm:{vm.uuid}"


@pytest.fixture
def ask(client, admin):
    """Ask as an admin: (status, answer)."""
    _, secret = ApiToken.objects.issue(admin, "t", "full", None)

    def call(method: str, path: str, body: object = None):
        answer = client.generic(
            method, f"/api/v1{path}", data=json.dumps(body) if body is not None else "",
            content_type="application/json", HTTP_AUTHORIZATION=f"Bearer {secret}",
        )  # fmt: skip
        return answer.status_code, json.loads(answer.content or b"null")

    return call


def test_a_rule_has_its_whole_life(ask, web1):
    body = {
        "action": "pass",
        "direction": "in",
        "subject": web1,
        "peer": "192.0.2.0/24",
        "protocol": "tcp",
        "ports": "22",
    }
    status, first = ask("POST", "/rules", body)
    assert (status, first["text"], first["place"]) == (201, "Allow to web1 from 192.0.2.0/24, TCP 22", 1)
    second = ask("POST", "/rules", body | {"ports": "80", "before": first["id"]})[1]
    assert [row["id"] for row in ask("GET", "/rules")[1]] == [second["id"], first["id"]]
    assert ask("POST", f"/rules/{second['id']}/move", {"to": "down"})[1]["place"] == 2
    changed = ask("PUT", f"/rules/{first['id']}", body | {"action": "block", "peer": "any"})[1]
    assert (changed["action"], changed["peer"]) == ("block", "any")
    assert ask("GET", f"/rules/{first['id']}")[1]["text"] == "Drop to web1 from anywhere, TCP 22"
    assert ask("GET", "/rules?subject=tag:none")[1] == []
    assert ask("DELETE", f"/rules/{first['id']}")[0] == 204
    assert Rule.objects.count() == 1
    assert {"rules.add", "rules.change", "rules.down", "rules.delete"} <= set(
        AuditEntry.objects.values_list("action", flat=True)
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"peer": "10.0.0.300"}, "peer"), ({"peer": 'any" }'}, "peer"), ({"subject": "vm:x"}, "subject"),
        ({"ports": "80", "protocol": ""}, "protocol"), ({"ports": "a"}, "ports"), ({"peer": "alias:99"}, "peer"),
    ],
)  # fmt: skip
def test_a_rule_that_means_nothing_names_its_field(ask, web1, change, field):
    body = {"action": "pass", "direction": "in", "subject": web1, "protocol": "tcp", "ports": "22"} | change
    status, answer = ask("POST", "/rules", body)
    assert (status, answer["field"]) == (422, field)
    assert not Rule.objects.exists()


def test_a_forward_has_its_whole_life(ask, web1):
    status, made = ask(
        "POST", "/forwards", {"subject": web1, "port": 8000, "count": 5, "source": "192.0.2.0/24"}
    )
    assert (status, made["target_port"], made["count"]) == (201, 8000, 5)
    status, answer = ask("POST", "/forwards", {"subject": web1, "port": 22})
    assert (status, answer["field"]) == (422, "port")
    changed = ask("PUT", f"/forwards/{made['id']}", {"subject": web1, "port": 9000, "target_port": 80})[1]
    assert changed["text"] == "TCP port 9000 of this host to web1 port 80"
    assert [row["id"] for row in ask("GET", "/forwards")[1]] == [made["id"]]
    assert ask("GET", f"/forwards/{made['id']}")[0] == 200
    assert ask("DELETE", f"/forwards/{made['id']}")[0] == 204
    assert not Forward.objects.exists()


def test_an_alias_has_its_whole_life(ask, web1):
    status, made = ask(
        "POST", "/aliases", {"name": "office", "kind": "hosts", "entries": ["192.0.2.7", "web1"]}
    )
    assert (status, made["entries"]) == (201, ["192.0.2.7", web1])
    Rule.objects.create(
        host=Alias.objects.get().host, subject=web1, direction="in", action="pass", peer=f"alias:{made['id']}"
    )
    assert ask("GET", f"/aliases/{made['id']}")[1]["used_by"] == ["rule 1"]
    assert ask("DELETE", f"/aliases/{made['id']}")[0] == 409
    assert (
        ask("PUT", f"/aliases/{made['id']}", {"name": "bureau", "kind": "hosts", "entries": []})[1]["entries"]
        == []
    )
    Rule.objects.all().delete()
    assert ask("DELETE", f"/aliases/{made['id']}")[0] == 204
    assert ask("GET", "/aliases")[1] == []
    assert ask("POST", "/aliases", {"name": "any", "kind": "hosts"})[1]["field"] == "name"


def test_the_draft_is_told_applied_and_dropped(ask, web1, host, switch):
    ask("POST", "/rules", {"action": "block", "direction": "in", "subject": web1})
    ask("PUT", "/switches/nat/policy", {"passes_in": False, "passes_out": True})
    draft = ask("GET", "/firewall")[1]
    assert [one["kind"] for one in draft["differences"]] == ["added", "changed"]
    assert (draft["in_force"], draft["errors"]) == (None, [])
    status, task = ask("POST", "/firewall/apply", {"seconds": 30})
    assert status == 202 and Task.objects.get(pk=task["id"]).params == {"seconds": 30}
    assert ask("POST", "/firewall/apply", {"seconds": 5})[0] == 422
    assert ask("POST", "/firewall/discard")[0] == 204
    assert not Rule.objects.exists()
    assert ask("GET", "/switches/nat")[0] == 200


def test_what_waits_is_confirmed_by_its_number(ask, web1, host):
    assert ask("POST", "/firewall/confirm")[0] == 409
    row = HostChange.objects.create(host=host, name="firewall", state="waiting", note="12")
    Ruleset.objects.create(host=host, number=12, state="pending")
    assert ask("POST", "/firewall/confirm")[0] == 202
    assert Task.objects.get(operation="network.confirm_rules").params == {"note": "12"}
    assert ask("POST", "/firewall/revert")[0] == 202
    assert ask("GET", "/changes")[1][0]["label"] == "New rules of the firewall"
    assert ask("POST", f"/changes/{row.pk}/confirm")[0] == 202
    assert ask("POST", f"/changes/{row.pk + 1}/revert")[0] == 404


def test_rule_sets_of_the_past_are_read_and_restored(ask, web1, host):
    Ruleset.objects.create(host=host, number=3, state="confirmed", text="pass\n")
    assert [row["number"] for row in ask("GET", "/firewall/rulesets")[1]] == [3]
    assert ask("GET", "/firewall/rulesets/3")[1]["text"] == "pass\n"
    assert ask("POST", "/firewall/rulesets/3/restore")[0] == 202
    assert ask("POST", "/firewall/rulesets/4/restore")[0] == 404


def test_the_tester_and_pf_conf_answer(ask, web1, host):
    found = ask("GET", f"/firewall/test?source={web1}&target=internet&protocol=tcp&port=25")[1]
    assert [(one["rules"], one["passes"]) for one in found] == [("In force and draft", True)]
    assert ask("GET", "/firewall/test?source=nonsense&target=host&port=1")[0] == 422
    assert ask("GET", "/firewall/pf-conf")[0] == 404
    PfConf.objects.create(host=host, path="/etc/pf.conf", missing=[{"line": 'anchor "bhype/*"', "after": 3}])
    assert ask("GET", "/firewall/pf-conf")[1]["missing"][0]["after"] == 3
    assert ask("POST", "/firewall/pf-conf", {"digest": "a" * 64})[0] == 202
    assert ask("POST", "/firewall/pf-conf", {"digest": "x"})[0] == 422
    assert ask("GET", "/firewall/packets?q=web1")[1] == []


def test_switches_keep_their_policy_as_a_draft(ask, web1, switch):
    assert ask("PUT", "/switches/nat/policy", {"passes_in": False, "passes_out": False})[0] == 200
    assert Switch.objects.filter(pk=switch.pk, passes_in=False, passes_out=False).exists()
    assert ask("PUT", "/switches/none/policy", {"passes_in": False, "passes_out": False})[0] == 404
