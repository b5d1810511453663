"""A package that another tool has made: brought in, run and taken out again in a real browser."""

from __future__ import annotations

import re
import subprocess

import pytest
from playwright.sync_api import expect

from tests.e2e.panel import wait_until
from tests.lab import efi
from tests.vms import packages

pytestmark = [pytest.mark.browser, pytest.mark.guest, pytest.mark.xdist_group("panel")]

NAME = "imported"
SAYS = "made-elsewhere"


@pytest.fixture
def package(tmp_path):
    """An OVA as VirtualBox 7 writes it, whose guest says something on its serial line."""
    (tmp_path / "disk.raw").write_bytes(efi.acpi(f"{SAYS}\r\n"))
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized",
         tmp_path / "disk.raw", tmp_path / "disk.vmdk"], check=True,
    )  # fmt: skip
    description = packages.VIRTUALBOX.replace("2048", "128").replace(
        'capacity="67108864"', 'capacity="1474560"'
    )
    files = {"box-disk001.vmdk": (tmp_path / "disk.vmdk").read_bytes()}
    path = tmp_path / "debian box.ova"
    path.write_bytes(packages.ova(description, files, manifest="SHA256"))
    return path


def test_a_package_of_another_tool_is_imported_run_and_exported(panel, window, package, tmp_path, shot):
    page = window()
    wait_until(lambda: "tank" in page.request.get("/storage/").text(), 30, "the observer to see the pool")

    # Upload it; what it becomes is shown before anything is made.
    page.goto("/vms/_import/files/")
    page.locator("[data-upload-file]").set_input_files(package)
    page.get_by_role("link", name="debian box.ova", exact=True).click(timeout=60_000)
    for text in ("128 MiB", "ahci-hd, from box-disk001.vmdk", "e1000", "sound"):
        expect(page.locator("main")).to_contain_text(text)
    shot(page, "import-preview")
    page.get_by_label("Name of the new VM").fill(NAME)
    page.get_by_role("button", name="Create").click()

    # Its task shows the progress and leads to the VM, which runs.
    page.wait_for_url("**/tasks/*/")
    expect(page.locator("#task-status")).to_contain_text("Succeeded", timeout=60_000)
    shot(page, "import-done")
    page.locator("#task-status").get_by_role("link", name=NAME).click()
    page.get_by_role("button", name="Start", exact=True).click()
    log = panel.root / f"var/run/bhype/vms/{NAME}/serial1.log"
    wait_until(lambda: log.exists() and SAYS.encode() in log.read_bytes(), 120, f"the guest\n{panel.log}")
    page.goto(f"/console/vm/{NAME}/log/")
    expect(page.locator("#log")).to_contain_text(SAYS)
    page.goto(f"/vms/{NAME}/")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator(".vm-title")).to_contain_text("Stopped", timeout=60_000)

    # Out again; the file is what tar, sha256 and qemu-img take.
    page.goto(f"/vms/{NAME}/export/")
    page.get_by_role("button", name="Export as an OVA package").click()
    button = page.get_by_role("button", name=f"Download {NAME}.ova")
    expect(button).to_be_visible(timeout=60_000)
    shot(page, "export")
    with page.expect_download() as download:
        button.click()
    download.value.save_as(tmp_path / "out.ova")
    _is_whole(tmp_path)

    # What is not needed any more goes.
    page.get_by_role("button", name=f"Remove {NAME}.ova").click()
    page.locator("#confirm-yes").click()
    expect(page.locator("#exported")).to_contain_text("Nothing was exported yet")


def _is_whole(folder):
    subprocess.run(["tar", "-xf", folder / "out.ova", "-C", folder], check=True)
    said = (folder / f"{NAME}.mf").read_text()
    lines = re.findall(r"SHA256 ?\((.+)\) ?= ?([0-9a-f]{64})", said)
    assert {name for name, _ in lines} == {f"{NAME}.ovf", f"{NAME}-disk0.vmdk"}
    sums = "".join(f"{digest}  {name}\n" for name, digest in lines)
    subprocess.run(["sha256sum", "-c", "--quiet"], input=sums, text=True, cwd=folder, check=True)
    disk = folder / f"{NAME}-disk0.vmdk"
    subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", disk, folder / "out.raw"], check=True)
    assert SAYS.encode() in (folder / "out.raw").read_bytes()
