"""The forms of a VM's hardware: sections of its main keys, and its devices. Each gives back a whole document.

What the tables of vmrun cannot say is here: sizes of disks, switches, media, the shape of the processor.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from django import forms

from bhype.accounts.models import User
from bhype.hosts.models import PciDevice
from bhype.vmrun.config import COMS
from bhype.vmrun.devices import KINDS
from bhype.vmrun.keys import FLAGS, KEYS
from bhype.vmrun.options import Option
from storage.models import Iso

from . import plan, sizes
from .forms import SizeField
from .hardware import LAYOUTS, Data, Document, DocumentForm, device_options, main_keys, nested, text_of
from .models import VM, Disk, Nic, new_serial
from .wanted import Change

PINS_SHOWN = 64
OFF, OWN, OTHER = "", "own", "other"


@dataclass(frozen=True)
class Group:
    """Fields under one heading. is_more: what few people need; folded unless something in it is set or wrong."""

    title: str
    fields: list[forms.BoundField]
    is_more: bool = False
    help: str = ""

    @property
    def is_open(self) -> bool:
        return not self.is_more or any(field.errors or field.form.is_set(field.name) for field in self.fields)  # type: ignore[attr-defined]


class HardwareForm(DocumentForm):
    """A form about ``vm``; ``document`` is what is wanted now. ``sizes``: of disks that are new or grow."""

    title = ""

    def __init__(self, data: Data, *, vm: VM, user: User, document: Document, **more: Any) -> None:
        self.vm, self.user, self.document = vm, user, document
        self.may_root = user.can("vms.root")
        self.sizes: dict[str, int] = {}
        super().__init__(data, may_root=self.may_root, revision=vm.revision, **more)

    def groups(self) -> list[Group]:
        raise NotImplementedError

    def result(self) -> Document:
        """The document with what was said."""
        return self.written()

    def live(self, change: Change) -> list[tuple[str, dict[str, Any]]]:
        """Operations, with their parameters, that bring what was changed to a guest that runs."""
        return []


class _Section(HardwareForm):
    """Main keys of the document."""

    KEYS: tuple[str, ...] = ()

    def __init__(self, data: Data, *, vm: VM, user: User, document: Document) -> None:
        options: dict[str, Option] = {}
        for name in self.KEYS:
            options |= (
                nested(KEYS[name]) if KEYS[name].options and KEYS[name].kind == "table" else main_keys(name)
            )
        super().__init__(
            data, vm=vm, user=user, document=document, options=options, part=document, where="vm"
        )
        self.setup()

    def setup(self) -> None:
        """Add the fields that are not keys."""

    def named(self, prefix: str) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name.startswith(prefix)]


class ProcessorForm(_Section):
    title = "Processor and memory"
    STANDS_FOR = {"cpu": "cores"}
    KEYS = ("mem", "wire_guest_mem", "limits", "nice", "protect")

    def setup(self) -> None:
        cpu = self.document["cpu"]
        words = {"sockets": "Sockets", "cores": "Cores in each", "threads": "Threads in each core"}
        for name, label in words.items():
            field = forms.IntegerField(min_value=1, max_value=plan.CPUS_MAX, label=label)
            self.add(name, field, cpu[name])
        # As people write it; the document has MiB.
        self.fields["mem"].initial = sizes.text(self.vm.memory)
        pinning = self.document.get("pinning") or {}
        for number in range(min(self.vm.cpus, PINS_SHOWN)):
            hint = {
                "placeholder": "any",
                "size": 6,
                "class": "mono",
                "aria-label": f"Host CPUs of vCPU {number}",
            }
            pin = forms.CharField(
                required=False, max_length=200, label=f"vCPU {number}", widget=forms.TextInput(attrs=hint)
            )
            self.add(
                f"pin{number}",
                pin,
                text_of(KEYS["pinning"], {"": pinning.get(str(number), "")}).lstrip("="),
            )

    def groups(self) -> list[Group]:
        pins = self.named("pin")
        taken = "; ".join(f"CPU {cpu}: {', '.join(names)}" for cpu, names in sorted(pinned(self.vm).items()))
        host = f"The host has {self.vm.host.cpus} CPUs, from 0. " if self.vm.host.cpus else ""
        others = f"Other VMs have {taken}." if taken else "No other VM has CPUs of its own."
        return [
            Group("Processor", self.pick("sockets", "cores", "threads")),
            Group("Memory", self.pick("mem", "wire_guest_mem")),
            Group("Limits", [*self.named("limits."), *self.pick("nice", "protect")], is_more=True),
            Group("Pinning", pins, is_more=True, help=f"Host CPUs as 2-3,6; empty for any. {host}{others}"),
        ]

    def result(self) -> Document:
        found = self.written()
        chosen = self.cleaned_data
        found["cpu"] = {key: chosen[key] for key in ("sockets", "cores", "threads")}
        found["mem"] = chosen["mem"] if "mem" in self.changed_data else self.document["mem"]
        pins = {
            key: value
            for key, value in (self.document.get("pinning") or {}).items()
            if int(key) >= PINS_SHOWN
        }
        for number in range(min(self.vm.cpus, PINS_SHOWN)):
            if text := chosen.get(f"pin{number}"):
                pins[str(number)] = text.replace(" ", "")
        # Without the CPUs that the VM has no more.
        count = chosen["sockets"] * chosen["cores"] * chosen["threads"]
        found["pinning"] = {key: value for key, value in pins.items() if int(key) < count} or None
        return found

    def live(self, change: Change) -> list[tuple[str, dict[str, Any]]]:
        keys = ("limits", "nice", "protect")
        if all(change.before.get(key) == change.after.get(key) for key in keys):
            return []
        limits = {key: (change.after.get("limits") or {}).get(key) for key in KEYS["limits"].options}
        more = {key: change.after.get(key) for key in keys[1:]}
        return [("vms.set_limits", {"vm_id": self.vm.pk, "limits": limits, **more})]


def pinned(vm: VM) -> dict[int, list[str]]:
    """The CPUs of the host that other VMs have to themselves, with the names of those VMs."""
    found: dict[int, list[str]] = {}
    others = VM.objects.filter(host=vm.host, settings__has_key="pinning").exclude(pk=vm.pk).order_by("name")
    for name, settings in others.values_list("name", "settings"):
        for cpu in host_cpus(settings.get("pinning")):
            found.setdefault(cpu, []).append(name)
    return found


def host_cpus(pinning: Any) -> list[int]:
    """The host's CPUs in a pinning, each once."""
    try:
        return sorted({cpu for _, cpu in KEYS["pinning"].read(pinning)})
    except (ValueError, TypeError):
        return []


FIRMWARE = "The firmware of the guest, or a program of the host that loads its kernel."


class BootForm(_Section):
    title = "Boot"
    STANDS_FOR = {"bootrom": "firmware", "varfile": "firmware", "loader": "firmware"}
    KEYS = ("generate_acpi", "hostbridge", "fwcfg", "fw_cfg", "loader")

    def setup(self) -> None:
        choices = list(VM.Firmware.choices)
        if not self.may_root and self.vm.firmware not in {"bhyveload", "grub"}:
            choices = choices[:2]
        self.add(
            "firmware",
            forms.ChoiceField(choices=choices, label="Firmware", help_text=FIRMWARE),
            self.vm.firmware,
        )
        del self.fields["loader.type"]
        del self.options["loader.type"]
        tpm = self.document.get("tpm") or {}
        kinds = [("", "none"), ("swtpm", "emulated by swtpm")]
        if self.may_root or tpm.get("type") == "passthru":
            kinds.append(("passthru", "the host's own, /dev/tpm0"))
        if tpm.get("path") and tpm.get("type") == "swtpm":
            kinds.append(("kept", f"the socket {tpm['path']}"))
        current = "kept" if tpm.get("path") and tpm.get("type") == "swtpm" else tpm.get("type", "")
        help_text = f"{KEYS['tpm'].help} Its memory lies beside the disks."
        self.add(
            "tpm",
            forms.ChoiceField(choices=kinds, required=False, label="TPM 2.0", help_text=help_text),
            current,
        )
        if not self.may_root:
            for field in self.named("loader."):
                self.lock(field.name)

    def groups(self) -> list[Group]:
        return [
            Group("Firmware", self.pick("firmware", "tpm")),
            Group(
                "Boot loader of the host", self.named("loader."), is_more=True,
                help="For bhyveload and grub-bhyve alone.",
            ),
            Group("More", self.pick("generate_acpi", "hostbridge", "fwcfg", "fw_cfg"), is_more=True),
        ]  # fmt: skip

    def result(self) -> Document:
        found, firmware = self.written(), self.cleaned_data["firmware"]
        loader = found.pop("loader", None) or {}
        if firmware != self.vm.firmware:
            for key in ("bootrom", "varfile"):
                found.pop(key, None)
        if firmware in {"bhyveload", "grub"}:
            usable = {"bhyveload": {"disk", "os_loader", "env"}, "grub": {"root", "directory", "config"}}[
                firmware
            ]
            found["loader"] = {
                **{key: value for key, value in loader.items() if key in usable},
                "type": firmware,
            }
        elif firmware == "csm":
            found["bootrom"] = plan.FIRMWARE_CSM
        return self._with_tpm(found)

    def _with_tpm(self, found: Document) -> Document:
        chosen = self.cleaned_data["tpm"]
        if chosen == "swtpm":
            found["tpm"] = {"type": "swtpm", "state": plan.tpm_path(self.vm), "version": "2.0"}
        elif chosen == "passthru":
            found["tpm"] = self.document.get("tpm") if self.fields["tpm"].initial == chosen else None
            found["tpm"] = found["tpm"] or {"type": "passthru", "path": "/dev/tpm0", "version": "2.0"}
        elif chosen != "kept":
            found.pop("tpm", None)
        return found


class ScreenForm(_Section):
    title = "Screen and serial lines"
    KEYS = ("graphic", "keyboard")
    _SHOWN = ("graphic.vga", "graphic.wait", "graphic.xhci_table", "graphic.password")

    def setup(self) -> None:
        for name in list(self.options):
            if name not in (*self._SHOWN, "keyboard"):
                del self.options[name]
                del self.fields[name]
        vm = self.vm
        size = f"{vm.screen_width}x{vm.screen_height}"
        choices = [(one, one.replace("x", " by ")) for one in dict.fromkeys((*plan.SCREENS, size))]
        self.add("has_screen", forms.BooleanField(required=False, label="Screen (VNC)"), vm.has_screen)
        self.add("size", forms.ChoiceField(choices=choices, label="Size"), size)
        password = self.fields["graphic.password"]
        password.widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
        password.initial = ""
        password.help_text = "Empty: it stays. The panel's consoles need none; it is for other VNC viewers."
        layout = self.document.get("keyboard")
        names = dict.fromkeys((*LAYOUTS, *([layout] if layout else [])))
        field = forms.ChoiceField(
            required=False, label="Keyboard layout", choices=[("", "US English"), *((name, name) for name in names)],
            help_text="Of the keyboard in front of the viewer.",
        )  # fmt: skip
        self.add("keyboard", field, layout or "")
        for number, key in enumerate(COMS, 1):
            self._add_line(number, key)

    def _add_line(self, number: int, key: str) -> None:
        line = self.document.get(key)
        own = f"/dev/nmdm-{self.vm.name}.{number}A"
        choices = [
            (OFF, "off"),
            (OWN, "console in the panel" if number == 1 else "line of its own, with a log"),
        ]
        if self.may_root or line not in {None, own}:
            choices.append((OTHER, "another line"))
        chosen = OFF if line is None else OWN if line == own else OTHER
        self.add(key, forms.ChoiceField(choices=choices, required=False, label=KEYS[key].label), chosen)
        hint = {"placeholder": "tcp=127.0.0.1:4001", "spellcheck": "false", "class": "mono"}
        field = forms.CharField(
            required=False, max_length=100, label=f"Other line {number}", widget=forms.TextInput(attrs=hint)
        )
        self.add(f"{key}_line", field, line if chosen == OTHER else "")
        if not self.may_root:
            self.lock(f"{key}_line")

    def groups(self) -> list[Group]:
        return [
            Group("Screen", self.pick("has_screen", "size", "keyboard", "graphic.xhci_table")),
            Group("More of the screen", self.pick("graphic.vga", "graphic.wait", "graphic.password"), is_more=True),
            Group("Serial lines", self.pick(*COMS)),
            Group(
                "Other lines", self.pick(*(f"{key}_line" for key in COMS)), is_more=True,
                help="Where a line above is “another line”: tcp=ADDRESS:PORT (FreeBSD 15) or a null-modem device.",
            ),
        ]  # fmt: skip

    def written(self) -> Document:
        found = super().written()
        chosen = self.cleaned_data
        if not chosen["has_screen"]:
            found.pop("graphic", None)
        else:
            width, height = map(int, chosen["size"].split("x"))
            before = self.document.get("graphic") or dict(self.vm.settings.get("graphic") or {})
            graphic = {**before, **(found.get("graphic") or {}), "width": width, "height": height}
            if not chosen["graphic.password"]:
                graphic |= {"password": before["password"]} if "password" in before else {}
            found["graphic"] = graphic
        found["keyboard"] = chosen["keyboard"] or None
        for number, key in enumerate(COMS, 1):
            if chosen[key] == OTHER and not chosen[f"{key}_line"]:
                self.add_error(f"{key}_line", "Say which line.")
            lines = {OFF: None, OWN: f"/dev/nmdm-{self.vm.name}.{number}A", OTHER: chosen[f"{key}_line"]}
            found[key] = lines[chosen[key]]
        return found


RESTART = "After a reboot the guest is started again; after a crash only if you say so."


class OptionsForm(_Section):
    title = "Options"
    KEYS = (
        "utc_clock", "ignore_msr", "yield_on_hlt", "yield_on_pause", "force_msi", "x2apic", "strict_io",
        "disable_mptable_gen", "guest_in_core", "restart", "gdb", "options", "extra_options", "post_start_script",
    )  # fmt: skip

    def groups(self) -> list[Group]:
        flags = [name for name in self.KEYS if name in FLAGS]
        return [
            Group("Clock and processor", self.pick(*flags[:3])),
            Group("Restart", self.named("restart."), help=RESTART),
            Group("More of the processor", self.pick(*flags[3:]), is_more=True),
            Group("In bhyve's own words", self.pick(*self.KEYS[-4:]), is_more=True),
        ]  # fmt: skip


SECTIONS: dict[str, type[_Section]] = {
    "processor": ProcessorForm,
    "boot": BootForm,
    "screen": ScreenForm,
    "options": OptionsForm,
}


# Devices.


class DeviceForm(HardwareForm):
    """A device by its table. ``number``: its place in the document's emulations; None for a new one."""

    WITHOUT: tuple[str, ...] = ()
    FIRST: tuple[str, ...] = ()

    def __init__(
        self, data: Data, *, vm: VM, user: User, document: Document, kind: str, number: int | None
    ) -> None:
        self.kind, self.number = kind, number
        entries = document["emulations"]
        self.entry: Document = {"device": kind} if number is None else entries[number]
        where = f"emulations[{len(entries) if number is None else number}] {kind}"
        super().__init__(
            data, vm=vm, user=user, document=document, options=device_options(kind, self.WITHOUT), part=self.entry,
            where=where,
        )  # fmt: skip
        slot = forms.CharField(
            required=False, max_length=9, label="PCI slot", help_text="As 0:4:0; empty for the next free one."
        )
        self.setup()
        self.add("slot", slot, self.entry.get("slot", ""))

    @property
    def title(self) -> str:  # type: ignore[override]
        return KINDS[self.kind].label

    @property
    def help(self) -> str:
        return KINDS[self.kind].help

    def setup(self) -> None:
        """Add the fields that are not keys."""

    def groups(self) -> list[Group]:
        first = self.FIRST or tuple(
            name for name in self.fields if name not in {"slot", "bootindex", "revision", "rom"}
        )
        return [Group("", self.pick(*first)), Group("More", self.rest(*first), is_more=True)]

    def entry_written(self) -> Document:
        """The device with what was said."""
        found = self.written()
        found["slot"] = self.cleaned_data.get("slot") or None
        return {key: value for key, value in found.items() if value is not None}

    def result(self) -> Document:
        found = copy.deepcopy(self.document)
        entry = self.entry_written()
        if self.number is None:
            found["emulations"].append(entry)
        else:
            found["emulations"][self.number] = entry
        if self.kind == "passthru":
            # A device that writes into the guest's memory needs it where it is.
            found["wire_guest_mem"] = True
        return found


class PassthruForm(DeviceForm):
    FIRST = ("src",)

    def setup(self) -> None:
        known = PciDevice.objects.filter(host=self.vm.host, is_reserved=True)
        choices = [
            (f"{one.bus}:{one.slot}:{one.function}", f"{one.name or one.identity} ({one.place})")
            for one in known
        ]
        current = str(self.entry.get("src", "")).replace("/", ":")
        if current and current not in dict(choices):
            choices.append((current, current))
        if choices and self.may_root and "lookup" not in self.entry:
            self.add(
                "src",
                forms.ChoiceField(
                    choices=choices,
                    label="Device of the host",
                    help_text="Those that are reserved for VMs (ppt).",
                ),
                current,
            )

    def entry_written(self) -> Document:
        found = super().entry_written()
        if self.cleaned_data.get("src") and not self.fields["src"].disabled:
            found["src"] = self.cleaned_data["src"]
        return found


class CdForm(DeviceForm):
    STANDS_FOR = {"path": "medium"}
    WITHOUT = ("path",)
    FIRST = ("medium",)

    def setup(self) -> None:
        media = Iso.objects.filter(pool__host=self.vm.host).select_related("pool")
        choices = [("", "empty"), *((iso.path, iso.name) for iso in media)]
        current = self.entry.get("path", "")
        if current and current not in dict(choices):
            choices.append((current, current))
        help_text = "At once in the configuration; the guest sees it at its next start."
        self.add(
            "medium",
            forms.ChoiceField(choices=choices, required=False, label="Medium", help_text=help_text),
            current,
        )
        if self.may_root:
            field = forms.CharField(
                required=False,
                max_length=255,
                label="Other image",
                help_text="A path on the host, instead of a medium of the library.",
            )
            self.add("path", field, "")

    def entry_written(self) -> Document:
        found = super().entry_written()
        path = self.cleaned_data.get("path") or self.cleaned_data["medium"]
        return (
            {**found, "path": path} if path else {key: value for key, value in found.items() if key != "path"}
        )


class DiskForm(DeviceForm):
    """A disk. New: made in the VM's dataset, or a path of the host. There: it can grow, and change its bus."""

    WITHOUT = ("path", "ram")

    def setup(self) -> None:
        buses = forms.ChoiceField(
            choices=Disk.Bus.choices, label="Bus", help_text="How the guest sees it. VirtIO is fastest."
        )
        self.add("bus", buses, self.kind)
        path = str(self.entry.get("path", ""))
        self.disk = next((disk for disk in self.vm.disks.all() if disk.path == path), None)
        if self.number is None:
            self._choose_backing()
            self.fields["ser"].initial = new_serial()
        elif self.disk and self.disk.backing != Disk.Backing.PATH:
            self.add("size", _size(), sizes.text(self.disk.size))
            self.fields["size"].help_text = f"Larger only; the file system grows inside the guest. {path}"

    def _choose_backing(self) -> None:
        choices = [
            (value, label)
            for value, label in Disk.Backing.choices
            if self.may_root or value != Disk.Backing.PATH
        ]
        self.add("backing", forms.ChoiceField(choices=choices, label="Kept as"), Disk.Backing.VOLUME)
        self.add("size", _size(), "20G")
        self.fields["size"].required = False
        if self.may_root:
            help_text = "Of a path on the host alone: a volume or an image, which bHype never destroys."
            self.add(
                "path", forms.CharField(required=False, max_length=255, label="Path", help_text=help_text), ""
            )

    def groups(self) -> list[Group]:
        first = ("bus", "backing", "size", "path")
        return [Group("", self.pick(*first)), Group("More", self.rest(*first), is_more=True)]

    def clean(self) -> Document:
        chosen = self.cleaned_data
        if self.number is None and chosen.get("backing") == Disk.Backing.PATH:
            if not chosen.get("path"):
                self.add_error("path", "Say where it lies on the host.")
        elif "size" in self.fields and not chosen.get("size") and "size" not in self.errors:
            self.add_error("size", "Give a size such as 20G.")
        return chosen

    def entry_written(self) -> Document:
        found, chosen = super().entry_written(), self.cleaned_data
        found["device"] = chosen["bus"]
        if self.number is None:
            found["path"] = (
                chosen["path"]
                if chosen["backing"] == Disk.Backing.PATH
                else plan.new_disk_path(self.vm, chosen["backing"])
            )
        if chosen.get("size") and chosen.get("backing") != Disk.Backing.PATH:
            self.sizes[str(found["path"])] = chosen["size"]
        # What the new bus does not know is left behind.
        known = {"device", "slot", "path", *KINDS[chosen["bus"]].options}
        return {key: value for key, value in found.items() if key in known}


def _size() -> SizeField:
    return SizeField(max_length=20, label="Size", help_text="Such as 20G.")


class NicForm(DeviceForm):
    """A network port: on a switch, or with another backend for those who hold the right vms.root."""

    _OF_BACKEND = ("type", "name", "bridge", "path", "peerhook", "hook", "socket", "hostfwd")
    STANDS_FOR = {"bridge": "switch"}
    WITHOUT = ("description",)

    def setup(self) -> None:
        switches = list(self.vm.host.switches.all())
        choices = [(one.interface, f"{one.name} ({one.get_kind_display()})") for one in switches]
        self.is_on_switch = self.entry.get("bridge") in dict(choices) or self.number is None
        if self.may_root or not self.is_on_switch:
            choices.append((OTHER, "another backend"))
        current = self.entry.get("bridge", choices[0][0] if choices else "") if self.is_on_switch else OTHER
        self.add("switch", forms.ChoiceField(choices=choices, label="Switch"), current)
        models = forms.ChoiceField(choices=Nic.Model.choices, label="Model", help_text="VirtIO is fastest.")
        self.add("model", models, self.kind)
        if self.number is not None:
            self.add("new_mac", forms.BooleanField(required=False, label="Give it a new MAC address"))
        self.fields["mac"].help_text = "Empty: a new one." if self.number is None else "As the guest sees it."
        for name in self._OF_BACKEND:
            self.fields[name].initial = "" if self.is_on_switch else self.fields[name].initial
            if not self.may_root:
                self.lock(name)

    def groups(self) -> list[Group]:
        first = ("switch", "model", "mac", "new_mac", "link")
        backend = self.pick(*self._OF_BACKEND) if self.may_root else []
        more = self.rest(*first, *self._OF_BACKEND)
        return [
            Group("", self.pick(*first)),
            Group("More", more, is_more=True),
            *(
                [
                    Group(
                        "Another backend",
                        backend,
                        is_more=True,
                        help="Where the switch is “another backend”.",
                    )
                ]
                if backend
                else []
            ),
        ]

    def entry_written(self) -> Document:
        chosen = self.cleaned_data
        found = super().entry_written()
        found["device"] = chosen["model"]
        if chosen["switch"] != OTHER:
            kept = {key: value for key, value in found.items() if key not in self._OF_BACKEND}
            same = {"name": self.entry["name"]} if self.is_on_switch and "name" in self.entry else {}
            found = {**kept, **same, "type": "tap", "bridge": chosen["switch"], "fix": True}
        elif self.is_on_switch:
            found = {key: value for key, value in found.items() if key not in {"fix", "description"}}
            given = {key: chosen.get(key) for key in self._OF_BACKEND}
            found = {**{key: value for key, value in found.items() if key not in given}, **given}
            found = {key: value for key, value in found.items() if value is not None}
        if chosen.get("new_mac") or (self.number is None and not chosen.get("mac")):
            found["mac"] = plan.new_mac()
        return found

    def live(self, change: Change) -> list[tuple[str, dict[str, Any]]]:
        """Cable and rates are changed while the guest runs."""
        nic = next((nic for nic in change.vm.nics.all() if nic.mac == self._mac(change)), None)
        if nic is None or self.number is None:
            return []
        before, after = self.entry, nic.options
        asked: list[tuple[str, dict[str, Any]]] = []
        if before.get("link", "up") != after.get("link", "up"):
            asked.append(("vms.set_link", {"nic_id": nic.pk, "link": after.get("link", "up")}))
        rates = {key: after.get(key) for key in ("rate_in", "rate_out")}
        if any(before.get(key) != value for key, value in rates.items()):
            asked.append(("vms.set_limits", {"vm_id": self.vm.pk, "rates": {nic.mac: rates}}))
        return asked

    def _mac(self, change: Change) -> str:
        slot = self.cleaned_data.get("slot") or self.entry.get("slot")
        return next(
            (str(entry.get("mac")) for entry in change.after["emulations"] if entry.get("slot") == slot), ""
        )


def device_form(kind: str) -> type[DeviceForm]:
    """The form of a device of that kind."""
    if kind in Disk.Bus.values:
        return DiskForm
    if kind in Nic.Model.values:
        return NicForm
    return {"ahci-cd": CdForm, "passthru": PassthruForm}.get(kind, DeviceForm)


# What the menu calls them.
KIND_OF = {"disk": Disk.Bus.VIRTIO.value, "nic": Nic.Model.VIRTIO.value}
