from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from bhype.accounts import authd_client, people
from bhype.accounts.models import Failures, User
from bhype.accounts.signin import authd_socket


class Command(BaseCommand):
    help = "Break glass: make a user, give a role or a new password, let a locked-out user in again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--role", choices=User.Role.values)
        parser.add_argument(
            "--password-stdin",
            action="store_true",
            help="read a panel account's new password from the first line of stdin",
        )
        parser.add_argument(
            "--unlock", action="store_true", help="forget failed sign-ins, and activate the user"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        password = sys.stdin.readline().rstrip("\r\n") if options["password_stdin"] else None
        try:
            with transaction.atomic():
                user = self._user(options["name"], password, existing=options["unlock"])
                people.change(None, user, role=options["role"], is_active=True if options["unlock"] else None)
        except people.NotPossible as error:
            raise CommandError(error.message) from error
        if options["unlock"]:
            # Of every name and address: the one who calls may be kept out by either.
            Failures.objects.all().delete()
            authd_client.unlock(authd_socket(), user.username)
        state = "active" if user.is_active else "inactive"
        self.stdout.write(
            f"{user}: {user.get_source_display().lower()}, {user.get_role_display().lower()}, {state}"
        )

    def _user(self, name: str, password: str | None, *, existing: bool) -> User:
        user = User.objects.filter(username=name).first()
        if user is None:
            if existing:
                raise CommandError(f"There is no user {name}.")
            return (
                people.invite(None, name, "")
                if password is None
                else people.add_panel_user(None, name, password, "")
            )
        if password is not None:
            if user.source != User.Source.PANEL:
                raise CommandError(f"{name} is a system account: change its password on the host.")
            people.change_password(None, user, password)
        return user
