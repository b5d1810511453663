"""What the worker does to the images of the library.

A row in state "making" or "deleting" belongs to its task; when that ends badly, ``storage.recover_image`` removes what
is there. What was fetched already stays for a week, and another try goes on from there.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from pydantic import BaseModel

from bhype.freebsd import names, zfs
from bhype.host import CommandError, CommandFailed, CommandStopped
from bhype.live import publish
from bhype.tasks import Cancelled, OperationFailed, Run, ask, operation
from storage import owners
from storage.models import Image

from . import arriving, catalogue, fetching, images
from .arriving import Arrived, SourceParams

State = Image.State
FAILURES = (CommandError, OperationFailed, Cancelled, OSError)


class ImageParams(BaseModel):
    image_id: int


class MakeImageParams(ImageParams, SourceParams):
    """image_id: a row in state "making", or "failed" for another try."""


def row_of(params: ImageParams) -> Image | None:
    return Image.objects.select_related("pool__host").filter(pk=params.image_id).first()


def image_of(params: ImageParams) -> Image:
    """As `row_of`. Raises OperationFailed when it is gone, or its name is none."""
    image = row_of(params)
    if image is None:
        raise OperationFailed("The image does not exist any more.")
    try:
        names.dataset(image.dataset)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    if "/" in image.name:
        raise OperationFailed(f"{image.name!r} is not the name of an image.")
    arriving.check_pool(image.pool)
    return image


def _words(params: ImageParams) -> dict[str, str]:
    image = row_of(params)
    return {"image": image.name if image else f"image {params.image_id}"}


# An operation on one image, of which one runs at a time.
image_operation = partial(
    operation, right="storage.change", lock="image:{image_id}", subject="image:{image_id}", target=row_of,
    describe=_words,
)  # fmt: skip


def mark(image: Image, state: str, reason: str = "", **columns: Any) -> None:
    with transaction.atomic():
        Image.objects.filter(pk=image.pk).update(state=state, reason=reason, **columns)
        publish(image.subject, "images")


def key_of(image: Image) -> str:
    """Under which it is being fetched."""
    return fetching.key_of("image", image.uuid)


@image_operation("storage.fetch_image", "Fetch the image {image}", recover="storage.recover_image")
def fetch_image(run: Run, params: MakeImageParams) -> None:
    """Fetch a disk image, check it and make it a volume of the library with the snapshot that disks are cloned from."""
    _make(run, params)


@image_operation("storage.make_image", "Make the image {image}", recover="storage.recover_image")
def make_image(run: Run, params: MakeImageParams) -> None:
    """Make an image of an uploaded file."""
    _make(run, params)


def _make(run: Run, params: MakeImageParams) -> None:
    image = image_of(params)
    if image.state not in {State.MAKING, State.FAILED}:
        raise OperationFailed(f"The image {image.name} is there already.")
    mark(image, State.MAKING)
    try:
        arriving.require_part(run, image.pool, "images")
        destroy(run, image)
        with arriving.arrival(run, image.pool, params, key_of(image)) as arrived:
            size = images.make_volume(run, image.dataset, str(image.uuid), arrived.path, span=(80, 99))
            run.host.run(zfs.snapshot(image.snapshot))
            mark_ready(image, arrived, size)
    except FAILURES as error:
        mark(image, State.FAILED, str(error) or "It was cancelled.")
        ask("storage.recover_image", {"image_id": image.pk}, None)
        raise
    run.result(image=image.name, size=size)


def mark_ready(image: Image, arrived: Arrived, size: int) -> None:
    """Nothing can go wrong with it any more."""
    mark(
        image,
        State.READY,
        size=size,
        version=image.version or catalogue.version_of(arrived.source.rpartition("/")[2]),
        source=arrived.source[:1000],
        sha256=arrived.sha256,
        verified=arrived.verified[:100],
    )


@image_operation("storage.delete_image", "Delete the image {image}", recover="storage.recover_image")
def delete_image(run: Run, params: ImageParams) -> None:
    """Destroy an image of which no clones live, and forget it."""
    image = image_of(params)
    if image.state == State.MAKING:
        raise OperationFailed(f"{image.name} is being made.")
    require_unused(run, image)
    mark(image, State.DELETING)
    _delete(run, image)


def _delete(run: Run, image: Image) -> None:
    try:
        require_unused(run, image)
        destroy(run, image)
        fetching.forget(run, image.pool, key_of(image))
    except FAILURES as error:
        # When only the worker ends, the row still says what has to be finished.
        if run.cancelled or not isinstance(error, Cancelled | CommandStopped):
            mark(image, State.FAILED, f"It could not be removed: {error}")
        raise
    with transaction.atomic():
        subject = image.subject
        image.delete()
        publish(subject, "images")


@image_operation("storage.recover_image", "Tidy up after the image {image}", right=None)
def recover_image(run: Run, params: ImageParams) -> None:
    """Remove what is half made of an image; finish a deletion. A ready image is left as it is."""
    image = row_of(params)
    if image is None:
        run.log("There is nothing to tidy up.")
        return
    image = image_of(params)
    if image.state == State.READY:
        fetching.forget(run, image.pool, key_of(image))
        return
    if image.state == State.DELETING:
        _delete(run, image)
        return
    destroy(run, image)
    if image.state == State.MAKING:
        mark(image, State.FAILED, "It was interrupted. Try again: it goes on where it stopped.")


def destroy(run: Run, image: Image) -> None:
    """Destroy the volume of an image with its snapshot. Raises OperationFailed where something else has its name."""
    try:
        found = run.host.query(zfs.get_property(image.dataset, zfs.ID_PROPERTY))
    except CommandFailed as error:
        if "does not exist" in error.result.stderr:
            return
        raise
    if not found.is_local or found.value != str(image.uuid):
        raise OperationFailed(f"{image.dataset} was not made for this image by bHype and is left alone.")
    run.host.run(zfs.destroy(image.dataset, recursive=True))


def require_unused(run: Run, image: Image) -> None:
    """Raise OperationFailed while disks live on the image, naming whose."""
    mine = f"{image.dataset}@"
    clones = [
        info
        for info in run.host.query(zfs.list_datasets(image.pool.name))
        if info.origin and info.origin.startswith(mine)
    ]
    if clones:
        known = owners.by_uuid([clone.bhype_id or "" for clone in clones])
        users = sorted(
            {known[clone.bhype_id].name if clone.bhype_id in known else clone.name for clone in clones}
        )
        raise OperationFailed(
            f"{len(users)} live on the data of {image.name}: {', '.join(users[:10])}. Delete them first, or make "
            "them independent."
        )
