"""libvirt's domain XML, as of its bhyve driver (libvirt.org: formatdomain, drvbhyve), in and out.

Where the XML gives a device no address, it gets the slot that libvirt's bhyve driver would give it: the LPC bridge
1, then controllers, NICs, disks, screen, sound, shares, random numbers and passed-through devices, each the next
that is free. What XML of other drivers says is translated where bhyve has something alike, with a note.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from bhype.vmrun.config import Document

from .command_line import loader_of, options
from .imported import FIRMWARE, About, Draft, Imported, Unreadable, memory
from .libvirt_devices import BUSES, Devices, number
from .libvirt_out import BHYVE, SMBIOS, write
from .markup import Node, parse
from .tree import cpu_set

__all__ = ["read", "write"]

_UNITS = {
    "b": 1, "bytes": 1, "k": 1 << 10, "kib": 1 << 10, "kb": 1000, "m": 1 << 20, "mib": 1 << 20, "mb": 10**6,
    "g": 1 << 30, "gib": 1 << 30, "gb": 10**9, "t": 1 << 40, "tib": 1 << 40, "tb": 10**12,
}  # fmt: skip
_TUNE = {
    "read_bytes_sec": "readbps",
    "write_bytes_sec": "writebps",
    "read_iops_sec": "readiops",
    "write_iops_sec": "writeiops",
}


def read(text: str, *, name: str = "", folder: str = "", dataset: str = "") -> Imported:
    """One domain. Raises Unreadable when it is no XML of a domain, or has a document type."""
    root = parse(text)
    if root.tag in {"domainsnapshot", "domstatus", "domainbackup"}:
        found = root.find(".//domain")
        root = root if found is None else found
    if root.tag != "domain":
        raise Unreadable("This is not a libvirt domain: its root element is not <domain>.")
    return _Domain(Node(root), Draft(name, folder, dataset)).read()


class _Domain:
    """Reads the parts of one domain into a draft."""

    def __init__(self, domain: Node, draft: Draft) -> None:
        self.domain, self.draft, self.document = domain, draft, draft.document

    def read(self) -> Imported:
        kind = self.domain.get("type", "bhyve")
        if kind != "bhyve":
            self.draft.note(f"It is a VM of {kind}: its devices were translated to bhyve's.")
        self.domain.skip("@id", "resource", "seclabel", "on_lockfailure", "perf", "genid", "iothreads")
        self.draft.name = self.draft.name or self.domain.one("name").text
        self.main()
        self.tuning()
        boot = self.boot()
        self.life()
        Devices(self.domain.one("devices"), self.draft, is_bhyve=kind == "bhyve").read()
        self.loader(boot)
        self.extensions()
        for what in self.domain.unread():
            self.draft.left_out(what[:200])
        self.draft.notes.sort(key=lambda note: note.startswith("Left out"))
        return self.draft.finish()

    # The machine itself.

    def main(self) -> None:
        domain, document = self.domain, self.document
        if uuid := domain.one("uuid").text:
            document["uuid"] = uuid.lower()
        said = [domain.one(tag).text for tag in ("title", "description")]
        self.draft.about = About("\n".join(filter(None, said)))
        amount = self.size(domain.one("memory"))
        document["mem"] = memory(amount)
        if domain.has("currentMemory") and self.size(domain.one("currentMemory")) != amount:
            self.draft.left_out("the balloon; the guest gets all of its memory")
        vcpu, topology = domain.one("vcpu"), domain.one("cpu").one("topology")
        vcpu.skip("@placement")
        cpus = number(vcpu.text or "1")
        if current := vcpu.get("current"):
            self.draft.note(f"{current} of its {cpus} CPUs were on; here all are.")
        document["cpu"] = cpus
        if topology.element.attrib:
            dies = number(topology.get("dies", "1")) * number(topology.get("clusters", "1"))
            shape = {key: number(topology.get(key, "1")) for key in ("sockets", "cores", "threads")}
            shape["cores"] *= dies
            document["cpu"] = shape
            if shape["sockets"] * shape["cores"] * shape["threads"] != cpus:
                self.draft.problem("vm", f"cpu: its sockets, cores and threads are not {cpus} CPUs.")
        features = domain.one("features")
        features.skip("apic", "pae")
        acpi = features.one("acpi")
        msrs = features.one("msrs")
        document |= {
            "generate_acpi": features.has("acpi") and acpi.get("state", "on") != "off",
            "yield_on_hlt": True,
            "yield_on_pause": True,
            "ignore_msr": msrs.get("unknown") == "ignore",
        }
        backing = domain.one("memoryBacking")
        document["wire_guest_mem"] = backing.has("locked")
        clock = domain.one("clock")
        offset = clock.get("offset", "utc")
        clock.skip("timer")
        document["utc_clock"] = offset != "localtime"
        if offset not in {"utc", "localtime"}:
            self.draft.note(f"Its clock ({offset}) became UTC.")

    def size(self, node: Node) -> int:
        unit = _UNITS.get(node.get("unit", "KiB").lower(), 1 << 10)
        return number(node.text or "0") * unit

    def tuning(self) -> None:
        cputune, blkiotune = self.domain.one("cputune"), self.domain.one("blkiotune")
        pinning: dict[str, list[int]] = {}
        for pin in cputune.all("vcpupin"):
            cpus = cpu_set(pin.get("cpuset"))
            if cpus is None:
                self.draft.problem("vm", f"pinning: {pin.get('cpuset')!r} is not a list of CPUs.")
            else:
                pinning[pin.get("vcpu")] = cpus
        if pinning:
            self.document["pinning"] = pinning
        for device in blkiotune.all("device"):
            if device.one("path").text != "*":
                self.draft.note(
                    "bhyve limits all disks of a VM together: a limit of one disk became that of all."
                )
            limits = self.document.setdefault("limits", {})
            limits |= {limit: number(device.one(tag).text) for tag, limit in _TUNE.items() if device.has(tag)}

    def boot(self) -> Node:
        os, document, kind_of = self.domain.one("os"), self.document, self.domain.get("type", "bhyve")
        kind = os.one("type")
        if kind.get("arch", "x86_64") not in {"x86_64", "i686"}:
            self.draft.problem("vm", f"arch: bHype runs amd64, not {kind.get('arch')}.")
        kind.skip("@machine")
        os.skip("bootmenu", "bios")
        loader, firmware, nvram = os.one("loader"), os.get("firmware"), os.one("nvram")
        loader.skip("@readonly", "@type", "@secure", "@format", "@stateless")
        nvram.skip("@template", "@templateFormat", "@format", "@type")
        if loader.text or firmware:
            rom = loader.text or f"{FIRMWARE}/BHYVE_UEFI.fd"
            if kind_of != "bhyve" and not rom.startswith("/usr/local/share/"):
                self.draft.note(f"The firmware {rom} became bhyve's own.")
                rom = f"{FIRMWARE}/BHYVE_UEFI.fd"
            document["bootrom"] = rom
            if nvram.text:
                document["varfile"] = self.draft.path(nvram.text)
            elif os.has("nvram"):
                self.draft.note("libvirt made a file for the UEFI variables; the panel makes one of its own.")
        elif kind_of != "bhyve":
            document["bootrom"] = f"{FIRMWARE}/BHYVE_UEFI.fd"
            self.draft.note(
                "It booted by a BIOS; bhyve has UEFI, so that its guest may have to be converted."
            )
        for info in self.domain.all("sysinfo"):
            self.sysinfo(info)
        os.one("smbios").skip("@mode")
        return os

    def sysinfo(self, info: Node) -> None:
        if info.get("type") == "fwcfg":
            for entry in info.all("entry"):
                item = {"name": entry.get("name")}
                item |= {"file": entry.get("file")} if entry.get("file") else {"string": entry.text}
                self.document.setdefault("fw_cfg", []).append(item)
                self.document["fwcfg"] = "qemu"
            return
        for table in info.all("bios", "system", "baseBoard", "chassis"):
            for entry in table.all("entry"):
                variable = SMBIOS.get((table.tag, entry.element.get("name", "")))
                if variable:
                    entry.get("name")
                    self.document.setdefault("options", {})[variable] = entry.text
                else:
                    self.draft.left_out(f"the SMBIOS entry {table.tag}/{entry.get('name')}")

    def loader(self, os: Node) -> None:
        """What loads the guest when no boot ROM does; after the devices are known."""
        program, arguments = self.domain.one("bootloader").text, self.domain.one("bootloader_args").text
        wanted = {"cdrom": True, "hd": False}.get(os.one("boot").get("dev"))
        os.skip("boot")
        if "bootrom" in self.document:
            return
        name = program.rpartition("/")[2] or "bhyveload"
        if name not in {"bhyveload", "grub-bhyve"}:
            self.draft.problem("loader", f"type: {program} is neither bhyveload nor grub-bhyve.")
            return
        try:
            words = shlex.split(arguments)
        except ValueError:
            self.draft.problem("loader", "bootloader_args: a quotation does not end.")
            return
        loader = loader_of(self.draft, name, words)
        drives = list(self.drive_list())
        chosen = [drive for drive in drives if drive[2] is not None]
        first = min(chosen, key=lambda drive: drive[2] or 0) if chosen else None
        if first is None and wanted is not None:
            first = next((drive for drive in drives if drive[1] is wanted), None)
        if name == "grub-bhyve":
            cd = first[1] if first else any(drive[1] for drive in drives)
            loader.setdefault("root", "cd0" if cd else "hd0,msdos1")
        elif first:
            loader.setdefault("disk", first[0])
        if (name, loader.get("disk")) == (
            "bhyveload",
            next((path for path, cd, _ in drives if not cd), None),
        ):
            loader.pop("disk", None)
        for entry in self.draft.emulations:
            # The order has chosen what is loaded; without a firmware nothing else reads it.
            for holder in (entry, *entry.get("ports", ())) if entry["device"] != "passthru" else ():
                holder.pop("bootindex", None)
        self.document["loader"] = loader
        self.document.pop("fwcfg", None)

    def drive_list(self) -> Iterator[tuple[str, bool, int | None]]:
        """Each disk and CD: path, whether it is a CD, its place in the boot order."""
        for entry in self.draft.emulations:
            for holder in entry.get("ports", ()) if entry["device"] == "ahci" else (entry,):
                if entry["device"] in {*BUSES.values(), "ahci-cd", "ahci"} and "path" in holder:
                    is_cd = entry["device"] == "ahci-cd" or holder.get("type") == "cd"
                    yield holder["path"], is_cd, holder.get("bootindex")

    def life(self) -> None:
        wanted = {key: self.domain.one(f"on_{key}").text for key in ("poweroff", "reboot", "crash")}
        again = {0: wanted["reboot"] in {"", "restart"}, 1: wanted["poweroff"] == "restart"}
        restart: Document = {}
        if (reboot_on := [status for status, yes in again.items() if yes]) != [0]:
            restart["reboot_on"] = reboot_on
        if wanted["crash"] in {"restart", "coredump-restart"}:
            restart["on_crash"] = True
        if restart:
            self.document["restart"] = restart

    def extensions(self) -> None:
        for command in self.domain.all(f"{{{BHYVE}}}commandline"):
            options(self.draft, [node.get("value") for node in command.all(f"{{{BHYVE}}}arg")])
