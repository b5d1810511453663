"""rctl and protect: what a process may use, for processes that there are."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.lab.conftest import drop_lab, make_lab


@pytest.fixture(scope="module")
def host():
    lab = make_lab()
    yield lab
    drop_lab(lab)


@pytest.fixture
def process(host):
    """A process of the host: a TPM emulator that waits for its client."""
    state = host.path("/tmp/tpm")
    state.mkdir(exist_ok=True)
    path = host.path("/tmp/s")
    path.unlink(missing_ok=True)
    one = subprocess.Popen(
        host.argv(
            "swtpm", "socket", "--tpm2", "--tpmstate", "dir=/tmp/tpm", "--server", "type=unixio,path=/tmp/s"
        )
    )
    while not path.exists():
        time.sleep(0.01)
    yield one
    one.kill()
    one.wait()


def test_rules_of_a_process_go_with_it(host, process):
    pid = process.pid
    rule = f"process:{pid}:pcpu:deny=150"
    host.ok("rctl", "-a", rule, f"p:{pid}:readbps:throttle=10M")
    assert host.ok("rctl", f"process:{pid}").splitlines() == [
        rule,
        f"process:{pid}:readbps:throttle=10485760",
    ]
    assert host.ok("rctl", "-h", f"process:{pid}:readbps") == f"process:{pid}:readbps:throttle=10M\n"
    assert host.ok("rctl", "-l", f"process:{pid}").splitlines()[0] == rule
    usage = dict(line.split("=") for line in host.ok("rctl", "-u", f"process:{pid}").splitlines())
    assert (int(usage["memoryuse"]) > 0, len(usage)) == (True, 25)
    host.ok("rctl", "-r", f"process:{pid}:pcpu")
    assert rule not in host.ok("rctl")
    assert host.fails("rctl", "-r", f"process:{pid}:pcpu") == (
        f"rctl: failed to remove rule 'process:{pid}:pcpu': No such process\n"
    )
    process.kill()
    process.wait()
    assert host.ok("rctl") == ""
    assert host.fails("rctl", "-a", rule) == f"rctl: failed to add rule '{rule}': No such process\n"


def test_rules_of_users_and_jails_stay(host):
    host.ok("rctl", "-a", "user:root:maxproc:log=100/user", "j:www:memoryuse:deny=1G")
    assert host.ok("rctl", "user:").splitlines() == ["user:root:maxproc:log=100"]
    assert host.ok("rctl", "-n", "-h").splitlines() == [
        "user:0:maxproc:log=100",
        "jail:www:memoryuse:deny=1G",
    ]
    host.ok("rctl", "-r", "jail:www", "user:root")


RULES = [
    ("pcpu", "malformed rule 'pcpu': missing subject"),
    ("process:1:pcpu:deny=lots", "malformed rule 'process:1:pcpu:deny=lots': invalid numeric value 'lots'"),
    ("user:mallory:pcpu:deny=1", "malformed rule 'user:mallory:pcpu:deny=1': uknown user 'mallory'"),
    ("process:1:speed:deny=1", "failed to add rule 'process:1:speed:deny=1': Invalid argument"),
    ("process:1:pcpu:slow=1", "failed to add rule 'process:1:pcpu:slow=1': Invalid argument"),
    ("process:1:pcpu:deny", "failed to add rule 'process:1:pcpu:deny': Invalid argument"),
    ("process:1:pcpu:deny=0", "failed to add rule 'process:1:pcpu:deny=0': Invalid argument"),
    ("process:x:pcpu:deny=1", "failed to add rule 'process:x:pcpu:deny=1': Invalid argument"),
    ("process:1:pcpu:deny=1/user", "failed to add rule 'process:1:pcpu:deny=1/user': Invalid argument"),
    ("process:1:readbps:deny=1", "failed to add rule 'process:1:readbps:deny=1': Operation not supported"),
    ("process:1:pcpu:throttle=1", "failed to add rule 'process:1:pcpu:throttle=1': Operation not supported"),
    ("process:9999999:pcpu:deny=1", "failed to add rule 'process:9999999:pcpu:deny=1': No such process"),
]


@pytest.mark.parametrize(("rule", "text"), RULES, ids=[rule for rule, _ in RULES])
def test_rctl_refuses_a_rule(host, rule, text):
    assert host.fails("rctl", "-a", rule) == f"rctl: {text}\n"
    assert host.ok("rctl") == ""


def test_the_status_of_rctl_is_the_number_of_failures(host):
    assert host("rctl", "-a", "a", "b", "process:1:pcpu:deny=5").code == 2
    assert host.ok("rctl") == "process:1:pcpu:deny=5\n"
    host.ok("rctl", "-r", ":")
    assert host.fails("rctl", "-a").startswith("usage: rctl [ -h ]")
    assert host.fails("rctl", "-al", "x").startswith("rctl: at most one of")
    assert host.fails("rctl", "-x").startswith("rctl: illegal option -- x\nusage:")


def test_a_kernel_that_does_not_count_refuses_rules(lab):
    lab.path("/boot/loader.conf").write_text("# nothing\n")
    assert lab.admin("create", lab.folder).code == 0
    assert lab.ok("sysctl", "kern.racct.enable") == "kern.racct.enable: 0\n"
    assert (
        lab.fails("rctl")
        == "rctl: RACCT/RCTL present, but disabled; enable using kern.racct.enable=1 tunable\n"
    )


def test_the_lab_was_booted_with_counting(host):
    assert host.ok("sysctl", "-n", "kern.racct.enable") == "1\n"


def test_processes_are_protected(host, process):
    host.ok("protect", "-p", str(process.pid))
    host.ok("protect", "-cdi", "-p", str(process.pid))
    assert host.fails("protect", "-p", "9999999") == "protect: procctl: No such process\n"
    assert host.fails("protect", "-p", "x").startswith("protect: invalid process id\nusage: protect")
    assert host.fails("protect").startswith("usage: protect [-i] command\n")
    assert host.fails("protect", "-p", "1", "ls").startswith("usage: protect")
    assert host.ok("protect", "-i", "/sbin/sysctl", "-n", "kern.ostype") == "FreeBSD\n"
    assert host.fails("protect", "/none", code=127) == "protect: /none: No such file or directory\n"


def test_swtpm_keeps_its_files_below_the_labs_root(host, process):
    assert host.path("/tmp/s").exists()
    assert f"{process.pid} /usr/local/bin/swtpm socket" in host.ok("ps", "-axo", "pid,command")
