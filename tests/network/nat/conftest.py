from __future__ import annotations

from tests.network.firewall.conftest import guest  # noqa: F401
