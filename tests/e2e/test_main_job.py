"""From the set-up link to a deleted VM, as a new user would do it, in a real browser."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import looks
from tests.e2e.panel import BASE_DIR, Panel, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.guest, pytest.mark.xdist_group("panel")]


def pixels(page: Page) -> list[int]:
    """A grid of 64x48 grey values of the guest's screen as noVNC shows it."""
    return page.evaluate(
        """() => {
            const from = document.querySelector('#screen canvas');
            if (!from || !from.width) return [];
            const to = new OffscreenCanvas(64, 48), pen = to.getContext('2d');
            pen.drawImage(from, 0, 0, 64, 48);
            const data = pen.getImageData(0, 0, 64, 48).data, grey = [];
            for (let i = 0; i < data.length; i += 4) grey.push(data[i] + data[i + 1] + data[i + 2]);
            return grey;
        }"""
    )


def changed(before: list[int], after: list[int]) -> int:
    return (
        sum(abs(a - b) > 24 for a, b in zip(before, after, strict=True))
        if len(before) == len(after)
        else 9999
    )


def shows_installer(page: Page) -> bool:
    """The installer's grey dialog (170,170,170) on its blue ground (0,0,170)."""
    grey = pixels(page)
    return sum(480 <= v <= 540 for v in grey) > 800 and sum(150 <= v <= 190 for v in grey) > 30


def state(panel: Panel, name: str) -> dict:
    path = panel.root / f"var/run/bhype/vms/{name}/state.json"
    return json.loads(path.read_text()) if path.exists() else {}


def sign_in(page: Page, local_user) -> None:
    page.goto("/accounts/sign-in/")
    page.get_by_label("User name").fill(local_user[0])
    page.get_by_label("Password").fill(local_user[1])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/vms/")


def test_from_the_set_up_link_to_a_deleted_vm(panel, page, local_user, shot):
    # Set-up: the system account becomes the first admin.
    link = panel.setup_link()
    page.goto(link)
    page.get_by_label("User name").fill(local_user[0])
    page.get_by_label("Password", exact=True).fill(local_user[1])
    page.get_by_role("button", name="Make the first admin").click()
    page.wait_for_url("**/vms/")
    assert page.request.get(link).status == 404, "the set-up link works once"
    page.context.clear_cookies()

    # A wrong password is refused beside the field, the right one signs in through PAM.
    page.goto("/accounts/sign-in/")
    page.get_by_label("User name").fill(local_user[0])
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".invalid-feedback").first).to_be_visible()
    sign_in(page, local_user)
    shot(page, "list-empty")

    # Create a VM that boots the Debian installer.
    wait_until((panel.root / "tank/bhype/isos/debian-12-installer.iso").exists, 30, "the ISO library")
    wait_until(
        lambda: "debian-12-installer" in page.request.get("/storage/isos/").text(),
        40,
        "the observer to see it",
    )
    page.goto("/vms/new/")
    page.get_by_label("Name", exact=True).fill("installer")
    choose(page, "iso", "debian-12-installer")
    page.locator("[name=memory]").fill("1G")
    page.locator("[name=disk_size]").fill("2G")
    shot(page, "create")
    page.get_by_role("button", name="Create", exact=True).click()
    page.wait_for_url("**/vms/installer/**")
    wait_until(lambda: state(panel, "installer").get("state") == "running", 30, f"the guest\n{panel.log}")
    expect(page.get_by_text("Running").first).to_be_visible()
    shot(page, "detail")

    # See its screen, type into it, see the effect.
    page.goto("/console/vm/installer/")
    wait_until(lambda: shows_installer(page), 90, "the installer's screen")
    shot(page, "console-installer")
    before = pixels(page)
    page.locator("#screen canvas").click()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    wait_until(lambda: changed(before, pixels(page)) > 3, 20, "the effect of a key")
    shot(page, "console-typed")

    # Reboot it from the inside: a shell on the installer's second console.
    restarts = state(panel, "installer")["restarts"]
    page.keyboard.press("Alt+F2")
    time.sleep(2)
    page.keyboard.press("Enter")
    time.sleep(3)
    shot(page, "console-shell")
    page.keyboard.type("reboot", delay=60)
    page.keyboard.press("Enter")
    wait_until(lambda: state(panel, "installer").get("restarts", 0) > restarts, 60, "the guest's reboot")
    wait_until(lambda: state(panel, "installer")["state"] == "running", 20, "the restart")
    # The page reconnects by itself and shows the firmware's or the boot menu's screen again.
    wait_until(
        lambda: page.locator("#screen canvas").count() and len(pixels(page)) > 0,
        30,
        "the console to come back",
    )

    # The exact command is shown, and the supervisor prints the same from the file alone.
    vm_json = next(panel.root.glob("tank/bhype/vms/installer/vm.json"))
    dry = subprocess.run(
        [sys.executable, "-m", "bhype.vmrun", "-c", str(vm_json), "--dry-run", "--root", str(panel.root)],
        cwd=BASE_DIR, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert len(dry.stdout.splitlines()) == 1 and dry.stdout.startswith("/usr/sbin/bhyve "), dry
    assert dry.stdout.rstrip().endswith(" installer")

    # Power it off, delete it with its name typed.
    page.goto("/vms/installer/")
    page.on("dialog", lambda dialog: dialog.accept())
    page.request.post(
        "/vms/installer/action/",
        form={"action": "poweroff", "csrfmiddlewaretoken": token(page)},
        headers={"Referer": f"{panel.url}/vms/installer/"},
    )
    wait_until(lambda: state(panel, "installer").get("state", "stopped") == "stopped", 30, "the power-off")
    expect(page.get_by_text("Stopped").first).to_be_visible()
    page.goto("/vms/installer/delete/")
    expect(page.get_by_text("tank/bhype/vms/installer").first).to_be_visible()
    shot(page, "delete")
    page.locator("#vm-delete [name=name], .danger [name=name]").fill("instaler")
    page.get_by_role("button", name="Delete installer").click()
    expect(page.locator(".invalid-feedback").first).to_be_visible()
    page.locator("#vm-delete [name=name], .danger [name=name]").fill("installer")
    page.get_by_role("button", name="Delete installer").click()
    wait_until(
        lambda: not (panel.root / "tank/bhype/vms/installer").exists(), 30, f"the dataset to go\n{panel.log}"
    )
    wait_until(lambda: page.request.get("/vms/installer/").status == 404, 15, "the VM to go")


def choose(page: Page, field: str, text: str) -> None:
    """Select the option whose label has ``text`` in it."""
    value = page.locator(f"[name={field}] option", has_text=text).get_attribute("value")
    page.locator(f"[name={field}]").select_option(value)


def token(page: Page) -> str:
    return next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "bhype_csrf")


PAGES = ["/vms/", "/vms/new/", "/vms/sample/", "/vms/sample/hardware/", "/vms/sample/raw/",
         "/vms/sample/edit/", "/vms/sample/delete/", "/console/vm/sample/", "/tasks/",
         "/tasks/1/", "/storage/", "/storage/isos/", "/network/", "/network/switches/nat/", "/hosts/",
         "/hosts/lab/", "/accounts/profile/", "/accounts/users/", "/accounts/audit/"]  # fmt: skip


@pytest.fixture(scope="module")
def sample(panel, local_user) -> None:
    """An admin, and a VM to look at."""
    panel.manage("user", local_user[0], "--role", "admin")
    panel.make_vm(panel.manage("token", local_user[0]).strip(), "sample")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_pages_fit_and_have_no_serious_accessibility_fault(
    panel, browser, local_user, sample, shot, width, scheme
):
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, base_url=panel.url
    )
    try:
        page = context.new_page()
        sign_in(page, local_user)
        for address in PAGES:
            assert page.goto(address).status == 200, address
            shot(page, f"{address.strip('/').replace('/', '-')}-{width}-{scheme}")
            looks.check(page)
    finally:
        context.close()
