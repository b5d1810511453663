"""drill(1) of ldns: ``drill [-o flags] name [@server] [type] [class]``; its answer as text (contrib/ldns/drill)."""

from __future__ import annotations

import ipaddress

from bhype.lab import core, resolver

USAGE = "  Usage: drill name [@server] [type] [class]"


def main(argv: list[str]) -> int:
    core.fault(" ".join(["drill", *argv]))
    recursive, port, reverse, words = True, 53, False, []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "-o" and rest:
            # "RD" sets the flag, "rd" clears it.
            flags = rest.pop(0)
            recursive = "RD" in flags or (recursive and "rd" not in flags)
        elif word == "-p" and rest:
            port = int(rest.pop(0))
        elif word == "-x":
            reverse = True
        elif word in ("-4", "-6", "-Q", "-u", "-t", "-a"):
            continue
        elif word.startswith("-"):
            core.fail(USAGE, 1)
        else:
            words.append(word)
    server = next((word[1:] for word in words if word.startswith("@")), resolver.servers()[0])
    plain = [word for word in words if not word.startswith("@")]
    kinds = [word.upper() for word in plain[1:] if word.upper() in resolver.TYPES]
    if not plain:
        core.fail(USAGE, 1)
    name = ipaddress.ip_address(plain[0]).reverse_pointer if reverse else plain[0]
    kind = kinds[0] if kinds else "PTR" if reverse else "A"
    try:
        reply = resolver.ask(server, name, kind, recursive=recursive, port=port)
    except resolver.NoAnswer:
        core.fail("Error: error sending query: Could not send or receive, because of network error", 1)
    _show(reply, name, kind, server)
    return 0


def _show(reply: resolver.Reply, name: str, kind: str, server: str) -> None:
    counts = [len(rows) for rows in reply.sections]
    print(f";; ->>HEADER<<- opcode: QUERY, rcode: {reply.code}, id: 1")
    print(
        f";; flags: {' '.join(reply.flags)} ; QUERY: 1, ANSWER: {counts[0]}, AUTHORITY: {counts[1]},"
        f" ADDITIONAL: {counts[2]} "
    )
    print(f";; QUESTION SECTION:\n;; {name.rstrip('.')}.\tIN\t{kind}")
    for title, rows in zip(("ANSWER", "AUTHORITY", "ADDITIONAL"), reply.sections, strict=True):
        print(f"\n;; {title} SECTION:")
        for owner, what, ttl, text in rows:
            print(f"{owner}\t{ttl}\tIN\t{what}\t{text}")
    print(f"\n;; Query time: 1 msec\n;; SERVER: {server}")
