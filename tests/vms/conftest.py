from __future__ import annotations

from tests.labhost import lab, ready, wired  # noqa: F401
