"""The whole way of a cloud image: fetched with its checksum, made a template, deployed, booted, told who it is.

The image is a real one (tests/cloud/build.py) from a web server of this test; the panel is a whole one, its guest runs
on the lab's bhyve. What cloud-init has done is seen on the guest's serial console.
"""

from __future__ import annotations

import functools
import hashlib
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cloud import build
from tests.cloudinit.examples import key
from tests.e2e.panel import Panel, wait_until

pytestmark = [pytest.mark.guest, pytest.mark.root, pytest.mark.xdist_group("cloud")]

NAME = "cloud1"
KEY = key(comment="alice@desk")
# What the guest is asked at the end of its first boot.
REPORT = """\
#!/bin/sh
exec > /dev/ttyS0 2>&1
echo "report name=$(hostname)"
echo "report user=$(id -un alice) $(sudo -l -U alice | grep -c NOPASSWD)"
echo "report hash=$(getent shadow alice | cut -d: -f2 | cut -c1-3)"
echo "report key=$(cat /home/alice/.ssh/authorized_keys)"
echo "report address=$(ip -4 -o address show | grep -o '10.77.0.[0-9]*/24')"
echo "report gateway=$(ip route | grep -o 'default via [0-9.]*')"
echo "report server=$(grep -h -o 'DNS=.*' /run/systemd/network/*.network /etc/systemd/network/*.network | head -n 1)"
echo "report disk=$(df -BM --output=size / | tail -n 1 | tr -d ' M')"
echo "report zone=$(cat /etc/timezone)"
echo "report snippet=$(cat /etc/snippet)"
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a folder with the image as vendors offer it: qcow2, compressed, with its SHA512SUMS."""
    raw = build.image()
    folder = raw.with_suffix(".web")
    image = folder / "debian-cloud.qcow2"
    if not image.exists():
        folder.mkdir(exist_ok=True)
        subprocess.run(
            ["qemu-img", "convert", "-c", "-O", "qcow2", raw, image.with_suffix(".new")], check=True
        )
        image.with_suffix(".new").rename(image)
    digest = hashlib.sha512(image.read_bytes()).hexdigest()
    (folder / "SHA512SUMS").write_text(f"{'0' * 128}  other.qcow2\n{digest}  {image.name}\n")
    served = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


@pytest.fixture(scope="module")
def panel() -> Iterator[Panel]:
    panel = Panel(BHYPE_FETCH_ALLOW="127.0.0.0/8")
    try:
        panel.manage("shell", "-v", "0", "-c", _ADMIN)
        yield panel.start()
    finally:
        panel.stop()


_ADMIN = """
from bhype.accounts.models import User
User.objects.create_user("root1", password="correct horse battery", role="admin", source="panel")
"""


class Client:
    """The panel's API as an admin, who waits for tasks to succeed."""

    def __init__(self, panel: Panel) -> None:
        self.panel, self.token = panel, panel.manage("token", "root1").strip()

    def get(self, path: str) -> dict:
        return self.panel.api("GET", path, self.token)[1]

    def post(self, path: str, body: object = None) -> dict:
        status, answer = self.panel.api("POST", path, self.token, body)
        assert status < 300, (path, status, answer)
        return answer

    def done(self, task: dict, seconds: float = 300) -> None:
        ended = self.panel.finish(task["id"], self.token, seconds)
        assert ended["status"] == "succeeded", (ended, self.panel.log[-4000:])


def image_named(client: Client, name: str) -> dict:
    return next(row for row in client.get("/images") if row["name"] == name)


def test_a_cloud_image_becomes_a_vm_that_knows_who_it_is(panel, server, capsys):
    client, began = Client(panel), time.monotonic()
    marks: list[str] = []

    def mark(what: str) -> None:
        marks.append(f"{what} {time.monotonic() - began:.1f} s")

    wait_until(lambda: client.get("/pools"), 30, "the observer to see the pool")
    wrong = {"url": f"{server}/debian-cloud.qcow2", "name": "wrong", "checksum": "0" * 128}
    refused = panel.finish(client.post("/images", wrong)["id"], client.token, 300)
    assert refused["status"] == "failed" and "SHA-512" in refused["error"], refused
    order = {"url": f"{server}/debian-cloud.qcow2", "name": "cloud", "checksum": f"{server}/SHA512SUMS"}
    client.done(client.post("/images", {**order, "cloud_init": "cloud-init", "os": "debian12"}))
    image = image_named(client, "cloud")
    assert image["state"] == "ready" and "SHA-512" in image["verified"], image
    mark("fetched")
    client.done(client.post("/templates", {"name": "cloud", "image": "cloud"}))
    mark("a template")
    client.post("/ssh-keys", {"text": KEY})
    snippet = {
        "name": "motd",
        "text": "#cloud-config\nwrite_files:\n  - {path: /etc/snippet, content: from the library}\n",
    }
    snippet_id = client.post("/snippets", snippet)["id"]
    order = {
        "template": "cloud", "name": NAME, "cpus": 2, "memory": "512M", "disk_size": "3G", "switch": "nat",
        "start": False,
        "user": "alice", "password": "correct horse", "address": "10.77.0.50/24", "gateway": "10.77.0.1",
        "nameservers": ["10.77.0.1"], "script": REPORT, "snippets": [snippet_id],
        "user_data": "#cloud-config\ntimezone: Europe/Rome\nbootcmd: ['true']\n",
    }  # fmt: skip
    (deployed,) = client.post("/vms/deploy", order)["items"]
    client.done(deployed["task"])
    mark("deployed")
    told = client.get(f"/vms/{NAME}/cloud-init")
    assert told["has_seed"] and told["has_password"] and "correct horse" not in str(told)
    seed = panel.root / f"tank/bhype/vms/{NAME}/seed.iso"
    assert seed.stat().st_mode & 0o777 == 0o600
    client.done(client.post(f"/vms/{NAME}/start"))
    log = panel.root / f"var/run/bhype/vms/{NAME}/serial1.log"
    instance = f"seed {client.get(f'/vms/{NAME}')['uuid']}-1 applied"
    said = functools.partial(_read, log)
    wait_until(lambda: instance in said(), 600, f"cloud-init to write {instance!r} to {log}")
    mark("told")
    report = dict(
        line.split("report ", 1)[1].split("=", 1) for line in said().splitlines() if "report " in line
    )
    assert report["name"] == NAME and report["user"] == "alice 1" and report["hash"] == "$6$", report
    assert report["key"] == KEY and report["address"] == "10.77.0.50/24", report
    assert report["gateway"] == "default via 10.77.0.1" and "10.77.0.1" in report["server"], report
    assert report["zone"] == "Europe/Rome" and report["snippet"] == "from the library", report
    assert int(report["disk"]) > 2500, report
    ask = [panel.root / "sbin/zfs", "get", "-H", "-o", "value", "origin", f"tank/bhype/vms/{NAME}/disk0"]
    origin = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    assert "templates" in origin or "images" in origin, "the disk is a clone: no data was copied"
    with capsys.disabled():
        print(f"\ncloud image: {', '.join(marks)}")  # noqa: T201
    # Its work is done: taken out, it is gone for the next start, and nothing of it stays on the host.
    client.done(client.post(f"/vms/{NAME}/cloud-init/eject")["task"])
    assert not seed.exists()
    client.done(client.post(f"/vms/{NAME}/poweroff"))


def _read(path: Path) -> str:
    return path.read_text(errors="replace").replace("\r", "") if path.exists() else ""
