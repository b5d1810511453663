from __future__ import annotations

import contextlib

from django.apps import AppConfig
from django.conf import settings


class ConsoleConfig(AppConfig):
    name = "bhype.console"

    def ready(self) -> None:
        from .signing import ensure_key

        # Made by the first process that may write there: the web process later runs as a user who may not.
        with contextlib.suppress(PermissionError):
            ensure_key(settings.STATE_DIR / "gateway.key")
