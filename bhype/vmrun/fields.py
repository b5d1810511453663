"""The kinds of values in a vm.json. Each function takes what JSON had and returns it checked, or raises
ValueError with a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from bhype.freebsd import names
from bhype.freebsd.bhyve import Address, Topology, word

Field = Callable[[Any], Any]
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,15})([KMGT])(I?B)?", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GDB = re.compile(r"w?([A-Za-z0-9.:\[\]-]+:)?[0-9]{1,5}")


def text(value: Any) -> str:
    """One word of a bhyve option; numbers may be written without quotes."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{value!r} is not a text.")
    return word(str(value))


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not true or false.")
    return value


def count(value: Any) -> int:
    """A whole number from 0; the seed's files write it as a text, too."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a number.")
    return value


def port(value: Any) -> int:
    number = count(value)
    if not 1 <= number <= 65535:
        raise ValueError(f"{number} is not a port.")
    return number


def memory(value: Any) -> int:
    """Bytes, from a number of bytes or a text such as 512M: K, M, G or T of 1024, in either case."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if not match:
            raise ValueError(f"{value!r} is not a size; write it with a unit, as 512M or 4G.")
        # Decimal, also with leading zeros: they do not make it octal.
        value = int(match[1], 10) * UNITS[match[2].upper()]
    number = count(value)
    if number < 1 << 20:
        raise ValueError(f"{number} bytes are too little memory for a VM.")
    return number


def topology(value: Any) -> Topology:
    """A number of CPUs, or an object with sockets, cores and threads."""
    if not isinstance(value, dict):
        number = count(value)
        if not 1 <= number <= 65535:
            raise ValueError(f"{number} is not a number of CPUs.")
        return Topology(number)
    missing = [key for key in ("sockets", "cores", "threads") if key not in value]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing.")
    sockets, cores, threads = (count(value[key]) for key in ("sockets", "cores", "threads"))
    return Topology(sockets * cores * threads, sockets, cores, threads)


def slot(value: Any) -> Address:
    """``S``, ``S:F`` or ``B:S:F``, as bhyve(8) takes it."""
    parts = str(value).split(":")
    if (
        isinstance(value, bool)
        or len(parts) > 3
        or not all(part.isascii() and part.isdigit() for part in parts)
    ):
        raise ValueError(f'{value!r} is not a PCI slot; write it as "3" or "0:3:0".')
    numbers = [int(part[:5]) for part in parts]
    if len(numbers) == 3:
        return Address(*numbers)
    return Address(0, *numbers)


def interface(value: Any) -> str:
    return names.interface(text(value))


def network(value: Any) -> str:
    """The name of a backend: an interface, or netmap's and netgraph's own words."""
    if isinstance(value, str) and re.fullmatch(r"(netgraph|netmap:|vale)[A-Za-z0-9_:.{}*^/@-]*", value):
        return value
    return interface(value)


def mac(value: Any) -> str:
    return names.mac(text(value))


def path(value: Any) -> str:
    """A file as bhyve opens it, with no character that it would expand; relative to the caller's folder."""
    name = text(value)
    if name.startswith("-"):
        raise ValueError(f"{name!r} would be taken for an option.")
    return name


def serial(value: Any) -> str:
    """``stdio`` or a null-modem device, nmdm(4)."""
    name = text(value)
    if name != "stdio" and not re.fullmatch(r"/dev/nmdm[A-Za-z0-9_.-]*[AB]", name):
        raise ValueError(
            f'{name!r} is not a serial line; write "stdio" or a device such as /dev/nmdm-web1.1A.'
        )
    return name


def identity(value: Any) -> str:
    """A UUID in lower case."""
    number = str(value).lower()
    if not _UUID.fullmatch(number):
        raise ValueError(f"{value!r} is not a UUID.")
    return number


def gdb(value: Any) -> str:
    if isinstance(value, bool) or not _GDB.fullmatch(str(value)):
        raise ValueError(f"{value!r} is not [w][address:]port.")
    return str(value)


def words(value: Any) -> tuple[str, ...]:
    """Extra options for bhyve: a list of words, or one text split as a shell would."""
    if isinstance(value, str):
        import shlex  # rarely used, and a supervisor is to be small

        value = shlex.split(value)
    if not isinstance(value, list) or not all(
        isinstance(one, str) and one and one.isprintable() for one in value
    ):
        raise ValueError(f"{value!r} is not a list of options.")
    return tuple(value)


def ports(value: Any) -> tuple[str, ...]:
    """The sockets of a virtio-console, at most 16; each a path, or an object with a path."""
    found = value if isinstance(value, list) else [value]
    if not 1 <= len(found) <= 16:
        raise ValueError("a virtio-console has 1 to 16 ports.")
    return tuple(path(one["path"] if isinstance(one, dict) and "path" in one else one) for one in found)


def pci_device(value: Any) -> str:
    """A device of the host: ``B:S:F`` or ``B/S/F``; bhyve wants slashes."""
    return str(slot(str(value).replace("/", ":"))).replace(":", "/")


def raw(value: Any) -> str:
    """A device in bhyve's own words, commas included."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{value!r} is not a device.")
    return value
