"""Finding things of storage."""

from __future__ import annotations

from collections.abc import Iterator

from django.urls import reverse

from bhype.accounts.models import User
from bhype.ui.search import Hit

from .models import Dataset, Image, Iso, Pool


def find(user: User, query: str) -> Iterator[Hit]:
    """Pools, datasets, images and install media by part of their name."""
    if not user.can("storage.view"):
        return
    for iso in Iso.objects.filter(name__icontains=query)[:5]:
        yield Hit(iso.name, reverse("storage:isos"), "disc", "install medium")
    for image in Image.objects.filter(name__icontains=query)[:5]:
        yield Hit(image.name, reverse("storage:image", args=[image.pk]), "photo", "image")
    for pool in Pool.objects.filter(name__icontains=query)[:3]:
        yield Hit(pool.name, reverse("storage:pool", args=[pool.name]), "database", "pool", state=pool.health)
    for dataset in Dataset.objects.filter(name__icontains=query)[:5]:
        yield Hit(dataset.name, reverse("storage:dataset", args=[dataset.name]), "folder", "dataset")
