from __future__ import annotations

from tests.labhost import lab, ready  # noqa: F401
