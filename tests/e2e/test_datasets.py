"""Datasets in a browser: made, changed, locked, unlocked and destroyed; and a VM that waits for its passphrase."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import looks
from tests.e2e.panel import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("panel"), pytest.mark.usefixtures("secret")]

NAME, HOME = "sealed", "/storage/datasets/tank/bhype"
WORDS, OTHER = "correct horse battery", "staple and so on"
PAGES = {
    "list": "/storage/datasets/", "encrypted": "/storage/datasets/?show=encrypted", "orphans": "/storage/orphans/",
    "overview": f"{HOME}/safe/", "properties": f"{HOME}/safe/-/properties/", "danger": f"{HOME}/safe/-/danger/",
    "new": f"{HOME}/-/new/", "vm-key": f"/vms/{NAME}/key/", "vm": f"/vms/{NAME}/",
}  # fmt: skip


@pytest.fixture(scope="module")
def secret(panel, secret) -> str:
    wait_until(
        lambda: any(row["name"] == "tank/bhype" for row in panel.api("GET", "/datasets", secret)[1]),
        40,
        "the observer to see the datasets",
    )
    return secret


def succeeded(page: Page) -> None:
    """Wait for the task whose page is open."""
    expect(page.locator("#task-status .status", has_text="Succeeded")).to_be_visible()


def test_a_dataset_is_made_changed_locked_unlocked_and_destroyed(panel, window, shot):
    page = window()
    page.goto("/storage/datasets/")
    page.get_by_role("link", name="New dataset").click()
    page.get_by_label("Name").fill("safe")
    page.get_by_label("Encrypt it").check()
    page.get_by_label("Passphrase").fill(WORDS)
    page.get_by_label("Again").fill(OTHER)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_text("This is not the same.")).to_be_visible()
    expect(page.get_by_label("Passphrase")).to_have_value("")
    page.get_by_label("Passphrase").fill(WORDS)
    page.get_by_label("Again").fill(WORDS)
    page.get_by_role("button", name="Create").click()
    succeeded(page)
    assert (panel.root / "tank/bhype/safe").is_dir()
    (panel.root / "tank/bhype/safe/note").write_text("secret plans")

    page.goto(f"{HOME}/safe/-/properties/")
    page.get_by_label("Compression").select_option("zstd")
    page.get_by_label("Quota", exact=True).fill("64M")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("are being changed")).to_be_visible()
    wait_until(lambda: page.reload() and page.get_by_label("Compression").input_value() == "zstd", 20, "zstd")
    expect(page.locator("tr", has_text="Quota quota").get_by_text("64 MiB")).to_be_visible()
    shot(page, "datasets-properties")

    page.goto(f"{HOME}/safe/")
    page.get_by_role("button", name="Lock").click()
    wait_until(lambda: not (panel.root / "tank/bhype/safe/note").exists(), 20, "the lock")
    wait_until(
        lambda: page.reload() and page.get_by_role("button", name="Unlock").is_visible(), 20, "the row"
    )
    shot(page, "datasets-locked")
    page.get_by_label("Passphrase").fill(OTHER)
    page.get_by_role("button", name="Unlock").click()
    expect(page.get_by_text("The passphrase is wrong.").first).to_be_visible()
    page.goto(f"{HOME}/safe/")
    page.get_by_label("Passphrase").fill(WORDS)
    page.get_by_role("button", name="Unlock").click()
    succeeded(page)
    assert (panel.root / "tank/bhype/safe/note").read_text() == "secret plans"

    page.goto("/storage/datasets/")
    page.get_by_label("Search in the list").fill("safe")
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_role("link", name="tank/bhype/safe").click()
    page.get_by_role("link", name="Danger").click()
    page.get_by_role("button", name="Ask the host what goes").click()
    expect(page.locator("#preview", has_text="1 dataset")).to_be_visible()
    shot(page, "datasets-danger")
    page.get_by_label("Type tank/bhype/safe to confirm").fill("tank/bhype/safe")
    page.get_by_role("button", name="Destroy").click()
    succeeded(page)
    assert not (panel.root / "tank/bhype/safe").exists()
    assert WORDS not in panel.log


def test_a_locked_vm_says_so_and_goes_on_when_it_is_unlocked(panel, secret, window, shot):
    panel.make_vm(secret, NAME, passphrase=WORDS)
    page = window()
    page.goto("/vms/")
    panel.do(f"/vms/{NAME}/lock", secret)
    row = page.locator("tr", has_text=NAME)
    expect(row.get_by_text("Locked")).to_be_visible()
    expect(row.get_by_title("It is locked. Unlock it first.")).to_be_visible()
    shot(page, "datasets-vm-locked")
    page.goto(f"/vms/{NAME}/")
    page.get_by_role("link", name="Unlock it").click()
    page.get_by_label("Passphrase").fill(WORDS)
    page.get_by_role("button", name="Unlock").click()
    expect(page.locator("#vm-head").get_by_text("Stopped")).to_be_visible()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (360, "light")])
def test_pages_fit_and_have_no_serious_accessibility_fault(panel, secret, window, shot, width, scheme):
    rows = {row["name"]: row["id"] for row in panel.api("GET", "/datasets", secret)[1]}
    if "tank/bhype/safe" not in rows:
        body = {"parent": rows["tank/bhype"], "name": "safe", "passphrase": WORDS}
        panel.do("/datasets", secret, body)
    page = window(width, scheme)
    for name, address in PAGES.items():
        assert page.goto(address).status == 200, address
        shot(page, f"datasets-{name}-{width}-{scheme}")
        looks.check(page)
