"""Fetching by HTTP: what may be asked, and that what arrives is whole, whatever the server and the line do."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import socket
import threading
from concurrent import futures

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype import outside
from bhype.host import CommandStopped, LocalHost
from bhype.outside import address, fetch
from bhype.outside.cage import Refused
from tests.e2e.panel import wait_until
from tests.storage.web import serving

BODY = bytes(range(256)) * 4000
LOOPBACK = ["127.0.0.0/8"]


@pytest.fixture
def web():
    with serving() as made:
        made.files["/disk.img"] = BODY
        yield made


@pytest.fixture
def get(tmp_path):
    """Fetch as the worker has it done; the answer."""
    tmp_path.chmod(0o700)  # nobody may not enter: the files are opened before

    def ask(url: str, should_stop=None, **request: object) -> dict:
        told = {
            "url": url, "path": str(tmp_path / "part"), "memory": str(tmp_path / "notes"), "allow": LOOPBACK,
            "limit": 10 << 20, "spare": 0, "seconds": 60, "stall": 5, "tries": 3, **request,
        }  # fmt: skip
        answer = outside.answer(
            LocalHost(should_stop=should_stop).run(outside.command("fetch", told, timeout=60)).stdout
        )
        if "error" not in answer:
            assert (tmp_path / "part").read_bytes() == BODY
            assert answer["sha256"] == hashlib.sha256(BODY).hexdigest()
            assert answer["sha512"] == hashlib.sha512(BODY).hexdigest()
        return answer

    return ask


def ranges(web) -> list[str]:
    return [headers.get("range", "") for _, headers in web.asked]


def test_a_file_arrives(web, get):
    answer = get(web.url("/disk.img?token=1"))
    assert (answer["size"], answer["name"]) == (len(BODY), "disk.img")
    _, headers = web.asked[0]
    assert headers["host"] == f"127.0.0.1:{web.port}" and headers["accept-encoding"] == "identity"
    assert "cookie" not in headers and "authorization" not in headers


def test_a_lost_connection_goes_on_where_it_ended(web, get):
    web.cut = [400_000, 300_000]
    assert get(web.url("/disk.img"))["size"] == len(BODY)
    assert ranges(web) == ["", "bytes=400000-", "bytes=700000-"]
    assert web.asked[1][1]["if-range"].startswith('"')


@pytest.fixture
def killed(web, get, tmp_path):
    """Begin to fetch, and kill the program on its way; how much is there."""
    stop = threading.Event()

    def kill() -> int:
        part = tmp_path / "part"
        web.slow = 0.02
        with futures.ThreadPoolExecutor() as pool:
            fetching = pool.submit(get, web.url("/disk.img"), stop.is_set)
            wait_until(lambda: part.exists() and part.stat().st_size > 100_000, 20, "the first bytes")
            stop.set()
            with pytest.raises(CommandStopped):
                fetching.result()
        web.slow = 0
        return part.stat().st_size

    return kill


def test_a_killed_one_goes_on_where_it_ended(web, get, killed):
    there = killed()
    assert 0 < there < len(BODY)
    assert get(web.url("/disk.img"))["size"] == len(BODY)
    assert ranges(web) == ["", f"bytes={there}-"]


def test_a_file_that_changed_meanwhile_begins_anew(web, get, killed):
    web.files["/disk.img"] = b"old" * 300_000
    there = killed()
    web.files["/disk.img"] = BODY
    assert get(web.url("/disk.img"))["size"] == len(BODY)
    assert ranges(web)[-1] == f"bytes={there}-"


def test_without_a_validator_it_begins_anew(web, get):
    web.no_etag = True
    web.cut = [500_000]
    assert get(web.url("/disk.img"))["size"] == len(BODY)
    assert ranges(web) == ["", ""]


def test_a_server_without_ranges_sends_all_again(web, get):
    web.no_ranges = True
    web.cut = [500_000]
    assert get(web.url("/disk.img"))["size"] == len(BODY)


def test_another_part_than_was_asked_for_is_thrown_away(web, get):
    web.cut = [500_000]
    web.range_answer = f"bytes 0-9/{len(BODY)}"
    assert get(web.url("/disk.img"))["size"] == len(BODY)


def test_what_is_there_is_not_fetched_again(web, get):
    get(web.url("/disk.img"))
    get(web.url("/disk.img"))
    assert len(web.asked) == 1


def test_notes_that_are_rubbish_begin_anew(web, get, tmp_path):
    (tmp_path / "part").write_bytes(b"x" * 100)
    (tmp_path / "notes").write_bytes(b'{"url": "http')
    assert get(web.url("/disk.img"))["size"] == len(BODY)
    assert json.loads((tmp_path / "notes").read_bytes())["size"] == len(BODY)


def test_a_length_that_is_a_lie(web, get):
    web.lie = 100
    assert "error" in get(web.url("/disk.img"), tries=1)


def test_chunks_without_a_length(web, get):
    web.chunked = True
    assert get(web.url("/disk.img"))["size"] == len(BODY)


def test_chunks_that_end_in_the_middle_are_not_whole(web, get):
    web.chunked = web.no_etag = True
    web.cut = [500_000] * 4
    assert "error" in get(web.url("/disk.img"), tries=1)


@pytest.mark.parametrize("chunked", [False, True])
def test_more_than_is_allowed_is_refused(web, get, tmp_path, chunked):
    web.chunked = chunked
    assert "allowed" in get(web.url("/disk.img"), limit=100_000)["error"]
    assert (tmp_path / "part").stat().st_size <= 100_000


def test_no_room_is_noticed_before_a_byte_comes(web, get, tmp_path):
    assert "not enough room" in get(web.url("/disk.img"), spare=1 << 62)["error"]
    assert (tmp_path / "part").stat().st_size == 0


def test_a_slow_server_is_given_up(web, get):
    web.slow, web.block = 0.3, 1000
    assert "longer than it may" in get(web.url("/disk.img"), seconds=1)["error"]


def test_a_silent_server_is_given_up(get):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        assert "too long" in get(url, stall=0.3, tries=1)["error"]


@pytest.mark.parametrize(
    ("status", "asked", "says"),
    [(404, 1, "404"), (403, 1, "403"), (416, 1, "416"), (503, 2, ""), (429, 2, "")],
)
def test_statuses(web, get, status, asked, says):
    web.status = {"/disk.img": status}
    answer = get(web.url("/disk.img"))
    assert len(web.asked) == asked
    assert (says in answer["error"]) if says else answer["size"] == len(BODY)


def test_redirects_are_followed_and_looked_at(web, get):
    web.redirects = {"/a": "/b", "/b": web.url("/disk.img")}
    assert get(web.url("/a"))["url"] == web.url("/disk.img")
    for number, (target, says) in enumerate({
        "http://10.0.0.1/x": "own networks", "http://[::1]/x": "own networks", "http://169.254.169.254/latest": "own",
        "file:///etc/passwd": "Only http", "ftp://127.0.0.1/x": "Only http", "http://user:pw@127.0.0.1/": "password",
        "gopher:x": "Only http", "http://[::ffff:10.0.0.1]/": "own networks",
        "http://2130706434:1/x": "127.0.0.2",
    }.items()):  # fmt: skip
        web.redirects = {f"/{number}": target}
        answer = get(web.url(f"/{number}"), allow=["127.0.0.1/32"], tries=1)
        assert says in answer["error"], target


def test_a_redirect_without_end(web, get):
    web.redirects = {"/a": "/a"}
    assert "more than 5" in get(web.url("/a"))["error"]
    assert len(web.asked) == 6


def test_nothing_private_is_asked_unless_allowed(web, get):
    assert "own networks" in get(web.url("/disk.img"), allow=[])["error"]
    assert "own networks" in get(f"http://localhost:{web.port}/disk.img", allow=["10.0.0.0/8"])["error"]
    assert not web.asked


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
     "ff02::1",
     "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1",
     "2001:db8::1", "::127.0.0.1", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "fec0::1", "100::1",
     "64:ff9b:1:a00:1::808:808", "nonsense", ""],
)  # fmt: skip
def test_addresses_that_lead_back(text):
    assert not address.is_allowed(text, [])


def test_public_addresses_may_be_talked_to():
    for text in (
        "1.1.1.1",
        "151.101.2.132",
        "2a04:4e42::644",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
    ):
        assert address.is_allowed(text, []), text


@given(st.ip_addresses())
def test_what_is_not_global_is_never_allowed(one):
    if not one.is_global or one.is_multicast:
        assert not address.is_allowed(str(one), []) or address.carried(one)[0] != one
    assert address.is_allowed(str(one), address.networks(["0.0.0.0/0", "::/0"]))


@given(st.ip_addresses(v=4))
def test_a_carried_address_is_judged_as_itself(one):
    judged = address.is_allowed(str(one), [])
    assert address.is_allowed(f"::ffff:{one}", []) == judged
    assert (
        address.is_allowed(str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + int(one))), [])
        == judged
    )


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_refused(text):
    for url in (text, f"http://{text}"):
        try:
            parts = fetch.parts_of(url)
        except Refused:
            continue
        assert parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc


def test_it_gives_up_being_root():
    assert os.geteuid() == 0, "only root can give it up: run the tests as root"
    from tests.storage.library.inside import IDENTITY

    command = outside.command("fetch", {}, timeout=20)
    program = f"import sys; sys.path.insert(0, {str(os.getcwd())!r}); {IDENTITY}"
    result = LocalHost().run(
        type(command)((command.argv[0], "-S", "-E", "-c", program), native=True, timeout=20)
    )
    assert json.loads(result.stdout) == {"uid": 65534, "groups": [], "root": False, "core": 0}
