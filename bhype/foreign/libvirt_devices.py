"""The devices of libvirt's domain XML, and the slots that libvirt's bhyve driver gives them."""

from __future__ import annotations

import re

from bhype.vmrun.config import Document

from .imported import Draft, usable_name
from .markup import Node

BUSES = {"virtio": "virtio-blk", "sata": "ahci-hd", "nvme": "nvme"}
_MODELS = {"virtio": "virtio-net", "e1000": "e1000"}


class Slots:
    """The places on PCI bus 0: those that are named, and the next that is free."""

    def __init__(self, *, are_kept: bool) -> None:
        self.are_kept = are_kept
        self.taken = {0} if are_kept else {0, 31}

    def named(self, node: Node) -> str:
        """The address of an element, "" when it has none that is kept."""
        for address in node.all("address"):
            if address.get("type") == "pci":
                bus, slot, function = (number(address.get(key, "0")) for key in ("bus", "slot", "function"))
                address.skip("@domain", "@multifunction")
                if (bus, slot) != (0, 0) and self.are_kept:
                    self.taken |= {slot} if bus == 0 else set()
                    return f"{bus}:{slot}:{function}"
        return ""

    def free(self) -> str:
        slot = next((number for number in range(1, 32) if number not in self.taken), 31)
        self.taken.add(slot)
        return f"0:{slot}:0"


def number(text: str) -> int:
    """A number in libvirt's spelling: decimal or 0x."""
    match = re.fullmatch(r"(0x)?([0-9A-Fa-f]{1,12})", text.strip())
    if not match or (not match[1] and not match[2].isdigit()):
        return 0
    return int(match[2], 16 if match[1] else 10)


class Devices:
    """Reads the devices of one domain into a draft. Each is put there at once, and gets its slot at the end."""

    def __init__(self, devices: Node, draft: Draft, *, is_bhyve: bool) -> None:
        """is_bhyve: whether the domain is one of libvirt's bhyve driver; other buses have other addresses."""
        self.devices, self.draft, self.document = devices, draft, draft.document
        self.slots = Slots(are_kept=is_bhyve)
        if not is_bhyve:
            self.document["lpc_slot"] = "0:31:0"
        # What still needs a slot: its turn when libvirt gives them, and where the slot goes.
        self.waiting: list[tuple[int, Document, str]] = []

    def read(self) -> None:
        self.screen()
        self.channels()
        self.drives()
        self.nics()
        self.others()
        self.serials()
        self.place()
        self.devices.skip("emulator", "memballoon")

    def add(self, rank: int, node: Node | None, entry: Document) -> Document:
        """rank: its turn when libvirt gives slots."""
        slot = self.slots.named(node) if node else ""
        entry = {"device": entry.pop("device"), "slot": slot, **entry}
        self.draft.emulations.append(entry)
        if not slot:
            self.waiting.append((rank, entry, "slot"))
        if node:
            node.skip("alias")
        return entry

    def place(self) -> None:
        """Give slots to those that have none: first the LPC bridge, for which slot 1 is kept."""
        is_first_free = 1 not in self.slots.taken
        self.slots.taken.add(1)
        if "lpc_slot" not in self.document:
            self.document["lpc_slot"] = "0:1:0" if is_first_free else self.slots.free()
        for _, entry, key in sorted(self.waiting, key=lambda one: one[0]):
            entry[key] = self.slots.free()

    def controllers(self, kind: str) -> dict[int, Node]:
        found = {}
        for node in self.devices.all("controller"):
            if node.element.get("type") == kind:
                node.skip("@type", "@model", "alias")
                found[number(node.get("index", "0"))] = node
        return found

    def drives(self) -> None:
        sata, nvme = self.controllers("sata"), self.controllers("nvme")
        for node in self.controllers("isa").values():
            if slot := self.slots.named(node):
                self.document["lpc_slot"] = slot
        for kind in ("pci", "scsi", "ide", "fdc"):
            for node in self.controllers(kind).values():
                node.skip_all()
        groups: dict[int, list[Document]] = {}
        for node in self.devices.all("disk"):
            bus, entry, unit = self.disk(node)
            if bus == "sata" and "path" not in entry:
                # A drive without a medium shares no controller: bhyve cannot say so.
                self.add(1, None, {"device": f"ahci-{entry.pop('type')}", **entry})
            elif bus == "sata":
                groups.setdefault(unit, []).append(entry)
                if len(groups[unit]) == 1:
                    self.add(1, sata.get(unit), {"device": "ahci", "ports": groups[unit]})
            elif bus == "nvme":
                entry.pop("type")
                holder = nvme.get(unit)
                if holder and holder.has("serial"):
                    entry["ser"] = holder.one("serial").text
                self.add(1, holder, {"device": "nvme", **entry})
            elif bus:
                entry.pop("type")
                self.add(3, node, {"device": bus, **entry})
        for entry in self.draft.emulations:
            if entry["device"] == "ahci":
                self.single(entry)

    @staticmethod
    def single(entry: Document) -> None:
        """A controller with one drive is that drive."""
        ports = entry["ports"]
        if len(ports) == 1:
            del entry["ports"]
            entry["device"] = f"ahci-{ports[0]['type']}"
            entry |= {key: value for key, value in ports[0].items() if key != "type"}

    def disk(self, node: Node) -> tuple[str, Document, int]:
        """The bus ("" when it was left out), the disk's own keys with its type, and its controller."""
        driver, source, target = node.one("driver"), node.one("source"), node.one("target")
        driver.skip("@name", "@io", "@iothread", "@error_policy", "@copy_on_read", "@detect_zeroes")
        node.skip("@snapshot", "@model", "alias", "backingStore")
        source.skip("@index", "@startupPolicy")
        kind, role = node.get("type", "file"), node.get("device", "disk")
        address = next((one for one in node.all("address") if one.element.get("type") == "drive"), None)
        unit = 0
        if address:
            unit = number(address.get("controller", "0"))
            address.skip("@type", "@bus", "@target", "@unit")
        bus, device = target.get("bus", "virtio"), target.get("dev")
        if role in {"floppy", "lun"}:
            self.draft.left_out(f"a {role}, which bhyve has not")
            source.skip_all()
            return "", {}, 0
        if kind == "ctl":
            entry: Document = {"dev": source.get("dev"), "type": "hd"}
            return "virtio-scsi", entry, 0
        path = source.get("file") or source.get("dev")
        if source.get("pool"):
            path = f"/dev/zvol/{source.get('pool')}/{source.get('volume')}"
            self.draft.note(
                f"The volume {source.get('volume')} of the storage pool {source.get('pool')} became {path}."
            )
        if kind == "network":
            self.draft.problem(
                "vm", f"disk {device}: bhyve has no disks over the network.", "Give it another."
            )
        entry = {"type": "cd" if role == "cdrom" else "hd"}
        entry |= {"path": self.draft.path(path)} if path else {}
        entry |= self.disk_options(node, driver, target)
        if driver.get("type", "raw") != "raw" and path:
            self.draft.formats[entry["path"]] = driver.get("type")
            self.draft.note(f"{path} is {driver.get('type')}; bhyve needs it raw.")
        if bus not in BUSES or (role == "cdrom" and bus != "sata"):
            self.draft.note(f"The disk {device} moved from {bus} to SATA.")
            bus = "sata"
        if bus == "nvme" and not address:
            match = re.fullmatch(r"nvme([0-9]{1,3})n[0-9]+", device)
            unit = int(match[1]) if match else 0
        return ("virtio-blk" if bus == "virtio" else bus), entry, unit

    def disk_options(self, node: Node, driver: Node, target: Node) -> Document:
        found: Document = {}
        cache = driver.get("cache")
        if cache in {"writethrough", "directsync"}:
            found["direct"] = True
        if cache in {"none", "directsync"}:
            found["nocache"] = True
        if node.has("readonly") and node.element.get("device") != "cdrom":
            found["ro"] = True
        if driver.get("discard") == "ignore":
            found["nodelete"] = True
        block = node.one("blockio")
        for size in ("logical", "physical"):
            if text := block.get(f"{size}_block_size"):
                found[f"{size}_sector_size"] = number(text)
        if serial := node.one("serial").text:
            found["ser"] = serial
        if order := node.one("boot").get("order"):
            found["bootindex"] = number(order)
            self.document["fwcfg"] = "qemu"
        if rate := target.get("rotation_rate"):
            found["nmrr"] = number(rate)
        for attribute, key in (("queues", "maxq"), ("queue_size", "qsz")):
            if text := driver.get(attribute):
                found[key] = number(text)
        return found

    def nics(self) -> None:
        for node in self.devices.all("interface"):
            kind, model = node.get("type"), node.one("model").get("type", "virtio")
            node.skip("alias", "driver", "virtualport")
            source, target = node.one("source"), node.one("target")
            if model not in _MODELS:
                self.draft.note(f"A network port of the model {model} became e1000.")
            bridge = source.get("bridge")
            if kind == "network" and not bridge:
                self.draft.note(
                    f"A network port was in libvirt's network {source.get('network')}; choose a switch."
                )
            elif kind not in {"bridge", "user", "network", "ethernet"}:
                self.draft.note(f"A network port of the type {kind} became a tap; choose a switch.")
            values: Document = {"mac": node.one("mac").get("address")} if node.has("mac") else {}
            name = _MODELS.get(model, "e1000")
            if kind == "user":
                entry = {"type": "slirp", **values}
            else:
                entry = self.draft.nic(name, bridge, **values)
                self.draft.emulations.pop()
                entry.pop("device")
                if tap := target.get("dev"):
                    entry["name"] = tap
            self.nic_options(node, entry)
            self.add(2, node, {"device": name, **entry})

    def nic_options(self, node: Node, entry: Document) -> None:
        if text := node.one("mtu").get("size"):
            entry["mtu"] = number(text)
        if (state := node.one("link").get("state")) == "down":
            entry["link"] = state
        bandwidth = node.one("bandwidth")
        for direction, key in (("inbound", "rate_in"), ("outbound", "rate_out")):
            if text := bandwidth.one(direction).get("average"):
                # Kilobytes per second.
                entry[key] = f"{number(text) * 8}K"

    def screen(self) -> None:
        tablets = [node for node in self.devices.all("input") if node.element.get("type") == "tablet"]
        for node in self.devices.all("input"):
            node.skip("alias", "@bus")
            if node.get("type") not in {"tablet", "mouse", "keyboard"}:
                self.draft.left_out(f"the input device {node.get('type')}")
        usb = list(self.controllers("usb").values())
        slots = [slot for node in usb if (slot := self.slots.named(node))]
        displays = self.devices.all("graphics")
        if not displays:
            if tablets:
                self.add(0, usb[0] if usb else None, {"device": "xhci"})
            for video in self.devices.all("video"):
                video.skip_all()
            return
        node = displays[0]
        for other in displays[1:]:
            self.draft.left_out(f"a second screen, {other.get('type')}")
        node.skip("@autoport", "@websocket", "@keymap", "@sharePolicy", "alias")
        listen = node.one("listen")
        listen.skip("@type", "@network", "@socket")
        if node.get("type") != "vnc":
            self.draft.note(f"The screen ({node.get('type')}) became one by VNC.")
        port = number(node.get("port", "0").lstrip("-"))
        graphic: Document = {"host": listen.get("address") or node.get("listen") or "127.0.0.1"}
        graphic["port"] = port if port > 1 else 5900
        if port <= 1:
            self.draft.note("Its VNC port was chosen at each start; 5900 was put in.")
        if password := node.get("passwd"):
            graphic["password"] = self.draft.screen_password(password)
        if node.get("wait") == "yes":
            graphic["wait"] = True
        graphic["xhci_table"] = bool(tablets)
        self.document["graphic"] = graphic
        self.video_of(graphic)
        if tablets and slots:
            graphic["xhci_slot"] = slots[0]
        elif tablets:
            self.waiting.append((0, graphic, "xhci_slot"))

    def video_of(self, graphic: Document) -> None:
        for video in self.devices.all("video")[:1]:
            model = video.one("model")
            model.skip("@type", "@heads", "@primary", "@vram", "@ram", "@vgamem", "acceleration")
            resolution = model.one("resolution")
            if resolution.element.attrib:
                graphic |= {"width": number(resolution.get("x")), "height": number(resolution.get("y"))}
            if vga := video.one("driver").get("vgaconf"):
                graphic["vga"] = vga
            video.skip("alias")
            if slot := self.slots.named(video):
                graphic["slot"] = slot
        if "slot" not in graphic:
            self.waiting.append((4, graphic, "slot"))

    def others(self) -> None:
        audio = {node.get("id"): node for node in self.devices.all("audio")}
        for node in self.devices.all("sound"):
            node.skip("@model", "codec")
            chosen = audio.get(node.one("audio").get("id", "1")) or Node(
                node.element.makeelement("audio", {})
            )
            if chosen.get("type", "oss") not in {"oss", "none"}:
                self.draft.note(f"The sound goes to OSS, not to {chosen.get('type')}.")
            found = {"play": chosen.one("input").get("dev"), "rec": chosen.one("output").get("dev")}
            self.add(5, node, {"device": "hda", **{key: value for key, value in found.items() if value}})
        for node in self.devices.all("filesystem"):
            node.skip("@type", "@accessmode", "driver")
            entry: Document = {"device": "virtio-9p", "share": node.one("target").get("dir")}
            entry["path"] = node.one("source").get("dir")
            self.add(6, node, entry | ({"ro": True} if node.has("readonly") else {}))
        for node in self.devices.all("rng"):
            node.skip("@model", "backend", "driver", "rate")
            self.add(7, node, {"device": "virtio-rnd"})
        for node in self.devices.all("hostdev"):
            self.passthru(node)
        self.tpm()

    def passthru(self, node: Node) -> None:
        if node.get("type") != "pci":
            self.draft.left_out(f"a passed-through device of the kind {node.get('type')}")
            node.skip_all()
            return
        node.skip("@mode", "@managed", "driver")
        place = node.one("source").one("address")
        source = ":".join(str(number(place.get(key, "0"))) for key in ("bus", "slot", "function"))
        if number(place.get("domain", "0")):
            self.draft.problem("passthru", f"{source}: bhyve passes through devices of PCI domain 0 only.")
        entry: Document = {"device": "passthru", "src": source}
        if rom := node.one("rom").get("file"):
            entry["rom"] = rom
        if order := node.one("boot").get("order"):
            entry["bootindex"] = number(order)
        self.add(8, node, entry)

    def tpm(self) -> None:
        for node in self.devices.all("tpm")[:1]:
            node.skip("@model", "alias")
            backend = node.one("backend")
            kind = backend.get("type")
            found: Document = {"type": "passthru" if kind == "passthrough" else "swtpm"}
            if kind == "passthrough":
                found["path"] = backend.one("device").get("path", "/dev/tpm0")
            elif kind == "external":
                found["path"] = backend.one("source").get("path")
                backend.one("source").skip("@type", "@mode")
            else:
                state = backend.one("source").get("path") or self.draft.path("tpm")
                found["state"] = state
                backend.one("source").skip("@type")
            if version := backend.get("version"):
                found["version"] = version
            self.document["tpm"] = found

    def channels(self) -> None:
        controllers = self.controllers("virtio-serial")
        groups: dict[int, list[Document]] = {}
        for node in self.devices.all("channel"):
            source, target = node.one("source"), node.one("target")
            address = node.one("address")
            address.skip("@type", "@bus", "@port")
            node.skip("alias")
            target.skip("@type", "@state")
            source.skip("@mode")
            if node.get("type") != "unix":
                self.draft.left_out(f"the channel {target.get('name')} ({node.get('type')})")
                source.skip_all()
                continue
            unit = number(address.get("controller", "0"))
            # bhyve's consoles have 16 ports at most.
            while len(groups.setdefault(unit, [])) == 16:
                unit += 1
            ports = groups[unit]
            name = target.get("name") or f"port{len(ports) + 1}"
            path = source.get("path") or f"/var/run/bhype/vms/{self.draft.name}/{name}"
            ports.append({"name": name, "path": path})
        for unit, ports in groups.items():
            self.add(0, controllers.get(unit), {"device": "virtio-console", "ports": ports})

    def serials(self) -> None:
        lines = self.devices.all("serial")
        consoles = [
            node
            for node in self.devices.all("console")
            if node.one("target").get("type", "serial") == "serial"
        ]
        for place, node in enumerate(lines or consoles[:1]):
            self.serial(place, node)
        for node in consoles if lines else consoles[1:]:
            node.skip_all()

    def serial(self, place: int, node: Node) -> None:
        source, target, kind = node.one("source"), node.one("target"), node.get("type")
        node.skip("alias", "address", "@tty")
        target.skip("@type", "model")
        port = number(target.get("port", str(place))) + 1
        line = source.get("master")
        source.skip("@slave", "@path", "@mode", "@tls")
        if kind == "nmdm":
            line = line or f"/dev/nmdm{self.document.get('uuid', self.draft.name)}A"
        elif kind == "tcp":
            host = source.get("host", "127.0.0.1")
            line = f"tcp={f'[{host}]' if ':' in host else host}:{source.get('service')}"
            node.skip("protocol")
        elif kind == "stdio":
            line = "stdio"
        else:
            line = f"/dev/nmdm-{usable_name(self.draft.name)}.{port}A"
            self.draft.note(f"The serial port {port} ({kind}) became a null-modem device.")
        if 1 <= port <= 4:
            self.document[f"com{port}"] = line
        else:
            self.draft.left_out(f"serial port {port}; bhyve has four")
