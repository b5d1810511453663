"""What the worker does to the host itself."""

from __future__ import annotations

from pydantic import BaseModel

from bhype.freebsd import kld
from bhype.tasks import Run, operation

from .observe import MODULES


class Nothing(BaseModel):
    """No parameters."""


@operation("hosts.prepare", title="Load the kernel modules that VMs need", right="hosts.change", lock="host")
def prepare(run: Run, _params: Nothing) -> None:
    """Load vmm(4), nmdm(4), if_bridge(4) and tap(4) where they are missing. May be repeated."""
    for name in MODULES:
        if not run.host.query(kld.is_loaded(name)):
            run.stage(f"Loading {name}")
            run.host.run(kld.load(name))
