"""route(8): get, add, delete, change and flush, for networks, hosts and the default route (S:sbin/route/route.c)."""

from __future__ import annotations

import ipaddress

from bhype.lab import core, routes, wires

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

USAGE = "usage: route [-j jail] [-46dnqtv] command [[modifiers] args]"
EX_USAGE = 64


def main(argv: list[str]) -> int:
    core.fault(" ".join(["route", *argv]))
    try:
        options, words = core.getopt(argv, "nqdtv46j:")
    except core.BadOption:
        core.fail(USAGE, EX_USAGE)
    if not words:
        core.fail(USAGE, EX_USAGE)
    asked = _Words(words[1:], is_ipv6="6" in dict(options))
    quiet = "q" in dict(options)
    verb = words[0]
    if verb in ("get", "show"):
        return _get(asked)
    if verb in ("add", "delete", "del", "change"):
        return _change("delete" if verb == "del" else verb, asked, quiet=quiet)
    if verb != "flush":
        core.fail(USAGE, EX_USAGE)
    return _flush()


class _Words:
    """The words behind the verb: a destination, and a gateway or an interface."""

    def __init__(self, words: list[str], *, is_ipv6: bool) -> None:
        self.is_ipv6, self.is_host, self.interface = is_ipv6, False, ""
        plain: list[str] = []
        while words:
            word = words.pop(0)
            if word in ("-inet6", "-6"):
                self.is_ipv6 = True
            elif word in ("-interface", "-iface"):
                self.interface = words.pop(0) if words else ""
            elif word in ("-host", "-net"):
                self.is_host = word == "-host"
            elif word in ("-netmask", "-prefixlen", "-mtu", "-fib", "-weight") and words:
                value = words.pop(0)
                if word in ("-netmask", "-prefixlen") and plain and "/" not in plain[0]:
                    plain[0] += f"/{value}"
            elif not word.startswith("-"):
                plain.append(word)
        if not plain:
            core.fail(USAGE, EX_USAGE)
        self.shown = plain[0]
        self.gateway = self.interface or (plain[1] if len(plain) > 1 else "")
        self.is_ipv6 = self.is_ipv6 or ":" in self.shown
        self.where = self._where()

    def _where(self) -> str:
        if self.shown == "default":
            return "default6" if self.is_ipv6 else "default"
        try:
            found = ipaddress.ip_network(self.shown, strict=False)
        except ValueError:
            core.fail(f"route: bad address: {self.shown}", 68)
        if found.prefixlen == 0:
            return "default6" if self.is_ipv6 else "default"
        self.is_host = found.prefixlen == found.max_prefixlen
        return str(found.network_address if self.is_host else found)


def _get(asked: _Words) -> int:
    interfaces: dict[str, Any] = core.peek("ifconfig").get("interfaces", {})
    family = "inet6" if asked.is_ipv6 else "inet"
    found = _lookup(asked.where, family, interfaces)
    if found is None:
        core.fail("route: route has not been found", 1)
    destination, mask, gateway, name, flags = found
    print(f"   route to: {asked.shown}")
    print(f"destination: {destination}")
    if mask:
        print(f"       mask: {mask}")
    if gateway:
        print(f"    gateway: {gateway}")
    print(f"        fib: 0\n  interface: {name}\n      flags: <{flags}>")
    print(" recvpipe  sendpipe  ssthresh  rtt,msec    mtu        weight    expire")
    print(f"       0         0         0         0 {interfaces[name]['mtu']:9d}         1         0 ")
    return 0


def _lookup(where: str, family: str, interfaces: dict[str, Any]) -> tuple[str, str, str, str, str] | None:
    """destination, mask, gateway, interface and flags of the route that a packet takes."""
    known = core.peek("route").get("routes", {})
    if not where.startswith("default"):
        wanted = ipaddress.ip_network(where)
        for name, each in interfaces.items():
            if any(str(ipaddress.ip_interface(entry).ip) == where for entry in each[family]):
                return where, "", "", "lo0" if name != "lo0" else name, "UP,HOST,DONE,STATIC,PINNED"
        candidates: list[tuple[Any, str]] = routes.networks(interfaces, family)
        candidates += [
            (ipaddress.ip_network(each), gateway)
            for each, gateway in known.items()
            if not each.startswith("default") and (":" in each) == (family == "inet6")
        ]
        near = [(net.prefixlen, str(net), gateway) for net, gateway in candidates if wanted.subnet_of(net)]
        if near:
            _, text, gateway = max(near)
            return _described(text, gateway, interfaces)
    gateway = known.get("default6" if family == "inet6" else "default", "")
    return _described("default", gateway, interfaces) if gateway else None


def _described(text: str, gateway: str, interfaces: dict[str, Any]) -> tuple[str, str, str, str, str] | None:
    name = routes.way(gateway, interfaces)
    if not name:
        return None
    direct = gateway in interfaces
    flags = "UP,DONE,PINNED" if direct else "UP,GATEWAY,DONE,STATIC"
    if text == "default":
        return "default", "default", "" if direct else gateway, name, flags
    found = ipaddress.ip_network(text)
    return str(found.network_address), str(found.netmask), "" if direct else gateway, name, flags


def _change(verb: str, asked: _Words, *, quiet: bool) -> int:
    interfaces = core.peek("ifconfig").get("interfaces", {})
    reason = ""
    if asked.interface and asked.interface not in interfaces:
        core.fail(f"route: bad address: {asked.interface}", 68)
    with core.state("route") as data:
        known = data.setdefault("routes", {})
        if verb == "delete":
            is_ours = asked.where in known and asked.gateway in ("", known.get(asked.where))
            reason = "" if is_ours else "not in table"
            if is_ours:
                del known[asked.where]
        elif not asked.gateway:
            core.fail(USAGE, EX_USAGE)
        elif verb == "add" and asked.where in known:
            reason = "route already in table"
        elif verb == "change" and asked.where not in known:
            reason = "not in table"
        elif not routes.way(asked.gateway, interfaces):
            reason = "Network is unreachable"
        else:
            known[asked.where] = asked.gateway
    wires.carry()
    kind = "host" if asked.is_host and not asked.where.startswith("default") else "net"
    line = f"{verb} {kind} {asked.shown}" + (f": gateway {asked.gateway}" if asked.gateway else "")
    if reason:
        line += f" fib 0: {reason}"
    if not quiet:
        print(line)
    return 1 if reason else 0


def _flush() -> int:
    with core.state("route") as data:
        for where, gateway in data.get("routes", {}).items():
            print(f"{'default' if where.startswith('default') else where}          {gateway}       done")
        data["routes"] = {}
    wires.carry()
    return 0
