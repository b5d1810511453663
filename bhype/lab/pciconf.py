"""pciconf(8): ``pciconf -l [-v] [device]`` and the options that only add to it (``freebsd/system.md`` 4).

The lists of base addresses (-b), capabilities (-c), errors (-e) and vital data (-V) are empty in the lab.
"""

from __future__ import annotations

import re

from bhype.lab import core, pci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.pci import Device

USAGE = (
    "usage: pciconf -l [-BbcevV] [device]\n"
    "       pciconf -a device\n"
    "       pciconf -r [-b | -h] device addr[:addr2]\n"
    "       pciconf -w [-b | -h] device addr value\n"
    "       pciconf -D [-b | -h | -x] device bar [start [count]]"
)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["pciconf", *argv]))
    try:
        found, words = core.getopt(argv, "aBbcDehlrwVvx")
    except core.BadOption as error:
        core.fail(f"pciconf: illegal option -- {error.letter}\n{USAGE}", 1)
    letters = {letter for letter, _ in found}
    if (
        letters & set("rwD")
        or len(letters & set("al")) != 1
        or len(words) > 1
        or ("a" in letters and not words)
    ):
        core.fail(USAGE, 1)
    nones = 0
    shown = []
    for device in pci.devices():
        name = device["name"] or f"none{nones}"
        nones += not device["name"]
        if not words or _matches(words[0], name, device):
            shown.append((name, device))
    if words and not shown:
        core.fail(f"pciconf: cannot find device {words[0]}", 1)
    for name, device in shown:
        if "a" in letters:
            print(f"{words[0]}: {'' if device['name'] else 'not '}attached")
            continue
        print(_line(name, device))
        if "v" in letters:
            for key in ("vendor", "device"):
                print(f"    {key:<10} = '{device[key + '_name']}'")
            for key in ("class", "subclass"):
                print(f"    {key:<10} = {device[key + '_name']}")
    return 0


def _matches(word: str, name: str, device: Device) -> bool:
    """``igb0``, ``pci0:3:0:0``, ``pci0:3:0:0:`` or ``igb0@pci0:3:0:0:``."""
    word = word.rstrip(":")
    if "@" in word:
        word = word.partition("@")[2]
    place = ":".join(map(str, device["address"]))
    return word == name or bool(re.fullmatch(rf"pci(0:)?{place}", word))


def _line(name: str, device: Device) -> str:
    place = ":".join(map(str, device["address"]))
    numbers = (
        f"class=0x{device['class']:06x} rev=0x{device['rev']:02x} hdr=0x{device['hdr']:02x} "
        f"vendor=0x{device['vendor']:04x} device=0x{device['device']:04x} "
        f"subvendor=0x{device['subvendor']:04x} subdevice=0x{device['subdevice']:04x}"
    )
    return f"{name}@pci0:{place}:\t{numbers}"
