"""What a VM needs of its host: everything that is missing is named by device, with what to do about it."""

from __future__ import annotations

import json
import socket
import tempfile
from pathlib import Path

import pytest

from bhype.freebsd import devctl, ifconfig, kld
from bhype.vmrun.check import check, locate, running
from bhype.vmrun.check_devices import passed_through
from bhype.vmrun.config import parse
from bhype.vmrun.machine import machine

from .conftest import Lab, free_port


@pytest.fixture(scope="module")
def lab():
    """A lab host whose guests are never started: checks change nothing."""
    with tempfile.TemporaryDirectory(prefix="chk-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        lab = Lab(Path(folder))
        lab.host.run(kld.load("vmm"))
        lab.host.run(ifconfig.create("tap7", description=None, group=ifconfig.GROUP, mtu=None, up=True))
        lab.host.run(devctl.set_driver("pci0:1:0:0", "ppt"))
        yield lab


def problems(lab, *devices: dict, **more: object) -> list[str]:
    """As lines "where: what mend"."""
    document = {"name": "web1", "cpu": 1, "mem": "64M", "emulations": list(devices), **more}
    config = locate(lab.host, parse(document))
    found = check(lab.host, config, machine(config))
    return [f"{problem.where}: {problem.what} {problem.mend}".rstrip() for problem in found]


def test_a_vm_that_has_all_it_needs_has_no_problem(lab):
    assert (
        problems(
            lab, {"device": "virtio-net", "name": "tap7"}, {"device": "virtio-blk", "path": "/vms/disk0.img"}
        )
        == []
    )


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ({"device": "virtio-net", "name": "tap9"},
         'The interface tap9 is missing. Run: ifconfig tap9 create; or say "fix": true.'),
        ({"device": "e1000", "name": "tap9", "fix": True, "bridge": "sw-none"},
         "The switch sw-none is missing. Make the bridge sw-none."),
        ({"device": "virtio-net", "name": "netmap:em9"}, "The interface em9 is missing. Choose another interface."),
        ({"device": "virtio-net", "type": "netgraph", "path": "sw0:", "peerhook": "link1"},
         "There is no netgraph node sw0. Make it: ngctl name PATH sw0"),
        ({"device": "virtio-blk", "path": "/none.img"},
         "/none.img cannot be opened: No such file or directory. Give another path, or take the device out."),
        ({"device": "nvme", "path": "/vms"}, "/vms is neither a file nor a disk. Give another path."),
        ({"device": "ahci", "ports": [{"type": "cd", "path": "/none.iso"}]},
         "/none.iso cannot be opened: No such file or directory. Give another path, or take the device out."),
        ({"device": "virtio-9p", "share": "a", "path": "/none"},
         "The folder /none is missing. Make it, or give another path."),
        ({"device": "virtio-console", "ports": ["/none/a.sock"]}, "The folder of /none/a.sock is missing. Make it."),
        ({"device": "virtio-input", "path": "/dev/input/event9"},
         "/dev/input/event9 is missing. Choose a device of /dev/input."),
        ({"device": "virtio-scsi", "dev": "/dev/cam/ctl9.1"},
         "/dev/cam/ctl9.1 is missing. Make the port: ctladm port -c."),
        ({"device": "hda", "play": "/dev/dsp9", "rec": "/dev/dsp9"},
         "/dev/dsp9 is missing. Load the driver of the sound card, or choose another."),
    ],
)  # fmt: skip
def test_what_a_device_lacks_is_named_under_its_slot(lab, device, said):
    assert problems(lab, {**device, "slot": "0:7:0"}) == [f"0:7:0 {device['device']}: {said}"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"mem": "999G"}, "memory: The VM wants 1022976 MiB, the host has 8192 MiB. Give it less memory."),
        ({"cpu": 9}, "cpu: The VM wants 9 CPUs, the host allows 4. Give it fewer CPUs."),
        ({"pinning": {"0": [3, 4, 9]}}, "pinning: There is no CPU 4, 9: the host has 4, from 0 on. Choose others."),
        ({"bootrom": "/none.fd"}, "firmware: /none.fd is missing. Give the path of a firmware."),
        (
            {"bootrom": "/usr/local/share/uefi-firmware/NONE.fd"},
            "firmware: /usr/local/share/uefi-firmware/NONE.fd is missing. Run: pkg install edk2-bhyve",
        ),
        ({"varfile": "/none/vars.fd"}, "firmware: The folder of /none/vars.fd is missing. Make it."),
        ({"keyboard": "xx_none"},
         "keyboard: /usr/share/bhyve/kbdlayout/xx_none is missing. Choose one of /usr/share/bhyve/kbdlayout."),
        ({"fw_cfg": [{"name": "opt/a", "file": "/none"}]}, "fw_cfg opt/a: /none is missing. Give another path."),
        ({"post_start_script": "/none.sh a"}, "post_start_script: /none.sh is missing. Give another path."),
        ({"tpm": {"type": "passthru", "path": "/dev/tpm9"}}, "tpm: /dev/tpm9 is missing. Run: kldload tpm"),
        ({"tpm": {"type": "swtpm", "path": "/none.sock"}}, "tpm: /none.sock is missing. Start its swtpm."),
        ({"loader": {"type": "bhyveload", "disk": "/none.img"}}, "loader: /none.img is missing. Give another path."),
        ({"com1": "tcp=192.0.2.1:4001"},
         "com1: It cannot listen on 192.0.2.1:4001: Cannot assign requested address. Change host or port."),
    ],
)  # fmt: skip
def test_what_the_vm_itself_lacks_is_named(lab, more, said):
    assert said in problems(lab, **more)


@pytest.mark.parametrize(
    "program", ["/usr/sbin/bhyveload", "/usr/local/sbin/grub-bhyve", "/usr/local/bin/swtpm"]
)
def test_a_program_that_is_not_installed_is_named(lab, program):
    disk = {"device": "virtio-blk", "path": "/vms/disk0.img"}
    wish = {
        "/usr/sbin/bhyveload": {"loader": {"type": "bhyveload"}},
        "/usr/local/sbin/grub-bhyve": {"loader": {"type": "grub"}},
        "/usr/local/bin/swtpm": {"tpm": {"type": "swtpm", "state": "/vms/tpm"}},
    }[program]
    place = Path(lab.host.path(program))
    aside = place.with_name("aside")
    if place.exists():
        place.rename(aside)
    try:
        assert [line for line in problems(lab, disk, **wish) if f"{program} is missing." in line]
    finally:
        if aside.exists():
            aside.rename(place)


@pytest.mark.parametrize("key", ["graphic", "com1", "gdb"])
def test_a_port_in_use_is_named(lab, key):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        address = f"127.0.0.1:{port}"
        wish = {
            "graphic": {"host": "127.0.0.1", "port": port},
            "com1": f"tcp={address}",
            "gdb": f"w{address}",
        }[key]
        said = f"{key}: The port {address} is in use. Choose another port, or end what listens there."
        assert problems(lab, **{key: wish}) == [said]


def test_what_the_release_has_not_is_named(lab):
    script = Path(lab.host.path("/sbin/sysctl"))
    graphic = {"host": "127.0.0.1", "port": free_port(), "width": 2560, "height": 1440}
    assert problems(lab, graphic=graphic) == []
    aside = script.with_name("sysctl.aside")
    script.rename(aside)
    try:
        script.write_text("#!/bin/sh\nprintf 'hw.physmem: 8589934592\\nkern.osreldate: 1302001\\n'\n")
        script.chmod(0o755)
        assert problems(lab, graphic=graphic) == [
            "graphic: 2560x1440 is more than the 1920x1200 of this release. Choose a smaller size."
        ]
        said = "bhyve has that since FreeBSD 14.0. Take it out, or upgrade the host."
        for key, value in {"fwcfg": "qemu", "fw_cfg": [{"name": "opt/a", "string": "b"}]}.items():
            assert problems(lab, **{key: value}) == [f"{key}: {said}"]
        tpm = {"type": "swtpm", "state": "/vms/tpm"}
        assert f"tpm: {said}" in problems(lab, tpm=tpm)
    finally:
        aside.replace(script)


# PCI passthrough.


def guest(place: str, **more: object) -> dict:
    return {"device": "passthru", "slot": "0:6:0", "src": place, **more}


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (guest("9:0:0"), "The host has no PCI device 9/0/0. See: pciconf -l"),
        (guest("0:1:0"), "0/1/0 is a bridge, which stays the host's. Choose a device behind it."),
        (guest("2:0:0"),
         "2/0/0 is not reserved for guests, it has the driver nvme. "
         'Run: devctl set driver -f pci0:2:0:0 ppt; or say "fix": true.'),
        (guest("0:31:4"),
         "0/31/4 is not reserved for guests, it has no driver. "
         'Run: devctl set driver -f pci0:0:31:4 ppt; or say "fix": true.'),
        ({"device": "passthru", "slot": "0:6:0", "lookup": {"vendor": "0xdeadbeef", "device": "0x00000000"}},
         "The host has no (other) device 0xdeadbeef 0x00000000. See: pciconf -l"),
    ],
)  # fmt: skip
def test_a_device_that_cannot_be_passed_through_is_named(lab, device, said):
    assert problems(lab, device, wire_guest_mem=True) == [f"0:6:0 passthru: {said}"]


def test_a_reserved_device_can_be_passed_through_and_another_is_made_so(lab):
    assert problems(lab, guest("1:0:0"), wire_guest_mem=True) == []
    assert problems(lab, guest("2:0:0", fix=True), wire_guest_mem=True) == []


def test_the_same_device_twice_is_named(lab):
    twice = problems(lab, guest("1:0:0"), {**guest("1:0:0"), "slot": "0:7:0"}, wire_guest_mem=True)
    assert twice == ["0:7:0 passthru: 1/0/0 is given to the VM twice. Take one out."]


def test_a_device_of_another_vm_that_is_on_is_named(lab):
    folder = Path(lab.host.path("/var/run/bhype/vms/other"))
    folder.mkdir(parents=True)
    (folder.parent / "broken").mkdir()
    (folder.parent / "broken/state.json").write_text("{")
    command = ["/usr/sbin/bhyve", "-S", "-s", "0:6:0,passthru,1/0/0,rom=/rom", "other"]
    (folder / "state.json").write_text(json.dumps({"state": "running", "command": command}))
    assert passed_through(lab.host) == {"1/0/0": "other"}
    said = "0:6:0 passthru: 1/0/0 is in use by the VM other. Stop that VM first."
    assert problems(lab, guest("1:0:0"), wire_guest_mem=True) == [said]
    # Its own device is no obstacle, nor that of a VM that is off.
    assert problems(lab, guest("1:0:0"), name="other", wire_guest_mem=True) == []
    (folder / "state.json").write_text(json.dumps({"state": "stopped", "command": command}))
    assert problems(lab, guest("1:0:0"), wire_guest_mem=True) == []


def test_devices_are_found_by_their_numbers(lab):
    """Two of a kind become two, in the order of their places; a third is not there."""
    network = {"device": "passthru", "lookup": {"vendor": "0x80868086", "device": "0x15210521"}}
    document = {"name": "a", "cpu": 1, "mem": "64M", "wire_guest_mem": True, "emulations": [network] * 3}
    found = locate(lab.host, parse(document))
    assert [device.values.get("src") for device in found.devices] == ["3/0/0", "3/0/1", None]
    assert [str(slot) for slot in machine(found).slots[2:]] == [
        "0:1:0,passthru,3/0/0",
        "0:2:0,passthru,3/0/1",
        "0:3:0,passthru,lookup-0x80868086-0x15210521",
    ]


def test_a_vm_that_runs_already_is_named(lab):
    script = Path(lab.host.path("/bin/ps"))
    aside = script.with_name("ps.aside")
    script.rename(aside)
    row = {
        "pid": "77",
        "percent-cpu": "0.0",
        "rss": "10",
        "elapsed-times": "5",
        "command": "bhyve: web1 (bhyve)",
    }
    try:
        script.write_text(f"#!/bin/sh\necho '{json.dumps({'process-information': {'process': [row]}})}'\n")
        script.chmod(0o755)
        config = parse({"name": "web1", "cpu": 1, "mem": "64M", "emulations": []})
        assert [problem.what for problem in running(lab.host, config)] == ["web1 runs already, process 77."]
        assert running(lab.host, parse({"name": "web2", "cpu": 1, "mem": "64M", "emulations": []})) == []
    finally:
        aside.replace(script)
