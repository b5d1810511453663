"""What a rule file is read against: interfaces with their addresses and groups, files to include, the release."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any


@dataclass(frozen=True)
class Interface:
    """addresses: as "192.0.2.10/24", in their order; groups: as ("bridge", "bhype"). members: of a bridge."""

    addresses: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    ether: str = ""
    is_loopback: bool = False


def _no_file(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


@dataclass
class World:
    """A host as pf sees it. read: the text of a file of the host, raises OSError."""

    interfaces: Mapping[str, Interface] = field(
        default_factory=lambda: {
            "em0": Interface(("192.0.2.10/24",), ("egress",)),
            "lo0": Interface(("127.0.0.1/8", "::1/128"), ("lo",), is_loopback=True),
        }
    )
    release: int = 14
    read: Callable[[str], str] = _no_file
    # The interface of the default route; "" without one.
    default: str = "em0"
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"localhost": ("127.0.0.1", "::1")})

    def members(self, name: str) -> list[str]:
        """The interfaces that ``name`` stands for: itself, or those of a group; none for a stranger."""
        if name in self.interfaces:
            return [name]
        return [each for each, found in self.interfaces.items() if name in found.groups]

    def addresses(self, name: str, modifiers: Iterable[str] = ()) -> list[str]:
        """What an interface, a group or "self" has, as networks: "192.0.2.10/32", with ":network" "192.0.2.0/24"."""
        found: list[str] = []
        for each in self.interfaces if name == "self" else self.members(name):
            seen: set[int] = set()
            for text in self.interfaces[each].addresses:
                address = ip_interface(text.partition("%")[0] + text[text.find("/") :] * ("%" in text))
                local = address.version == 6 and address.is_link_local
                if ":0" in modifiers and (address.version in seen or local):
                    continue
                seen.add(address.version)
                if ":network" in modifiers:
                    if not local:
                        found.append(str(address.network))
                elif ":broadcast" in modifiers:
                    if address.version == 4:
                        found.append(f"{address.network.broadcast_address}/32")
                elif ":peer" not in modifiers:
                    found.append(f"{address.ip}/{address.max_prefixlen}")
        return found


def of_lab(data: dict[str, Any], release: int, read: Callable[[str], str]) -> World:
    """The world of a lab; ``data`` is the state "ifconfig" (see `bhype.lab.ifconfig`)."""
    interfaces = {
        name: Interface(
            (*each["inet"], *each["inet6"]),
            tuple(each["groups"]),
            tuple(each.get("members", ())),
            each.get("ether", ""),
            each["kind"] == "lo",
        )
        for name, each in data.get("interfaces", {}).items()
    }
    return World(interfaces, release, read)
