"""What a guest is told at its first boot, as a form: on a VM's own page, and as a part of the form that deploys one.

`values` gives what VM.cloud_init stores. Of a password only the hash goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms

from bhype import cloudinit
from bhype.accounts.models import SshKey, User
from bhype.cloudinit import Invalid, Port, Problem
from storage.models import Image
from vms import plan
from vms.models import Snippet

from .changes import INSTALLERS, NO_HASH

Data = Mapping[str, Any] | None
Values = dict[str, Any]
PASSWORD_MAX = 256
MODES = [("", "as the image has it"), ("dhcp", "DHCP"), ("static", "fixed addresses")]
POOL = "pool"
DEVICES = [("virtio-blk", "VirtIO disk, read-only"), ("ahci-cd", "CD (AHCI)")]
_TEXT = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
# Where a problem with a part of a port is shown.
_OF_PORT = {
    "networks.addresses": "addresses",
    "networks.gateway4": "gateways",
    "networks.gateway6": "gateways",
    "networks.nameservers": "nameservers",
    "networks.search": "search",
}


@dataclass(frozen=True, slots=True)
class PortFields:
    """The fields of one network port."""

    index: int
    label: str
    mode: forms.BoundField
    fields: list[forms.BoundField]


def _line(label: str, help_text: str = "", **more: Any) -> forms.CharField:
    return forms.CharField(
        required=False,
        max_length=300,
        label=label,
        help_text=help_text,
        widget=forms.TextInput(attrs=_TEXT),
        **more,
    )


def _text(label: str, help_text: str, rows: int) -> forms.CharField:
    widget = forms.Textarea(attrs={**_TEXT, "rows": rows, "class": "font-monospace", "wrap": "off"})
    return forms.CharField(
        required=False, max_length=1 << 16, label=label, help_text=help_text, widget=widget, strip=False
    )


class CloudInitForm(forms.Form):
    """ports: the VM's network ports, by number and label; free: by number, a port's settings with the next free
    addresses of its switch (`vms.addresses.ties.proposals`); current: what is stored now; kind: which program the guest
    has, unless that is stored; with_installer: whether the seed may be for an installer, too."""

    kind = forms.ChoiceField(
        choices=[choice for choice in Image.CloudInit.choices if choice[0]],
        label="The guest has",
        help_text="nuageinit is FreeBSD's own, from 14.1 on.",
    )
    user = _line(
        "User", "Made in the guest, and may become root by sudo. Empty: the user that the image has."
    )
    password = forms.CharField(
        required=False, max_length=PASSWORD_MAX, strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Only its hash is kept. Empty: nobody signs in by password.",
    )  # fmt: skip
    no_password = forms.BooleanField(required=False, label="Take the password away")
    profile_keys = forms.ModelMultipleChoiceField(
        SshKey.objects.none(), required=False, widget=forms.CheckboxSelectMultiple, label="Your SSH keys"
    )
    ssh_keys = _text("Further SSH keys", "One a line, as in a .pub file.", 2)
    hostname = _line("Host name", "Empty: the VM's name.")
    fqdn = _line(
        "Full name",
        "Such as web1.example.org.",
    )
    timezone = _line("Time zone", "Such as Europe/Rome.")
    locale = _line("Locale", "Such as en_US.UTF-8.")
    packages = _line("Packages", "Installed at the first boot; words between spaces.")
    snippets = forms.ModelMultipleChoiceField(
        Snippet.objects.none(), required=False, widget=forms.CheckboxSelectMultiple, label="From the library"
    )
    user_data = _text("User-data", "Begins with #cloud-config, or is a script that begins with #!/bin/sh.", 8)
    eject = forms.BooleanField(
        required=False,
        label="Take the seed out when its work is done",
        help_text="At the start after the guest has said on its serial console that all is done.",
    )
    installer = forms.ChoiceField(
        choices=[("", "cloud-init in the guest"), *INSTALLERS.items()], required=False, label="The seed is for",
        help_text="An installer gets these settings as its answers, on a CD. Windows' makes a user without a password.",
    )  # fmt: skip
    answers = forms.ModelChoiceField(
        Snippet.objects.none(), required=False, label="Answers", empty_label="built in",
        help_text="From the library, in place of the built-in ones.",
    )  # fmt: skip
    device = forms.ChoiceField(choices=DEVICES, required=False, label="It sees the seed as")

    def __init__(
        self,
        data: Data = None,
        *,
        user: User,
        ports: Sequence[tuple[int, str]] = (),
        free: Mapping[int, Values] | None = None,
        current: Values | None = None,
        kind: str = "",
        with_installer: bool = False,
        **more: Any,
    ) -> None:
        self.current = dict(current or {})
        self.person = user
        self.ports, self.free = list(ports), dict(free or {})
        self.warnings: list[Problem] = []
        keys = SshKey.objects.visible_to(user)
        stored = list(self.current.get("ssh_keys") or ())
        mine = {key.pk: key.text for key in keys}
        super().__init__(data, initial=self._initial(kind, mine, stored), **more)
        self._choices("profile_keys", keys)
        known = Snippet.objects.visible_to(user) | Snippet.objects.filter(
            pk__in=self.current.get("snippets") or ()
        )
        usable = known.filter(kind__in=(Snippet.Kind.USER_DATA, Snippet.Kind.SCRIPT))
        self._choices("snippets", usable)
        if with_installer:
            self._choices("answers", known.filter(kind__in=INSTALLERS))
        else:
            del self.fields["installer"], self.fields["answers"]
        if not self.current.get("password_hash"):
            del self.fields["no_password"]
        else:
            self.fields["password"].help_text = "One is set. Empty: it stays. Only its hash is kept."
        self._scripts()
        for index, _ in self.ports:
            self._port(index)

    def _choices(self, name: str, rows: Any) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101
        field.queryset = rows

    def _initial(self, kind: str, mine: dict[int, str], stored: list[str]) -> Values:
        found = {
            key: self.current.get(key) or "" for key in ("user", "hostname", "fqdn", "timezone", "locale")
        }
        is_new = not self.current
        return {
            **found,
            "kind": self.current.get("kind") or kind or Image.CloudInit.CLOUD_INIT.value,
            # A new guest gets the keys of who makes it.
            "profile_keys": [key for key, text in mine.items() if is_new or text in stored],
            "ssh_keys": "\n".join(text for text in stored if text not in mine.values()),
            "packages": " ".join(self.current.get("packages") or ()),
            "snippets": self.current.get("snippets") or [],
            "user_data": self.current.get("user_data") or "",
            "eject": bool(self.current.get("eject")),
            "installer": self.current.get("installer") or "",
            "answers": self.current.get("answers") or None,
            "device": self.current.get("device") or plan.SEED_DEVICES[0],
        }

    def _scripts(self) -> None:
        """One field for each script, and one more."""
        scripts = list(self.current.get("scripts") or ())
        posted = sum(self.add_prefix(f"script{number}") in self.data for number in range(32))
        for number in range(min(max(len(scripts) + 1, posted), 16)):
            label = "Script" if number == 0 else f"Script {number + 1}"
            field = _text(label, "Runs once as root, after all else. Begins with #!/bin/sh.", 4)
            field.initial = scripts[number] if number < len(scripts) else ""
            self.fields[f"script{number}"] = field

    def _port(self, index: int) -> None:
        stored = next((each for each in self.current.get("networks") or () if each.get("nic") == index), None)
        mode = "" if stored is None else "static" if stored.get("addresses") else "dhcp"
        one: Values = stored or {}
        gateways = " ".join(filter(None, (one.get("gateway4"), one.get("gateway6"))))
        self.fields |= {
            f"net{index}_mode": forms.ChoiceField(
                choices=self._modes(index), required=False, label="Addresses", initial=mode,
                help_text="As the image has it is mostly DHCP on the first port.",
            ),
            f"net{index}_addresses": _line(
                "Fixed addresses", "With prefix: 10.0.0.5/24 fd00::5/64", initial=" ".join(one.get("addresses") or ())
            ),
            f"net{index}_gateways": _line("Gateways", "IPv4 and IPv6.", initial=gateways),
            f"net{index}_nameservers": _line("Name servers", initial=" ".join(one.get("nameservers") or ())),
            f"net{index}_search": _line("Search domains", initial=" ".join(one.get("search") or ())),
        }  # fmt: skip

    def _modes(self, index: int) -> list[tuple[str, str]]:
        if index not in self.free:
            return MODES
        words = ", ".join(word.partition("/")[0] for word in self.free[index]["addresses"])
        return [*MODES, (POOL, f"next free of the switch ({words})")]

    # Shown.

    def scripts(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name.startswith("script")]

    def port_fields(self) -> list[PortFields]:
        names = ("addresses", "gateways", "nameservers", "search")
        return [
            PortFields(index, label, self[f"net{index}_mode"], [self[f"net{index}_{name}"] for name in names])
            for index, label in self.ports
        ]

    # Read.

    def clean(self) -> Values:
        data = super().clean() or {}
        if not self.errors:
            self._check(data)
        return data

    def values(self) -> Values:
        """What VM.cloud_init stores, of a valid form. {} when nothing was said at all."""
        return self._values

    def _check(self, data: Values) -> None:
        values = self._read(data)
        try:
            settings = cloudinit.parse(values)
            problems = cloudinit.check(settings.user_data, settings.kind)
            self.warnings = [problem for problem in problems if problem.is_warning]
            if faults := [problem for problem in problems if not problem.is_warning]:
                raise Invalid(faults)
            ports = [Port(index, "02:00:00:00:00:01") for index, _ in self.ports]
            self._check_answers(data, settings)
            pieces = [cloudinit.Snippet(row.kind, row.name, row.text) for row in data["snippets"]]
            cloudinit.documents(settings, ports, "new", "new", pieces)
        except Invalid as invalid:
            self.refuse(invalid.problems)
        password = data.get("password")
        if password:
            values["password_hash"] = cloudinit.hash_password(password)
        elif self.current.get("password_hash") and not data.get("no_password"):
            values["password_hash"] = self.current["password_hash"]
        self._values = values

    def _check_answers(self, data: Values, settings: cloudinit.Settings) -> None:
        if not settings.installer:
            return
        row = data["answers"]
        if row and row.kind != settings.installer:
            raise Invalid(
                [Problem("answers", f"{row.name} is for another installer: {row.get_kind_display()}.")]
            )
        if settings.installer == Snippet.Kind.AUTOUNATTEND:
            if data.get("password"):
                raise Invalid([Problem("password_hash", NO_HASH)])
        elif not (settings.user and (data.get("password") or self.current.get("password_hash"))):
            raise Invalid([Problem("user", "An installer makes the user: give a name and a password.")])
        cloudinit.answers(settings, "new", "new", row.text if row else "")

    def _read(self, data: Values) -> Values:
        """All but the password."""
        typed = [line.strip() for line in data["ssh_keys"].splitlines() if line.strip()]
        networks = [port for index, _ in self.ports if (port := self._network(data, index))]
        scripts = [data[name] for name in self.fields if name.startswith("script") and data[name].strip()]
        found: Values = {
            "user": data["user"].strip(),
            "ssh_keys": list(dict.fromkeys([*(key.text for key in data["profile_keys"]), *typed])),
            "hostname": data["hostname"].strip(),
            "fqdn": data["fqdn"].strip(),
            "timezone": data["timezone"].strip(),
            "locale": data["locale"].strip(),
            "packages": data["packages"].replace(",", " ").split(),
            "networks": networks,
            "snippets": [row.pk for row in data["snippets"]],
            "user_data": data["user_data"].replace("\r\n", "\n") if data["user_data"].strip() else "",
            "scripts": [script.replace("\r\n", "\n") for script in scripts],
            "eject": data["eject"],
        }
        if data.get("installer"):
            found |= {"installer": data["installer"], "answers": data["answers"].pk if data["answers"] else 0}
        kept = {key: value for key, value in found.items() if value}
        # Installers look for a CD, and take the one disk that there is.
        device = plan.SEED_DEVICES[1] if kept.get("installer") else data["device"] or plan.SEED_DEVICES[0]
        return {"kind": data["kind"], "device": device, **kept}

    def _network(self, data: Values, index: int) -> Values | None:
        mode = data[f"net{index}_mode"]
        if not mode:
            return None
        if mode == POOL:
            return self.free[index]
        words = {
            key: data[f"net{index}_{key}"].replace(",", " ").split()
            for key in ("addresses", "gateways", "nameservers", "search")
        }
        found: Values = {"nic": index, "dhcp": mode == "dhcp"}
        if mode == "static":
            found["addresses"] = words["addresses"]
            for gateway in words["gateways"]:
                found["gateway6" if ":" in gateway else "gateway4"] = gateway
        return {**found, **{key: words[key] for key in ("nameservers", "search") if words[key]}}

    def refuse(self, problems: Iterable[Problem]) -> None:
        """Put each problem beside the field it is about."""
        for problem in problems:
            self.add_error(self._field_of(problem), str(problem))

    def _field_of(self, problem: Problem) -> str | None:
        name = problem.field
        if part := _OF_PORT.get(name):
            for index, _ in self.ports:
                entry = self._network(self.cleaned_data, index)
                if entry and _is_about(entry, problem):
                    return f"net{index}_{part}"
        if name == "scripts":
            texts = {key: self.cleaned_data[key] for key in self.fields if key.startswith("script")}
            wrong = [key for key, text in texts.items() if text.strip() and not text.startswith("#!")]
            return wrong[0] if wrong else "script0"
        if name == "password_hash":
            return "password"
        return name if name in self.fields else None


def _is_about(entry: Values, problem: Problem) -> bool:
    # Whose an address is, the settings alone do not tell.
    if any(problem.message.startswith(f"{word.partition('/')[0]} ") for word in entry.get("addresses", ())):
        return True
    try:
        cloudinit.parse({"networks": [entry]})
    except Invalid as invalid:
        return problem in invalid.problems
    return False
