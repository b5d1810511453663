"""A real browser on a real web process and worker: pages that stay current by themselves.

Run as ``python -m tests.live.open_page``: prints one JSON object of what was seen.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.tasks.cluster_settings"
# Playwright's own event loop runs in this thread; the database is used beside it, not in it.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from bhype import live  # noqa: E402
from bhype.accounts.models import User  # noqa: E402
from bhype.tasks import ask  # noqa: E402
from tests.tasks.cluster import Worker  # noqa: E402

BASE = Path(__file__).resolve().parents[2]


class Web:
    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        where = ["--bind", f"127.0.0.1:{self.port}", "--workers", "1", "--graceful-timeout", "1"]
        command = [sys.executable, "-m", "gunicorn", "-k", "asgi", *where, "bhype.asgi:application"]
        self.process = subprocess.Popen(command, cwd=BASE, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError("the web process did not start")

    def end(self):
        self.process.terminate()
        self.process.wait(20)


def look(page: Page, web: Web, user: User) -> dict[str, object]:
    seen: dict[str, object] = {}
    page.goto(f"{web.url}/tasks/")
    ask("sample.free", {"name": "live", "seconds": 2}, user)
    page.wait_for_selector("#task-table >> text=Free live")
    page.wait_for_function("document.getElementById('bell-count').textContent.trim().startsWith('1')")
    page.click("#bell")
    page.wait_for_selector("#task-drawer-list >> text=Free live")
    page.keyboard.press("Escape")
    page.click("#task-table >> text=Free live")
    page.wait_for_selector("#task-log >> text=hello live")
    page.wait_for_selector("#task-status >> text=Succeeded")

    task = ask("sample.family", {"name": "family"}, user)
    page.goto(f"{web.url}/tasks/{task.pk}/")
    page.wait_for_selector("#task-log >> text=group ")
    seen["lines"] = page.locator("#task-log .task-line").count()
    page.click("#task-status >> text=Cancel")
    # News that arrive while the question is open must not take its form away.
    live.publish(f"task:{task.pk}")
    page.wait_for_timeout(1500)
    page.click("#confirm-yes")
    page.wait_for_selector("#task-status >> text=Cancelled")
    page.wait_for_selector("text=Try again")

    web.end()
    page.wait_for_selector("#live-banner:not([hidden])")
    seen["banner"] = page.inner_text("#live-banner")
    web.start()
    page.wait_for_selector("#live-banner", state="hidden")
    return seen


def main() -> None:
    call_command("migrate", run_syncdb=True, verbosity=0)
    user = User.objects.create_user("alice", role="admin", source="panel")
    client = Client()
    client.force_login(user, backend="bhype.accounts.backends.PanelBackend")
    errors: list[str] = []
    worker, web = Worker(), Web()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            context = browser.new_context()
            context.add_cookies(
                [{"name": name, "value": row.value, "url": web.url} for name, row in client.cookies.items()]
            )
            page = context.new_page()
            page.set_default_timeout(45_000)
            page.on("pageerror", lambda error: errors.append(str(error)))
            seen = look(page, web, user)
            browser.close()
    finally:
        web.end()
        worker.end()
    sys.stdout.write(json.dumps(seen | {"errors": errors}))


if __name__ == "__main__":
    main()
