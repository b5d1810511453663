"""What the worker does to the packet filter: loading what is in force, applying the draft, confirming, going back.

Killed at any step the host has the old rules or the new ones: an anchor is replaced in one transaction of the kernel,
files are replaced as a whole, and `bhype.commit` knows how to go back before anything is changed.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from pydantic import BaseModel, Field

from bhype import commit
from bhype.accounts.models import User
from bhype.freebsd import ifconfig, kld, pf, pfctl, pflog
from bhype.freebsd.ifconfig import Interface
from bhype.freebsd.pf import Ruleset as Wanted
from bhype.host import CommandFailed
from bhype.hosts.models import Host, this_host
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from network.changes.observe import mirror
from network.models import Firewall, Ruleset

from . import base, checks, compile, document, keeping, loaded, pins, rulesets, seen, states, tables
from .loaded import BASE, BASE_FILE, PENDING_FILE, RULES, RULES_FILE
from .rulesets import CHANGE, State
from .world import World, load

SHORTEST, LONGEST = 10, 3600
NO_PF = "pf is not in the kernel: see the self-test of NAT and the firewall."


class Nothing(BaseModel):
    """No parameters."""


class ApplyParams(BaseModel):
    """seconds: to confirm it in; then the old rules come back."""

    seconds: int = Field(60, ge=SHORTEST, le=LONGEST)


class ChangeParams(BaseModel):
    """name, note: as network.changes has them; note is the number of the rule set."""

    name: str = Field(CHANGE, pattern=CHANGE)
    note: str = Field("", max_length=20)


class RulesetParams(BaseModel):
    number: int = Field(ge=1)


def look(run: Run, host: Host) -> World:
    """Everything that rules are about, as it is now, noted in the host's row."""
    found = seen.look(run.host, run.host.query)
    Firewall.objects.update_or_create(
        host=host, defaults={"seen": seen.document(found), "checked_at": timezone.now()}
    )
    return load(host, found)


@operation(
    "network.ensure_firewall", title="Load the packet filter's rules", right="network.change", lock="network",
    subject="firewall",
)  # fmt: skip
def ensure(run: Run, _params: Nothing) -> None:
    """Let pf have what switches need and the rules that are confirmed (or wait for it). May be repeated."""
    host = Host.objects.this()
    rulesets.settle(host, run.host)
    keeping.apply(run)
    if not run.host.query(kld.is_loaded("pf")):
        run.log(NO_PF)
        return
    world = look(run, host)
    load_all(run, host, world)
    bind(run, world)


def bind(run: Run, world: World) -> None:
    """Let guarded ports send from their own MAC addresses only. A port that is unplugged meanwhile is passed over."""
    interfaces: list[Interface] = run.host.query(ifconfig.list_interfaces())
    for command in pins.commands(world, interfaces):
        try:
            run.host.run(command)
        except CommandFailed as error:
            run.log(str(error))


def load_all(run: Run, host: Host, world: World) -> None:
    """What is in force into both anchors. Raises OperationFailed."""
    put(run, BASE, base.base(world), BASE_FILE)
    try:
        force = rulesets.in_force(host, run.host)
    except ValueError as error:
        raise OperationFailed(f"The rule set that is in force cannot be read: {error}") from error
    made = compile.rules(force.document, world)
    if force.is_pending:
        try:
            with commit.changing(run.host, CHANGE):
                put(run, RULES, made.ruleset, PENDING_FILE)
        except commit.TooLate:
            # What was before comes back; the observer asks for this again then.
            run.log("The rules that waited for a confirmation are being taken back.")
    else:
        put(run, RULES, made.ruleset, RULES_FILE)
    Firewall.objects.filter(host=host).update(notes={note.about: note.sentence for note in made.notes})
    publish("firewall")


def put(run: Run, anchor: str, wanted: Wanted, path: str) -> None:
    """Let an anchor have these rules. What is loaded already is not loaded again; its tables follow."""
    try:
        skeleton = loaded.digest(wanted.skeleton)
    except pf.BadRule as error:
        raise OperationFailed(f"The rules of {anchor} cannot be written: {error}") from error
    had = loaded.read(run.host).get(anchor)
    if (
        had is not None
        and had.skeleton == skeleton
        and had.printed
        and had.printed == loaded.printed(anchor, run.host.query)
        and run.host.exists(path)
    ):
        tables.follow(run.host, anchor, loaded.of(wanted, had.printed), had)
        return
    write(run, anchor, wanted, path)
    run.stage(f"Loading {anchor}")
    run.host.run(pfctl.load(anchor, path))
    note(run, anchor, wanted)


def write(run: Run, anchor: str, wanted: Wanted, path: str) -> None:
    """Write a file of rules, which pfctl(8) has checked. Raises OperationFailed."""
    run.host.makedirs(loaded.FOLDER, 0o700)
    draft = f"{path}.check"
    try:
        run.host.write_text(draft, wanted.text)
        run.host.run(pfctl.check(anchor, draft))
    except CommandFailed as error:
        raise OperationFailed(f"pf does not take the rules of {anchor}: {error}") from error
    finally:
        run.host.unlink(draft)
    run.host.write_text(path, wanted.text)
    if " log " in wanted.text:
        try:
            let_log(run)
        except CommandFailed as error:  # the observer asks for it again
            run.log(str(error))


def let_log(run: Run) -> None:
    """Bring up pflog0, which comes with the module pflog. May be repeated; pflogd(8) may read from it as well."""
    run.host.run(kld.load("pflog"))
    if not any(one.name == pflog.INTERFACE for one in run.host.query(ifconfig.list_interfaces())):
        run.host.run(pflog.create())
    run.host.run(ifconfig.up(pflog.INTERFACE))


def note(run: Run, anchor: str, wanted: Wanted) -> None:
    """Remember what was loaded."""
    loaded.write(run.host, anchor, loaded.of(wanted, loaded.printed(anchor, run.host.query)))


@operation(
    "network.apply_rules", title="Apply the rules of the firewall", right="network.change", lock="network",
    subject="firewall", target=this_host,
)  # fmt: skip
def apply(run: Run, params: ApplyParams) -> None:
    """Check the draft, load it, and take it back by itself unless it is confirmed in time."""
    host = Host.objects.this()
    rulesets.settle(host, run.host, is_ours=True)
    if not run.host.query(kld.is_loaded("pf")):
        raise OperationFailed(NO_PF)
    world = look(run, host)
    draft = document.of(host)
    try:
        before = rulesets.in_force(host, run.host)
    except ValueError as error:
        # It stays in force until another one is.
        before = rulesets.InForce(document.Document())
        run.log(f"The rule set that is in force cannot be read: {error}")
    if before.is_pending:
        raise OperationFailed(f"Rule set {before.number} waits: confirm it or take it back first.")
    # What is taken back to must be on the host before anything else is.
    load_all(run, host, world)
    run.check_cancelled()
    run.stage("Checking the rules")
    row = rulesets.new(host, draft, "", params.seconds, run.user)
    run.result(ruleset=row.number)
    try:
        made = _checked(run, row, draft, world)
        change = commit.begin(
            run.host,
            CHANGE,
            undo=[pfctl.load(RULES, RULES_FILE)],
            seconds=params.seconds,
            keep=[commit.Move(PENDING_FILE, RULES_FILE)],
            note=str(row.number),
        )
    except (OperationFailed, commit.Busy, CommandFailed, OSError) as error:
        rulesets.end(row, State.REFUSED, str(error))
        raise OperationFailed(str(error)) from error
    rulesets.wait(row, change)
    run.stage("Loading the rules")
    try:
        with commit.changing(run.host, CHANGE):
            run.host.run(pfctl.load(RULES, PENDING_FILE))
            note(run, RULES, made.ruleset)
            for command in states.kills(before.document, draft, world):
                run.host.run(command)
    except commit.TooLate as error:
        raise OperationFailed(str(error)) from error
    finally:
        rulesets.settle(host, run.host)
        # The question to keep them is on every page at once, not with the observer's next look.
        waiting = commit.look(run.host, CHANGE)
        mirror(host, [waiting] if waiting else [])
    Firewall.objects.filter(host=host).update(notes={one.about: one.sentence for one in made.notes})
    run.log(
        f"Rule set {row.number} is in force. Confirm it within {params.seconds} s, or the old rules come back."
    )


def _checked(run: Run, row: Ruleset, draft: document.Document, world: World) -> compile.Compiled:
    """The rules of the draft in a file that pf takes. Raises OperationFailed."""
    wrong = checks.errors(checks.document(draft, world))
    if wrong:
        raise OperationFailed(" ".join(f"{_named(one, draft)}{one.sentence}" for one in wrong[:5]))
    made = compile.rules(draft, world)
    Ruleset.objects.filter(pk=row.pk).update(text=made.ruleset.text)
    write(run, RULES, made.ruleset, PENDING_FILE)
    return made


def _named(problem: checks.Problem, draft: document.Document) -> str:
    """Which row is meant, as people count them."""
    kind, _, number = problem.about.partition(":")
    if kind == "rule":
        place = next((at for at, row in enumerate(draft.rules, 1) if str(row.id) == number), 0)
        return f"Rule {place}: "
    if kind == "forward":
        port = next((row.port for row in draft.forwards if str(row.id) == number), 0)
        return f"Forward of port {port}: "
    name = next((row.name for row in draft.aliases if str(row.id) == number), "")
    return f"Alias {name}: " if name else ""


@operation(
    "network.confirm_rules", title="Keep the rules of the firewall", right="network.change", lock="change:firewall",
    subject="firewall", target=this_host,
)  # fmt: skip
def confirm(run: Run, params: ChangeParams) -> None:
    """Keep the rules that wait. May be repeated."""
    _decide(run, lambda: commit.confirm(run.host, CHANGE, params.note or None))


@operation(
    "network.revert_rules", title="Take back the rules of the firewall", right="network.change",
    lock="change:firewall", subject="firewall", target=this_host,
)  # fmt: skip
def revert(run: Run, params: ChangeParams) -> None:
    """Let the old rules come back now; the draft stays as it is. May be repeated."""
    _decide(run, lambda: commit.revert(run.host, CHANGE, _reason(run.user), params.note or None))


def _reason(user: User | None) -> str:
    return f"It was taken back by {user.username}." if user else "It was taken back."


def _decide(run: Run, decide: Any) -> None:
    try:
        decide()
    except (commit.NoChange, commit.TooLate) as error:
        raise OperationFailed(str(error)) from error
    finally:
        rulesets.settle(Host.objects.this(), run.host)


@operation(
    "network.restore_ruleset", title="Take rule set {number} as the draft", right="network.change", lock="network",
    subject="firewall", target=this_host,
)  # fmt: skip
def restore(run: Run, params: RulesetParams) -> None:
    """Make the rules, forwards and aliases those of an older rule set. They are not applied by that."""
    host = Host.objects.this()
    row = Ruleset.objects.filter(host=host, number=params.number).first()
    if row is None:
        raise OperationFailed("There is no such rule set.")
    try:
        document.restore(host, document.read(row.document))
    except ValueError as error:
        raise OperationFailed(f"That rule set cannot be read: {error}") from error
    publish("firewall", "switches")
    run.log(f"The draft is now as rule set {row.number}. Apply it to let it be in force.")
