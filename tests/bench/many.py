"""A hundred VMs started in bulk: until the panel has accepted them, until each bhyve is there, until all run.

Beside it the same guests started by the lab's bhyve alone, as many at a time as the panel has workers: what the
panel adds is the ratio of the two. The guests sleep once they have booted. BHYPE_BENCH_VMS sets another number.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import shlex
import subprocess
import time

from tests.bench.memory import weigh
from tests.bench.panel import MIB, make_user, until, vm_state
from tests.bench.report import show, spread
from tests.e2e.panel import Panel, wait_until
from tests.lab import efi

COUNT = int(os.environ.get("BHYPE_BENCH_VMS", "100"))
AT_ONCE = 2
SECONDS = 1200


def make_vms(panel: Panel, token: str) -> list[str]:
    """COUNT VMs of 64 MiB with a small disk that boots into a guest which waits for its power button."""

    def ready() -> bool:
        return any(pool["is_adopted"] for pool in panel.api("GET", "/pools", token)[1])  # type: ignore[index]

    wait_until(ready, 60, f"the pool\n{panel.log}")
    names = [f"many{number:03}" for number in range(COUNT)]
    tasks = []
    for name in names:
        wanted = {"name": name, "cpus": 1, "memory": "64M", "disks": [{"size": "2M"}], "has_screen": False}
        status, task = panel.api("POST", "/vms", token, wanted)
        if status != 202:
            raise RuntimeError(f"{name} could not be made: {task}")
        tasks.append(task["id"])
    for task in tasks:
        if panel.finish(task, token, SECONDS)["status"] != "succeeded":
            raise RuntimeError(f"task {task} failed")
    for name in names:
        path = str(panel.api("GET", f"/vms/{name}", token)[1]["disks"][0]["path"])
        with (panel.root / path.lstrip("/")).open("r+b") as disk:
            disk.write(efi.acpi_idle())
    return names


def start_all(panel: Panel, token: str, names: list[str]) -> float:
    """Prints the figures; returns the seconds until all run."""
    began = time.monotonic()
    status, outcomes = panel.api("POST", "/vms/bulk", token, {"names": names, "action": "start"})
    show(f"{COUNT} starts accepted", f"{(time.monotonic() - began) * 1000:.0f} ms", "at most 5 s")
    if status != 200:
        raise RuntimeError(str(outcomes))
    seen: dict[str, float] = {}

    def look() -> bool:
        for name in names:
            if name not in seen and vm_state(panel, name).get("state") == "running":
                seen[name] = time.monotonic() - began
        return len(seen) == len(names)

    until("all VMs to run", look, SECONDS)
    took = max(seen.values())
    show(f"{COUNT} VMs running", f"{took:.1f} s", f"first after {min(seen.values()):.1f} s")
    ordered = sorted(seen.values())
    spread("from one VM running to the next", [b - a for a, b in itertools.pairwise(ordered)])
    weights = [weigh(int(vm_state(panel, name)["supervisor"])) for name in names]
    show(
        f"memory of {COUNT} supervisors, each",
        f"{sum(weight.pss for weight in weights) / COUNT / MIB:.1f} MiB",
        f"PSS; at most 15 MB; RSS at most {max(weight.rss for weight in weights) / MIB:.1f} MiB",
    )
    return took


def stop_all(panel: Panel, token: str, names: list[str]) -> None:
    panel.api("POST", "/vms/bulk", token, {"names": names, "action": "poweroff"})
    until(
        "all VMs to be off",
        lambda: all(vm_state(panel, name).get("state") in {"stopped", "failed"} for name in names),
        SECONDS,
    )


def start_alone(panel: Panel, token: str, names: list[str]) -> float:
    """Seconds in which the lab's bhyve starts the same guests, without the panel and without supervisors."""
    commands = []
    for name in names:
        text = panel.api("GET", f"/vms/{name}/command", token)[1]["command"]
        words = shlex.split(text)
        commands.append([str(panel.root / words[0].lstrip("/")), *words[1:]])
    processes: list[subprocess.Popen[bytes]] = []

    def start(words: list[str]) -> None:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        processes.append(process)
        title = f"bhyve: {words[-1]}"
        while title not in (text := _titles(panel)) and process.poll() is None:
            time.sleep(0.02)
        if title not in text:
            raise RuntimeError(f"{words[-1]} did not start")

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(start, commands))
    took = time.monotonic() - began
    for name in names:
        subprocess.run(
            [str(panel.root / "usr/sbin/bhyvectl"), "--force-poweroff", f"--vm={name}"],
            check=False,
            capture_output=True,
        )
    for process in processes:
        process.wait(30)
    return took


def _titles(panel: Panel) -> str:
    argv = [str(panel.root / "bin/ps"), "-axww", "-o", "pid,command"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def main() -> None:
    panel = Panel()
    try:
        panel.start()
        token = make_user(panel)
        names = make_vms(panel, token)
        bulk = start_all(panel, token, names)
        stop_all(panel, token, names)
        alone = start_alone(panel, token, names)
        show(f"{COUNT} times the lab's bhyve alone, {AT_ONCE} at a time", f"{alone:.1f} s")
        show("the panel's way, times bhyve's own", f"{bulk / alone:.2f}")
    finally:
        panel.stop()


if __name__ == "__main__":
    main()
