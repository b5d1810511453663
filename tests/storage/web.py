"""A web server that serves files as good servers do, and as bad ones."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Web:
    """files: {path: bytes}. What it does otherwise is said by the attributes, for all paths or {path: value}.

    cut: bytes after which the connection is closed, once for each number in the list; redirects: {path: URL};
    lie: added to the length that is told; slow: seconds before each block; status: {path: status};
    no_ranges, no_etag, chunked: as they say. asked: (path, headers) of every request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: list[int] = []
        self.redirects: dict[str, str] = {}
        self.status: dict[str, int] = {}
        self.lie = 0
        self.slow = 0.0
        self.block = 1 << 16
        self.no_ranges = self.no_etag = self.chunked = False
        self.range_answer = ""
        self.asked: list[tuple[str, dict[str, str]]] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web.answer(self)

            def log_message(self, *words: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, one: http.server.BaseHTTPRequestHandler) -> None:
        path = one.path.partition("?")[0]
        self.asked.append((one.path, {key.lower(): value for key, value in one.headers.items()}))
        one.close_connection = True
        if path in self.redirects:
            one.send_response(302)
            one.send_header("Location", self.redirects[path])
            one.send_header("Content-Length", "0")
            one.end_headers()
            return
        if path in self.status or path not in self.files:
            one.send_response(self.status.pop(path, 404))
            one.send_header("Content-Length", "0")
            one.end_headers()
            return
        self._file(one, self.files[path])

    def _file(self, one: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        wanted = one.headers.get("Range", "")
        start = 0
        if wanted and not self.no_ranges and one.headers.get("If-Range") in {None, tag}:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(body):
                one.send_response(416)
                one.send_header("Content-Length", "0")
                one.end_headers()
                return
        one.send_response(206 if start else 200)
        if start:
            answer = self.range_answer or f"bytes {start}-{len(body) - 1}/{len(body)}"
            one.send_header("Content-Range", answer)
        if not self.no_etag:
            one.send_header("ETag", tag)
        if self.chunked:
            one.send_header("Transfer-Encoding", "chunked")
        else:
            one.send_header("Content-Length", str(len(body) - start + self.lie))
        one.end_headers()
        self._send(one, body[start:], self.cut.pop(0) if self.cut else None)

    def _send(self, one: http.server.BaseHTTPRequestHandler, body: bytes, cut: int | None) -> None:
        sent = body if cut is None else body[:cut]
        try:
            for place in range(0, len(sent), self.block):
                piece = sent[place : place + self.block]
                if self.slow:
                    time.sleep(self.slow)
                one.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.chunked else piece)
            if self.chunked and cut is None:
                one.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass


@contextmanager
def serving() -> Iterator[Web]:
    web = Web()
    thread = threading.Thread(target=web.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.server.shutdown()
        web.server.server_close()
        thread.join()
