"""The hardware of a VM that runs: changed in the browser, waiting for the next start, put back, and applied."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e import looks
from tests.e2e.panel import wait_until
from tests.lab import efi

pytestmark = [pytest.mark.browser, pytest.mark.guest, pytest.mark.xdist_group("panel")]

NAME = "parts"
PAGES = [
    "hardware/", "hardware/processor/", "hardware/boot/", "hardware/screen/", "hardware/options/",
    "hardware/add/disk/", "hardware/add/nic/", "hardware/add/virtio-9p/", "hardware/at/0-4-0/", "raw/edit/",
]  # fmt: skip


def act(panel, secret: str, action: str) -> None:
    panel.do(f"/vms/{NAME}/{action}", secret)
    wanted = "running" if action == "start" else "stopped"
    wait_until(lambda: panel.api("GET", f"/vms/{NAME}", secret)[1]["state"] == wanted, 30, wanted)


@pytest.fixture(scope="module")
def guest(panel, secret) -> str:
    panel.make_vm(secret, NAME)
    with (panel.root / f"dev/zvol/tank/bhype/vms/{NAME}/disk0").open("r+b") as device:
        device.write(efi.echo())
    act(panel, secret, "start")
    yield NAME
    panel.api("POST", f"/vms/{NAME}/poweroff", secret)


def test_changes_wait_are_put_back_and_apply_at_the_next_start(panel, guest, secret, window, shot):
    page = window()
    page.goto(f"/vms/{NAME}/")
    page.get_by_role("link", name="Hardware").click()

    # More memory, and a device: both wait, as the guest runs.
    page.get_by_role("link", name="Edit processor and memory").click()
    page.locator("[name=mem]").fill("160M")
    page.get_by_role("button", name="Save").click()
    pending = page.get_by_role("region", name="At the next start")
    expect(pending).to_contain_text("128 MiB")
    expect(pending).to_contain_text("160 MiB")
    page.locator("summary", has_text="Add device").click()
    page.get_by_role("link", name="VirtIO random numbers").click()
    page.get_by_role("button", name="Add").click()
    expect(pending.locator("li")).to_have_count(2)
    expect(page.locator(".tab .count")).to_have_text("2")
    shot(page, "hardware-pending")
    assert "163840K" not in panel.api("GET", f"/vms/{NAME}/command", secret)[1]["command"]
    page.goto("/vms/")
    expect(page.locator("tr", has_text=NAME).get_by_title("2 changes at the next start")).to_be_visible()

    # One is put back; the other one is there after the next start.
    page.goto(f"/vms/{NAME}/hardware/")
    page.get_by_role("button", name="Revert VirtIO random numbers 0:20:0").click()
    expect(pending.locator("li")).to_have_count(1)
    act(panel, secret, "poweroff")
    expect(page.get_by_role("region", name="At the next start")).to_have_count(0)
    act(panel, secret, "start")

    def command() -> str:
        """Of the running guest, once the observer has seen it."""
        return panel.api("GET", f"/vms/{NAME}/command", secret)[1]["command"]

    wait_until(lambda: "-m 163840K" in command(), 15, f"the new memory: {command()}")
    assert "virtio-rnd" not in command()
    assert panel.api("GET", f"/vms/{NAME}/pending", secret)[1] == []


def test_the_focus_goes_back_to_a_menu_whose_row_was_fetched_anew(guest, window):
    page = window()
    page.goto("/vms/")
    row = page.locator("tr", has_text=NAME)
    row.locator("[data-menu]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#menu .dropdown-item").first).to_be_focused()
    row.evaluate("row => { row.dataset.old = 1; row.dispatchEvent(new CustomEvent('live')); }")
    expect(row).not_to_have_attribute("data-old", "1")
    page.keyboard.press("Escape")
    expect(page.locator("#menu")).to_be_hidden()
    expect(row.locator("[data-menu]")).to_be_focused()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_pages_fit_and_have_no_serious_accessibility_fault(panel, guest, secret, window, shot, width, scheme):
    status, config = panel.api("GET", f"/vms/{NAME}/config", secret)
    assert status == 200
    assert panel.api("PUT", f"/vms/{NAME}/config", secret, config | {"wire_guest_mem": True})[0] == 200
    page = window(width, scheme)
    for address in PAGES:
        assert page.goto(f"/vms/{NAME}/{address}").status == 200, address
        for summary in page.locator("#content details:not(.menu) > summary").all():
            summary.click()
        shot(page, f"vms-{address.strip('/').replace('/', '-')}-{width}-{scheme}")
        looks.check(page)
