"""What programs with libxo(3) have in common: ``--libxo json`` before their other words."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def take(argv: list[str]) -> tuple[bool, list[str]]:
    """Whether JSON is asked for, and the words that are left (xo_parse_args: only the first ones are looked at)."""
    rest = list(argv)
    as_json = False
    while rest and rest[0].startswith("--libxo"):
        word, equals, style = rest.pop(0).partition("=")
        if word != "--libxo" or not (equals or rest):
            break
        as_json = "json" in (style if equals else rest.pop(0)).split(",")
    return as_json, rest


def show(version: str, **content: Any) -> None:
    """Print the document as libxo does, on one line. version: that of the program's output."""
    print(json.dumps({"__version": version, **content}))
