"""The forms of a VM's devices: by their tables, and what those cannot say: sizes of disks, switches, media."""

from __future__ import annotations

import copy
from typing import Any

from django import forms

from bhype.accounts.models import User
from bhype.hosts.models import PciDevice
from bhype.hosts.pci import ALLOWING
from bhype.vmrun.devices import KINDS
from network.models import Switch
from storage.models import Iso
from vms import plan, sizes, wanted
from vms.forms import SizeField
from vms.models import VM, Disk, Nic, new_serial
from vms.wanted import Change

from .forms import OTHER, Group, HardwareForm
from .tables import Data, Document, device_options

MEMORY = "ram"
# What somebody adds who does not yet think of its model.
NEW = {"virtio-blk": "Add a disk", "virtio-net": "Add a network port"}


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
        label = KINDS[self.kind].label
        return label if self.number is not None else NEW.get(self.kind, f"Add: {label}")

    @property
    def help(self) -> str:
        return KINDS[self.kind].help

    def setup(self) -> None:
        """Add the fields that are not keys."""

    def is_set(self, name: str) -> bool:
        return name != "slot" and super().is_set(name)

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

    @property
    def help(self) -> str:
        host = self.vm.host
        why_not = "" if host.features.get("passthru") else f" {host.name} gives no devices to VMs. {ALLOWING}"
        return super().help + why_not

    def setup(self) -> None:
        known = PciDevice.objects.filter(host=self.vm.host, is_reserved=True)
        choices = [
            (f"{one.bus}:{one.slot}:{one.function}", f"{one.name or one.identity} ({one.place})")
            for one in known
        ]
        current = str(self.entry.get("src", "")).replace("/", ":")
        if current and current not in dict(choices):
            choices.append((current, current))
        if "lookup" in self.entry:
            return
        self.fields["src"].required = self.may_root
        if choices and self.may_root:
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
        choices.append((MEMORY, "Memory, empty at each start (NVMe)"))
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
        if chosen.get("backing") == MEMORY:
            return self._known({**found, "ram": chosen["size"] >> 20}, Disk.Bus.NVME)
        found["device"] = chosen["bus"]
        if self.number is None:
            found["path"] = (
                chosen["path"]
                if chosen["backing"] == Disk.Backing.PATH
                else plan.new_disk_path(self.vm, chosen["backing"])
            )
        if chosen.get("size") and chosen.get("backing") != Disk.Backing.PATH:
            self.sizes[str(found["path"])] = chosen["size"]
        return self._known(found, chosen["bus"])

    def _known(self, entry: Document, bus: str) -> Document:
        """The entry on ``bus``; what that does not know is left behind."""
        known = {"slot", "path", *KINDS[bus].options}
        return {"device": bus, **{key: value for key, value in entry.items() if key in known}}


def _size() -> SizeField:
    return SizeField(max_length=20, label="Size", help_text="Such as 20G.")


def _switch_label(switch: Switch) -> str:
    words = [switch.get_kind_display()]
    if switch.technology != switch.Technology.BRIDGE:
        words.append(switch.get_technology_display())
    if switch.is_waiting:
        words.append("has no uplink yet")
    return f"{switch.name} ({', '.join(words)})"


class NicForm(DeviceForm):
    """A network port: on a switch, or with another backend for those who hold the right vms.root."""

    _OF_BACKEND = ("type", "name", "bridge", "path", "peerhook", "hook", "socket", "hostfwd")
    at_once = ", its switch, cable and limits at once"
    STANDS_FOR = {"bridge": "switch"}
    WITHOUT = ("description",)

    def setup(self) -> None:
        switches = list(self.vm.host.switches.by_use())
        choices = [(one.interface, _switch_label(one)) for one in switches]
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
        if not self.user.can("network.change"):
            for name in wanted.OF_NETWORK:
                self.lock(name, "Those who may change networks choose it.")

    def is_set(self, name: str) -> bool:
        return not (name in self._OF_BACKEND and self.is_on_switch) and super().is_set(name)

    def groups(self) -> list[Group]:
        first = ("switch", "model", "mac", "new_mac", "link", *wanted.OF_NETWORK)
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
        """Cable, rates and the switch are changed while the guest runs."""
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
        new = next(entry for entry in change.after["emulations"] if entry.get("mac") == nic.mac)
        if before.get("type", "tap") == new.get("type") == "tap" and any(
            before.get(key) != new.get(key) for key in ("bridge", *wanted.OF_NETWORK)
        ):
            asked.append(("vms.plug", {"nic_id": nic.pk}))
        return asked

    def _mac(self, change: Change) -> str:
        slot = self.cleaned_data.get("slot") or self.entry.get("slot")
        return next(
            (str(entry.get("mac")) for entry in change.after["emulations"] if entry.get("slot") == slot), ""
        )


def device_form(kind: str, entry: Document | None = None) -> type[DeviceForm]:
    """The form of a device of that kind: of a new one, or of what ``entry`` says."""
    if kind in Disk.Bus.values and (entry is None or "path" in entry):
        return DiskForm
    if kind in Nic.Model.values:
        return NicForm
    return {"ahci-cd": CdForm, "passthru": PassthruForm}.get(kind, DeviceForm)


# What the menu calls them.
KIND_OF = {"disk": Disk.Bus.VIRTIO.value, "nic": Nic.Model.VIRTIO.value}
