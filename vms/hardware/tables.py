"""Forms made from vmrun's tables: each key of a vm.json has its label, help, choices and check there, and only there.

A form shows a part of a document (a device, or some of the main keys) and gives the part back changed.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from bhype.vmrun.devices import KINDS
from bhype.vmrun.keys import KEYS
from bhype.vmrun.options import Option
from vms.wanted import Fault, WantedError

Document = dict[str, Any]
Data = Mapping[str, Any] | None
NEEDS_ROOT = "Needs the right vms.root: it is as much as being root on the host."
TEXT_MAX = 1 << 16
# usr.sbin/bhyve/kbdlayout of FreeBSD: the names of its files.
_LAYOUTS = """
default am be be_acc bg_bds bg_phonetic br br_noacc centraleuropean ch ch_acc ch_macbook_acc ch-fr ch-fr_acc cz de
de_acc de_noacc dk dk_macbook ee es es_acc es_dvorak fi fr fr_acc fr_dvorak fr_dvorak_acc fr_macbook gr gr_101_acc
gr_elot_acc hr hu_101 hu_102 is is_acc it jp jp_capsctrl kz_io kz_kst latinamerican latinamerican_acc lt nl no
no_dvorak nordic_asus-eee pl_dvorak pt pt_acc ru ru_shift ru_win se si tr tr_f ua ua_shift_alt uk uk_capsctrl
uk_dvorak uk_macbook us_dvorak us_dvorakl us_dvorakp us_dvorakr us_dvorakx us_emacs us_unix
"""
LAYOUTS = tuple(_LAYOUTS.split())

# What a list of devices shows beside each kind.
ICONS = {
    "virtio-blk": "database", "nvme": "database", "ahci-hd": "database", "ahci": "server-2", "virtio-scsi": "server-2",
    "ahci-cd": "disc", "virtio-net": "network", "e1000": "network", "virtio-9p": "folder", "passthru": "cpu-2",
    "hda": "volume", "virtio-rnd": "hash", "virtio-console": "terminal-2", "uart": "terminal",
    "virtio-input": "keyboard", "xhci": "pointer", "raw": "braces",
}  # fmt: skip
# The menu of what can be added: its heads, and behind each the addresses of the pages with their words.
_SHARED = ("virtio-9p", "hda", "virtio-rnd", "uart", "virtio-console")
_OF_HOST = ("passthru", "virtio-scsi", "virtio-input", "ahci", "raw")
MENU = (
    ("Storage", (("disk", "Disk"), ("ahci-cd", KINDS["ahci-cd"].label))),
    ("Network", (("nic", "Network port"),)),
    ("Sharing and security", (("tpm", "TPM"), *((kind, KINDS[kind].label) for kind in _SHARED))),
    ("Of the host", tuple((kind, KINDS[kind].label) for kind in _OF_HOST)),
)
# Of these the least that can be said equals root.
ROOT_KINDS = frozenset({"virtio-9p", "hda", "passthru", "virtio-scsi", "virtio-input", "ahci", "raw"})


# Values as text, and back.


def text_of(option: Option, value: Any) -> Any:
    """A value of the document as a form shows it."""
    if value is None:
        return ""
    if option.kind == "flag":
        return bool(value)
    if _has_numbers(option) and isinstance(value, list):
        return " ".join(map(str, value))
    if option.kind == "list" and isinstance(value, list):
        return "\n".join(
            shlex.quote(one) if isinstance(one, str) and " " in one else str(one) for one in value
        )
    if option.kind == "table" and isinstance(value, dict):
        return "\n".join(f"{key}={_joined(one)}" for key, one in value.items())
    if option.kind == "tables":
        rows = value if isinstance(value, list) else [value]
        if option.short and not any(isinstance(row, dict) and len(row) > 1 for row in rows):
            return "\n".join(str(row.get(option.short) if isinstance(row, dict) else row) for row in rows)
        return json.dumps(rows, indent=1)
    return str(value)


def _has_numbers(option: Option) -> bool:
    return option.kind == "list" and isinstance(option.default, list)


def _joined(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def value_of(option: Option, text: str) -> Any:
    """What the document is to have for a text that is not empty. Raises ValueError with a sentence."""
    if option.kind == "number" and re.fullmatch(r"-?[0-9]{1,15}", text):
        return int(text)
    if option.kind == "list":
        words = [word for line in text.splitlines() for word in shlex.split(line)]
        are_numbers = _has_numbers(option) and all(word.isdecimal() for word in words)
        return [int(word) for word in words] if are_numbers else words
    if option.kind == "table":
        return dict(_pair(line) for line in text.splitlines() if line.strip())
    if option.kind == "tables":
        return _rows(option, text)
    return text


def _pair(line: str) -> tuple[str, str]:
    key, equals, value = line.partition("=")
    if not equals:
        raise ValueError(f"{line.strip()!r} is not of the form name=value.")
    return key.strip(), value.strip()


def _rows(option: Option, text: str) -> Any:
    if option.short and not text.lstrip().startswith("["):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"This is not JSON: {error}.") from error


class OptionField(forms.CharField):
    """One key as text; the cleaned value is what the document has, None for none."""

    def __init__(self, option: Option, **more: Any) -> None:
        lines = (
            option.kind in {"list", "table", "tables"} and not _has_numbers(option)
        ) or option.key == "config"
        if lines:
            more.setdefault(
                "widget", forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "class": "mono"})
            )
        super().__init__(
            required=option.is_required,
            label=option.label,
            help_text=_help(option),
            max_length=TEXT_MAX,
            **more,
        )
        self.option = option
        if option.kind == "number":
            self.widget.attrs["inputmode"] = "numeric"
        if option.kind == "path":
            self.widget.attrs.update(spellcheck="false", autocapitalize="none")

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value)).replace("\r\n", "\n")
        if not text:
            return None
        try:
            found = value_of(self.option, text)
            _check(self.option, found)
        except (ValueError, TypeError) as error:
            raise ValidationError(_sentence(str(error))) from error
        return found


class ChoiceOption(forms.TypedChoiceField):
    """One key with few values; the cleaned value is one of them, None for the default."""

    def __init__(self, option: Option, **more: Any) -> None:
        default = f"{option.default} (default)" if option.default is not None else "not set"
        empty = [] if option.is_required else [("", default)]
        given = [
            (str(one), str(one)) for one in option.choices if one != option.default or option.is_required
        ]
        kind = int if option.choices and isinstance(option.choices[0], int) else str
        super().__init__(
            choices=[*empty, *given], coerce=kind, empty_value=None, required=option.is_required, label=option.label,
            help_text=_help(option), **more,
        )  # fmt: skip


def field_of(option: Option) -> forms.Field:
    """The form field of one key."""
    if option.kind == "flag":
        return forms.BooleanField(required=False, label=option.label, help_text=option.help)
    if option.choices:
        return ChoiceOption(option)
    return OptionField(option)


def _help(option: Option) -> str:
    unit = f" In {option.unit}." if option.unit and option.kind != "size" else ""
    lines = {"list": " One on each line.", "table": " name=value on each line.", "tables": " A JSON list."}
    kind = lines.get(option.kind, "") if not option.short else " One on each line, or a JSON list."
    default = (
        f" Default: {option.default}."
        if option.default not in (None, "", []) and option.kind != "flag"
        else ""
    )
    return f"{option.help}{unit}{kind}{default}".strip()


def _check(option: Option, value: Any) -> None:
    if option.kind == "tables":
        for row in option.check(value):
            if isinstance(row, dict):
                for key, inner in option.options.items():
                    if row.get(key) is not None:
                        inner.read(row[key])
    else:
        option.read(value)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


class DocumentForm(forms.Form):
    """Some keys of a part of a document. ``written`` is that part with what the person said.

    options: by the name of the field, which is a key, or "table.key" for one inside another; where: how faults name
    this part. A key that equals root is shown to others than its holders, but cannot be changed by them.
    """

    # The field that stands for a key that has none of its own.
    STANDS_FOR: Mapping[str, str] = {}
    revision = forms.IntegerField(required=False, min_value=0, max_value=2**31 - 1, widget=forms.HiddenInput)

    def __init__(
        self,
        data: Data,
        *,
        options: Mapping[str, Option],
        part: Document,
        where: str,
        may_root: bool = False,
        revision: int | None = None,
    ) -> None:
        super().__init__(data)
        self.options, self.part, self.where = dict(options), part, where
        self.is_stale = False
        self.fields["revision"].initial = revision
        for name, option in self.options.items():
            value = self._value(name)
            # The default has no word of its own among the choices.
            is_default = option.choices and value == option.default and not option.is_required
            self.add(name, field_of(option), "" if is_default else text_of(option, value))
            if option.equals_root is True and not may_root:
                self.lock(name)

    def add(self, name: str, field: forms.Field, initial: Any = None) -> None:
        field.initial = initial
        self.fields[name] = field

    def lock(self, name: str, why: str = NEEDS_ROOT) -> None:
        """Show the field as it is; what is sent for it counts for nothing."""
        self.fields[name].disabled = True
        self.fields[name].help_text = why

    def pick(self, *names: str) -> list[forms.BoundField]:
        return [self[name] for name in names if name in self.fields]

    def rest(self, *names: str) -> list[forms.BoundField]:
        """The fields that are not among ``names``, nor hidden."""
        return [self[name] for name in self.fields if name not in names and name != "revision"]

    def _value(self, name: str) -> Any:
        key, _, inner = name.partition(".")
        value = self.part.get(key)
        if inner:
            value = value.get(inner) if isinstance(value, dict) else None
        if value is None and self.options[name].kind == "flag":
            return self.options[name].default
        return value

    def is_set(self, name: str) -> bool:
        """Whether the field says something else than what holds by default."""
        if name not in self.options:
            return bool(self.fields[name].initial)
        return self._value(name) not in (None, self.options[name].default)

    def written(self) -> Document:
        """The part with what was said. Keys that were not touched stay as they were written."""
        found = json.loads(json.dumps(self.part))
        for name, option in self.options.items():
            if name not in self.cleaned_data or self.fields[name].disabled:
                continue
            new, old = self.cleaned_data[name], self._value(name)
            if option.kind == "flag":
                if bool(new) != bool(old):
                    _put(found, name, None if bool(new) == bool(option.default) else bool(new))
            elif new is None:
                if not (option.choices and old == option.default):
                    _put(found, name, None)
            elif text_of(option, new) != text_of(option, old):
                _put(found, name, new)
        return {key: value for key, value in found.items() if value not in (None, {})}

    def refuse(self, error: WantedError) -> None:
        """Put what `wanted.apply` has found beside the fields."""
        self.is_stale = error.is_stale
        for fault in error.faults:
            name = self._name_of(fault)
            text = _sentence(fault.message)
            if name:
                self.add_error(name, text)
            else:
                place = "" if fault.where == "vm" else f"{fault.where}: "
                label = (
                    KEYS[fault.field].label if fault.where == "vm" and fault.field in KEYS else fault.field
                )
                self.add_error(None, f"{place}{label}: {text}" if label else f"{place}{text}")

    def _name_of(self, fault: Fault) -> str | None:
        """The field that a fault is about. Of a disk the second word of its place is its bus, which may be new."""
        inside = [f"{fault.where}.{fault.field}", self.STANDS_FOR.get(fault.where, "")]
        is_here = fault.where.partition(" ")[0] == self.where.partition(" ")[0]
        here = [fault.field, self.STANDS_FOR.get(fault.field, "")] if is_here else []
        return next((name for name in (*here, *inside) if name in self.fields), None)


def _put(target: Document, name: str, value: Any) -> None:
    key, _, inner = name.partition(".")
    if inner:
        table = target.setdefault(key, {})
        if value is None:
            table.pop(inner, None)
        else:
            table[inner] = value
    elif value is None:
        target.pop(key, None)
    else:
        target[key] = value


def nested(table: Option, without: Iterable[str] = ()) -> dict[str, Option]:
    """The keys of a table, named as fields of a form."""
    return {
        f"{table.key}.{key}": replace(option, is_required=False)
        for key, option in table.options.items()
        if key not in without
    }


def main_keys(*names: str) -> dict[str, Option]:
    return {name: KEYS[name] for name in names}


def device_options(kind: str, without: Iterable[str] = ()) -> dict[str, Option]:
    """The keys of a device as fields; a table inside it key by key."""
    found: dict[str, Option] = {}
    for key, option in KINDS[kind].options.items():
        if key in without:
            continue
        if option.kind == "table" and option.options:
            found |= {
                f"{key}.{inner}": replace(one, is_required=False, equals_root=True)
                for inner, one in option.options.items()
            }
        else:
            found[key] = option
    return found
