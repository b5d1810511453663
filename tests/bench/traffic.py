"""What measuring traffic costs with 500 running VMs: a look, its SQL statements, and the charts of the pages."""

from __future__ import annotations

import json
import statistics
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from bhype.accounts.models import User  # noqa: E402
from bhype.freebsd import netstat  # noqa: E402
from bhype.hosts.models import Host  # noqa: E402
from network.models import TrafficPort, TrafficSample  # noqa: E402
from network.traffic import observe  # noqa: E402
from network.traffic.spans import SPANS, Rates, Span  # noqa: E402
from tests.bench.report import show  # noqa: E402
from tests.rows import fill  # noqa: E402
from vms.models import VM, Nic  # noqa: E402

VMS = 500
LOOKS = 40
PAGES = (
    "/network/switches/nat/traffic/", "/network/switches/nat/traffic/?range=month", "/vms/fill00000/traffic/?range=day",
    "/vms/fill00000/traffic/?range=month", "/network/topology/",
)  # fmt: skip


def answer(count: int) -> str:
    """What netstat says when every tap has received ``count`` bytes."""
    entries = [
        {
            "name": nic.tap, "network": "<Link#9>", "received-bytes": count + nic.pk, "sent-bytes": 2 * count,
            "received-packets": count // 900, "sent-packets": count // 900,
        }
        for nic in Nic.objects.all()
    ]  # fmt: skip
    return json.dumps({"statistics": {"interface": entries}})


def looks(host: Host) -> None:
    now, figures, memory = timezone.now(), [], observe.Memory()
    for number in range(LOOKS):
        told = answer(10_000 * number)
        sweep: Any = SimpleNamespace(
            row=host, now=now + timedelta(seconds=10 * number), ask=lambda query, text=told: query.parse(text),
            host=SimpleNamespace(exists=netstat.PROGRAM.__eq__), memory=lambda _kind: memory,
        )  # fmt: skip
        began = time.perf_counter()
        with CaptureQueriesContext(connection) as queries:
            observe.observe(sweep)
        figures.append((time.perf_counter() - began, len(queries)))
    usual = figures[3:]
    show(
        f"{VMS} VMs: one look, every 10 s",
        f"{statistics.median(one[0] for one in usual) * 1000:.0f} ms",
        "median, without netstat",
    )
    show("the slowest, with minutes and quarters", f"{max(one[0] for one in usual) * 1000:.0f} ms")
    show("SQL statements of a look", max(one[1] for one in usual), "batches of 500 rows, and less on SQLite")


PORTS = 10


def history(host: Host) -> None:
    """All samples that are ever kept of some ports with real traffic, in the order in which they come."""
    now, before = timezone.now(), size()
    began = time.perf_counter()
    ports = [f"nic:{nic.pk}" for nic in Nic.objects.all()[:PORTS]]

    def look(span: Span, step: int) -> list[Rates]:
        at = now - timedelta(seconds=span.seconds * step)
        busy = 1e6 + step
        return [Rates(port, at, span.seconds, busy, 2 * busy, busy / 900, busy / 450, 0) for port in ports]

    for span in SPANS:
        count = int(span.kept.total_seconds() // span.seconds)
        for newest in range(count, 0, -60):
            steps = range(newest, max(0, newest - 60), -1)
            observe.write(host, [one for step in steps for one in look(span, step)])
    show(f"filled {TrafficSample.objects.count():,} samples in", f"{time.perf_counter() - began:.0f} s")
    show("the database per port with a month of history", f"{(size() - before) / PORTS / 1024:.0f} KiB")


def size() -> int:
    """Bytes of the database that are in use."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_database_size(current_database())")
        else:
            cursor.execute(
                "SELECT (page_count - freelist_count) * page_size"
                " FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()"
            )
        return int(cursor.fetchone()[0])


def main() -> None:
    call_command("migrate", verbosity=0)
    fill(VMS, 0)
    VM.objects.update(state=VM.State.RUNNING)
    host = Host.objects.this()
    looks(host)
    TrafficPort.objects.all().delete()
    history(host)
    began = time.perf_counter()
    observe.forget(SimpleNamespace(row=host, now=timezone.now()))  # type: ignore[arg-type]
    show("forgetting what is too old", f"{(time.perf_counter() - began) * 1000:.0f} ms", "every ten minutes")
    admin = User.objects.create_user("bench-admin", password="x", role="admin", source="panel")
    client = Client(HTTP_HOST="localhost")
    client.force_login(admin, backend="bhype.accounts.backends.PanelBackend")
    for page in PAGES:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            with CaptureQueriesContext(connection) as queries:
                got = client.get(page)
            times.append(time.perf_counter() - began)
            assert got.status_code == 200, (page, got.status_code)
        show(page, f"{statistics.median(times) * 1000:.0f} ms, {len(queries)} statements", "budget 200 ms")


if __name__ == "__main__":
    main()
