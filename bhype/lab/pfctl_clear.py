"""What ``pfctl -F`` and ``pfctl -k`` do. Source: pfctl_clear_rules() and its kin, pfctl_kill_states() in pfctl.c."""

from __future__ import annotations

from bhype.lab import core
from bhype.lab.pf import kernel, live

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.pfctl import Call


def clear(call: Call) -> None:
    """Flush what ``call.clear`` names, in ``call.anchor`` and with ``ANCHOR/*`` in all below it."""
    what = {call.clear} if call.clear not in ("all", "Reset") else {"ethernet", "rules", "nat", "Tables"}
    if call.clear in ("all", "Reset") and not call.anchor:
        what |= {"states", "Sources", "info"}
    done = []
    with core.state("pf") as data:
        kernel.fresh(data)
        anchors = [call.anchor]
        if call.recurse:
            anchors += [
                each for each in data["anchors"] if each.startswith(f"{call.anchor}/") or not call.anchor
            ]
        deleted = 0
        for path in anchors:
            anchor = data["anchors"].get(path, {})
            if "ethernet" in what:
                anchor["ether"] = []
            if "rules" in what:
                anchor.update(scrub=[], filter=[])
            if "nat" in what:
                anchor.update(nat=[], binat=[], rdr=[])
            if "Tables" in what:
                deleted += len(data["tables"].pop(path, {}))
        if "info" in what:
            data["counts"] = {}
        kernel.tidy(data)
    if "ethernet" in what:
        done.append("Ethernet rules cleared")
    if "rules" in what:
        done.append("rules cleared")
    if "nat" in what:
        done.append("nat cleared")
    if "Tables" in what:
        done.append(f"{deleted} tables deleted.")
    if "states" in what:
        done.append(f"{live.forget(None)} states cleared")
    if "Sources" in what:
        done.append("source tracking entries cleared")
    if "info" in what:
        done.append("pf: statistics cleared")
    if call.clear == "all" and not call.anchor:
        done.append("pf: interface flags reset")
    live.carry()
    for each in done:
        call.say(each)


def kill(call: Call) -> None:
    """End states by their ends, label or id."""
    kind, *rest = call.killers
    if kind in ("label", "id", "gateway", "key", "nat"):
        if len(rest) != 1:
            core.fail("pfctl: no label specified" if kind == "label" else f"pfctl: no {kind} specified", 1)
        if kind == "label":
            from bhype.lab.pf.nft import short

            labels = core.peek("pf").get("labels", {})
            rules = {short(int(number)) for number, found in labels.items() if rest[0] in found}
            count = live.forget(lambda state: state.rule in rules)
        else:
            count = live.forget(lambda state: f"{state.number:x}" == rest[0].partition("/")[0].lstrip("0"))
        call.say(f"killed {count} states")
        return
    from ipaddress import ip_address, ip_network

    try:
        networks = [ip_network(each, strict=False) for each in call.killers[:2]]
    except ValueError:
        core.fail(f"pfctl: getaddrinfo: {call.killers[0]}: Name could not be resolved", 1)
    count = live.forget(
        lambda state: all(
            ip_address(address) in network
            for address, network in zip((state.source, state.target), networks, strict=False)
        )
    )
    call.say(f"killed {count} states from {len(networks[:1])} sources and {len(networks[1:])} destinations")
