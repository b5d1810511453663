"""What the worker does to storage: the door of all its operations. They are registered by being imported."""

from __future__ import annotations

from . import (
    operations_datasets,
    operations_images,
    operations_isos,
    operations_keys,
    operations_transfers,
    policies_operations,
    snapshots_operations,
)
from .pools import operations as operations_pools
from .pools import operations_import, operations_members
from .pools.operations import adopt

__all__ = ["adopt"]

OTHERS = (
    operations_datasets,
    operations_images,
    operations_isos,
    operations_keys,
    operations_transfers,
    operations_pools,
    operations_import,
    operations_members,
    policies_operations,
    snapshots_operations,
)
