"""The host's PCI devices: pciconf shows them, devctl moves them between drivers, bhyve takes those of ppt."""

from __future__ import annotations

import re

import pytest

from tests.lab.conftest import drop_lab, make_lab

BUSY, NONE = "Device busy", "Device not configured"


@pytest.fixture
def host(lab):
    lab.ok("kldload", "vmm")
    return lab


@pytest.fixture(scope="module")
def still():
    lab = make_lab()
    lab.ok("kldload", "vmm")
    yield lab
    drop_lab(lab)


def names(lab):
    """The names of the devices by their addresses."""
    lines = lab.ok("pciconf", "-l").splitlines()
    return {line.partition("@")[2].partition("\t")[0]: line.partition("@")[0] for line in lines}


def test_pciconf_lists_devices_as_freebsd_does(still):
    lines = still.ok("pciconf", "-l").splitlines()
    numbers = r"class=0x\w{6} rev=0x\w\w hdr=0x0[01] vendor=0x\w{4} device=0x\w{4} subvendor=0x\w{4} subdevice=0x\w{4}"
    assert all(re.fullmatch(rf"[a-z]+\d+@pci0:\d+:\d+:\d+:\t{numbers}", line) for line in lines)
    assert {"pci0:3:0:0:": "igb0", "pci0:3:0:1:": "igb1", "pci0:0:31:4:": "none0"}.items() <= names(
        still
    ).items()
    assert still.ok("pciconf", "-lv", "igb0").splitlines() == [
        "igb0@pci0:3:0:0:\tclass=0x020000 rev=0x10 hdr=0x00 vendor=0x8086 device=0x1521 subvendor=0x8086 "
        "subdevice=0x0521",
        "    vendor     = 'Intel Corporation'",
        "    device     = 'I350 Gigabit Network Connection'",
        "    class      = network",
        "    subclass   = ethernet",
    ]
    for selector in ("pci0:3:0:0", "pci0:3:0:0:", "pci3:0:0", "igb0@pci0:3:0:0:"):
        assert still.ok("pciconf", "-l", selector).startswith("igb0@")
    assert still.fails("pciconf", "-l", "igb9") == "pciconf: cannot find device igb9\n"
    assert still.fails("pciconf", "-r", "igb0", "0").startswith("usage: pciconf -l")
    assert still.fails("pciconf", "-x", "-q").startswith("pciconf: illegal option -- q\nusage:")


def test_a_device_goes_to_ppt_and_back(host):
    host.ok("devctl", "set", "driver", "-f", "pci0:3:0:1", "ppt")
    assert names(host)["pci0:3:0:1:"] == "ppt0"
    host.ok("devctl", "set", "driver", "-f", "vgapci1", "ppt")
    assert (names(host)["pci0:1:0:0:"], names(host)["pci0:1:0:1:"]) == ("ppt1", "hdac0")
    host.ok("devctl", "set", "driver", "ppt0", "ppt")  # it has that driver
    host.ok("devctl", "clear", "driver", "-f", "pci0:3:0:1")
    assert names(host)["pci0:3:0:1:"] == "igb1"
    host.ok("devctl", "set", "driver", "-f", "pci0:1:0:0", "vgapci")
    assert names(host)["pci0:1:0:0:"] == "vgapci1"


def test_devices_are_detached_and_attached(host):
    host.ok("devctl", "detach", "nvme0")
    assert names(host)["pci0:2:0:0:"] == "none1"
    assert host.fails("devctl", "detach", "pci0:2:0:0") == f"devctl: Failed to detach pci0:2:0:0: {NONE}\n"
    host.ok("devctl", "disable", "pci0:2:0:0")
    host.ok("devctl", "attach", "pci0:2:0:0")
    assert names(host)["pci0:2:0:0:"] == "nvme0"


REFUSED = [
    ((), "usage: devctl attach device\n"),
    (("explode", "igb0"), "devctl: Unknown command explode.\n"),
    (("set",), "devctl: The set command requires a sub-command.\n"),
    (("clear", "speed"), "devctl: speed is not a valid sub-command of clear.\n"),
    (("set", "driver", "igb0"), "usage: devctl set driver [-f] device driver\n"),
    (("attach",), "usage: devctl attach device\n"),
    (
        ("set", "driver", "-f", "pci0:9:0:0", "ppt"),
        f"devctl: Failed to set pci0:9:0:0 driver to ppt: {NONE}\n",
    ),
    (
        ("set", "driver", "-f", "pci1:3:0:0:0", "ppt"),
        f"devctl: Failed to set pci1:3:0:0:0 driver to ppt: {NONE}\n",
    ),
    (("set", "driver", "igb0", "ppt"), f"devctl: Failed to set igb0 driver to ppt: {BUSY}\n"),
    (("clear", "driver", "-f", "igb0"), "devctl: Failed to clear igb0 driver: Invalid argument\n"),
    (("attach", "igb0"), f"devctl: Failed to attach igb0: {BUSY}\n"),
    (("detach", "hostb0"), f"devctl: Failed to detach hostb0: {BUSY}\n"),
]


@pytest.mark.parametrize(("argv", "text"), REFUSED, ids=[" ".join(argv) for argv, _ in REFUSED])
def test_devctl_refuses(still, argv, text):
    assert still.fails("devctl", *argv).startswith(text)


def test_a_driver_that_does_not_want_the_device_leaves_it_without_one(lab):
    text = f"devctl: Failed to set igb0 driver to ppt: {NONE}\n"
    assert lab.fails("devctl", "set", "driver", "-f", "igb0", "ppt") == text  # vmm is not loaded
    assert names(lab)["pci0:3:0:0:"] == "none1"
    lab.ok("devctl", "clear", "driver", "pci0:3:0:0")
    assert names(lab)["pci0:3:0:0:"] == "igb0"


def test_the_boot_gives_the_devices_of_loader_conf_to_ppt(lab):
    lab.path("/boot/loader.conf").write_text('vmm_load="YES"\npptdevs="3/0/0 1/0/1"\n')
    (lab.path("/").parent / "state/pci.json").unlink()
    assert lab.admin("create", lab.folder).code == 0
    assert (names(lab)["pci0:1:0:1:"], names(lab)["pci0:3:0:0:"], names(lab)["pci0:3:0:1:"]) == (
        "ppt0",
        "ppt1",
        "igb0",
    )
