from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from bhype.accounts import setup


class Command(BaseCommand):
    help = "Print a one-time link that makes the first admin. Earlier links become void."

    def handle(self, *args: Any, **options: Any) -> None:
        code = setup.issue()
        if code is None:
            self.stdout.write("There is an admin already: sign in.")
            return
        # All addresses are no address to open; this machine itself is one of them.
        host = "127.0.0.1" if settings.BIND in {"0.0.0.0", "::"} else settings.BIND  # noqa: S104
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if settings.SESSION_COOKIE_SECURE else "http"
        self.stdout.write(f"Make the first admin (once): {scheme}://{host}:{settings.PORT}/setup/{code}/")
