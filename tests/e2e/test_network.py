"""A network in the browser, with real packets: a switch in one step, a guest that gets its address there, a port that
leads to it, a rule by its name, and the picture of it all."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.panel import Panel, wait_until
from tests.guest import build
from tests.guest.console import Console

pytestmark = [pytest.mark.browser, pytest.mark.guest, pytest.mark.root, pytest.mark.xdist_group("panel")]

SWITCH, NAME, GREETING = "office", "web", "hello from the guest"
HOST = "192.0.2.10"
# What the guest's client of DHCP does with what it is told; all in one line of its console.
BOUND = (
    "[ $1 = bound ] || exit 0; ip addr add $ip/$mask dev eth0; ip route add default via $router; "
    "echo nameserver $dns > /etc/resolv.conf; echo $ip > /tmp/lease"
)


@pytest.fixture(scope="module")
def panel(local_user):
    """A panel of its own, whose lab has wires: no other test meets its rules."""
    vnc = int(os.environ.get("BHYPE_VNC_PORT", "5900")) + 200
    panel = Panel(BHYPE_GROUPS=local_user[2], BHYPE_VNC_PORT=str(vnc))
    try:
        panel.run("-m", "bhype.lab", "wires", str(panel.state / "lab"), "on")
        yield panel.start()
    finally:
        panel.stop_panel()
        panel.run("-m", "bhype.lab", "stop", str(panel.state / "lab"))
        panel.run("-m", "bhype.lab", "wires", str(panel.state / "lab"), "off")
        panel.stop()


@pytest.fixture
def page(window) -> Page:
    return window()


class Guest:
    """The small Linux guest, as its serial line knows it."""

    def __init__(self, panel: Panel) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(panel.root / f"var/run/bhype/vms/{NAME}/serial1.sock"))
        self.console = Console(connection.detach())
        self.console.report()

    def run(self, words: str) -> str:
        return self.console.run(words)


def way_out(panel: Panel) -> list[str]:
    """The words before a program that let it run in the network to which the lab's uplink leads."""
    holder = json.loads((panel.state / "lab/state/wires.json").read_text())["outside"]
    return ["nsenter", f"--net=/proc/{holder}/ns/net", "--"]


def asked(panel: Panel, patience: float = 5) -> str:
    """What is answered to who asks port 8080 of the host from outside; "" for nothing."""
    address = f"http://{HOST}:8080/hello"
    ask = (
        f"from urllib import request; print(request.urlopen({address!r}, timeout={patience}).read().decode())"
    )
    words = [*way_out(panel), sys.executable, "-I", "-c", ask]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0 or "Error" in done.stderr, done
    return done.stdout.strip()


def keep(page: Page) -> None:
    """Confirm what would be taken back."""
    page.locator("#changes").get_by_role("button", name="Keep").click()
    expect(page.locator("#changes .change-banner")).to_have_count(0)


def apply(page: Page) -> None:
    """Apply the draft, and keep it."""
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#changes")).to_contain_text("taken back in")
    keep(page)


def make_switch(page: Page, shot) -> None:
    page.goto("/network/")
    page.get_by_role("link", name="New switch").click()
    page.get_by_label("Name").fill(SWITCH)
    page.get_by_role("button", name="Make the switch").click()
    expect(page.locator("#switch").get_by_text("Up", exact=True)).to_be_visible()
    shot(page, "story-switch")


def make_guest(panel: Panel, page: Page, shot) -> None:
    page.goto("/vms/new/")
    page.get_by_label("Name", exact=True).fill(NAME)
    page.locator("[name=memory]").fill("512M")
    page.locator("[name=disk_size]").fill("64M")
    page.get_by_label("Switch").select_option(label=option(page, SWITCH))
    page.get_by_label("Start it when it is created").uncheck()
    page.get_by_role("button", name="Create", exact=True).click()
    page.wait_for_url(f"**/vms/{NAME}/**")
    expect(page.locator("#vm-head")).to_contain_text("Stopped")
    # What an installer would have done.
    with (
        (panel.root / f"dev/zvol/tank/bhype/vms/{NAME}/disk0").open("r+b") as device,
        build.image().open("rb") as image,
    ):
        shutil.copyfileobj(image, device)
    page.goto(f"/vms/{NAME}/")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#vm-head")).to_contain_text("Running")
    shot(page, "story-vm-started")


def option(page: Page, text: str) -> str:
    return page.locator("[name=switch] option", has_text=text).inner_text()


def test_a_network_from_its_switch_to_its_picture(panel, page, shot):
    make_switch(page, shot)
    make_guest(panel, page, shot)

    # While it boots: what the host lacks is named, and mended on request.
    page.goto(f"/network/switches/{SWITCH}/nat/")
    shot(page, "story-nat")
    page.get_by_role("button", name="Test now").click()
    page.get_by_role("button", name="Mend all").click()
    page.locator("#confirm-yes").click()
    expect(page.locator("main")).to_contain_text("All is well", timeout=60_000)
    shot(page, "story-nat-well")
    keep(page)

    # Its address shows by itself where somebody looks.
    page.goto(f"/vms/{NAME}/")
    guest = Guest(panel)
    guest.run(f"(echo '#!/bin/sh'; echo '{BOUND}') > /tmp/bound; chmod +x /tmp/bound")
    guest.run("mkdir /etc; ip link set lo up; ip link set eth0 up")
    guest.run("udhcpc -i eth0 -n -q -f -t 5 -T 2 -s /tmp/bound > /tmp/udhcpc 2>&1")
    address = guest.run("cat /tmp/lease")
    expect(page.locator("#vm-facts")).to_contain_text(address)
    shot(page, "story-vm-address")
    page.goto(f"/network/switches/{SWITCH}/dhcp/")
    shot(page, "story-leases")
    expect(page.get_by_role("row").filter(has_text=address)).to_contain_text(NAME)
    assert address in guest.run(f"nslookup {NAME}.{SWITCH}.internal; true")
    assert "93.184.216.34" in guest.run("nslookup example.org; true")
    guest.run(f"mkdir /tmp/www; echo {GREETING} > /tmp/www/hello; httpd -p 80 -h /tmp/www; true")

    # A port of the host leads to it.
    page.goto(f"/vms/{NAME}/firewall/")
    page.get_by_role("link", name="New forward").click()
    page.get_by_label("Port of the host").fill("8080")
    page.get_by_label("Port of the guest").fill("80")
    shot(page, "story-forward")
    page.get_by_role("button", name="Save in the draft").click()
    page.wait_for_url(f"**/vms/{NAME}/firewall/")
    shot(page, "story-draft")
    assert asked(panel, 1) == ""
    apply(page)
    assert asked(panel) == GREETING
    shot(page, "story-forwarded")

    # A rule by its name.
    page.goto(f"/vms/{NAME}/firewall/")
    page.locator("#rules").get_by_role("link", name="Make a rule").click()
    page.get_by_label("What happens").select_option("block")
    page.get_by_label("Other side").select_option("internet")
    page.get_by_label("Protocol").select_option("tcp")
    page.get_by_label("Log what it meets").check()
    expect(page.locator("#preview")).to_contain_text(NAME)
    shot(page, "story-rule")
    page.get_by_role("button", name="Save in the draft").click()
    page.wait_for_url(f"**/vms/{NAME}/firewall/")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#changes")).to_contain_text("taken back in")
    assert asked(panel, 1) == ""
    page.goto("/network/firewall/blocked/")
    # The observer begins to listen a few seconds after the first rule that logs.
    packet = page.locator("#packets tbody tr").first
    wait_until(lambda: not asked(panel, 0.5) and packet.is_visible(), 40, "a packet that was dropped")
    expect(packet).to_contain_text(NAME)
    expect(packet).to_contain_text("Dropped")
    shot(page, "story-blocked")

    # Not confirmed but taken back, all is as before.
    page.locator("#changes").get_by_role("button", name="Take back now").click()
    expect(page.locator("#changes")).to_contain_text(": taken back.")
    assert asked(panel) == GREETING
    page.goto("/network/topology/")
    expect(page.locator("svg.topo a", has_text=SWITCH)).to_be_visible()
    expect(page.locator("svg.topo a", has_text=NAME)).to_contain_text(address)
    shot(page, "story-topology")
