from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.live.origin import ExactOrigin, is_same_origin


def scope(origin, host="panel.example:8080", scheme="ws", **headers):
    pairs = [(b"host", host.encode())] if host is not None else []
    if origin is not None:
        pairs.append((b"origin", origin.encode("utf-8", "surrogatepass")))
    pairs += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "websocket", "scheme": scheme, "headers": pairs}


@pytest.fixture(autouse=True)
def _hosts(settings):
    settings.ALLOWED_HOSTS = ["panel.example", "[::1]", "127.0.0.1"]


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://panel.example:8080", "panel.example:8080", "ws"),
        ("http://PANEL.example:8080", "panel.example:8080", "ws"),
        ("http://panel.example", "panel.example", "ws"),
        ("http://panel.example", "panel.example:80", "ws"),
        ("https://panel.example", "panel.example:443", "wss"),
        ("https://panel.example:8443", "panel.example:8443", "wss"),
        ("http://[::1]:8080", "[::1]:8080", "ws"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "ws"),
    ],
)
def test_the_panels_own_pages_are_let_in(origin, host, scheme):
    assert is_same_origin(scope(origin, host, scheme))


@pytest.mark.parametrize(
    "origin",
    [
        None, "", "null", "http://evil.example:8080", "http://panel.example", "http://panel.example:8081",
        "https://panel.example:8080", "http://panel.example:8080.evil.example", "http://panel.example:8080/",
        "http://u@panel.example:8080", "http://panel.example:8080@evil.example", "http://panel.example:x",
        "file://", "http://panel.example:8080?x", "http://panel.example:99999", "http://[::1", "ws://panel.example:8080",
    ],
)  # fmt: skip
def test_other_pages_are_not(origin):
    assert not is_same_origin(scope(origin))


def test_a_host_name_that_is_not_ours_is_refused():
    # DNS rebinding: the page and the request agree, on a name that leads here by force.
    assert not is_same_origin(scope("http://evil.example:8080", "evil.example:8080"))
    assert not is_same_origin(scope("http://evil.example", None))


def test_there_must_be_one_origin():
    doubled = scope("http://panel.example:8080")
    doubled["headers"].append((b"Origin", b"http://evil.example"))
    assert not is_same_origin(doubled)


def test_a_program_without_origin_comes_with_a_token_and_without_cookies():
    assert is_same_origin(scope(None, authorization="Bearer x"))
    assert not is_same_origin(scope(None, authorization="Bearer x", cookie="bhype_session=x"))
    assert not is_same_origin(scope("http://evil.example", authorization="Bearer x"))


def test_behind_a_proxy_its_header_tells_the_scheme(settings):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert is_same_origin(scope("https://panel.example:8080", x_forwarded_proto="https"))
    assert not is_same_origin(scope("http://panel.example:8080", x_forwarded_proto="https"))
    settings.SECURE_PROXY_SSL_HEADER = None
    assert not is_same_origin(scope("https://panel.example:8080", x_forwarded_proto="https"))


@given(st.text(max_size=60))
def test_no_text_breaks_the_check(text):
    assert not is_same_origin(scope(text)) or text.lower().startswith("http://")


async def test_the_wrapper_closes_before_it_accepts():
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})

    for origin, answer in (
        ("http://panel.example:8080", "websocket.accept"),
        ("http://x", "websocket.close"),
    ):
        sent = []

        async def receive():
            return {"type": "websocket.connect"}

        async def send(message, sent=sent):
            sent.append(message["type"])

        await ExactOrigin(app)(scope(origin), receive, send)
        assert sent == [answer]
