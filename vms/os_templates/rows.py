"""The rows of templates: making them, and which version a name stands for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from bhype.accounts.models import User
from bhype.freebsd import names
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from storage.models import Dataset, Image
from vms import wanted
from vms.models import VM, OsPreset, Template
from vms.transfer import copies

from . import documents
from .documents import Draft

READY = Template.State.READY


def make_from_image(
    image: Image, name: str, user: User, *, preset: OsPreset | None, size: int | None = None, **columns: Any
) -> tuple[Template, Task]:
    """A template with a clone of the image as its disk, of ``size`` bytes or that of the image. columns: notes,
    is_published. Raises Refused."""
    if image.state != Image.State.READY:
        raise Refused("conflict", f"{image.name} is not ready.", "image", 409)
    if size is not None and size < image.size:
        raise Refused("invalid", "The disk cannot be smaller than the image.", "size")
    kept = preset or OsPreset()
    draft = documents.of_image(
        preset, size=size or image.size, firmware=image.firmware, cpus=kept.cpus, memory=kept.memory
    )
    row = Template(
        host=image.pool.host, pool=image.pool, name=name, image=image, preset=preset,
        made_from=f"image {image.name}", cloud_init_kind=image.cloud_init or kept.cloud_init,
        login=image.login or kept.login, **columns,
    )  # fmt: skip
    return _save(row, draft, user, "vms.make_template_from_image", image_id=image.pk)


def make_from_vm(
    vm: VM,
    name: str,
    user: User,
    *,
    snapshot: str = "",
    linked: bool = False,
    keep_vars: bool = False,
    **columns: Any,
) -> tuple[Template, Task]:
    """A template of a VM that is off, or of one of its snapshots. columns: notes, is_published, preset, login,
    cloud_init_kind. Raises Refused."""
    vm = wanted.load(vm.pk)
    if problem := copies.problem_of(vm):
        raise Refused("conflict", problem, status=409)
    if vm.is_on and not snapshot:
        raise Refused(
            "conflict", f"{vm.name} is on. Stop it first, or choose one of its snapshots.", "snapshot", 409
        )
    draft = documents.of_vm(vm)
    if not draft.disks:
        raise Refused("invalid", f"{vm.name} has no disk that is a volume.")
    before = vm.template
    row = Template(host=vm.host, pool=vm.pool, name=name, made_from=f"VM {vm.name}", **columns)
    if before is not None:
        row.preset = row.preset or before.preset
        row.cloud_init_kind, row.login = (
            row.cloud_init_kind or before.cloud_init_kind,
            row.login or before.login,
        )
    return _save(
        row,
        draft,
        user,
        "vms.make_template",
        vm_id=vm.pk,
        snapshot=snapshot,
        linked=linked,
        keep_vars=keep_vars,
    )


def _save(row: Template, draft: Draft, user: User, operation: str, **params: Any) -> tuple[Template, Task]:
    """Write it as the next version of its name, and ask for it, all or nothing."""
    try:
        names.vm_name(row.name)
    except names.BadName as error:
        raise Refused("invalid", str(error), "name") from error
    row.document, row.disks, row.created_by = draft.document, draft.disks, user
    row.notes = "\n".join([*filter(None, [row.notes]), *draft.notes])
    for _ in range(8):
        known = Template.objects.filter(host=row.host, name=row.name).aggregate(last=Max("version"))
        row.version = (known["last"] or 0) + 1
        try:
            with transaction.atomic():
                row.save()
                task = ask(operation, {"template_id": row.pk, **params}, user)
                publish(row.subject, "templates")
        except IntegrityError:
            # Somebody else made this version in this moment.
            row.pk = None
            continue
        return row, task
    raise Refused("conflict", "Too many templates are being made at once. Try again.", status=409)


def newest(templates: Iterable[Template]) -> list[Template]:
    """Of each name the newest version that is ready, a published one before any other."""
    best: dict[str, Template] = {}
    for row in templates:
        if row.state == READY:
            known = best.get(row.name)
            if known is None or (row.is_published, row.version) > (known.is_published, known.version):
                best[row.name] = row
    return [best[name] for name in sorted(best)]


def find(user: User, word: str) -> Template | None:
    """The template that ``word`` names for this user: ``debian12`` is the newest, ``debian12-v2`` or ``debian12:2``
    that version. None when there is none."""
    rows = Template.objects.visible_to(user).filter(state=READY).select_related("host", "pool")
    if "\0" in word or len(word) > 64:
        return None
    for mark in (":", "-v"):
        name, found, version = word.rpartition(mark)
        is_version = found and version.isascii() and version.isdigit() and len(version) < 6
        if is_version and (row := rows.filter(name=name, version=int(version)).first()):
            return row
    return next(iter(newest(rows.filter(name=word))), None)


def users(template: Template) -> list[str]:
    """The volumes that were seen as clones of it, by name."""
    rows = Dataset.objects.filter(pool=template.pool_id, origin__startswith=f"{template.dataset}/")
    return list(rows.order_by("name").values_list("name", flat=True))


def origins(host: Host) -> list[str]:
    """The snapshots of templates of which volumes of this host were seen as clones, one for each volume."""
    rows = Dataset.objects.filter(pool__host=host, origin__contains="/bhype/templates/")
    return list(rows.values_list("origin", flat=True))
