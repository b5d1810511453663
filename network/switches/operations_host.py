"""Moving the host's own addresses between an uplink and its switch, with a way back."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F
from pydantic import BaseModel, Field

from bhype import commit
from bhype.commit import Change, State
from bhype.freebsd import ifconfig, route, sysrc
from bhype.host import CommandError, LocalHost
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from network.changes.observe import mirror
from network.models import Switch

from . import host as moving
from .wanted import Seen


class MoveParams(BaseModel):
    """is_back: from the switch to its uplink; seconds: to confirm it in."""

    switch_id: int
    is_back: bool = False
    seconds: int = Field(90, ge=20, le=600)


def _switch(params: MoveParams) -> Switch | None:
    return Switch.objects.select_related("host").filter(pk=params.switch_id).first()


@operation(
    "network.move_host_address", title="Move the host's addresses of {switch}", right="network.change",
    lock="network", subject="switch:{switch_id}", target=_switch,
)  # fmt: skip
def move_host_address(run: Run, params: MoveParams) -> None:
    """Move the addresses, and wait for a confirmation: without one, they go back, whoever has died meanwhile."""
    row = _switch(params)
    if row is None or row.technology != Switch.Technology.BRIDGE or row.vlan or not row.uplink or row.adopted:
        raise OperationFailed("There is no switch of bHype's own with an uplink any more.")
    settle(run.host, row.host)
    row.refresh_from_db()
    move, uplink, is_member = _look(run, row, is_back=params.is_back)
    note = str(run.task.pk)
    try:
        commit.begin(
            run.host, moving.CHANGE, moving.undo(move), params.seconds, keep=_keep(run, row, move), note=note
        )
        with commit.changing(run.host, moving.CHANGE):
            _expect(row, move, note)
            run.stage("Moving the addresses")
            for command in moving.do(move, uplink, is_member=is_member):
                run.host.run(command)
    except (commit.Busy, commit.TooLate, CommandError, OSError) as error:
        raise OperationFailed(str(error)) from error
    finally:
        settle(run.host, row.host)
        _mirror(row.host, commit.look(run.host, moving.CHANGE))
    run.log(f"Confirm it within {params.seconds} s, or the addresses go back.")


def _look(run: Run, row: Switch, *, is_back: bool) -> tuple[moving.Move, ifconfig.Interface, bool]:
    interfaces: list[ifconfig.Interface] = run.host.query(ifconfig.list_interfaces())
    seen = Seen(tuple(interfaces))
    uplink, bridge = seen.get(row.uplink), seen.get(row.interface)
    if uplink is None or bridge is None or bridge.description != row.wanted.description:
        raise OperationFailed(f"{row.interface} or {row.uplink} is not there. Set the switch up first.")
    addresses = row.host_addresses if is_back else [one for one in uplink.addresses if "%" not in one]
    if not addresses:
        raise OperationFailed(
            f"There are no addresses to move: {bridge.name if is_back else uplink.name} has none."
        )
    for other in seen.interfaces:
        if row.uplink in other.members and other.name != bridge.name:
            raise OperationFailed(f"{row.uplink} is part of {other.name}.")
    if not is_back and moving.is_dynamic(_rc(run, moving.variable(row.uplink))):
        raise OperationFailed(
            f"{row.uplink} gets its address by DHCP at boot (rc.conf). Give the host an address of its own first: one "
            "that comes from elsewhere cannot be moved with a way back."
        )
    way = run.host.query(route.default())
    leaves = way.interface if way else ""
    router = way.gateway if way and leaves in {row.uplink, row.interface} else ""
    move = moving.Move(row.interface, row.uplink, tuple(addresses), router, is_back)
    return move, uplink, row.uplink in bridge.members


def _rc(run: Run, name: str) -> str:
    """A variable of rc.conf; "" if it is not set."""
    return run.host.query(sysrc.read(name)).get(name, "")


def _keep(run: Run, row: Switch, move: moving.Move) -> list[Any]:
    return moving.keep(move, row.pk, _rc(run, "cloned_interfaces"), row.wanted.description)


def _expect(row: Switch, move: moving.Move, note: str) -> None:
    """Let the switch want the addresses where they are going to be, and note how it was."""
    before = {"note": note, "addresses": row.host_addresses, "router": row.host_router}
    after = [] if move.is_back else list(move.addresses)
    Switch.objects.filter(pk=row.pk).update(
        host_before=before, host_addresses=after, host_router="" if move.is_back else move.router
    )


def settle(host: LocalHost, row: Host) -> None:
    """Let the rows of switches say where the host's addresses belong, now that a move is confirmed or taken back."""
    for switch in Switch.objects.filter(host=row, host_before__isnull=False):
        change = commit.look(host, moving.CHANGE)
        before = switch.host_before or {}
        is_this = change is not None and change.note == before.get("note")
        if change is not None and is_this and change.state == State.WAITING:
            continue
        columns: dict[str, Any] = {"host_before": None, "revision": F("revision") + 1}
        if not (change is not None and is_this and change.state in {State.KEEPING, State.CONFIRMED}):
            columns |= {
                "host_addresses": before.get("addresses", []), "host_router": before.get("router", ""),
            }  # fmt: skip
        with transaction.atomic():
            Switch.objects.filter(pk=switch.pk).update(**columns)
            publish(switch.subject, "switches")


def _mirror(row: Host, change: Change | None) -> None:
    mirror(row, [change] if change else [])
