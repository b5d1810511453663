"""The threats of docs/threat-model.md that apply now, one test each, named after them.

Each is short and shows the heart of its defence; the table names the deeper tests.
"""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings as panel
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bhype.accounts import audit, pamcheck, setup
from bhype.accounts.middleware import _has_own_auth, _rule
from bhype.accounts.models import ApiToken, AuditEntry, Failures, SignIn, User, digest
from bhype.accounts.signin import Throttled, begin_attempt
from bhype.appliance import Layout, services
from bhype.console import tickets, viewers
from bhype.console.gateway import targets
from bhype.console.models import Ticket, Viewer
from bhype.freebsd import zfs
from bhype.freebsd.command import Command
from bhype.freebsd.names import BadName
from bhype.freebsd.zfs import DatasetInfo, Property
from bhype.host import LocalHost
from bhype.outside import address as addressing
from bhype.tasks import OperationFailed, ask, broker, runner
from bhype.tasks.models import Task
from storage.datasets import passphrases
from storage.library import fetching
from tests.console.line import Line
from tests.test_routes import fill, operations, pages, world  # noqa: F401
from vms import parts, place, plan
from vms.forms import EditVMForm, values
from vms.models import VM

STATIC = "/static/bhype/ui.js"
ELSEWHERE = (
    "//example.com/%2F..",
    "//example.com",
    "///example.com/..",
    "/\\example.com",
    "/%5Cexample.com/..",
)
# What most operations of the API would take.
BODY = json.dumps(
    {
        "name": "x1", "size": "1G", "link": "up", "vm": "web1", "switch": "nat", "on": True, "line": "serial",
        "device": "virtio-rnd", "confirm": "web1", "action": "start", "names": ["web1"], "kind": "ova",
    }
)  # fmt: skip
PASSWORD = "correct horse battery"  # as tests.conftest gives it to everybody


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("bhype.accounts.signin.REFUSAL_SECONDS", 0)


@pytest.fixture
def full(admin) -> dict[str, str]:
    """The header of a token that may do everything."""
    _, secret = ApiToken.objects.issue(admin, "t", "full", None)
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}"}


def addresses(methods: set[str], world) -> list[tuple[str, str]]:  # noqa: F811
    """(name, address) of the pages that take one of the methods."""
    found = []
    for name, path, pattern in pages():
        rule = _rule(pattern.callback)
        if rule is not None and rule.methods & methods:
            found.append((name, fill(path, world)))
    return found


def test_t01_console_ticket_is_single_use_and_bound(alice, stranger, vm):
    held = (alice, "session", vm.subject, "vnc")
    for other in (
        (stranger, "session", vm.subject, "vnc"),
        (alice, "another", vm.subject, "vnc"),
        (alice, "session", "vm:999", "vnc"),
        (alice, "session", vm.subject, "serial"),
    ):
        assert tickets.redeem(tickets.issue(*held), *other) is None
    secret = tickets.issue(*held)
    assert panel.CONSOLE_TICKET_SECONDS <= 30 and not Ticket.objects.filter(digest=secret).exists()
    assert tickets.redeem(secret, *held) is not None
    assert tickets.redeem(secret, *held) is None
    late = tickets.issue(*held)
    Ticket.objects.update(created_at="2020-01-01T00:00Z")
    assert tickets.redeem(late, *held) is None


@pytest.mark.parametrize("path", ["/ws/live", "/ws/console/vm/web1/vnc?ticket=x"])
@pytest.mark.parametrize(
    "origin", [None, b"http://evil.example", b"http://localhost:9", b"null", b"https://localhost:8080"]
)
def test_t02_websockets_of_other_origins_are_refused(path, origin):
    from bhype.asgi import application

    headers = [(b"host", b"localhost:8080")] + ([(b"origin", origin)] if origin else [])

    async def dial() -> tuple[bool, object]:
        return await Line(application, path, headers).connect(timeout=30)

    assert async_to_sync(dial)()[0] is False


@pytest.mark.parametrize("path", ELSEWHERE)
def test_t03_no_address_redirects_elsewhere(as_user, admin, path):
    for client in (Client(), as_user(admin)):
        for address in (path, path + "/", "/static/" + path, f"/vms{path}"):
            answer = client.generic("GET", address)
            target = answer.headers.get("Location", "/")
            assert re.match(r"/(?![/\\])", target), (address, target)
            assert "example.com" not in target.partition("?")[0] or target.startswith("/"), target
    page = Client().post(
        reverse("accounts:sign_in"), {"username": "admin", "password": PASSWORD, "next": path}
    )
    # A backslash that is escaped is part of a path; browsers take a bare one for a slash.
    assert page["Location"] == (path if path.startswith("/%5C") else "/vms/")


def test_t04_consoles_are_limited_per_user_and_per_panel(as_user, alice, vm, monkeypatch):
    VM.objects.update(state=VM.State.RUNNING)
    for number in range(viewers.PER_USER):
        Viewer.objects.create(user=alice, session="s", subject=f"vm:{1000 + number}", kind="vnc")
    address = reverse("console:ticket", args=["vm", "web1"])
    assert as_user(alice).post(address).status_code == 429
    Viewer.objects.all().delete()
    monkeypatch.setattr(viewers, "PER_HOST", 0)
    assert as_user(alice).post(address).status_code == 429


def test_t05_vnc_listens_on_loopback_with_a_password_that_no_list_shows(vm):
    assert plan.document(vm)["graphic"]["host"] == "127.0.0.1"
    assert vm.vnc_password not in plan.command_line(vm) + json.dumps(plan.without_secrets(plan.document(vm)))
    with pytest.raises(targets.Unreachable):
        targets.vnc_address(
            {"vnc": {"host": "192.0.2.1", "port": 5900}, "pid": os.getpid(), "state": "running"}
        )


@pytest.mark.parametrize(
    "hostile", ["-rf", "a;b", "$(id)", "a\nb", "a\0b", "a@b", "a%b", "`id`", "a b", "a,b", "../a"]
)
def test_t06_hostile_words_reach_no_argv(vm, full, client, hostile):
    answer = client.post("/api/v1/vms", {"name": hostile}, content_type="application/json", **full)
    assert answer.status_code == 422 and answer.json()["field"] == "name"
    vm.name = hostile
    assert place.problem_of(vm), "the worker looks again"
    with pytest.raises(BadName):
        zfs.create_filesystem(f"tank/{hostile}")


def test_t07_paths_stay_below_their_roots_and_links_are_not_followed(tmp_path):
    host = LocalHost(str(tmp_path))
    for path in ("../etc/passwd", "/a/../../etc", "etc", "/a\0b"):
        with pytest.raises(ValueError, match="absolute path"):
            host.path(path)
    precious = tmp_path / "precious"
    precious.write_text("x")
    (tmp_path / "vm.json").symlink_to(precious)
    (tmp_path / f"vm.json.{os.getpid()}.new").symlink_to(precious)
    with pytest.raises(OSError):
        host.write_text("/vm.json", "overwritten")
    host.write_text("/vm.json", "{}")
    assert precious.read_text() == "x" and not (tmp_path / "vm.json").is_symlink()


def test_t08_a_url_leads_to_no_private_address():
    for text in (
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "fe80::1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
    ):
        assert not addressing.is_allowed(text, [])
        assert addressing.is_allowed(text, addressing.networks(["0.0.0.0/0", "::/0"]))
    for url in (
        "file:///etc/passwd",
        "gopher://x/",
        "http://user:word@example.com/",
        "http:///x",
        "http://a b/",
    ):
        assert fetching.problem_of(url)


@pytest.mark.parametrize(
    "key", ["args", "extra_options", "post_start_script", "raw", "passthru", "path", "uuid", "state"]
)
def test_t09_t10_keys_that_are_root_are_refused(full, client, vm, key):
    """There is no import and no key for free bhyve options: unknown keys are refused, not passed on."""
    body = {"name": "x1", key: "/bin/sh"}
    assert client.post("/api/v1/vms", body, content_type="application/json", **full).status_code == 422
    assert (
        client.patch("/api/v1/vms/web1", {key: "x"}, content_type="application/json", **full).status_code
        == 422
    )
    assert key in {"uuid", "path"} or key not in json.dumps(plan.document(vm))


def test_t11_no_client_chooses_the_stage_of_signing_in(client, admin):
    """One step, whose state is the server's: whatever a client says it has done already counts for nothing."""
    for claim in (
        {},
        {"tfa-challenge": "1", "stage": "2"},
        {"authenticated": "1", "user": "admin", "role": "admin"},
    ):
        client.post(reverse("accounts:sign_in"), {"username": "admin", **claim})
        client.cookies[panel.SESSION_COOKIE_NAME] = "a" * 32
        assert client.get("/vms/").status_code == 302
    guessed = client.session.session_key
    client.post(reverse("accounts:sign_in"), {"username": "admin", "password": PASSWORD})
    assert client.get("/vms/").status_code == 200
    assert client.session.session_key not in {guessed, "a" * 32}


def test_t12_guessing_is_counted_per_user_in_the_database(client, admin):
    for _ in range(5):
        client.post(reverse("accounts:sign_in"), {"username": "admin", "password": "wrong"})
    assert Failures.objects.get(key="user:admin").count == 5
    answer = Client().post(reverse("accounts:sign_in"), {"username": "admin", "password": PASSWORD})
    assert answer.status_code == 429 and int(answer["Retry-After"]) > 0
    with pytest.raises(Throttled):
        begin_attempt("user:admin", "address:192.0.2.1")


def test_t13_every_view_declares_who_may_open_it():
    for name, _path, pattern in pages():
        assert _rule(pattern.callback) is not None or _has_own_auth(pattern.callback), name
    public = {name for name, _, pattern in pages() if _rule(pattern.callback).right is None}
    assert public == {"accounts:sign_in", "accounts:setup", "ui:favicon"}


def test_t14_missing_and_forbidden_are_one_answer(world, stranger):  # noqa: F811
    _, secret = ApiToken.objects.issue(stranger, "t", "full", None)
    client = Client(HTTP_AUTHORIZATION=f"Bearer {secret}")
    asked = [(method, path) for method, path in operations() if "{name}" in path and "/vms/" in path]
    assert len(asked) > 40
    for method, path in asked:
        # A body that is refused before the look is refused alike.
        for body in ("", "{}", BODY):
            there, missing = (
                client.generic(method, path.format(**world | {"name": name}), body, "application/json")
                for name in ("web1", "no-such")
            )
            assert (there.status_code, there.content) == (missing.status_code, missing.content), (
                method,
                path,
            )
            assert there.status_code in {404, 422}, (method, path, there.status_code)
    assert VM.objects.visible_to(stranger).filter(name__icontains="%").count() == 0


def test_t15_nothing_changes_without_a_csrf_token_or_by_get(world, admin):  # noqa: F811
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin, backend="bhype.accounts.backends.PanelBackend")
    world["session"] = 1
    count = Task.objects.count(), User.objects.count(), VM.objects.count(), ApiToken.objects.count()
    for name, address in addresses({"POST"}, world):
        assert (
            client.post(address, {"name": "web1", "action": "start", "confirm": "alice"}).status_code == 403
        ), name
        forged = client.post(
            address,
            {"action": "start"},
            HTTP_REFERER="http://evil.example/",
            HTTP_ORIGIN="http://evil.example",
        )
        assert forged.status_code == 403, name
    for name, path, pattern in pages():
        rule = _rule(pattern.callback)
        if rule is not None and "GET" not in rule.methods:
            assert client.get(fill(path, world)).status_code == 405, name
    for method, path in operations():
        if method not in {"GET", "HEAD", "OPTIONS"}:
            address = re.sub(r"\{(\w+)\}", lambda match: str(world[match.group(1)]), path)
            answer = client.generic(method, address, "{}", content_type="application/json")
            assert (answer.status_code, answer.json()["code"]) == (403, "csrf"), (method, path)
    assert count == (Task.objects.count(), User.objects.count(), VM.objects.count(), ApiToken.objects.count())
    assert panel.SESSION_COOKIE_SAMESITE == "Lax"


def test_t16_text_from_guests_stays_text(world, as_user, admin):  # noqa: F811
    hostile = "\x1b[31m<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    VM.objects.update(reason=hostile, notes=hostile, state=VM.State.FAILED)
    Task.objects.update(error=hostile, title=hostile, stage=hostile)
    AuditEntry.objects.update(object=hostile[:128], detail={"said": hostile})
    client = as_user(admin)
    for name, address in addresses({"GET"}, world):
        answer = client.get(address)
        if answer.headers["Content-Type"].startswith("text/html"):
            text = b"".join(answer).decode()
            assert "<script>alert" not in text and "<img src=x" not in text, name


def test_t17_every_answer_keeps_frames_and_sniffers_out(world, as_user, admin, full):  # noqa: F811
    client = as_user(admin)
    answers = [client.get(address) for _, address in addresses({"GET"}, world)]
    answers += [client.get("/no/such"), client.get(STATIC), client.get("/vms/", HTTP_HOST="evil.example")]
    answers += [Client().get("/vms/"), Client().get("/api/v1/vms", **full), client.get("/api/v1/docs")]
    for answer in answers:
        where = answer.request["PATH_INFO"]
        assert b"".join(answer) or answer.status_code in {204, 301, 302}, where
        assert "frame-ancestors 'none'" in answer["Content-Security-Policy"], where
        assert "'unsafe-inline'" not in answer["Content-Security-Policy"].partition("style-src")[0], where
        assert answer["X-Content-Type-Options"] == "nosniff", where
        assert answer["X-Frame-Options"] == "DENY", where
        assert answer["Referrer-Policy"] == "same-origin", where


def test_t17_other_host_names_are_refused(client, db):
    for name in (
        "evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "evil.example:8080",
        "",
        "[::1",
    ):
        assert client.get("/accounts/sign-in/", HTTP_HOST=name).status_code == 400, name


def test_t18_a_vm_has_few_devices_and_no_loader(vm):
    command = plan.command_line(vm)
    assert {word.split(",")[1] for word in re.findall(r"-s (\S+)", command)} == {
        "hostbridge", "lpc", "virtio-blk", "virtio-net", "fbuf", "xhci",
    }  # fmt: skip
    assert not re.search(r"fwcfg|tpm|passthru|bhyveload|hda", command)


def test_t20_web_and_gateway_are_not_root_and_the_worker_believes_no_row(vm, stranger, settings):
    layout = Layout.from_environment()
    layout.privileged = True
    assert {service.name for service in services(layout) if not service.unprivileged} == {
        "authd",
        "worker",
        "observer",
    }
    # A row that the web process has written, with another's VM, an operation of the system's, and with nonsense.
    settings.HOST_NAME = "lab"
    for operation, params in (
        ("vms.delete", {"vm_id": vm.pk}),
        ("vms.recover", {"vm_id": vm.pk}),
        ("os.system", {"command": "id"}),
        ("vms.start", ["a"]),
        ("vms.stop", {"vm_id": vm.pk, "timeout": 10**9}),
    ):
        Task.objects.create(host="lab", operation=operation, params=params, user=stranger, title="x")
    # Neither has one without a user the system's rights.
    Task.objects.create(host="lab", operation="vms.delete", params={"vm_id": vm.pk}, user=None, title="x")
    ended = runner.run_queued()
    assert [task.status for task in ended] == ["failed"] * 6
    assert VM.objects.get().state == VM.State.STOPPED
    # What crosses to the workers is a number and a word, signed with a key that only they have.
    package = broker.SignedPackage.loads(broker._hand_over(7, "claim:x"))
    assert (package["func"], package["args"]) == ("bhype.tasks.runner.run", (7, "claim:x"))


def test_t21_secrets_are_hashed_hidden_and_out_of_reach_of_scripts(client, admin, vm):
    row, secret = ApiToken.objects.issue(admin, "t", "read", None)
    assert secret not in json.dumps({"d": row.digest, "h": row.hint}) and row.digest == digest(secret)
    answer = client.post(reverse("accounts:sign_in"), {"username": "admin", "password": PASSWORD})
    cookie = answer.cookies[panel.SESSION_COOKIE_NAME]
    assert cookie["httponly"] and cookie["samesite"] == "Lax"
    assert SignIn.objects.get().session_key == cookie.value
    line = audit.record(None, "x", secret, {"password": "hunter22", "text": f"see {secret}"})
    assert secret not in f"{line.object}{line.detail}" and "hunter22" not in str(line.detail)
    assert vm.vnc_password not in client.get("/vms/web1/raw/").content.decode()
    half = passphrases.seal("the words of a key")
    other = panel.RUN_DIR / "sealed" / half.partition(".")[0]
    assert b"words" not in other.read_bytes() and passphrases.take(half) == "the words of a key"
    assert not other.exists()


def test_t22_there_is_no_default_password_and_one_first_admin(client, db):
    assert not User.objects.exists()
    code = setup.issue()
    assert code and client.get(f"/setup/{'x' * 43}/").status_code == 404
    form = {
        "kind": "panel",
        "username": "boss",
        "password": "a long enough one",
        "again": "a long enough one",
    }
    assert client.post(f"/setup/{code}/", form).status_code == 302
    assert User.objects.get().role == "admin"
    assert Client().post(f"/setup/{code}/", form | {"username": "second"}).status_code == 404
    assert setup.issue() is None


@pytest.mark.parametrize("mark", ["", "11111111-2222-3333-4444-555555555555", "inherited"])
def test_t25_only_what_carries_the_vms_own_mark_is_destroyed(vm, mark):
    ran: list[Command] = []

    def query(question):
        if question.command.argv[1] == "get":
            inherited = mark == "inherited"
            return Property(str(vm.uuid), "inherited from tank" if inherited else "local")
        name = str(vm.uuid) if mark == "inherited" else mark or None
        return [DatasetInfo(vm.dataset, "filesystem", 1, 1, 1, 0, "/" + vm.dataset, None, name)]

    run = SimpleNamespace(host=SimpleNamespace(query=query, run=ran.append), stage=lambda *_, **__: None)
    with pytest.raises(OperationFailed, match="left alone"):
        parts.remove(run, vm)
    assert ran == []
    with pytest.raises(BadName):
        zfs.destroy("tank", recursive=True)


def test_t26_double_clicks_make_one_task_and_stale_forms_change_nothing(vm, alice):
    assert ask("vms.start", {"vm_id": vm.pk}, alice) == ask("vms.start", {"vm_id": vm.pk}, alice)
    assert Task.objects.get().lock == f"vm:{vm.pk}"
    forms = [
        EditVMForm(values(vm) | {"cpus": cpus, "revision": vm.revision}, user=alice, vm=vm) for cpus in (3, 4)
    ]
    assert all(form.is_valid() for form in forms)
    assert [form.save(alice) is not None for form in forms] == [True, False]
    assert forms[1].is_stale and VM.objects.get().cpus == 3


def test_t27_work_is_bounded(full, client, vm, alice):
    for _ in range(50):
        ask("vms.start", {"vm_id": vm.pk}, alice)
    assert Task.objects.count() == 1
    huge = client.generic("POST", "/api/v1/vms", b" " * 3_000_000, content_type="application/json", **full)
    assert huge.status_code in {400, 413}
    assert client.get("/api/v1/vms?limit=100000", **full).status_code == 422
    assert Command(("/bin/ls",)).timeout <= 60


def test_t29_pam_is_asked_by_its_own_service_and_not_for_root(db):
    assert panel.PAM_SERVICE not in {"login", "system", "other", "sshd", "su"} and panel.PAM_GROUPS
    assert "nullok" not in pamcheck.pam_service_text()
    assert pamcheck.why_not("root", panel.PAM_GROUPS)
    assert pamcheck.why_not("nobody", panel.PAM_GROUPS), "no shell, no group"
    assert pamcheck.check("root\0x", "x", [], panel.PAM_SERVICE) != pamcheck.OK
    # Only authd talks to PAM; what web imports does not.
    from bhype.accounts import backends

    assert not hasattr(backends, "pam")


def changes(client: Client, method: str, address: str, body: object, kind: str) -> tuple[bool, bool]:
    """Whether a request changes rows, and whether it is on record; all of it is taken back."""
    with transaction.atomic():
        before, noted = rows_but_audit(), AuditEntry.objects.count()
        client.generic(method, address, body, kind)
        found = rows_but_audit() != before, AuditEntry.objects.count() > noted
        transaction.set_rollback(True)
    return found


def rows_but_audit() -> list[object]:
    # What signing in, and a token that is used, write of themselves is none of it.
    kept = {"sessions.Session", "live.Event", "accounts.AuditEntry", "accounts.SignIn", "accounts.Failures",
            "console.Ticket", "tasks.Waker"}  # fmt: skip
    models = [model for model in apps.get_models() if model._meta.label not in kept]
    return [list(model._default_manager.order_by("pk").values()) for model in models]


def test_t30_no_page_and_no_operation_changes_anything_without_a_record(world, as_user, admin, full):  # noqa: F811
    form = {
        **json.loads(BODY),
        "do": "detach",
        "what": "disk",
        "answer": "again",
        "slot": "0:4:0",
        "revision": "1",
    }
    changed = set()
    for pages_form in (
        form,
        {**form, "do": "start", "name": "web2"},
        {"has_recording": "on", "link": "down"},
    ):
        body = urlencode({key: value for key, value in pages_form.items() if isinstance(value, str)})
        for name, address in addresses({"POST"}, world | {"session": 1}):
            does, noted = changes(as_user(admin), "POST", address, body, "application/x-www-form-urlencoded")
            assert noted or not does, name
            changed |= {name} if does else set()
    client = Client(**full)
    # When a token was used is noted once a minute; not meanwhile, however long this takes.
    ApiToken.objects.update(last_used_at=timezone.now() + timedelta(days=1))
    for method, path in operations():
        if method not in {"GET", "HEAD", "OPTIONS"}:
            address = re.sub(r"\{(\w+)\}", lambda match: str(world[match.group(1)]), path)
            for text in ("", "{}", BODY):
                does, noted = changes(client, method, address, text, "application/json")
                assert noted or not does, (method, path)
                changed |= {f"{method} {path}"} if does else set()
    assert len(changed) > 30, changed


def test_t30_what_people_do_is_on_record_and_stays(as_user, admin, vm):
    Client().post(reverse("accounts:sign_in"), {"username": "admin", "password": "wrong"})
    client = as_user(admin)
    client.post("/vms/web1/action/", {"action": "start"})
    client.post(reverse("accounts:token_add"), {"name": "t", "scope": "read", "days": "30"})
    client.post(reverse("accounts:sign_out"))
    rows = {entry.action: entry for entry in AuditEntry.objects.all()}
    assert {"sign_in.failed", "vms.start", "token.create", "sign_out"} <= set(rows)
    assert (rows["vms.start"].username, rows["vms.start"].address) == ("admin", "127.0.0.1")
    assert rows["vms.start"].task_id == Task.objects.get().pk
    for path in (panel.BASE_DIR / "bhype").rglob("*.py"):
        assert not re.search(r"AuditEntry\.objects[^\n]*\.(update|delete)\(", path.read_text()), path
