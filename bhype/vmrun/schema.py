"""The JSON Schema of a vm.json (2020-12), made from the tables that also check it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from bhype.freebsd import names
from bhype.vmrun import fields
from bhype.vmrun.config import FIXED
from bhype.vmrun.devices import COMMON, KINDS, Kind
from bhype.vmrun.keys import KEYS
from bhype.vmrun.options import Option

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
# The checks that other rooms have made.
_SHAPES: dict[fields.Field, Schema] = {
    **fields.SHAPES,
    names.machine: {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$"},
}


def text() -> str:
    """The schema as docs/vm.schema.json holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> Schema:
    """What a vm.json may hold. It allows all that is valid; what depends on several values, or on the host, only
    `bhype.vmrun.config.parse` and `bhype.vmrun.check` can tell."""
    devices = {"type": "array", "items": {"$ref": "#/$defs/device"}}
    targets = {
        "type": "object",
        "description": "Parts that are laid over the main one when they are chosen; devices are added.",
        "additionalProperties": {"$ref": "#/$defs/target"},
    }
    return {
        "$schema": DIALECT,
        "title": "vm.json",
        "description": "One virtual machine for bhyve(8): the schema of vmrun, extended.",
        **_object(KEYS.values()),
        "required": [*_required(KEYS.values()), "emulations"],
        "properties": {
            **_properties(KEYS.values()),
            "emulations": {"description": "The devices, in the order of their slots.", **devices},
            "targets": targets,
            "bhype": {"description": "The panel's own; vmrun does not read it."},
        },
        "$defs": {
            "device": _device(),
            "target": {
                "type": "object",
                "properties": {
                    **_properties(option for option in KEYS.values() if option.key not in FIXED),
                    "emulations": devices,
                },
            },
            **{name: _kind(kind) for name, kind in KINDS.items()},
        },
    }


def _device() -> Schema:
    return {
        "type": "object",
        "required": ["device"],
        "properties": {"device": {"enum": list(KINDS)}},
        "allOf": [
            {"if": {"properties": {"device": {"const": name}}}, "then": {"$ref": f"#/$defs/{name}"}}
            for name in KINDS
        ],
    }


def _kind(kind: Kind) -> Schema:
    options = [*COMMON.values(), *kind.options.values()]
    return {"title": kind.label, "description": kind.help, **_object(options)}


def _object(options: Iterable[Option]) -> Schema:
    found = list(options)
    required = _required(found)
    more = {"required": required} if required else {}
    return {"type": "object", **more, "properties": _properties(found)}


def _properties(options: Iterable[Option]) -> Schema:
    return {option.key: _option(option) for option in options}


def _required(options: Iterable[Option]) -> list[str]:
    return [option.key for option in options if option.is_required]


def _option(option: Option) -> Schema:
    unit = f" In {option.unit}." if option.unit else ""
    root = " Equals root on the host." if option.equals_root is True else ""
    found: Schema = {"title": option.label, "description": f"{option.help}{unit}{root}".strip()}
    if option.default is not None:
        found["default"] = option.default
    return found | _values(option)


def _values(option: Option) -> Schema:
    if option.kind == "tables":
        row = _object(option.options.values())
        if not option.short:
            return {"type": "array", "items": row}
        short = _option(option.options[option.short])
        return {"anyOf": [{"type": "array", "items": {"anyOf": [short, row]}}, short, row]}
    if option.options:
        return _object(option.options.values())
    if option.choices and option.check is not fields.vga:
        # Numbers may be written as texts.
        texts = [str(choice) for choice in option.choices if not isinstance(choice, str)]
        return {"enum": [*option.choices, *texts]}
    return _SHAPES[option.check]
