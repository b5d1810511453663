"""Pages about oneself: signing in and out, the first set-up, profile, tokens and sessions."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from . import audit, people, ssh_keys
from . import setup as first
from .access import allow, public, signed_in
from .forms import PasswordForm, SetupForm, SignInForm, SshKeyForm, TokenForm
from .models import ApiToken, SignIn, SshKey, User
from .signin import (
    SignInRefused,
    check_password,
    close_session,
    end_sign_in,
    open_session,
    renew_session,
)


def next_of(request: HttpRequest) -> str:
    """Where to go after signing in: ``next`` if it is a path of this panel, else the start page."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    if target.startswith("/") and url_has_allowed_host_and_scheme(target, allowed_hosts=None):
        return target
    return resolve_url(settings.LOGIN_REDIRECT_URL)


@public("GET POST")
@never_cache
@sensitive_post_parameters("password")
def sign_in(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated and request.method != "POST":
        return redirect(next_of(request))
    form, wait = SignInForm(request.POST or None), 0
    if request.method == "POST" and form.is_valid():
        try:
            open_session(request, check_password(request, **form.cleaned_data))
            return redirect(next_of(request))
        except SignInRefused as error:
            form.add_error("password", str(error))
            wait = error.seconds
    context = {"form": form, "next": next_of(request), "needs_setup": not first.has_admin()}
    status = 429 if wait else 422 if form.errors else 200
    answer = render(request, "accounts/sign_in.html", context, status=status)
    if wait:
        answer["Retry-After"] = str(wait)
    return answer


@allow("self", methods="POST")
def sign_out(request: HttpRequest) -> HttpResponse:
    close_session(request)
    return redirect("accounts:sign_in")


@public("GET POST")
@never_cache
@sensitive_post_parameters("password", "again")
def setup(request: HttpRequest, code: str) -> HttpResponse:
    first.check(code)
    form = SetupForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            open_session(request, first.use(request, code, _first_admin(request, data)))
            return redirect(settings.LOGIN_REDIRECT_URL)
        except SignInRefused as error:
            form.add_error("password", str(error))
        except people.NotPossible as error:
            form.blame(error)
    return render(request, "accounts/setup.html", {"form": form}, status=422 if form.errors else 200)


def _first_admin(request: HttpRequest, data: dict[str, Any]) -> User:
    """The person at the set-up form: a system account whose password is right, or a new panel account."""
    if data["kind"] == "system":
        user = check_password(request, data["username"], data["password"])
        if user.source == User.Source.PAM:
            return user
        raise SignInRefused(f"{user} is an account of this panel, not of the system.")
    return people.new_panel_user(data["username"], data["password"])


@allow("self")
@never_cache
def profile(request: HttpRequest) -> HttpResponse:
    return _profile(request)


@allow("self", methods="POST")
@never_cache
def token_add(request: HttpRequest) -> HttpResponse:
    form = TokenForm(request.POST)
    secret = ""
    if form.is_valid():
        try:
            _, secret = people.issue_token(request, signed_in(request), **form.cleaned_data)
        except people.NotPossible as error:
            form.blame(error)
    return _profile(request, token_form=TokenForm() if secret else form, secret=secret)


@allow("self", ApiToken, methods="POST", keyword="token")
def token_revoke(request: HttpRequest, token: ApiToken) -> HttpResponse:
    people.revoke_token(request, token)
    messages.success(request, f"The token {token.name} is revoked.")
    return redirect("accounts:profile")


@allow("self", methods="POST")
@never_cache
def key_add(request: HttpRequest) -> HttpResponse:
    form = SshKeyForm(request.POST, auto_id="key_%s")
    if form.is_valid():
        try:
            row = ssh_keys.add(request, signed_in(request), **form.cleaned_data)
        except people.NotPossible as error:
            form.blame(error)
        else:
            messages.success(request, f"The key {row.name} is added: guests that you make get it.")
            return redirect("accounts:profile")
    return _profile(request, key_form=form)


@allow("self", SshKey, methods="POST", keyword="ssh_key")
def key_remove(request: HttpRequest, ssh_key: SshKey) -> HttpResponse:
    ssh_keys.remove(request, ssh_key)
    messages.success(request, f"The key {ssh_key.name} is removed. Guests that have it keep it.")
    return redirect("accounts:profile")


@allow("self", SignIn, methods="POST", keyword="session")
def session_end(request: HttpRequest, session: SignIn) -> HttpResponse:
    if session.session_key == request.session.session_key:
        return sign_out(request)
    end_sign_in(session)
    audit.record(request, "session.end", f"session from {session.address}")
    messages.success(request, "That session is signed out.")
    return redirect("accounts:profile")


@allow("self", methods="POST")
@never_cache
@sensitive_post_parameters("current", "password", "again")
def password(request: HttpRequest) -> HttpResponse:
    user, form = signed_in(request), PasswordForm(request.POST)
    if user.source == User.Source.PANEL and form.is_valid():
        try:
            check_password(request, user.username, form.cleaned_data["current"])
            people.change_password(request, user, form.cleaned_data["password"])
            renew_session(request, user)
            messages.success(request, "The password is changed; your other sessions are signed out.")
            return redirect("accounts:profile")
        except SignInRefused as error:
            form.add_error("current", str(error))
        except people.NotPossible as error:
            form.blame(error)
    return _profile(request, password_form=form)


def _profile(
    request: HttpRequest,
    token_form: TokenForm | None = None,
    password_form: PasswordForm | None = None,
    key_form: SshKeyForm | None = None,
    secret: str = "",
) -> HttpResponse:
    user = signed_in(request)
    open_keys = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    context = {
        "tokens": ApiToken.objects.visible_to(user).filter(revoked_at=None),
        "sessions": SignIn.objects.visible_to(user).filter(session_key__in=open_keys),
        "this_session": request.session.session_key,
        "token_form": token_form or TokenForm(),
        "password_form": password_form or PasswordForm(),
        "keys": SshKey.objects.visible_to(user),
        "key_form": key_form or SshKeyForm(auto_id="key_%s"),
        "secret": secret,
    }
    wrong = any(form and form.errors for form in (token_form, password_form, key_form))
    return render(request, "accounts/profile.html", context, status=422 if wrong else 200)
