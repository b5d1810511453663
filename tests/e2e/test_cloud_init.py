"""Cloud-init in the browser: a key in the profile, a snippet, the settings of a VM, and what its guest is told."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.cloudinit.examples import key
from tests.e2e import looks
from tests.e2e.panel import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("panel")]

NAME = "seeded"


@pytest.fixture(scope="module")
def vm(panel, secret) -> str:
    panel.make_vm(secret, NAME)
    return NAME


def test_a_person_tells_a_guest_who_it_is(panel, vm, window):
    page = window()
    page.goto("/accounts/profile/")
    page.get_by_label("Public key").fill(key(comment="alice@desk"))
    page.get_by_role("button", name="Add key").click()
    expect(page.get_by_text("alice@desk", exact=True).first).to_be_visible()

    page.goto("/vms/_snippets/")
    page.get_by_role("link", name="New snippet").first.click()
    page.get_by_label("Name", exact=False).first.fill("Tools")
    page.locator("#id_text").fill("packages: [vim]\n")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#id_text_error")).to_contain_text("Line 1")
    page.locator("#id_text").fill("#cloud-config\npackages: [vim]\n")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Tools")).to_be_visible()

    page.goto(f"/vms/{NAME}/cloud-init/")
    page.get_by_role("link", name="Write them").click()
    expect(page.get_by_label("alice@desk")).to_be_checked()
    page.locator("#id_user").fill("alice")
    page.locator("#id_password").fill("correct horse")
    page.get_by_label("Tools").check()
    page.locator("#id_net0_mode").select_option("static")
    page.locator("#id_net0_addresses").fill("10.77.0.9")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#id_net0_addresses_error")).to_contain_text("/24")
    page.locator("#id_net0_addresses").fill("10.77.0.9/24")
    page.locator("#id_password").fill("correct horse")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("In the VM")).to_be_visible()
    told = page.locator("#cloud-init").inner_text()
    assert (
        "10.77.0.9/24" in told
        and "vim" in told
        and "alice" in told
        and "********" in told
        and "$6$" not in told
    )

    seed = panel.root / f"tank/bhype/vms/{NAME}/seed.iso"
    wait_until(seed.exists, 20, "the seed")
    assert b"$6$" in seed.read_bytes() and b"correct horse" not in seed.read_bytes()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download it").click()
    assert download.value.path().read_bytes() == seed.read_bytes()
    page.get_by_role("button", name="Take it out").click()
    expect(page.get_by_text("Taken out")).to_be_visible()
    wait_until(lambda: not seed.exists(), 20, "the seed to go")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_its_pages_are_fit_for_everybody(vm, window, width, scheme):
    page = window(width, scheme)
    for path in (
        f"/vms/{NAME}/cloud-init/",
        f"/vms/{NAME}/cloud-init/edit/",
        "/vms/_snippets/",
        "/vms/_snippets/new/",
    ):
        page.goto(path)
        looks.check(page, and_advice=True)
