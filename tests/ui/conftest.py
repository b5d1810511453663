from __future__ import annotations

from tests.labhost import quick_passwords  # noqa: F401
