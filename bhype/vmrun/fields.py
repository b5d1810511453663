"""The kinds of values in a vm.json. Each function takes what JSON had and returns it checked, or raises
ValueError with a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from bhype.freebsd import names
from bhype.freebsd.bhyve import Address, word

Field = Callable[[Any], Any]
# Of the description of a VM. It is raised when a file is no more understood by an earlier bHype.
VERSION = 1
F = TypeVar("F", bound=Callable[[Any], Any])
# What JSON Schema can say of each check's values.
SHAPES: dict[Field, dict[str, Any]] = {}
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
PAGE = 4096
_SIZE = re.compile(r"([0-9]{1,15})([KMGT])(I?B)?", re.IGNORECASE)
_RATE = re.compile(r"([0-9]{1,15})([KMG])?(bit/?s?)?", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GDB = re.compile(r"w?([A-Za-z0-9.:\[\]-]+:)?[0-9]{1,5}")
_IP4 = r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_IP6 = r"(?=[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:)[0-9A-Fa-f:.]{2,45}"
_ADDRESS = re.compile(rf"{_IP4}|{_IP6}")
_TCP = re.compile(rf"tcp=({_IP4}|\[{_IP6}\]):([0-9]{{1,5}})")
_NMDM = re.compile(r"/dev/nmdm[A-Za-z0-9_.-]*[AB]")


def shape(**keywords: Any) -> Callable[[F], F]:
    """Says in the words of JSON Schema which values a check takes; what they cannot say, the check says."""

    def keep(check: F) -> F:
        SHAPES[check] = keywords
        return check

    return keep


@shape(type=["string", "integer"], pattern=r"^[^,%\\\x00-\x1f\x7f]+$")
def text(value: Any) -> str:
    """One word of a bhyve option; numbers may be written without quotes."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{value!r} is not a text.")
    return word(str(value))


@shape(type="boolean")
def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not true or false.")
    return value


@shape(type=["integer", "string"], minimum=0, pattern="^[0-9]{1,15}$")
def count(value: Any) -> int:
    """A whole number from 0; the seed's files write it as a text, too."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a number.")
    return value


@shape(type=["integer", "string"], minimum=1, maximum=65535, pattern="^[0-9]{1,5}$")
def port(value: Any) -> int:
    number = count(value)
    if not 1 <= number <= 65535:
        raise ValueError(f"{number} is not a port.")
    return number


@shape(type=["integer", "string"], minimum=1 << 20, pattern=r"^\s*[0-9]{1,15}[KMGTkmgt]([Ii]?[Bb])?\s*$")
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
    # Whole pages: vmm(4) has no others.
    return -(-number // PAGE) * PAGE


@shape(type=["integer", "string"], minimum=0, pattern=r"^\s*[0-9]{1,15}([KMGTkmgt]([Ii]?[Bb])?)?\s*$")
def size(value: Any) -> int:
    """Bytes, from a number or a text such as 10M: K, M, G or T of 1024, in either case."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(match[1]) * UNITS[match[2].upper()]
    return count(value)


@shape(
    type=["integer", "string"],
    minimum=1000,
    maximum=10**9,
    pattern=r"^\s*[0-9]{1,15}[KMGkmg]?([Bb][Ii][Tt]/?[Ss]?)?\s*$",
)
def rate(value: Any) -> int:
    """Bits per second, from a number or a text such as 10M: K, M or G of 1000, as networks count. ng_pipe(4) has
    no more than a gigabit."""
    match = _RATE.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    number = int(match[1]) * 1000 ** " KMG".index((match[2] or " ").upper()) if match else 0
    if not 1000 <= number <= 10**9:
        raise ValueError(f"{value!r} is not a rate of 1K to 1G bits per second; write it as 10M.")
    return number


def limited(low: int, high: int) -> Field:
    """A whole number of a range."""

    @shape(type=["integer", "string"], minimum=low, maximum=high, pattern="^[0-9]{1,15}$")
    def check(value: Any) -> int:
        number = count(value)
        if not low <= number <= high:
            raise ValueError(f"{number} is not between {low} and {high}.")
        return number

    return check


def letters(limit: int) -> Field:
    """A text of at most that many printable ASCII characters, as ATA's and NVMe's identities are."""

    @shape(type=["string", "integer"], pattern=rf"^[ -$&-+\--\[\]-~]{{1,{limit}}}$")
    def check(value: Any) -> str:
        name = text(value)
        if not name.isascii() or len(name) > limit:
            raise ValueError(f"{name!r} is not a text of at most {limit} ASCII characters.")
        return name

    return check


@shape(type=["integer", "string"], minimum=0, maximum=31, pattern="^[0-9]+(:[0-9]+){0,2}$")
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


@shape(type="string", pattern="^[a-z][a-z0-9._-]{0,14}$")
def interface(value: Any) -> str:
    return names.interface(text(value))


@shape(type="string", pattern="^[a-z][A-Za-z0-9_:.{}*^/@,=;-]*$")
def network(value: Any) -> str:
    """The name of a backend: an interface, or netmap's and netgraph's own words."""
    if isinstance(value, str) and re.fullmatch(r"(netgraph|netmap:|vale)[A-Za-z0-9_:.{}*^/@-]*", value):
        return value
    return interface(value)


@shape(type="string", pattern="^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$")
def mac(value: Any) -> str:
    return names.mac(text(value))


@shape(type=["string", "integer"], pattern=r"^[^,%\\\x00-\x1f\x7f-][^,%\\\x00-\x1f\x7f]*$")
def path(value: Any) -> str:
    """A file as bhyve opens it, with no character that it would expand; relative to the caller's folder."""
    name = text(value)
    if name.startswith("-"):
        raise ValueError(f"{name!r} would be taken for an option.")
    if name.startswith("/") and ".." in name.split("/"):
        raise ValueError(f"{name!r} goes back by '..'.")
    return name


@shape(type="string", pattern=r"^/[^,%\\\x00-\x1f\x7f]*$")
def absolute(value: Any) -> str:
    """A path from the root on."""
    name = path(value)
    if not name.startswith("/"):
        raise ValueError(f"{name!r} is not an absolute path.")
    return name


@shape(type="string", pattern=r"^[^,=%\\\x00-\x1f\x7f-][^,=%\\\x00-\x1f\x7f]*$")
def variables_file(value: Any) -> str:
    """A path behind that of the ROM, where bhyve takes what has a "=" for an option."""
    name = path(value)
    if "=" in name:
        raise ValueError(f"{name!r} has a '=', which bhyve takes for an option.")
    return name


@shape(type="string", pattern="^(stdio|/dev/nmdm[A-Za-z0-9_.-]*[AB]|tcp=.+:[0-9]{1,5})$")
def serial(value: Any) -> str:
    """``stdio``, a null-modem device (nmdm(4)) or ``tcp=IP:PORT`` (FreeBSD 15)."""
    name = text(value)
    if name == "stdio" or _NMDM.fullmatch(name):
        return name
    match = _TCP.fullmatch(name)
    if match:
        port(match[2])
        return name
    rule = 'write "stdio", a device such as /dev/nmdm-web1.1A, or tcp=127.0.0.1:4001.'
    raise ValueError(f"{name!r} is not a serial line; {rule}")


@shape(type="string", pattern="^[0-9A-Fa-f:.]+$")
def address(value: Any) -> str:
    """An IP address in numbers, the only kind that bhyve listens on."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise ValueError(f"{value!r} is not an IP address such as 127.0.0.1.")
    return value


@shape(type=["string", "boolean"], enum=["io", "off", "on", True, False])
def vga(value: Any) -> str:
    """UCL reads a bare ``off`` and ``on`` as false and true."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else text(value)


@shape(const=VERSION)
def version(value: Any) -> int:
    """Of the description itself; a file of a later bHype may say what this one would overlook."""
    number = count(value)
    if number != VERSION:
        raise ValueError(f"this bHype reads version {VERSION}; the file is of version {number}.")
    return number


@shape(type="string", pattern="^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")
def identity(value: Any) -> str:
    """A UUID in lower case."""
    number = str(value).lower()
    if not _UUID.fullmatch(number):
        raise ValueError(f"{value!r} is not a UUID.")
    return number


@shape(type=["string", "integer"], pattern=r"^w?([A-Za-z0-9.:\[\]-]+:)?[0-9]{1,5}$")
def gdb(value: Any) -> str:
    if isinstance(value, bool) or not _GDB.fullmatch(str(value)):
        raise ValueError(f"{value!r} is not [w][address:]port.")
    return str(value)


@shape(type="string", pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")
def layout(value: Any) -> str:
    """The name of a file in bhyve's folder of keyboard layouts."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value):
        raise ValueError(f"{value!r} is not the name of a keyboard layout such as de_noacc.")
    return value


def name(pattern: str, what: str) -> Field:
    """A text of that form; ``what`` says what it is, as "a hook"."""

    @shape(type="string", pattern=f"^({pattern})$")
    def check(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is not {what}.")
        return value

    return check


# In numbers up to 4094, as "10,20-30" (ifconfig(8), iftagged).
_VLAN = r"([1-9][0-9]{0,2}|[1-3][0-9]{3}|40[0-8][0-9]|409[0-4])"
vlans = name(rf"all|{_VLAN}(-{_VLAN})?(,{_VLAN}(-{_VLAN})?){{0,63}}", "VLANs such as 10,20-30, or all")


@shape(type=["integer", "string"], minimum=512, pattern="^[0-9]{3,7}$")
def sector(value: Any) -> int:
    """The size of a disk's sectors in bytes: a power of two from 512."""
    number = count(value)
    if number < 512 or number & (number - 1) or number > 1 << 20:
        raise ValueError(f"{number} is not a sector size such as 512 or 4096.")
    return number


@shape(type="string", maxLength=1 << 16)
def note(value: Any) -> str:
    """Free text of several lines, as the file of a boot loader."""
    if not isinstance(value, str) or len(value) > 1 << 16 or "\0" in value:
        raise ValueError("it is not a text of at most 65536 characters.")
    return value


@shape(type=["string", "integer"], minLength=1)
def firmware_data(value: Any) -> str:
    """The content of a fw_cfg item: one line."""
    if (
        isinstance(value, bool)
        or not isinstance(value, str | int)
        or not str(value).isprintable()
        or value == ""
    ):
        raise ValueError(f"{value!r} is not one line of text.")
    return str(value)


@shape(type="integer", minimum=-20, maximum=20)
def nice(value: Any) -> int:
    """A priority, nice(1): -20 (first) to 20 (last)."""
    if isinstance(value, bool) or not isinstance(value, int) or not -20 <= value <= 20:
        raise ValueError(f"{value!r} is not a number from -20 to 20.")
    return value


@shape(type="string", pattern="^0x[0-9A-Fa-f]{8}$")
def identifier(value: Any) -> str:
    """Two 16-bit numbers as ``0x8086153a``: a PCI device's, then its subsystem's (vmrun's own order)."""
    if not isinstance(value, str) or not re.fullmatch(r"0x[0-9A-Fa-f]{8}", value):
        raise ValueError(f'{value!r} is not a number such as "0x8086153a".')
    return value.lower()


@shape(type=["string", "integer"], pattern="^[0-9]+([:/][0-9]+){0,2}$")
def pci_device(value: Any) -> str:
    """A device of the host: ``B:S:F`` or ``B/S/F``; bhyve wants slashes."""
    return str(slot(str(value).replace("/", ":"))).replace(":", "/")


@shape(type="string", minLength=1)
def raw(value: Any) -> str:
    """A device in bhyve's own words, commas included."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{value!r} is not a device.")
    return value
