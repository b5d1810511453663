"""The command line of bhyve(8)."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd.bhyve import Address, ExitStatus, Machine, Slot, Topology, command, meaning, word
from bhype.freebsd.names import BadName

UUID = "7d8c1c2e-3c48-4a27-9b0f-2a1d5f0e3a11"


def test_the_whole_command_in_one_order():
    machine = Machine(
        name="web1",
        topology=Topology(4, 1, 2, 2),
        memory=2 << 30,
        uuid=UUID,
        ignore_msr=True,
        wire_memory=True,
        gdb="127.0.0.1:1234",
        slots=(
            Slot(Address(0, 0), "hostbridge"),
            Slot(Address(0, 31), "lpc"),
            Slot(Address(0, 5), "fbuf,tcp=127.0.0.1:5900", (("password", "pw123456"),)),
        ),
        lpc=("bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd", "com1,/dev/nmdm-web1.1A"),
        secret_file="/var/run/bhype/vms/web1/secret.conf",
    )
    assert shlex.join(command(machine).argv) == (
        "/usr/sbin/bhyve -A -S -H -u -w -c cpus=4,sockets=1,cores=2,threads=2 -m 2097152K -G 127.0.0.1:1234 "
        f"-U {UUID} -s 0:0:0,hostbridge -s 0:31:0,lpc -s 0:5:0,fbuf,tcp=127.0.0.1:5900 "
        "-l bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd -l com1,/dev/nmdm-web1.1A "
        "-k /var/run/bhype/vms/web1/secret.conf web1"
    )
    assert machine.secrets == "pci.0.5.0.password=pw123456\n"


def test_without_secrets_there_is_no_file():
    machine = Machine(name="a", topology=Topology(1), memory=1 << 20, secret_file="/var/run/x")
    assert "-k" not in command(machine).argv


@pytest.mark.parametrize("password", ["", "a%b", "a\\b", "a\nb"])
def test_a_password_that_bhyve_would_not_take_literally_is_refused(password):
    slot = Slot(Address(0, 5), "fbuf", (("password", password),))
    with pytest.raises(BadName):
        _ = Machine(name="a", topology=Topology(1), memory=1, slots=(slot,)).secrets


def test_a_topology_must_fit():
    with pytest.raises(BadName, match="2 sockets of 2 cores of 1 threads are not 2 CPUs"):
        Topology(2, 2, 2, 1)
    with pytest.raises(BadName):
        Topology(0)
    assert str(Topology(2)) == "2"


@pytest.mark.parametrize("place", [(0, 32, 0), (256, 0, 0), (0, 0, 8), (-1, 0, 0)])
def test_places_outside_the_bus_are_refused(place):
    with pytest.raises(BadName):
        Address(*place)


@pytest.mark.parametrize("name", ["-x", "a b", "", "../x", "a" * 61, "web1\n"])
def test_a_bad_name_never_reaches_bhyve(name):
    with pytest.raises(BadName):
        command(Machine(name=name, topology=Topology(1), memory=1 << 20))


@given(st.text())
def test_an_options_word_holds_nothing_that_bhyve_expands(text):
    try:
        assert word(text) == text
    except BadName:
        assert not text or any(c in ",%\\\x7f" or c < " " for c in text)
    else:
        assert not set(text) & set(",%\\\n\0")


@given(st.integers(1, 1 << 45))
def test_memory_always_has_a_unit_and_is_never_less(memory):
    argv = command(Machine(name="a", topology=Topology(1), memory=memory)).argv
    value = argv[argv.index("-m") + 1]
    assert value.endswith("K")
    assert 0 <= int(value[:-1]) * 1024 - memory < 1024


def test_every_status_has_a_meaning():
    assert [status.value for status in ExitStatus] == [0, 1, 2, 3, 4, 64, 71, 100]
    assert ExitStatus(1).meaning == meaning(1) == "The guest powered off."
    assert meaning(-9) == "bhyve was killed by signal 9."
    assert meaning(5) == "bhyve ended with exit status 5."
