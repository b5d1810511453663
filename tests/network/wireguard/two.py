"""Two hosts of one database, each with a lab of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.test import override_settings

from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep
from bhype.tasks import ask
from bhype.tasks.models import Task
from network.models import Mesh, MeshPeer
from network.wireguard import observe, plan
from tests.labhost import Lab


class Node:
    """A host: its row, its lab, its worker and what of its observer looks at meshes."""

    def __init__(self, name: str, lab: Lab) -> None:
        self.name, self.lab = name, lab
        self.row = Host.objects.get_or_create(name=name)[0]

    @contextmanager
    def here(self) -> Iterator[None]:
        with override_settings(HOST_NAME=self.name, BHYPE_ROOT=str(self.lab.root)):
            yield

    def ensure(self) -> list[Task]:
        with self.here():
            ask("network.ensure_mesh", {}, None)
            return self.lab.run_tasks()

    def sweep(self) -> list[Task]:
        """Look at the meshes, and do what is asked for then; the tasks."""
        with self.here():
            self.seen = Sweep(self.lab.host, self.row)
            observe.observe(self.seen)
            return self.lab.run_tasks()

    def wg(self, *words: str) -> str:
        return self.lab.commands("/usr/bin/wg", *words)

    @property
    def private_key(self) -> str:
        return self.lab.host.read_text(plan.key_path("all")).strip()

    def peer(self) -> MeshPeer:
        return MeshPeer.objects.get(host=self.row)


def mesh_of(*nodes: Node, **endpoints: str) -> Mesh:
    """A mesh called all; endpoints: by the names of nodes."""
    made = Mesh.objects.create(name="all", network="10.99.0.0/24")
    for number, node in enumerate(nodes, 1):
        MeshPeer.objects.create(
            mesh=made,
            host=node.row,
            name=node.name,
            address=f"10.99.0.{number}",
            endpoint=endpoints.get(node.name, ""),
        )
    return made
