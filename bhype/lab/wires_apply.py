"""Carries a plan (`wires_plan`) into the lab's namespaces with ``ip -batch`` and ``tc -batch``, as few as possible.

The state "wired" keeps the plan that was carried out last; "dirty" says that somebody began to change it and did not
end: then all is done anew, each step in such a way that it can be repeated.
"""

from __future__ import annotations

import json
import os

from bhype.lab import bhyve_state, core, wires, wires_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Table = dict[str, dict[str, Any]]

# What each namespace is given when its wires are put up. Addresses are what the state says and nothing else.
_KERNEL = {
    **{f"net/ipv6/conf/{each}/accept_ra": "0" for each in ("all", "default")},
    **{f"net/ipv6/conf/{each}/accept_dad": "0" for each in ("all", "default")},
    **{f"net/ipv6/conf/{each}/keep_addr_on_down": "1" for each in ("all", "default")},
    **{f"net/ipv6/conf/{each}/addr_gen_mode": "1" for each in ("all", "default")},
    **{f"net/ipv4/conf/{each}/rp_filter": "0" for each in ("all", "default")},
    # As FreeBSD: who gets an address tells its neighbours, see _set.
    **{f"net/ipv4/conf/{each}/arp_notify": "1" for each in ("all", "default")},
    **{f"net/ipv6/conf/{each}/ndisc_notify": "1" for each in ("all", "default")},
    **{f"net/bridge/bridge-nf-call-{each}": "0" for each in ("iptables", "ip6tables", "arptables")},
}
_OUTSIDE = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}


def carry(pid: int, outside: int) -> None:
    """pid, outside: processes in the lab's namespace and in the one outside."""
    with core.state("wired") as data:
        states = {name: core.peek(name) for name in ("ifconfig", "netgraph", "vale", "route", "sysctl")}
        wanted = wires_plan.plan(states, bhyve_state.tap_openers())
        wanted["kernel"] = _kernel(states["sysctl"])
        path = f"{core.folder()}/state/wired.json"
        # As it would be read back.
        wanted = json.loads(json.dumps(wanted))
        anew = data.get("dirty", True)
        if not anew and data == wanted | {"dirty": False}:
            return
        core.replace(path, json.dumps(data | {"dirty": True}))
        if anew:
            _boot(pid, outside)
        _carry(pid, outside, {} if anew else data, wanted, anew=anew)
        data.clear()
        data.update(wanted, dirty=False)
        # Also where nothing is new: then the state would leave the file as it was, dirty.
        core.replace(path, json.dumps(data))


def _kernel(sysctl: dict[str, str]) -> dict[str, str]:
    """The switches of the kernel that stand for FreeBSD's (``freebsd/net.md`` 10)."""
    return {
        "net/ipv4/ip_forward": sysctl.get("net.inet.ip.forwarding", "0"),
        "net/ipv6/conf/all/forwarding": sysctl.get("net.inet6.ip6.forwarding", "0"),
    }


def _boot(pid: int, outside: int) -> None:
    _write(pid, _KERNEL)
    _write(outside, _KERNEL | _OUTSIDE)
    _batch(outside, "ip", ["link set dev lo up"])
    _batch(pid, "ip", ["link set dev lo name lo0"])


def _carry(pid: int, outside: int, before: dict[str, Any], wanted: dict[str, Any], *, anew: bool) -> None:
    old, new = before.get("lab", {}), wanted["lab"]
    out_old, out_new = before.get("outside", {}), wanted["outside"]
    if anew:
        _batch(pid, "ip", _strangers(pid, new, "lo0"))
        _batch(outside, "ip", _strangers(outside, out_new, "lo"))
    _batch(pid, "ip", _gone(old, new))
    _batch(outside, "ip", [*_gone(out_old, out_new), *_made(out_old, out_new, 0)])
    _batch(pid, "ip", [*_renamed(old, new), *_made(old, new, outside)])
    made = _pairs(old, new) | _pairs(out_old, out_new)
    _batch(outside, "ip", _set(out_old, out_new, made, anew=anew))
    _batch(pid, "ip", [*_set(old, new, made, anew=anew), *_routes(before, wanted)])
    _batch(pid, "tc", _rates(old, new, anew=anew))
    if anew or before.get("kernel") != wanted["kernel"]:
        _write(pid, wanted["kernel"])


def _strangers(pid: int, new: Table, kept: str) -> list[str]:
    """Remove the devices that nobody wants."""
    wanted = {link["name"] for link in new.values()}
    return [f"link del dev {name}" for name in counters(pid) if name not in wanted and name != kept]


def _gone(old: Table, new: Table) -> list[str]:
    """Remove what is wanted no more, or as another kind; the other end of a pair goes with it."""
    return [
        f"link del dev {link['name']}"
        for key, link in old.items()
        if link["make"] and (key not in new or _is_fresh(key, old, new))
    ]


def _kind(link: dict[str, Any]) -> list[str]:
    """What cannot be changed at a device; the name of a pair's other end can."""
    make: list[str] = link["make"] or []
    return [word for at, word in enumerate(make) if not at or make[at - 1] != "peer"]


def _is_fresh(key: str, old: Table, new: Table) -> bool:
    return key not in old or _kind(old[key]) != _kind(new[key])


def _renamed(old: Table, new: Table) -> list[str]:
    return [
        f"link set dev {old[key]['name']} name {link['name']}"
        for key, link in new.items()
        if not _is_fresh(key, old, new) and old[key]["name"] != link["name"]
    ]


def _made(old: Table, new: Table, outside: int) -> list[str]:
    lines = []
    for key, link in new.items():
        make = link["make"]
        if not make or not _is_fresh(key, old, new):
            continue
        if make[0] == "tuntap":
            lines.append(f"tuntap add dev {link['name']} {' '.join(make[1:])}")
        else:
            words = " ".join(make).replace("peer ", "peer name ").replace(" outside", f" netns {outside}")
            lines.append(f"link add name {link['name']} {words}")
    return lines


def _set(old: Table, new: Table, made: set[str], *, anew: bool) -> list[str]:
    """What has changed at each device. made: names of devices that were made just now, as others' other ends."""
    links: list[str] = []
    mtus: list[str] = []
    addresses: list[str] = []
    for key, link in new.items():
        is_new = _is_fresh(key, old, new) or link["name"] in made
        was = {} if is_new else old[key]
        dev = f"dev {link['name']}"
        if link["ether"] and was.get("ether") != link["ether"]:
            links.append(f"link set {dev} address {link['ether']}")
        if was.get("master", "") != link["master"] or anew:
            links.append(f"link set {dev} " + (f"master {link['master']}" if link["master"] else "nomaster"))
        if link["master"] and (was.get("master"), was.get("isolated")) != (link["master"], link["isolated"]):
            links.append(f"link set {dev} type bridge_slave isolated {'on' if link['isolated'] else 'off'}")
        if was.get("mtu") != link["mtu"]:
            # A bridge's MTU is its ports' until it is set itself: it comes after them.
            (mtus if link["make"] == ["type", "bridge"] else links).append(
                f"link set {dev} mtu {link['mtu']}"
            )
        if was.get("up") != link["up"]:
            links.append(f"link set {dev} {'up' if link['up'] else 'down'}")
        if anew:
            links.append(f"addr flush {dev}")
        there = was.get("inet", [])
        links += [f"addr del {each} {dev}" for each in there if each not in link["inet"]]
        # Linux drops those of the link itself when it goes down.
        back = link["up"] and was.get("up") is False
        added = [each for each in link["inet"] if each not in there or (back and each.startswith("fe80:"))]
        addresses += [f"addr add {each} {dev}{_more(each)}" for each in added]
        if link["ether"] and any("." in each for each in added):
            # To be given its own address is the sign for Linux to announce those of the next layer; it forgets its
            # neighbours, too.
            addresses.append(f"link set {dev} address {link['ether']}")
    return links + mtus + addresses


def _pairs(old: Table, new: Table) -> set[str]:
    """The other ends of pairs that are made."""
    found = [link["make"] for key, link in new.items() if link["make"] and _is_fresh(key, old, new)]
    return {make[make.index("peer") + 1] for make in found if "peer" in make}


def _more(address: str) -> str:
    return " nodad" if ":" in address else " brd +"


def _routes(before: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Routes go with the addresses that they were reached by, so they are all said again after a change."""
    old, new = before.get("routes", {}), wanted["routes"]
    lines = [_route("del", where, old[where]) for where in old if where not in new]
    return lines + [_route("replace", where, gateway) for where, gateway in new.items()]


def _route(verb: str, where: str, gateway: str) -> str:
    """gateway: an address, which may tell of its link, or an interface."""
    # By its target ip(8) knows the family: in a batch nobody can say -6.
    target = {"default": "0.0.0.0/0", "default6": "::/0"}.get(where, where)
    address, _, link = gateway.partition("%")
    if address[:1].isdigit() or ":" in address:
        return f"route {verb} {target} via {address}" + (f" dev {link}" if link else "")
    return f"route {verb} {target} dev {gateway}"


def _rates(old: Table, new: Table, *, anew: bool) -> list[str]:
    lines = []
    for key, link in new.items():
        was = old.get(key, {}).get("rate", 0)
        if link["rate"] == was and not anew:
            continue
        if link["rate"]:
            # Room for a tenth of a second, and for some frames in any case.
            burst = max(link["rate"] // 80, 16 * 1600)
            lines.append(
                f"qdisc replace dev {link['name']} root tbf rate {link['rate']} burst {burst} latency 200ms"
            )
        elif was:
            lines.append(f"qdisc del dev {link['name']} root")
    return lines


def counters(pid: int) -> dict[str, list[int]]:
    """/proc/net/dev of a process' namespace: the sixteen figures by device (proc(5)), received first."""
    with open(f"/proc/{pid}/net/dev") as file:
        rows = [line.partition(":") for line in file.readlines()[2:]]
    return {name.strip(): [int(word) for word in rest.split()] for name, _, rest in rows}


def _write(pid: int, values: dict[str, str]) -> None:
    """Set switches of the kernel; one that this machine's kernel lacks changes nothing."""
    script = "".join(f"echo {value} > /proc/sys/{name} 2>/dev/null\n" for name, value in values.items())
    _spawn(pid, ["sh", "-c", script], "")


def _batch(pid: int, program: str, lines: list[str]) -> None:
    """Errors of single lines are expected where a change is repeated, and shown to nobody."""
    if lines:
        _spawn(pid, [program, "-force", "-batch", "-"], "\n".join(lines) + "\n")


def _spawn(pid: int, argv: list[str], text: str) -> None:
    """Run a program in the namespace. Without subprocess, whose import would take longer than all of it."""
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_WRONLY)
    log = os.open(f"{core.folder()}/state/wires.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    words = ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *argv]
    actions = [(os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    child = os.posix_spawn(
        "/usr/bin/nsenter", words, {"PATH": wires.PATH, "LC_ALL": "C"}, file_actions=actions
    )
    os.close(read)
    os.close(null)
    os.close(log)
    with os.fdopen(write, "w") as file:
        try:
            file.write(text)
            file.flush()
        except BrokenPipeError:
            pass
    os.waitpid(child, 0)
