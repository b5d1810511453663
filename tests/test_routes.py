"""Walks every address of the panel and the API as nobody, stranger, owner, viewer, operator and admin.

No GET changes anything, nothing leaks to those who may not see it, and what is not allowed looks like what is missing.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.core import serializers
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from bhype.accounts.models import ApiToken, AuditEntry, SshKey
from bhype.api import description
from bhype.tasks.models import Task
from network.models import (
    Aggregation,
    Alias,
    BlockedPacket,
    DnsRecord,
    Forward,
    HostChange,
    Lease,
    Mesh,
    MeshPeer,
    Rule,
    Ruleset,
)
from storage.models import (
    CatalogueEntry,
    Dataset,
    Image,
    Iso,
    Snapshot,
    SnapshotPolicy,
    SnapshotTarget,
    Upload,
)
from vms.models import VM, Snippet, Template

# Words that only those who may see the VM may ever read.
SECRETS = ("web1", "Secret plans", "58:9c:fc:00:00:01", "pw123456")
PUBLIC = {"accounts:sign_in", "ui:favicon", "ui:health"}


@pytest.fixture
def world(vm, host, pool, switch, alice, stranger, viewer, operator, admin):
    """One of everything, all of it alice's or the host's."""
    VM.objects.filter(pk=vm.pk).update(notes="Secret plans")
    iso = Iso.objects.create(pool=pool, name="debian.iso", size=1)
    task = Task.objects.create(
        host="lab", operation="vms.start", title="Start web1", params={"vm": vm.pk}, user=alice, subject=vm.subject,
        status=Task.Status.FAILED, error="Secret plans",
    )  # fmt: skip
    snippet = Snippet.objects.create(owner=alice, name="Secret plans", text="#cloud-config\n# Secret plans\n")
    key = SshKey.objects.create(
        user=alice, name="Secret plans", text="ssh-ed25519 AAAA", fingerprint="SHA256:x"
    )
    dataset = Dataset.objects.create(
        pool=pool, name=vm.dataset, kind="filesystem", bhype_id=str(vm.uuid), encryption_root=vm.dataset
    )
    taken = Snapshot.objects.create(
        dataset=dataset,
        name="Secret plans",
        guid="1",
        created_at=vm.created_at,
        kind="manual",
        note="Secret plans",
    )
    policy = SnapshotPolicy.objects.create(host=host, name="Secret plans", notes="Secret plans")
    SnapshotTarget.objects.create(policy=policy, kind="vm", value=str(vm.uuid))
    token, _ = ApiToken.objects.issue(alice, "Secret plans", "read", None)
    template = Template.objects.create(
        host=host, pool=pool, name="golden", state="ready", notes="Secret plans"
    )
    image = Image.objects.create(pool=pool, name="debian12", state="ready")
    upload = Upload.objects.create(pool=pool, user=alice, name="Secret plans.img", size=5)
    record = DnsRecord.objects.create(switch=switch, name="www", kind="A", value="10.77.0.5")
    lease = Lease.objects.create(
        switch=switch, address="10.77.0.123", mac="58:9c:fc:00:00:01", hostname="web1"
    )
    AuditEntry.objects.create(username="alice", action="vms.start", object="web1")
    return firewall(vm) | {
        "record": record.pk, "lease": lease.pk,
        "image": image.pk, "upload": upload.uuid, "entry": CatalogueEntry.objects.first().pk,
        "vm": vm.name, "name": vm.name, "switch": switch.name, "pool": pool.name, "host": host.name, "iso": iso.pk,
        "dataset": dataset.name, "snapshot": taken.pk, "policy": policy.pk,
        "task": task.pk, "pk": task.pk, "id": task.pk, "task_id": task.pk, "token": token.pk, "token_id": token.pk,
        "user": "alice", "username": "alice", "user_id": alice.pk, "what": "vm", "kind": "vm", "subject": "vm",
        "snippet": snippet.pk, "snippet_id": snippet.pk, "ssh_key": key.pk, "key_id": key.pk,
        "template": template.pk, "template_id": template.pk, "preset": "debian12",
        "code": "0" * 40, "path": "x", "key": "x", "session": "x", "tab": "hardware", "action": "start", "index": 0,
        "file": "x.ova", "section": "processor", "device": "virtio-rnd", "slot": "0-4-0",
        "pool_id": 1, "allocation_id": 1,
    }  # fmt: skip


def firewall(vm: VM) -> dict[str, int]:
    """One of each row that rules are made of, and one that waits for its confirmation."""
    host, about = vm.host, {"subject": f"vm:{vm.uuid}", "note": "Secret plans"}
    change = HostChange.objects.create(host=host, name="firewall", state="waiting", note="1")
    Ruleset.objects.create(host=host, number=1, state="pending", reason="Secret plans")
    BlockedPacket.objects.create(
        host=host, at=vm.created_at, action="block", direction="in", interface="sw-nat", protocol="tcp",
        source="10.77.0.123", target="192.0.2.1", label="bhype:rule:1",
    )  # fmt: skip
    mesh = Mesh.objects.create(name=vm.name, network="10.99.0.0/24")
    MeshPeer.objects.create(mesh=mesh, host=host, name="Secret plans", address="10.99.0.1")
    peer = MeshPeer.objects.create(mesh=mesh, name="laptop", address="10.99.0.2")
    lagg = Aggregation.objects.create(host=host, name="lagg0", members=["em1"])
    return {
        "aggregation": lagg.name,
        "number": 1, "change": change.pk, "mesh": mesh.name, "peer": peer.pk,
        "alias": Alias.objects.create(host=host, name="plans", kind="hosts", note="Secret plans").pk,
        "rule": Rule.objects.create(host=host, direction="in", action="block", is_logged=True, **about).pk,
        "forward": Forward.objects.create(host=host, port=2222, target_port=22, **about).pk,
    }  # fmt: skip


def pages(patterns=None, prefix="", namespace="") -> Iterator[tuple[str, str, URLPattern]]:
    """(name, path with <kwargs>, pattern) of every page; the API is walked by its own description."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(entry, URLResolver):
            if entry.namespace == "api":
                continue
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from pages(entry.url_patterns, prefix + str(entry.pattern), inner)
        else:
            yield f"{namespace}{entry.name}", prefix + str(entry.pattern), entry


def fill(path: str, world: dict) -> str:
    def value(match: re.Match) -> str:
        return str(world[match.group(2)])

    return "/" + re.sub(r"<(\w+:)?(\w+)>", value, path)


def snapshot() -> str:
    """The whole database as text, but for what signing in itself writes."""
    rows = []
    for model in apps.get_models():
        if model._meta.label not in {"sessions.Session", "live.Event"}:
            rows += serializers.serialize("python", model._default_manager.order_by("pk"))
    return json.dumps(rows, default=str)


@contextlib.contextmanager
def statements() -> Iterator[list[str]]:
    """What is asked of the database that may change it."""
    found: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.split(None, 1)[0].upper() not in {"SELECT", "WITH", "EXPLAIN", "SAVEPOINT", "RELEASE"}:
            found.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield found


def test_every_page_is_declared(db):
    names = [name for name, _, _ in pages()]
    assert len(names) > 25
    assert len(names) == len(set(names))


def test_nobody_sees_nothing_but_the_sign_in(world):
    for name, path, _ in pages():
        answer = Client().get(fill(path, world))
        text = b"".join(answer).decode(errors="replace")
        if name in PUBLIC or path.startswith("setup/"):
            assert answer.status_code in {200, 204, 301, 302, 404}, (name, answer.status_code)
        else:
            assert answer.status_code in {302, 401, 404, 405}, (name, answer.status_code)
            if answer.status_code == 302:
                assert answer["Location"].startswith("/accounts/sign-in/"), name
        assert not any(secret in text for secret in SECRETS), name


@pytest.mark.parametrize("role", ["alice", "stranger", "viewer", "operator", "admin"])
def test_no_get_changes_anything(world, as_user, request, role):
    client = as_user(request.getfixturevalue(role))
    client.get("/vms/")  # whatever the first page of a session writes
    before = snapshot()
    for name, path, _ in pages():
        with statements() as said:
            answer = client.get(fill(path, world))
            b"".join(answer)
        assert answer.status_code in {200, 204, 301, 302, 404, 405}, (name, answer.status_code)
        assert not said or snapshot() == before, f"GET {name} changed the database: {said}"
    assert snapshot() == before


def test_a_stranger_reads_nothing_about_the_vm(world, as_user, stranger):
    client = as_user(stranger)
    for name, path, _ in pages():
        answer = client.get(fill(path, world))
        text = b"".join(answer).decode(errors="replace")
        # The address that was asked for may be repeated, what lies behind it may not.
        for secret in SECRETS[1:]:
            assert secret not in text, f"{name} leaks {secret}"
        if answer.status_code == 200:
            assert "web1" not in text.replace(fill(path, world), ""), f"{name} leaks the name"


def test_a_stranger_can_not_tell_a_forbidden_vm_from_a_missing_one(world, as_user, stranger):
    client = as_user(stranger)
    for name, path, _ in pages():
        if "<str:vm>" not in path and "<slug:vm>" not in path:
            continue
        theirs = client.get(fill(path, world))
        missing = client.get(fill(path, world | {"vm": "no-such"}))
        assert theirs.status_code == missing.status_code, name
        posted = client.post(fill(path, world), {"action": "start", "confirm": "web1"})
        missing = client.post(
            fill(path, world | {"vm": "no-such"}), {"action": "start", "confirm": "no-such"}
        )
        assert posted.status_code == missing.status_code and posted.status_code in {404, 405}, name
    assert VM.objects.get(name="web1").state == VM.State.STOPPED


def operations() -> list[tuple[str, str]]:
    """(method, path) of every API operation."""
    schema = description()
    return [(method.upper(), path) for path, item in schema["paths"].items() for method in item]


def call(client: Client, method: str, path: str, world: dict, **headers: str):
    address = re.sub(r"\{(\w+)\}", lambda match: str(world[match.group(1)]), path)
    return client.generic(method, address, data="{}", content_type="application/json", **headers)


def test_the_api_answers_nobody(world):
    assert len(operations()) > 25
    for method, path in operations():
        answer = call(Client(), method, path, world)
        assert answer.status_code == 401, (method, path, answer.status_code)
        assert method == "HEAD" or set(answer.json()) == {"code", "message"}


def test_the_api_tells_a_stranger_nothing(world, stranger):
    _, secret = ApiToken.objects.issue(stranger, "t", "full", None)
    before = {vm.pk: vm.state for vm in VM.objects.all()}
    for method, path in operations():
        answer = call(Client(), method, path, world, HTTP_AUTHORIZATION=f"Bearer {secret}")
        assert answer.status_code in {200, 403, 404, 409, 422, 400}, (method, path, answer.status_code)
        text = answer.content.decode()
        assert not any(word in text for word in SECRETS), (method, path, text)
        if re.search(r"/vms/\{name\}", path) and method != "PATCH":
            assert answer.status_code in {404, 422}, (method, path, answer.status_code)
    assert {vm.pk: vm.state for vm in VM.objects.all()} == before
    assert Task.objects.exclude(title="Start web1").count() == 0


def test_a_read_token_changes_nothing(world, admin):
    _, secret = ApiToken.objects.issue(admin, "t", "read", None)
    before = snapshot()
    for method, path in operations():
        if method == "GET":
            continue
        answer = call(Client(), method, path, world, HTTP_AUTHORIZATION=f"Bearer {secret}")
        assert answer.status_code in {400, 403, 404, 409, 422}, (method, path, answer.status_code)
    ApiToken.objects.update(last_used_at=None)
    assert snapshot() == before


def test_every_api_error_has_one_shape(world, admin):
    _, secret = ApiToken.objects.issue(admin, "t", "full", None)
    for method, path in operations():
        answer = call(
            Client(),
            method,
            path,
            world | {"name": "%00nope", "task_id": 10**12},
            HTTP_AUTHORIZATION=f"Bearer {secret}",
        )
        if answer.status_code >= 400 and method != "HEAD":
            body = answer.json()
            assert {"code", "message"} <= set(body) <= {"code", "message", "field", "in_use"}, (
                method,
                path,
                body,
            )
        assert answer.status_code < 500, (method, path)
