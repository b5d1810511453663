"""Topics: telling of a change, and who may hear of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# (user, whole topic) -> whether this user may hear of it.
MaySee = Callable[[Any, str], bool]
LONGEST = 80

_rules: dict[str, MaySee] = {}


def publish(*topics: str) -> None:
    """Tell open pages that these have changed, when the caller's transaction commits."""
    from .models import Event

    Event.objects.bulk_create(
        [Event(topic=topic) for topic in dict.fromkeys(topics) if topic and len(topic) <= LONGEST]
    )


def register(prefix: str, may_see: MaySee) -> None:
    """Let browsers subscribe to ``prefix`` and ``prefix:...`` if ``may_see(user, topic)``; others may not.

    prefix: the word before the colon. may_see gets the whole topic, "vm:12", and may ask the database.
    """
    _rules[prefix.rstrip(":")] = may_see


def visible(user: Any, topics: list[str]) -> list[str]:
    """Those of the topics that the user may hear of. Asks the database."""
    seen = []
    for topic in topics:
        rule = _rules.get(topic.partition(":")[0])
        if rule is not None and rule(user, topic):
            seen.append(topic)
    return seen
