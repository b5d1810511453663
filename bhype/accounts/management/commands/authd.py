"""Replace this process by authd, which needs none of Django; or install its PAM service file."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from bhype.accounts import pamcheck
from bhype.accounts.signin import authd_socket


class Command(BaseCommand):
    help = "Run authd, the root process that asks PAM for passwords."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--install-service",
            action="store_true",
            help="write the PAM service file if there is none, and end",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["install_service"]:
            try:
                self.stdout.write(f"PAM service file: {pamcheck.install_service(settings.PAM_SERVICE)}")
            except OSError as error:
                raise CommandError(f"cannot write the PAM service file: {error}") from error
            return
        authd_socket().parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "bhype.accounts.authd", "--socket", str(authd_socket())]
        words += ["--service", settings.PAM_SERVICE, "--service-user", settings.SERVICE_USER]
        for group in settings.PAM_GROUPS:
            words += ["--group", group]
        os.chdir(settings.BASE_DIR)
        sys.stdout.flush()
        os.execv(sys.executable, words)  # noqa: S606 - an argv list, no shell
