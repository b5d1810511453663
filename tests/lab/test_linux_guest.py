"""A Linux guest finds every device that bhyve was told of: with a command line made by hand, and from a vm.json."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from tests.guest import build
from tests.guest.console import PATIENCE, Console, Line
from tests.lab import vnc
from tests.lab.conftest import ROOT, drop_lab, make_lab
from tests.lab.guests import ROM

pytestmark = [pytest.mark.guest, pytest.mark.xdist_group("linux-guest")]

UUID = "5b8f7a3e-0f6f-4f66-9d0e-7d64d3a4b00"
MAC = "58:9c:fc:00:00:0"
MIB = 1 << 20


@pytest.fixture(scope="module")
def host():
    """A lab with disks and shares in /vm, two taps at bridge0 (one behind a pipe), a netgraph bridge, a ppt device."""
    lab = make_lab()
    lab.ok("kldload", "vmm", "nmdm", "if_bridge", "ng_ether", "ng_bridge", "ng_pipe", "ng_eiface")
    lab.path("/vm/tpm").mkdir(parents=True)
    lab.path("/vm/boot").write_bytes(build.image().read_bytes())
    for name in ("nvme", "sata", "cd", "scsi", "blk"):
        lab.path(f"/vm/{name}").write_bytes(f"This is {name}.".encode().ljust(4 * MIB, b"\0"))
    for name in ("share", "public"):
        lab.path(f"/vm/{name}").mkdir()
        lab.path(f"/vm/{name}/hello").write_text(f"hello from {name}\n")
    for folder in ("/dev/cam", "/dev/input"):
        lab.path(folder).mkdir()
    lab.path("/dev/cam/ctl1.1").symlink_to(lab.path("/vm/scsi"))
    lab.path("/dev/input/event0").touch()
    lab.ok("ifconfig", "bridge", "create")
    for tap in ("tap0", "tap1"):
        lab.ok("ifconfig", tap, "create")
    for words in (
        "mkpeer tap1: pipe lower lower", "name tap1:lower tap1_pipe", "mkpeer tap1_pipe: eiface upper ether",
        "mkpeer em0: bridge lower link0", "name em0:lower br0",
    ):  # fmt: skip
        lab.ok("ngctl", *words.split())
    lab.ok("ngctl", "msg", "tap1_pipe:", "setcfg", "{ downstream={ bandwidth=10000000 } }")
    lab.ok("ifconfig", "bridge0", "inet", "10.7.0.1/24", "addm", "tap0", "addm", "ngeth0", "up")
    lab.ok("devctl", "set", "driver", "-f", "pci0:3:0:0", "ppt")
    yield lab
    drop_lab(lab)


def dial(path) -> Line:
    """A unix socket's path must be short, so its folder is opened, not named."""
    connection = socket.socket(socket.AF_UNIX)
    folder = os.open(path.parent, os.O_RDONLY)
    connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)
    return Line.socket(connection)


def tcp(port: int) -> Line:
    return Line.socket(socket.create_connection(("127.0.0.1", port)))


def say(debugger, packet, answer):
    """A packet of gdb's remote protocol, and what must come back; it may be told of a stop in between."""
    debugger.sendall(packet)
    heard = b""
    while answer not in heard:
        data = debugger.recv(256)
        assert data, heard
        heard += data


def at(items, place):
    """What sits at a place such as "00:04.0"; sysfs writes hexadecimal numbers."""
    return [item for item in items if item["place"] == place]


def one(items, place, *keys):
    (found,) = at(items, place)
    return tuple(found[key] for key in keys)


def check_devices(found):
    """What both machines have in the same places."""
    disks, nics = found["disk"], found["nic"]
    keys = ("bytes", "serial", "ro", "logical", "physical", "head")
    assert one(disks, "00:05.0", *keys) == (4 * MIB, "NV1", 0, 4096, 4096, "This is nvme.")
    assert one(disks, "00:06.0", "bytes", "serial") == (16 * MIB, "NVME-6-0")
    sata = sorted(at(disks, "00:07.0"), key=lambda disk: disk["name"])
    assert [(disk["name"][:2], disk["head"]) for disk in sata[:2]] == [
        ("sd", "This is sata."),
        ("sr", "This is cd."),
    ]
    assert (sata[0]["serial"], sata[0]["model"], sata[0]["rotational"]) == ("SA1", "Best Disk", 0)
    assert one(disks, "00:08.0", "model", "head") == ("CTLDISK", "This is scsi.")
    assert one(disks, "00:12.0", *keys[2:]) == (1, 512, 4096, "This is blk.")
    assert one(nics, "00:09.0", "mac", "mtu", "driver") == (MAC + "1", 9000, "virtio_net")
    assert one(nics, "00:0a.0", "mac", "mtu", "driver") == (MAC + "2", 1500, "e1000")
    assert one(nics, "00:13.0", "mac") == (MAC + "3",)
    shares = {share["name"]: share for share in found["share"]}
    share, public = shares["share"], shares["public"]
    assert (share["mounted"], share["hello"], share["written"]) == (True, "hello from share", True)
    assert (public["mounted"], public["hello"], public["written"]) == (True, "hello from public", False)
    assert {port["name"] for port in at(found["port"], "00:0d.0")} == {"agent", "log"}
    assert one(found["sound"], "00:0f.0", "codec")
    assert one(found["input"], "00:11.0", "name") == ("QEMU Virtio Keyboard",)
    assert one(found["input"], "00:1e.0", "name") == ("QEMU QEMU USB Tablet",)
    (rng,) = found["rng"]
    assert (rng["name"][:10], len(rng["bytes"])) == ("virtio_rng", 16)
    (tpm,) = found["tpm"]
    assert (tpm["version"], tpm["random"][:4], len(tpm["random"])) == ("2", "8001", 40)
    items = {item["name"]: item["value"] for item in found["fw_cfg"]}
    assert items == {"opt/org.bhype/hello": "from the host"}
    devices = {(device["place"], device["class"][:6]) for device in found["pci"]}
    assert {("00:1d.0", "0x0300"), ("00:1f.0", "0x0601"), ("02:04.0", "0x00ff")} <= devices


def check_machine(found, number, firmware, topology):
    (memory,) = found["memory"]
    assert memory["uuid"] == UUID + str(number)
    assert (memory["vendor"], memory["serial"], memory["firmware"]) == ("FreeBSD", "SN-4711", firmware)
    assert 380 << 10 < memory["kib"] <= 512 << 10
    # The clock was set to universal time.
    assert abs(memory["rtc"] - time.time()) < 900
    assert [(cpu["socket"], cpu["core"], cpu["siblings"]) for cpu in found["cpu"]] == topology


def bhyve_argv(ports):
    return [
        *(
            "-ACDHPSYeuwx",
            "-c",
            "cpus=2,sockets=1,cores=1,threads=2",
            "-p",
            "0:0",
            "-m",
            "512M",
            "-K",
            "de_noacc",
        ),
        *("-U", UUID + "1", "-G", f"127.0.0.1:{ports['gdb']}", "-o", "system.serial_number=SN-4711"),
        *("-f", "opt/org.bhype/hello,string=from the host", "-l", f"bootrom,{ROM},fwcfg=qemu"),
        *("-l", "tpm,swtpm,/vm/tpm.sock", "-l", "com1,/dev/nmdm-a.1A", "-l", "com2,/dev/nmdm-a.2A"),
        *("-l", f"com3,tcp=127.0.0.1:{ports['com3']}", "-l", "com4,/dev/nmdm-a.4A"),
        *("-s", "0,amd_hostbridge", "-s", "31,lpc", "-s", "4,virtio-blk,/vm/boot,ser=BOOT,bootindex=1"),
        *("-s", "5,nvme,/vm/nvme,sectsz=4096,ser=NV1,eui64=0x5a,maxq=4", "-s", "6,nvme,ram=16"),
        *("-s", "7,ahci,hd:/vm/sata,ser=SA1,model=Best Disk,rev=9,nmrr=1,cd:/vm/cd,cd:"),
        *(
            "-s",
            "8,virtio-scsi,/dev/cam/ctl1.1,iid=1",
            "-s",
            f"9,virtio-net,tap0,type=tap,mac={MAC}1,mtu=9000",
        ),
        *("-s", f"10,e1000,tap1,mac={MAC}2", "-s", "11,virtio-9p,share=/vm/share"),
        *("-s", "12,virtio-9p,public=/vm/public,ro", "-s", "14,virtio-rnd", "-s", "2:4:0,virtio-rnd"),
        *("-s", "13,virtio-console,agent=/vm/agent.sock,log=/vm/log.sock", "-s", "15,hda,play=/dev/dsp0"),
        *("-s", "16,uart,/dev/nmdm-a.5A", "-s", "17,virtio-input,/dev/input/event0"),
        *("-s", "18,virtio-blk,/vm/blk,ro,nodelete,sectorsize=512/4096", "-s", "18:3,virtio-blk,/vm/blk"),
        *("-s", f"19,virtio-net,netgraph,path=br0:,peerhook=link1,socket=a-1,mac={MAC}3"),
        *("-s", f"20,virtio-net,slirp,hostfwd=tcp:127.0.0.1:{ports['ssh']}-10.0.2.15:22,mac={MAC}4"),
        *("-s", f"21,e1000,vale0:a,mac={MAC}5", "-s", "22,passthru,3/0/0"),
        *(
            "-s",
            f"29,fbuf,tcp=127.0.0.1:{ports['vnc']},w=800,h=600,password=secret",
            "-s",
            "30,xhci,tablet",
            "a",
        ),
    ]


def test_the_guest_finds_what_the_command_line_says(host):
    ports = {name: vnc.free_port() for name in ("gdb", "com3", "ssh", "vnc")}
    tpm = subprocess.Popen(
        host.argv(
            "swtpm", "socket", "--tpm2", "--tpmstate", "dir=/vm/tpm,mode=0600",
            "--server", "type=unixio,path=/vm/tpm.sock,mode=0600",
            "--flags", "not-need-init,startup-clear", "--terminate",
        ),
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not host.path("/vm/tpm.sock").exists():
        time.sleep(0.02)
    assert "/usr/local/bin/swtpm socket" in host.ok("ps", "-axo", "command")
    bhyve = subprocess.Popen(host.argv("bhyve", *bhyve_argv(ports)), stderr=subprocess.PIPE, text=True)
    try:
        console = Console.open(
            host.path("/dev/nmdm-a.1B"), lambda: "" if bhyve.poll() is None else bhyve.communicate()[1]
        )
        found = console.report()
        check_machine(found, 1, "uefi", [(0, 0, "0-1"), (0, 0, "0-1")])
        check_devices(found)
        disks = found["disk"]
        assert one(disks, "00:04.0", "serial", "bytes", "ro") == ("BOOT", build.SIZE, 0)
        assert one(disks, "00:12.3", "head", "ro") == ("This is blk.", 0)
        assert len(at(disks, "00:07.0")) == 3  # the empty drive, too
        assert host.path("/vm/share/written").read_text() == "from the guest\n"
        # every serial port
        for number, name in ((2, "com2"), (4, "com4"), (5, "uart")):
            assert Line.open(host.path(f"/dev/nmdm-a.{number}B")).ask("hello") == f"{name}: hello"
        com3 = tcp(ports["com3"])
        assert com3.ask("hello") == "com3: hello"
        assert tcp(ports["com3"]).read() == "Socket already connected"
        com3.close()
        for name in ("agent", "log"):
            assert dial(host.path(f"/vm/{name}.sock")).ask("hello") == f"{name}: hello"
        # the networks: a tap, one behind a pipe, and what slirp forwards
        names = {nic["place"]: nic["name"] for nic in found["nic"]}
        for place, address in (("00:09.0", "10.7.0.9"), ("00:0a.0", "10.7.0.10")):
            nic = names[place]
            console.run(
                f"ip addr add {address}/24 dev {nic} && ip link set {nic} up && ping -c 1 -W 5 10.7.0.1"
            )
            console.run(f"ip addr flush dev {nic}")
        nic = names["00:14.0"]
        console.run(f"ip addr add 10.0.2.15/24 dev {nic} && ip link set {nic} up")
        console.run(
            "(echo from the guest | nc -l -p 22) >/dev/null 2>&1 & "
            "until netstat -ltn | grep -q :22; do usleep 20000; done"
        )
        assert tcp(ports["ssh"]).read() == "from the guest"
        # what the host sees of it
        assert host.fails("devctl", "set", "driver", "-f", "pci0:3:0:0", "igb") == (
            "devctl: Failed to set pci0:3:0:0 driver to igb: Device busy\n"
        )
        assert "a-1" in host.ok("ngctl", "list")
        with vnc.connect(ports["vnc"]) as screen:
            assert vnc.sign_in(screen, "secret")
        # the debugger stops the guest, and lets it go on
        with socket.create_connection(("127.0.0.1", ports["gdb"])) as debugger:
            say(debugger, b"+$?#3f", b"$T")
            say(debugger, b"+$D#44", b"$OK#")
        bhyve.terminate()
        assert console.item()["kind"] == "button"
        assert bhyve.wait(PATIENCE) == 1
    finally:
        bhyve.kill()
        bhyve.communicate()
        tpm.terminate()
    assert tpm.wait(PATIENCE) == 0
    assert not host.path("/dev/vmm/a").exists()
    assert "a-1" not in host.ok("ngctl", "list")
    host.ok("devctl", "clear", "driver", "-f", "pci0:3:0:0")


def document(ports):
    return {
        "name": "b",
        "uuid": UUID + "2",
        "cpu": {"sockets": 2, "cores": 1, "threads": 1},
        "mem": "512M",
        "generate_acpi": True, "utc_clock": True, "yield_on_hlt": True, "ignore_msr": True,
        "loader": {
            "type": "grub",
            "config": f"menuentry one {{\n linux (hd0,msdos1)/vmlinuz {build.CMDLINE} second\n"
                      " initrd (hd0,msdos1)/initrd.gz\n}\n",
        },
        "fwcfg": "qemu",
        "fw_cfg": [{"name": "opt/org.bhype/hello", "string": "from the host"}],
        "options": {"system.serial_number": "SN-4711"},
        "keyboard": "de_noacc",
        "pinning": {"0": [0], "1": [0, 1]},
        "tpm": {"type": "swtpm", "state": "/vm/tpm-b"},
        "com1": "/dev/nmdm-b.1A", "com2": "/dev/nmdm-b.2A", "com3": f"tcp=127.0.0.1:{ports['com3']}",
        "gdb": f"127.0.0.1:{ports['gdb']}",
        "nice": 3, "protect": True, "limits": {"pcpu": 200, "readbps": "100M"},
        "graphic": {"host": "127.0.0.1", "port": ports["vnc"], "slot": "0:29:0", "xhci_slot": "0:30:0"},
        "emulations": [
            {"device": "virtio-blk", "slot": "0:4:0", "path": "/vm/boot", "ser": "BOOT"},
            {"device": "nvme", "slot": "0:5:0", "path": "/vm/nvme", "sectsz": 4096, "ser": "NV1"},
            {"device": "nvme", "slot": "0:6:0", "ram": 16},
            {"device": "ahci", "slot": "0:7:0", "ports": [
                {"type": "hd", "path": "/vm/sata", "ser": "SA1", "model": "Best Disk", "nmrr": 1},
                {"type": "cd", "path": "/vm/cd"},
            ]},
            {"device": "virtio-scsi", "slot": "0:8:0", "dev": "/dev/cam/ctl1.1"},
            {"device": "virtio-net", "slot": "0:9:0", "name": "tap7", "fix": True, "bridge": "bridge0",
             "mac": MAC + "1", "mtu": 9000, "description": "b/0", "rate_in": "20M"},
            {"device": "e1000", "slot": "0:10:0", "name": "tap8", "fix": True, "mac": MAC + "2", "description": "b/1"},
            {"device": "virtio-9p", "slot": "0:11:0", "share": "share", "path": "/vm/share"},
            {"device": "virtio-9p", "slot": "0:12:0", "share": "public", "path": "/vm/public", "ro": True},
            {"device": "virtio-console", "slot": "0:13:0", "ports": [
                {"name": "agent", "path": "/vm/agent-b.sock"}, {"name": "log", "path": "/vm/log-b.sock"},
            ]},
            {"device": "virtio-rnd", "slot": "0:14:0"},
            {"device": "virtio-rnd", "slot": "2:4:0"},
            {"device": "hda", "slot": "0:15:0", "play": "/dev/dsp0"},
            {"device": "uart", "slot": "0:16:0", "path": "/dev/nmdm-b.5A"},
            {"device": "virtio-input", "slot": "0:17:0", "path": "/dev/input/event0"},
            {"device": "virtio-blk", "slot": "0:18:0", "path": "/vm/blk", "ro": True, "nodelete": True,
             "logical_sector_size": 512, "physical_sector_size": 4096},
            {"device": "virtio-net", "slot": "0:19:0", "type": "netgraph", "path": "br0:", "peerhook": "link2",
             "mac": MAC + "3"},
            {"device": "ahci-cd", "slot": "0:23:0"},
            {"device": "raw", "slot": "0:24:0", "value": "virtio-rnd"},
        ],
    }  # fmt: skip


def test_the_guest_finds_what_vm_json_says(host):
    """The supervisor runs grub-bhyve, swtpm and bhyve; its sockets and limits are there, and it cleans up."""
    ports = {name: vnc.free_port() for name in ("gdb", "com3", "vnc")}
    folder = host.path("/var/run/bhype/vms/b")
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "bhype.vmrun", "--root", str(host.root), "--no-reboot", "-c", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        supervisor.stdin.write(json.dumps(document(ports)))
        supervisor.stdin.close()
        deadline = time.monotonic() + PATIENCE
        while not (folder / "serial1.sock").exists():
            assert supervisor.poll() is None, supervisor.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        line = dial(folder / "serial1.sock")
        console = Console(line.handle, lambda: "" if supervisor.poll() is None else supervisor.stdout.read())
        found = console.report()
        check_machine(found, 2, "bios", [(0, 0, "0"), (1, 0, "1")])
        check_devices(found)
        assert found["memory"][0]["cmdline"].endswith(" second")
        assert len(at(found["pci"], "00:18.0")) == 1
        assert dial(folder / "serial2.sock").ask("hello") == "com2: hello"
        assert tcp(ports["com3"]).ask("hello") == "com3: hello"
        assert dial(host.path("/vm/agent-b.sock")).ask("hello") == "agent: hello"
        pid = json.loads((host.path("/").parent / "state/bhyve.json").read_text())["b"]["pid"]
        assert os.getpriority(os.PRIO_PROCESS, pid) == 3
        assert set(host.ok("rctl", f"process:{pid}").splitlines()) == {
            f"process:{pid}:pcpu:deny=200",
            f"process:{pid}:readbps:throttle={100 << 20}",
        }
        assert "tap7_pipe" in host.ok("ngctl", "list")
        console.write("poweroff")
        supervisor.wait(PATIENCE)
    finally:
        supervisor.terminate()
        supervisor.wait(PATIENCE)
        supervisor.stdout.close()
    assert not host.path("/dev/vmm/b").exists()
    assert host.ok("rctl", f"process:{pid}") == ""
    assert {"tap7", "rtap7", "tap8"}.isdisjoint(host.ok("ifconfig", "-l").split())
