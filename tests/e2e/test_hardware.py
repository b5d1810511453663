"""The hardware of a VM that runs: changed in the browser, waiting for the next start, put back, and applied."""

from __future__ import annotations

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.e2e.panel import wait_until
from tests.e2e.test_console_sharing import SIGN_IN
from tests.lab import efi

pytestmark = [pytest.mark.browser, pytest.mark.guest, pytest.mark.xdist_group("panel")]

NAME = "parts"
PAGES = [
    "hardware/", "hardware/processor/", "hardware/boot/", "hardware/screen/", "hardware/options/",
    "hardware/add/disk/", "hardware/add/nic/", "hardware/add/virtio-9p/", "hardware/at/0-4-0/", "raw/edit/",
]  # fmt: skip


@pytest.fixture(scope="module")
def session(panel) -> str:
    """The session of an admin."""
    found = panel.manage("shell", "-v", "0", "-c", SIGN_IN % {"root2": "admin"})
    return json.loads(found.splitlines()[-1])["root2"]


@pytest.fixture(scope="module")
def secret(panel, session) -> str:
    return panel.manage("token", "root2").strip()


def act(panel, secret: str, action: str) -> None:
    status, task = panel.api("POST", f"/vms/{NAME}/{action}", secret)
    assert status == 202, task
    assert panel.finish(task["id"], secret)["status"] == "succeeded", panel.log
    wanted = "running" if action == "start" else "stopped"
    wait_until(lambda: panel.api("GET", f"/vms/{NAME}", secret)[1]["state"] == wanted, 30, wanted)


@pytest.fixture(scope="module")
def guest(panel, secret) -> str:
    wait_until(lambda: panel.api("GET", "/pools", secret)[1], 30, "the observer to see the pool")
    body = {
        "name": NAME,
        "cpus": 1,
        "memory": "128M",
        "disks": [{"size": "4M"}],
        "switch": "nat",
        "start": False,
    }
    status, task = panel.api("POST", "/vms", secret, body)
    assert status == 202, task
    assert panel.finish(task["id"], secret)["status"] == "succeeded", panel.log
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
        overflow = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 1, f"{address} is {overflow} px too wide at {width}"
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        faults = [v for v in found if v["impact"] in {"serious", "critical"}]
        assert not faults, (address, [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in faults])
