"""A sender of files in pieces, for tests."""

from __future__ import annotations

import base64
import hashlib

TYPE = "application/offset+octet-stream"


class Sender:
    """client: of Django's tests; base: "/storage/uploads/" or the API's; headers: sent with everything."""

    def __init__(self, client, base: str = "/storage/uploads/", **headers: str) -> None:
        self.client, self.base, self.headers = client, base, headers

    def call(self, method: str, address: str, data: bytes = b"", type: str = TYPE, **headers: str):
        told = {"HTTP_TUS_RESUMABLE": "1.0.0", "CONTENT_TYPE": type, **self.headers, **headers}
        return self.client.generic(method, address, data, content_type=type, **told)

    def begin(self, filename: str, size: int, **metadata: str):
        pairs = {"filename": filename, **metadata}
        header = ",".join(
            f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items()
        )
        return self.call("POST", self.base, HTTP_UPLOAD_LENGTH=str(size), HTTP_UPLOAD_METADATA=header)

    def piece(self, address: str, start: int, data: bytes, **headers: str):
        return self.call("PATCH", address, data, HTTP_UPLOAD_OFFSET=str(start), **headers)

    def send(self, filename: str, data: bytes, step: int = 1 << 20, **metadata: str) -> str:
        """All of it; the address of the upload."""
        answer = self.begin(filename, len(data), **metadata)
        assert answer.status_code == 201, answer.content
        address = answer["Location"]
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            digest = "sha256 " + base64.b64encode(hashlib.sha256(piece).digest()).decode()
            answer = self.piece(address, start, piece, HTTP_UPLOAD_CHECKSUM=digest)
            assert (answer.status_code, answer["Upload-Offset"]) == (204, str(start + len(piece))), (
                answer.content
            )
        return address
