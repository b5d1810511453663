"""How the API knows its caller: an API token, or the browser's session with its CSRF token."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja.security import APIKeyCookie, HttpBearer
from ninja.utils import check_csrf

from .audit import address_of
from .errors import ApiError
from .models import ApiToken, User
from .signin import Throttled, begin_attempt


class Bearer(HttpBearer):
    """``Authorization: Bearer bhype_...``. The request's user becomes the token's, cut down to its scope."""

    def __call__(self, request: HttpRequest) -> User | None:
        user: User | None = super().__call__(request)
        return user

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        row = ApiToken.objects.valid(token) if "\0" not in token else None
        if row is None:
            try:
                begin_attempt(f"token:{address_of(request)}")
            except Throttled as error:
                raise ApiError(429, "throttled", str(error)) from error
            return None
        now = timezone.now()
        # At most one write a minute, however busy the token is.
        if row.last_used_at is None or now - row.last_used_at > timedelta(minutes=1):
            ApiToken.objects.filter(pk=row.pk).update(last_used_at=now)
        user = row.user
        user.scope = row.scope
        request.user = user
        request.api_token = row  # type: ignore[attr-defined]
        return user


class Session(APIKeyCookie):
    """The session of a browser that is signed in; changes need the CSRF token as well."""

    def __init__(self) -> None:
        self.param_name = settings.SESSION_COOKIE_NAME
        super().__init__(csrf=True)

    def __call__(self, request: HttpRequest) -> User | None:
        # A request that shows a token is judged by its token alone.
        if "Authorization" in request.headers or not isinstance(request.user, User):
            return None
        if check_csrf(request) is not None:
            raise ApiError(403, "csrf", "The CSRF token is missing or wrong. Reload the page and try again.")
        return request.user

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        return self(request)
