"""Where packets are translated or routed to: pools of addresses with ports. Source: as `words`."""

from __future__ import annotations

import re

from bhype.lab.pf.rules import Address, Operator, Pool
from bhype.lab.pf.show import PROXY_HIGH, PROXY_LOW
from bhype.lab.pf.words import Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Fields = dict[str, Any]


class Pools(Words):
    """redirpool, pool_opts and route of parse.y."""

    def redirection(self, action: str, target_port: Operator | None) -> Pool:
        """``-> ...`` after the arrow. target_port: what a port of "rdr" is counted from."""
        listed = self.sees("{")
        addresses = [each for found in self.several(self.plain_host) for each in found]
        low, high = self._pool_ports(action, target_port) if self.accept("port") else (0, 0)
        if action == "nat" and not low:
            low, high = PROXY_LOW, PROXY_HIGH
        fields = self.pool_options()
        kind = fields.pop("kind")
        many = listed and len(addresses) > 1
        if action != "binat" and not kind and (many or addresses[0].kind == "table" or addresses[0].is_many):
            kind = "round-robin"
        if kind != "round-robin" and action != "binat":
            for each in addresses:
                if each.kind == "table":
                    self.refuse("tables are only supported in round-robin redirection pools")
                if each.is_many:
                    self.refuse(
                        f"interface ({each.value}) is only supported in round-robin redirection pools"
                    )
            if len({each.family for each in addresses}) < len(addresses):
                self.refuse("only round-robin valid for multiple redirection addresses")
        if fields["is_static"]:
            if action != "nat":
                self.refuse("the 'static-port' option is only valid with nat rules")
            if (low, high) != (PROXY_LOW, PROXY_HIGH):
                self.refuse("the 'static-port' option can't be used when specifying a port range")
            low = high = 0
        if fields["portset"][0] and action != "nat":
            self.refuse("the 'map-e-portset' option is only valid with nat rules")
        return Pool(tuple(addresses), (), low, high, kind, **fields)

    def _pool_ports(self, action: str, target_port: Operator | None) -> tuple[int, int]:
        word = self.name_or_number()
        first, colon, last = word.partition(":")
        low = self._port(first)
        if last == "*":
            span = target_port.high - target_port.low if target_port and target_port.high else 0
            return low, low + span if span > 0 else low
        if colon:
            return low, self._port(last)
        return low, low if action == "nat" else 0

    def pool_options(self) -> Fields:
        fields: Fields = {"kind": "", "key": "", "is_sticky": False, "is_static": False, "portset": (0, 0, 0)}
        while True:
            word = self.accept(
                "bitmask", "random", "round-robin", "source-hash", "sticky-address", "static-port"
            )
            if word == "sticky-address":
                fields["is_sticky"] = True
            elif word == "static-port":
                fields["is_static"] = True
            elif word:
                if fields["kind"]:
                    self.refuse("pool type cannot be redefined")
                fields["kind"] = word
                if word == "source-hash" and self.is_string():
                    fields["key"] = self._hash_key(self.string())
            elif self.accept("map-e-portset"):
                parts = [self.number(0, 16)]
                for _ in range(2):
                    self.expect("/")
                    parts.append(self.number(0, 65535))
                fields["portset"] = tuple(parts)
            else:
                return fields

    def _hash_key(self, word: str) -> str:
        if re.fullmatch("0x[0-9a-fA-F]{32}", word):
            return word.lower()
        if word.startswith("0x"):
            self.refuse(
                f"hex key must be 128 bits ({32} hex digits) long" if len(word) != 34 else "invalid hex key"
            )
        from hashlib import md5

        return "0x" + md5(word.encode(), usedforsecurity=False).hexdigest()

    def route(self) -> tuple[str, Pool | None]:
        """``route-to ...`` and its kin."""
        word = self.accept("route-to", "reply-to", "dup-to")
        if not word:
            return "", None
        found = [each for one in self.several(self._route_host) for each in one]
        fields = self.pool_options()
        kind = fields.pop("kind") or ("round-robin" if len(found) > 1 else "")
        return word, Pool(
            tuple(each for _, each in found), tuple(name for name, _ in found), kind=kind, **fields
        )

    def _route_host(self) -> list[tuple[str, Address]]:
        if not self.accept("("):
            return [(self.string(), Address())]
        name = self.string()
        found = [(name, each) for each in self.plain_host()]
        self.expect(")")
        return found
