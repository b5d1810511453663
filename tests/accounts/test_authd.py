"""authd, the real process, with real local users and real PAM."""

from __future__ import annotations

import json
import os
import secrets
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from django.conf import settings

from bhype.accounts import authd_client, pamcheck
from bhype.accounts.authd import peer_uid
from bhype.accounts.models import User
from bhype.accounts.signin import authd_socket

PASSWORD = "Grüße aus dem Keller 42"


def run(*words: str, stdin: str | None = None) -> None:
    subprocess.run(words, input=stdin, text=True, check=True, capture_output=True)


class Authd:
    """A running authd. ``log`` is what it said."""

    def __init__(self, path: Path, groups: list[str], service: str):
        self.path = path
        self.log_file = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by stop()
        words = [sys.executable, "-m", "bhype.accounts.authd", "--socket", str(path), "--service", service]
        for group in groups:
            words += ["--group", group]
        self.process = subprocess.Popen(words, cwd=settings.BASE_DIR, stderr=self.log_file)
        end = time.monotonic() + 60
        while not authd_client.is_up(path):
            assert time.monotonic() < end and self.process.poll() is None, self.log
            time.sleep(0.02)

    @property
    def log(self) -> str:
        self.log_file.seek(0)
        return self.log_file.read()

    def check(self, user: str, password: str, address: str = "192.0.2.1") -> authd_client.Answer:
        return authd_client.check(self.path, user, password, address)

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0
        self.log_file.close()


@pytest.fixture(scope="module")
def service():
    """A PAM service file with the panel's content, under a name of its own: a panel may run beside us."""
    name = f"bhype-test-{secrets.token_hex(4)}"
    path = Path(pamcheck.install_service(name))
    yield name
    path.unlink()


@pytest.fixture(scope="module")
def people(service):
    """Temporary local users in a temporary group: name -> account."""
    tag = secrets.token_hex(4)
    group = f"bhg{tag}"
    kinds = ["good", "locked", "starred", "expired", "empty", "outside", "nologin", "mustchange"]
    names = {kind: f"bh{kind[:6]}{tag}" for kind in kinds}
    run("groupadd", group)
    try:
        for kind, name in names.items():
            shell = "/usr/sbin/nologin" if kind == "nologin" else "/bin/sh"
            member = [] if kind == "outside" else ["-G", group]
            run("useradd", "-M", "-s", shell, *member, name)
            run("chpasswd", stdin=f"{name}:{PASSWORD}\n")
        run("usermod", "-L", names["locked"])
        run("usermod", "-p", "*", names["starred"])
        run("usermod", "-e", "2001-01-01", names["expired"])
        run("passwd", "-d", names["empty"])
        run("chage", "-d", "0", names["mustchange"])
        yield names | {"group": group, "service": service}
    finally:
        for name in names.values():
            subprocess.run(["userdel", "-f", name], check=False, capture_output=True)
        subprocess.run(["groupdel", group], check=False, capture_output=True)


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="bha-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def authd(folder, people):
    daemon = Authd(folder / "authd.sock", [people["group"], "no-such-group"], people["service"])
    yield daemon
    daemon.stop()


@pytest.mark.root
def test_a_member_of_the_group_signs_in_with_the_right_password_only(authd, people):
    assert authd.check(people["good"], PASSWORD) == authd_client.Answer(ok=True, reason="")
    for wrong in (
        "wrong",
        PASSWORD + " ",
        PASSWORD.upper(),
        "",
        "\0",
        PASSWORD + "\0",
        "x" * 5000,
        "ü" * 300,
    ):
        assert authd.check(people["good"], wrong, "").reason == "refused"
        authd_client.unlock(authd.path, people["good"])
    assert PASSWORD not in authd.log


@pytest.mark.root
@pytest.mark.parametrize("kind", ["locked", "starred", "outside", "nologin"])
def test_accounts_that_may_not_sign_in_are_refused_with_the_right_password(authd, people, kind):
    assert authd.check(people[kind], PASSWORD).reason == "refused"
    assert people[kind] in authd.log


@pytest.mark.root
def test_an_account_without_a_password_is_refused(authd, people):
    for password in ("", "x", PASSWORD):
        assert authd.check(people["empty"], password).reason == "refused"


@pytest.mark.root
@pytest.mark.parametrize("kind", ["expired", "mustchange"])
def test_an_expired_account_is_told_so_after_the_right_password_only(authd, people, kind):
    assert authd.check(people[kind], "wrong").reason == "refused"
    assert authd.check(people[kind], PASSWORD) == authd_client.Answer(ok=False, reason="expired")


@pytest.mark.root
@pytest.mark.parametrize(
    "name", ["root", "nobody", "no-such-user-here", "", "-x", "a/b", "x" * 65, "a\n", "\u0430dmin"]
)
def test_others_are_refused_and_unknown_names_are_not_logged(authd, name):
    assert authd.check(name, PASSWORD).reason == "refused"
    assert "no-such-user-here" not in authd.log


@pytest.mark.root
def test_refusals_take_the_same_time_whatever_the_reason(authd, people):
    times = []
    for name in (people["good"], people["locked"], people["outside"], "no-such-user-here", "root", "a/b"):
        started = time.monotonic()
        authd.check(name, "wrong")
        times.append(time.monotonic() - started)
    assert min(times) >= 0.6


@pytest.mark.root
def test_five_failures_lock_the_name_and_root_unlocks_it(authd, people):
    for _ in range(5):
        assert authd.check(people["good"], "wrong", "").reason == "refused"
    answer = authd.check(people["good"], PASSWORD)
    assert answer.reason == "throttled" and 0 < answer.retry_after <= 30
    assert authd.check(people["expired"], PASSWORD).reason == "expired"
    assert authd_client.unlock(authd.path, people["good"]).ok
    assert authd.check(people["good"], PASSWORD).ok


@pytest.mark.root
def test_guesses_in_parallel_are_counted_as_well(authd, people):
    def ask() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(authd.path))
        line = {"user": people["good"], "password": "wrong", "address": "192.0.2.5"}
        connection.sendall(json.dumps(line).encode() + b"\n")
        return connection

    connections = [ask() for _ in range(12)]
    reasons = []
    for connection in connections:
        with connection, connection.makefile("rb") as lines:
            reasons.append(json.loads(lines.readline())["reason"])
    assert reasons.count("refused") <= 5 and reasons.count("throttled") >= 7


@pytest.mark.root
def test_nonsense_on_the_socket_does_not_disturb_others(authd, people):
    idle = socket.socket(socket.AF_UNIX)
    idle.connect(str(authd.path))
    for data in (
        b"\n",
        b"{}\n",
        b"[]\n",
        b'{"user": 1, "password": []}\n',
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
        b"x" * 20000,
    ):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(authd.path))
            try:
                connection.sendall(data)
                answer = connection.recv(1000)
            except ConnectionError:
                answer = b""
            assert answer == b"" or json.loads(answer)["ok"] is False
    assert authd.check(people["good"], PASSWORD).ok
    idle.close()


@pytest.mark.root
def test_the_socket_belongs_to_the_folders_group_and_strangers_are_not_heard(folder, people):
    os.chown(folder, -1, 12345)
    daemon = Authd(folder / "authd.sock", [people["group"]], people["service"])
    try:
        mode = daemon.path.stat()
        assert stat.S_IMODE(mode.st_mode) == 0o660 and mode.st_gid == 12345
        folder.chmod(0o755)
        daemon.path.chmod(0o666)
        script = (
            f"from socket import *; s = socket(AF_UNIX); s.connect({str(daemon.path)!r}); print(s.recv(9))"
        )
        # Not root, not the service user: the connection is closed unheard.
        heard = subprocess.run(
            ["/usr/bin/env", "python3", "-c", script],
            user=65534,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert heard.stdout.strip() == "b''" or "ConnectionReset" in heard.stderr, heard.stderr
    finally:
        daemon.stop()
    assert not daemon.path.exists()


@pytest.mark.root
def test_without_its_service_file_it_is_unavailable(folder, people):
    daemon = Authd(folder / "authd.sock", [people["group"]], "bhype-no-such-service")
    try:
        assert daemon.check(people["good"], PASSWORD).reason == "unavailable"
        assert "missing" in daemon.log
    finally:
        daemon.stop()


@pytest.mark.root
def test_a_second_authd_does_not_take_the_socket_over(authd):
    second = subprocess.run(
        [sys.executable, "-m", "bhype.accounts.authd", "--socket", str(authd.path)],
        cwd=settings.BASE_DIR, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert second.returncode == 1 and "another authd" in second.stderr
    assert authd_client.is_up(authd.path)


@pytest.mark.root
def test_a_killed_authd_leaves_a_socket_that_the_next_one_replaces(folder, people):
    first = Authd(folder / "authd.sock", [people["group"]], people["service"])
    first.process.kill()
    first.process.wait()
    first.log_file.close()
    second = Authd(folder / "authd.sock", [people["group"]], people["service"])
    assert second.check(people["good"], PASSWORD).ok
    second.stop()


@pytest.mark.root
def test_a_check_that_outlives_its_authd_does_not_keep_the_next_from_serving(folder, people):
    slow, at_work, service = folder / "slow", folder / "at-work", f"{people['service']}-slow"
    slow.write_text(f"#!/bin/sh\ntouch {at_work}\nsleep 2\n")
    slow.chmod(0o755)
    file = Path("/etc/pam.d") / service
    file.write_text(f"auth required pam_exec.so {slow}\naccount required pam_permit.so\n")
    try:
        first = Authd(folder / "authd.sock", [people["group"]], service)
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(first.path))
            asking.sendall(json.dumps({"user": people["good"], "password": PASSWORD}).encode() + b"\n")
            end = time.monotonic() + 60
            while not at_work.exists():
                assert time.monotonic() < end, first.log
                time.sleep(0.02)
            first.process.kill()
            first.process.wait()
            first.log_file.close()
            second = Authd(folder / "authd.sock", [people["group"]], people["service"])
            assert second.check(people["good"], PASSWORD).ok
            second.stop()
    finally:
        file.unlink()


@pytest.mark.root
def test_it_is_small(authd, people):
    authd.check(people["good"], PASSWORD)
    status = Path(f"/proc/{authd.process.pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0])
    assert resident < 30_000, "kB"


@pytest.mark.root
def test_a_system_user_signs_in_to_the_panel(db, client, people):
    path = authd_socket()
    path.parent.mkdir(parents=True, exist_ok=True)
    daemon = Authd(path, [people["group"]], people["service"])
    try:
        form = {"username": people["good"], "password": PASSWORD}
        assert client.post("/accounts/sign-in/", form | {"password": "wrong"}).status_code == 422
        assert client.post("/accounts/sign-in/", form).status_code == 302
        row = User.objects.get()
        assert (row.username, row.source, row.role) == (people["good"], "pam", "")
    finally:
        daemon.stop()


@pytest.mark.root
def test_a_system_account_becomes_the_first_admin_with_its_own_password(db, client, people):
    from bhype.accounts import setup

    path = authd_socket()
    path.parent.mkdir(parents=True, exist_ok=True)
    daemon = Authd(path, [people["group"]], people["service"])
    try:
        link = f"/setup/{setup.issue()}/"
        form = {"kind": "system", "username": people["good"], "password": PASSWORD}
        assert client.post(link, form | {"username": people["outside"]}).status_code == 422
        assert client.post(link, form).status_code == 302
        assert User.objects.get(role="admin").username == people["good"]
    finally:
        daemon.stop()


def test_an_authd_that_is_away_is_unavailable(folder):
    assert authd_client.check(folder / "none.sock", "a", "b", "").reason == "unavailable"
    assert not authd_client.is_up(folder / "none.sock")


def test_the_peer_is_known_by_the_kernel():
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        assert peer_uid(left) == os.geteuid()


def test_the_service_file_lets_nobody_in_without_a_password():
    text = pamcheck.pam_service_text()
    assert "auth     required pam_unix.so" in text and "account  required pam_unix.so" in text
    assert "nullok" not in text and "pam_permit" not in text


def test_the_service_file_for_freebsd_has_only_words_that_openpam_knows(monkeypatch):
    monkeypatch.setattr(pamcheck, "_ON_LINUX", False)
    for line in pamcheck.pam_service_text().splitlines():
        if not line.startswith("#"):
            facility, control, module, *words = line.split()
            assert facility in {"auth", "account", "session", "password"} and control == "required"
            assert module in {"pam_unix.so", "pam_deny.so"} and words in ([], ["no_warn"])
