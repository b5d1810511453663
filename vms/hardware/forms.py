"""The forms of a VM's main keys, in sections. Each gives back a whole document.

What the tables of vmrun cannot say is here: the shape of the processor, firmware, the screen and its lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms

from bhype.accounts.models import User
from bhype.vmrun.config import COMS
from bhype.vmrun.keys import FLAGS, KEYS
from bhype.vmrun.options import Option
from vms import plan, sizes
from vms.models import VM
from vms.wanted import Change

from . import pins
from .tables import LAYOUTS, Data, Document, DocumentForm, main_keys, nested, text_of

PINS_SHOWN = 64
OFF, OWN, OTHER = "", "own", "other"


@dataclass(frozen=True)
class Group:
    """Fields under one heading. is_more: what few people need; folded unless something in it is set or wrong."""

    title: str
    fields: list[forms.BoundField]
    is_more: bool = False
    help: str = ""
    columns: int = 2

    @property
    def is_open(self) -> bool:
        return not self.is_more or any(field.errors or field.form.is_set(field.name) for field in self.fields)  # type: ignore[attr-defined]


class HardwareForm(DocumentForm):
    """A form about ``vm``; ``document`` is what is wanted now. ``sizes``: of disks that are new or grow."""

    title = ""
    # What of it a running guest gets at once, as the end of a sentence.
    at_once = ""

    def __init__(self, data: Data, *, vm: VM, user: User, document: Document, **more: Any) -> None:
        self.vm, self.user, self.document = vm, user, document
        self.may_root = user.can("vms.root")
        self.sizes: dict[str, int] = {}
        super().__init__(data, may_root=self.may_root, revision=vm.revision, **more)

    def groups(self) -> list[Group]:
        """The fields as the page shows them: all under no heading, unless a form knows better."""
        return [Group("", self.rest())]

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
    at_once = ", limits at once"
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
        self.others = pins.taken(self.vm, self.user)
        if self.others:
            help_text = "Otherwise a CPU that another VM has is refused."
            share = forms.BooleanField(required=False, label="Share CPUs with other VMs", help_text=help_text)
            self.add("share_cpus", share)

    def groups(self) -> list[Group]:
        host = f"The host has {self.vm.host.cpus} CPUs, from 0. " if self.vm.host.cpus else ""
        others = (
            f"Other VMs have {pins.told(self.others)}." if self.others else "No other VM has CPUs of its own."
        )
        return [
            Group("Processor", self.pick("sockets", "cores", "threads"), columns=3),
            Group("Memory", self.pick("mem", "wire_guest_mem")),
            Group("Limits", [*self.named("limits."), *self.pick("nice", "protect")], is_more=True),
            Group(
                "Pinning",
                [*self.named("pin"), *self.pick("share_cpus")],
                is_more=True,
                columns=3,
                help=f"Host CPUs as 2-3,6; empty for any. {host}{others}",
            ),
        ]

    def result(self) -> Document:
        found = self.written()
        chosen = self.cleaned_data
        found["cpu"] = {key: chosen[key] for key in ("sockets", "cores", "threads")}
        found["mem"] = chosen["mem"] if "mem" in self.changed_data else self.document["mem"]
        before = self.document.get("pinning") or {}
        pinning = {key: value for key, value in before.items() if int(key) >= PINS_SHOWN}
        # Without the CPUs that the VM has no more.
        count = chosen["sockets"] * chosen["cores"] * chosen["threads"]
        for number in range(min(self.vm.cpus, PINS_SHOWN, count)):
            if text := chosen.get(f"pin{number}"):
                pinning[str(number)] = text.replace(" ", "")
                mine = {str(number): pinning[str(number)]}
                if not chosen.get("share_cpus") and (taken := pins.conflict(before, mine, self.others)):
                    self.add_error(
                        f"pin{number}", f"Other VMs have it: {taken}. Choose another, or share it below."
                    )
        found["pinning"] = {key: value for key, value in pinning.items() if int(key) < count} or None
        return found

    def live(self, change: Change) -> list[tuple[str, dict[str, Any]]]:
        keys = ("limits", "nice", "protect")
        if all(change.before.get(key) == change.after.get(key) for key in keys):
            return []
        limits = {key: (change.after.get("limits") or {}).get(key) for key in KEYS["limits"].options}
        more = {key: change.after.get(key) for key in keys[1:]}
        return [("vms.set_limits", {"vm_id": self.vm.pk, "limits": limits, **more})]


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
        known = dict.fromkeys((*plan.SCREENS, size))
        choices = [(one, one.replace("x", " × ")) for one in known]  # noqa: RUF001
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
