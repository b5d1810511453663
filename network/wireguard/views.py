"""The pages of meshes. Each loads, checks, asks for an operation, and answers from rows."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.ui.pages import posted, render_page, status_of
from network.models import Mesh, MeshPeer
from network.traffic import pages as traffic

from . import changes, pages
from .forms import MeshForm, PeerForm, networks_of
from .rules import Bad


@allow("network.view")
def index(request: HttpRequest) -> HttpResponse:
    counts = {
        "hosts": Count("peers", filter=Q(peers__host__isnull=False)),
        "others": Count("peers", filter=Q(peers__host=None)),
    }
    up = Count("peers", filter=Q(peers__is_up=True))
    context = {
        "meshes": Mesh.objects.annotate(**counts, up=up), "tab": "wireguard",
        "may_change": signed_in(request).can("network.change"),
    }  # fmt: skip
    return render_page(request, "network/wireguard/index.html", context, part="meshes")


@allow("network.view", Mesh)
def detail(request: HttpRequest, mesh: Mesh) -> HttpResponse:
    loaded = Mesh.objects.prefetch_related("peers__host").get(pk=mesh.pk)
    here = Host.objects.this()
    port = traffic.Shown(f"mesh:{mesh.name}", f"{mesh.interface} of {here.name}", "By the host's view.")
    is_in = any(peer.host_id == here.pk for peer in loaded.peers.all())
    context = {
        "mesh": loaded, "lines": pages.lines(loaded), "tab": "wireguard",
        "outside": Host.objects.exclude(meshes__mesh=mesh), "unreachable": pages.unreachable(loaded.peers.all()),
        "may_change": signed_in(request).can("network.change") and not loaded.is_deleting,
        "may_delete": signed_in(request).can("network.change"),
        "figures": traffic.figures(here.pk, [port], "hour") if is_in else [],
    }  # fmt: skip
    return render_page(request, "network/wireguard/mesh.html", context, part="mesh")


@allow("network.change", methods="GET POST")
def new(request: HttpRequest) -> HttpResponse:
    form = MeshForm(posted(request))
    if form.is_bound and form.is_valid() and (mesh := form.save()):
        changes.apply(request, "wireguard.create", f"mesh {mesh.name}", form.cleaned_data)
        messages.success(request, f"The mesh {mesh.name} is there. Now add its hosts.")
        return redirect("network:mesh", mesh.name)
    return render(
        request, "network/wireguard/form.html", {"form": form, "tab": "wireguard"}, status=status_of(form)
    )


@allow("network.change", Mesh, methods="GET POST")
def edit(request: HttpRequest, mesh: Mesh) -> HttpResponse:
    form = MeshForm(posted(request), mesh=mesh)
    if form.is_bound and form.is_valid() and form.save():
        changes.apply(request, "wireguard.change", f"mesh {mesh.name}", form.cleaned_data)
        messages.success(request, f"{mesh.name} is being changed on all its hosts.")
        return redirect("network:mesh", mesh.name)
    context = {"form": form, "mesh": mesh, "tab": "wireguard"}
    return render(request, "network/wireguard/form.html", context, status=status_of(form))


@allow("network.change", Mesh, methods="POST")
def apply(request: HttpRequest, mesh: Mesh) -> HttpResponse:
    task = changes.apply(request, "wireguard.apply", f"mesh {mesh.name}")
    return redirect("tasks:detail", task.pk)


@allow("network.change", Mesh, methods="POST")
def delete(request: HttpRequest, mesh: Mesh) -> HttpResponse:
    changes.delete(request, mesh)
    messages.success(request, f"The hosts of {mesh.name} are taking it down.")
    return redirect("network:wireguard")


@allow("network.change", Mesh, methods="GET POST")
def peer_new(request: HttpRequest, mesh: Mesh) -> HttpResponse:
    if mesh.is_deleting:
        raise Http404
    host = request.GET.get("host", "")
    initial = {"host": host, "endpoint": pages.usual_address(host)}
    form = PeerForm(posted(request), mesh=mesh, initial=initial)
    if form.is_bound and form.is_valid() and (peer := form.save()):
        changes.apply(request, "wireguard.add", f"mesh {mesh.name}", {"peer": peer.name})
        messages.success(request, f"{peer.name} is being connected.")
        return redirect("network:mesh", mesh.name)
    return _peer_form(request, form, mesh)


@allow("network.change", MeshPeer, methods="GET POST", keyword="peer")
def peer_edit(request: HttpRequest, peer: MeshPeer) -> HttpResponse:
    form = PeerForm(posted(request), mesh=peer.mesh, peer=peer)
    if form.is_bound and form.is_valid() and form.save():
        changes.apply(request, "wireguard.change_peer", f"mesh {peer.mesh.name}", {"peer": peer.name})
        messages.success(request, f"{peer.name} is being changed.")
        return redirect("network:mesh", peer.mesh.name)
    return _peer_form(request, form, peer.mesh, peer)


def _peer_form(
    request: HttpRequest, form: PeerForm, mesh: Mesh, peer: MeshPeer | None = None
) -> HttpResponse:
    hosts = [peer.host] if peer and peer.host else list(form.hosts.values())
    context = {
        "form": form, "mesh": mesh, "peer": peer, "tab": "wireguard",
        "networks": [(host.name, words) for host in hosts if (words := networks_of(hosts).get(host.pk))],
    }  # fmt: skip
    return render(request, "network/wireguard/peer.html", context, status=status_of(form))


@allow("network.change", MeshPeer, methods="POST", keyword="peer")
def peer_remove(request: HttpRequest, peer: MeshPeer) -> HttpResponse:
    mesh = peer.mesh
    changes.remove(request, peer)
    messages.success(request, f"{peer.name} is leaving {mesh.name}.")
    return redirect("network:mesh", mesh.name)


@allow("network.change", MeshPeer, methods="POST", keyword="peer")
def peer_file(request: HttpRequest, peer: MeshPeer) -> HttpResponse:
    """A file with a new private key, once."""
    if peer.host_id is not None:
        raise Http404
    try:
        text = changes.give_file(request, peer)
    except Bad as bad:
        messages.error(request, str(bad))
        return redirect("network:mesh", peer.mesh.name)
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{peer.mesh.interface}.conf"'
    response["Cache-Control"] = "no-store"
    return response
