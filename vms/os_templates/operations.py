"""What the worker does to templates. A row in state "making" or "deleting" belongs to its task; when that ends badly,
``vms.recover_template`` removes what is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django.db import transaction
from pydantic import BaseModel, Field, field_validator

from bhype.freebsd import names
from bhype.host import CommandError, CommandStopped
from bhype.live import publish
from bhype.tasks import Cancelled, OperationFailed, Run, ask, operation
from storage.models import Image
from vms import place
from vms.models import VM, Template
from vms.operating import require_off, require_whole
from vms.transfer import copies

from . import build

FAILURES = (CommandError, OperationFailed, Cancelled, OSError)
State = Template.State


class TemplateParams(BaseModel):
    template_id: int


class FromImageParams(TemplateParams):
    image_id: int


class FromVmParams(TemplateParams):
    """snapshot: of the VM and its disks, "" for the VM as it is now; linked: share its data; keep_vars: keep what its
    firmware remembers."""

    vm_id: int
    snapshot: str = Field("", max_length=200)
    linked: bool = False
    keep_vars: bool = False

    @field_validator("snapshot")
    @classmethod
    def _is_snapshot(cls, value: str) -> str:
        if value:
            try:
                names.snapshot(f"pool/dataset@{value}")
            except names.BadName as error:
                raise ValueError(str(error)) from error
        return value


class DeleteParams(TemplateParams):
    """promote: where VMs are clones of it, the first of them takes the data over."""

    promote: bool = False


class RecoverParams(TemplateParams):
    """vm_id: the VM that it was to be made from."""

    vm_id: int | None = None


def row_of(params: TemplateParams) -> Template | None:
    return Template.objects.select_related("pool", "host").filter(pk=params.template_id).first()


def template_of(params: TemplateParams) -> Template:
    """As `row_of`; raises OperationFailed when it is gone, or its name is none for a dataset."""
    template = row_of(params)
    if template is None:
        raise OperationFailed("The template does not exist any more.")
    check(template)
    return template


def check(template: Template) -> None:
    """Rows are written by who is not root: raise OperationFailed when these words lead elsewhere."""
    try:
        names.pool(template.pool.name)
        names.vm_name(template.name)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error


def _words(params: TemplateParams) -> dict[str, str]:
    return {"template": str(row_of(params) or f"template {params.template_id}")}


_operation = partial(
    operation, right="templates.change", lock="template:{template_id}", subject="template:{template_id}",
    target=row_of, describe=_words,
)  # fmt: skip


def mark(template: Template, state: str, reason: str = "") -> None:
    with transaction.atomic():
        Template.objects.filter(pk=template.pk).update(state=state, reason=reason)
        publish(template.subject, "templates")
    template.state, template.reason = state, reason


@_operation("vms.make_template_from_image", "Make the template {template}", recover="vms.recover_template")
def make_from_image(run: Run, params: FromImageParams) -> None:
    """Make a template of an image of the library; its disk is a clone. Undone when it fails."""
    image = Image.objects.select_related("pool").filter(pk=params.image_id).first()

    def work(template: Template) -> None:
        if image is None or image.state != Image.State.READY:
            raise OperationFailed("The image is not in the library any more, or not ready.")
        build.from_image(run, template, image)

    _make(params, work)


@_operation(
    "vms.make_template", "Make the template {template}", lock="vm:{vm_id}", recover="vms.recover_template"
)
def make_from_vm(run: Run, params: FromVmParams) -> None:
    """Make a template of a VM that is off, or of one of its snapshots, without its identity. Undone when it fails."""
    vm = VM.objects.select_related("host", "pool").filter(pk=params.vm_id).first()

    def work(template: Template) -> None:
        if vm is None:
            raise OperationFailed("The VM does not exist any more.")
        if params.snapshot:
            require_whole(vm)
        else:
            require_off(run, vm)
        if problem := copies.problem_of(vm):
            raise OperationFailed(problem)
        place.check(run.host, vm)
        build.from_vm(run, template, vm, params.snapshot, linked=params.linked, keep_vars=params.keep_vars)

    _make(params, work)


def _make(params: TemplateParams, work: Callable[[Template], None]) -> None:
    template = template_of(params)
    if template.state != State.MAKING:
        raise OperationFailed(f"{template} has been made already.")
    try:
        work(template)
    except FAILURES:
        ask("vms.recover_template", params, None)
        raise
    mark(template, State.READY)


@_operation("vms.delete_template", "Delete the template {template}", recover="vms.recover_template")
def delete(run: Run, params: DeleteParams) -> None:
    """Destroy the template's disks and forget it. Refused while VMs are clones of it, unless they take it over."""
    template = template_of(params)
    if template.state == State.MAKING:
        raise OperationFailed(f"{template} is still being made.")
    before = template.state, template.reason
    mark(template, State.DELETING)
    try:
        if params.promote:
            build.promote(run, template)
        build.remove(run, template)
    except FAILURES as error:
        if not isinstance(error, Cancelled | CommandStopped):
            # Whole, or so far gone that no VM can be made of it: deleting it again finishes it.
            mark(
                template,
                *(
                    before
                    if _is_whole(run, template)
                    else (State.FAILED, f"It could not be deleted: {error}")
                ),
            )
        raise
    _forget(template)


def _is_whole(run: Run, template: Template) -> bool:
    try:
        return len(build.datasets(run, template)) == 1 + len(template.disks)
    except FAILURES:
        return False


@_operation("vms.recover_template", "Tidy up after the template {template}", right=None)
def recover(run: Run, params: RecoverParams) -> None:
    """Remove a template of which the making or deletion was broken off. Any other is left as it is."""
    template = row_of(params)
    if template is None or template.state not in {State.MAKING, State.DELETING}:
        run.log("There is nothing to tidy up.")
        return
    check(template)
    try:
        build.remove(run, template)
        vm = VM.objects.select_related("pool").filter(pk=params.vm_id).first() if params.vm_id else None
        if vm is not None:
            build.drop_snapshots(run, vm.dataset, template)
    except FAILURES as error:
        if run.cancelled or not isinstance(error, Cancelled | CommandStopped):
            mark(template, State.FAILED, f"It could not be removed: {error}")
        raise
    _forget(template)


def _forget(template: Template) -> None:
    with transaction.atomic():
        subject = template.subject
        template.delete()
        publish(subject, "templates", "vms")
