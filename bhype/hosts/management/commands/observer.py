from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from bhype.hosts import observer


class Command(BaseCommand):
    help = "Reads this host again and again and writes what it sees; ends on SIGTERM."
    # Checks would load every page and the whole API: 30 MiB that are never used here. The web process has them done.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--period", type=float, default=observer.PERIOD, help="seconds between two looks")

    def handle(self, *_args: Any, **options: Any) -> None:
        observer.run(options["period"])
