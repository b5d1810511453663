from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from bhype.hosts import observe, observer
from bhype.hosts.models import Host
from bhype.tasks.models import Task

ANSWERS = {
    "kern.osrelease": "14.3-RELEASE-p2", "hw.ncpu": "8", "hw.physmem": "34359738368", "hw.pagesize": "4096",
    "vm.stats.vm.v_free_count": "1000", "vm.stats.vm.v_inactive_count": "500", "vm.stats.vm.v_laundry_count": "1",
    "kstat.zfs.misc.arcstats.size": "77", "vm.loadavg": "{ 0.12 0.20 0.18 }", "kern.cp_time": "100 0 100 0 800",
    "kern.boottime": "{ sec = 1767225600, usec = 123456 } Thu Jan  1 00:00:00 2026",
}  # fmt: skip


def test_it_reads_what_sysctl_says():
    host = Host(name="reads")
    ticks = observe.Ticks()
    observe._read(host, ANSWERS, ticks)
    observe._read(host, ANSWERS | {"kern.cp_time": "130 0 120 0 850"}, ticks)
    assert (host.release, host.cpus, host.memory, host.arc) == ("14.3-RELEASE-p2", 8, 2**35, 77)
    assert host.memory_free == 1501 * 4096
    assert host.load == 0.12
    assert host.cpu_percent == 50.0
    assert host.booted_at.isoformat() == "2026-01-01T00:00:00+00:00"


def test_a_corrected_clock_is_no_boot():
    host = Host(name="clock")
    observe._read(host, ANSWERS, observe.Ticks())
    before = host.booted_at
    observe._read(host, {"kern.boottime": "{ sec = 1767225602, usec = 0 } Thu"}, observe.Ticks())
    assert host.booted_at == before


def test_a_clock_that_is_set_is_no_boot_either():
    before, hour = timezone.now(), timedelta(hours=1)
    assert observe.has_booted(None, before, [])
    assert observe.has_booted(before, before + hour, [timedelta()])
    assert observe.has_booted(before, before + hour, [-hour])
    for steps in ([hour], [timedelta(), hour + timedelta(seconds=2)]):
        assert not observe.has_booted(before, before + hour, steps)
    clock = observe.Clock()
    assert clock.steps() == []
    clock[-1] -= 3600
    (step,) = clock.steps()
    assert abs(step - hour) < observe.SAME_BOOT
    assert len(clock.steps()) == len(clock.steps()) == 2


def test_a_host_without_some_numbers_is_observed_all_the_same():
    host = Host(name="bare", cpus=3)
    observe._read(host, {}, observe.Ticks())
    assert host.cpus == 3


def test_a_fresh_host_becomes_ready_by_itself(lab):
    observing = observer.Observer(lab.host)
    for _ in range(3):
        observing.sweep()
        for task in lab.run_tasks():
            assert task.status == "succeeded", task.error
    host = Host.objects.get()
    assert host.is_online
    assert host.problems == []
    assert host.features["vmm"]
    assert host.pools.get().is_adopted
    assert sorted(host.switches.values_list("name", "is_up")) == [
        ("nat", True),
        ("private", True),
        ("public", False),
    ]
    assert {"hosts.prepare", "storage.adopt", "network.ensure", "network.ensure_dhcp"} <= set(
        Task.objects.values_list("operation", flat=True)
    )


def test_what_the_system_asks_for_is_asked_again_later_and_later(lab):
    host = Host.objects.this()
    assert host
    first = observer.ask_once("hosts.prepare")
    assert first
    assert observer.ask_once("hosts.prepare") is None
    for failures, pause in ((1, 60), (2, 120), (3, 240)):
        tasks = Task.objects.filter(operation="hosts.prepare")
        tasks.update(status="failed", created_at=timezone.now() - timedelta(seconds=pause - 5))
        assert tasks.count() == failures
        assert observer.ask_once("hosts.prepare") is None
        tasks.update(created_at=timezone.now() - timedelta(seconds=pause + 1))
        assert observer.ask_once("hosts.prepare")


def test_an_answer_is_asked_for_once_in_a_sweep(lab, monkeypatch):
    from bhype.freebsd import zpool

    sweep = observer.Sweep(lab.host, Host.objects.this())
    first = sweep.ask(zpool.list_pools())
    monkeypatch.setattr(lab.host, "_run", None)
    assert sweep.ask(zpool.list_pools()) is first


def test_the_observer_ends_on_sigterm(tmp_path):
    environment = {
        **os.environ, "BHYPE_STATE": str(tmp_path), "DJANGO_SETTINGS_MODULE": "bhype.settings",
        "BHYPE_ROOT": "/nonexistent",
    }  # fmt: skip
    environment.pop("DATABASE_URL", None)
    with subprocess.Popen(
        [sys.executable, "manage.py", "observer", "--period", "0.1"],
        env=environment, cwd=django_settings.BASE_DIR, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        # Without tables every sweep fails; that does not end it.
        for line in process.stdout:
            if b"will try again" in line:
                break
        process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert process.poll() == 0
        process.stdout.close()


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_its_pages_show_what_is_wrong_and_what_to_do(as_user, host, role, request):
    host.problems = ["storage: the pool is <b>full</b>"]
    host.seen_at = timezone.now()
    host.save()
    client = as_user(request.getfixturevalue(role))
    page = client.get("/hosts/lab/").content.decode()
    assert "&lt;b&gt;full" in page
    assert "kldload vmm" in page
    assert "pkg install edk2-bhyve" in page
    assert "/hosts/lab/" in client.get("/hosts/").content.decode()
    assert client.get("/hosts/nosuch/").status_code == 404


def test_the_api_tells_of_hosts(as_user, host, viewer, stranger):
    answer = as_user(viewer).get("/api/v1/hosts/lab").json()
    assert (answer["name"], answer["cpus"], answer["is_online"]) == ("lab", 8, False)
    assert [row["name"] for row in as_user(viewer).get("/api/v1/hosts").json()] == ["lab"]
    for path in ("/hosts/", "/hosts/lab/", "/api/v1/hosts", "/api/v1/hosts/lab"):
        assert as_user(stranger).get(path).status_code == 404
