"""Which names may reach an argv. Everything that ends in a command is checked here first."""

from __future__ import annotations

import re


class BadName(ValueError):
    """A name that must not reach a command. The message is a sentence for the person who typed it."""


# Shorter than vmm(4)'s 229 bytes, so that socket paths stay below the 104 bytes of sockaddr_un.
VM_NAME_MAX = 40
_VM_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_DATASET = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]*(/[A-Za-z0-9][A-Za-z0-9_.:-]*)*")
_POOL = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,199}")
_SNAPSHOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")
# vmm(4) allows 229; 104 is the longest path of a socket.
_MACHINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_INTERFACE = re.compile(r"[a-z][a-z0-9._-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# bhyve(8) splits a device's options at commas, and expands % and \ in values: no path may hold them.
_PATH = re.compile(r"/[A-Za-z0-9_.:@+=/ -]*")


def vm_name(name: str) -> str:
    """Return ``name`` if bhyve(8), ZFS and a host name all accept it, else raise BadName."""
    if not _VM_NAME.fullmatch(name):
        rule = "A name starts with a lower-case letter and has only a-z, 0-9 and '-'"
        raise BadName(f"{rule}, at most {VM_NAME_MAX} characters.")
    if name.endswith("-"):
        raise BadName("A name does not end with '-'.")
    return name


def machine(name: str) -> str:
    """Return ``name`` if bhyve(8) takes it and a run directory can be called so, else raise BadName. The panel's own
    VMs have narrower names, see `vm_name`."""
    if not _MACHINE.fullmatch(name):
        rule = "A name has letters, digits and . _ -, starts with a letter or digit"
        raise BadName(f"{rule}, and has at most 60 characters.")
    return name


def pool(name: str) -> str:
    """Return ``name`` if it is a ZFS pool that bHype uses (zpool-create(8) allows spaces, too)."""
    if not _POOL.fullmatch(name):
        raise BadName(f"{name!r} is not the name of a pool that bHype uses.")
    return name


def dataset(name: str) -> str:
    """Return ``name`` if it is a ZFS dataset that bHype would make (zfs(8): at most 255 characters)."""
    if len(name) > 255 or not _DATASET.fullmatch(name):
        raise BadName(f"{name!r} is not a dataset name that bHype uses.")
    return name


def snapshot(name: str) -> str:
    """Return ``dataset@snapshot`` if both parts are well formed."""
    left, separator, right = name.partition("@")
    if not separator or not _SNAPSHOT.fullmatch(right) or len(name) > 255:
        rule = "it has letters, digits and . _ : -, and begins with a letter or digit"
        raise BadName(f"{(right or name)!r} is not a snapshot name that bHype uses: {rule}.")
    dataset(left)
    return name


def interface(name: str) -> str:
    """Return ``name`` if it is a network interface name (IFNAMSIZ: at most 15 characters)."""
    if not _INTERFACE.fullmatch(name):
        raise BadName(f"{name!r} is not an interface name.")
    return name


def mac(address: str) -> str:
    """Return a unicast, non-zero MAC address in lower case."""
    address = address.lower()
    if not _MAC.fullmatch(address) or int(address[:2], 16) & 1 or address == "00:00:00:00:00:00":
        raise BadName(f"{address!r} is not a unicast MAC address such as 58:9c:fc:00:00:01.")
    return address


def path(value: str) -> str:
    """Return an absolute path that bhyve(8) takes literally: no comma, %, backslash, or '..' part."""
    if not _PATH.fullmatch(value) or ".." in value.split("/") or len(value) > 255:
        raise BadName(f"{value!r} is not an absolute path that bhyve can take.")
    return value
