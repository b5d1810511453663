"""SECURITY.md T16, T17: every answer carries the headers that keep foreign scripts and frames out."""

from __future__ import annotations

import re

import pytest
from django.http import HttpResponse

from bhype.ui.middleware import SecurityHeaders


def policy(response: HttpResponse) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in response["Content-Security-Policy"].split(";"))
    return {name: value for name, _, value in parts}


@pytest.mark.parametrize("path", ["/vms/", "/search/?q=x", "/no/such/page/"])
def test_it_forbids_inline_scripts_and_frames(as_user, admin, path):
    rules = policy(as_user(admin).get(path))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["form-action"] == rules["connect-src"] == "'self'"


def test_it_forbids_sniffing_and_leaking_addresses(client, db):
    response = client.get("/accounts/sign-in/")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"
    assert response["Referrer-Policy"] == "same-origin"
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in response["Permissions-Policy"]


def test_pages_stay_out_of_caches(as_user, admin):
    assert "no-store" in as_user(admin).get("/vms/")["Cache-Control"]


def test_a_view_may_tighten_its_own_policy(rf):
    answer = HttpResponse(headers={"Content-Security-Policy": "sandbox"})
    assert SecurityHeaders(lambda request: answer)(rf.get("/"))["Content-Security-Policy"] == "sandbox"


async def test_it_serves_async_views_too(rf):
    async def view(request):
        return HttpResponse("x")

    response = await SecurityHeaders(view)(rf.get("/"))
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/vms/", "/vms/new/", "/vms/web1/", "/vms/web1/raw/", "/vms/web1/edit/"])
def test_no_page_has_an_inline_script_or_handler(as_user, admin, vm, path):
    html = as_user(admin).get(path).content.decode()
    assert not re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", html)
    assert not re.findall(r"\son[a-z]+=|javascript:|hx-on", html)
