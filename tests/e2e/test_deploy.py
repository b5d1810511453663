"""From an image to a template to running VMs in the browser: one, a batch, and a new identity."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import looks
from tests.e2e.panel import wait_until
from tests.lab import efi

pytestmark = [pytest.mark.browser, pytest.mark.guest, pytest.mark.xdist_group("panel")]

IMAGE = """
from storage.models import Image, Pool
row = Image.objects.create(pool=Pool.objects.get(is_adopted=True), name="golden", os="debian12", size=4 << 20,
                           cloud_init="cloud-init", login="debian", state="ready")
print(row.uuid)
"""


@pytest.fixture(scope="module")
def image(panel, secret) -> str:
    """An image of the library that boots, made by hand."""

    def adopted() -> bool:
        return any(pool["is_adopted"] for pool in panel.api("GET", "/pools", secret)[1])

    wait_until(adopted, 60, f"the pool\n{panel.log}")
    uuid = panel.manage("shell", "-v", "0", "-c", IMAGE).split()[-1]
    zfs, volume = str(panel.root / "sbin/zfs"), "tank/bhype/images/golden"
    mark = ["-o", f"org.bhype:id={uuid}", "-o", "volmode=dev"]
    panel.run(
        "-c",
        "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)",
        zfs,
        "create",
        "-s",
        *mark,
        "-V",
        "4M",
        volume,
    )
    with (panel.root / f"dev/zvol/{volume}").open("r+b") as device:
        device.write(efi.acpi_idle())
    panel.run(
        "-c",
        "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)",
        zfs,
        "snapshot",
        f"{volume}@base",
    )
    return "golden"


def test_a_vm_from_a_template(panel, image, secret, window, shot):
    page = window()
    page.goto("/vms/_templates/")
    page.get_by_role("link", name="New template").first.click()
    page.get_by_label("Name of the template").fill("golden")
    page.get_by_role("button", name="Make the template").click()
    expect(page.locator("#template-state")).to_contain_text("Ready")
    expect(page.locator("#template-state")).to_contain_text("image golden")
    shot(page, "template")
    page.get_by_role("link", name="Deploy").click()
    page.get_by_label("Name", exact=True).fill("quick")
    page.get_by_label("Memory").fill("64M")
    expect(page.locator("#summary")).to_contain_text("quick")
    expect(page.locator("#summary")).to_contain_text("64 MiB")
    shot(page, "deploy")
    page.get_by_role("button", name="Deploy").click()
    expect(page.locator("#vm-head")).to_contain_text("Running")
    panel.api("POST", "/vms/quick/poweroff", secret)


def test_a_batch_shows_its_progress(panel, image, secret, window, shot):
    page = window()
    page.goto("/vms/")
    page.get_by_role("link", name="New VM").click()
    page.get_by_label("Name", exact=True).fill("node{01..03}")
    page.get_by_label("Memory").fill("64M")
    page.get_by_label("Start at once").uncheck()
    expect(page.locator("#summary")).to_contain_text("3 VMs")
    page.locator("summary", has_text="Advanced").click()
    page.get_by_label("Address", exact=True).fill("10.77.0.20/24")
    page.get_by_role("button", name="Deploy").click()
    expect(page.locator("#batch")).to_contain_text("3 of 3 done")
    shot(page, "batch")
    for number in (1, 2, 3):
        expect(page.get_by_role("link", name=f"node0{number}")).to_be_visible()


def test_another_identity(panel, image, secret, window, shot):
    page = window()
    page.goto("/vms/node01/identity/")
    page.get_by_label("New name").fill("other")
    page.get_by_label("New address in the guest").fill("10.77.0.99/24")
    shot(page, "identity")
    page.get_by_role("button", name="Give it a new identity").click()
    expect(page.locator("#task-status")).to_contain_text("Succeeded")
    status, vm = panel.api("GET", "/vms/other", secret)
    assert (status, vm["state"]) == (200, "stopped")


PAGES = [
    "_templates/", "_templates/new/", "deploy/", "_presets/", "_presets/windows11/", "new/?preset=windows11",
    "node02/template/", "node02/identity/",
]  # fmt: skip


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (360, "light")])
def test_pages_fit_and_have_no_serious_accessibility_fault(panel, image, window, shot, width, scheme):
    page: Page = window(width, scheme)
    for path in PAGES:
        page.goto(f"/vms/{path}")
        looks.check(page)
        shot(page, f"deploy-{path.strip('/').replace('/', '-').replace('?', '-')}-{width}")
