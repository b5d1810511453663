"""From the request to bhyve: one deployment, and a hundred at once; what they take of the pool.

Times are those of the lab, where each command of FreeBSD is a program of some 50 ms; how many there are, and that there
are no more, tests/vms/deploy/test_deploy.py tells. BHYPE_BENCH_VMS sets another number of VMs.
"""

from __future__ import annotations

import os
import subprocess
import time

from tests.bench.memory import started
from tests.bench.panel import boottime, make_user, until, vm_state
from tests.bench.report import show, spread
from tests.e2e.panel import Panel, wait_until
from tests.lab import efi

COUNT = int(os.environ.get("BHYPE_BENCH_VMS", "100"))
ROUNDS = 7
SECONDS = 900
SIZE = 64 << 20
IMAGE = f"""
from storage.models import Image, Pool
row = Image.objects.create(pool=Pool.objects.get(is_adopted=True), name="golden", os="debian12", size={SIZE},
                           cloud_init="cloud-init", login="debian", state="ready")
print(row.uuid)
"""


def zfs(panel: Panel, *words: str) -> str:
    argv = [str(panel.root / "sbin/zfs"), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def make_template(panel: Panel, token: str) -> None:
    """An image of 64 MiB full of data that boots into a guest which waits for its power button, and its template."""

    def ready() -> bool:
        return any(pool["is_adopted"] for pool in panel.api("GET", "/pools", token)[1])  # type: ignore[index]

    wait_until(ready, 60, f"the pool\n{panel.log}")
    uuid = panel.manage("shell", "-v", "0", "-c", IMAGE).split()[-1]
    volume = "tank/bhype/images/golden"
    zfs(panel, "create", "-s", "-o", f"org.bhype:id={uuid}", "-o", "volmode=dev", "-V", str(SIZE), volume)
    with (panel.root / f"dev/zvol/{volume}").open("r+b") as device:
        device.write(efi.acpi_idle())
        device.seek(4 << 20)
        device.write(os.urandom(SIZE - (4 << 20)))
    zfs(panel, "snapshot", f"{volume}@base")
    status, task = panel.api(
        "POST", "/templates", token, {"name": "golden", "image": "golden", "is_published": True}
    )
    if status != 202 or panel.finish(int(task["id"]), token)["status"] != "succeeded":
        raise RuntimeError(f"no template: {task}\n{panel.log}")


def one(panel: Panel, token: str, name: str) -> float:
    """Seconds from the request to the start of bhyve's process."""
    began = boottime()
    body = {"template": "golden", "name": name, "memory": "64M", "cpus": 1}
    status, found = panel.api("POST", "/vms/deploy", token, body)
    if status != 202:
        raise RuntimeError(str(found))
    until(f"{name} to have a bhyve", lambda: bool(vm_state(panel, name).get("pid")), 60)
    took = started(int(vm_state(panel, name)["pid"])) - began
    panel.finish(int(found["items"][0]["task"]["id"]), token)
    panel.api("POST", f"/vms/{name}/poweroff", token)
    until(f"{name} to be off", lambda: vm_state(panel, name).get("state") != "running", 60)
    return took


def room(panel: Panel) -> int:
    """Bytes on the lab's disk that the files of its pools take, each block counted once."""
    text = subprocess.run(
        ["df", "--output=used", "-B1", str(panel.state)], check=True, capture_output=True, text=True
    )
    return int(text.stdout.split()[-1])


def batch(panel: Panel, token: str) -> None:
    before, pool = room(panel), int(zfs(panel, "list", "-Hpo", "used", "tank").split()[0])
    began = time.monotonic()
    body = {"template": "golden", "name": f"node{{001..{COUNT:03}}}", "memory": "64M", "start": False}
    status, found = panel.api("POST", "/vms/deploy", token, body)
    show(f"{COUNT} deployments accepted", f"{time.monotonic() - began:.1f} s", "at most 5 s")
    if status != 202:
        raise RuntimeError(str(found))
    path = f"/vms/deploy/{found['key']}"

    def over() -> bool:
        tasks = panel.api("GET", path, token)[1]
        return all(task["status"] not in {"queued", "running"} for task in tasks)  # type: ignore[index]

    until("all to be deployed", over, SECONDS)
    took = time.monotonic() - began
    failed = sum(task["status"] != "succeeded" for task in panel.api("GET", path, token)[1])  # type: ignore[index]
    show(
        f"{COUNT} VMs deployed, four at a time",
        f"{took:.1f} s",
        f"{took / COUNT * 1000:.0f} ms each; {failed} failed",
    )
    used = int(zfs(panel, "list", "-Hpo", "used", "tank").split()[0]) - pool
    show(
        "the pool holds more, for each",
        f"{used / COUNT / 1024:.0f} KiB",
        f"of a disk of {SIZE >> 20} MiB; no data is copied",
    )
    show(
        "the lab's files take more, for each",
        f"{(room(panel) - before) / COUNT / 1024:.0f} KiB",
        "UEFI variables, seed",
    )


def main() -> None:
    panel = Panel()
    try:
        panel.start()
        token = make_user(panel)
        make_template(panel, token)
        one(panel, token, "first")
        spread(
            "from the request to bhyve", [one(panel, token, f"quick{n}") for n in range(ROUNDS)], "below 1 s"
        )
        batch(panel, token)
    finally:
        panel.stop()


if __name__ == "__main__":
    main()
