"""Which connections end when rules change, so that a new "drop" does what people expect of it. Pure.

pf asks rules for the first packet of a connection only. So connections end that a rule has let pass which is no more
(or was changed), and those of a subject for which something is newly dropped, or of a switch that lets no more pass.
"""

from __future__ import annotations

from dataclasses import replace

from bhype.freebsd import pfctl
from bhype.freebsd.command import Command

from .compile import forward_label, rule_label
from .document import Document, ForwardRow, RuleRow
from .names import Names
from .words import BadWord, endpoint
from .world import World

# Whoever has more must wait for the connections to end by themselves: each is a command.
MOST = 200


def kills(before: Document, after: Document, world: World) -> list[Command]:
    """What ends them, after the new rules are loaded."""
    names = Names(world, after.aliases)
    found: list[Command] = []
    old, new = _rules(before), _rules(after)
    for number, row in old.items():
        if row.action == "pass" and new.get(number) != row:
            found.append(pfctl.kill_labelled(rule_label(number)))
    for number, row in new.items():
        if row.action != "pass" and old.get(number) != row:
            found += _of(row.subject, names)
    old_forwards, new_forwards = _forwards(before), _forwards(after)
    found += [
        pfctl.kill_labelled(forward_label(number))
        for number, row in old_forwards.items()
        if new_forwards.get(number) != row
    ]
    had = {policy.uuid: policy for policy in before.switches}
    for policy in after.switches:
        was = had.get(policy.uuid, policy)
        if (was.passes_in and not policy.passes_in) or (was.passes_out and not policy.passes_out):
            found += _of(f"switch:{policy.uuid}", names)
    return list(dict.fromkeys(found))[:MOST]


def _rules(document: Document) -> dict[int, RuleRow]:
    """What is on, without what changes nothing."""
    return {row.id: replace(row, note="", is_logged=False) for row in document.rules if row.is_enabled}


def _forwards(document: Document) -> dict[int, ForwardRow]:
    return {row.id: replace(row, note="", is_logged=False) for row in document.forwards if row.is_enabled}


def _of(word: str, names: Names) -> list[Command]:
    try:
        nets = names.nets(word)
        is_all = endpoint(word).kind == "switch" and bool(nets) and not nets[0].is_open
        addresses = nets[0].subnets if is_all else names.addresses(word)
    except BadWord:
        return []
    return [
        command
        for address in addresses
        if not address.startswith("!")
        for command in (pfctl.kill_from(address), pfctl.kill_to(address))
    ]
