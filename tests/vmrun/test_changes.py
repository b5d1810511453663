"""Limits, rates and links of a running guest, and the policy of its restarts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import ifconfig
from bhype.host import CommandFailed, LocalHost
from bhype.vmrun import changes, client, nics
from bhype.vmrun.config import parse

from .conftest import until

LIMITS = {"pcpu": 150, "readbps": "10M", "writeiops": 500}


def interfaces(lab) -> dict:
    return {one.name: one for one in lab.host.query(ifconfig.list_interfaces())}


def running(lab) -> dict:
    return client.running_document(lab.host, lab.name) or {}


def nic(lab, **more) -> dict:
    """A document whose one NIC has more keys."""
    document = lab.document()
    document["emulations"][1] |= more
    return document


def test_limits_priority_and_protection_are_applied_to_the_process(lab):
    lab.tell("racct", enable=1)
    lab.start(lab.document(limits=LIMITS, nice=7, protect=True))
    pid = lab.state()["pid"]
    assert lab.calls("rctl", "protect") == [
        ["rctl", "-r", f"process:{pid}"],
        ["rctl", "-a", f"process:{pid}:pcpu:deny=150", f"process:{pid}:readbps:throttle={10 << 20}",
         f"process:{pid}:writeiops:throttle=500"],
        ["protect", "-p", str(pid)],
    ]  # fmt: skip
    assert os.getpriority(os.PRIO_PROCESS, pid) == 7
    assert (lab.state()["warnings"], lab.state()["settled"]) == ([], pid)


def test_a_kernel_that_does_not_count_runs_the_guest_and_says_what_to_do(lab):
    lab.start(lab.document(limits=LIMITS))
    assert lab.calls("rctl") == []
    assert "kern.racct.enable=1" in lab.state()["warnings"][0]
    assert lab.state()["state"] == "running"


def test_limits_of_a_running_guest_are_changed_one_by_one_and_last(lab):
    lab.tell("racct", enable=1)
    lab.start(lab.document(limits=LIMITS, protect=True))
    pid = lab.state()["pid"]
    answer = lab.ask("limits", limits={"pcpu": 50, "readbps": None}, protect=False)
    assert answer["error"] is None
    assert lab.calls("rctl")[-2:] == [
        ["rctl", "-r", f"process:{pid}"],
        ["rctl", "-a", f"process:{pid}:pcpu:deny=50", f"process:{pid}:writeiops:throttle=500"],
    ]
    assert lab.calls("protect")[-1] == ["protect", "-c", "-p", str(pid)]
    assert running(lab)["limits"] == {"pcpu": 50, "writeiops": 500}
    lab.reboot()
    until(lambda: lab.state()["restarts"] == 1 and lab.state()["settled"] not in {None, pid})
    assert lab.calls("rctl")[-1][2].endswith(":pcpu:deny=50")
    assert lab.ask("limits", limits=None)["ok"]
    assert lab.calls("rctl")[-1] == ["rctl", "-r", f"process:{lab.state()['pid']}"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"limits": {"pcpu": -1}}, "pcpu"),
        ({"limits": 7}, "limits"),
        ({"nice": 99}, "nice"),
        ({"rates": {"tap9": {"rate_in": "1M"}}}, "There is no network device 'tap9'."),
        ({"rates": {"tap1001": {"mac": "x"}}}, "and nothing else"),
        ({"rates": {"tap1001": {"rate_in": "fast"}}}, "rate_in"),
        ({"rates": []}, ""),
    ],
)
def test_wrong_limits_are_refused_and_change_nothing(lab, request_, said):
    lab.start()
    before = running(lab)
    answer = lab.ask("limits", **request_)
    assert answer["ok"] is (not said)
    assert said in (answer["error"] or "")
    assert running(lab) == before


def test_a_cable_is_pulled_and_put_back_and_stays_so(lab):
    lab.start()
    assert interfaces(lab)["sw-nat"].members == ("tap1001",)
    assert lab.ask("link", device="tap1001", up=False)["error"] is None
    found = interfaces(lab)
    assert (found["sw-nat"].members, found["tap1001"].is_up) == ((), False)
    lab.reboot()
    until(lambda: lab.state()["restarts"] == 1 and lab.state()["state"] == "running")
    until(lambda: not interfaces(lab)["tap1001"].is_up)
    assert interfaces(lab)["sw-nat"].members == ()
    assert lab.ask("link", device=1, up=True)["ok"]
    found = interfaces(lab)
    assert (found["sw-nat"].members, found["tap1001"].is_up) == (("tap1001",), True)
    assert lab.ask("link", device=0, up=True)["error"] == "There is no network device 0."
    assert lab.ask("link", device=1, up="yes")["error"] == "up is not true or false."


def test_a_guest_may_start_with_its_cable_out(lab):
    lab.start(nic(lab, link="down"))
    found = interfaces(lab)
    assert (found["sw-nat"].members, found["tap1001"].is_up) == ((), False)


def test_a_tap_with_a_rate_has_a_pipe_between_it_and_its_switch(lab):
    lab.start(nic(lab, rate_in="10M", rate_out="2M"))
    assert interfaces(lab)["sw-nat"].members == ("rtap1001",)
    assert lab.state()["warnings"] == []
    said = [call[1:] for call in lab.calls("ngctl")]
    assert ["mkpeer", "tap1001:", "pipe", "lower", "lower"] in said
    assert ["mkpeer", "tap1001_pipe:", "eiface", "upper", "ether"] in said
    assert said[-1] == [
        "msg", "tap1001_pipe:", "setcfg",
        "{ downstream={ bandwidth=10000000 } upstream={ bandwidth=2000000 } }",
    ]  # fmt: skip
    answer = lab.ask("limits", rates={"tap1001": {"rate_in": None, "rate_out": "5M"}})
    assert answer["ok"]
    assert lab.calls("ngctl")[-1][-1] == "{ downstream={ bandwidth=-1 } upstream={ bandwidth=5000000 } }"
    assert lab.ask("link", device="tap1001", up=False)["ok"]
    assert interfaces(lab)["sw-nat"].members == ()
    lab.ask("poweroff")
    lab.until("stopped")
    assert not {"tap1001", "rtap1001", "tap900"}.intersection(interfaces(lab))
    assert json.loads((lab.root / "fake/nodes.json").read_text()) == {}


def test_a_running_guest_gets_its_first_rate(lab):
    lab.start()
    assert lab.ask("limits", rates={"1": {"rate_out": "5M"}})["ok"]
    assert interfaces(lab)["sw-nat"].members == ("rtap1001",)


@pytest.mark.parametrize("verb", ["mkpeer", "name", "show", "msg"])
def test_a_rate_that_cannot_be_set_costs_no_start_and_leaves_nothing(lab, verb):
    lab.tell("ngctl", fails=verb)
    lab.start(nic(lab, rate_in="10M"))
    assert "The rate of tap1001 is not limited" in lab.state()["warnings"][0]
    found = interfaces(lab)
    assert found["sw-nat"].members == ("tap1001",)
    assert not {"rtap1001", "tap900"}.intersection(found)


def test_the_running_configuration_is_kept_without_its_password(lab):
    lab.start()
    path = lab.root / "var/run/bhype/vms/web1/vm.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert running(lab) == changes.without_secrets(lab.document())
    assert "pw123456" not in path.read_text()
    lab.ask("poweroff")
    lab.until("stopped")
    assert running(lab) == {}


def test_a_successor_goes_on_with_what_runs_and_not_with_what_is_wanted_next(lab):
    lab.tell("racct", enable=1)
    lab.start()
    assert lab.ask("limits", limits={"pcpu": 80})["ok"]
    state = lab.state()
    os.kill(state["supervisor"], signal.SIGKILL)
    until(lambda: not lab.state()["supervised"])
    lab.start(lab.document(cpu=4, com2="/dev/nmdm-web1.2A"))
    assert (lab.state()["pid"], lab.state()["serial"]) == (state["pid"], ["com1"])
    assert (running(lab)["cpu"], running(lab)["limits"]) == (2, {"pcpu": 80})
    # A guest that reboots by itself has the same hardware, and its screen the same password.
    lab.ask("reset")
    until(lambda: lab.state()["restarts"] == 1 and lab.state()["state"] == "running")
    assert lab.starts[1] == lab.starts[0]
    assert "pw123456" in (lab.root / "fake/secret").read_text()


def test_a_successor_applies_what_its_predecessor_did_not_come_to(lab):
    lab.tell("racct", enable=1)
    lab.start(lab.document(limits=LIMITS))
    pid = lab.state()["pid"]
    os.kill(lab.state()["supervisor"], signal.SIGKILL)
    until(lambda: not lab.state()["supervised"])
    path = lab.root / "var/run/bhype/vms/web1/state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"settled": None}))
    (lab.root / "fake/calls").unlink()
    lab.start(lab.document(limits=LIMITS))
    assert lab.calls("rctl")[0] == ["rctl", "-r", f"process:{pid}"]


# When it is started again.


def test_a_crash_is_followed_by_a_start_when_the_configuration_says_so(lab):
    lab.plan({"exit": 134, "after": 0.5}, {})
    lab.start(lab.document(restart={"on_crash": True, "delay": 0}))
    until(lambda: lab.state()["restarts"] == 1 and lab.state()["state"] == "running")
    assert len(lab.starts) == 2
    # A killed bhyve is a crash, too; a VM that was powered off is none.
    os.kill(lab.state()["pid"], signal.SIGKILL)
    until(lambda: lab.state()["restarts"] == 2 and lab.state()["state"] == "running")
    lab.ask("poweroff")
    assert lab.until("stopped")["reason"] == "It was powered off."
    assert len(lab.starts) == 3


def test_a_waiting_start_is_shown_and_can_be_called_off(lab):
    lab.plan({"exit": 134, "after": 0.5}, {})
    lab.start(lab.document(restart={"on_crash": True, "delay": 30}))
    until(lambda: lab.state().get("next_start"))
    state = lab.state()
    assert 20 < state["next_start"] - time.time() <= 30
    assert (state["state"], state["pid"]) == ("starting", None)
    assert state["reason"] == "bhyve ended with exit status 134. It is started again."
    assert lab.ask("stop")["ok"]
    assert lab.until("stopped")["next_start"] is None
    assert (len(lab.starts), lab.taps()) == (1, [])


def test_after_too_many_crashes_it_stays_off(lab):
    lab.plan({"exit": 134, "after": 0.4})
    lab.start(lab.document(restart={"on_crash": True, "delay": 0, "limit": 2, "within": 600}))
    reason = lab.until("failed")["reason"]
    assert reason == "bhyve ended with exit status 134. It ended so more than 2 times within 600 s."
    assert len(lab.starts) == 3


def test_a_bhyve_that_never_came_up_is_not_tried_again(lab):
    lab.plan({"exit": 4, "after": 0, "init": False, "stderr": "no\n"})
    with pytest.raises(CommandFailed, match="It said: no"):
        lab.start(lab.document(restart={"on_crash": True}))
    assert len(lab.starts) == 1


def test_the_configuration_says_after_which_ends_the_guest_is_started_again(lab):
    lab.plan({"exit": 2, "after": 0.4}, {"exit": 0, "after": 0.4})
    lab.start(lab.document(restart={"reboot_on": [2], "delay": 0}))
    assert lab.until("stopped")["reason"] == "The guest rebooted."
    assert len(lab.starts) == 2


def test_without_a_next_target_a_reboot_stays_in_the_target(lab):
    document = lab.document(targets={"install": {"emulations": [{"device": "virtio-rnd"}]}})
    lab.plan({"exit": 0, "after": 0.4}, {})
    lab.start(document, target="install")
    until(lambda: lab.state().get("restarts") == 1 and lab.state()["state"] == "running")
    assert ["virtio-rnd" in " ".join(argv) for argv in lab.starts] == [True, True]


def test_the_main_parts_next_target_counts_from_the_first_reboot(lab):
    """An ISO is there once, and then no more."""
    document = lab.document(next_target="disk", targets={"disk": {"cpu": 1}})
    lab.plan({"exit": 0, "after": 0.4}, {"exit": 0, "after": 0.4}, {})
    lab.start(document)
    until(lambda: lab.state().get("restarts") == 2 and lab.state()["state"] == "running")
    assert [argv[argv.index("-c") + 1] for argv in lab.starts] == ["2", "1", "1"]
    assert lab.state()["target"] == "disk"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"device": "virtio-rnd", "slot": "0:1:0"}, "The slot is taken by virtio-blk."),
        ({"device": "ahci-cd", "path": "/vms/gone.iso"}, "/vms/gone.iso cannot be opened"),
    ],
)
def test_a_next_target_that_cannot_run_ends_the_vm_with_the_reason(lab, entry, said):
    document = lab.document(next_target="next", targets={"next": {"emulations": [entry]}})
    document["emulations"][0]["slot"] = "0:1:0"
    lab.plan({"exit": 0, "after": 0.4}, {})
    lab.start(document)
    assert said in lab.until("failed")["reason"]
    assert len(lab.starts) == 1


def test_the_serial_lines_are_those_of_the_target(lab):
    document = lab.document(next_target="two", targets={"two": {"com2": "/dev/nmdm-web1.2A"}})
    lab.plan({"exit": 0, "after": 0.4}, {})
    lab.start(document)
    until(lambda: lab.state().get("restarts") == 1 and lab.state()["state"] == "running")
    assert lab.state()["serial"] == ["com1", "com2"]
    assert lab.host.exists(client.serial_socket(lab.name, 2))


# The pure part.


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"type": "netgraph", "path": "sw0:", "peerhook": "link1"}, "netgraph"),
        ({"type": "slirp"}, "slirp"),
        ({"name": "vale0:a"}, "vale"),
    ],
)
def test_what_is_no_tap_has_no_cable_and_no_rate(short_path, entry, kind):
    document = {"name": "a", "cpu": 1, "mem": "64M", "emulations": [{"device": "virtio-net", **entry}]}
    (device,) = parse(document).devices
    host = LocalHost(str(short_path))
    for said in (nics.set_link(host, device), nics.reshape(host, device)):
        assert [f"a {kind} backend" in sentence.lower() for sentence in said] == [True]


@given(
    st.dictionaries(
        st.sampled_from(["limits", "nice", "protect", "rates", "device", "up"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["tap1", "pcpu", "rate_in"]), inner, max_size=2)
            ),
        ),
    )
)
def test_any_request_is_laid_over_or_refused(request_):
    document = {"name": "a", "emulations": [{"device": "virtio-net", "name": "tap1"}]}
    for change in (changes.with_limits, changes.with_link):
        before = json.dumps(document)
        with contextlib.suppress(ValueError):
            change(document, request_)
        assert json.dumps(document) == before
