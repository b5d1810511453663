"""Interfaces that ifconfig(8) makes from others: vlan, vxlan, lagg and epair (``freebsd/net.md`` 5 and 6).

Sources: S:sbin/ifconfig/ifvlan.c, ifvxlan.c, iflagg.c and ifclone.c; sys/net/if_vlan.c, if_vxlan.c, if_lagg.c. Of an
interface the state has what its words set: ``vlandev``, ``vlan``, ``vlanproto``, ``vlanpcp``; ``vxlanid``,
``vxlanlocal`` and so on; ``laggproto``, ``laggports``.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from bhype.lab import core
from bhype.lab.ifconfig_state import (
    CLONERS,
    EXISTS,
    INVALID,
    MISSING,
    NAME_MAX,
    NO_DEVICE,
    Trouble,
    add,
    bridge_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bhype.lab.ifconfig_run import Run

_PROTOCOLS = ("failover", "lacp", "loadbalance", "roundrobin", "broadcast", "none")
_MAX_VNI = 1 << 24


def create(run: Run) -> None:
    """``ifconfig NAME create``, with the words of the new interface that must be known when it is made."""
    wanted = run.name
    if len(wanted) > NAME_MAX:
        raise Trouble(f"ifconfig: {wanted}: cloning name too long")
    parent, _, tag = wanted.rpartition(".")
    dotted = parent in run.interfaces and tag.isdigit()
    kind = "vlan" if dotted else wanted.rstrip("ab") if wanted.startswith("epair") else wanted
    kind = kind.rstrip("0123456789")
    unit = "" if dotted else wanted[len(kind) :].rstrip("ab" if kind == "epair" else "")
    side = "b" if kind == "epair" and wanted.endswith("b") else ""
    is_known = kind in CLONERS and (kind != "pflog" or kind in core.peek("kld").get("loaded", {}))
    if not is_known or (unit.startswith("0") and unit != "0") or (unit and int(unit) > 32767) or side:
        raise Trouble(f"ifconfig: SIOCIFCREATE2 ({wanted}): {INVALID}")
    taken = {each["device"] for each in run.interfaces.values()} | set(run.interfaces)
    tail = "a" if kind == "epair" else ""
    if not dotted and not unit:
        number = 0
        while f"{kind}{number}{tail}" in taken:
            number += 1
        unit = str(number)
    name = wanted if dotted else f"{kind}{unit}{tail}"
    if name in taken:
        raise Trouble(f"ifconfig: SIOCIFCREATE2 ({wanted}): {EXISTS}")
    if kind == "vlan":
        _make_vlan(run, name, (parent, tag) if dotted else None)
    else:
        add(run.data, name, kind)
        if kind == "epair":
            _make_twins(run, name)
    run.printed = wanted != name
    run.name, run.made = name, kind
    if kind in ("tap", "vmnet"):
        open(core.root(f"/dev/{name}"), "w").close()


def _make_twins(run: Run, name: str) -> None:
    """Both sides of an epair; their addresses are of one draw and differ in their last byte (if_epair.c)."""
    noise = os.urandom(4).hex()
    middle = ":".join(noise[at : at + 2] for at in range(0, 8, 2))
    run.interfaces[name].update(ether=f"02:{middle}:0a")
    add(run.data, name[:-1] + "b", "epair")["ether"] = f"02:{middle}:0b"


# -- VLANs --------------------------------------------------------------------------------------------------


def _make_vlan(run: Run, name: str, dotted: tuple[str, str] | None) -> None:
    given: dict[str, str] = {}
    while len(run.words) > 1 and run.words[0] in ("vlan", "vlandev", "vlanproto", "vlanpcp"):
        word = run.words.pop(0)
        given[word] = run.words.pop(0)
    if dotted:
        given = {"vlandev": dotted[0], "vlan": dotted[1]} | given
    if "vlan" in given or "vlandev" in given:
        if "vlan" not in given:
            raise Trouble("ifconfig: must specify a tag for vlan create")
        if "vlandev" not in given:
            raise Trouble("ifconfig: must specify a parent device for vlan create")
        reason = _vlan_trouble(run, given["vlandev"], _tag(given["vlan"]), "")
        if reason:
            raise Trouble(f"ifconfig: SIOCIFCREATE2 ({run.name}): {reason}")
    me = add(run.data, name, "vlan")
    me.update(vlandev="", vlan=0, vlanproto=given.get("vlanproto", "802.1q"), vlanpcp=0)
    if "vlandev" in given:
        _tie(run, name, given["vlandev"], _tag(given["vlan"]))


def _tie(run: Run, name: str, parent: str, tag: int) -> None:
    """A VLAN has its parent's address, and its MTU unless that is too large."""
    above = run.interfaces[parent]
    run.interfaces[name].update(vlandev=parent, vlan=tag, ether=above["ether"], mtu=above["mtu"])


def _tag(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        raise Trouble("ifconfig: invalid value for vlan") from None
    if not 0 <= number <= 0xFFFF:
        raise Trouble("ifconfig: value for vlan out of range")
    return number


def _vlan_trouble(run: Run, parent: str, tag: int, me: str) -> str:
    if parent not in run.interfaces:
        return NO_DEVICE
    if not 1 <= tag <= 4094:
        return INVALID
    if run.interfaces[parent]["kind"] in ("lo", "wg"):
        return "Protocol not supported"
    if any(
        (each.get("vlandev"), each.get("vlan")) == (parent, tag) and name != me
        for name, each in run.interfaces.items()
    ):
        return EXISTS
    return ""


def set_vlan(run: Run, text: str) -> None:
    run.pending["vlan"] = str(_tag(text))
    _set_vlan(run)


def set_parent(run: Run, parent: str) -> None:
    run.pending["vlandev"] = parent
    _set_vlan(run)


def _set_vlan(run: Run) -> None:
    """Both are needed; `Run.all` complains at the end when one of them is missing."""
    if run.me["kind"] != "vlan" or len(run.pending) < 2:
        return
    parent, tag = run.pending["vlandev"], int(run.pending["vlan"])
    reason = _vlan_trouble(run, parent, tag, run.name) or ("Device busy" if run.me["vlandev"] else "")
    if (run.me["vlandev"], run.me["vlan"]) != (parent, tag):
        if reason:
            raise Trouble(f"ifconfig: SIOCSETVLAN: {reason}")
        _tie(run, run.name, parent, tag)


def clear_parent(run: Run, _parent: str = "") -> None:
    if run.me["kind"] != "vlan":
        raise Trouble(f"ifconfig: SIOCGETVLAN: {INVALID}")
    run.me.update(vlandev="", vlan=0)


def set_pcp(run: Run, text: str) -> None:
    if text not in tuple("01234567"):
        raise Trouble("ifconfig: invalid value for vlanpcp")
    run.me["vlanpcp"] = int(text)


# -- VXLAN --------------------------------------------------------------------------------------------------


def set_vni(run: Run, text: str) -> None:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number < _MAX_VNI:
        raise Trouble(f"ifconfig: invalid network identifier: {text}")
    _set_vxlan(run, "vxlanid", number, "VXLAN_CMD_SET_VNI")


def _address(kind: str, *, group: bool) -> Callable[[Run, str], None]:
    def word(run: Run, text: str) -> None:
        shown, many = _parse(text, kind)
        if many != group:
            wrong = "must be multicast" if group else "cannot be multicast"
            raise Trouble(f"ifconfig: {kind} address {wrong}")
        # A group is the remote end.
        run.me.pop("vxlanremote" if group else "vxlangroup" if kind == "remote" else "", None)
        _set_vxlan(
            run, f"vxlan{kind}", shown, f"VXLAN_CMD_SET_{'LOCAL' if kind == 'local' else 'REMOTE'}_ADDR"
        )

    return word


def _parse(text: str, kind: str) -> tuple[str, bool]:
    """An address as it is shown, and whether it is one of a group."""
    for family in (AF_INET, AF_INET6):
        try:
            packed = inet_pton(family, text)
        except OSError:
            continue
        many = packed[0] == 0xFF if family == AF_INET6 else packed[0] >> 4 == 0xE
        return inet_ntop(family, packed), many
    raise Trouble(f"ifconfig: error in parsing {kind} address string: Name does not resolve")


def _port(key: str) -> Callable[[Run, str], None]:
    def word(run: Run, text: str) -> None:
        if not text.isdigit() or int(text) >= 65535:
            raise Trouble(f"ifconfig: invalid {key.removeprefix('vxlan').removesuffix('port')} port: {text}")
        _set_vxlan(run, key, int(text), f"VXLAN_CMD_SET_{'LOCAL' if 'local' in key else 'REMOTE'}_PORT")

    return word


def set_device(run: Run, name: str) -> None:
    if name not in run.interfaces:
        raise Trouble(f"ifconfig: VXLAN_CMD_SET_MULTICAST_IF: {NO_DEVICE}")
    _set_vxlan(run, "vxlandev", name, "VXLAN_CMD_SET_MULTICAST_IF")


def _set_vxlan(run: Run, key: str, value: object, request: str) -> None:
    if run.me["kind"] != "vxlan":
        raise Trouble(f"ifconfig: {request}: {INVALID}")
    if run.me["up"]:  # vxlan_can_change_config in if_vxlan.c
        raise Trouble(f"ifconfig: {request}: Device busy")
    run.me[key] = value


# -- aggregations ---------------------------------------------------------------------------------------------


def set_protocol(run: Run, text: str) -> None:
    if text not in _PROTOCOLS:
        raise Trouble(f"ifconfig: Invalid aggregation protocol: {text}")
    if run.me["kind"] != "lagg":
        raise Trouble(f"ifconfig: SIOCSLAGG: {INVALID}")
    run.me["laggproto"] = text


def add_port(run: Run, port: str) -> None:
    """A port that cannot be taken is told of, and the others are taken all the same (iflagg.c)."""
    ports = run.me.setdefault("laggports", [])
    there = run.interfaces.get(port)
    holders = [each for each in run.interfaces.values() if port in each.get("laggports", ())]
    reason = ""
    if run.me["kind"] != "lagg" or (there is not None and there["kind"] in ("lo", "wg", "lagg")):
        reason = INVALID
    elif there is None:
        reason = NO_DEVICE
    elif holders:
        reason = "" if port in ports else "Device busy"
        if port in ports:
            return
    elif bridge_of(run.interfaces, port):
        reason = "Device busy"
    if reason:
        core.warn(f"ifconfig: {run.name} {port}: SIOCSLAGGPORT: {reason}")
        run.code = 1
        return
    if there is not None and not ports:
        run.me["ether"], run.me["mtu"] = there["ether"], there["mtu"]
    ports.append(port)


def remove_port(run: Run, port: str) -> None:
    if port not in run.me.get("laggports", ()):
        raise Trouble(f"ifconfig: SIOCSLAGGDELPORT: {MISSING if run.me['kind'] == 'lagg' else INVALID}")
    run.me["laggports"].remove(port)


def _ignore(run: Run, *_arguments: str) -> None:
    """Hashes, capabilities and the like: taken, and without effect here."""


WORDS: dict[str, tuple[int, Callable[..., None]]] = {
    **{"vlan": (1, set_vlan), "vlandev": (1, set_parent), "-vlandev": (0, clear_parent)},
    **{"vlanpcp": (1, set_pcp), "vlanproto": (1, _ignore)},
    **{"vni": (1, set_vni), "vxlanid": (1, set_vni), "vxlandev": (1, set_device)},
    **{"vxlanlocal": (1, _address("local", group=False)), "vxlanremote": (1, _address("remote", group=False))},
    **{"vxlangroup": (1, _address("group", group=True))},
    **{"vxlanlocalport": (1, _port("vxlanlocalport")), "vxlanremoteport": (1, _port("vxlanremoteport"))},
    **{"vxlanportrange": (2, _ignore), "vxlantimeout": (1, _ignore), "vxlanmaxaddr": (1, _ignore)},
    **{"vxlanttl": (1, _ignore), "vxlanlearn": (0, _ignore), "-vxlanlearn": (0, _ignore)},
    **{"vxlanflush": (0, _ignore), "vxlanflushall": (0, _ignore)},
    **{"laggproto": (1, set_protocol), "laggport": (1, add_port), "-laggport": (1, remove_port)},
    **{"lagghash": (1, _ignore), "laggtype": (1, _ignore)},
}  # fmt: skip
