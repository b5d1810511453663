"""User-data that people write: read with the numbers of its lines, checked, and merged into one document.

nuageinit reads no MIME parts and no includes, so all pieces become one cloud-config (nuageinit(7)).
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterator
from typing import Any

import yaml

from .keys import CLOUD_INIT_KEYS, NUAGEINIT_KEYS, PLURAL
from .settings import CLOUD_INIT, NUAGEINIT, TEXT_MAX, Invalid, Problem

Config = dict[str, Any]
HEADER = "#cloud-config"
# What may stand in one document beside another, but not be merged with it.
_OTHERS = {
    "#include": "an include file",
    "## template:": "a template",
    "Content-Type:": "a MIME message",
    "MIME-Version:": "a MIME message",
    "#cloud-boothook": "a boothook",
    "#cloud-config-archive": "an archive",
    "#part-handler": "a part handler",
}
DEPTH_MAX = 32


def is_script(text: str) -> bool:
    return text.startswith("#!")


def check(text: str, kind: str = CLOUD_INIT, field: str = "user_data") -> list[Problem]:
    """All that is wrong with a user-data document, and what the guest will not understand (warnings)."""
    if not text.strip() or is_script(text):
        return []
    try:
        config, lines = _load(text, field)
    except Invalid as invalid:
        return list(invalid.problems)
    return [*_of_keys(config, lines, kind, field)]


def load(text: str, field: str = "user_data") -> Config:
    """The cloud-config in ``text``; {} in an empty one. Raises Invalid."""
    if not text.strip():
        return {}
    config, lines = _load(text, field)
    faults = [each for each in _of_keys(config, lines, CLOUD_INIT, field) if not each.is_warning]
    if faults:
        raise Invalid(faults)
    return config


def merge(base: Config, more: Config) -> Config:
    """Both in one: mappings are joined, lists are put behind each other, and of two values the second counts."""
    result = dict(base)
    for key, value in more.items():
        old = result.get(key)
        if key == "users" and isinstance(value, str):
            value = [value]  # noqa: PLW2901
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = merge(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            result[key] = old + [each for each in value if each not in old]
        else:
            result[key] = value
    return result


# Reading.


def _load(text: str, field: str) -> tuple[Config, dict[str, int]]:
    """The document and the line of each key of its outermost mapping. Raises Invalid."""

    def invalid(message: str, line: int = 0) -> Invalid:
        return Invalid([Problem(field, message, line)])

    if len(text.encode(errors="replace")) > TEXT_MAX:
        raise invalid(f"It has more than {TEXT_MAX >> 10} KiB.")
    first = text.partition("\n")[0]
    for start, what in _OTHERS.items():
        if text.startswith(start) and not first.rstrip() == HEADER:
            raise invalid(f"This is {what}, which cannot be put together with the settings.", 1)
    if first.rstrip() != HEADER:
        raise invalid(
            f"The first line is {HEADER}, or #!/bin/sh of a script; without it nobody reads this.", 1
        )
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        if root is None:
            return {}, {}
        lines = _lines(root, field)
        config = _plain(yaml.SafeLoader("").construct_document(root), field)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(filter(None, (error.context, error.problem)))
        raise invalid(f"This is not YAML: {words}.", mark.line + 1 if mark else 0) from error
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        if isinstance(error, Invalid):
            raise
        raise invalid(
            f"This is not YAML: {str(error).splitlines()[0] if str(error) else 'too deep'}."
        ) from error
    return config, lines


def _lines(root: yaml.Node, field: str) -> dict[str, int]:
    """The line of each outermost key. Raises Invalid for what is no mapping, for keys that are there twice, and for
    aliases: by them a small text becomes a huge document."""
    if not isinstance(root, yaml.MappingNode):
        line = root.start_mark.line + 1
        raise Invalid([Problem(field, "It is a mapping: lines such as packages: [nginx].", line)])
    faults = []
    seen: set[int] = set()
    waiting: list[tuple[yaml.Node, int]] = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        line = node.start_mark.line + 1
        if id(node) in seen:
            raise Invalid([Problem(field, "Aliases are not taken; write it out where it is meant.", line)])
        if depth > DEPTH_MAX:
            raise Invalid([Problem(field, f"It is nested deeper than {DEPTH_MAX} levels.", line)])
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(each, depth + 1) for each in node.value]
        elif isinstance(node, yaml.MappingNode):
            names: dict[str, int] = {}
            for key, value in node.value:
                here = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise Invalid([Problem(field, "A key is a word.", here)])
                if key.value in names:
                    faults.append(
                        Problem(field, f"{key.value} is there already, in line {names[key.value]}.", here)
                    )
                names[key.value] = here
                waiting.append((value, depth + 1))
    if faults:
        raise Invalid(sorted(faults, key=lambda fault: fault.line))
    return {key.value: key.start_mark.line + 1 for key, _ in root.value}


def _plain(value: Any, field: str) -> Any:
    """As JSON has it, so that it can be stored and written again."""
    if isinstance(value, dict):
        return {_name(key): _plain(each, field) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, field) for each in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise Invalid([Problem(field, "It has a value that is neither text nor number: write it in quotes.")])


def _name(key: Any) -> str | int:
    return key if isinstance(key, int) and not isinstance(key, bool) else str(key)


def _of_keys(config: Config, lines: dict[str, int], kind: str, field: str) -> Iterator[Problem]:
    for key, value in config.items():
        line = lines.get(str(key), 0)
        types = CLOUD_INIT_KEYS.get(str(key))
        if types is None:
            near = difflib.get_close_matches(str(key), CLOUD_INIT_KEYS, 1)
            hint = f" Is {near[0]} meant?" if near else ""
            yield Problem(field, f"cloud-init knows no {str(key)[:64]!r}.{hint}", line)
        elif not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            words = " or ".join(PLURAL[each] for each in types)
            yield Problem(field, f"{key} is {words}.", line)
        elif kind == NUAGEINIT and key not in NUAGEINIT_KEYS:
            yield Problem(
                field, f"nuageinit does not know {key}; FreeBSD's guest ignores it.", line, is_warning=True
            )
