"""What the worker does to storage: the door of all its operations. They are registered by being imported."""

from __future__ import annotations

from .datasets import operations as datasets
from .datasets import operations_keys
from .library import operations_images, operations_isos
from .policies import operations as policies
from .pools import operations as pools
from .pools import operations_import, operations_members
from .pools.operations import adopt
from .snapshots import operations as snapshots
from .uploads import operations as uploads

__all__ = ["adopt"]

OTHERS = (
    datasets,
    operations_keys,
    operations_images,
    operations_isos,
    policies,
    pools,
    operations_import,
    operations_members,
    snapshots,
    uploads,
)
