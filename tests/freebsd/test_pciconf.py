"""The PCI devices of a host, as pciconf(8) lists them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd.command import ParseError
from bhype.freebsd.pciconf import devices

# The forms that FreeBSD 13 and later print, from machines of three makers.
LISTING = """\
hostb0@pci0:0:0:0:\tclass=0x060000 rev=0x08 hdr=0x00 vendor=0x8086 device=0x5904 subvendor=0x103c subdevice=0x8360
    vendor     = 'Intel Corporation'
    device     = 'Xeon E3-1200 v6/7th Gen Core Processor Host Bridge/DRAM Registers'
    class      = bridge
    subclass   = HOST-PCI
pcib1@pci0:0:1:0:\tclass=0x060400 rev=0x05 hdr=0x01 vendor=0x8086 device=0x1901 subvendor=0x1458 subdevice=0x5000
    class      = bridge
    subclass   = PCI-PCI
ppt0@pci0:1:0:0:\tclass=0x030000 rev=0xa1 hdr=0x80 vendor=0x10de device=0x2504 subvendor=0x1458 subdevice=0x4074
    vendor     = 'NVIDIA Corporation'
    device     = 'GA106 [GeForce RTX 3060 Lite Hash Rate]'
    class      = display
    subclass   = VGA
none4@pci0:2:0:0:\tclass=0x028000 rev=0x05 hdr=0x00 vendor=0x14e4 device=0x43a3 subvendor=0x106b subdevice=0x0159
    vendor     = 'Broadcom Inc. and subsidiaries'
    class      = network
virtio_pci0@pci0:0:3:0:\tclass=0x010000 rev=0x00 hdr=0x00 vendor=0x1af4 device=0x1001 subvendor=0x1af4 subdevice=0x0002
"""


def read(text: str) -> list:
    return devices().parse(text)


def test_each_device_with_its_driver_place_and_names():
    found = {device.selector: device for device in read(LISTING)}
    card = found["pci0:1:0:0"]
    assert (card.driver, card.unit, card.place) == ("ppt", 0, "1/0/0")
    assert (card.vendor, card.device, card.subvendor, card.subdevice) == (0x10DE, 0x2504, 0x1458, 0x4074)
    assert card.device_name == "GA106 [GeForce RTX 3060 Lite Hash Rate]"
    assert (card.vendor_name, card.class_name, card.subclass_name) == ("NVIDIA Corporation", "display", "VGA")
    assert card.is_reserved
    assert card.is_endpoint
    assert not found["pci0:0:1:0"].is_endpoint
    # No driver, no name of the device, no subclass.
    radio = found["pci0:2:0:0"]
    assert (radio.driver, radio.device_name, radio.subclass_name) == (None, "", "")
    assert not radio.is_reserved
    assert found["pci0:0:3:0"].driver == "virtio_pci"


def test_the_older_form_holds_the_same_numbers():
    old = read("vgapci0@pci0:0:2:0:\tclass=0x030000 card=0x83601043 chip=0x59168086 rev=0x02 hdr=0x00\n")[0]
    assert (old.vendor, old.device, old.subvendor, old.subdevice) == (0x8086, 0x5916, 0x1043, 0x8360)


def test_a_host_may_have_no_device_at_all():
    assert read("") == []


@pytest.mark.parametrize(
    "line", ["em0", "em0@pci0:1:0:", "em0@usb0:1:0:0:\tclass=0x0", "em0@pci0:a:0:0: class=0x1"]
)
def test_what_is_no_device_is_refused_with_its_line(line):
    with pytest.raises(ParseError, match="line 2"):
        read(LISTING.split("\n", 1)[0] + "\n" + line)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(ParseError):
        assert isinstance(read(text), list)
