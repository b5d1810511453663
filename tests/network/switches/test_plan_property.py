"""From whatever a host has, the plan leads to what is wanted: by the lab's ifconfig(8), which runs in this process."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bhype.freebsd import ifconfig
from bhype.freebsd.command import Command
from bhype.lab import core
from bhype.lab import ifconfig as program
from network.switches import plan
from network.switches.plan import Conflict, Port, Seen, Wanted


class Kernel:
    """The interfaces of a lab; commands of ifconfig(8) only."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state" / "ifconfig.json"

    def run(self, *words: str) -> bool:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                return program.main(list(words)) == 0
            except core.Exit:
                return False

    def do(self, command: Command) -> None:
        assert command.argv[0] == "/sbin/ifconfig"
        assert self.run(*command.argv[1:]), command.argv

    def look(self) -> Seen:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            program.main(["-a"])
        return Seen(tuple(ifconfig.list_interfaces().parse(out.getvalue())))

    def foreign(self) -> dict:
        """What belongs to somebody else, but for being up."""
        found = json.loads(self.state.read_text())["interfaces"]
        return {
            name: {key: value for key, value in one.items() if key != "up"}
            for name, one in found.items()
            if not one["description"].startswith("bhype/") and not name.startswith("tap")
        }


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("BHYPE_LAB", str(tmp_path))
    (tmp_path / "state").mkdir()
    (tmp_path / "root" / "dev").mkdir(parents=True)
    from bhype.lab import ifconfig_state

    with core.state("ifconfig") as data:
        ifconfig_state.boot(data)
        for name in ("em1", "em2"):
            ifconfig_state.add(data, name, "em")
    return Kernel(tmp_path)


uplinks = st.sampled_from(["", "em1", "em2"])
addresses = st.sampled_from([(), ("10.9.0.1/24",), ("10.9.0.2/16", "fd77::1/64"), ("fd78::1/64",)])
ports = st.lists(st.sampled_from(["tap1", "tap2"]), unique=True)
switches = st.builds(
    lambda uplink, vlan, vni, own, members, private, mtu, is_isolated, is_bridged: Wanted(
        "lan", "sw-lan", is_bridged=is_bridged, addresses=own, uplink=uplink if is_bridged else "",
        vlan=vlan if uplink and is_bridged else None, vni=vni, vxlan_local="192.0.2.10" if vni else "",
        vxlan_remote="192.0.2.99" if vni else "",
        mtu=1500 if uplink and is_bridged and not vlan else mtu, is_isolated=is_isolated,
        ports=tuple(Port(name, is_private=private) for name in members),
    ),
    uplinks, st.sampled_from([None, 10, 20]), st.sampled_from([None, 42, 43]), addresses, ports, st.booleans(),
    st.sampled_from([1400, 1500]), st.booleans(), st.booleans(),
)  # fmt: skip
MESSES = {
    "nothing": (),
    "half a bridge": ("bridge create descr bhype/switch/lan group bhype",),
    "two of them": (
        "bridge create descr bhype/switch/lan group bhype",
        "bridge create descr bhype/switch/lan group bhype name sw-lan",
    ),
    "half a VLAN": ("vlan create vlandev em2 vlan 9 descr bhype/vlan/lan group bhype",),
    "half a tunnel": ("vxlan create vxlanid 9 vxlanlocal 192.0.2.10 vxlanremote 192.0.2.98 descr bhype/vxlan/lan",),
    "somebody's bridge": ("bridge create name mine descr mine", "mine inet 10.3.0.1/24", "mine addm tap2"),
    "a stranger in it": (
        "bridge create descr bhype/switch/lan group bhype name sw-lan",
        "sw-lan addm em2",
        "sw-lan inet 10.55.0.1/24",
    ),
}  # fmt: skip


def settle(kernel: Kernel, wanted: Wanted, *, steps: int | None = None) -> None:
    """Do as the worker does; steps: it is killed after so many commands."""
    done = 0
    for _ in range(plan.ROUNDS):
        commands = plan.commands(wanted, kernel.look())
        if not commands:
            return
        for command in commands:
            if done == steps:
                return
            kernel.do(command)
            done += 1
    assert steps is not None or plan.is_right(wanted, kernel.look()), plan.commands(wanted, kernel.look())


SAME = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@SAME
@given(
    mess=st.sampled_from(sorted(MESSES)),
    wanted=st.lists(switches, min_size=1, max_size=3),
    kill=st.integers(0, 8),
)
def test_from_whatever_there_is_it_leads_to_what_is_wanted(kernel, mess, wanted, kill):
    before = kernel.state.read_text()
    try:
        for tap in ("tap1", "tap2"):
            kernel.run(tap, "create")
        for line in MESSES[mess]:
            assert kernel.run(*line.split()), line
        foreign = kernel.foreign()
        for one in wanted:
            # Killed after some command, and repeated: the end is the same.
            settle(kernel, one, steps=kill)
            settle(kernel, one)
            check(kernel, one)
        settle(kernel, replace(wanted[-1], is_deleting=True))
        left = {name for name, one in json.loads(kernel.state.read_text())["interfaces"].items()
                if one["description"].startswith("bhype/")}  # fmt: skip
        assert left == set()
        assert kernel.foreign() == foreign
    finally:
        kernel.state.write_text(before)


def check(kernel: Kernel, wanted: Wanted) -> None:
    seen = kernel.look()
    assert plan.commands(wanted, seen) == []
    found = seen.get(wanted.interface)
    if found is None:
        assert wanted.is_waiting
        return
    assert found.is_up and found.mtu == wanted.mtu
    assert {one for one in found.addresses if "%" not in one} == set(wanted.addresses)
    taps = {member for member in found.members if member.startswith("tap")}
    mine = seen.get("mine")
    assert {port.interface for port in wanted.ports} <= taps | set(mine.members if mine else ())
    assert {member for member in found.members if not member.startswith("tap")} == set(wanted.outer_members)
    for port in wanted.ports:
        member = found.member(port.interface)
        assert member is None or member.is_private == (port.is_private or wanted.is_isolated)


@pytest.mark.parametrize(
    ("name", "description"), [("sw-lan", "mine"), ("v-lan", "mine"), ("x-lan", "mine"), ("sw-lan", "")]
)
def test_an_interface_of_somebody_else_that_has_the_name_stays(kernel, name, description):
    words = ["bridge", "create", "name", name, *(["descr", description] if description else [])]
    assert kernel.run(*words)
    wanted = Wanted("lan", "sw-lan", is_bridged=True, uplink="em1", vlan=10, vni=42, vxlan_local="192.0.2.10",
                    vxlan_remote="192.0.2.99", mtu=1400)  # fmt: skip
    before = kernel.foreign()
    with pytest.raises(Conflict, match="was not made by bHype"):
        settle(kernel, wanted)
    assert kernel.foreign() == before


@given(
    name=st.text(max_size=14), uplink=st.text(max_size=16), address=st.text(max_size=20),
    vlan=st.one_of(st.none(), st.integers()), vni=st.one_of(st.none(), st.integers()), remote=st.text(max_size=20),
    mtu=st.integers(), tagged=st.text(max_size=10),
)  # fmt: skip
@settings(max_examples=300)
def test_no_row_makes_a_word_of_a_command_that_is_none(name, uplink, address, vlan, vni, remote, mtu, tagged):
    seen = Seen(
        (ifconfig.Interface(uplink or "em0", frozenset({"UP"}), 1500), ifconfig.Interface("tap1")),
        knows_vlans=True,
    )
    wanted = Wanted(
        name, f"sw-{name}", is_bridged=True, addresses=(address,) if address else (), uplink=uplink, vlan=vlan,
        vni=vni, vxlan_local="192.0.2.1", vxlan_remote=remote, mtu=mtu, has_vlans=True,
        ports=(Port("tap1", tagged=tagged),),
    )  # fmt: skip
    try:
        commands = plan.commands(wanted, seen)
    except Conflict:
        return
    for command in commands:
        assert all(word.isprintable() for word in command.argv)
        assert not any(word.startswith("-") for word in command.argv[1:2])
