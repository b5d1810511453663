from __future__ import annotations

import pytest

from bhype.accounts import signin


@pytest.fixture(autouse=True)
def quick_refusals(monkeypatch):
    """Refusals take their time in the panel; tests of what they say need not wait."""
    monkeypatch.setattr(signin, "REFUSAL_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def quick_hashes(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
