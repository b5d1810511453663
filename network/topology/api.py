"""The API of a host's networks as a whole."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema

from bhype.accounts.access import lookup, signed_in
from bhype.hosts.models import Host

from . import pages

router = Router()


class TopologyPortOut(Schema):
    """port: as traffic and allocations name it; addresses: as far as known, the surest first."""

    guest: str
    kind: str
    is_on: bool
    port: str
    mac: str
    addresses: list[str]


class BranchOut(Schema):
    """ways: how it goes on from there, in words."""

    switch: str
    kind: str
    state: str
    ways: list[str]
    ports: list[TopologyPortOut]
    more: int


class TopologyOut(Schema):
    host: str
    switches: list[BranchOut]
    meshes: list[str]


@router.get(
    "/topology/{host}", response=TopologyOut, summary="Switches of a host, their ways out and their guests"
)
def get_topology(request: HttpRequest, host: str, open: str = "") -> dict[str, Any]:
    """open: the name of a switch of which all guests are told; of others the first dozen."""
    row = lookup(signed_in(request), Host, "network.view", name=host)
    found = pages.world(row, open)
    return {
        "host": row.name,
        "switches": [_branch(branch) for branch in found.branches],
        "meshes": [mesh.name for mesh in found.meshes],
    }


def _branch(branch: pages.Branch) -> dict[str, Any]:
    ports = [
        {
            "guest": leaf.guest.name, "kind": leaf.guest.kind, "is_on": leaf.guest.is_on, "port": leaf.port.key,
            "mac": leaf.port.mac, "addresses": leaf.addresses,
        }
        for leaf in branch.leaves
    ]  # fmt: skip
    return {
        "switch": branch.switch.name, "kind": branch.switch.kind, "state": branch.state, "ways": branch.ways,
        "ports": ports, "more": branch.rest,
    }  # fmt: skip
