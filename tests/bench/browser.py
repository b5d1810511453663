"""As much of a browser as a measurement needs: cookies, forms, WebSockets, and a screen."""

from __future__ import annotations

import http.client
import http.cookies
from urllib.parse import urlencode, urlsplit

from websockets.sync.client import ClientConnection, connect

from bhype.console.gateway.des import encrypt as des


class Browser:
    """One session with the panel at ``url``, over one kept-alive connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self.cookies: dict[str, str] = {}

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def send(
        self, method: str, path: str, form: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, str]:
        """Status and text of the answer. Raises OSError and HTTPException when there is none."""
        sent = {"Cookie": self.cookie, **{name.replace("_", "-"): value for name, value in headers.items()}}
        body = None
        if form is not None:
            body = urlencode(form)
            sent |= {
                "Content-Type": "application/x-www-form-urlencoded",
                "X-CSRFToken": self.cookies["bhype_csrf"],
            }
        was_open = self.connection.sock is not None
        try:
            self.connection.request(method, path, body, sent)
            answer = self.connection.getresponse()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            if not was_open:
                raise
            # The server had closed the idle connection; browsers open a new one, too.
            self.connection.request(method, path, body, sent)
            answer = self.connection.getresponse()
        text = answer.read().decode(errors="replace")
        for value in answer.headers.get_all("Set-Cookie") or []:
            self.cookies |= {name: morsel.value for name, morsel in http.cookies.SimpleCookie(value).items()}
        return answer.status, text

    def get(self, path: str, **headers: str) -> str:
        status, text = self.send("GET", path, **headers)
        if status != 200:
            raise RuntimeError(f"GET {path}: {status}\n{text[:2000]}")
        return text

    def post(self, path: str, form: dict[str, str], **headers: str) -> str:
        status, text = self.send("POST", path, form, **headers)
        if status not in {200, 302}:
            raise RuntimeError(f"POST {path}: {status}\n{text[:2000]}")
        return text

    def sign_in(self, name: str, password: str) -> None:
        self.get("/accounts/sign-in/")
        self.post("/accounts/sign-in/", {"username": name, "password": password, "next": ""})
        if "bhype_session" not in self.cookies:
            raise RuntimeError("the panel did not let us in")

    def websocket(self, path: str, *protocols: str) -> ClientConnection:
        address = "ws" + self.url.removeprefix("http") + path
        return connect(
            address,
            origin=self.url,
            subprotocols=list(protocols) or None,
            additional_headers={"Cookie": self.cookie},
            compression=None,
            max_size=None,
        )


class Screen:
    """The client's side of RFB 3.8 (RFC 6143) over a WebSocket, up to whole frames in the Raw encoding."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.rest = bytearray()
        self.width = self.height = self.depth = 0

    def read(self, count: int) -> bytes:
        while len(self.rest) < count:
            data = self.socket.recv(timeout=30)
            self.rest += data if isinstance(data, bytes) else b""
        found = bytes(self.rest[:count])
        del self.rest[:count]
        return found

    def sign_in(self, password: str) -> None:
        self.socket.send(self.read(12))
        kinds = self.read(self.read(1)[0])
        if b"\x02" not in kinds:
            raise RuntimeError(f"no password is asked for: {kinds!r}")
        self.socket.send(b"\x02")
        challenge = self.read(16)
        key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode()[:8].ljust(8, b"\0"))
        self.socket.send(des(key, challenge[:8]) + des(key, challenge[8:]))
        if self.read(4) != bytes(4):
            raise RuntimeError("the VNC server refused the password")
        self.socket.send(b"\x01")
        start = self.read(24)
        self.read(int.from_bytes(start[20:24], "big"))
        self.width, self.height = int.from_bytes(start[:2], "big"), int.from_bytes(start[2:4], "big")
        self.depth = start[4] // 8
        self.socket.send(b"\x02\0" + (1).to_bytes(2, "big") + bytes(4))

    def frame(self) -> int:
        """Ask for the whole screen and read until all of it has come. Returns the bytes of its pixels."""
        size = self.width.to_bytes(2, "big") + self.height.to_bytes(2, "big")
        self.socket.send(b"\x03\0" + bytes(4) + size)
        got, wanted = 0, self.width * self.height * self.depth
        while got < wanted:
            head = self.read(4)
            if head[0] != 0:
                raise RuntimeError(f"message {head[0]} instead of a frame")
            for _ in range(int.from_bytes(head[2:], "big")):
                rectangle = self.read(12)
                area = int.from_bytes(rectangle[4:6], "big") * int.from_bytes(rectangle[6:8], "big")
                self.read(area * self.depth)
                got += area * self.depth
        return got
