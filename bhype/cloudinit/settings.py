"""What a guest is to be told, as the panel stores it (VM.cloud_init): read, and every value checked.

Rows are written by the unprivileged web process, so that root's worker reads them through here, too.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .passwords import is_hash
from .sshkeys import BadKey, public_key

CLOUD_INIT, NUAGEINIT = "cloud-init", "nuageinit"
KINDS = (CLOUD_INIT, NUAGEINIT)
INSTALLERS = ("autoinstall", "preseed", "kickstart", "installerconfig", "autounattend")
TEXT_MAX = 1 << 16
SCRIPTS_MAX = 16
LIST_MAX = 64
HIDDEN = "********"
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(_LABEL)
_FQDN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:_~=@/-]{0,127}")
_TIMEZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9_+-]{1,31}){0,2}")
_LOCALE = re.compile(r"[A-Za-z][A-Za-z0-9_.@-]{0,31}")
_SHELL = re.compile(r"(/[A-Za-z0-9._-]{1,32}){1,6}")


@dataclass(frozen=True, slots=True)
class Problem:
    """field: a key of the settings, "networks.gateway4" for one of a port; line: of a text, from 1 on, 0 when it is
    about no line; is_warning: it works, but perhaps not as meant."""

    field: str
    message: str
    line: int = 0
    is_warning: bool = False

    def __str__(self) -> str:
        return f"Line {self.line}: {self.message}" if self.line else self.message


class Invalid(ValueError):
    """Settings that no seed can be made of. Holds all problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.field}: {problem}" for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Network:
    """One port of the guest. nic: its number; addresses: with prefix, such as 10.0.0.5/24; either them or dhcp."""

    nic: int
    dhcp: bool = True
    addresses: tuple[str, ...] = ()
    gateway4: str = ""
    gateway6: str = ""
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of the library. kind: "user-data" or "script"."""

    kind: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Settings:
    """user: "" for the one that the image has; password_hash: as crypt(5); scripts: run once, as root, at the end;
    snippets: numbers of library rows; eject: whether the seed goes when it has been applied."""

    kind: str = CLOUD_INIT
    user: str = ""
    password_hash: str = ""
    ssh_keys: tuple[str, ...] = ()
    hostname: str = ""
    fqdn: str = ""
    networks: tuple[Network, ...] = ()
    user_data: str = ""
    scripts: tuple[str, ...] = ()
    snippets: tuple[int, ...] = ()
    packages: tuple[str, ...] = ()
    timezone: str = ""
    locale: str = ""
    shell: str = ""
    eject: bool = False
    # In place of all that: the answers of an installer, built in or by the number of a library row.
    installer: str = ""
    answers: int = 0


# What the panel notes beside the settings: which device carries the seed, where, and for which instance-id it has done
# its work.
NOTES = frozenset({"device", "slot", "applied"})


def parse(values: Mapping[str, Any]) -> Settings:
    """The settings that ``values`` (JSON) stand for. Raises Invalid."""
    return _Reader(values).settings()


class _Reader:
    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.problems: list[Problem] = []

    def settings(self) -> Settings:
        known = {*Settings.__slots__, *NOTES}
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f" Is {near[0]} meant?" if near else ""
                self._fault(str(key), f"There is no such setting.{hint}")
        found = Settings(
            kind=self._text("kind", one_of(KINDS)) or CLOUD_INIT,
            user=self._text("user", _user),
            password_hash=self._text("password_hash", _hash),
            ssh_keys=self._list("ssh_keys", _key),
            hostname=self._text("hostname", _like(_HOSTNAME, "a host name: letters, digits and hyphens")),
            fqdn=self._text("fqdn", _like(_FQDN, "a full name such as web1.example.org")),
            networks=self._networks(),
            user_data=self._long(self.values.get("user_data") or "", "user_data"),
            scripts=self._scripts(),
            snippets=self._snippets(),
            packages=self._list("packages", _like(_PACKAGE, "the name of a package")),
            timezone=self._text("timezone", _like(_TIMEZONE, "a time zone such as Europe/Rome")),
            locale=self._text("locale", _like(_LOCALE, "a locale such as en_US.UTF-8")),
            shell=self._text("shell", _like(_SHELL, "the path of a shell such as /bin/bash")),
            eject=self._flag("eject"),
            installer=self._text("installer", one_of(INSTALLERS)),
            answers=self._number("answers"),
        )
        if found.kind == NUAGEINIT and found.password_hash.startswith("$y$"):
            self._fault("password_hash", "FreeBSD does not know yescrypt. Set the password anew.")
        if self.problems:
            raise Invalid(self.problems)
        return found

    def _fault(self, field: str, message: str, line: int = 0) -> None:
        self.problems.append(Problem(field, message, line))

    def _text(self, key: str, check: Callable[[str], str]) -> str:
        value = self.values.get(key)
        if value is None or value == "":
            return ""
        return self._checked(key, value, check)

    def _checked(self, key: str, value: Any, check: Callable[[str], str]) -> str:
        if not isinstance(value, str):
            self._fault(key, "This is not a text.")
            return ""
        if problem := check(value):
            self._fault(key, problem)
        return value

    def _list(self, key: str, check: Callable[[str], str]) -> tuple[str, ...]:
        value = self.values.get(key)
        if value is None:
            return ()
        return self._strings(key, value, check)

    def _strings(self, key: str, value: Any, check: Callable[[str], str]) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or len(value) > LIST_MAX:
            self._fault(key, f"This is not a list of at most {LIST_MAX}.")
            return ()
        return tuple(dict.fromkeys(self._checked(key, each, check) for each in value))

    def _flag(self, key: str) -> bool:
        value = self.values.get(key)
        if not isinstance(value, bool | None):
            self._fault(key, "This is neither true nor false.")
        return bool(value)

    def _number(self, key: str) -> int:
        value = self.values.get(key) or 0
        if type(value) is not int or not 0 <= value < 1 << 31:
            self._fault(key, "This is not a number.")
            return 0
        return value

    def _long(self, value: Any, key: str) -> str:
        if not isinstance(value, str):
            self._fault(key, "This is not a text.")
            return ""
        if len(value.encode(errors="replace")) > TEXT_MAX:
            self._fault(key, f"It has more than {TEXT_MAX >> 10} KiB.")
            return ""
        text = value.replace("\r\n", "\n")
        for number, line in enumerate(text.split("\n"), 1):
            if not line.replace("\t", "").isprintable():
                self._fault(key, "There is a control character in it.", number)
                return ""
        return text

    def _scripts(self) -> tuple[str, ...]:
        values = self.values.get("scripts") or ()
        if not isinstance(values, list | tuple) or len(values) > SCRIPTS_MAX:
            self._fault("scripts", f"This is not a list of at most {SCRIPTS_MAX}.")
            return ()
        found = tuple(self._long(value, "scripts") for value in values)
        for script in found:
            if script and not script.startswith("#!"):
                self._fault("scripts", "A script begins with the line #!/bin/sh or another interpreter.", 1)
        return found

    def _snippets(self) -> tuple[int, ...]:
        values = self.values.get("snippets") or ()
        if not isinstance(values, list | tuple) or len(values) > LIST_MAX:
            self._fault("snippets", f"This is not a list of at most {LIST_MAX}.")
            return ()
        if any(type(value) is not int or value < 1 for value in values):
            self._fault("snippets", "This is not a list of numbers.")
            return ()
        return tuple(dict.fromkeys(values))

    def _networks(self) -> tuple[Network, ...]:
        values = self.values.get("networks") or ()
        if not isinstance(values, list | tuple) or len(values) > LIST_MAX:
            self._fault("networks", f"This is not a list of at most {LIST_MAX}.")
            return ()
        found: dict[int, Network] = {}
        for value in values:
            network = self._network(value)
            if network is None:
                continue
            if network.nic in found:
                self._fault("networks", f"Port {network.nic} is there twice.")
            found[network.nic] = network
        return tuple(found[nic] for nic in sorted(found))

    def _network(self, value: Any) -> Network | None:
        if not isinstance(value, dict) or value.keys() - set(Network.__slots__):
            self._fault(
                "networks", "A port has nic, and dhcp or addresses, gateways, nameservers and search."
            )
            return None
        nic = value.get("nic")
        if type(nic) is not int or not 0 <= nic <= 999:
            self._fault("networks", "A port has a number: nic.")
            return None
        before = len(self.problems)
        addresses = self._strings("networks.addresses", value.get("addresses") or (), _interface)
        servers = self._strings("networks.nameservers", value.get("nameservers") or (), _address)
        search = self._strings("networks.search", value.get("search") or (), _like(_FQDN, "a domain"))
        gateways = {key: value.get(key) or "" for key in ("gateway4", "gateway6")}
        dhcp = value.get("dhcp", not addresses)
        if not isinstance(dhcp, bool):
            self._fault("networks", "dhcp is true or false.")
        if dhcp and addresses:
            self._fault("networks.addresses", f"Port {nic} has either DHCP or addresses.")
        if not dhcp and not addresses and len(self.problems) == before:
            self._fault("networks.addresses", f"Port {nic} needs an address, such as 10.0.0.5/24, or DHCP.")
        for version, (key, gateway) in zip((4, 6), gateways.items(), strict=True):
            if gateway and (problem := _gateway(str(gateway), version, addresses)):
                self._fault(f"networks.{key}", problem)
        if len(self.problems) > before:
            return None
        return Network(nic, dhcp, addresses, **gateways, nameservers=servers, search=search)


# Checks: each returns a sentence, "" for what is right.


def one_of(values: tuple[str, ...]) -> Callable[[str], str]:
    return lambda value: "" if value in values else f"It is one of {', '.join(values)}."


def _like(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    return lambda value: "" if pattern.fullmatch(value) else f"{value[:64]!r} is not {what}."


def _user(value: str) -> str:
    if value == "root":
        return "Take another name: the user becomes root by sudo."
    return (
        ""
        if _USER.fullmatch(value)
        else "A user has small letters, digits, _ and -, and begins with a letter."
    )


def _hash(value: str) -> str:
    return "" if is_hash(value) else "This is not the hash of a password."


def _key(value: str) -> str:
    try:
        public_key(value)
    except BadKey as error:
        return str(error)
    return ""


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return f"{value[:64]!r} is not an IP address."
    return ""


def _interface(value: str) -> str:
    try:
        found = ipaddress.ip_interface(value)
    except ValueError:
        return f"{value[:64]!r} is not an address with its prefix, such as 10.0.0.5/24."
    if "/" not in value:
        return f"Write the prefix behind {value}, such as /24."
    if "%" in value or found.is_multicast or found.is_loopback or found.is_unspecified:
        return f"{value} is not an address for a guest."
    if found.version == 4 and found.network.prefixlen < 31 and found.ip in {
        found.network.network_address, found.network.broadcast_address,
    }:  # fmt: skip
        return f"{value} is the address of the network itself, or its broadcast address."
    return ""


def _gateway(value: str, version: int, addresses: tuple[str, ...]) -> str:
    try:
        gateway = ipaddress.ip_address(value)
    except ValueError:
        return f"{value[:64]!r} is not an IP address."
    if gateway.version != version:
        return f"{value} is not an IPv{version} address."
    networks = [ipaddress.ip_interface(address).network for address in addresses if not _interface(address)]
    same = [network for network in networks if network.version == version]
    if not gateway.is_link_local and not any(gateway in network for network in same):
        return f"{value} is in none of the networks of this port."
    return ""
