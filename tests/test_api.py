"""The description of the API, from which others make their clients."""

from __future__ import annotations

from collections import Counter

from ninja import Schema

from bhype.api import api

ROOMS = {"bhype", "network", "storage", "vms"}


def _ids() -> list[str]:
    paths = api.get_openapi_schema()["paths"]
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
