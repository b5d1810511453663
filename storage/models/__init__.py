"""Pools, datasets and snapshots of the hosts, and the library of media and images."""

from __future__ import annotations

from .datasets import Dataset
from .library import CatalogueEntry, Image, Iso, Upload
from .pools import ArcSample, PhysicalDisk, Pool, PoolSample
from .snapshots import Snapshot, SnapshotPolicy, SnapshotTarget, SnapshotTier

__all__ = [
    "ArcSample",
    "CatalogueEntry",
    "Dataset",
    "Image",
    "Iso",
    "PhysicalDisk",
    "Pool",
    "PoolSample",
    "Snapshot",
    "SnapshotPolicy",
    "SnapshotTarget",
    "SnapshotTier",
    "Upload",
]
