"""The library in a browser: a file whose connection is cut on its way arrives whole, and an image is fetched."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import select
import socket
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.panel import wait_until
from tests.storage.web import serving

pytestmark = [pytest.mark.browser, pytest.mark.root, pytest.mark.xdist_group("panel")]
MIB = 2**20


class Cable:
    """Between a browser and the panel. While ``is_cut`` there is no connection; it is cut by itself when ``limit``
    bytes have been sent since ``sent`` was 0."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.is_cut = self.is_over = False
        self.limit: int | None = None
        self.sent = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def end(self) -> None:
        self.is_cut = self.is_over = True
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        self._listener.settimeout(0.05)
        while not self.is_over:
            with contextlib.suppress(TimeoutError):
                near, _ = self._listener.accept()
                thread = threading.Thread(target=self._carry, args=(near,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            if self.is_cut:
                return
            with socket.create_connection(("127.0.0.1", self.target)) as far:
                while not self.is_cut:
                    for source in select.select([near, far], [], [], 0.05)[0]:
                        block = source.recv(1 << 16)
                        if not block:
                            return
                        self._count(len(block) if source is near else 0)
                        (far if source is near else near).sendall(block)

    def _count(self, size: int) -> None:
        self.sent += size
        if self.limit is not None and self.sent >= self.limit:
            self.limit, self.is_cut = None, True


@pytest.fixture
def cable(panel) -> Iterator[Cable]:
    made = Cable(panel.port)
    yield made
    made.end()


@pytest.fixture
def root(cable, window) -> Page:
    """An admin's window, at the end of the cable."""
    page = window(url=f"http://127.0.0.1:{cable.port}")
    wait_until(lambda: "tank" in page.request.get("/storage/").text(), 30, "the observer to see the pool")
    return page


def test_an_upload_survives_a_dropped_connection_and_a_reload(panel, root, cable, tmp_path, shot):
    body = os.urandom(30 * MIB)
    path = tmp_path / "cut off.iso"
    path.write_bytes(body)
    library = panel.root / "tank/bhype/isos"
    root.goto("/storage/isos/")

    # Cut in the middle of a piece: it tells so, and goes on by itself.
    cable.sent, cable.limit = 0, 12 * MIB
    root.locator("[data-upload-file]").set_input_files(path)
    wait_until(lambda: cable.is_cut, 60, "the cut")
    expect(root.locator(".upload-item")).to_contain_text("Trying again")
    shot(root, "upload-cut")
    cable.is_cut = False
    expect(root.locator(".upload-item [data-pause]")).to_be_visible()

    # Paused and the page closed: the file is chosen again, and what is there is not sent again.
    wait_until(lambda: received(root) >= 8 * MIB, 60, "the second piece")
    root.locator("[data-pause]").click()
    expect(root.locator(".upload-item")).to_contain_text("Paused")
    there = received(root)
    root.reload()
    expect(root.locator("[data-unfinished]")).to_contain_text("cut off.iso")
    shot(root, "upload-unfinished")
    cable.sent = 0
    root.locator("[data-upload-file]").set_input_files(path)
    wait_until((library / "cut off.iso").exists, 60, f"the medium\n{panel.log}")
    assert cable.sent < len(body) - there + 2 * MIB
    assert (library / "cut off.iso").read_bytes() == body
    expect(root.locator("#isos")).to_contain_text(hashlib.sha256(body).hexdigest())

    # Rename it, then delete it.
    root.get_by_role("link", name="Rename cut off.iso").click()
    root.get_by_label("New name").fill("whole.iso")
    root.get_by_role("button", name="Rename").click()
    expect(root.get_by_role("cell", name="whole.iso", exact=True)).to_be_visible()
    shot(root, "isos")
    root.get_by_role("button", name="Delete whole.iso").click()
    root.locator("#confirm-dialog").get_by_role("button", name="Delete").click()
    expect(root.locator("#isos")).not_to_contain_text("whole.iso")
    wait_until(lambda: not (library / "whole.iso").exists(), 20, "the file to go")


def received(page: Page) -> int:
    """Bytes of the newest upload that the panel has."""
    (newest, *_) = page.request.get("/api/v1/uploads").json() or [{"received": 0}]
    return int(newest["received"])


def test_an_image_is_fetched_from_the_catalogue(panel, root, shot):
    packed = lzma.compress(b"disk" * MIB)
    with serving() as web:
        web.files["/list/"] = b'<a href="../">up</a><a href="os-9.raw.xz">9</a> <a href="os-10.raw.xz">10</a>'
        web.files["/list/os-10.raw.xz"] = packed
        web.files["/list/os-10.raw.xz.sha256"] = hashlib.sha256(packed).hexdigest().encode()
        web.slow = 0.5
        root.goto("/storage/catalogue/")
        expect(root.locator("main")).to_contain_text("Debian 12")
        shot(root, "catalogue")
        root.get_by_role("link", name="Add an entry").click()
        for label, text in {
            "Word for it": "testos", "Title": "Test OS", "Family": "A family", "URL of an index": web.url("/list/"),
            "Names in the index": "os-*.raw.xz", "URL of the checksums": "{url}.sha256",
        }.items():  # fmt: skip
            root.get_by_label(label, exact=True).fill(text)
        root.get_by_role("button", name="Save").click()
        root.get_by_role("button", name="Fetch Test OS").click()
        expect(root.locator("#image")).to_contain_text("Ready", timeout=60_000)
        expect(root.locator("#image")).to_contain_text("SHA-256")
        expect(root.locator("#image")).to_contain_text("os-10.raw.xz")
        shot(root, "image")
    device = panel.root / "dev/zvol/tank/bhype/images/testos"
    with device.open("rb") as file:
        assert file.read(8) == b"diskdisk"

    # A wrong address: the image says what is wrong, and goes.
    root.goto("/storage/images/add/")
    root.get_by_label("URL", exact=True).fill("http://127.0.0.1:9/nothing.qcow2")
    root.get_by_label("Checksum", exact=True).fill("abc")
    root.get_by_role("button", name="Fetch").click()
    expect(root.locator(".invalid-feedback").first).to_contain_text("SHA-256")
    root.get_by_role("link", name="Cancel").click()
    root.goto("/storage/images/")
    root.get_by_role("link", name="testos").click()
    root.get_by_role("button", name="Delete").click()
    root.locator("#confirm-dialog").get_by_role("button", name="Delete").click()
    root.wait_for_url("**/storage/images/")
    expect(root.locator("#images")).not_to_contain_text("testos")
