"""The pages of snapshots with 1,000 VMs and 100,000 snapshots: time and queries. In-process: the server's share."""

from __future__ import annotations

import gc
import time
from datetime import timedelta

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from bhype.accounts.models import User  # noqa: E402
from storage.models import Dataset, Pool, Snapshot, SnapshotPolicy  # noqa: E402
from storage.policies import plan as policies  # noqa: E402
from storage.snapshots import observe as snapshots_observe  # noqa: E402
from tests.bench.pages import visits, with_datasets  # noqa: E402
from tests.bench.report import best, show, spread  # noqa: E402
from tests.rows import fill  # noqa: E402

COUNT = 100_000
KINDS = ("hourly", "hourly", "daily", "manual", "weekly", "")
ADDRESSES = (
    "/storage/snapshots/", "/storage/snapshots/?kind=weekly", "/storage/snapshots/?q=fill00500",
    "/storage/snapshots/?q=nothing-like-it", "/storage/snapshots/?held=1", "/vms/fill00000/snapshots/",
    "/storage/policies/", "/storage/datasets/tank/bhype/vms/fill00000/-/snapshots/",
)  # fmt: skip


def with_snapshots() -> None:
    """As the observer would have written them: of each VM its dataset and its disk at the same moments."""
    rows = list(Dataset.objects.order_by("name"))
    each = COUNT // len(rows)
    start = timezone.now() - timedelta(hours=each)
    names = {row.name for row in rows}
    made = (
        Snapshot(
            dataset=row, name=f"{KINDS[number % 6] or 'by-hand'}-{number:05}", guid=str(number * 10_000 + place),
            txg=number * 10_000 + place // 2, created_at=start + timedelta(hours=number, seconds=place // 2),
            used=number << 12, kind=KINDS[number % 6], is_root=row.name.rpartition("/")[0] not in names,
            holds=int(number % 50 == 0),
        )
        for number in range(each)
        for place, row in enumerate(rows)
    )  # fmt: skip
    Snapshot.objects.bulk_create(made, batch_size=2000)


def main() -> None:
    call_command("migrate", verbosity=0)
    began = time.perf_counter()
    fill(vms=1000, tasks=0)
    with_datasets()
    with_snapshots()
    show(f"filled {Snapshot.objects.count():,} snapshots in", f"{time.perf_counter() - began:.0f} s")
    admin = User.objects.create_user("bench-admin", password="x", role="admin", source="panel")
    policy = SnapshotPolicy.objects.create(host=Pool.objects.get().host, name="nightly")
    policies.write(policy, [("tag", "web")], {"daily": ("every day 00:30", 7)})
    client = Client(HTTP_HOST="localhost")
    client.force_login(admin, backend="bhype.accounts.backends.PanelBackend")
    gc.collect()
    gc.freeze()
    page = client.get(ADDRESSES[0]).content.decode()
    older = page.partition("before=")[2].partition('"')[0]
    deep = f"/storage/snapshots/?before={(timezone.now() - timedelta(hours=45)).isoformat().replace('+', '%2B')}_1"
    for address in (
        *ADDRESSES,
        f"/storage/snapshots/?before={older}",
        deep,
        f"/storage/policies/{policy.pk}/",
    ):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(address)
        assert answer.status_code == 200, (address, answer.status_code)
        count = len(queries)
        times = best(lambda address=address: visits(client, address, 20))  # type: ignore[misc]
        spread(f"GET {address[:52]} ({count} queries)", times, "p95 at most 150 ms, limit 250 ms")
    _write()


def _write() -> None:
    """What the observer does when one VM of the thousand has a new snapshot."""
    pool = Pool.objects.get()
    rows = list(Dataset.objects.order_by("name")[:2])
    began = time.perf_counter()
    snapshots_observe.write(pool, rows, [])
    show("rows of two datasets forgotten in", f"{1000 * (time.perf_counter() - began):.0f} ms")


if __name__ == "__main__":
    main()
