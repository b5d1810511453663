"""Who may hear of which task: task:ID, tasks:USERID (all tasks of a user) and tasks (all there are)."""

from __future__ import annotations

from typing import Any

from bhype import live

from .models import Task


def register() -> None:
    live.register("task", _task)
    live.register("tasks", _tasks)


def _task(user: Any, topic: str) -> bool:
    key = topic.partition(":")[2]
    return (
        key.isascii()
        and key.isdigit()
        and len(key) < 19
        and Task.objects.visible_to(user).filter(pk=key).exists()
    )


def _tasks(user: Any, topic: str) -> bool:
    return topic == f"tasks:{user.pk}" or bool(user.can("tasks.view_all"))
