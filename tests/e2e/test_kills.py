"""kill -9 of whatever there is: guests go on, the panel comes back with the true state, and nothing is left over.

A whole panel with its own processes, driven over the API; the guests are tiny EFI programs or empty disks.
"""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import os
import re
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bhype.freebsd import ifconfig
from bhype.host import LocalHost
from bhype.vmrun import client
from tests.e2e.panel import Panel, wait_until
from tests.lab import efi

pytestmark = [pytest.mark.guest, pytest.mark.xdist_group("panel2")]
USER, PASSWORD = "root1", "correct horse battery staple"
GUEST = {"cpus": 1, "memory": 64 << 20, "disks": [{"size": 4 << 20}], "switch": "nat"}
HOME = "tank/bhype/vms"
COMMANDS = {"zfs", "zpool", "ifconfig", "bhyvectl"}
SETTLED = {"running", "stopped", "failed", "crashed"}


class House:
    """A panel, the API as its admin, and the host below it as it really is."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.lab = panel.state / "lab"
        self.host = LocalHost(str(panel.root))
        subprocess.run(
            [panel.python, "manage.py", "user", USER, "--role", "admin", "--password-stdin"],
            cwd=panel.checkout, env=panel.environment, input=f"{PASSWORD}\n", text=True, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.token = panel.manage("token", USER).strip()

    # What is asked.

    def ask(self, method: str, path: str, body: object = None) -> dict:
        status, answer = self.panel.api(method, path, self.token, body)
        assert status in {200, 202}, (status, answer)
        return answer

    def create(self, name: str, **more: object) -> dict:
        return self.ask("POST", "/vms", GUEST | {"name": name, **more})

    def act(self, name: str, action: str) -> dict:
        return self.ask("POST", f"/vms/{name}/{action}")

    def delete(self, name: str) -> dict:
        return self.ask("DELETE", f"/vms/{name}?confirm={name}")

    def finish(self, task: dict, status: str = "succeeded") -> dict:
        ended = self.panel.finish(task["id"], self.token)
        said = "\n".join([ended["title"], ended["error"], *self.log(ended)])
        assert ended["status"] == status, said
        return ended

    def run(self, name: str, image: bytes = b"") -> dict:
        """Create a VM, write ``image`` to its disk, start it; returns its row once it runs."""
        self.finish(self.create(name))
        self.write(name, image)
        self.finish(self.act(name, "start"))
        return self.wait(name, "running")

    def write(self, name: str, image: bytes) -> None:
        with (self.panel.root / f"dev/zvol/tank/bhype/vms/{name}/disk0").open("r+b") as disk:
            disk.write(image)

    def vms(self) -> dict[str, dict]:
        return {vm["name"]: vm for vm in self.ask("GET", "/vms?limit=1000")["items"]}

    def vm(self, name: str) -> dict:
        return self.ask("GET", f"/vms/{name}")

    def wait(self, name: str, state: str, seconds: float = 40) -> dict:
        wait_until(lambda: self.vm(name)["state"] == state, seconds, f"{name} {state}: {self.vm(name)}")
        return self.vm(name)

    def state(self, name: str) -> dict:
        """What the VM's supervisor says."""
        return client.read_state(self.host, name) or {}

    def log(self, task: dict) -> list[str]:
        return [line["text"] for line in self.ask("GET", f"/tasks/{task['id']}/log")]

    def reached(self, task: dict, words: str) -> None:
        """Wait until the task runs a command that begins with ``words``."""
        wait_until(
            lambda: any(line.startswith(f"$ {words}") for line in self.log(task)), 30, f"{words} in {task}"
        )

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.panel.api("GET", "/vms", self.token)[0] == 200
        return False

    # What is done to it.

    @contextlib.contextmanager
    def faults(self, *faults: dict) -> Iterator[None]:
        self.panel.run("-m", "bhype.lab", "fault", str(self.lab), json.dumps(faults))
        try:
            yield
        finally:
            self.panel.run("-m", "bhype.lab", "clear", str(self.lab))

    def kill(self, service: str) -> None:
        """Kill the service's whole process group; returns when another one has taken its place."""
        old = self.panel.kill(service)
        wait_until(lambda: self.panel.pid(service) != old, 40, f"another {service}")

    # What is true.

    def settled(self) -> None:
        """Wait until nothing is lost and nothing is left over."""
        wrong = ""

        def right() -> bool:
            nonlocal wrong
            wrong = self.wrong()
            return not wrong

        try:
            wait_until(right, 45, "everything to be as it should")
        except AssertionError:
            raise AssertionError(f"{wrong}\n{self.panel.log[-4000:]}") from None

    def wrong(self) -> str:
        rows = self.vms()
        unsettled = {name: vm["state"] for name, vm in rows.items() if vm["state"] not in SETTLED}
        on = {name for name, vm in rows.items() if vm["state"] == "running"}
        taps = {
            interface.description.split("/")[2]
            for interface in self.host.query(ifconfig.list_interfaces())
            if interface.description.startswith("bhype/vm/")
        }
        programs, supervisors = self.processes()
        bhyves = {words[-1]: pid for pid, words in programs.items() if words[0] == "bhyve"}
        states = {name: self.state(name) for name in on}
        datasets = {f"tank/bhype/vms/{name}{child}" for name in rows for child in ("", "/disk0")}
        volumes = self.panel.root / "dev/zvol/tank/bhype/vms"
        checks: dict[str, object] = {
            "unsettled VMs": unsettled,
            "unfinished tasks": [task["title"] for task in self.ask("GET", "/tasks?status=unfinished")],
            "datasets": self.datasets() ^ datasets,
            "volumes": {str(p.relative_to(volumes)) for p in volumes.glob("*/*")} ^ {f"{vm}/disk0" for vm in rows},
            "taps": taps ^ {rows[name]["uuid"] for name in on},
            "nodes": set(self.names("dev/vmm")) ^ on,
            "run directories": set(self.names("var/run/bhype/vms")) - set(rows),
            "bhyves": bhyves.keys() ^ on,
            "other pids than told": {name for name in on if states[name].get("pid") != bhyves.get(name)},
            "supervisors": supervisors ^ {state.get("supervisor") for state in states.values()},
            "guests": sum(words[0].startswith("qemu") for words in programs.values()) != len(on) and programs,
            # The observer measures the pools' traffic for most of each minute: that changes nothing.
            "commands at work": [
                words
                for words in programs.values()
                if words[0] in COMMANDS and words[:2] != ["zpool", "iostat"]
            ],
        }  # fmt: skip
        return "; ".join(f"{what}: {found}" for what, found in checks.items() if found)

    def names(self, folder: str) -> list[str]:
        return self.host.listdir(f"/{folder}")

    def datasets(self) -> set[str]:
        listed = subprocess.run(
            [self.panel.root / "sbin/zfs", "list", "-H", "-o", "name", "-t", "filesystem,volume", "-r", HOME],
            check=True, capture_output=True, text=True, env={},
        )  # fmt: skip
        return set(listed.stdout.split()) - {HOME}

    def processes(self) -> tuple[dict[int, list[str]], set[int]]:
        """The lab's programs with their arguments by process, and the processes that are supervisors."""
        programs, supervisors = {}, set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
                environment = (folder / "environ").read_bytes().split(b"\0")
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if f"BHYPE_LAB={self.lab}".encode() in environment and len(words) > 1:
                if "launch.py" in " ".join(words):
                    words = words[next(n for n, word in enumerate(words) if word.endswith("launch.py")) + 1 :]
                programs[int(folder.name)] = [Path(words[0]).name, *words[1:]]
            # A supervisor is a child of nobody's; the one that starts it is still a worker's.
            if "--detach" in words and str(self.panel.root) in words and parent == "1":
                supervisors.add(int(folder.name))
        return programs, supervisors


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    panel = Panel(BHYPE_PATIENCE="0.1")
    try:
        panel.start()
        made = House(panel)
        wait_until(lambda: made.ask("GET", "/pools")[0]["is_adopted"], 40, "an adopted pool")  # type: ignore[index]
        wait_until(
            lambda: any(s["name"] == "nat" and s["is_up"] for s in made.ask("GET", "/switches")),
            40,
            "switches",
        )  # type: ignore[index]
        made.run("steady")
        yield made
    finally:
        panel.stop()


@pytest.fixture(autouse=True)
def nothing_is_left(house: House) -> Iterator[None]:
    """After each test: the steady guest was never interrupted, and nothing leaks."""
    before = house.state("steady")
    yield
    house.settled()
    after = house.state("steady")
    assert (after["state"], after["pid"], after["restarts"]) == ("running", before["pid"], before["restarts"])
    assert house.vm("steady")["state"] == "running"


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_a_killed_worker_leaves_nothing_half_done(house):
    """In the middle of a creation, a deletion and a start at once."""
    for task in [house.create(name) for name in ("doomed", "starting")]:
        house.finish(task)
    slow = [
        {"command": "zfs create -V tank/bhype/vms/half/disk0", "do": "slow", "seconds": 60, "when": "after"},
        {"command": "zfs destroy tank/bhype/vms/doomed/disk0", "do": "slow", "seconds": 60, "when": "after"},
        {"command": "bhyve starting", "do": "slow", "seconds": 4},
    ]
    with house.faults(*slow):
        tasks = [house.create("half"), house.delete("doomed"), house.act("starting", "start")]
        made, kept = "tank/bhype/vms/half/disk0", "tank/bhype/vms/doomed/disk0"
        wait_until(
            lambda: made in house.datasets() and kept not in house.datasets(), 30, "the commands to work"
        )
        wait_until(lambda: house.state("starting").get("pid"), 30, "bhyve")
        pid = house.state("starting")["pid"]
        commands = [
            pid for pid, words in house.processes()[0].items() if words[1:2] in (["create"], ["destroy"])
        ]
        assert len(commands) == 2
        house.panel.kill("worker")
        wait_until(lambda: not any(alive(pid) for pid in commands), 3, "the worker's commands to die with it")
    for task in tasks:
        house.finish(task, "interrupted")
        assert "worker process" in house.ask("GET", f"/tasks/{task['id']}")["error"]
    house.settled()
    assert set(house.vms()) == {"steady", "starting"}
    recoveries = house.ask("GET", "/tasks?operation=vms.recover")
    assert [(task["status"], task["user"]) for task in recoveries] == [("succeeded", None)] * 2
    assert house.vm("starting")["state"] == "running"
    assert house.state("starting")["pid"] == pid
    house.finish(house.act("starting", "poweroff"))
    house.finish(house.delete("starting"))


@pytest.mark.parametrize("service", ["web", "gateway", "observer"])
def test_a_killed_service_comes_back(house, service):
    house.kill(service)
    wait_until(house.answers, 40, "the panel")
    if service == "gateway":
        gateway = house.panel.state / "run" / "gateway.sock"
        wait_until(gateway.exists, 20, "the gateway's socket")
    if service == "observer":
        seen = house.ask("GET", "/hosts")[0]["seen_at"]
        wait_until(lambda: house.ask("GET", "/hosts")[0]["seen_at"] != seen, 40, "a sweep")


def test_a_killed_supervisor_has_a_successor_and_a_killed_guest_is_told(house):
    house.run("heir")
    old = house.state("heir")
    os.kill(old["supervisor"], signal.SIGKILL)
    wait_until(lambda: house.state("heir")["supervisor"] != old["supervisor"], 40, "a successor")
    new = house.state("heir")
    assert (new["pid"], new["state"], new["started_at"]) == (old["pid"], "running", old["started_at"])
    house.settled()
    # It can be told something, and sees what happens, as the old one could.
    house.finish(house.act("heir", "reset"))
    wait_until(
        lambda: (house.state("heir")["restarts"], house.state("heir")["state"]) == (1, "running"),
        30,
        "a restart",
    )
    os.kill(house.state("heir")["pid"], signal.SIGKILL)
    row = house.wait("heir", "crashed")
    assert re.match(r"bhyve was killed by .*\.", row["reason"]), row["reason"]
    house.finish(house.delete("heir"))


def test_guests_end_as_they_want(house):
    """Reboot starts again, power-off stays off, a triple fault and an error say so."""
    images = {"reboots": efi.reset(), "leaves": efi.shutdown(), "faults": efi.triple_fault(), "fails": b""}
    for task in [house.create(name) for name in images]:
        house.finish(task)
    with house.faults(
        {"command": "bhyve fails", "do": "fail", "code": 4, "text": "vm_run: Device not configured"}
    ):
        for name, image in images.items():
            house.write(name, image)
        failing = house.act("fails", "start")
        started = [house.act(name, "start") for name in ("reboots", "leaves", "faults")]
        failed = house.finish(failing, "failed")
        assert "Device not configured" in failed["error"]
        row = house.wait("fails", "failed")
        assert "Device not configured" in row["reason"]
        for task in started:
            house.finish(task)
    row = house.wait("leaves", "stopped", 60)
    assert row["exit_code"] == 1
    row = house.wait("faults", "failed", 60)
    assert row["exit_code"] == 3
    assert "triple fault" in row["reason"].lower()
    wait_until(lambda: house.state("reboots")["restarts"] >= 1, 60, "a reboot")
    assert house.vm("reboots")["state"] in {"starting", "running"}
    house.finish(house.act("reboots", "poweroff"))
    assert house.wait("reboots", "stopped")["reason"]
    for task in [house.delete(name) for name in images]:
        house.finish(task)


def test_what_a_failing_command_says_is_in_the_tasks_log(house):
    with house.faults(
        {"command": "zfs create -V", "do": "fail", "text": "cannot create 'tank': out of space"}
    ):
        task = house.finish(house.create("small"), "failed")
    assert task["error"] == "/sbin/zfs failed with exit status 1: cannot create 'tank': out of space"
    lines = house.log(task)
    assert "cannot create 'tank': out of space" in lines
    assert any(line.startswith("status 1 after") for line in lines)
    house.settled()
    assert set(house.vms()) == {"steady"}


def test_a_worker_killed_while_it_renames_grows_and_moves_leaves_one_truth(house):
    """What it had begun is finished or never happened: rows, datasets and vm.json agree."""
    for task in [house.create(name) for name in ("old", "large")]:
        house.finish(task)
    slow = [
        {"command": "zfs rename tank/bhype/vms/old", "do": "slow", "seconds": 60, "when": "after"},
        {"command": "zfs set", "do": "slow", "seconds": 60, "when": "after"},
    ]
    with house.faults(*slow):
        tasks = [
            house.ask("POST", "/vms/old/rename", {"name": "young"}),
            house.ask("POST", "/vms/large/disks/0/grow", {"size": "16M"}),
        ]
        for task, words in zip(tasks, ("/sbin/zfs rename", "/sbin/zfs set"), strict=True):
            house.reached(task, words)
        wait_until(lambda: "tank/bhype/vms/young" in house.datasets(), 30, "the new name")
        house.panel.kill("worker")
    for task in tasks:
        house.finish(task, "interrupted")
    house.settled()
    assert set(house.vms()) == {"steady", "young", "large"}
    config = json.loads((house.panel.root / "tank/bhype/vms/young/vm.json").read_text())
    assert config["name"] == "young"
    assert [disk["size"] for disk in house.vm("large")["disks"]] == [16 << 20]
    for task in [house.delete(name) for name in ("young", "large")]:
        house.finish(task)


def test_after_the_whole_panel_was_killed_it_shows_what_is_true(house):
    house.run("gone")
    gone = house.state("gone")
    services = [house.panel.pid(name) for name in ("web", "worker", "observer", "gateway")]
    os.killpg(house.panel.process.pid, signal.SIGKILL)
    house.panel.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in services), 5, "the services to end")
    # Meanwhile the host goes on without it.
    for pid in (gone["supervisor"], gone["pid"]):
        os.kill(pid, signal.SIGKILL)
    house.panel.start()
    row = house.wait("gone", "crashed")
    assert row["reason"].endswith(".")
    house.settled()
    house.finish(house.act("gone", "start"))
    house.finish(house.act("gone", "poweroff"))
    house.finish(house.delete("gone"))


def test_a_hanging_command_times_out_and_slows_no_page_down(house):
    browser = signed_in(house)
    with house.faults({"command": "zfs", "do": "hang"}):
        task = house.create("waits")
        house.reached(task, "/sbin/zfs list")
        times = []

        def told() -> bool:
            began = time.monotonic()
            with browser.open(f"{house.panel.url}/vms/", timeout=20) as page:
                assert b"steady" in page.read()
            times.append(time.monotonic() - began)
            return any(
                "did not end within" in problem for problem in house.ask("GET", "/hosts")[0]["problems"]
            )

        wait_until(told, 60, "the host's problem")
        failed = house.finish(task, "failed")
        assert failed["error"] == "/sbin/zfs did not end within 6 s and was killed."
        assert any(line.startswith("status -") for line in house.log(task))
        (host,) = house.ask("GET", "/hosts")
        with browser.open(f"{house.panel.url}/hosts/{host['name']}/") as page:
            text = page.read().decode()
        assert re.search(r"storage: /sbin/zfs did not end within \d+ s and was killed\.", text), host[
            "problems"
        ]
        assert sorted(times)[int(len(times) * 0.9)] < 1, times
    # It could not be tidied up either, and says so until somebody deletes it.
    row = house.wait("waits", "failed", 60)
    assert "did not end within 6 s" in row["reason"]
    house.finish(house.delete("waits"))


def signed_in(house: House) -> urllib.request.OpenerDirector:
    """What a browser is to the panel, after its user has signed in."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    address = f"{house.panel.url}/accounts/sign-in/"
    with browser.open(address) as page:
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.read().decode())
    assert token
    form = {"csrfmiddlewaretoken": token.group(1), "username": USER, "password": PASSWORD, "next": "/vms/"}
    with browser.open(address, urllib.parse.urlencode(form).encode()) as page:
        assert page.url.endswith("/vms/"), page.read()
    return browser
