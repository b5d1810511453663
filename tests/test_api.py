"""The description of the API, from which others make their clients."""

from __future__ import annotations

from collections import Counter

from django.test import Client
from ninja import Schema

from bhype.accounts.models import ApiToken
from bhype.api import description

ROOMS = {"bhype", "network", "storage", "vms"}


def _ids() -> list[str]:
    paths = description()["paths"]
    return [operation["operationId"] for methods in paths.values() for operation in methods.values()]


def test_each_operation_has_a_name_of_its_own():
    doubles = [name for name, count in Counter(_ids()).items() if count > 1]

    assert doubles == []


def test_operations_are_named_by_what_they_do_and_not_by_where_their_code_lies():
    names = _ids()

    assert {
        "network_create_switch",
        "vms_start_vm",
        "storage_take_snapshot",
        "cloud_init_get_snippet",
    } <= set(names)
    assert all(name.isascii() and name.isidentifier() for name in names)
    assert not any("_api_" in name or name.startswith("bhype_") for name in names)


def _schemas() -> list[type[Schema]]:
    """All schemas that modules of the API define: in the description one replaces another of the same name."""
    found, waiting = [], [Schema]
    while waiting:
        below = waiting.pop().__subclasses__()
        waiting += below
        found += [each for each in below if each.__module__.split(".")[0] in ROOMS]
    return found


def test_each_schema_has_a_name_of_its_own():
    modules: dict[str, set[str]] = {}
    for schema in _schemas():
        modules.setdefault(schema.__name__, set()).add(schema.__module__)

    assert {name: where for name, where in modules.items() if len(where) > 1} == {}
    assert len(modules) > 100


def test_the_description_is_for_whoever_shows_a_token_or_a_session(as_user, alice):
    _, secret = ApiToken.objects.issue(alice, "t", "read", None)
    address = "/api/v1/openapi.json"

    for answer in (
        Client().get(address, headers={"Authorization": f"Bearer {secret}"}),
        as_user(alice).get(address),
    ):
        assert answer.status_code == 200 and set(answer.json()["paths"]) == set(description()["paths"])
    for headers in ({}, {"Authorization": "Bearer bhype_wrong"}):
        answer = Client().get(address, headers=headers)
        assert answer.status_code == 401 and answer.json()["code"] == "unauthenticated"


def test_the_page_that_shows_the_description_asks_people_to_sign_in(as_user, alice):
    answer = Client().get("/api/v1/docs")
    assert answer.status_code == 302 and answer["Location"].endswith("?next=%2Fapi%2Fv1%2Fdocs")
    assert b"/api/v1/openapi.json" in as_user(alice).get("/api/v1/docs").content
