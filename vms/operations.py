"""What the worker does to VMs: the door of all its operations. They are registered by being imported."""

from __future__ import annotations

from .deploy import operations as deploy_operations
from .deploy import operations_identity
from .hardware import operations as hardware_operations
from .keys import locking
from .life import boot, bulk, orphans, renaming
from .life import operations as life_operations
from .os_templates import operations as template_operations
from .snapshots import operations as snapshots_operations
from .transfer import operations as transfer_operations
from .transfer import operations_adopt

OTHERS = (
    life_operations,
    boot,
    bulk,
    orphans,
    renaming,
    hardware_operations,
    deploy_operations,
    operations_identity,
    template_operations,
    snapshots_operations,
    locking,
    transfer_operations,
    operations_adopt,
)
