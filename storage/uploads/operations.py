"""What the worker does for the files that people send."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone
from pydantic import BaseModel

from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep, ask_once
from bhype.live import publish
from bhype.tasks import Run, operation
from storage.models import Upload

from . import store, transfers, tus

# A row of what has arrived answers a sender that did not hear so.
ANSWERED = timedelta(days=1)
# One of so many sweeps looks.
EVERY = 300


class Nothing(BaseModel):
    """No parameters."""


@operation(
    "storage.ready_transfers",
    title="Make the folder for uploads",
    right="vms.create",
    lock="storage.ready_transfers",
)
def ready_transfers(run: Run, _params: Nothing) -> None:
    """Make the folder that uploads go to, in each pool that is bHype's."""
    for pool in Host.objects.this().pools.filter(is_adopted=True):
        transfers.ready(run, pool)


@operation("storage.tidy_uploads", title="Remove uploads that were given up", lock="storage.tidy_uploads")
def tidy_uploads(run: Run, _params: Nothing) -> None:
    """Remove what has arrived of uploads that nobody has gone on with for a week, and the rows of old ones."""
    for upload in expired().select_related("pool"):
        if upload.finished_at is None:
            run.log(f"{upload.name}: {upload.received} of {upload.size} bytes had arrived.")
            transfers.discard(run, upload.pool, f"{upload.user_id}/{upload.uuid}{store.PART}")
        upload.delete()
        publish(f"uploads:{upload.user_id}")


def expired() -> QuerySet[Upload]:
    now = timezone.now()
    given_up = Q(finished_at=None, changed_at__lt=now - tus.KEPT)
    return Upload.objects.filter(given_up | Q(finished_at__lt=now - ANSWERED), pool__host=Host.objects.this())


def observe(sweep: Sweep) -> bool:
    """Have what is expired removed, now and then."""
    if sweep.every(EVERY) and expired().exists():
        ask_once("storage.tidy_uploads", {}, subject="uploads")
        return True
    return False
