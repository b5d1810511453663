"""A NAT-ed switch by its name alone, in the browser: it is up and serves addresses, a VM can choose it, and it goes."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e import looks
from tests.e2e.panel import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("panel")]
STATE = """
from network.models import Switch
row = Switch.objects.filter(name="office").first()
print(row.dhcp_state if row else "gone")
"""


def state(panel) -> str:
    return panel.manage("shell", "-v", "0", "-c", STATE).strip()


def test_a_nat_switch_in_one_step(panel, window, shot):
    page = window()
    page.goto("/network/")
    page.get_by_role("link", name="New switch").click()
    page.get_by_label("Name").fill("office")
    page.get_by_role("button", name="Make the switch").click()
    # The page follows by itself.
    expect(page.locator("#switch").get_by_text("Up", exact=True)).to_be_visible()
    shot(page, "switch-office")
    wait_until(lambda: state(panel) == "running", 30, "dnsmasq")
    page.goto("/vms/new/")
    assert "office" in page.get_by_label("Switch").inner_text()


def test_its_pages_fit_a_phone_and_its_switch_goes_again(panel, window):
    page = window(360, "dark")
    for path in (
        "",
        "switches/office/",
        "switches/office/edit/",
        "switches/new/?kind=bridged",
        "aggregations/new/",
    ):
        page.goto(f"/network/{path}")
        looks.check(page)
    page.goto("/network/switches/office/")
    page.get_by_label("More for office").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("office is being taken away.")).to_be_visible()
    wait_until(lambda: state(panel) == "gone", 30, "the switch to go")
