"""What of the datasets belongs to the library."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from . import owners
from .models import Image
from .owners import Owner


def images(uuids: Collection[str] | None) -> Iterator[Owner]:
    """The images with these UUIDs, or all, in one query."""
    rows = Image.objects.select_related("pool")
    for image in rows if uuids is None else rows.filter(uuid__in=uuids):
        yield Owner(
            kind="image",
            key=str(image.pk),
            name=image.name,
            url=owners.address("storage:image", image.pk) or owners.address("storage:images"),
            uuid=str(image.uuid),
            host_id=image.pool.host_id,
            pool_id=image.pool_id,
            datasets=(image.dataset,),
            is_whole=image.state == Image.State.READY,
        )
