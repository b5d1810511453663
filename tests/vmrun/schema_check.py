"""The few keywords of JSON Schema 2020-12 that docs/vm.schema.json uses, checked as their specification says.

An unknown keyword is an error: a schema that says more than is checked here would look better than it is.
"""

from __future__ import annotations

import re
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "integer": (int,),
}  # fmt: skip
_NOTES = {"$schema", "$defs", "title", "description", "default"}


def errors(
    schema: dict[str, Any], value: Any, root: dict[str, Any] | None = None, at: str = "$"
) -> list[str]:
    """Where ``value`` breaks the schema, as "$.cpu: type"."""
    root = schema if root is None else root
    found: list[str] = []
    for keyword, wish in schema.items():
        if keyword in _NOTES or keyword == "then":
            continue
        found += (
            [f"{at}: {keyword}"]
            if _breaks(keyword, wish, value)
            else _inside(schema, keyword, wish, value, root, at)
        )
    return found


def _breaks(keyword: str, wish: Any, value: Any) -> bool:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    match keyword:
        case "type":
            return not any(_is(value, one) for one in (wish if isinstance(wish, list) else [wish]))
        case "enum":
            return not any(value == one and type(value) is type(one) for one in wish)
        case "const":
            return value != wish
        case "minimum":
            return is_number and value < wish
        case "maximum":
            return is_number and value > wish
        case "pattern":
            return isinstance(value, str) and not re.search(wish, value)
        case "minLength":
            return isinstance(value, str) and len(value) < wish
        case "maxLength":
            return isinstance(value, str) and len(value) > wish
        case "minItems":
            return isinstance(value, list) and len(value) < wish
        case "required":
            return isinstance(value, dict) and not set(wish) <= value.keys()
    return False


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _inside(
    schema: dict[str, Any], keyword: str, wish: Any, value: Any, root: dict[str, Any], at: str
) -> list[str]:
    match keyword:
        case "$ref":
            target: Any = root
            for step in wish.removeprefix("#/").split("/"):
                target = target[step]
            return errors(target, value, root, at)
        case "anyOf":
            return [] if any(not errors(one, value, root, at) for one in wish) else [f"{at}: anyOf"]
        case "allOf":
            return [error for one in wish for error in errors(one, value, root, at)]
        case "if":
            return errors(schema["then"], value, root, at) if not errors(wish, value, root, at) else []
        case "items":
            rows = value if isinstance(value, list) else []
            return [
                error
                for number, row in enumerate(rows)
                for error in errors(wish, row, root, f"{at}[{number}]")
            ]
        case "propertyNames":
            keys = value if isinstance(value, dict) else {}
            return [error for key in keys for error in errors(wish, key, root, f"{at}.{key}")]
        case "properties":
            fields = value.items() if isinstance(value, dict) else ()
            pairs = [(wish[key], one, key) for key, one in fields if key in wish]
            return [error for part, one, key in pairs for error in errors(part, one, root, f"{at}.{key}")]
        case "additionalProperties":
            fields = value.items() if isinstance(value, dict) else ()
            known = schema.get("properties", {})
            rest = [(key, one) for key, one in fields if key not in known]
            return [error for key, one in rest for error in errors(wish, one, root, f"{at}.{key}")]
    if keyword not in {
        "type",
        "enum",
        "const",
        "minimum",
        "maximum",
        "pattern",
        "minLength",
        "maxLength",
        "minItems",
        "required",
    }:
        raise ValueError(f"the keyword {keyword} is not known here")
    return []
