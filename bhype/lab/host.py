"""host(1): looks up a name or an address: ``host [-t type] [-W seconds] name [server]``."""

from __future__ import annotations

import ipaddress

from bhype.lab import core, resolver

USAGE = (
    "Usage: host [-aCdilrTvVw46] [-c class] [-N ndots] [-t type] [-W time]\n"
    "            [-R number] hostname [server]"
)
_PHRASES = {
    "A": "has address", "AAAA": "has IPv6 address", "CNAME": "is an alias for", "MX": "mail is handled by",
    "PTR": "domain name pointer", "NS": "name server", "TXT": "descriptive text",
}  # fmt: skip


def main(argv: list[str]) -> int:
    core.fault(" ".join(["host", *argv]))
    try:
        options, words = core.getopt(argv, "aCdilrTvVw46c:N:t:W:R:")
    except core.BadOption:
        core.fail(USAGE, 1)
    given = dict(options)
    if len(words) not in (1, 2):
        core.fail(USAGE, 1)
    name, server = words[0], words[1] if len(words) == 2 else resolver.servers()[0]
    try:
        name = ipaddress.ip_address(name).reverse_pointer
        kinds = ["PTR"]
    except ValueError:
        kinds = ["A", "AAAA", "MX"]
    if "t" in given:
        kinds = [given["t"].upper()]
    if kinds[0] not in resolver.TYPES:
        core.fail(f"host: invalid type: {given.get('t')}", 1)
    if len(words) == 2:
        print(f"Using domain server:\nName: {server}\nAddress: {server}#53\nAliases: \n")
    found = False
    for kind in kinds:
        try:
            reply = resolver.ask(server, name, kind, patience=float(given.get("W", 5)))
        except resolver.NoAnswer:
            print(";; connection timed out; no servers could be reached")
            return 1
        if reply.code != "NOERROR":
            if found:
                break
            print(
                f"Host {words[0]} not found: {list(resolver.CODES.values()).index(reply.code)}({reply.code})"
            )
            return 1
        for owner, what, _, text in reply.answers:
            found = True
            print(f"{owner.rstrip('.')} {_PHRASES.get(what, f'has {what} record')} {text}")
    if not found and "t" in given:
        print(f"{words[0]} has no {kinds[0]} record")
    return 0
