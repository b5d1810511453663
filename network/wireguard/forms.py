"""The forms of meshes and their peers. They ask `rules`, and look at what else is in the database."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from ipaddress import ip_interface, ip_network
from typing import Any, TypeVar

from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Q

from bhype.hosts.models import Host
from bhype.live import publish
from bhype.ui.pages import STALE
from network.models import Forward, HostInterface, Mesh, MeshPeer, Switch

from . import rules
from .rules import Bad, Used

T = TypeVar("T")
_OFF = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}
MOST_ROUTES = 64


def _checked(check: Callable[..., T], *values: Any) -> T:
    try:
        return check(*values)
    except Bad as bad:
        raise ValidationError(str(bad)) from None


def seen(row: Mesh | MeshPeer) -> str:
    """What a form was made from: another one says that it is stale."""
    if isinstance(row, Mesh):
        words: list[object] = [row.port, row.mtu, row.keepalive]
    else:
        own_key = "" if row.host_id else row.public_key
        words = [row.name, row.address, row.endpoint, *row.routes, own_key]
    return hashlib.sha256(repr(words).encode()).hexdigest()[:16]


def used(besides: Mesh | None = None) -> list[Used]:
    """The networks of switches, of hosts, and of other meshes."""
    found = []
    for one in HostInterface.objects.filter(is_own=False).exclude(addresses=[]).select_related("host"):
        for word in one.addresses:
            if "%" not in word and not ip_interface(word).is_loopback:
                by = f"the interface {one.name} of {one.host.name}"
                found.append(Used(ip_interface(word).network, by, one.host_id))
    for switch in Switch.objects.select_related("host"):
        for word in filter(None, (switch.address, switch.address6)):
            by = f"the switch {switch.name} of {switch.host.name}"
            found.append(Used(ip_interface(word).network, by, switch.host_id))
    others = Mesh.objects.exclude(pk=besides.pk) if besides else Mesh.objects.all()
    for mesh in others.prefetch_related("peers"):
        found.append(Used(ip_network(mesh.network), f"the mesh {mesh.name}"))
        for peer in mesh.peers.all():
            found += [
                Used(ip_network(route), f"{peer.name} in the mesh {mesh.name}") for route in peer.routes
            ]
    return found


class MeshForm(forms.Form):
    """A mesh. Its name and network stay as they were made: peers have addresses in it."""

    name = forms.CharField(
        max_length=40,
        widget=forms.TextInput(attrs=_OFF),
        help_text="On each host the interface is called wg- and this.",
    )
    network = forms.CharField(
        max_length=60,
        initial="10.99.0.0/24",
        widget=forms.TextInput(attrs=_OFF),
        help_text="Each peer gets an address of it. No switch may have it, on any host.",
    )
    port = forms.IntegerField(
        initial=51820, help_text="UDP, on each host: what is between them has to let it through."
    )
    mtu = forms.IntegerField(
        initial=1420, label="MTU", help_text="Bytes. 1420 fits into packets of 1500, also over IPv6."
    )
    keepalive = forms.IntegerField(
        initial=25,
        min_value=0,
        max_value=65535,
        help_text="Seconds between signs of life, which keep the way through NAT open. 0 for none.",
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, mesh: Mesh | None = None, **kwargs: Any) -> None:
        self.mesh = mesh
        if mesh:
            columns = {name: getattr(mesh, name) for name in ("port", "mtu", "keepalive")}
            kwargs["initial"] = {"seen": seen(mesh), **columns}
        super().__init__(*args, **kwargs)
        if mesh:
            del self.fields["name"], self.fields["network"]
        self.is_stale = False

    def clean_name(self) -> str:
        name = _checked(rules.name, self.cleaned_data["name"])
        if Mesh.objects.filter(name=name).exists():
            raise ValidationError(f"There is a mesh called {name} already.")
        return name

    def clean_network(self) -> str:
        network = _checked(rules.network, self.cleaned_data["network"])
        _checked(rules.no_overlap, network, used())
        return str(network)

    def clean_port(self) -> int:
        port = _checked(rules.port, self.cleaned_data["port"])
        others = Mesh.objects.filter(port=port).exclude(pk=self.mesh.pk if self.mesh else 0)
        if other := others.first():
            raise ValidationError(f"The mesh {other.name} has this port. Each needs one of its own.")
        forwards = Forward.objects.filter(protocol__in=("udp", "tcp/udp"), port__lte=port)
        if forwards.filter(port__gt=port - F("count")).exists():
            raise ValidationError("A port forward leads this port to a guest.")
        return port

    def clean_mtu(self) -> int:
        mtu = int(self.cleaned_data["mtu"])
        if not rules.MTU[0] <= mtu <= rules.MTU[1]:
            raise ValidationError(
                f"From {rules.MTU[0]}, which IPv6 needs, to {rules.MTU[1]}; 1420 on usual lines."
            )
        return mtu

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.mesh and data.get("seen") and data["seen"] != seen(self.mesh):
            self.is_stale = True
            raise ValidationError(STALE)
        return data

    def save(self) -> Mesh | None:
        """The mesh; None when somebody was faster with this name."""
        values = {
            key: value for key, value in self.cleaned_data.items() if key != "seen" and key in self.fields
        }
        try:
            with transaction.atomic():
                if self.mesh:
                    Mesh.objects.filter(pk=self.mesh.pk).update(revision=F("revision") + 1, **values)
                    mesh = self.mesh
                else:
                    mesh = Mesh.objects.create(**values)
                publish(mesh.subject, "meshes")
        except IntegrityError:
            self.add_error("name", "There is such a mesh already.")
            return None
        return mesh


class PeerForm(forms.Form):
    """A peer: a host of this panel, or another machine."""

    name = forms.CharField(
        required=False,
        max_length=64,
        widget=forms.TextInput(attrs=_OFF),
        help_text="of a machine that bHype does not run on",
    )
    public_key = forms.CharField(
        required=False,
        max_length=64,
        widget=forms.TextInput(attrs=_OFF),
        help_text="Of another machine, as `wg pubkey` prints it. Without one you can have a file with a new key made"
        " afterwards. A host makes its own.",
    )
    endpoint = forms.CharField(
        required=False,
        max_length=260,
        label="Found at",
        widget=forms.TextInput(attrs={**_OFF, "placeholder": "192.0.2.7 or vpn.example.org:51820"}),
        help_text="An address or a name where the others reach it, with a port if it is not the mesh's. Empty for one"
        " that only calls. Of two peers one at least needs it.",
    )
    address = forms.CharField(
        required=False,
        max_length=60,
        label="Address in the mesh",
        widget=forms.TextInput(attrs=_OFF),
        help_text="Empty for the next free one.",
    )
    routes = forms.CharField(
        required=False,
        max_length=4000,
        label="Networks behind it",
        widget=forms.Textarea(attrs={**_OFF, "rows": 2}),
        help_text="One in a line, such as 10.77.0.0/24: the others send there through this peer.",
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, mesh: Mesh, peer: MeshPeer | None = None, **kwargs: Any) -> None:
        self.mesh, self.peer = mesh, peer
        self.is_stale = False
        if peer:
            columns = {name: getattr(peer, name) for name in ("name", "public_key", "endpoint", "address")}
            kwargs["initial"] = {**columns, "routes": "\n".join(peer.routes), "seen": seen(peer)}
        super().__init__(*args, **kwargs)
        self.hosts = {str(host.pk): host for host in Host.objects.exclude(meshes__mesh=mesh)}
        choices = [(key, f"Host {host.name}") for key, host in self.hosts.items()]
        self.fields["host"] = forms.ChoiceField(
            choices=[*choices, ("", "Another machine, without bHype")], required=False, label="Who"
        )
        self.order_fields(["host"])
        if peer:
            del self.fields["host"]
            if peer.host_id:
                del self.fields["name"], self.fields["public_key"]

    @property
    def others(self) -> list[MeshPeer]:
        return [one for one in self.mesh.peers.all() if not self.peer or one.pk != self.peer.pk]

    def clean_public_key(self) -> str:
        text = str(self.cleaned_data["public_key"]).strip()
        if not text:
            return ""
        _checked(rules.key, text)
        if any(one.public_key == text for one in self.others):
            raise ValidationError("Another peer has this key. Each needs one of its own.")
        return text

    def clean_endpoint(self) -> str:
        return _checked(rules.endpoint, self.cleaned_data["endpoint"], self.mesh.port)

    def clean_address(self) -> str:
        network = rules.network(self.mesh.network)
        taken = [one.address for one in self.others]
        if not self.cleaned_data["address"].strip():
            return _checked(rules.free_address, network, taken)
        address = _checked(rules.inside, self.cleaned_data["address"], network)
        if met := next((one for one in self.others if one.address == address), None):
            raise ValidationError(f"{met.name} has {address}.")
        return address

    def clean_routes(self) -> list[str]:
        words = self.cleaned_data["routes"].replace(",", " ").split()
        if len(words) > MOST_ROUTES:
            raise ValidationError(f"At most {MOST_ROUTES} networks.")
        found: list[rules.Network] = []
        for word in words:
            network = _checked(rules.route, word)
            _checked(rules.no_overlap, network, [Used(one, "this list") for one in found])
            found.append(network)
        return [str(network) for network in found]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.peer and data.get("seen") and data["seen"] != seen(self.peer):
            self.is_stale = True
            raise ValidationError(STALE)
        if not self.peer and len(self.others) >= rules.MOST_PEERS:
            raise ValidationError(f"A mesh has at most {rules.MOST_PEERS} peers.")
        self._clean_name(data)
        if "routes" in data:
            self._clean_overlaps(data)
        return data

    def _clean_name(self, data: dict[str, Any]) -> None:
        host = self.host
        if host:
            data["name"], data["public_key"] = host.name, self.peer.public_key if self.peer else ""
        name = str(data.get("name") or "").strip()
        try:
            data["name"] = rules.peer_name(name)
        except Bad as bad:
            self.add_error(None if host else "name", str(bad))
        if any(one.name == name for one in self.others):
            self.add_error(None if host else "name", f"There is a peer called {name} already.")

    @property
    def host(self) -> Host | None:
        """Whose peer it is; None for another machine."""
        if self.peer:
            return self.peer.host
        return self.hosts.get(str(self.cleaned_data.get("host") or ""))

    def _clean_overlaps(self, data: dict[str, Any]) -> None:
        host = self.host
        mine = rules.network(self.mesh.network)
        # A switch's own network may be behind its host, and behind nobody else.
        taken = [one for one in used(self.mesh) if host is None or one.host_id != host.pk]
        taken.append(Used(mine, "this mesh"))
        for one in self.others:
            taken += [Used(ip_network(route), one.name) for route in one.routes]
        routes = [ip_network(word) for word in data["routes"]]
        ends = [(one.name, one.endpoint) for one in self.others]
        if data.get("endpoint"):
            ends.append((str(data.get("name", "this peer")), data["endpoint"]))
        everybodys = [ip_network(word) for one in self.others for word in one.routes]
        try:
            for network in routes:
                rules.no_overlap(network, taken)
            rules.no_loop([*routes, *everybodys], mine, ends)
        except Bad as bad:
            self.add_error("routes" if routes else "endpoint", str(bad))

    def save(self) -> MeshPeer | None:
        """The peer; None when somebody was faster with its name or address."""
        names = ("name", "address", "endpoint", "routes", "public_key")
        values = {name: self.cleaned_data[name] for name in names if name in self.cleaned_data}
        try:
            with transaction.atomic():
                if self.peer:
                    MeshPeer.objects.filter(pk=self.peer.pk).update(**values)
                    saved = self.peer
                else:
                    saved = MeshPeer.objects.create(mesh=self.mesh, host=self.host, **values)
                changed(self.mesh)
        except IntegrityError:
            self.add_error(None, "Somebody else has just taken this name or address. Try again.")
            return None
        return saved


def changed(mesh: Mesh) -> None:
    """Tell all hosts of a mesh that it was changed, in the caller's transaction."""
    Mesh.objects.filter(pk=mesh.pk).update(revision=F("revision") + 1)
    publish(mesh.subject, "meshes")


def networks_of(hosts: Iterable[Host]) -> dict[int, list[str]]:
    """The networks of hosts' switches, as a hint to what may be behind them."""
    found: dict[int, list[str]] = {}
    for switch in Switch.objects.filter(~Q(address=""), host__in=list(hosts)):
        found.setdefault(switch.host_id, []).append(f"{ip_interface(switch.address).network} ({switch.name})")
    return found
