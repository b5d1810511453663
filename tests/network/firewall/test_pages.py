"""The pages of rules, forwards and aliases: what they show, refuse and write. Rows only."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from bhype.accounts.models import AuditEntry
from bhype.tasks.models import Task
from network.firewall import document
from network.models import Alias, Allocation, Firewall, Forward, Rule, Ruleset, Switch
from vms.models import VM

SEEN = {"own": ["192.0.2.5", "10.77.0.1"], "outer": ["em0"], "egress": "em0", "ssh_ports": [22]}


@pytest.fixture
def web1(vm, host, switch):
    """As rules name it; its address is known."""
    Firewall.objects.create(host=host, seen=SEEN, has_pf=True)
    nic = vm.nics.get()
    Allocation.objects.create(switch=switch, address="10.77.0.10", kind="lease", port=f"nic:{nic.pk}")
    return f"vm:{vm.uuid}"


@pytest.fixture
def client(as_user, admin):
    return as_user(admin)


def rule(host, subject, **columns) -> Rule:
    values = {"direction": "in", "action": "pass", "position": Rule.objects.count()} | columns
    return Rule.objects.create(host=host, subject=subject, **values)


def typed(about: str, **values: str) -> dict[str, str]:
    return {
        "action": "pass", "direction": "in", "subject": about, "peer": "internet", "protocol": "tcp",
        "ports": "80,443", "family": "", "is_enabled": "on", "note": "", **values,
    }  # fmt: skip


def text(answer) -> str:
    return re.sub(r"\s+", " ", answer.content.decode())


def test_a_rule_by_name_is_written_and_reads_as_a_sentence(client, web1):
    answer = client.post("/network/firewall/rules/new/", typed(web1))
    assert answer.status_code == 302, answer.content.decode()
    row = Rule.objects.get()
    assert (row.subject, row.peer, row.ports) == (web1, "internet", "80,443")
    assert "To web1 from the internet, TCP 80, 443" in text(client.get("/network/firewall/"))
    assert AuditEntry.objects.get(action="rules.add").detail["rule"].startswith("Allow to web1")
    assert not Task.objects.exists()


def test_the_form_shows_pfs_lines_and_who_is_meant_now(client, web1):
    shown = text(client.get("/network/firewall/rules/check/", typed(web1)))
    assert "Allow to web1 from the internet, TCP 80, 443" in shown
    assert "pass out quick on sw-nat" in shown and "10.77.0.10" in shown


@pytest.mark.parametrize(
    ("values", "field", "why"),
    [
        ({"ports": "80", "protocol": ""}, "protocol", "Ports belong to TCP and UDP"),
        ({"ports": "0"}, "ports", "65535"),
        ({"ports": "80\n443 nonsense"}, "ports", "is not a port"),
        ({"peer": "address", "peer_address": "10.0.0.300"}, "peer_address", ""),
        ({"peer": "address", "peer_address": ""}, "peer_address", ""),
        ({"peer": "address", "peer_address": "host"}, "peer_address", "neither an address"),
        ({"peer": "address", "peer_address": "2001:db8::/32", "family": "inet"}, "family", "IPv6"),
        ({"peer": 'x" } pass all #'}, "peer", "valid choice"),
        ({"subject": "any"}, "subject", "valid choice"),
        ({"action": "allow"}, "action", "valid choice"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(client, web1, values, field, why):
    answer = client.post("/network/firewall/rules/new/", typed(web1, **values))
    assert answer.status_code == 422
    errors = answer.context["form"].errors
    assert list(errors) == [field] and why in str(errors[field])
    assert not Rule.objects.exists()


def test_an_address_that_is_typed_is_the_other_side(client, web1):
    client.post("/network/firewall/rules/new/", typed(web1, peer="address", peer_address="192.0.2.0/24"))
    row = Rule.objects.get()
    assert row.peer == "192.0.2.0/24"
    form = client.get(f"/network/firewall/rules/{row.pk}/").context["form"]
    assert (form["peer"].value(), form["peer_address"].value()) == ("address", "192.0.2.0/24")


def test_somebody_elses_change_is_not_overwritten(client, host, web1):
    row = rule(host, web1)
    address = f"/network/firewall/rules/{row.pk}/"
    assert client.post(address, typed(web1, revision="1", note="mine")).status_code == 302
    answer = client.post(address, typed(web1, revision="1", note="theirs"))
    assert answer.status_code == 409 and "Somebody has changed this" in text(answer)
    assert Rule.objects.get().note == "mine"


def places() -> list[int]:
    return list(Rule.objects.order_by("position").values_list("pk", flat=True))


def test_rules_move_by_keyboard_and_new_ones_come_before_others(client, host, web1):
    a, b, c = (rule(host, web1, note=note) for note in "abc")
    do = lambda row, **what: client.post(f"/network/firewall/rules/{row.pk}/change/", what)  # noqa: E731
    do(c, do="up")
    assert places() == [a.pk, c.pk, b.pk]
    do(a, do="down")
    assert places() == [c.pk, a.pk, b.pk]
    do(c, do="up")
    do(b, do="down")
    assert places() == [c.pk, a.pk, b.pk]
    client.post(f"/network/firewall/rules/new/?before={a.pk}", typed(web1, note="new"))
    new = Rule.objects.get(note="new")
    assert places() == [c.pk, new.pk, a.pk, b.pk]
    do(new, do="duplicate")
    copy = Rule.objects.filter(note="new").exclude(pk=new.pk).get()
    assert places() == [c.pk, new.pk, copy.pk, a.pk, b.pk] and not copy.is_enabled
    do(new, do="delete")
    do(copy, do="on")
    assert places() == [c.pk, copy.pk, a.pk, b.pk] and Rule.objects.get(pk=copy.pk).is_enabled
    assert do(a, do="explode").status_code == 400


def test_in_a_filtered_list_a_rule_moves_past_what_is_shown(client, host, web1, switch):
    other = f"switch:{switch.uuid}"
    a, x, y, b = rule(host, web1), rule(host, other), rule(host, other), rule(host, web1)
    client.post(f"/network/firewall/rules/{b.pk}/change/", {"do": "up", "among": web1})
    assert places() == [b.pk, a.pk, x.pk, y.pk]
    shown = client.get(f"/network/firewall/?subject={quote(web1)}").context["lines"]
    assert [(line.place, line.row.pk) for line in shown] == [(1, b.pk), (2, a.pk)]


def test_the_draft_tells_by_name_how_it_differs_from_what_is_in_force(client, host, web1, switch):
    kept, gone = rule(host, web1, protocol="tcp", ports="22"), rule(host, web1, action="block")
    Ruleset.objects.create(host=host, number=1, state="confirmed", document=document.of(host).as_json())
    assert "The draft differs" not in text(client.get("/network/firewall/draft/"))
    gone.delete()
    Rule.objects.filter(pk=kept.pk).update(ports="2222")
    rule(host, f"switch:{switch.uuid}", action="reject", direction="out", peer="10.0.0.0/8")
    Switch.objects.update(passes_in=False)
    shown = text(client.get("/network/firewall/draft/"))
    for sentence in (
        "Rule removed</span> Drop to web1 from anywhere",
        "Rule changed</span> <del>Allow to web1 from anywhere, TCP 22</del> Allow to web1 from anywhere, TCP 2222",
        "Rule added</span> Refuse from switch nat to 10.0.0.0/8",
        "Switch changed</span>",
    ):
        assert sentence in shown, shown
    client.post("/network/firewall/discard/")
    assert set(places()) == {kept.pk, gone.pk} or Rule.objects.count() == 2
    assert Switch.objects.get().passes_in
    assert "The draft differs" not in text(client.get("/network/firewall/draft/"))


def test_a_draft_with_errors_cannot_be_applied_by_the_button(client, host, web1):
    rule(host, web1)
    rule(host, web1, ports="80", protocol="icmp")
    shown = text(client.get("/network/firewall/draft/"))
    assert "It cannot be applied" in shown and 'aria-disabled="true"' in shown
    # Which one, among many.
    assert re.search(r"<li>Rule 2, Allow to web1 from anywhere, [^<]*: Ports belong to TCP and UDP", shown), (
        shown
    )
    assert "Rule 2, Allow to web1" in client.get("/api/v1/firewall").json()["errors"][0]


def test_apply_asks_for_the_operation_and_bounds_the_seconds(client, host, web1):
    client.post("/network/firewall/apply/", {"seconds": "99999"})
    assert Task.objects.get(operation="network.apply_rules").params == {"seconds": 600}
    assert AuditEntry.objects.filter(action="rules.apply").exists()


def test_apply_and_drop_lead_back_to_the_page_of_rules_they_were_asked_from(client, host, web1, vm):
    rule(host, web1)
    page = f"/vms/{vm.name}/firewall/"
    assert f"draft/?next={quote(page, safe='')}" in text(client.get(page))
    shown = text(client.get("/network/firewall/draft/", {"next": page}))
    for verb in ("apply", "discard"):
        address = f"/network/firewall/{verb}/?next={quote(page, safe='')}"
        assert f'action="{address}"' in shown
        assert client.post(address, {"seconds": "60"}).url == page
    assert client.post("/network/firewall/apply/?next=//elsewhere.example/").url == "/network/firewall/"


def test_rules_forwards_and_aliases_are_found_by_what_their_lists_say(client, host, web1):
    row = rule(host, web1, protocol="tcp", ports="443", note="shop")
    other = Forward.objects.create(host=host, subject=web1, protocol="tcp", port=2222, target_port=22)
    alias = Alias.objects.create(host=host, name="office", kind="hosts", entries=["198.51.100.0/24"])
    rules, aliases = "/network/firewall/#", "/network/aliases/#"
    for query, found in (
        ("to web1 from", f"{rules}rule-{row.pk}"), ("SHOP", f"{rules}rule-{row.pk}"),
        ("2222", f"{rules}forward-{other.pk}"), ("offic", f"{aliases}alias-{alias.pk}"),
        ("198.51.100", f"{aliases}alias-{alias.pk}"),
    ):  # fmt: skip
        assert f'href="{found}"' in text(client.get("/search/", {"q": query})), query


def test_an_older_rule_set_becomes_the_draft_again(client, host, web1):
    old = rule(host, web1, note="old")
    Ruleset.objects.create(
        host=host, number=1, state="confirmed", document=document.of(host).as_json(), text="pass\n"
    )
    old.delete()
    rule(host, web1, note="new", action="block")
    Ruleset.objects.create(
        host=host, number=2, state="confirmed", document=document.of(host).as_json(), text="block\n"
    )
    assert client.get("/network/firewall/history/").status_code == 200
    shown = text(client.get("/network/firewall/history/1/"))
    assert "Rule added</span> Allow to web1" in shown and "Rule removed</span> Drop to web1" in shown
    assert "-block" in text(client.get("/network/firewall/history/2/")) or "+block" in text(
        client.get("/network/firewall/history/2/")
    )
    client.post("/network/firewall/history/1/restore/")
    assert [row.note for row in Rule.objects.all()] == ["old"]
    assert client.get("/network/firewall/history/99/").status_code == 404


# Forwards.


def forward(about: str, **values: str) -> dict[str, str]:
    return {
        "subject": about, "protocol": "tcp", "outside": "8443", "inside": "80", "source": "any",
        "is_enabled": "on", **values,
    }  # fmt: skip


def test_a_forward_is_made_and_listed(client, web1):
    answer = client.post(f"/network/firewall/forwards/new/?subject={quote(web1)}", forward(web1))
    assert answer.status_code == 302, answer.content.decode()
    row = Forward.objects.get()
    assert (row.port, row.target_port, row.count) == (8443, 80, 1)
    assert "TCP port 8443 of this host to web1 port 80" in text(client.get("/network/firewall/"))


def test_several_ports_are_forwarded_at_once(client, web1):
    client.post("/network/firewall/forwards/new/", forward(web1, outside="8000-8009", inside=""))
    row = Forward.objects.get()
    assert (row.port, row.target_port, row.count) == (8000, 8000, 10)


@pytest.mark.parametrize(
    ("values", "field", "why"),
    [
        ({"outside": "22"}, "outside", "ssh"),
        ({"outside": "20-25", "inside": ""}, "outside", "ssh"),
        ({"outside": "0"}, "outside", "65535"),
        ({"outside": "80,81"}, "outside", "follow one another"),
        ({"outside": "65530-65535", "inside": "65535"}, "inside", "65535"),
        ({"inside": "80-90"}, "inside", "As many ports"),
        ({"subject": "any"}, "subject", "valid choice"),
        ({"source": "address", "source_address": "2001:db8::1"}, "source_address", "IPv4"),
        ({"interface": "em0 -> 1.2.3.4"}, "interface", ""),
    ],
)
def test_a_forward_that_cannot_be_is_refused(client, web1, values, field, why):
    answer = client.post("/network/firewall/forwards/new/", forward(web1, **values))
    assert answer.status_code == 422
    errors = answer.context["form"].errors
    assert field in errors and why in str(errors[field]), errors
    assert not Forward.objects.exists()


def test_a_port_is_forwarded_once(client, web1):
    client.post("/network/firewall/forwards/new/", forward(web1))
    answer = client.post("/network/firewall/forwards/new/", forward(web1, outside="8440-8450", inside=""))
    assert "forwarded already" in str(answer.context["form"].errors["outside"])


def test_a_forward_is_switched_off_and_deleted(client, web1):
    client.post("/network/firewall/forwards/new/", forward(web1))
    address = f"/network/firewall/forwards/{Forward.objects.get().pk}/change/"
    client.post(address, {"do": "off"})
    assert not Forward.objects.get().is_enabled
    client.post(address, {"do": "delete"})
    assert not Forward.objects.exists()


# Aliases.


def test_an_alias_takes_names_and_is_used_by_name(client, host, web1, switch):
    entries = "192.0.2.0/24\nweb1\nswitch nat\ntag prod"
    answer = client.post("/network/aliases/new/", {"name": "office", "kind": "networks", "entries": entries})
    assert answer.status_code == 302, answer.content.decode()
    alias = Alias.objects.get()
    assert alias.entries == ["192.0.2.0/24", web1, f"switch:{switch.uuid}", "tag:prod"]
    client.post("/network/aliases/new/", {"name": "web-ports", "kind": "ports", "entries": "80, 443"})
    ports = Alias.objects.get(name="web-ports")
    client.post("/network/firewall/rules/new/", typed(web1, peer=f"alias:{alias.pk}", ports="22, web-ports"))
    row = Rule.objects.get()
    assert (row.peer, row.ports) == (f"alias:{alias.pk}", f"22,alias:{ports.pk}")
    assert "To web1 from office, TCP 22, web-ports" in text(client.get("/network/firewall/"))
    shown = text(client.get("/network/aliases/"))
    assert "switch nat" in shown and "rule 1" in shown
    assert client.get(f"/network/aliases/{alias.pk}/").context["form"]["entries"].value().splitlines() == [
        "192.0.2.0/24", "web1", "switch nat", "tag prod",
    ]  # fmt: skip
    client.post(f"/network/aliases/{alias.pk}/delete/")
    assert Alias.objects.filter(pk=alias.pk).exists()
    row.delete()
    client.post(f"/network/aliases/{alias.pk}/delete/")
    assert not Alias.objects.filter(pk=alias.pk).exists()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": "any"}, "name"), ({"name": "a b"}, "name"), ({"name": '"x'}, "name"), ({"name": "x\n"}, "entries"),
        ({"entries": "nobody"}, "entries"), ({"entries": "10.0.0.0/8"}, "entries"),
        ({"entries": "1.2.3.4 } pass"}, "entries"),
        ({"kind": "ports", "entries": "http"}, "entries"), ({"kind": "ports", "entries": "1.2.3.4"}, "entries"),
        ({"entries": "internet"}, "entries"), ({"entries": "$ext_if"}, "entries"),
    ],
)  # fmt: skip
def test_an_alias_that_means_nothing_is_refused(client, host, web1, values, field):
    known = {"name": "office", "kind": "hosts", "entries": "none-such"} | values
    answer = client.post("/network/aliases/new/", known)
    assert answer.status_code == 422 and field in answer.context["form"].errors
    if values == {"entries": "nobody"}:
        assert "Nor is there a VM, tag, switch or alias of this name." in text(answer)
    assert not Alias.objects.exists()


def test_an_alias_cannot_contain_itself(client, host, web1):
    a = Alias.objects.create(host=host, name="a", kind="hosts", entries=["192.0.2.1"])
    Alias.objects.create(host=host, name="b", kind="hosts", entries=[f"alias:{a.pk}"])
    known = {"name": "a", "kind": "hosts", "entries": "b", "revision": "1"}
    answer = client.post(f"/network/aliases/{a.pk}/", known)
    assert "contains itself" in str(answer.context["form"].errors["entries"])


# Switches, the tester, and who may what.


def test_a_switch_has_its_rules_and_what_happens_without_one(client, host, web1, switch, vm):
    rule(host, web1)
    rule(host, "tag:elsewhere")
    answer = client.get("/network/switches/nat/rules/")
    assert [line.row.subject for line in answer.context["lines"]] == [web1]
    client.post("/network/switches/nat/policy/", {"passes_out": "on"})
    switch.refresh_from_db()
    assert (switch.passes_in, switch.passes_out) == (False, True)


def test_the_tester_answers_by_name(client, host, web1):
    rule(host, web1, action="block", direction="out", protocol="tcp", ports="25", peer="internet")
    asked = {"source": web1, "target": "internet", "protocol": "tcp", "port": "25"}
    answers = client.get("/network/firewall/test/", asked).context["answers"]
    assert [one["label"] for one in answers] == ["In force", "Draft"]
    assert [one["verdicts"][0].verdict.passes for one in answers] == [True, False]
    assert "Rule 1" in answers[1]["verdicts"][0].verdict.sentence
    assert client.get("/network/firewall/test/", asked | {"port": ""}).status_code == 422


def test_viewers_look_and_change_nothing(as_user, viewer, host, web1):
    row = rule(host, web1)
    client = as_user(viewer)
    shown = text(client.get("/network/firewall/"))
    assert "To web1 from anywhere" in shown and "/change/" not in shown and "New rule" not in shown
    for path in (
        "rules/new/", f"rules/{row.pk}/", "rules/check/", "forwards/new/", "apply/", "discard/",
        f"rules/{row.pk}/change/",
    ):  # fmt: skip
        assert client.post(f"/network/firewall/{path}", {"do": "delete"}).status_code in {404, 405}, path
    assert Rule.objects.count() == 1


def test_a_form_leads_back_to_pages_of_the_panel_only(client, web1):
    for there in ("//evil.example/", "https://evil.example/", "/\\evil.example", "/x\n"):
        answer = client.post(f"/network/firewall/rules/new/?next={quote(there)}", typed(web1))
        assert answer["Location"] == "/network/firewall/", there
    answer = client.post("/network/firewall/rules/new/?next=/vms/web1/", typed(web1))
    assert answer["Location"] == "/vms/web1/"


def test_the_list_asks_the_same_number_of_questions_for_many(
    client, host, web1, vm, switch, django_assert_max_num_queries
):
    for number in range(30):
        other = VM.objects.create(
            host=host,
            pool=vm.pool,
            name=f"vm{number}",
            cpus=1,
            memory=1,
            vnc_port=6000 + number,
            vnc_password="x",
        )
        rule(host, f"vm:{other.uuid}", peer=web1)
    client.get("/network/firewall/")
    with django_assert_max_num_queries(16):
        client.get("/network/firewall/")
    with django_assert_max_num_queries(40):
        client.get("/network/firewall/draft/")
