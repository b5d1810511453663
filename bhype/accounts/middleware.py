"""Deny by default: every view of the project passes here, and a view without a rule is not found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from ninja.operation import PathView

from .access import Rule, lookup, signed_in, url_key

_API_WRAPPER = "PathView.get_view.<locals>."


class DenyByDefault:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.user.is_authenticated and SESSION_KEY in request.session:
            # The user behind this session was deleted or deactivated.
            request.session.flush()
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        rule = _rule(view)
        if rule is None:
            if _has_own_auth(view):
                return None
            raise Http404
        if rule.right is not None and not request.user.is_authenticated:
            return to_sign_in(request)
        if request.method not in rule.methods:
            return HttpResponseNotAllowed(sorted(rule.methods))
        if rule.right is None:
            return None
        user = signed_in(request)
        if rule.model is None:
            if not user.can(rule.right):
                raise Http404
            return None
        if rule.keyword not in kwargs:
            raise ImproperlyConfigured(f"the URL of {request.path} has no <{rule.keyword}> for its view")
        # Django calls the view with this same dictionary.
        key = url_key(rule.model, kwargs[rule.keyword])
        kwargs[rule.keyword] = lookup(user, rule.model, rule.right, **key)
        return None


def _rule(view: Callable[..., Any]) -> Rule | None:
    rule = getattr(view, "access", None)
    return rule if isinstance(rule, Rule) else None


def _has_own_auth(view: Callable[..., Any]) -> bool:
    """Whether this is an API view of which every operation asks for authentication itself."""
    if not getattr(view, "__qualname__", "").startswith(_API_WRAPPER):
        return False
    owners = [cell.cell_contents for cell in getattr(view, "__closure__", None) or ()]
    return any(
        isinstance(owner, PathView) and all(operation.auth_callbacks for operation in owner.operations)
        for owner in owners
    )


def to_sign_in(request: HttpRequest) -> HttpResponse:
    """Send the browser to the sign-in page, and from there back to the page it is on."""
    htmx = request.headers.get("HX-Request") == "true"
    here = request.get_full_path() if request.method in {"GET", "HEAD"} else ""
    if htmx:
        # A fragment is no place to come back to; the page around it is.
        details = getattr(request, "htmx", None)
        here = (details.current_url_abs_path if details else None) or ""
    target = resolve_url(settings.LOGIN_URL) + ("?" + urlencode({"next": here}) if here else "")
    if htmx:
        return HttpResponse(status=401, headers={"HX-Redirect": target})
    return HttpResponseRedirect(target)
