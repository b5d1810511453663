"""What can go wrong with a task: one class for asking, one for running. Messages are sentences for people."""

from __future__ import annotations


class Refused(Exception):
    """Nothing was asked: the request is wrong, or the user may not make it.

    code: one word for programs ("invalid", "not_found", "conflict"); message: a sentence for people;
    field: the parameter that is wrong, where there is one; status: of HTTP.
    """

    def __init__(self, code: str, message: str, field: str | None = None, status: int = 422) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.status = status


class OperationFailed(Exception):
    """An operation gives up; the message tells what and why, and what to do."""


class Cancelled(Exception):
    """Raised by ``Run.check_cancelled`` when the task is to stop."""


def not_found() -> Refused:
    """Missing and forbidden look the same."""
    return Refused("not_found", "There is no such object, or it is not yours.", status=404)
