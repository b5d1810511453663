from __future__ import annotations

from tests.labhost import lab, quick_passwords, ready  # noqa: F401
