from __future__ import annotations

import pytest

from tests.tasks.sample import operations as sample  # noqa: F401


@pytest.fixture(autouse=True)
def _own_root(settings, tmp_path):
    settings.BHYPE_ROOT = str(tmp_path)
