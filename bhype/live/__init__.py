"""Events from any process to open pages: what has changed, never what it has become."""

from __future__ import annotations

from .topics import publish, register

__all__ = ["publish", "register"]
