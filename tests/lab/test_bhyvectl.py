"""bhyvectl without a guest (bhyve.md 9); with one: test_bhyve_guest.py."""

from __future__ import annotations

import pytest

USAGE = "Usage: bhyvectl --vm=<vmname>\n       [--cpu=<vcpu_number>]\n"


@pytest.fixture
def host(lab):
    lab.ok("kldload", "vmm")
    return lab


def test_a_vm_is_created_once_and_destroyed(host):
    assert host.ok("bhyvectl", "--vm=vm1", "--create") == ""
    assert host.path("/dev/vmm/vm1").exists()
    assert host("bhyvectl", "--vm=vm1", "--create") == type(host("ps"))(255, "errno = 17\n", "")
    assert host.ok("bhyvectl", "--destroy", "--vm", "vm1") == ""
    assert not host.path("/dev/vmm").exists()


@pytest.mark.parametrize("action", ["--destroy", "--force-reset", "--get-stats", "--get-all"])
def test_a_missing_vm_is_told_on_stdout(host, action):
    answer = host("bhyvectl", "--vm=none", action)
    assert (answer.code, answer.out, answer.err) == (1, "VM:none is not created.\n", "")


def test_without_vmm_nothing_exists(lab):
    assert lab("bhyvectl", "--vm=vm1", "--destroy").out == "VM:vm1 is not created.\n"
    answer = lab("bhyvectl", "--vm=vm1", "--create")
    assert (answer.code, answer.out) == (255, "errno = 2\n")


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        ([], ""),
        (["--destroy"], ""),
        (["--vm=x", "--checkpoint=/f"], "bhyvectl: unrecognized option `--checkpoint=/f'\n"),
        (["--vm=x", "--suspend", "/f"], "bhyvectl: unrecognized option `--suspend'\n"),
        (["--vm"], "bhyvectl: option `--vm' requires an argument\n"),
        (["--vm=x", "--get"], "bhyvectl: option `--get' is ambiguous\n"),
        (["--vm=x", "--create=1"], "bhyvectl: option `--create' doesn't allow an argument\n"),
        (["-d"], "bhyvectl: illegal option -- d\n"),
    ],
)
def test_wrong_words_get_the_usage(host, argv, problem):
    answer = host("bhyvectl", *argv)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(problem + USAGE)


def test_a_name_that_vmm_does_not_take(host):
    for name in ("x" * 230, ""):
        answer = host("bhyvectl", f"--vm={name}", "--create")
        assert (answer.code, answer.out) == (255, "errno = 22\n")


def test_prefixes_of_options_are_enough(host):
    host.ok("bhyvectl", "--cr", "--v=vm1")
    assert host.ok("bhyvectl", "--vm=vm1", "--get-cpu") == (
        "cpu_topology:\tsockets=1, cores=1, threads=1, maxcpus=8\n"
    )


def test_a_vm_without_a_process_has_no_cpus_and_empty_counters(host):
    host.ok("bhyvectl", "--vm=vm1", "--create")
    assert host.ok("bhyvectl", "--vm=vm1", "--get-active-cpus") == "active cpus:\t (none)\n"
    lines = host.ok("bhyvectl", "--vm=vm1", "--get-stats").splitlines()
    assert lines[0] == "vcpu0 stats:"
    assert "Resident memory                         \t0" in lines
    assert all(line.rsplit("\t", 1)[1] == "0" for line in lines[1:])
    # There is no process that could end.
    assert host.ok("bhyvectl", "--vm=vm1", "--force-poweroff") == ""


def test_everything_is_many_lines(host):
    host.ok("bhyvectl", "--vm=vm1", "--create")
    lines = host.ok("bhyvectl", "--vm=vm1", "--get-all").splitlines()
    assert "Address     Length      Segment     Offset      Prot  Flags" in lines
    assert "suspended cpus:\t (none)" in lines
    assert "vcpu0 stats:" in lines
