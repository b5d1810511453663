"""Resume tokens: where a receive that was cut off (``zfs receive -s``) goes on (zfs-send(8), -t).

A token is ``1-CHECKSUM-LENGTH-PAYLOAD`` in hexadecimal, as of the real one; the payload is compressed. In the lab it
says how many blocks of data have come; a stream for it tells all else anew.
"""

from __future__ import annotations

import json
import struct
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "1"
_FIELDS = ("object", "offset", "bytes", "toguid", "toname", "fromguid")


class BadToken(Exception):
    """No token; the message is libzfs's reason."""


def token(partial: dict[str, Any]) -> str:
    """The token for the state of a receive that was cut off."""
    payload = json.dumps({key: partial[key] for key in _FIELDS if partial.get(key) is not None}).encode()
    packed = zlib.compress(payload)
    return f"{VERSION}-{_checksum(packed):x}-{len(payload):x}-{packed.hex()}"


def parse(text: str) -> dict[str, Any]:
    """What a token says: object (blocks of data that have come), offset (of the last one), bytes (of the stream),
    toguid, toname and perhaps fromguid. Raises BadToken."""
    parts = text.split("-")
    if len(parts) != 4 or parts[0] != VERSION:
        raise BadToken("invalid format")
    try:
        packed = bytes.fromhex(parts[3])
    except ValueError:
        raise BadToken("payload is not hex-encoded") from None
    if parts[1] != f"{_checksum(packed):x}":
        raise BadToken("incorrect checksum")
    try:
        found = json.loads(zlib.decompress(packed))
    except (zlib.error, ValueError):
        raise BadToken("decompression failed") from None
    return dict(found)


def describe(found: dict[str, Any]) -> str:
    """A token as ``zfs send -nvt`` shows it."""
    lines = ["resume token contents:", "nvlist version: 0"]
    for key in _FIELDS:
        if key in found:
            lines.append(f"\t{key} = {found[key]:#x}" if key != "toname" else f"\t{key} = {found[key]}")
    return "\n".join(lines) + "\n"


def _checksum(data: bytes) -> int:
    """The first word of a Fletcher 4 checksum."""
    padded = data + bytes(-len(data) % 4)
    return sum(struct.unpack(f"<{len(padded) // 4}I", padded))
