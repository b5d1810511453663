from __future__ import annotations

import base64

import pytest

from bhype.hosts.models import Host
from network.models import Mesh, MeshPeer
from tests.labhost import lab, ready  # noqa: F401


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


@pytest.fixture
def mesh(host: Host) -> Mesh:
    """A mesh with this host and another machine."""
    made = Mesh.objects.create(name="all", network="10.99.0.0/24")
    MeshPeer.objects.create(
        mesh=made,
        host=host,
        name=host.name,
        address="10.99.0.1",
        endpoint="192.0.2.1:51820",
        public_key=key(1),
    )
    MeshPeer.objects.create(mesh=made, name="laptop", address="10.99.0.2", public_key=key(2))
    return made
