"""Other tools' descriptions of a VM, read into a vm.json; and libvirt's, written. Pure: text in, data out.

What has no place in a vm.json is told in a note, what has to be mended first in a problem; nothing is evaluated, and
no file of the host is opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bhype.foreign import command_line, hoster_core, libvirt, vm_bhyve, vmrun
from bhype.foreign.imported import About, Imported, SourceDisk, Unreadable, clean, load_json

__all__ = ["FORMATS", "About", "Format", "Imported", "SourceDisk", "Unreadable", "detect", "read"]


@dataclass(frozen=True, slots=True)
class Format:
    """One format. label and help are for people; read: text, and name, folder, dataset by keyword."""

    name: str
    label: str
    help: str
    read: Callable[..., Imported]


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("vmrun", "vm.json", "bHype's own file, or vmrun's.", vmrun.read),
        Format("vm-bhyve", "vm-bhyve", "NAME.conf, beside the VM's disks.", vm_bhyve.read),
        Format("hoster-core", "HosterCore", "vm_config.json, beside the VM's disks.", hoster_core.read),
        Format("libvirt", "libvirt", "Domain XML, as virsh dumpxml prints it.", libvirt.read),
        Format("bhyve", "bhyve command", "A command line or script that runs bhyve.", command_line.read),
        Format("bhyve-config", "bhyve_config(5)", "A file for bhyve -k.", command_line.read_file),
    )
}
_HOSTER_CORE = frozenset(
    {"disks", "networks", "cpu_cores", "vnc_port", "os_type", "vm_ssh_keys", "parent_host"}
)


def detect(text: str) -> str:
    """The name of the format that the text has. Raises Unreadable when it has none."""
    text = clean(text)
    start = text.lstrip()
    if start.startswith("<"):
        return "libvirt"
    if start.startswith("{"):
        keys = load_json(text).keys()
        return "hoster-core" if keys & _HOSTER_CORE and "emulations" not in keys else "vmrun"
    if re.search(r"^(pci\.[0-9]+\.[0-9]+\.[0-9]+\.|memory\.size=|lpc\.|x86\.)", text, re.MULTILINE):
        return "bhyve-config"
    if re.search(r"^(loader|disk0_name|network0_type|memory)=", text, re.MULTILINE):
        return "vm-bhyve"
    if re.search(r"(^|[\s/])bhyve\s", text):
        return "bhyve"
    raise Unreadable("This is none of the formats that can be imported.")


def read(format: str, text: str, *, name: str = "", folder: str = "", dataset: str = "") -> Imported:
    """Read ``text``. name: what the VM is called, where the text does not tell; folder: the absolute path of the
    folder the text lay in; dataset: the ZFS dataset of that folder.

    Raises Unreadable (a sentence) when the text is not of the format, too large, or hostile; KeyError for a
    format that is none.
    """
    return FORMATS[format].read(clean(text), name=name, folder=folder, dataset=dataset)
