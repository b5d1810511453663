"""A whole panel from the outside: memory, and how long it is from a click to what comes of it.

It is started as ``make run`` starts it, and spoken to over HTTP and WebSockets as a browser would. What a real
browser needs to run its scripts and to paint is not in these figures.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.browser import Browser, Screen
from tests.bench.memory import family, started, weigh
from tests.bench.report import best, show, spread
from tests.e2e.panel import Panel, wait_until

ROUNDS = 6
LISTS = 60
PASSWORD = "correct horse battery staple"
MIB = 2**20


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def vm_state(panel: Panel, name: str) -> dict[str, Any]:
    """What the VM's supervisor has written, {} when nothing."""
    try:
        found: dict[str, Any] = json.loads((panel.root / f"var/run/bhype/vms/{name}/state.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def start_panel(panel: Panel) -> float:
    """Seconds from starting the panel to the first page that it serves."""
    answered: list[float] = []

    def knock() -> None:
        browser = Browser(panel.url)
        while not answered and time.monotonic() - began < 60:
            try:
                browser.get("/accounts/sign-in/")
                answered.append(time.monotonic() - began)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)

    began = time.monotonic()
    knocking = threading.Thread(target=knock)
    knocking.start()
    panel.start()
    knocking.join()
    return answered[0]


def make_user(panel: Panel) -> str:
    """An admin of the panel, and a token."""
    subprocess.run(
        [panel.python, "manage.py", "user", "bench", "--role", "admin", "--password-stdin"],
        cwd=panel.checkout, env=panel.environment, input=f"{PASSWORD}\n", text=True, check=True, capture_output=True,
    )  # fmt: skip
    return panel.manage("token", "bench").strip()


def make_vm(panel: Panel, token: str) -> int:
    """The VM that all is tried with; its id. Waits for the panel to have made a home on the pool first."""

    def ready() -> bool:
        pools, switches = panel.api("GET", "/pools", token)[1], panel.api("GET", "/switches", token)[1]
        return any(pool["is_adopted"] for pool in pools) and any(switch["is_up"] for switch in switches)  # type: ignore[index]

    wait_until(ready, 60, f"the pool and the switches\n{panel.log}")
    wanted = {"name": "bench", "cpus": 1, "memory": "256M", "disks": [{"size": "1G"}], "switch": "nat"}
    status, task = panel.api("POST", "/vms", token, wanted)
    if status != 202 or panel.finish(task["id"], token)["status"] != "succeeded":
        raise RuntimeError(f"the VM could not be made: {task}")
    return int(panel.api("GET", "/vms/bench", token)[1]["id"])


def until(what: str, condition: Callable[[], object], seconds: float = 30) -> None:
    """Like wait_until, 10 ms at a time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.01)


def click_start(panel: Panel, browser: Browser) -> tuple[float, float, float]:
    """Seconds from the click to the answer that says "Starting", to bhyve's exec, to the guest running."""
    clicked, on_boot_clock = time.monotonic(), boottime()
    answer = browser.post("/vms/bench/action/", {"action": "start"}, HX_Request="true", HX_Target="vm-head")
    answered = time.monotonic() - clicked
    if "Starting" not in answer and "Running" not in answer:
        raise RuntimeError(f"the answer does not say that the VM starts: {answer}")
    until("the VM to run", lambda: vm_state(panel, "bench").get("state") == "running")
    running = time.monotonic() - clicked
    return answered, started(int(vm_state(panel, "bench")["pid"])) - on_boot_clock, running


def open_console(browser: Browser) -> tuple[float, float]:
    """Seconds to the page's HTML, and from the request for a ticket to the whole first frame."""
    began = time.monotonic()
    browser.get("/console/vm/bench/")
    page = time.monotonic() - began
    began = time.monotonic()
    opened = json.loads(browser.post("/console/vm/bench/ticket/", {"kind": "vnc"}))
    with browser.websocket(f"{opened['path']}?ticket={opened['ticket']}", "binary") as socket:
        screen = Screen(socket)
        screen.sign_in(opened["password"])
        screen.frame()
        return page, time.monotonic() - began


def change_on_host(panel: Panel, browser: Browser, vm: int) -> tuple[float, float]:
    """Pull the guest's plug beside the panel: seconds to the live event, and to the page that tells it."""
    with browser.websocket("/ws/live") as live:
        live.send(json.dumps({"subscribe": [f"vm:{vm}"]}))
        while "subscribed" not in json.loads(live.recv(timeout=10)):
            continue
        subprocess.run([str(panel.root / "usr/sbin/bhyvectl"), "--force-poweroff", "--vm=bench"], check=True)
        until("bhyve to end", lambda: vm_state(panel, "bench").get("state") not in {"running", "stopping"})
        began = time.monotonic()
        while True:
            live.recv(timeout=20)
            event = time.monotonic() - began
            if "Running" not in browser.get("/vms/bench/head/"):
                return event, time.monotonic() - began


def weights(panel: Panel, moment: str) -> None:
    """Print what the panel's processes weigh, service by service."""
    assert panel.process is not None
    services = {"appliance": [panel.process.pid]}
    for file in sorted((panel.state / "run").glob("*.pid")):
        services[file.stem] = family(int(file.read_text()))
    total_pss = total_rss = 0
    for name, pids in services.items():
        found = [weigh(pid) for pid in pids]
        pss, rss = sum(weight.pss for weight in found), sum(weight.rss for weight in found)
        total_pss, total_rss = total_pss + pss, total_rss + rss
        many = f", {len(pids)} processes" if len(pids) > 1 else ""
        show(f"  {name}{many}", f"{pss / MIB:.0f} MiB", f"PSS; RSS {rss / MIB:.0f} MiB")
    show(
        f"memory of the panel {moment}",
        f"{total_pss / MIB:.0f} MiB",
        f"PSS; at most 350 MB; RSS {total_rss / MIB:.0f} MiB",
    )


def weigh_supervisor(panel: Panel) -> None:
    weight = weigh(int(vm_state(panel, "bench")["supervisor"]))
    show(
        "memory of a VM's supervisor",
        f"{weight.pss / MIB:.1f} MiB",
        f"PSS; at most 15 MB; RSS {weight.rss / MIB:.1f} MiB",
    )


def bench_clicks(panel: Panel, browser: Browser, vm: int) -> None:
    starts, consoles, changes = [], [], []
    for turn in range(ROUNDS):
        starts.append(click_start(panel, browser))
        consoles += [open_console(browser) for _ in range(3)]
        if turn == ROUNDS - 1:
            break  # leave it running
        changes.append(change_on_host(panel, browser, vm))
    spread("Start clicked to the answer that shows Starting", [row[0] for row in starts], "at most 300 ms")
    spread("Start clicked to bhyve's exec", [row[1] for row in starts])
    spread("Start clicked to the guest running", [row[2] for row in starts], "with the lab's own time")
    spread("console page, HTML", [row[0] for row in consoles])
    spread("console: ticket to whole first frame", [row[1] for row in consoles], "at most 700 ms")
    spread("change on the host to live event", [row[0] for row in changes], "the observer looks every 2 s")
    spread("change on the host to seen on the page", [row[1] for row in changes])


def bench_full(panel: Panel, browser: Browser) -> None:
    """The list over HTTP with 1,000 VMs and 100,000 tasks, and what the panel weighs then."""
    panel.run("manage.py", "shell", "-v", "0", "-c", "from tests.rows import fill; fill(1000, 100_000)")
    time.sleep(5)  # two sweeps

    def visits() -> list[float]:
        seconds = []
        for _ in range(LISTS):
            began = time.monotonic()
            browser.get("/vms/")
            seconds.append(time.monotonic() - began)
        return seconds

    spread(
        "GET /vms/ over HTTP, 1,000 VMs, 100,000 tasks", best(visits), "p95 at most 200 ms; best of 3 batches"
    )
    for address in ("/tasks/", "/vms/?state=running", "/storage/", "/accounts/audit/"):
        browser.get(address)
    weights(panel, "with 1,000 VMs and 100,000 tasks")


def main() -> None:
    if not Path("/proc/self/smaps_rollup").exists() or os.geteuid() != 0:
        raise SystemExit("This part reads Linux's proc(5), as root.")
    panel = Panel()
    try:
        show("panel started to first page", f"{start_panel(panel):.1f} s")
        token = make_user(panel)
        vm = make_vm(panel, token)
        browser = Browser(panel.url)
        browser.sign_in("bench", PASSWORD)
        bench_clicks(panel, browser, vm)
        with browser.websocket("/ws/live"):
            weights(panel, "with one VM and one open page")
        weigh_supervisor(panel)
        began = time.monotonic()
        panel.stop_panel()
        show("panel told to stop, to its end", f"{time.monotonic() - began:.1f} s", "VMs go on")
        show("panel restarted to first page", f"{start_panel(panel):.1f} s")
        bench_full(panel, browser)
    finally:
        panel.stop()


if __name__ == "__main__":
    main()
