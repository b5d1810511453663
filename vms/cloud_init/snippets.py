"""What makes a snippet a good one, and who uses it."""

from __future__ import annotations

from django.db.models import Q
from django.utils import timezone

from bhype import cloudinit
from bhype.accounts.models import User
from bhype.cloudinit import Problem
from vms.models import VM, Snippet, Template

Kind = Snippet.Kind
_BEGINNINGS = {
    Kind.USER_DATA: "#cloud-config\n",
    Kind.SCRIPT: "#!/bin/sh\nset -eu\n",
}


def beginning(kind: str) -> str:
    """What a new snippet of this kind begins with."""
    return _BEGINNINGS.get(Kind(kind)) or cloudinit.answers_template(kind)


def problems(kind: str, text: str) -> list[Problem]:
    """All that is wrong or doubtful with the text of a snippet."""
    if not text.strip():
        return [Problem("text", "There is nothing in it.")]
    if kind == Kind.SCRIPT:
        is_script = text.startswith("#!")
        return [] if is_script else [Problem("text", "It begins with #!/bin/sh or another interpreter.", 1)]
    if kind == Kind.USER_DATA:
        return cloudinit.check(text, field="text")
    return cloudinit.check_answers(kind, text)


def name_problem(name: str, row: Snippet) -> str:
    """Why a snippet cannot have this name, as a sentence; "" when it can."""
    if not name or len(name) > 64 or not name.isprintable():
        return "A name has 1 to 64 printable characters."
    if Snippet.objects.filter(owner=row.owner, name=name).exclude(pk=row.pk).exists():
        return "There is already a snippet of this name."
    return ""


def touch(row: Snippet) -> None:
    row.changed_at = timezone.now()


def used_by(row: Snippet, user: User) -> list[VM]:
    """The VMs that have the snippet in their settings, as far as ``user`` may see them."""
    return [vm for vm in VM.objects.visible_to(user).exclude(cloud_init={}) if _has(vm.cloud_init, row)]


def delete(row: Snippet) -> str:
    """Delete it, unless somebody uses it: why not is told."""
    owners: list[VM | Template] = [
        *VM.objects.filter(~Q(cloud_init={})),
        *Template.objects.filter(~Q(cloud_init={})),
    ]
    count = sum(_has(each.cloud_init, row) for each in owners)
    if count:
        return f"{row.name} is in the settings of {count} VM{'s' * (count != 1)} or templates. Take it out there first."
    row.delete()
    return ""


def _has(values: dict[str, object], row: Snippet) -> bool:
    found = values.get("snippets")
    return (isinstance(found, list) and row.pk in found) or values.get("answers") == row.pk
