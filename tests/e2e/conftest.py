"""A panel, a real local user and a real browser."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.panel import BASE_DIR, Panel

ARTIFACTS = BASE_DIR / "tests" / "artifacts"
# Until what a page does must be seen. Two slow cores have guests, databases and other tests to run meanwhile.
PATIENCE = 45_000
expect.set_options(timeout=PATIENCE)
_numbers = itertools.count(2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The panel is shared, and only one that nobody has used yet has its set-up link."""
    items.sort(key=lambda item: "test_main_job" not in item.nodeid)


@pytest.fixture(scope="session")
def local_user() -> Iterator[tuple[str, str, str]]:
    """(name, password, group) of a system account made for this run."""
    assert os.geteuid() == 0, "the end-to-end tests make a local user: run them as root"
    name, group, password = (
        f"bh{secrets.token_hex(3)}",
        f"bg{secrets.token_hex(3)}",
        secrets.token_urlsafe(12),
    )
    subprocess.run(["groupadd", group], check=True)
    try:
        subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", "-G", group, name], check=True)
        subprocess.run(["chpasswd"], input=f"{name}:{password}", text=True, check=True)
        yield name, password, group
    finally:
        subprocess.run(["userdel", name], check=False)
        subprocess.run(["groupdel", group], check=False)


@pytest.fixture(scope="session")
def panel(local_user) -> Iterator[Panel]:
    service = Path("/etc/pam.d/bhype")
    ours = not service.exists()
    panel = Panel(BHYPE_GROUPS=local_user[2], BHYPE_FETCH_ALLOW="127.0.0.0/8")
    try:
        panel.manage("authd", "--install-service")
        media = panel.state / "media"
        media.mkdir()
        for image in boot_media():
            shutil.copy(image, media)
        yield panel.start()
    finally:
        panel.stop()
        if ours:
            service.unlink(missing_ok=True)


def boot_media() -> list[Path]:
    """The boot media that ``make run`` makes, made once per machine."""
    cache = Path(os.environ.get("BHYPE_TEST_MEDIA", "/var/tmp/bhype-test-media"))
    subprocess.run(
        ["/usr/bin/python3", "-c", "import bootstrap; bootstrap.make_media()"],
        cwd=BASE_DIR / "bhype", env=os.environ | {"BHYPE_STATE": str(cache)}, check=True,
    )  # fmt: skip
    images = sorted((cache / "media").glob("*.iso"))
    assert len(images) == 3, f"boot media are missing: run make setup as root ({images})"
    return images


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
        ]
        arguments += ["--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def admin() -> str:
    """The name of an admin whom the module has for itself."""
    return f"root{next(_numbers)}"


@pytest.fixture(scope="module")
def session(panel, admin) -> str:
    return panel.sign_in(**{admin: "admin"})[admin]


@pytest.fixture(scope="module")
def secret(panel, admin, session) -> str:
    """The API token of the module's ``admin``."""
    return panel.manage("token", admin).strip()


@pytest.fixture
def page(browser, panel) -> Iterator[Page]:
    """A fresh window at 1440 px. Fails the test on an error in the page's scripts."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=panel.url)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "last.png")
    context.close()
    assert not errors, errors


@pytest.fixture
def window(browser, panel, session):
    """Opens windows of the module's ``admin``, at the panel or at ``url``. Fails on an error in a script."""
    contexts, errors = [], []

    def open_window(width: int = 1440, scheme: str = "light", url: str = panel.url) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, base_url=url, color_scheme=scheme
        )
        context.add_cookies([{"name": "bhype_session", "value": session, "url": url}])
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert not errors, errors


@pytest.fixture(scope="session")
def shot():
    """``shot(page, name)`` keeps a screenshot among the test artifacts."""
    ARTIFACTS.mkdir(exist_ok=True)
    return lambda page, name: page.screenshot(path=ARTIFACTS / f"{name}.png")
