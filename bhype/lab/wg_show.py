"""What wg(8) of the lab prints (S:contrib/wireguard-tools/show.c and showconf.c)."""

from __future__ import annotations

import time

from bhype.lab import wg_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Tunnel = dict[str, Any]

FIELDS = (
    "public-key", "private-key", "listen-port", "fwmark", "peers", "preshared-keys", "endpoints", "allowed-ips",
    "latest-handshakes", "transfer", "persistent-keepalive", "dump",
)  # fmt: skip
_UNITS = (("year", 365 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def public_key(tunnel: Tunnel) -> str:
    private = wg_config.key_of(tunnel["private"])
    return wg_config.text_of(wg_config.public_of(private)) if private else ""


def ugly(name: str, tunnel: Tunnel, field: str, *, with_interface: bool) -> str:
    """One field, a line for the tunnel or for each peer, between tabs."""
    head = [name] if with_interface else []
    return "".join("\t".join([*head, *row]) + "\n" for row in _rows(tunnel, field))


def _rows(tunnel: Tunnel, field: str) -> Iterator[list[str]]:
    mark = f"0x{tunnel['fwmark']:x}" if tunnel["fwmark"] else "off"
    public, private, port = public_key(tunnel) or "(none)", tunnel["private"] or "(none)", str(tunnel["port"])
    alone = {"public-key": public, "private-key": private, "listen-port": port, "fwmark": mark}
    if field in alone:
        yield [alone[field]]
        return
    if field == "dump":
        yield [private, public, port, mark]
    for key, peer in tunnel["peers"].items():
        keepalive = str(peer["keepalive"] or "off")
        handshake, bytes_ = str(peer.get("handshake", 0)), [str(peer.get(way, 0)) for way in ("rx", "tx")]
        endpoint, psk = peer["endpoint"] or "(none)", peer["psk"] or "(none)"
        yield {
            "peers": [key],
            "preshared-keys": [key, psk],
            "endpoints": [key, endpoint],
            "allowed-ips": [key, " ".join(peer["allowed"]) or "(none)"],
            "latest-handshakes": [key, handshake],
            "transfer": [key, *bytes_],
            "persistent-keepalive": [key, keepalive],
            "dump": [
                key,
                psk,
                endpoint,
                ",".join(peer["allowed"]) or "(none)",
                handshake,
                *bytes_,
                keepalive,
            ],
        }[field]


def pretty(name: str, tunnel: Tunnel) -> str:
    """For people; keys that are secret are hidden."""
    lines = [f"interface: {name}"]
    if tunnel["private"]:
        lines += [f"  public key: {public_key(tunnel)}", "  private key: (hidden)"]
    if tunnel["port"]:
        lines.append(f"  listening port: {tunnel['port']}")
    if tunnel["fwmark"]:
        lines.append(f"  fwmark: 0x{tunnel['fwmark']:x}")
    # Who was heard of last comes first, who never was comes last.
    for key, peer in sorted(tunnel["peers"].items(), key=lambda one: -one[1].get("handshake", 0)):
        lines += ["", f"peer: {key}"]
        if peer["psk"]:
            lines.append("  preshared key: (hidden)")
        if peer["endpoint"]:
            lines.append(f"  endpoint: {peer['endpoint']}")
        lines.append(f"  allowed ips: {', '.join(peer['allowed']) or '(none)'}")
        if peer.get("handshake"):
            lines.append(f"  latest handshake: {_ago(int(time.time()) - peer['handshake'])}")
        if peer.get("rx") or peer.get("tx"):
            moved = [_bytes(peer.get(way, 0)) for way in ("rx", "tx")]
            lines.append(f"  transfer: {moved[0]} received, {moved[1]} sent")
        if peer["keepalive"]:
            lines.append(f"  persistent keepalive: every {_duration(peer['keepalive'])}")
    return "\n".join(lines) + "\n"


def _duration(seconds: int) -> str:
    parts = []
    for unit, length in _UNITS:
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return ", ".join(parts)


def _ago(seconds: int) -> str:
    if seconds < 0:
        return "(System clock wound backward; connection problems may ensue.)"
    return f"{_duration(seconds)} ago" if seconds else "Now"


def _bytes(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    size, units = count / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.2f} {units[0]}"


def config(tunnel: Tunnel) -> str:
    """As `wg showconf`: for `wg setconf`, private key included."""
    lines = ["[Interface]"]
    if tunnel["port"]:
        lines.append(f"ListenPort = {tunnel['port']}")
    if tunnel["fwmark"]:
        lines.append(f"FwMark = 0x{tunnel['fwmark']:x}")
    if tunnel["private"]:
        lines.append(f"PrivateKey = {tunnel['private']}")
    for key, peer in tunnel["peers"].items():
        lines += ["", "[Peer]", f"PublicKey = {key}"]
        if peer["psk"]:
            lines.append(f"PresharedKey = {peer['psk']}")
        if peer["allowed"]:
            lines.append(f"AllowedIPs = {', '.join(peer['allowed'])}")
        if peer["endpoint"]:
            lines.append(f"Endpoint = {peer['endpoint']}")
        if peer["keepalive"]:
            lines.append(f"PersistentKeepalive = {peer['keepalive']}")
    return "\n".join(lines) + "\n"
