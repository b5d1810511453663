"""NAT in one step: a fresh host is mended by one operation; twice is as good as once; what cuts off goes back."""

from __future__ import annotations

import pytest

from bhype import commit
from bhype.tasks import ask
from bhype.tasks.models import Task
from network.models import Firewall, Switch
from network.nat import operations


@pytest.fixture
def fresh(ready, guest):
    yield ready
    for change in commit.pending(ready.host):
        commit.revert(ready.host, change.name)


def do(lab, operation: str, **params) -> Task:
    task = ask(operation, params, None)
    lab.run_tasks()
    task.refresh_from_db()
    return task


def wrong() -> list[str]:
    return [one["name"] for one in Firewall.objects.get().checks if one["is_ok"] is False]


def said(task: Task) -> str:
    """The commands that it ran."""
    return "\n".join(task.lines.filter(kind="command").values_list("text", flat=True))


def test_a_fresh_host_is_mended_in_one_step(fresh):
    test = do(fresh, "network.self_test")
    assert test.status == "succeeded" and test.result["failed"] == wrong()
    assert {"forwarding4", "forwarding4_boot", "pf_on", "pf_boot", "anchors", "loaded"} <= set(wrong())
    first = do(fresh, "network.mend")
    assert first.status == "succeeded", first.error
    assert not set(wrong()) - {"way_out"}
    assert fresh.commands("/sbin/sysctl", "-n", "net.inet.ip.forwarding").strip() == "1"
    assert "nat on em0" in fresh.commands("/sbin/pfctl", "-a", "bhype/base", "-s", "nat")
    assert {change.name for change in commit.pending(fresh.host)} == {"pf-conf"}
    again = do(fresh, "network.mend")
    assert again.status == "succeeded"
    assert not any(word in said(again) for word in (" -f ", "=1", "_enable=", "kldload"))


def test_pf_with_rules_of_the_users_own_is_switched_on_with_a_way_back(fresh):
    fresh.commands("/sbin/kldload", "-n", "pf")
    text = 'nat-anchor "bhype/*"\nrdr-anchor "bhype/*"\nblock in all\nanchor "bhype/*"\n'
    (fresh.root / "etc/pf.conf").write_text(text)
    fresh.commands("/sbin/pfctl", "-f", "/etc/pf.conf")
    task = do(fresh, "network.mend", fixes=["pf_on"])
    assert task.status == "succeeded", task.error
    change = commit.look(fresh.host, operations.CHANGE)
    assert change.state == "waiting"
    assert "Enabled" in fresh.commands("/sbin/pfctl", "-s", "info")
    commit.revert(fresh.host, operations.CHANGE)
    assert "Disabled" in fresh.commands("/sbin/pfctl", "-s", "info")
    assert (fresh.root / "etc/pf.conf").read_text() == text


def test_only_what_was_asked_for_is_mended(fresh):
    assert do(fresh, "network.mend", fixes=["forwarding4"]).status == "succeeded"
    assert "forwarding4" not in wrong() and "forwarding4_boot" in wrong() and "pf_on" in wrong()


def test_what_is_kept_is_set_again_after_a_boot(fresh):
    do(fresh, "network.mend", fixes=["bridges"])
    name = "net.link.bridge.pfil_local_phys"
    fresh.commands("/sbin/sysctl", f"{name}=0")
    do(fresh, "network.ensure_firewall")
    assert fresh.commands("/sbin/sysctl", "-n", name).strip() == "1"


def test_what_cannot_be_mended_is_told(fresh):
    fresh.fault(command="sysctl net.inet.ip.forwarding=1", do="fail", text="sysctl: Operation not permitted")
    task = do(fresh, "network.mend", fixes=["forwarding4"])
    fresh.clear_faults()
    assert task.status == "failed"
    assert "Operation not permitted" in task.error and "forwards IPv4 packets: no" in task.error


def test_its_section_shows_what_is_missing_and_mends_it(as_user, admin, viewer, stranger, switch):
    url = f"/network/switches/{switch.name}/nat/"
    page = as_user(viewer).get(url).content.decode()
    assert "Not tested yet" in page and "Test now" not in page
    assert as_user(stranger).get(url).status_code == 404
    check = {
        "name": "pf_on", "title": "pf is switched on", "is_ok": False, "sentence": "It lets <b>all</b> pass.",
        "fix": "pf_on", "switches": [],
    }  # fmt: skip
    seen = {"egress": "em0"}
    Firewall.objects.update_or_create(host=switch.host, defaults={"checks": [check], "seen": seen})
    page = as_user(admin).get(url).content.decode()
    assert "It lets &lt;b&gt;all&lt;/b&gt; pass." in page and "Mend all" in page
    assert "10.77.0.0/24" in page and "leaves by <code>em0</code>" in page
    assert as_user(viewer).post(f"{url}mend/").status_code == 404
    assert as_user(admin).post(f"{url}mend/", {"fix": "pf_on"}).status_code == 302
    assert as_user(admin).post(f"{url}test/").status_code == 302
    asked = {task.operation: task.params for task in Task.objects.all()}
    assert asked == {"network.mend": {"fixes": ["pf_on"]}, "network.self_test": {}}
    as_user(admin).post(f"{url}mend/", {"fix": "rm -rf"})
    assert Task.objects.count() == 2


def test_the_api_tells_and_mends(as_user, admin, viewer, stranger, switch):
    answer = as_user(viewer).get("/api/v1/switches/nat/nat").json()
    assert answer["checks"] == [] and answer["ways"][0]["subnet"] == "10.77.0.0/24"
    assert as_user(stranger).get("/api/v1/switches/nat/nat").status_code == 404
    post = {"content_type": "application/json"}
    assert as_user(viewer).post("/api/v1/nat/mend", {"fixes": []}, **post).status_code == 404
    assert as_user(admin).post("/api/v1/nat/mend", {"fixes": ["pf"]}, **post).status_code == 202
    assert as_user(admin).post("/api/v1/nat/mend", {"fixes": ["x"]}, **post).status_code == 422
    assert as_user(admin).post("/api/v1/nat/test", **post).status_code == 202
    assert Switch.objects.count() == 1


def test_a_switch_without_a_way_out_says_so_wherever_it_is_seen(as_user, admin, viewer, switch):
    pages = ("/network/", f"/network/switches/{switch.name}/", f"/hosts/{switch.host.name}/")
    way = f"/network/switches/{switch.name}/nat/"
    for page in pages:
        text = as_user(admin).get(page).content.decode()
        assert "pf is not in the kernel yet" in text and way in text, page
    assert "Test and mend it" not in as_user(viewer).get("/network/").content.decode()
    row = Firewall.objects.update_or_create(host=switch.host, defaults={"has_pf": True})[0]
    for page in pages:
        assert "not in the kernel" not in as_user(admin).get(page).content.decode()
    row.problems = ["pf is switched off."]
    row.save()
    assert "pf is switched off." in as_user(admin).get("/network/").content.decode()
    switch.kind = Switch.Kind.PRIVATE
    switch.save()
    assert "do not come out yet" not in as_user(admin).get("/network/").content.decode()


def test_a_host_keeps_the_ipv6_route_that_it_learns(fresh):
    """As a router it would drop it with the next advertisement (nd6_ra_input(), S:sys/netinet6/nd6_rtr.c)."""
    fresh.commands("/sbin/ifconfig", "em0", "inet6", "accept_rtadv")
    Switch.objects.update(address6="fd77::1/64")
    task = do(fresh, "network.mend", fixes=["forwarding6", "forwarding6_boot"])
    assert task.status == "succeeded", task.error
    ran = said(task)
    assert ran.index("net.inet6.ip6.rfc6204w3=1") < ran.index("net.inet6.ip6.forwarding=1")
    assert ran.index("ipv6_cpe_wanif=em0") < ran.index("ipv6_gateway_enable=YES")
