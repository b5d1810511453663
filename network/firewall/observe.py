"""Whether pf has what is wanted: tables follow addresses, drift is noticed and mended, rules are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from bhype.freebsd import ifconfig, kld, pfctl
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep, ask_once
from bhype.live import publish
from bhype.tasks import ask
from network.models import Firewall, Forward, Rule

from . import base, compile, loaded, pins, rulesets, seen, tables
from .document import Document
from .loaded import BASE, RULES, Loaded
from .world import World, load

OPERATION = "network.ensure_firewall"
# In sweeps. Addresses change now and then; what is loaded is changed by somebody else seldom.
FOLLOW_EVERY, LOOK_EVERY = 2, 5
NOT_ON = "pf is switched off: no rule works, and NAT does not either."
NOT_CALLED = "The rules of pf.conf do not ask bHype's anchors ({missing}): what is written here does nothing."


@dataclass(slots=True)
class Memory:
    """asked: what was asked for last; made: what each anchor should have, and what it was made of."""

    asked: str = ""
    made: tuple[World, Document, list[tuple[str, Loaded]]] | None = None


def observe(sweep: Sweep) -> None:
    """Nothing is done while pf is not in the kernel: that is for a person to decide."""
    if not sweep.every(FOLLOW_EVERY):
        return
    row = Firewall.objects.get_or_create(host=sweep.row)[0]
    ended = rulesets.settle(sweep.row, sweep.host)
    if sweep.every(LOOK_EVERY):
        _look(sweep, row)
    if not row.has_pf:
        return
    try:
        drift = _drift(sweep, row)
    except ValueError as error:
        # Rows that nobody should have written: what is loaded stays.
        sweep.problem(f"The rules of the packet filter cannot be made: {error}")
        return
    if drift or ended:
        _ask(sweep.memory(Memory), drift or f"rule set {ended[0].number} is {ended[0].state}")
    if sweep.every(LOOK_EVERY):
        _count(sweep)


def on_boot(host: Host) -> None:
    """pf forgets its anchors at a boot: they are loaded before anything else is started."""
    if Firewall.objects.filter(host=host, has_pf=True).exists():
        ask(OPERATION, {}, None)


def _ask(memory: Memory, drift: str) -> None:
    """What was changed is loaded at once; what was asked for before and did not help, only after a while."""
    if memory.asked == drift:
        ask_once(OPERATION)
        return
    memory.asked = drift
    ask(OPERATION, {}, None)


def _look(sweep: Sweep, row: Firewall) -> None:
    """Write what only the host can tell, and what is wrong with pf itself."""
    has_pf = sweep.ask(kld.is_loaded("pf"))
    # Without pf only forms ask: which way out there is, and which addresses are the host's own.
    is_due = has_pf or sweep.every(15)
    found = seen.document(seen.look(sweep.host, sweep.ask)) if is_due else row.seen
    problems = _problems(sweep) if has_pf else []
    if (has_pf, found, problems) == (row.has_pf, row.seen, row.problems):
        return
    row.has_pf, row.seen, row.problems = has_pf, found, problems
    with transaction.atomic():
        row.save(update_fields=["has_pf", "seen", "problems"])
        publish("firewall")


def _problems(sweep: Sweep) -> list[str]:
    if not sweep.ask(pfctl.is_enabled()):
        return [NOT_ON]
    missing = missing_calls(sweep.ask)
    return [NOT_CALLED.format(missing=", ".join(missing))] if missing else []


def missing_calls(question: Any) -> list[str]:
    """Which of the lines "nat-anchor", "rdr-anchor" and "anchor" the loaded main rules lack."""
    nat, rdr = question(pfctl.called_translations())
    plain = question(pfctl.called_filters())
    found = {"nat-anchor": nat, "rdr-anchor": rdr, "anchor": plain}
    return [line for line, called in found.items() if not called & {"bhype/*", "*"}]


def _drift(sweep: Sweep, row: Firewall) -> str:
    """What is not as wanted, as words that change with it; "" when all is right. Tables are mended on the way."""
    world = load(sweep.row, seen.stored(row))
    force = rulesets.in_force(sweep.row, sweep.host)
    every = loaded.read(sweep.host)
    words = []
    for anchor, wanted in _wanted(sweep.memory(Memory), world, force.document):
        had = every.get(anchor)
        if had is None:
            words.append(f"{anchor} was never loaded")
        elif had.skeleton != wanted.skeleton:
            words.append(f"{anchor} is to be {wanted.skeleton[:12]}")
        elif sweep.every(LOOK_EVERY) and had.printed != loaded.printed(anchor, sweep.ask):
            words.append(f"{anchor} was changed by somebody else, or is gone")
            sweep.problem(f"Somebody else has changed what pf has in {anchor}: it is loaded again.")
        else:
            tables.follow(sweep.host, anchor, wanted, had)
    interfaces = sweep.ask(ifconfig.list_interfaces())
    if pins.commands(world, interfaces):
        words.append("MAC addresses are not bound to their ports")
    return "; ".join(words)


def _wanted(memory: Memory, world: World, document: Document) -> list[tuple[str, Loaded]]:
    """What each anchor should have. While nothing has changed it is not made anew: it may be thousands of rules."""
    if memory.made is None or memory.made[:2] != (world, document):
        rows = [(BASE, base.base(world)), (RULES, compile.rules(document, world).ruleset)]
        memory.made = (world, document, [(anchor, loaded.of(ruleset, "")) for anchor, ruleset in rows])
    return memory.made[2]


def _count(sweep: Sweep) -> None:
    """Write the counters of rules and forwards."""
    counters = sweep.ask(pfctl.counters(RULES))
    changed = False
    for model, label in ((Rule, compile.rule_label), (Forward, compile.forward_label)):
        rows: Any = model.objects.filter(host=sweep.row).only("pk", "packets", "octets")
        for row in rows:
            found = counters.get(label(row.pk))
            if found is not None and (found.packets, found.octets) != (row.packets, row.octets):
                model.objects.filter(pk=row.pk).update(packets=found.packets, octets=found.octets)
                changed = True
    if changed:
        with transaction.atomic():
            publish("firewall-counters")
