"""The self-test, and mending what it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from django.utils import timezone
from pydantic import BaseModel

from bhype import commit
from bhype.freebsd import ifconfig, kld, pf_conf, pfctl, route, sysctl, sysrc
from bhype.freebsd.ifconfig import Interface
from bhype.host import CommandError
from bhype.hosts.models import Host, this_host
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, ask, operation
from network.firewall import keeping
from network.firewall import operations as firewall
from network.firewall.keeping import PFIL
from network.models import Firewall, Switch
from network.pfconf import observe as pfconf
from network.pfconf.operations import AddParams, add_anchors

from . import checks, facts
from .checks import Check
from .facts import FORWARDING, FORWARDING6, LEARNING6, UPSTREAM6

Fix = Literal[
    "forwarding4", "forwarding4_boot", "forwarding6", "forwarding6_boot", "pf", "anchors", "pf_on", "pf_boot",
    "loaded", "bridges", "dhcp",
]  # fmt: skip
# What has to be confirmed when pf is switched on: the user's own rules may cut off whoever asked.
CHANGE = "pf-on"
CONFIRM_SECONDS = 60


class TestParams(BaseModel):
    """No parameters."""


class MendParams(BaseModel):
    """fixes: what is to be mended, [] for all that can be."""

    fixes: list[Fix] = []


@operation(
    "network.self_test", title="Test NAT and the firewall", right="network.change", lock="network",
    subject="firewall", target=this_host,
)  # fmt: skip
def self_test(run: Run, _params: TestParams) -> None:
    """Look closely, and write down what was found."""
    host = Host.objects.this()
    failed = [one for one in test(run, host) if one.is_ok is False]
    run.result(failed=[one.name for one in failed])
    for one in failed:
        run.log(f"{one.title}: no. {one.sentence}")


def test(run: Run, host: Host) -> list[Check]:
    run.stage("Looking")
    world = firewall.look(run, host)
    domains = {switch.pk: switch.guest_domain for switch in Switch.objects.filter(host=host)}
    found = checks.checks(world, facts.gather(run.host, run.host.query, world, domains), services(host))
    Firewall.objects.filter(host=host).update(checks=checks.document(found), checked_at=timezone.now())
    publish("firewall")
    return found


def services(host: Host) -> dict[int, tuple[str, str]]:
    rows = Switch.objects.filter(host=host).values_list("pk", "dhcp_state", "dhcp_reason")
    return {number: (state, reason) for number, state, reason in rows}


@operation(
    "network.mend", title="Mend NAT and the firewall", right="network.change", lock="network", subject="firewall",
    target=this_host,
)  # fmt: skip
def mend(run: Run, params: MendParams) -> None:
    """Do what the self-test says is missing, one after the other. May be repeated; what is right is left alone."""
    host = Host.objects.this()
    wrong = [one for one in test(run, host) if one.fix]
    wanted = list(dict.fromkeys(one.fix for one in wrong if not params.fixes or one.fix in params.fixes))
    failures = []
    for fix in wanted:
        run.check_cancelled()
        run.stage(f"Mending: {next(one.title for one in wrong if one.fix == fix)}")
        try:
            _FIXES[fix](run, host)
        except (CommandError, OperationFailed, commit.Busy) as error:
            failures.append(str(error))
    left = [one for one in test(run, host) if one.fix in wanted]
    # dnsmasq is started by a task of its own, and what waits for its confirmation comes with that.
    waiting = commit.look(run.host, CHANGE)
    later = {"dhcp"} | ({"pf_boot"} if waiting and waiting.state == commit.State.WAITING else set())
    left = [one for one in left if one.fix not in later]
    if failures or left:
        raise OperationFailed(
            " ".join([*failures, *(f"{one.title}: no. {one.sentence}" for one in left)][:5])
        )


def _sysctl(*names: str) -> Callable[[Run, Host], None]:
    def write(run: Run, _host: Host) -> None:
        for name in names:
            run.host.run(sysctl.write(name, "1"))

    return write


def _rc(name: str) -> Callable[[Run, Host], None]:
    return lambda run, _host: _ignore(run.host.run(sysrc.write(name, "YES")))


def _forward6(run: Run, host: Host) -> None:
    """The host's own way out first: the next advertisement would take it away from a router."""
    if _learner(run):
        _sysctl(LEARNING6)(run, host)
    _sysctl(FORWARDING6)(run, host)


def _forward6_boot(run: Run, host: Host) -> None:
    if upstream := _learner(run):
        run.host.run(sysrc.write(UPSTREAM6, upstream))
    _rc("ipv6_gateway_enable")(run, host)


def _learner(run: Run) -> str:
    way = run.host.query(route.default("inet6"))
    interfaces: list[Interface] = run.host.query(ifconfig.list_interfaces())
    return facts.learner(interfaces, way.interface if way else "")


def _ignore(_result: object) -> None:
    """A command has done its work when it raises nothing."""


def _load_pf(run: Run, _host: Host) -> None:
    run.host.run(kld.load("pf"))
    path = pfconf.path_of(run.host.query)
    if run.host.exists(path):
        run.host.run(pfctl.load_main(path))


def _bridges(run: Run, _host: Host) -> None:
    keeping.keep(run.host)
    _sysctl(*PFIL)(run, _host)


def _switch_on(run: Run, _host: Host) -> None:
    """With a way back where the file has rules of its own: they were not in force, and may cut off whoever asks."""
    if not _has_own_rules(run):
        run.host.run(pfctl.enable())
        return
    change = commit.look(run.host, CHANGE)
    if change is not None and change.state == commit.State.WAITING:
        return
    # Over boots only what was confirmed: nobody could take it back there.
    keep = [sysrc.write("pf_enable", "YES")]
    commit.begin(run.host, CHANGE, undo=[pfctl.disable()], seconds=CONFIRM_SECONDS, keep=keep)
    with commit.changing(run.host, CHANGE):
        run.host.run(pfctl.enable())
    run.log(f"pf is on. Confirm it within {CONFIRM_SECONDS} s, or it is switched off again.")


def _boot(run: Run, _host: Host) -> None:
    """pf at boots, unless it is off or waits for a confirmation, and its own rules might cut off whoever asks."""
    change = commit.look(run.host, CHANGE)
    if change is not None and change.state == commit.State.WAITING:
        run.log("pf will be on after a boot, too, once it is confirmed.")
    elif _has_own_rules(run) and not run.host.query(pfctl.is_enabled()):
        raise OperationFailed("Switch pf on first, and confirm it: after a boot nobody could take it back.")
    else:
        run.host.run(sysrc.write("pf_enable", "YES"))


def _has_own_rules(run: Run) -> bool:
    path = pfconf.path_of(run.host.query)
    if not run.host.exists(path):
        return False
    try:
        rows = pf_conf.statements(run.host.read_text(path))
    except pf_conf.Unreadable:
        return True
    return any(row.section > pf_conf.OPTIONS and not row.anchor for row in rows)


def _load_rules(run: Run, host: Host) -> None:
    firewall.load_all(run, host, firewall.look(run, host))


def _dhcp(_run: Run, _host: Host) -> None:
    ask("network.ensure_dhcp", {}, None)


def _anchors(run: Run, _host: Host) -> None:
    """The file as it is now: what is added is shown in the task's log, and waits for a confirmation."""
    path = pfconf.path_of(run.host.query)
    text = run.host.read_text(path) if run.host.exists(path) else None
    add_anchors(run, AddParams(digest="" if text is None else pfconf.digest(text), seconds=CONFIRM_SECONDS))


_FIXES: dict[str, Callable[[Run, Host], None]] = {
    "forwarding4": _sysctl(FORWARDING),
    "forwarding4_boot": _rc("gateway_enable"),
    "forwarding6": _forward6,
    "forwarding6_boot": _forward6_boot,
    "pf": _load_pf,
    "anchors": _anchors,
    "pf_on": _switch_on,
    "pf_boot": _boot,
    "loaded": _load_rules,
    "bridges": _bridges,
    "dhcp": _dhcp,
}
