"""Snapshots in a real browser: taken, looked into, gone back to, deleted; and a policy that takes them."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import looks
from tests.e2e.panel import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("panel")]

NAME = "kept"


@pytest.fixture(scope="module")
def vm(panel, secret) -> str:
    """A stopped VM with something on its disk, of which the observer knows the datasets."""
    panel.make_vm(secret, NAME)
    write(panel, b"first")

    def is_seen() -> bool:
        found = panel.api("GET", "/datasets?limit=1000", secret)[1]
        rows = found if isinstance(found, list) else found.get("datasets", [])
        return any(row["name"] == f"tank/bhype/vms/{NAME}" for row in rows)

    wait_until(is_seen, 60, "the observer to see the dataset")
    return NAME


def write(panel, data: bytes) -> None:
    with (panel.root / f"dev/zvol/tank/bhype/vms/{NAME}/disk0").open("r+b") as device:
        device.write(data)


def read(panel) -> bytes:
    return (panel.root / f"dev/zvol/tank/bhype/vms/{NAME}/disk0").read_bytes()[:5]


def take(page: Page, name: str, note: str = "") -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Note").fill(note)
    page.get_by_role("button", name="Take a snapshot").click()
    expect(page.locator(".snap-row", has_text=name)).to_be_visible()


def choose(page: Page, name: str, what: str) -> None:
    row = page.locator(".snap-row", has_text=name).first
    row.locator("summary").click()
    row.get_by_role("button", name=what).click()


def test_a_vm_is_kept_looked_into_and_brought_back(panel, vm, secret, window, shot):
    page = window()
    page.goto(f"/vms/{NAME}/")
    page.get_by_role("link", name="Snapshots").first.click()
    expect(page.get_by_text("No snapshots yet")).to_be_visible()
    take(page, "before-update", "it works")
    write(panel, b"worse")
    take(page, "later")
    expect(page.get_by_text("it works")).to_be_visible()
    shot(page, "snapshots-vm")
    choose(page, "before-update", "Files")
    page.get_by_role("button", name="Take vm.json along").click()
    page.get_by_role("button", name="Download").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert json.loads(download.value.path().read_text())["name"] == NAME
    page.goto(f"/vms/{NAME}/snapshots/")
    choose(page, "before-update", "Roll back")
    page.get_by_role("button", name="Roll back").wait_for()
    expect(page.get_by_text(f"tank/bhype/vms/{NAME}@later")).to_be_visible()
    shot(page, "snapshots-rollback")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("Succeeded").first).to_be_visible()
    assert read(panel) == b"first"
    page.goto(f"/vms/{NAME}/snapshots/")
    expect(page.locator(".snap-row", has_text="later")).to_have_count(0)


def test_many_are_deleted_after_a_look(vm, window, shot):
    page = window()
    page.goto(f"/vms/{NAME}/snapshots/")
    for name in ("one", "two"):
        take(page, name)
    for name in ("one", "two"):
        page.get_by_label(f"Select {name}", exact=True).check()
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.locator(".pick-bar").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete 2 snapshots").wait_for()
    shot(page, "snapshots-delete")
    page.get_by_role("button", name="Delete 2 snapshots").click()
    expect(page.get_by_text("Succeeded").first).to_be_visible()
    page.goto(f"/storage/snapshots/?q={NAME}")
    expect(page.get_by_role("link", name="two", exact=True)).to_have_count(0)


def test_a_policy_shows_its_next_runs_and_takes_a_snapshot_now(vm, window, shot):
    page = window()
    page.goto("/storage/policies/")
    page.get_by_role("link", name="New policy").first.click()
    page.get_by_label("Name").fill("nightly")
    page.get_by_label("Time zone").select_option("Europe/Berlin")
    page.get_by_label("These").select_option(label=NAME)
    page.get_by_label("Daily", exact=True).fill("every day 03:15")
    expect(page.locator("#next-daily")).to_contain_text("03:15 CE")
    page.get_by_label("Daily", exact=True).fill("sometimes")
    expect(page.locator("#next-daily")).to_contain_text("not a time that repeats")
    page.get_by_label("Daily", exact=True).fill("every day 03:15")
    shot(page, "policy-form")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("nightly is saved")).to_be_visible()
    expect(page.get_by_text("would be taken").first).to_be_visible()
    shot(page, "policy")
    page.get_by_role("button", name="Now daily").click()
    expect(page.get_by_text("Succeeded").first).to_be_visible()
    page.goto("/storage/snapshots/?kind=daily")
    expect(page.locator("#snapshots").get_by_role("link", name=NAME)).to_be_visible()
    page.goto(f"/vms/{NAME}/snapshots/")
    expect(page.get_by_role("link", name="nightly")).to_be_visible()


def test_the_pages_are_usable_by_everybody_and_fit_a_phone(vm, window, shot):
    page = window()
    page.goto(f"/vms/{NAME}/snapshots/")
    take(page, "looked-at", "a note")
    pages = {
        "snapshots-tab": f"/vms/{NAME}/snapshots/", "snapshots-all": "/storage/snapshots/",
        "policies-all": "/storage/policies/", "policy-new": "/storage/policies/new/",
        "snapshots-dataset": f"/storage/datasets/tank/bhype/vms/{NAME}/-/snapshots/",
    }  # fmt: skip
    small = window(360, "dark")
    for name, address in pages.items():
        page.goto(address)
        looks.check(page, and_advice=True)
        shot(page, f"{name}-1440-light")
        small.goto(address)
        looks.check(small)
        shot(small, f"{name}-360-dark")
    page.goto("/storage/snapshots/")
    page.get_by_role("link", name="looked-at").click()
    expect(page.get_by_text("What was taken at this moment")).to_be_visible()
    looks.check(page, and_advice=True)
    shot(page, "snapshot-1440-light")
