"""Hostile values for every form, every API operation and every address: refused with a reason, never a broken page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from bhype.accounts.models import ApiToken, User
from bhype.api import description
from bhype.tasks.models import Task
from tests.test_routes import fill, operations, pages, world  # noqa: F401
from vms.models import VM

LONG = "x" * 100_000
TEXTS = [
    "\0",
    LONG,
    "-1",
    "9" * 40,
    "1e400",
    "NaN",
    "ß\u202e\r\n\t'\"><script>",
    "../../etc/passwd",
    "%s%n%00",
]
ODD: list[Any] = [
    None,
    True,
    -1,
    2**63,
    10**40,
    1.5,
    [],
    {},
    [[]],
    ["\0"],
    [LONG],
    {"size": -1},
    [{"size": LONG}],
]
VALUES: list[Any] = [*TEXTS, "\ud800", *ODD]
BYTES = (b"", b"{", b"\xff", b"[" * 100_000, b'"\\ud800"', b'"\xed\xa0\x80"', b"x" * 3_000_000)
# Posting there ends the session that the walk goes on with.
ENDS = frozenset({"accounts:sign_out", "accounts:session_end"})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("bhype.accounts.signin.REFUSAL_SECONDS", 0)
    monkeypatch.setattr("bhype.accounts.throttle.USER_LIMIT", 10**6)
    monkeypatch.setattr("bhype.accounts.throttle.ADDRESS_LIMIT", 10**6)


@pytest.fixture
def browser(world, as_user, admin):  # noqa: F811
    """An admin's, which sees a broken page as its status 500."""
    client = as_user(admin)
    client.raise_request_exception = False
    return client


@pytest.fixture
def program(world, admin):  # noqa: F811
    _, secret = ApiToken.objects.issue(admin, "t", "full", None)
    return Client(HTTP_AUTHORIZATION=f"Bearer {secret}", raise_request_exception=False)


@pytest.fixture
def form_fields() -> list[str]:
    """Every name that any form reads."""
    from bhype.accounts import forms as accounts
    from network.dhcp import forms as dhcp
    from storage.datasets import forms as forms_datasets
    from vms import forms as vms
    from vms import small_forms

    found = {
        "action",
        "take_over",
        "next",
        "vm",
        "all",
        "query",
        "tags",
        "name",
        "confirm",
        "revision",
        "notes",
    }
    for module in (accounts, dhcp, forms_datasets, vms, small_forms):
        for thing in vars(module).values():
            found |= set(getattr(thing, "base_fields", {}))
    return sorted(found - {"kind"})


def test_no_form_breaks_on_hostile_values(world, browser, form_fields):  # noqa: F811
    for name, path, _ in pages():
        if name in ENDS:
            continue
        address = fill(path, world)
        for value in TEXTS:
            answer = browser.post(address, dict.fromkeys(form_fields, value) | {"username": "someone"})
            assert answer.status_code < 500, (name, value[:20])
        answer = browser.post(address, dict.fromkeys(form_fields, ("a", "\0", "x" * 2000)))
        assert answer.status_code < 500, name
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            assert browser.post(address, b"\xff\xfe=\x00\xff", content_type=kind).status_code < 500, name
    assert User.objects.filter(role="admin", is_active=True).exists()


GOOD = {
    "name": "good",
    "cpus": "1",
    "memory": "256M",
    "disk_size": "1G",
    "mac": "",
    "tags": "a",
    "revision": "1",
}
COMMON = ("cpus", "memory", "iso", "owner", "screen")
AT_CREATION = ("name", "disk_size", "mac", "switch", "pool", "disk_bus", "nic_model")


def test_each_field_of_a_new_vm_refuses_what_is_bad(browser):
    """One bad field among good ones, so that each field's own check is what refuses it."""
    before = Task.objects.count()
    for field in (*COMMON, *AT_CREATION):
        for value in TEXTS:
            answer = browser.post(reverse("vms:create"), GOOD | {field: value})
            assert answer.status_code == 422, (field, value[:20])
    for name in ("", "-rf", "a b", "web1", "new", "ä", "x" * 41, "a%b", "a\nb", "a\0b", "A"):
        assert browser.post(reverse("vms:create"), GOOD | {"name": name}).status_code == 422, name
    assert (VM.objects.count(), Task.objects.count()) == (1, before)


def test_each_field_of_an_edited_vm_refuses_what_is_bad(browser):
    for field in (*COMMON, "revision"):
        for value in TEXTS:
            answer = browser.post(reverse("vms:edit", args=["web1"]), GOOD | {field: value})
            assert answer.status_code in {409, 422}, (field, value[:20])
    assert VM.objects.get().revision == 1


def test_no_address_breaks_on_hostile_filters(world, browser):  # noqa: F811
    words = """q state tag owner host sort page status user operation subject before after action object kind next
        limit offset download""".split()  # noqa: SIM905
    for name, path, _ in pages():
        asked = [dict.fromkeys(words, value) for value in ("\0", "-1", "NaN", "%s%n%00")]
        if (
            "<" not in path
        ):  # a list: each filter by itself, too, as a bad one can keep the others from being used
            asked += [{word: value} for word in words for value in (LONG, "9" * 40)]
        for question in asked:
            answer = browser.get(fill(path, world), question)
            b"".join(answer)
            assert answer.status_code < 500, (name, str(question)[:60])


def test_no_address_breaks_on_hostile_names(world, browser):  # noqa: F811
    for hostile in ("%00", "%FF", "..%2f..%2fetc", "-", "9" * 30, "%ED%A0%80", "x" * 5000):
        names = dict.fromkeys(world, hostile)
        for name, path, _ in pages():
            if name not in ENDS:
                for method in (browser.get, browser.post):
                    assert method(fill(path, names)).status_code < 500, (name, hostile[:20])


def bodies(schema: dict[str, Any], operation: dict[str, Any]) -> list[Any]:
    """JSON bodies of the right shape with one wrong value each, and of wrong shapes."""
    content = (
        operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    )
    references = [part["$ref"] for part in (content, *content.get("anyOf", [])) if "$ref" in part]
    fields = (
        schema["components"]["schemas"][references[0].rpartition("/")[2]]["properties"] if references else {}
    )
    base = {
        "name": "good",
        "username": "someone",
        "names": ["web1"],
        "action": "start",
        "password": "correct horse",
    }
    good = {key: value for key, value in base.items() if key in fields}
    return [good | {field: value} for field in fields for value in VALUES] + VALUES


def test_no_api_operation_breaks_on_hostile_json(world, program):  # noqa: F811
    schema = description()
    for path, item in schema["paths"].items():
        address = re.sub(r"\{(\w+)\}", lambda match: str(world[match.group(1)]), path)
        for method, operation in item.items():
            if method in {"get", "head", "options"}:
                continue
            sent = [json.dumps(body).encode() for body in bodies(schema, operation)]
            # One parser reads them all: the largest ones are sent to one of each kind.
            for body in (*sent, *(BYTES if path.endswith("/vms") or method == "patch" else ())):
                answer = program.generic(method.upper(), address, body, content_type="application/json")
                assert answer.status_code < 500, (method, path, body[:60], answer.content[:300])
                if answer.status_code >= 400 and len(body) < 10**6:
                    assert {"code", "message"} <= set(answer.json()), (method, path, body[:60])
    assert not VM.objects.exclude(name__in=["web1", "good"]).exists()


def test_no_api_question_breaks_on_hostile_filters(world, program):  # noqa: F811
    for path, item in description()["paths"].items():
        address = re.sub(r"\{(\w+)\}", lambda match: str(world[match.group(1)]), path)
        for part in item.get("get", {}).get("parameters", []):
            for value in TEXTS if part["in"] == "query" else []:
                answer = program.get(address, {part["name"]: value})
                assert answer.status_code < 500, (path, part["name"], value[:20])


def test_wrong_kinds_of_content_are_refused(world, program):  # noqa: F811
    for method, path in operations():
        address = re.sub(r"\{(\w+)\}", lambda match: str(world[match.group(1)]), path)
        for kind in (
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded",
            "\x01",
        ):
            answer = program.generic(method, address, b"\xff\x00", content_type=kind)
            assert answer.status_code < 500, (method, path, kind)
