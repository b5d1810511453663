from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from bhype.accounts import people
from bhype.accounts.models import ApiToken, User


class Command(BaseCommand):
    help = "Print a new API token of a user, and nothing else."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user")
        parser.add_argument("--name", default="command line")
        parser.add_argument("--scope", default=ApiToken.Scope.FULL, choices=ApiToken.Scope.values)
        parser.add_argument("--days", type=int, default=30, help="days until it expires; 0: never")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {options['user']}.")
        try:
            _, secret = people.issue_token(
                None, user, options["name"], options["scope"], options["days"] or None
            )
        except people.NotPossible as error:
            raise CommandError(error.message) from error
        self.stdout.write(secret)
