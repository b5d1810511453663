"""WebSockets of this panel's own pages only: no cookie policy protects them, so the Origin must be exact.

Channels' AllowedHostsOriginValidator compares host names only: a page on another port of this machine would
pass it (measured).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

Scope = dict[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[Any]]
PORTS = {"http": 80, "https": 443}


class ExactOrigin:
    """Wraps an ASGI application for WebSockets. Refuses (403) a handshake whose Origin is missing, or is not
    scheme, host and port of the request itself, or whose Host is not one of ALLOWED_HOSTS."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> Any:
        if is_same_origin(scope):
            return await self.app(scope, receive, send)
        await receive()
        await send({"type": "websocket.close", "code": 4403})
        return None


def is_same_origin(scope: Scope) -> bool:
    """Whether the handshake comes from a page of the very address that it is sent to.

    A program that is no browser has no Origin. It may come without when it brings a token of its own and no
    cookies: what another site's page can't make a browser send is no danger.
    """
    origins, hosts = _headers(scope, b"origin"), _headers(scope, b"host")
    if len(hosts) != 1:
        return False
    domain, _ = split_domain_port(hosts[0])
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        return False
    if not origins:
        return bool(_headers(scope, b"authorization")) and not _headers(scope, b"cookie")
    if len(origins) != 1:
        return False
    own = _parts(f"{_scheme(scope)}://{hosts[0]}")
    return own is not None and _parts(origins[0]) == own


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope.get("headers", []) if key.lower() == name]


def _scheme(scope: Scope) -> str:
    """http or https, as the browser sees it: behind a proxy the header that Django trusts decides."""
    trusted = getattr(settings, "SECURE_PROXY_SSL_HEADER", None)
    if trusted:
        name = trusted[0].removeprefix("HTTP_").replace("_", "-").lower().encode()
        values = _headers(scope, name)
        if values:
            return "https" if values[0].split(",")[0].strip() == trusted[1] else "http"
    return "https" if scope.get("scheme") in {"wss", "https"} else "http"


def _parts(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for "null" and for anything that is more or less than an origin."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in PORTS or not parts.hostname or parts.path or parts.query or parts.fragment:
        return None
    if parts.username is not None or parts.password is not None:
        return None
    return parts.scheme, parts.hostname, port or PORTS[parts.scheme]
