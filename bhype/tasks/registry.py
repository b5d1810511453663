"""The operations there are, by name. Each app's ``operations.py`` is imported when Django starts."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import Refused

if TYPE_CHECKING:
    from bhype.accounts.models import User

    from .models import Task
    from .run import Run

P = TypeVar("P", bound=BaseModel)

LONGEST_TITLE = 200
LONGEST_SUBJECT = 80
LONGEST_LOCK = 120

_operations: dict[str, Operation[Any]] = {}


@dataclass(frozen=True)
class Operation(Generic[P]):
    """One thing a worker can do.

    title, lock, subject: format strings over the parameters, what ``describe`` returns, and the target under
    its model's name ("Start {vm}"). right: None when only the system itself may ask. target: finds the object
    that the right is checked on; None when it is gone. recover: the operation that is asked when a worker
    died in this one; it gets the same parameters.
    """

    name: str
    function: Callable[[Run, P], None]
    params: type[P]
    title: str
    right: str | None
    lock: str
    subject: str
    target: Callable[[P], Any] | None
    describe: Callable[[P], Mapping[str, Any]] | None
    recover: str | None

    def __call__(self, run: Run, params: P) -> None:
        self.function(run, params)

    def ask(self, params: P | Mapping[str, Any], user: User | None) -> Task:
        """As ``bhype.tasks.ask``, with this operation."""
        from .asking import ask

        return ask(self, params, user)

    def validate(self, params: BaseModel | Mapping[str, Any]) -> P:
        """The parameters as the operation's model. Raises Refused naming the field."""
        raw = params.model_dump(exclude_unset=True) if isinstance(params, BaseModel) else dict(params)
        try:
            valid = self.params.model_validate(raw)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or None
            raise Refused("invalid", first["msg"], field) from None
        for field, value in valid.model_dump(mode="json").items():
            if not _is_storable(value):
                raise Refused("invalid", "This text has characters that cannot be stored.", field)
        return valid

    def find_target(self, params: P) -> Any:
        return self.target(params) if self.target else None

    def may(self, user: User, target: Any) -> bool:
        """Whether ``user`` holds the operation's right, on ``target`` where there is one."""
        if self.right is None or user.only_looks:
            return False
        return user.can(self.right, owner_id=getattr(target, "owner_id", None))

    def words(self, params: P, target: Any) -> dict[str, str]:
        """title, subject and lock of one task."""
        values: dict[str, Any] = _Words()
        if target is not None and hasattr(target, "_meta"):
            values[target._meta.model_name] = target
        values.update({name: getattr(params, name) for name in type(params).model_fields})
        if self.describe:
            values.update(self.describe(params))
        subject = self.subject.format_map(values) if self.subject else str(getattr(target, "subject", ""))
        return {
            "title": _one_line(self.title.format_map(values))[:LONGEST_TITLE],
            "subject": subject[:LONGEST_SUBJECT],
            "lock": _bounded(self.lock.format_map(values)),
        }


class _Words(dict[str, Any]):
    """What is gone leaves a mark in a title: a recovery may be about objects that are there no more."""

    def __missing__(self, name: str) -> str:
        return f"({name})"


def operation(
    name: str,
    title: str,
    *,
    right: str | None = None,
    lock: str = "",
    subject: str = "",
    target: Callable[[Any], Any] | None = None,
    describe: Callable[[Any], Mapping[str, Any]] | None = None,
    recover: str | None = None,
) -> Callable[[Callable[[Run, P], None]], Operation[P]]:
    """Register a function ``(run: Run, params: P)`` as the operation ``name``; P is a pydantic model.

    The result is the Operation; calling it calls the function. A subject whose operations have all but their names
    and titles in common makes a ``partial`` of this.
    """

    def register(function: Callable[[Run, P], None]) -> Operation[P]:
        known = _operations.get(name)
        if known is not None and known.function.__qualname__ != function.__qualname__:
            raise ValueError(f"there are two operations called {name}")
        made = Operation(
            name=name,
            function=function,
            params=_params_of(function),
            title=title,
            right=right,
            lock=lock,
            subject=subject,
            target=target,
            describe=describe,
            recover=recover,
        )
        _operations[name] = made
        return made

    return register


def find(name: str) -> Operation[Any] | None:
    return _operations.get(name)


def get(name: str) -> Operation[Any]:
    """The operation of this name. Raises LookupError."""
    found = _operations.get(name)
    if found is None:
        raise LookupError(f"there is no operation called {name}")
    return found


def names() -> list[str]:
    return sorted(_operations)


def recoveries() -> list[str]:
    """The names of the operations that recover from others."""
    return sorted({found.recover for found in _operations.values() if found.recover})


def _params_of(function: Callable[..., None]) -> type[Any]:
    """The model of a function's second parameter; other annotations may name what is not imported here."""
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 2:
        raise TypeError(f"{function.__qualname__} must take (run, params)")
    annotation = parameters[1].annotation
    if isinstance(annotation, str):
        annotation = getattr(sys.modules[function.__module__], annotation, None)
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"the params of {function.__qualname__} must be a pydantic model of its module")
    return annotation


def _is_storable(value: Any) -> bool:
    """Whether a JSON value can be stored: PostgreSQL takes no NUL, and no database a half surrogate pair."""
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, dict):
        return all(_is_storable(key) and _is_storable(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_storable(item) for item in value)
    return True


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _bounded(lock: str) -> str:
    """A lock that fits its column and still is the same for the same things only."""
    if len(lock) <= LONGEST_LOCK:
        return lock
    return lock[: LONGEST_LOCK - 65] + ":" + hashlib.sha256(lock.encode()).hexdigest()
