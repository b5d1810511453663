"""The picture of networks, by mouse and by keyboard, and a mesh that this host joins: in the browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.e2e import looks

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("panel")]

NAME = "drawn"
# Its traffic, so that there is something to draw.
SAMPLES = """
from datetime import timedelta
from django.utils import timezone
from network.traffic.observe import Rates, write
from vms.models import VM
vm, now = VM.objects.get(name="drawn"), timezone.now()
write(vm.host, [Rates(
    f"nic:{vm.nics.get().pk}", now - timedelta(seconds=10 * step), 10, 1000.0 * step, 9e5 - 1000 * step, 9, 9, 0,
) for step in range(1, 300)])
"""


@pytest.fixture(scope="module")
def guest(panel, secret) -> str:
    panel.make_vm(secret, NAME)
    panel.manage("shell", "-v", "0", "-c", SAMPLES)
    return NAME


def test_the_picture_leads_to_what_it_shows(window, shot, guest):
    page = window()
    page.goto("/network/")
    page.get_by_role("link", name="Topology").click()
    box = page.locator("svg.topo a", has_text=guest)
    expect(box).to_be_visible()
    shot(page, "topology-1440-light")
    looks.check(page)
    # By keyboard: it can have the focus, and Enter opens it.
    box.focus()
    expect(box).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/vms/{guest}/")
    page.get_by_role("link", name="Traffic").click()
    expect(page.locator("#traffic svg.chart-plot").first).to_be_visible()
    shot(page, "traffic-vm-1440-light")
    looks.check(page)


def test_on_a_phone_the_picture_is_a_list(window, shot, guest):
    page = window(360, "dark")
    page.goto("/network/topology/")
    expect(page.locator("svg.topo")).to_be_hidden()
    expect(page.locator(".topo-tree").get_by_role("link", name=guest)).to_be_visible()
    shot(page, "topology-360-dark")
    looks.check(page)
    page.goto(f"/vms/{guest}/traffic/?range=day")
    looks.check(page)


def test_this_host_joins_a_mesh_in_two_forms(window, shot, guest):
    page = window()
    page.goto("/network/wireguard/")
    page.get_by_role("link", name="New mesh").first.click()
    page.get_by_label("Name").fill("all")
    page.get_by_label("Network").fill("10.77.0.0/16")
    page.get_by_role("button", name="Make the mesh").click()
    expect(page.get_by_text("of the switch nat")).to_be_visible()
    page.get_by_label("Network").fill("10.99.0.0/24")
    page.get_by_role("button", name="Make the mesh").click()
    page.get_by_role("link", name="lab", exact=True).click()
    page.get_by_label("Found at").fill("192.0.2.10")
    page.get_by_role("button", name="Add").click()
    # Its worker makes the key and the interface, and the open page is told.
    expect(page.locator("#mesh")).to_contain_text(re.compile(r"Up\b"))
    page.get_by_text("Configuration").click()
    expect(page.locator("#mesh pre")).to_contain_text("# PrivateKey stays on lab")
    shot(page, "mesh-1440-light")
    looks.check(page)
    phone = window(360, "dark")
    phone.goto("/network/wireguard/all/")
    shot(phone, "mesh-360-dark")
    looks.check(phone)
    page.get_by_role("button", name="Delete").click()
    page.locator("#confirm-yes").click()
    page.wait_for_url("**/network/wireguard/")
    expect(page.locator("#meshes")).to_contain_text("No meshes yet")
