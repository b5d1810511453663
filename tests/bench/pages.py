"""The VM list with 1,000 VMs and 100,000 tasks: time, queries, sizes. In-process: the server's share of the time."""

from __future__ import annotations

import gzip
import re
import time

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from bhype.accounts.models import User  # noqa: E402
from tests.bench.report import best, show, spread  # noqa: E402
from vms.fixtures import fill  # noqa: E402

ROUNDS = 60


def assets(client: Client, html: str) -> int:
    """Bytes of all scripts and style sheets of a page, gzipped one by one."""
    from django.contrib.staticfiles import finders

    total, seen = 0, set(re.findall(r'(?:src|href)="/static/([^"?]+\.(?:js|css))', html))
    todo = list(seen)
    while todo:
        name = todo.pop()
        found = finders.find(name)
        if found is None:
            continue
        with open(found, "rb") as file:
            data = file.read()
        total += len(gzip.compress(data, 6))
        for imported in re.findall(rb'from\s*"\./([\w.-]+\.js)"', data):
            other = f"{name.rsplit('/', 1)[0]}/{imported.decode()}"
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return total


def visits(client: Client, address: str) -> list[float]:
    """Seconds that each of some visits takes."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        client.get(address)
        seconds.append(time.perf_counter() - began)
    return seconds


def main() -> None:
    call_command("migrate", verbosity=0)
    began = time.perf_counter()
    fill(vms=1000, tasks=100_000)
    show("filled 1,000 VMs and 100,000 tasks in", f"{time.perf_counter() - began:.0f} s")
    admin = User.objects.create_user("bench-admin", password="x", role="admin", source="panel")
    client = Client(HTTP_HOST="localhost")
    client.force_login(admin, backend="bhype.accounts.backends.PanelBackend")
    for address in ("/vms/", "/vms/?q=vm&sort=-memory", "/vms/?state=running", "/tasks/"):
        answer = client.get(address)
        assert answer.status_code == 200, (address, answer.status_code)
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(address)
        html = answer.content.decode()
        times = best(lambda address=address: visits(client, address))  # type: ignore[misc]
        spread(f"GET {address}", times, "p95 at most 200 ms; best of 3 batches")
        show("  SQL queries", len(queries), "at most 12")
        show("  HTML", f"{len(html) / 1000:.0f} kB", "at most 100 kB")
        show("  JS and CSS, gzipped", f"{assets(client, html) / 1000:.0f} kB", "at most 150 kB without noVNC")


if __name__ == "__main__":
    main()
