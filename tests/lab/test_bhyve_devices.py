"""What bhyve refuses when it makes the VM and its devices (bhyve.md 2, 4, 5, 8), with the lab's real state."""

from __future__ import annotations

import os
import socket

import pytest

from bhype.lab import bhyve
from tests.lab.conftest import GIB, drop_lab, make_lab

ROM = "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"
INIT = "Device emulation initialization error: "
MISSING = "No such file or directory"
BASE = ("-s", "31,lpc", "-l", f"bootrom,{ROM}")


@pytest.fixture(scope="module")
def host():
    """A lab with vmm, two taps (tap1 at a bridge) and two disks; a test leaves no VM in it."""
    lab = make_lab()
    lab.ok("kldload", "vmm", "nmdm", "if_bridge")
    lab.ok("ifconfig", "tap", "create")
    lab.ok("ifconfig", "tap", "create")
    lab.path("/vm").mkdir()
    for disk in ("a", "b"):
        lab.path(f"/vm/{disk}").write_bytes(bytes(4096))
    yield lab
    drop_lab(lab)


@pytest.fixture
def refuse(host, monkeypatch, capsys):
    """``refuse(*argv)``: the status and stderr of a bhyve with firmware and LPC bridge, which must end."""
    monkeypatch.setenv("BHYPE_LAB", host.folder)

    def call(*argv: str, base: tuple[str, ...] = BASE) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            bhyve.main([*base, *argv, "vm1"])
        host("bhyvectl", "--vm=vm1", "--destroy")
        captured = capsys.readouterr()
        assert captured.out == ""
        return end.value.code, captured.err

    return call


REFUSED = [
    (("-c", "9"), "9 vCPUs requested but only 8 available\n"),
    (("-m", "33G"), "Unable to setup memory (12)\n"),
    (("-m", "0"), "Unable to setup memory (22)\n"),
    (
        ("-s", "4,virtio-blk,/vm/no"),
        f"bhyve: Could not open backing file: /vm/no: {MISSING}\n{INIT}{MISSING}\n",
    ),
    (("-s", "4,nvme,/vm/no"), f"bhyve: Could not open backing file: /vm/no: {MISSING}\n{INIT}{MISSING}\n"),
    (("-s", "4,ahci-hd,/vm/no"), f"bhyve: Could not open backing file: /vm/no: {MISSING}\n{INIT}{MISSING}\n"),
    (("-s", "4,ahci-cd,/vm/no"), f"bhyve: Could not open backing file: /vm/no: {MISSING}\n{INIT}{MISSING}\n"),
    (
        ("-s", "4,ahci,hd:/vm/a,cd:/no"),
        f"bhyve: Could not open backing file: /no: {MISSING}\n{INIT}{MISSING}\n",
    ),
    (
        ("-s", "4,virtio-blk,/vm"),
        f"bhyve: Could not open backing file: /vm: Is a directory\n{INIT}Is a directory\n",
    ),
    (("-s", "4,virtio-blk"), f'Missing "path" for block device.\n{INIT}Invalid argument\n'),
    (("-s", "4,ahci-hd"), f'Missing "path" for block device.\n{INIT}Invalid argument\n'),
    (("-s", "4,virtio-blk,/vm/a,sectorsize=100"), f"Invalid sector size 100/100\n{INIT}Invalid argument\n"),
    (
        ("-s", "4,virtio-blk,/vm/a,sectorsize=4096/512"),
        f"Invalid sector size 4096/512\n{INIT}Invalid argument\n",
    ),
    (("-s", "5,virtio-net,tap9"), f"open of tap device /dev/tap9 failed\n{INIT}{MISSING}\n"),
    (
        ("-s", "5,virtio-net,tap0", "-s", "6,e1000,tap0"),
        f"open of tap device /dev/tap0 failed\n{INIT}Device busy\n",
    ),
    (("-s", "5,virtio-net,vm0-net0"), f'Unable to find network backend "vm0-net0"\n{INIT}Invalid argument\n'),
    (
        ("-s", "5,virtio-net,tap0,mac=01:00:00:00:00:01"),
        f"Invalid MAC 01:00:00:00:00:01\n{INIT}Invalid argument\n",
    ),
    (
        ("-s", "5,virtio-net,tap0,mac=00:00:00:00:00:00"),
        f"Invalid MAC 00:00:00:00:00:00\n{INIT}Invalid argument\n",
    ),
    (("-s", "5,virtio-net,tap0,mac=junk"), f"Invalid MAC junk\n{INIT}Invalid argument\n"),
    (("-s", "5,fbuf,w=1921"), f"fbuf: max resolution is 1920x1200\n{INIT}No error: 0\n"),
    (("-s", "5,fbuf,h=479"), f"fbuf: minimum resolution is 640x480\n{INIT}No error: 0\n"),
    (("-s", "5,fbuf,vga=x"), f'fbuf: Invalid vga setting: "x"\n{INIT}No error: 0\n'),
    (("-s", "5,fbuf,tcp=127.0.0.1:"), f'fbuf: Missing port number: "127.0.0.1:"\n{INIT}No error: 0\n'),
    (("-s", "5,fbuf,rfb=[::1"), f'fbuf: Invalid IPv6 address: "[::1"\n{INIT}No error: 0\n'),
    (
        ("-s", "5,fbuf,vga=on", "-s", "6,fbuf,vga=on"),
        f"pci_fbuf: VGA rendering not enabled\nOnly one frame buffer device is allowed.\n{INIT}No error: 0\n",
    ),
    (("-s", "30,lpc"), f"Only one LPC bridge is allowed.\n{INIT}No error: 0\n"),
    (("-s", "5,xhci,mouse"), f'pci_xhci: unknown USB device "mouse"\n{INIT}Invalid argument\n'),
    (("-s", "5,passthru,1/0/0"), f"bhyve: passthru requires guest memory to be wired\n{INIT}No error: 0\n"),
    (
        ("-S", "-s", "5,passthru,1/0/0"),
        f"bhyve: PCI device at 1/0/0 is not using the ppt(4) driver\n{INIT}No error: 0\n",
    ),
    (
        ("-l", "com1,/vm/a"),
        "Unable to initialize backend '/vm/a' for LPC device com1\n"
        + INIT
        + "Inappropriate ioctl for device\n",
    ),
    (("-l", "com2,/no"), f"Unable to initialize backend '/no' for LPC device com2\n{INIT}{MISSING}\n"),
    (
        ("-l", "com1,stdio", "-l", "com2,stdio"),
        f"Unable to initialize backend 'stdio' for LPC device com2\n{INIT}Device busy\n",
    ),
    (
        ("-l", "com1,tcp=127.0.0.1:x"),
        f"Unable to initialize backend 'tcp=127.0.0.1:x' for LPC device com1\n{INIT}Invalid argument\n",
    ),
    (
        ("-l", "com1,stdio", "-s", "5,uart,stdio"),
        f"Unable to initialize backend 'stdio' for LPC device com1\n{INIT}Device busy\n",
    ),
    (("-l", "bootrom,/none"), f'Error opening bootrom "/none": {MISSING}\n{INIT}{MISSING}\n'),
    (
        ("-l", f"bootrom,{ROM},/none"),
        f'Error opening bootrom variable file "/none": {MISSING}\n{INIT}{MISSING}\n',
    ),
    (("-l", "bootrom,/vm/odd"), f"Invalid bootrom size 5000\n{INIT}No error: 0\n"),
    (("-l", f"bootrom,{ROM},/vm/odd"), f"Invalid bootrom variable size 5000\n{INIT}No error: 0\n"),
    (
        ("-l", "tpm,swtpm,/s"),
        'bhyve: tpm_swtpm_init: unable to connect to tpm socket "/s"\nFailed to init TPM device\n',
    ),
    (
        ("-l", "tpm,passthru,/dev/tpm0"),
        'bhyve: tpm_passthru_init: unable to open tpm device "/dev/tpm0"\nFailed to init TPM device\n',
    ),
    (
        ("-l", "tpm,other,/dev/tpm0"),
        'bhyve: tpm_device_create: unknown tpm type "other"\nFailed to init TPM device\n',
    ),
    (
        ("-l", "tpm,passthru,/vm/a,version=1.2"),
        "bhyve: tpm_device_create: unsupported tpm version 1.2\nFailed to init TPM device\n",
    ),
    (("-s", "5,virtio-9p,x=/none"), f"virtio-9p: failed to open '/none': {MISSING}\n{INIT}{MISSING}\n"),
    (
        ("-s", "5,virtio-9p,x=/vm/a"),
        f"virtio-9p: failed to open '/vm/a': Not a directory\n{INIT}Not a directory\n",
    ),
    (("-s", "5,virtio-9p,ro"), f"virtio-9p: path required\n{INIT}Invalid argument\n"),
    (
        ("-s", "5,virtio-scsi"),
        f"cannot open /dev/cam/ctl: {MISSING}\n{INIT}{MISSING}\n",
    ),
    (
        ("-s", "5,virtio-scsi,/dev/cam/ctl9.9"),
        f"cannot open /dev/cam/ctl9.9: {MISSING}\n{INIT}{MISSING}\n",
    ),
    (
        ("-s", "5,virtio-input,/dev/input/event9"),
        f"pci_vtinput_init: failed to open /dev/input/event9\n{INIT}{MISSING}\n",
    ),
    (
        ("-s", "5,virtio-input"),
        f"pci_vtinput_init: missing required path config value\n{INIT}Invalid argument\n",
    ),
    (("-s", "5,hda,play=/dev/dsp9"), f"{INIT}{MISSING}\n"),
    (("-s", "5,nvme,/vm/a,sectsz=1000"), f"nvme: Invalid sector size 1000\n{INIT}Invalid argument\n"),
    (("-s", "5,nvme,/vm/a,dsm=perhaps"), f"nvme: Invalid dsm value\n{INIT}Invalid argument\n"),
    (("-s", "5,nvme,ram=0"), f"nvme: Unable to allocate RAM\n{INIT}Cannot allocate memory\n"),
    (("-s", "5,virtio-net,netgraph"), f"path must be provided\n{INIT}Invalid argument\n"),
    (
        ("-s", "5,virtio-net,netgraph,path=br0:"),
        f"peer hook must be provided\n{INIT}Invalid argument\n",
    ),
    (
        ("-s", "5,virtio-net,netgraph,path=br0:,peerhook=link1"),
        f"can't connect to node\n{INIT}{MISSING}\n",
    ),
    (
        ("-s", "5,virtio-net,netmap:em7"),
        "Unable to nm_open(): interface 'netmap:em7', errno (Device not configured)\n"
        f"{INIT}Device not configured\n",
    ),
    (
        ("-s", "5,virtio-net,vale0"),
        f"Unable to nm_open(): interface 'vale0', errno (Invalid argument)\n{INIT}Invalid argument\n",
    ),
    (
        ("-s", "5,virtio-net,slirp,hostfwd=tcp:22"),
        f"Invalid hostfwd rule 'tcp:22'\n{INIT}Invalid argument\n",
    ),
    (("-S", "-s", "5,passthru,ppt0"), f"Passthru device ppt0 not found\n{INIT}No error: 0\n"),
    (("-S", "-s", "5,passthru,ppt"), f"Invalid passthru device name ppt\n{INIT}No error: 0\n"),
    (
        ("-S", "-o", "pci.0.5.0.device=passthru", "-o", "pci.0.5.0.bus=1"),
        f"passthru: missing required slot setting\n{INIT}No error: 0\n",
    ),
    (
        ("-s", "5,virtio-console,a=/vm/a"),
        f"vtcon: bind: Address already in use\n{INIT}Address already in use\n",
    ),
    (
        ("-o", "pci.0.5.0.device=ahci-hd"),
        f'pci slot 0:5:0: unknown device "ahci-hd"\n{INIT}Invalid argument\n',
    ),
    (("-o", "pci.0.5.0.path=x"), f'pci slot 0:5:0: missing "device" value\n{INIT}Invalid argument\n'),
    (("-U", "junk"), ""),
]


@pytest.mark.parametrize(("argv", "text"), REFUSED, ids=[" ".join(argv) for argv, _ in REFUSED])
def test_it_refuses_what_the_host_does_not_have(host, refuse, argv, text):
    host.path("/vm/odd").write_bytes(bytes(5000))
    assert refuse(*argv) == (4, text)


def test_the_bridge_must_be_on_bus_0(refuse):
    text = f"LPC bridge can be present only on bus 0.\n{INIT}No error: 0\n"
    assert refuse("-s", "1:31:0,lpc", base=("-l", f"bootrom,{ROM}")) == (4, text)


def test_a_vnc_port_in_use_is_refused(refuse):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f"bind: Address already in use\n{INIT}Address already in use\n"
        assert refuse("-s", f"29,fbuf,rfb=127.0.0.1:{port}") == (4, text)


def test_without_vmm_there_is_no_vm(lab):
    answer = lab("bhyve", *BASE, "vm1")
    assert answer == type(answer)(4, "", "vm_create: No such file or directory\n")
    assert not lab.path("/dev/vmm").exists()


def test_nmdm_must_be_loaded(lab):
    lab.ok("kldload", "vmm")
    answer = lab("bhyve", *BASE, "-l", "com1,/dev/nmdm1A", "vm1")
    assert (answer.code, answer.err.splitlines()[0]) == (
        4,
        "Unable to initialize backend '/dev/nmdm1A' for LPC device com1",
    )


def test_without_firmware_a_loader_must_have_made_the_vm(host):
    answer = host("bhyve", "-s", "31,lpc", "noload")
    assert (answer.code, answer.err) == (4, "virtual machine cannot be booted\n")
    assert host.path("/dev/vmm/noload").exists()
    assert host("bhyve", "-s", "31,lpc", "noload").code == 3
    host("bhyvectl", "--vm=noload", "--destroy")


def test_without_the_bridge_the_firmware_is_nowhere(host):
    answer = host("bhyve", "-l", f"bootrom,{ROM}", "nolpc")
    assert (answer.code, answer.err) == (-6, "Failed to emulate instruction sequence [  ] at 0xfffffff0\n")
    host("bhyvectl", "--vm=nolpc", "--destroy")


def test_a_name_longer_than_229_bytes_is_refused(host):
    answer = host("bhyve", *BASE, "x" * 230)
    assert (answer.code, answer.err) == (4, "vm_create: Invalid argument\n")


def test_a_failed_start_leaves_the_vm_in_the_kernel(host):
    host("bhyve", *BASE, "-s", "4,virtio-blk,/none", "left")
    assert host.path("/dev/vmm/left").exists()
    assert host("bhyvectl", "--vm=left", "--destroy").code == 0
    assert not host.path("/dev/vmm").exists()


def test_a_fault_meets_bhyve(lab):
    lab.fault('{"command": "bhyve vm1", "do": "fail", "code": 4, "text": "Unable to setup memory (12)"}')
    assert lab("bhyve", *BASE, "vm1").err == "Unable to setup memory (12)\n"


def test_memory_may_be_all_of_the_host(host, refuse):
    code, text = refuse("-m", f"{32 * GIB}", "-s", "4,virtio-blk,/none")
    assert (code, "setup memory" in text) == (4, False)
    assert os.listdir(host.folder + "/run") == [] if os.path.exists(host.folder + "/run") else True
