"""The form of a deployment: one VM or many of one template."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from bhype import cloudinit
from bhype.accounts.models import SshKey, User
from bhype.cloudinit import Invalid
from bhype.freebsd import names
from bhype.hosts.models import Host
from bhype.tasks import Refused
from network.models import Switch
from storage.datasets.forms import OptionalPassphrase
from storage.models import Dataset
from vms import plan, sizes
from vms.addresses import ties
from vms.forms import RESERVED, TAKEN, SizeField, TagsField
from vms.models import VM, Snippet, Template
from vms.os_templates import documents
from vms.os_templates import rows as template_rows
from vms.os_templates.documents import Wishes
from vms.wanted import WantedError

from . import orders as deploy_orders
from .names import BATCH_MAX, BadPattern, addresses_of, names_of
from .orders import Order, Outcome

TYPED = "typed"
ADDRESSING = (
    ("", "by DHCP"),
    (ties.LEASE, "static lease (DHCP gives always the same)"),
    (ties.POOL, "next free of the pool (set in the guest)"),
    (TYPED, "typed under Advanced (set in the guest)"),
)
# Where a document or the settings of cloud-init say what a field says.
_FIELDS = {
    "name": "name", "cpu": "cpus", "mem": "memory", "size": "disk_size", "bridge": "switch", "mac": "mac",
    "user": "user", "password_hash": "password", "ssh_keys": "ssh_keys", "networks": "address",
    "gateway4": "gateway", "gateway6": "gateway", "nameservers": "nameservers", "addresses": "address",
    "user_data": "user_data", "snippets": "snippets", "hostname": "name", "packages": "packages", "scripts": "script",
}  # fmt: skip
_QUIET = {"autocomplete": "off", "spellcheck": "false"}


def _text(label: str, length: int, help_text: str = "", **attrs: Any) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=False,
        max_length=length,
        help_text=help_text,
        widget=forms.TextInput(attrs={**_QUIET, **attrs}),
    )


def _lines(label: str, length: int, rows: int, help_text: str = "") -> forms.CharField:
    widget = forms.Textarea(attrs={"rows": rows, "spellcheck": "false", "class": "font-monospace"})
    return forms.CharField(
        label=label, required=False, max_length=length, strip=False, help_text=help_text, widget=widget
    )


class DeployForm(OptionalPassphrase):
    """What is left empty is as the template has it. ``save`` makes the rows and asks for the deployments."""

    template = forms.ModelChoiceField(Template.objects.none(), empty_label=None)
    name = forms.CharField(
        strip=False, max_length=60, help_text="For several: web{01..20}, or a name to be numbered.",
        widget=forms.TextInput(attrs=_QUIET),
    )  # fmt: skip
    count = forms.IntegerField(min_value=1, max_value=BATCH_MAX, required=False, label="How many", initial=1)
    cpus = forms.IntegerField(min_value=1, max_value=plan.CPUS_MAX, required=False, label="CPUs")
    memory = SizeField(required=False, max_length=20)
    disk_size = SizeField(required=False, max_length=20, label="First disk")
    switch = forms.ModelChoiceField(Switch.objects.none(), required=False, empty_label="none")
    addressing = forms.ChoiceField(choices=ADDRESSING, required=False, label="How it gets its address")
    user = _text("User in the guest", 32, autocapitalize="none")
    keys = forms.ModelMultipleChoiceField(
        SshKey.objects.none(), required=False, label="Your SSH keys", widget=forms.CheckboxSelectMultiple
    )
    start = forms.BooleanField(required=False, initial=True, label="Start at once")
    # Advanced.
    owner = forms.ModelChoiceField(User.objects.none(), required=False)
    mac = _text("MAC address", 17, "empty: a new one")
    address = _text("Address", 100, "such as 10.77.0.20/24. Several VMs take it and those that follow.")
    gateway = _text("Gateway", 45, "empty: that of the switch")
    nameservers = _text("Name servers", 200, "between commas, empty: those of the switch")
    password = forms.CharField(
        label="Password in the guest", required=False, max_length=128, strip=False,
        help_text="For the console. Only its hash is kept.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )  # fmt: skip
    ssh_keys = _lines("Further SSH keys", 16_384, 2, "one in a line")
    snippets = forms.ModelMultipleChoiceField(
        Snippet.objects.none(), required=False, label="Snippets", widget=forms.CheckboxSelectMultiple
    )
    packages = _text("Packages", 1000, "installed at the first boot, between commas")
    user_data = _lines("Own user-data", 1 << 16, 4, "begins with #cloud-config or #!")
    script = _lines("Script that runs once", 1 << 16, 4, "as root, at the end of the first boot")
    autostart = forms.BooleanField(required=False, label="Start with the host")
    tags = TagsField(required=False, max_length=600, help_text="between commas")
    notes = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}))

    def __init__(self, data: Mapping[str, Any] | None = None, *, user: User, **options: Any) -> None:
        super().__init__(data, **options)
        self.asker, self.host = user, Host.objects.this()
        rows = Template.objects.visible_to(user).filter(host=self.host, state=template_rows.READY)
        self.templates = list(rows.select_related("pool", "host", "preset"))
        self._choose("template", rows.select_related("pool", "host", "preset"))
        self._choose("switch", self.host.switches.all())
        self._choose("keys", SshKey.objects.filter(user=user))
        kinds = (Snippet.Kind.USER_DATA, Snippet.Kind.SCRIPT)
        self._choose("snippets", Snippet.objects.visible_to(user).filter(kind__in=kinds))
        users = User.objects.filter(is_active=True)
        self._choose("owner", users if user.can("users.manage") else users.filter(pk=user.pk))
        if not self.is_bound and self.templates:
            self._suggest(user)

    def _choose(self, name: str, rows: QuerySet[Any]) -> None:
        field = self.fields[name]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = rows

    def _suggest(self, user: User) -> None:
        """Fill in what the template has: the one that was asked for, else the newest of the first name."""
        asked = str(self.initial.get("template", ""))
        chosen = next((row for row in self.templates if str(row.pk) == asked), None)
        template = chosen or template_rows.newest(self.templates)[0]
        bridge = documents.bridge_of(template.document)
        switches = list(self.host.switches.by_use())
        switch = next((row for row in switches if row.interface == bridge), next(iter(switches), None))
        taken = VM.objects.filter(host=self.host).values_list("name", flat=True)
        found = {
            "template": template.pk, "name": _free_name(template.name, set(taken)), "owner": user.pk,
            "switch": switch, "user": template.cloud_init.get("user") or template.login,
            "keys": [key.pk for key in self.fields["keys"].queryset],  # type: ignore[attr-defined]
            **defaults(template),
        }  # fmt: skip
        if isinstance(switch, Switch) and template.cloud_init_kind and ties.is_static(switch):
            found["addressing"] = ties.POOL
        self.initial = {**found, **{key: value for key, value in self.initial.items() if key != "template"}}

    def clean_mac(self) -> str:
        text: str = self.cleaned_data["mac"]
        try:
            return names.mac(text) if text else ""
        except names.BadName as error:
            raise ValidationError(str(error)) from error

    def clean_gateway(self) -> str:
        text: str = self.cleaned_data["gateway"].strip()
        try:
            return str(ipaddress.ip_address(text)) if text else ""
        except ValueError as error:
            raise ValidationError("This is not an IP address.") from error

    def clean(self) -> dict[str, Any]:
        chosen = super().clean()
        template: Template | None = chosen.get("template")
        if "name" in chosen and "count" in chosen:
            self._check_names(template)
        if template is not None:
            self._check_sizes(template)
            if not template.cloud_init_kind and (told := [key for key in GUEST if chosen.get(key)]):
                self.add_error(told[0], f"{template} reads no seed: it cannot be told this.")
        if chosen.get("mac") and len(self.vm_names) > 1:
            self.add_error("mac", "Several VMs cannot have one address; leave it empty.")
        if any(chosen.get(key) for key in ("mac", "address", "addressing")) and not chosen.get("switch"):
            self.add_error("switch", "An address needs a switch to plug its network port into.")
        elif "addressing" in chosen:
            self._check_addressing(chosen["addressing"], chosen.get("address"))
        if chosen.get("gateway") and not chosen.get("address"):
            self.add_error("address", "A gateway needs an address beside it; DHCP brings its own.")
        return chosen

    def _check_addressing(self, how: str, typed: str | None) -> None:
        if how == TYPED and not typed and "address" not in self.errors:
            self.add_error("address", "Type the address, such as 10.77.0.20/24.")
        elif how in {ties.POOL, ties.LEASE}:
            if typed:
                self.add_error(
                    "addressing", "An address is typed under Advanced: choose that one, or leave it empty."
                )
            elif problem := ties.room_problem(self.cleaned_data["switch"], how, len(self.vm_names)):
                self.add_error("addressing", problem)

    vm_names: list[str] = []
    addresses: list[str] = []

    def _check_names(self, template: Template | None) -> None:
        chosen = self.cleaned_data
        try:
            self.vm_names = names_of(chosen["name"], chosen["count"] if chosen["count"] != 1 else None)
            for name in self.vm_names:
                names.vm_name(name)
        except (BadPattern, names.BadName) as error:
            self.add_error("name", str(error))
            return
        if reserved := RESERVED.intersection(self.vm_names):
            self.add_error("name", f"{min(reserved)!r} is a word of the panel; choose another name.")
        rows = VM.objects.filter(host=self.host, name__in=self.vm_names).order_by("name")
        if taken := list(rows.values_list("name", flat=True)[:5]):
            self.add_error(
                "name", TAKEN if len(self.vm_names) == 1 else f"There are VMs already: {', '.join(taken)}."
            )
        if template is not None:
            wanted = {f"{template.pool.home}/vms/{name}" for name in self.vm_names}
            if there := Dataset.objects.filter(pool=template.pool, name__in=wanted).first():
                self.add_error("name", f"The pool already has a dataset {there.name}.")
        if chosen.get("address"):
            try:
                self.addresses = addresses_of(chosen["address"], len(self.vm_names))
            except BadPattern as error:
                self.add_error("address", str(error))

    def _check_sizes(self, template: Template) -> None:
        chosen = self.cleaned_data
        least = int(template.disks[0]["size"]) if template.disks else 0
        size = chosen.get("disk_size")
        if size and size < least:
            self.add_error(
                "disk_size", f"The template's disk has {sizes.text(least)}; it cannot be made smaller."
            )
        elif size and (size % sizes.MIB or size > plan.DISK_MAX):
            self.add_error("disk_size", "A disk has a whole number of MiB, at most 64T.")
        elif size and (problem := plan.disk_problem(size, template.pool.size)):
            self.add_error("disk_size", problem)
        if chosen.get("cpus") and (problem := plan.cpus_problem(chosen["cpus"], self.host.cpus)):
            self.add_error("cpus", problem)
        memory = chosen.get("memory")
        if memory and (memory < plan.MEMORY_MIN or memory % sizes.MIB or memory > 64 * sizes.TIB):
            self.add_error(
                "memory", f"A VM has a whole number of MiB, at least {sizes.text(plan.MEMORY_MIN)}."
            )
        elif memory and (problem := plan.memory_problem(memory, self.host.memory)):
            self.add_error("memory", problem)

    def orders(self) -> list[Order]:
        """One for each name."""
        chosen = self.cleaned_data
        settings = self.settings()
        switch = chosen["switch"]
        order = Order(
            name="", owner=chosen["owner"] or self.asker, cloud_init=settings, start=chosen["start"],
            tags=tuple(chosen["tags"]), passphrase=chosen["passphrase"],
            columns={"autostart": chosen["autostart"], "notes": chosen["notes"]},
            addressing=chosen["addressing"] if chosen["addressing"] != TYPED else "",
            wishes=Wishes(
                cpus=chosen["cpus"], memory=chosen["memory"], disk=chosen["disk_size"],
                bridge=switch.interface if switch else "", mac=chosen["mac"],
            ),
        )  # fmt: skip
        found = [deploy_orders.named(order, name) for name in self.vm_names]
        if self.addresses:
            found = [
                deploy_orders.with_address(one, address, **self._extra(address))
                for one, address in zip(found, self.addresses, strict=True)
            ]
        return found

    def _extra(self, address: str) -> dict[str, Any]:
        """Router and name servers: as they were typed, else the switch's own."""
        chosen, switch = self.cleaned_data, self.cleaned_data["switch"]
        own = ties.network_of(switch, 0, [address.partition("/")[0]]) if switch else {}
        gateway = own.get("gateway6" if ":" in address else "gateway4", "")
        servers = _words(chosen["nameservers"]) or own.get("nameservers", [])
        return {"gateway": chosen["gateway"] or gateway, "nameservers": servers}

    def settings(self) -> dict[str, Any]:
        """The VM's settings of cloud-init; {} where nothing in the guest reads them."""
        chosen, template = self.cleaned_data, self.cleaned_data["template"]
        if not template.cloud_init_kind:
            return {}
        found = {**template.cloud_init, "kind": template.cloud_init_kind}
        lines = [line.strip() for line in chosen["ssh_keys"].splitlines() if line.strip()]
        said = {
            "user": chosen["user"].strip(),
            "password_hash": cloudinit.hash_password(chosen["password"]) if chosen["password"] else "",
            "ssh_keys": list(
                dict.fromkeys([*found.get("ssh_keys", ()), *(key.text for key in chosen["keys"]), *lines])
            ),
            "snippets": list(
                dict.fromkeys([*found.get("snippets", ()), *(row.pk for row in chosen["snippets"])])
            ),
            "packages": list(dict.fromkeys([*found.get("packages", ()), *_words(chosen["packages"])])),
            "user_data": chosen["user_data"],
            "scripts": [
                *found.get("scripts", ()),
                *filter(str.strip, [chosen["script"].replace("\r\n", "\n")]),
            ],
        }
        return found | {key: value for key, value in said.items() if value}

    def save(self) -> tuple[str, list[Outcome]] | None:
        """Ask for all. Returns the batch's key, "" for one VM, and what became of each; None when all were refused:
        the reasons then stand in the form."""
        template, orders = self.cleaned_data["template"], self.orders()
        if len(orders) > 1:
            key, outcomes = deploy_orders.make_many(template, orders, self.asker)
            if any(one.vm for one in outcomes):
                return key, outcomes
            for cause in {one.error: one.cause for one in outcomes}.values():
                if cause is not None:
                    self._point(cause)
            return None
        try:
            vm, task = deploy_orders.make(template, orders[0], self.asker)
        except deploy_orders.ERRORS as error:
            self._point(error)
            return None
        return "", [Outcome(vm.name, vm, task)]

    def _point(self, error: Exception) -> None:
        if isinstance(error, WantedError):
            for fault in error.faults:
                self._say(_FIELDS.get(fault.field), f"{fault.message[:1].upper()}{fault.message[1:]}")
        elif isinstance(error, Invalid):
            for problem in error.problems:
                self._say(_FIELDS.get(problem.field.rpartition(".")[2]), str(problem))
        elif isinstance(error, Refused):
            self._say(error.field, str(error))

    def _say(self, field: str | None, text: str) -> None:
        self.add_error(field if field in self.fields else None, text)


# What only a guest that reads a seed can be told.
GUEST = ("password", "ssh_keys", "address", "snippets", "packages", "user_data", "script")


def defaults(template: Template) -> dict[str, Any]:
    """The sizes of the template's VMs, as the form shows them."""
    cpu = template.document.get("cpu", 1)
    count = cpu["sockets"] * cpu["cores"] * cpu["threads"] if isinstance(cpu, dict) else int(cpu)
    disk = {"disk_size": sizes.text(int(template.disks[0]["size"]))} if template.disks else {}
    memory = sizes.text(sizes.parse(str(template.document.get("mem", "1G"))))
    return {"cpus": count, "memory": memory, **disk}


def _free_name(base: str, taken: set[str]) -> str:
    """A name that no VM has yet: the template's, with a number behind it."""
    stem = base[: names.VM_NAME_MAX - 5]
    return next(f"{stem}-{number}" for number in range(1, len(taken) + 2) if f"{stem}-{number}" not in taken)


def _words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.replace("\n", ",").split(",")) if word]
