"""Taking switches away."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F

from bhype.accounts.models import User
from bhype.live import publish
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from network.models import Switch

from .forms import plugged_in


def remove(row: Switch, user: User) -> Task:
    """Let the worker take a switch away, and then its row. Raises Refused while somebody needs it."""
    if names := plugged_in(row):
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        raise Refused(
            "conflict", f"{row.name} has ports of {shown}: plug them into another switch first.", status=409
        )
    if row.host_addresses:
        raise Refused(
            "conflict",
            f"{row.name} has the host's own addresses: move them back to {row.uplink} first.",
            status=409,
        )
    with transaction.atomic():
        Switch.objects.filter(pk=row.pk).update(is_deleting=True, revision=F("revision") + 1)
        publish(row.subject, "switches")
        return ask("network.ensure", {}, user)
