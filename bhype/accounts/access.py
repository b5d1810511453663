"""Who may open what: one rule on every view, and one look-up of objects for pages, API and WebSockets.

A view without a rule does not exist (``middleware.DenyByDefault``). What a user may not see and what is
not there look the same: Http404.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import FieldDoesNotExist, MultipleObjectsReturned, ObjectDoesNotExist
from django.db.models import Model
from django.http import Http404, HttpRequest

from .models import User, digest
from .rights import ALL

M = TypeVar("M", bound=Model)
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Rule:
    """What one view asks for. ``right`` None: open to everybody, signed in or not."""

    right: str | None
    model: type[Model] | None
    methods: frozenset[str]
    # The URL's keyword that names the object.
    keyword: str = ""


def _methods(words: str) -> frozenset[str]:
    methods = frozenset(words.replace(",", " ").upper().split())
    return methods | {"HEAD"} if "GET" in methods else methods


def allow(
    right: str, model: type[Model] | None = None, methods: str = "GET", keyword: str = ""
) -> Callable[[View], View]:
    """Open a view to signed-in users who hold ``right``; "self" is held by all of them.

    model: the view gets an object in place of the URL's key. The URL's keyword is the model's name in
    lower case (``vm``), or ``keyword``. ``<int:...>`` is its primary key; other values are looked up by the
    field ``name`` where the model has one (users by theirs), else by primary key as well.
    methods: words such as "GET" or "GET POST"; others are answered 405.
    """
    if right not in ALL:
        raise ValueError(f"{right!r} is not a right")
    rule = Rule(right, model, _methods(methods), keyword or (str(model._meta.model_name) if model else ""))

    def mark(view: View) -> View:
        view.access = rule  # type: ignore[attr-defined]
        return view

    return mark


def public(methods: str = "GET") -> Callable[[View], View]:
    """Open a view to everybody. For sign-in and the like."""
    rule = Rule(None, None, _methods(methods))

    def mark(view: View) -> View:
        view.access = rule  # type: ignore[attr-defined]
        return view

    return mark


def lookup(user: User, model: type[M], right: str, **key: Any) -> M:
    """The one object with this key on which ``user`` holds ``right``.

    A model whose queryset has ``visible_to(user, right)`` decides by object; others need the right itself.
    Raises Http404 when it is missing, forbidden, or the key is malformed.
    """
    rows = model._default_manager.all()
    if hasattr(rows, "visible_to"):
        rows = rows.visible_to(user, right)
    elif not user.can(right):
        raise Http404
    if any(isinstance(value, str) and "\0" in value for value in key.values()):
        raise Http404
    try:
        return rows.get(**key)
    except (ObjectDoesNotExist, MultipleObjectsReturned, ValueError, TypeError) as error:
        raise Http404 from error


def url_key(model: type[Model], value: Any) -> dict[str, Any]:
    """How an object is named in URLs: by number where the URL's pattern has <int:...>, else by name."""
    if isinstance(value, int):
        return {"pk": value}
    if model is User:
        return {"username": value}
    try:
        model._meta.get_field("name")
    except FieldDoesNotExist:
        return {"pk": value}
    return {"name": value}


def signed_in(request: HttpRequest) -> User:
    """The user of a request that has passed the rule of its view."""
    if isinstance(request.user, AnonymousUser):
        raise Http404
    return request.user


def require(request: HttpRequest, right: str) -> User:
    """The user of a request, who holds ``right`` on everything. Raises Http404: what is forbidden looks missing."""
    user = signed_in(request)
    if not user.can(right):
        raise Http404
    return user


def session_digest(request: HttpRequest) -> str:
    """What tickets and the topic ``session:<digest>`` know this sign-in by; never the session key itself.

    For a request with an API token it is the token's digest; "" without either.
    """
    token = getattr(request, "api_token", None)
    if token is not None:
        return str(token.digest)
    key = request.session.session_key
    return digest(key) if key else ""
