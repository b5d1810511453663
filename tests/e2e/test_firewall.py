"""Rules by name in the browser: a rule and a forward are written, applied, confirmed; what is not, goes back."""

from __future__ import annotations

import subprocess

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import looks

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("panel")]

NAME = "walled"
ADDRESS = """
from network.models import Allocation
from vms.models import VM
nic = VM.objects.get(name="walled").nics.get()
known = {"kind": "lease", "port": f"nic:{nic.pk}"}
Allocation.objects.update_or_create(switch=nic.switch, address="10.77.0.99", defaults=known)
"""
PAGES = (
    "firewall/", "firewall/rules/new/", "aliases/", "firewall/pf-conf/", "firewall/blocked/", "switches/nat/rules/",
    "firewall/test/?source=internet&target=host&protocol=tcp&port=22",
)  # fmt: skip


@pytest.fixture(scope="module")
def guest(panel, secret) -> str:
    """A VM whose address is known, on a host whose packet filter is on and asks bHype's anchors."""
    panel.make_vm(secret, NAME)
    panel.manage("shell", "-v", "0", "-c", ADDRESS)
    mend(panel, secret)
    return NAME


def mend(panel, secret: str) -> None:
    """Let the self-test mend what it names, and confirm what that changes of the host."""
    panel.do("/nat/test", secret)
    found = panel.api("GET", "/switches/nat/nat", secret)[1]["checks"]
    fixes = sorted({one["fix"] for one in found if one["fix"]})
    if fixes:
        panel.do("/nat/mend", secret, {"fixes": fixes})
    for change in panel.api("GET", "/changes", secret)[1]:
        if change["state"] == "waiting":
            _, task = panel.api("POST", f"/changes/{change['id']}/confirm", secret)
            panel.finish(task["id"], secret)


def loaded(panel, what: str) -> str:
    argv = [str(panel.root / "sbin/pfctl"), "-a", "bhype/rules", "-s", what]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def apply(page: Page, seconds: int) -> None:
    page.get_by_label("Seconds to confirm").fill(str(seconds))
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#changes")).to_contain_text("New rules of the firewall: taken back in")


def test_a_rule_by_name_and_a_forward_are_applied_and_kept(panel, guest, window, shot):
    page = window()
    page.goto("/network/firewall/")
    page.get_by_role("link", name="New rule").click()
    page.get_by_label("Subject").select_option(label=NAME)
    page.get_by_label("Other side").select_option("address")
    page.get_by_label("Address or network").fill("192.0.2.0/24")
    page.get_by_label("Protocol").select_option("tcp")
    page.get_by_label("Ports").fill("22")
    expect(page.locator("#preview")).to_contain_text(f"Allow to {NAME} from 192.0.2.0/24, TCP 22")
    expect(page.locator("#preview")).to_contain_text("10.77.0.99")
    shot(page, "firewall-rule")
    page.get_by_role("button", name="Save in the draft").click()
    expect(page.locator("#rules")).to_contain_text(f"To {NAME} from 192.0.2.0/24, TCP 22")

    page.goto(f"/vms/{NAME}/firewall/")
    page.get_by_role("link", name="New forward").click()
    page.get_by_label("Port of the host").fill("2244")
    page.get_by_label("Port of the guest").fill("22")
    page.get_by_role("button", name="Save in the draft").click()
    page.wait_for_url(f"**/vms/{NAME}/firewall/")
    expect(page.locator("#forwards")).to_contain_text(f"TCP port 2244 of this host to {NAME} port 22")
    expect(page.locator("#draft")).to_contain_text(f"Rule added Allow to {NAME}")
    expect(page.locator("#draft")).to_contain_text("Forward added TCP port 2244")
    apply(page, 120)
    shot(page, "firewall-banner")

    page.goto("/vms/")
    page.locator("#changes").get_by_role("button", name="Keep").click()
    expect(page.locator("#changes .change-banner")).to_have_count(0)
    assert "port = ssh" in loaded(panel, "rules") or "port = 22" in loaded(panel, "rules")
    assert "port = 2244" in loaded(panel, "nat")
    page.goto("/network/firewall/history/")
    expect(page.locator("#rulesets tbody tr").first).to_contain_text("Confirmed")


def test_what_nobody_confirms_goes_back_and_stays_as_a_draft(panel, guest, secret, window):
    page = window()
    page.goto(f"/vms/{NAME}/firewall/")
    before = loaded(panel, "rules")
    page.locator("#rules").get_by_role("link", name="Make a rule").or_(
        page.locator("#rules .rule-text a").first
    ).first.click()
    page.get_by_label("What happens").select_option("block")
    page.get_by_role("button", name="Save in the draft").click()
    page.wait_for_url(f"**/vms/{NAME}/firewall/")
    apply(page, 10)
    assert loaded(panel, "rules") != before
    expect(page.locator("#changes")).to_contain_text("Nobody confirmed it in time")
    assert loaded(panel, "rules") == before
    expect(page.locator("#draft")).to_contain_text("Rule changed")
    page.get_by_role("button", name="Drop the draft").click()
    page.locator("#confirm-yes").click()
    expect(page.get_by_text("The draft is as what is in force.")).to_be_visible()


def test_rules_move_by_keyboard(guest, secret, panel, window):
    uuid = panel.api("GET", f"/vms/{NAME}", secret)[1]["uuid"]
    for port in ("1", "2"):
        body = {
            "action": "pass", "direction": "out", "subject": f"vm:{uuid}", "protocol": "udp", "ports": port,
            "is_enabled": False,
        }  # fmt: skip
        assert panel.api("POST", "/rules", secret, body)[0] == 201
    page = window()
    page.goto("/network/firewall/")
    last = page.locator("#rules li").last
    expect(last).to_contain_text("UDP 2")
    button = last.get_by_role("button", name="up")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#rules li").last).to_contain_text("UDP 1")
    # The focus goes with the rule, so that it can go on.
    assert (
        page.evaluate("document.activeElement.id") == f"up-{panel.api('GET', '/rules', secret)[1][-2]['id']}"
    )
    panel.api("POST", "/firewall/discard", secret)


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_every_page_fits_and_is_accessible(guest, window, shot, width, scheme):
    page = window(width, scheme)
    for address in [*(f"/network/{one}" for one in PAGES), f"/vms/{NAME}/firewall/"]:
        page.goto(address)
        page.wait_for_load_state("networkidle")
        looks.check(page)
    shot(page, f"firewall-{width}-{scheme}")
