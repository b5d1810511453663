"""ifconfig(8)'s words about bridges: S:sbin/ifconfig/ifbridge.c, and what sys/net/if_bridge.c refuses.

Of a bridge the state has ``members``, ``private``, ``span`` (names); ``ports``: {MEMBER: {flag or number that was
set}}; ``static``: {MAC: MEMBER}; ``settings``: {word: value}; and of a bridge that tells VLANs apart (15.0)
``vlanfilter``, ``defuntagged``, ``untagged``: {MEMBER: id}, ``tagged``: {MEMBER: [id]}.
"""

from __future__ import annotations

from bhype.lab import core, release
from bhype.lab.ifconfig_state import EXISTS, INVALID, MISSING, Trouble, bridge_of, is_mac, leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from bhype.lab.ifconfig_run import Run
    from bhype.lab.ifconfig_state import Interface

_VLANS = range(1, 4095)


def _refuse(request: str, what: str, reason: str) -> NoReturn:
    raise Trouble(f"ifconfig: {request} {what}: {reason}".replace(" :", ":"))


def add_member(run: Run, member: str) -> None:
    untagged, tagged = 0, None
    while release.major() >= 15 and run.words[:1] in (["untagged"], ["tagged"]):
        word = run.words.pop(0)
        if not run.words:
            raise Trouble(f"ifconfig: usage: {word} <vlan {'id' if word == 'untagged' else 'set'}>")
        if word == "untagged":
            untagged = _vlan(run.words.pop(0))
        else:
            tagged = _vlans(run.words.pop(0))
    _check_new(run, member, "BRDGADD")
    me = run.me
    if release.major() >= 15 and core.peek("sysctl").get("net.link.bridge.member_ifaddrs") != "1":
        there = run.interfaces[member]
        if there["inet"] or any(not each.startswith("fe80:") for each in there["inet6"]):
            _refuse("BRDGADD", member, INVALID)
    if me["members"]:
        run.interfaces[member]["mtu"] = me["mtu"]
    else:
        me["mtu"] = run.interfaces[member]["mtu"]
    me["members"].append(member)
    if me.get("vlanfilter") and me.get("defuntagged"):
        me.setdefault("untagged", {})[member] = me["defuntagged"]
    if untagged:
        set_untagged(run, member, str(untagged))
    if tagged is not None:
        _set_tagged(run, member, tagged, member)


def _check_new(run: Run, member: str, request: str) -> None:
    if run.me["kind"] != "bridge":
        _refuse(request, member, INVALID)
    if member not in run.interfaces:
        _refuse(request, member, MISSING)
    if member in run.me["members"]:
        _refuse(request, member, EXISTS)
    if member in run.me.get("span", ()) or bridge_of(run.interfaces, member):
        _refuse(request, member, "Device busy")
    if run.interfaces[member]["kind"] in ("bridge", "lo", "wg"):
        _refuse(request, member, INVALID)


def remove_member(run: Run, member: str) -> None:
    if member not in run.me.get("members", ()):
        _refuse("BRDGDEL", member, MISSING if run.me["kind"] == "bridge" else INVALID)
    leave(run.me, member)


def add_span(run: Run, member: str) -> None:
    _check_new(run, member, "BRDGADDS")
    run.me.setdefault("span", []).append(member)


def remove_span(run: Run, member: str) -> None:
    if member not in run.me.get("span", ()):
        _refuse("BRDGDELS", member, MISSING if run.me["kind"] == "bridge" else INVALID)
    run.me["span"].remove(member)


def need_member(run: Run, member: str) -> None:
    if member not in run.me.get("members", ()):
        raise Trouble(f"ifconfig: unable to get bridge flags: {MISSING}")


def make_private(run: Run, member: str) -> None:
    need_member(run, member)
    if member not in run.me["private"]:
        run.me["private"].append(member)


def make_public(run: Run, member: str) -> None:
    need_member(run, member)
    if member in run.me["private"]:
        run.me["private"].remove(member)


def _flag(name: str, *, on: bool) -> Callable[[Run, str], None]:
    def word(run: Run, member: str) -> None:
        need_member(run, member)
        run.me.setdefault("ports", {}).setdefault(member, {})[name] = on

    return word


def _number(name: str, request: str) -> Callable[[Run, str, str], None]:
    """ifmaxaddr, ifpriority, ifpathcost."""

    def word(run: Run, member: str, text: str) -> None:
        number = _value(text)
        if member not in run.me.get("members", ()):
            _refuse(request, text, MISSING)
        run.me.setdefault("ports", {}).setdefault(member, {})[name] = number

    return word


def _setting(name: str, most: int = 0xFFFFFFFF) -> Callable[[Run, str], None]:
    def word(run: Run, text: str) -> None:
        number = _value(text)
        if number > most:
            raise Trouble(f"ifconfig: invalid value: {text}")
        _need_bridge(run, "BRDGSCACHE" if name == "maxaddr" else "BRDGSTO")
        run.me.setdefault("settings", {})[name] = number

    return word


def set_protocol(run: Run, text: str) -> None:
    if text.lower() not in ("stp", "rstp"):
        raise Trouble("ifconfig: unknown stp protocol")
    _need_bridge(run, f"BRDGSPROTO {text}")
    run.me.setdefault("settings", {})["proto"] = text.lower()


def _need_bridge(run: Run, request: str) -> None:
    if run.me["kind"] != "bridge":
        raise Trouble(f"ifconfig: {request}: {INVALID}")


def _value(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise Trouble(f"ifconfig: invalid value: {text}") from None


# -- addresses that a bridge has learnt ---------------------------------------------------------------------


def flush(run: Run) -> None:
    _need_bridge(run, "BRDGFLUSH")
    run.later.append(("flush", run.name))


def flush_all(run: Run) -> None:
    flush(run)
    run.me.pop("static", None)


def add_static(run: Run, member: str, mac: str) -> None:
    if not is_mac(mac):
        raise Trouble(
            f"ifconfig: {member + ': ' if release.major() < 15 else ''}invalid address: {mac}".replace(
                "::", ":"
            )
        )
    if member not in run.me.get("members", ()):
        _refuse("BRDGSADDR", "" if release.major() >= 15 else member, MISSING)
    run.me.setdefault("static", {})[_mac(mac)] = member


def remove_address(run: Run, mac: str) -> None:
    if not is_mac(mac):
        raise Trouble(f"ifconfig: invalid address: {mac}")
    if run.me.get("static", {}).pop(_mac(mac), None) is None:
        _refuse("BRDGDADDR", "" if release.major() >= 15 else mac, MISSING)


def _mac(text: str) -> str:
    return ":".join(part.zfill(2) for part in text.lower().split(":"))


def tell_addresses(run: Run) -> None:
    """``addr``: what stands in the bridge's table, one a line (see `learnt`)."""
    if run.me["kind"] != "bridge":
        raise Trouble(f"ifconfig: unable to get address cache: {INVALID}")
    run.later.append(("addr", run.name))


def learnt(bridge: Interface, name: str) -> list[str]:
    """The lines of ``addr``: what was set, and with wires what the bridge there has heard."""
    from bhype.lab import wires

    static: dict[str, str] = bridge.get("static", {})
    lines = [f"{mac} Vlan0 {member} 0 flags=1<STATIC>" for mac, member in static.items()]
    timeout = bridge.get("settings", {}).get("timeout", 1200)
    if wires.namespace() is not None:
        from bhype.lab import wires_look

        lines += [
            f"{mac} Vlan0 {member} {max(0, timeout - age)} flags=0<>"
            for mac, member, age in wires_look.heard(name, bridge["members"])
            if mac not in static
        ]
    return lines


# -- VLANs of members (15.0) ---------------------------------------------------------------------------------


def _vlan(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = 0
    if number not in _VLANS:
        raise Trouble(f"ifconfig: invalid VLAN identifier: {text}")
    return number


def _vlans(text: str) -> list[int]:
    if text in ("none", "all"):
        return list(_VLANS) if text == "all" else []
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise Trouble(f"ifconfig: invalid vlan set: {text}")
        numbers = range(int(first), int(last or first) + 1)
        if not numbers or numbers[0] not in _VLANS or numbers[-1] not in _VLANS:
            raise Trouble(f"ifconfig: invalid vlan set: {text}")
        found.update(numbers)
    return sorted(found)


def set_filter(run: Run) -> None:
    _need_bridge(run, "BRDGGFLAGS")
    run.me["vlanfilter"] = True


def clear_filter(run: Run) -> None:
    _need_bridge(run, "BRDGGFLAGS")
    run.me["vlanfilter"] = False


def set_default(run: Run, text: str) -> None:
    try:
        number = _vlan(text)
    except Trouble:
        raise Trouble(f"ifconfig: invalid vlan id: {text}") from None
    _need_bridge(run, "BRDGSDEFPVID")
    if not run.me.get("vlanfilter"):
        raise Trouble(f"ifconfig: BRDGSDEFPVID: {INVALID}")
    run.me["defuntagged"] = number


def clear_default(run: Run) -> None:
    _need_bridge(run, "BRDGSDEFPVID")
    run.me["defuntagged"] = 0


def _need_vlans(run: Run, member: str, request: str, text: str) -> None:
    if member not in run.me.get("members", ()):
        _refuse(request, text, MISSING if run.me["kind"] == "bridge" else INVALID)
    if not run.me.get("vlanfilter"):
        _refuse(request, text, INVALID)


def set_untagged(run: Run, member: str, text: str) -> None:
    number = _vlan(text)
    _need_vlans(run, member, "BRDGSIFPVID", text)
    run.me.setdefault("untagged", {})[member] = number


def clear_untagged(run: Run, member: str) -> None:
    _need_vlans(run, member, "BRDGSIFPVID", "")
    run.me.get("untagged", {}).pop(member, None)


def set_tagged(run: Run, member: str, text: str) -> None:
    _set_tagged(run, member, _vlans(text), text)


def add_tagged(run: Run, member: str, text: str) -> None:
    there = run.me.get("tagged", {}).get(member, [])
    _set_tagged(run, member, sorted({*there, *_vlans(text)}), text)


def remove_tagged(run: Run, member: str, text: str) -> None:
    there = run.me.get("tagged", {}).get(member, [])
    _set_tagged(run, member, sorted({*there} - {*_vlans(text)}), text)


def _set_tagged(run: Run, member: str, numbers: list[int], text: str) -> None:
    _need_vlans(run, member, "BRDGSIFVLANSET", text)
    run.me.setdefault("tagged", {})[member] = numbers


# The number of arguments, and what does it.
WORDS: dict[str, tuple[int, Callable[..., None]]] = {
    **{"addm": (1, add_member), "deletem": (1, remove_member)},
    **{"span": (1, add_span), "-span": (1, remove_span)},
    **{"private": (1, make_private), "-private": (1, make_public)},
    **{
        sign + name: (1, _flag(name, on=not sign))
        for name in ("stp", "edge", "autoedge", "ptp", "autoptp", "sticky", "learn", "discover")
        for sign in ("", "-")
    },
    **{"ifmaxaddr": (2, _number("ifmaxaddr", "BRDGSIFAMAX"))},
    **{"ifpriority": (2, _number("ifpriority", "BRDGSIFPRIO"))},
    **{"ifpathcost": (2, _number("ifpathcost", "BRDGSIFCOST"))},
    **{"maxaddr": (1, _setting("maxaddr")), "timeout": (1, _setting("timeout")), "proto": (1, set_protocol)},
    **{"priority": (1, _setting("priority", 0xFFFF)), "hellotime": (1, _setting("hellotime", 0xFF))},
    **{"fwddelay": (1, _setting("fwddelay", 0xFF)), "maxage": (1, _setting("maxage", 0xFF))},
    **{"holdcnt": (1, _setting("holdcnt", 0xFF))},
    **{"flush": (0, flush), "flushall": (0, flush_all), "addr": (0, tell_addresses)},
    **{"static": (2, add_static), "deladdr": (1, remove_address)},
}
WORDS_15: dict[str, tuple[int, Callable[..., None]]] = {
    **{"vlanfilter": (0, set_filter), "-vlanfilter": (0, clear_filter)},
    **{"defuntagged": (1, set_default), "-defuntagged": (0, clear_default)},
    **{"ifuntagged": (2, set_untagged), "-ifuntagged": (1, clear_untagged)},
    **{"iftagged": (2, set_tagged), "+iftagged": (2, add_tagged), "-iftagged": (2, remove_tagged)},
}
