"""The API of accounts: users and audit for admins, tokens for their owners."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.http import HttpRequest
from ninja import Field, Query, Router, Schema
from ninja.responses import Status

from . import people
from .access import lookup, require, signed_in
from .errors import ApiError
from .models import ApiToken, AuditEntry, User
from .views_admin import entries

users = Router()
tokens = Router()
audit = Router()


class UserOut(Schema):
    username: str
    role: str
    source: str
    is_active: bool
    created_at: datetime
    last_login: datetime | None


class UserIn(Schema):
    """A panel account with a password, or with ``"source": "pam"`` a role for a system account."""

    username: str
    source: str = "panel"
    password: str = ""
    role: str = ""


class UserChange(Schema):
    role: str | None = None
    is_active: bool | None = None


class TokenOut(Schema):
    id: int
    name: str
    scope: str
    hint: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class TokenIn(Schema):
    name: str
    scope: str = "read"
    days: int | None = 30


class NewToken(Schema):
    """The secret is told here once and never again."""

    token: TokenOut
    secret: str


class AuditEntryOut(Schema):
    id: int
    at: datetime
    username: str
    address: str
    action: str
    object: str
    detail: dict[str, Any]
    task_id: int | None


def _refused(error: people.NotPossible) -> ApiError:
    return ApiError(
        409 if error.code in {"in_use", "last_admin"} else 422, error.code, error.message, error.field
    )


@users.get("", response=list[UserOut])
def list_users(request: HttpRequest) -> models.QuerySet[User]:
    require(request, "users.manage")
    return User.objects.all()


@users.post("", response={201: UserOut})
def create_user(request: HttpRequest, payload: UserIn) -> Status[User]:
    require(request, "users.manage")
    try:
        if payload.source == User.Source.PAM:
            return Status(201, people.invite(request, payload.username, payload.role))
        if payload.source != User.Source.PANEL:
            raise people.NotPossible("source", "A source is panel or pam.", "source")
        return Status(201, people.add_panel_user(request, payload.username, payload.password, payload.role))
    except people.NotPossible as error:
        raise _refused(error) from error


@users.get("/{username}", response=UserOut)
def get_user(request: HttpRequest, username: str) -> User:
    return lookup(signed_in(request), User, "users.manage", username=username)


@users.patch("/{username}", response=UserOut)
def change_user(request: HttpRequest, username: str, payload: UserChange) -> User:
    user = lookup(signed_in(request), User, "users.manage", username=username)
    try:
        return people.change(request, user, role=payload.role, is_active=payload.is_active)
    except people.NotPossible as error:
        raise _refused(error) from error


@users.delete("/{username}", response={204: None})
def delete_user(request: HttpRequest, username: str) -> Status[None]:
    user = lookup(signed_in(request), User, "users.manage", username=username)
    try:
        people.delete(request, user)
    except people.NotPossible as error:
        raise _refused(error) from error
    return Status(204, None)


@tokens.get("", response=list[TokenOut])
def list_tokens(request: HttpRequest) -> models.QuerySet[ApiToken]:
    return ApiToken.objects.visible_to(signed_in(request)).filter(revoked_at=None)


@tokens.post("", response={201: NewToken})
def create_token(request: HttpRequest, payload: TokenIn) -> Status[dict[str, Any]]:
    user = _unscoped(request)
    try:
        row, secret = people.issue_token(request, user, payload.name, payload.scope, payload.days)
    except people.NotPossible as error:
        raise _refused(error) from error
    return Status(201, {"token": row, "secret": secret})


@tokens.delete("/{token_id}", response={204: None})
def revoke_token(request: HttpRequest, token_id: int) -> Status[None]:
    row = lookup(_unscoped(request), ApiToken, "self", pk=token_id)
    people.revoke_token(request, row)
    return Status(204, None)


def _unscoped(request: HttpRequest) -> User:
    """The caller, if nothing narrows their rights: a narrow token must not make or end wider ones."""
    user = signed_in(request)
    if user.scope not in {None, ApiToken.Scope.FULL}:
        raise ApiError(403, "scope", "A token of this scope does not manage tokens.")
    return user


class AuditQuery(Schema):
    user: str = Field("", max_length=64)
    action: str = Field("", max_length=64)
    object: str = Field("", max_length=128)
    before: int | None = None
    limit: int = 100


@audit.get("", response=list[AuditEntryOut])
def list_audit(request: HttpRequest, query: Query[AuditQuery]) -> models.QuerySet[AuditEntry]:
    """Newest first; ``before`` takes the last line's id for the next page."""
    require(request, "audit.view")
    if "\0" in query.user + query.action + query.object:
        raise ApiError(422, "invalid", "A filter has no NUL.")
    rows = entries(query.user, query.action, query.object, query.before)
    return rows[: max(1, min(query.limit, 1000))]
