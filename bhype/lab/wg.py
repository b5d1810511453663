"""wg(8) of the lab: the words, texts and statuses of wireguard-tools (S:contrib/wireguard-tools/*.c).

The state "wg" has ``tunnels``, by the index of ifconfig's interface: ``{"private", "port", "fwmark", "peers": {PUBLIC:
{"psk", "endpoint", "allowed": [NETWORK], "keepalive"}}, "pid", "ticks", "device"}``. Keys are base64, "" for none. With
wires on a wireguard-go carries the packets (`wg_wires`), and tells of handshakes and bytes; without, none move.
"""

from __future__ import annotations

import os
import sys

from bhype.lab import core, wg_config, wg_show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Tunnel = dict[str, Any]

SUBCOMMANDS = {
    "show": "Shows the current configuration and device information",
    "showconf": "Shows the current configuration of a given WireGuard interface, for use with `setconf'",
    "set": "Change the current configuration, add peers, remove peers, or change peers",
    "setconf": "Applies a configuration file to a WireGuard interface",
    "addconf": "Appends a configuration file to a WireGuard interface",
    "syncconf": "Synchronizes a configuration file to a WireGuard interface",
    "genkey": "Generates a new private key and writes it to stdout",
    "genpsk": "Generates a new preshared key and writes it to stdout",
    "pubkey": "Reads a private key from stdin and writes a public key to stdout",
}
_MISSING = "Device not configured"  # ENXIO, as strerror(3) of FreeBSD has it
_NO_TUNNEL = "Operation not supported"


def main(argv: list[str]) -> int:
    core.fault(" ".join(["wg", *argv]))
    if len(argv) == 1 and argv[0] in ("-v", "--version", "version"):
        print("wireguard-tools v1.0.20210914 - https://git.zx2c4.com/wireguard-tools/")
        return 0
    if len(argv) == 1 and argv[0] in ("-h", "--help", "help"):
        print(_usage(), end="")
        return 0
    verb = argv[0] if argv else "show"
    if verb not in SUBCOMMANDS:
        core.fail(f"Invalid subcommand: `{verb}'\n{_usage()}", 1)
    return _VERBS[verb](verb, argv[1:])


def _usage() -> str:
    lines = [f"  {name}: {text}\n" for name, text in SUBCOMMANDS.items()]
    end = "You may pass `--help' to any of these subcommands to view usage.\n"
    return "Usage: wg <cmd> [<args>]\n\nAvailable subcommands:\n" + "".join(lines) + end


# -- keys ----------------------------------------------------------------------------------------------


def _genkey(verb: str, words: list[str]) -> int:
    if words:
        core.fail(f"Usage: wg {verb}", 1)
    noise = bytearray(os.urandom(32))
    if verb == "genkey":
        noise[0] &= 248
        noise[31] = noise[31] & 127 | 64
    print(wg_config.text_of(bytes(noise)))
    return 0


def _pubkey(verb: str, words: list[str]) -> int:
    if words:
        core.fail(f"Usage: wg {verb}", 1)
    text = sys.stdin.buffer.read()
    key = wg_config.key_of(text[:44].decode("latin-1"))
    if len(text) >= 44 and text[44:].strip(b"\0 \t\n\v\f\r"):
        core.fail("wg: Trailing characters found after key", 1)
    if key is None:
        core.fail("wg: Key is not the correct length or format", 1)
    print(wg_config.text_of(wg_config.public_of(key)))
    return 0


# -- tunnels -------------------------------------------------------------------------------------------


def _interfaces() -> dict[str, str]:
    """The tunnels of the host: their index in the state by their name."""
    found = core.peek("ifconfig").get("interfaces", {})
    return {name: str(each["index"]) for name, each in found.items() if each["kind"] == "wg"}


def empty() -> Tunnel:
    return {"private": "", "port": 0, "fwmark": 0, "peers": {}}


def _index(name: str, doing: str) -> str:
    found = _interfaces()
    if name not in found:
        is_there = name in core.peek("ifconfig").get("interfaces", {})
        core.fail(f"{doing}: {_NO_TUNNEL if is_there else _MISSING}", 1)
    return found[name]


def _show(verb: str, words: list[str]) -> int:
    usage = f"Usage: wg {verb} {{ <interface> | all | interfaces }} [{' | '.join(wg_show.FIELDS)}]"
    if len(words) > 2:
        core.fail(usage, 1)
    found = _interfaces()
    name = words[0] if words else "all"
    if name == "interfaces" and len(words) == 1:
        print(" ".join(found), end="\n" if found else "")
        return 0
    if name in ("-h", "--help", "help") and len(words) == 1:
        core.warn(usage)
        return 0
    chosen = found if name == "all" else {name: _index(name, "Unable to access interface")}
    if len(words) == 2 and words[1] not in wg_show.FIELDS and chosen:
        core.fail(f"Invalid parameter: `{words[1]}'\n{usage}", 1)
    state = core.peek("wg").get("tunnels", {})
    shown = []
    for each, index in chosen.items():
        tunnel = _live(index, each, state.get(index) or empty())
        if len(words) == 2:
            sys.stdout.write(wg_show.ugly(each, tunnel, words[1], with_interface=name == "all"))
        else:
            shown.append(wg_show.pretty(each, tunnel))
    sys.stdout.write("\n".join(shown))
    return 0


def _live(index: str, name: str, tunnel: Tunnel) -> Tunnel:
    """The tunnel with what its wireguard-go says of handshakes, bytes and endpoints."""
    from bhype.lab import wires

    if wires.namespace() is None or not tunnel["private"]:
        return tunnel
    from bhype.lab import wg_wires

    with core.state("wg") as data:
        mine: Tunnel = data.setdefault("tunnels", {}).setdefault(index, tunnel)
        return wg_wires.look(name, mine)


def _showconf(verb: str, words: list[str]) -> int:
    if len(words) != 1:
        core.fail(f"Usage: wg {verb} <interface>", 1)
    index = _index(words[0], "Unable to access interface")
    sys.stdout.write(wg_show.config(core.peek("wg").get("tunnels", {}).get(index) or empty()))
    return 0


def _setconf(verb: str, words: list[str]) -> int:
    if len(words) != 2:
        core.fail(f"Usage: wg {verb} <interface> <configuration filename>", 1)
    try:
        with open(_host_path(words[1])) as file:
            lines = file.read().split("\n")
    except OSError as error:
        core.fail(f"fopen: {os.strerror(error.errno or 0)}", 1)
    change = wg_config.read(lines)
    if verb == "syncconf" and change.peers:
        index = _index(words[0], "Unable to retrieve current interface configuration")
    else:
        index = _index(words[0], "Unable to modify interface")
    return _apply(words[0], index, change, verb)


def _host_path(path: str) -> str:
    """Absolute paths are the host's; the other kinds, such as /dev/stdin, are this machine's."""
    return core.root(path) if path.startswith("/") and not path.startswith("/dev/") else path


def _set(verb: str, words: list[str]) -> int:
    if len(words) < 3:
        core.fail(wg_config.SET_USAGE, 1)
    change = wg_config.read_words(words[1:], _host_path)
    return _apply(words[0], _index(words[0], "Unable to modify interface"), change, "addconf")


def _apply(name: str, index: str, change: wg_config.Change, verb: str) -> int:
    from bhype.lab import wires

    known = set(_interfaces().values())
    with core.state("wg") as data:
        tunnels = data.setdefault("tunnels", {})
        for gone in tunnels.keys() - known:
            del tunnels[gone]
        taken = {each["port"] for other, each in tunnels.items() if other != index}
        if change.port and change.port in taken:
            core.fail("Unable to modify interface: Address already in use", 1)
        tunnel = tunnels.setdefault(index, empty())
        wg_config.apply(tunnel, change, verb)
        if wires.namespace() is not None:
            from bhype.lab import wg_wires

            wg_wires.carry(name, tunnel)
    return 0


_VERBS: dict[str, Callable[[str, list[str]], int]] = {
    **{
        "show": _show,
        "showconf": _showconf,
        "set": _set,
        "genkey": _genkey,
        "genpsk": _genkey,
        "pubkey": _pubkey,
    },
    **dict.fromkeys(("setconf", "addconf", "syncconf"), _setconf),
}
