"""Sizes as people write them, see `storage.sizes`."""

from __future__ import annotations

from storage.sizes import GIB, KIB, MIB, TIB, BadSize, human, parse, text

__all__ = ["GIB", "KIB", "MIB", "TIB", "BadSize", "human", "parse", "text"]
