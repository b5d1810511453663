"""Pools and addresses of a switch on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e import looks
from tests.e2e.panel import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("panel")]
SUBNET = "10.99.1"
MAKE = f"""
from bhype.hosts.models import Host
from network.models import Switch
row, _ = Switch.objects.get_or_create(host=Host.objects.this(), name="phone", kind="private", address="{SUBNET}.1/24")
print(row.pk)
"""
REMOVE = "from network.models import Switch; Switch.objects.filter(name='phone').update(is_deleting=True); print(1)"


@pytest.fixture
def phone(panel, window):
    """A window of 360 px in which an admin is signed in, and a private switch with a subnet."""
    wait_until(lambda: panel.manage("shell", "-v", "0", "-c", MAKE).strip().isdecimal(), 30, "the host's row")
    yield window(360)
    panel.manage("shell", "-v", "0", "-c", REMOVE)


def test_pools_and_addresses_on_a_phone(phone):
    phone.goto("/network/switches/phone/addresses/")
    phone.get_by_role("button", name="Add the usual pools").click()
    expect(phone.get_by_role("row").filter(has_text=f"{SUBNET}.10").first).to_contain_text(f"{SUBNET}.99")
    picture = phone.get_by_role("img", name=f"The addresses of {SUBNET}.0/24")
    assert picture.locator("rect").count() == 256
    looks.check(phone)
    phone.get_by_role("link", name="Give an address").click()
    phone.get_by_label("How").select_option("lease")
    phone.get_by_label("MAC address").fill("58:9c:fc:00:00:77")
    phone.get_by_label("Address", exact=True).fill(f"{SUBNET}.1")
    phone.get_by_role("button", name="Give it").click()
    expect(phone.get_by_text(f"{SUBNET}.1 is the host's own address.")).to_be_visible()
    looks.check(phone)
    phone.get_by_label("Address", exact=True).fill("")
    phone.get_by_role("button", name="Give it").click()
    line = phone.get_by_role("row").filter(has_text="58:9c:fc:00:00:77")
    expect(line.locator(".mono").first).to_have_text(f"{SUBNET}.10")
    line.get_by_role("button", name="Release").click()
    phone.get_by_role("dialog").get_by_role("button", name="Release").click()
    expect(phone.get_by_text(f"Released: {SUBNET}.10")).to_be_visible()
