"""The small parts of pf.conf(5)'s grammar: interfaces, protocols, hosts, ports, and how errors are told.

Source: pf.conf(5) GRAMMAR; S:sbin/pfctl/parse.y, host() and its kin in S:sbin/pfctl/pfctl_parser.c.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from bhype.lab.pf import names
from bhype.lab.pf.lexer import Lexer, Undefined
from bhype.lab.pf.rules import INET, INET6, Address, Operator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeVar

    from bhype.lab.pf.lexer import Token
    from bhype.lab.pf.world import World

    T = TypeVar("T")

# lookup() in parse.y; where a name is expected none of these will do.
_KEYWORDS = (
    "all allow-opts altq anchor antispoof any bandwidth binat binat-anchor bitmask block block-policy "
    "bridge-to buckets cbq code codelq debug divert-reply divert-to dnpipe dnqueue drop dup-to ether "
    "fail-policy fairq fastroute file fingerprints flags floating flush for fragment from global group "
    "hfsc hogs hostid icmp-type icmp6-type if-bound in include inet inet6 interval keep keepcounters l3 "
    "label limit linkshare load log loginterface map-e-portset match max max-mss max-src-conn "
    "max-src-conn-rate max-src-nodes max-src-states min-ttl modulate nat nat-anchor no no-df no-route "
    "no-sync on optimization os out overload pass port prio priority priq probability proto qlimit "
    "queue quick random random-id rdr rdr-anchor realtime reassemble reply-to require-order return "
    "return-icmp return-icmp6 return-rst ridentifier round-robin route route-to rtable rule "
    "ruleset-optimization scrub set set-tos skip sloppy source-hash source-track state state-defaults "
    "state-policy static-port sticky-address syncookies synproxy table tag tagged target tbrsize "
    "timeout to tos ttl upperlimit urpf-failed user"
)
KEYWORDS = frozenset(_KEYWORDS.split())
LATER = frozenset(("nat-to", "rdr-to", "binat-to", "af-to", "endpoint-independent"))
TABLE_NAME, INTERFACE_NAME, LABEL, TAG = 31, 15, 63, 63


class Bad(Exception):
    """The rest of a line makes no sense any more; the reason is told."""


class Words:
    """Reads words of a file, one ahead. errors: what was told, as ``FILE:LINE: reason``."""

    def __init__(self, text: str, name: str, world: World, macros: dict[str, str] | None = None) -> None:
        self.macros = dict(macros or {})
        self.name = name
        self.world = world
        self.lexer = Lexer(text, self.macros)
        self.errors: list[str] = []
        self.ahead: list[Token] = []
        self.keywords = KEYWORDS | LATER if world.release >= 15 else KEYWORDS

    # -- tokens --------------------------------------------------------------------------------------

    def peek(self, number: int = 0) -> Token:
        """The next token, or one of those that follow it."""
        if self.ahead and not number:
            return self.ahead[0]
        while len(self.ahead) <= number:
            try:
                self.ahead.append(self.lexer.next())
            except Undefined as error:
                self.tell(f"macro '{error}' not defined", self.lexer.line)
                self.lexer.rest_of_line()
                self.ahead.append(("error", "", self.lexer.line))
        return self.ahead[number]

    def take(self) -> Token:
        token = self.peek()
        self.ahead.pop(0)
        return token

    def tell(self, reason: str, line: int = 0) -> None:
        """Note an error and go on."""
        self.errors.append(f"{self.name}:{line or self.peek()[2]}: {reason}")

    def refuse(self, reason: str) -> NoReturn:
        """Note an error and give up the line."""
        self.tell(reason)
        raise Bad

    def wrong(self) -> NoReturn:
        self.refuse("syntax error")

    def sees(self, *words: str) -> bool:
        """Whether a keyword or sign comes next."""
        kind, text, _ = self.peek()
        if kind == "word":
            return text in words and text in self.keywords
        return kind in words and kind not in ("number", "string")

    def accept(self, *words: str) -> str:
        """The keyword or sign that comes next if it is one of ``words``, or ""."""
        return self.take()[1] if self.sees(*words) else ""

    def expect(self, *words: str) -> str:
        if not self.sees(*words):
            self.wrong()
        return self.take()[1]

    def says(self, *words: str) -> bool:
        """Whether a word comes next that is no keyword, but one of ``words``."""
        kind, text, _ = self.peek()
        return kind in ("word", "string") and text in words and not (kind == "word" and text in self.keywords)

    def string(self) -> str:
        """A STRING of the grammar: text in quotes, or a word that is no keyword."""
        kind, text, _ = self.peek()
        if kind == "string" or (kind == "word" and text not in self.keywords):
            return self.take()[1]
        return self.wrong()

    def is_string(self) -> bool:
        kind, text, _ = self.peek()
        return kind == "string" or (kind == "word" and text not in self.keywords)

    def number(self, low: int = 0, high: int = 0xFFFFFFFF, reason: str = "") -> int:
        """A NUMBER, or a STRING of digits as a macro may give it."""
        kind, text, _ = self.peek()
        if kind not in ("number", "string") or not text.removeprefix("-").isdigit():
            self.wrong()
        self.take()
        found = int(text)
        if not low <= found <= high:
            self.refuse(reason or f"invalid number {found}")
        return found

    def name_or_number(self) -> str:
        return self.take()[1] if self.peek()[0] == "number" else self.string()

    def lines(self) -> None:
        while self.peek()[0] == "\n":
            self.take()

    def several(self, one: Callable[[], T]) -> list[T]:
        """One thing, or a list of them in braces, with or without commas, on any number of lines."""
        if not self.accept("{"):
            return [one()]
        found = []
        self.lines()
        while True:
            found.append(one())
            self.lines()
            if self.accept(","):
                self.lines()
            if self.accept("}"):
                return found

    # -- interfaces, protocols -----------------------------------------------------------------------

    def interface(self) -> tuple[str, bool]:
        negated = bool(self.accept("!"))
        name = self.string()
        if len(name) > INTERFACE_NAME:
            self.refuse("interface name too long")
        return name, negated

    def interfaces(self) -> list[tuple[str, bool]]:
        """``on ...``; [("", False)] where it is missing."""
        return self.several(self.interface) if self.accept("on") else [("", False)]

    def family(self) -> str:
        return self.accept(INET, INET6)

    def protocol(self) -> int:
        word = self.name_or_number()
        found = names.protocol(word)
        if found is None:
            self.refuse("protocol outside range" if word.isdigit() else f"unknown protocol {word}")
        if found == 0:
            self.refuse("proto 0 cannot be used")
        return found

    def protocols(self) -> list[int]:
        return self.several(self.protocol) if self.accept("proto") else [0]

    # -- ports and numbers of users ------------------------------------------------------------------

    def port(self) -> int:
        return self._port(self.name_or_number())

    def _port(self, word: str) -> int:
        found = names.service(word)
        if found is None:
            self.refuse("illegal port value " + word if word.isdigit() else f"unknown port {word}")
        return found

    def operator(self) -> Operator:
        """A portrange with an operator, or two around one: "= 80", "22:80", "1 >< 9"."""
        sign = self._sign()
        word = self.name_or_number()
        if ":" in word.strip(":") and not sign:
            low, _, high = word.partition(":")
            return Operator(":", self._port(low), self._port(high))
        if ":" in word:
            self.wrong()
        if sign:
            return Operator(sign, self._port(word))
        between = self.accept("<>", "><")
        if between:
            return Operator(between, self._port(word), self.port())
        return Operator("=", self._port(word))

    def _sign(self) -> str:
        sign = self.accept("=", "!", "<", ">")
        if sign == "!":
            self.expect("=")
            return "!="
        return sign + self.accept("=") if sign in ("<", ">") else sign

    def operators(self) -> list[Operator | None]:
        """``port ...``; [None] where it is missing."""
        return [*self.several(self.operator)] if self.accept("port") else [None]

    def identity(self, what: str) -> Operator:
        """One of ``user`` or ``group``."""
        sign = self._sign()
        low = self._identity(what)
        between = "" if sign else self.accept("<>", "><")
        if between:
            return Operator(between, low, self._identity(what))
        return Operator(sign or "=", low)

    def _identity(self, what: str) -> int:
        word = self.name_or_number()
        if word.isdigit():
            return int(word)
        known = {
            "root": 0,
            "wheel": 0,
            "unknown": 0xFFFFFFFF,
            "nobody": 65534,
            "www": 80,
            "bind": 53,
            "proxy": 62,
        }
        if word not in known:
            self.refuse(f"unknown {what} {word}")
        return known[word]

    # -- hosts ---------------------------------------------------------------------------------------

    def hosts(self, *, route: bool = True) -> list[Address]:
        """An ipspec: "any", one host or a list; a host may have several addresses."""
        if self.accept("any"):
            return [Address()]
        return [each for found in self.several(lambda: self.host(route=route)) for each in found]

    def host(self, *, route: bool = True) -> list[Address]:
        negated = bool(self.accept("!"))
        if route:
            word = self.accept("no-route", "urpf-failed")
            if word:
                return [Address(word, negated=negated)]
        if self.accept("any"):
            return [Address(negated=negated)]
        return [_negated(each) for each in self.plain_host()] if negated else self.plain_host()

    def plain_host(self) -> list[Address]:
        """A host without a negation."""
        if self.accept("<"):
            name = self.string()
            if len(name) > TABLE_NAME:
                self.refuse(f"table name '{name}' too long")
            self.expect(">")
            return [Address("table", name)]
        if self.accept("("):
            found = self._dynamic(self.string())
            self.expect(")")
            if self.accept("/"):
                found = replace(found, prefix=self.number(0, 128))
            return [found]
        word = self.name_or_number() if self.peek()[0] == "number" else self.string()
        if self.accept("-"):
            return [self._range(word, self.string())]
        prefix = self.number(0, 128) if self.accept("/") else -1
        return self.lookup(word, prefix)

    def _range(self, low: str, high: str) -> Address:
        try:
            ends = ip_address(low), ip_address(high)
        except ValueError:
            self.refuse("could not parse host specification")
        if ends[0].version != ends[1].version or int(ends[0]) > int(ends[1]):
            self.refuse("could not parse host specification")
        return Address("range", f"{ends[0]} - {ends[1]}", family=INET if ends[0].version == 4 else INET6)

    def _dynamic(self, word: str) -> Address:
        name, *modifiers = word.split(":")
        if not name[:1].isalpha():
            self.refuse(f"invalid interface name '{word}'")
        if set(modifiers) - {"network", "broadcast", "peer", "0"}:
            self.refuse(f"interface {name} has bad modifier")
        if len(set(modifiers) - {"0"}) > 1:
            self.refuse("illegal combination of interface modifiers")
        if len(name) > INTERFACE_NAME:
            self.refuse("interface name too long")
        order = ("network", "broadcast", "peer", "0")
        return Address("dynamic", name, modifiers=tuple(f":{each}" for each in order if each in modifiers))

    def lookup(self, word: str, prefix: int) -> list[Address]:
        """host() in pfctl_parser.c: an interface's addresses, numbers, or a name of a host."""
        name, *modifiers = word.split(":")
        if name == "self" or self.world.members(name):
            if set(modifiers) - {"network", "broadcast", "peer", "0"}:
                self.refuse("could not parse host specification")
            found = self.world.addresses(name, [f":{each}" for each in modifiers])
            if not found:
                self._unknown(word)
            return [_net(each, prefix) for each in found]
        address, percent, scope = word.partition("%")
        try:
            if address.count(".") < 3 and prefix >= 0 and address.replace(".", "").isdigit():
                address += ".0" * (3 - address.count("."))
            family = INET if ip_address(address).version == 4 else INET6
            if prefix > 32 and family == INET:
                self._unknown(f"{word}/{prefix}")
            found_net = _net(f"{address}/{32 if family == INET else 128}", prefix)
        except ValueError:
            pass
        else:
            return (
                [Address("net", found_net.value, family=family, modifiers=(percent + scope,))]
                if scope
                else [found_net]
            )
        if word not in self.world.hosts:
            self._unknown(word)
        return [_net(f"{each}/{128 if ':' in each else 32}", prefix) for each in self.world.hosts[word]]

    def _unknown(self, word: str) -> NoReturn:
        self.errors.append(f"no IP address found for {word}")
        self.refuse("could not parse host specification")


def _net(text: str, prefix: int) -> Address:
    address, _, own = text.partition("/")
    network = ip_network(
        f"{address}/{own if prefix < 0 else min(prefix, 32 if '.' in address else 128)}", strict=False
    )
    if int(network.network_address) == 0 and network.prefixlen == 0:
        return Address(family=INET if network.version == 4 else INET6)
    return Address("net", str(network), family=INET if network.version == 4 else INET6)


def _negated(address: Address) -> Address:
    return replace(address, negated=True)
