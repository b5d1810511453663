"""The VM list with 1,000 VMs and 100,000 tasks: time, queries, sizes. In-process: the server's share of the time."""

from __future__ import annotations

import gc
import gzip
import posixpath
import re
import time
from pathlib import Path

import django

django.setup()

from django.contrib.staticfiles import finders  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from bhype.accounts.models import User  # noqa: E402
from storage.models import Dataset  # noqa: E402
from tests.bench.report import best, show, spread  # noqa: E402
from tests.rows import fill  # noqa: E402
from vms.models import Disk  # noqa: E402

ROUNDS = 60
LISTS = ("/vms/", "/vms/?q=fill&sort=-memory", "/vms/?state=running", "/tasks/")
PAGES = (
    "/vms/new/", "/vms/fill00000/", "/vms/fill00000/hardware/", "/vms/fill00000/tasks/", "/vms/fill00000/access/",
    "/vms/fill00000/raw/", "/vms/fill00000/delete/", "/console/vm/fill00000/", "/storage/", "/storage/datasets/",
    "/storage/isos/", "/network/", "/network/switches/nat/", "/hosts/", "/accounts/users/", "/accounts/audit/",
    "/accounts/profile/",
)  # fmt: skip


def assets(html: str) -> int:
    """Bytes of all scripts and style sheets that a page can load, gzipped one by one; noVNC's are left out."""
    seen: set[str] = set()
    todo = set(re.findall(r'(?:src|href)="/static/([^"?]+\.(?:m?js|css))', html))
    total = 0
    while todo:
        name = todo.pop()
        seen.add(name)
        found = None if name.startswith("novnc/") else finders.find(name)
        if found is None:
            continue
        data = Path(found).read_bytes()
        total += len(gzip.compress(data, 6))
        for imported in re.findall(r'(?:from\s*|import\s*\(?\s*)"(\.[\w./-]+\.m?js)"', data.decode()):
            todo |= {posixpath.normpath(f"{posixpath.dirname(name)}/{imported}")} - seen
    return total


def sizes(client: Client, address: str) -> tuple[int, int, int]:
    """SQL queries, bytes of HTML, and bytes of scripts and style sheets of a page."""
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(address)
    assert answer.status_code == 200, (address, answer.status_code)
    return len(queries), len(answer.content), assets(answer.content.decode())


def visits(client: Client, address: str, rounds: int = ROUNDS) -> list[float]:
    """Seconds that each of some visits takes."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        client.get(address)
        seconds.append(time.perf_counter() - began)
    return seconds


def with_datasets() -> None:
    """What the observer would have seen of the VMs on the pool."""
    rows = []
    for disk in Disk.objects.select_related("vm__pool"):
        common = {"pool": disk.vm.pool, "bhype_id": str(disk.vm.uuid), "used": disk.size // 2}
        rows.append(Dataset(name=disk.vm.dataset, kind=Dataset.Kind.FILESYSTEM, **common))
        rows.append(Dataset(name=disk.dataset, kind=Dataset.Kind.VOLUME, volsize=disk.size, **common))
    Dataset.objects.bulk_create(rows, batch_size=500)


def main() -> None:
    call_command("migrate", verbosity=0)
    began = time.perf_counter()
    fill(vms=1000, tasks=100_000)
    with_datasets()
    show("filled 1,000 VMs and 100,000 tasks in", f"{time.perf_counter() - began:.0f} s")
    admin = User.objects.create_user("bench-admin", password="x", role="admin", source="panel")
    client = Client(HTTP_HOST="localhost")
    client.force_login(admin, backend="bhype.accounts.backends.PanelBackend")
    client.get("/vms/")
    gc.collect()
    gc.freeze()  # as bhype.asgi does
    for address in LISTS:
        client.get(address)
        times = best(lambda address=address: visits(client, address))  # type: ignore[misc]
        spread(f"GET {address}", times, "p95 at most 200 ms; best of 3 batches")
    print(f"\n{'page':<38} {'SQL queries':>12} {'HTML':>10} {'JS and CSS, gzipped, without noVNC':>36}")
    most = [0, 0, 0]
    for address in (*LISTS, *PAGES):
        found = sizes(client, address)
        most = [max(pair) for pair in zip(most, found, strict=True)]
        print(f"{address:<38} {found[0]:>12} {found[1] / 1000:>7.0f} kB {found[2] / 1000:>33.0f} kB")
    print(f"{'most':<38} {most[0]:>12} {most[1] / 1000:>7.0f} kB {most[2] / 1000:>33.0f} kB")
    print(f"{'budget of the list':<38} {12:>12} {100:>7} kB {150:>33} kB")


if __name__ == "__main__":
    main()
