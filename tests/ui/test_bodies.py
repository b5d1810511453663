"""No body fills the disk: what is larger than any door of the panel takes is refused before it is read."""

from __future__ import annotations

from bhype.ui.bodies import Bounded


async def answer(
    pieces: list[bytes], *headers: tuple[bytes, bytes], limit: int = 100
) -> tuple[list[int], int]:
    """The statuses that are sent, and how many bytes the application has read."""
    read, sent, waiting = [], [], list(pieces)

    async def app(scope, receive, send) -> None:
        more = True
        while more:
            message = await receive()
            read.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200})

    async def receive():
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message) -> None:
        if "status" in message:
            sent.append(message["status"])

    await Bounded(app, limit)({"type": "http", "headers": list(headers)}, receive, send)
    return sent, len(b"".join(read))


async def test_what_fits_passes():
    assert await answer([b"x" * 60, b"x" * 40], (b"content-length", b"100")) == ([200], 100)


async def test_what_says_that_it_is_too_large_is_not_read():
    for length in (b"101", b"99999999999999999999999", b"-1", b"x", b""):
        assert await answer([b"x"], (b"Content-Length", length)) == ([413], 0), length


async def test_what_says_nothing_is_cut_off():
    assert await answer([b"x" * 60, b"x" * 60, b"x" * 60]) == ([413], 60)
