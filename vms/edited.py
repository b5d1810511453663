"""vm.json edited by hand: noticed, shown on the VM's page, and answered before bHype writes the file again.

Two answers are possible: what was written is taken over (through `wanted.apply`, with its rules and rights), or bHype's
own text is written again. Until then neither a start nor a change of the configuration overwrites it.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from django.db import transaction

from bhype.accounts.models import User
from bhype.host import LocalHost
from bhype.live import publish
from bhype.tasks import OperationFailed, ask
from bhype.tasks.models import Task
from bhype.vmrun.config import load
from bhype.vmrun.problems import Unfit

from . import plan, wanted
from .models import VM

TEXT_MAX = wanted.DOCUMENT_MAX
# The two answers, by whether the edit is taken over.
WORDS = {True: "taken over", False: "written again"}
Document = dict[str, Any]


def digest_of(data: bytes) -> str:
    """How VM.file_digest knows a text."""
    return hashlib.sha256(data).hexdigest()


def find(host: LocalHost, vm: VM) -> Document | None:
    """What somebody else has written into vm.json, as VM.edited keeps it; None when it is as bHype wrote it.

    {"digest": of the text, "document": what it says, without the password of the screen, or null, "problem": why
    it cannot be read}.
    """
    if not vm.file_digest:
        return None
    data = _read(host, plan.config_path(vm))
    if data is None or digest_of(data) == vm.file_digest:
        return None
    document, problem = _understand(data)
    # A worker that died between file and row has written what is wanted; so has who only moved the spaces.
    if document is not None and _plain(document) == _plain(plan.document(vm)):
        return None
    shown = None if document is None else plan.without_secrets(document)
    return {"digest": digest_of(data), "document": shown, "problem": problem}


def notice(host: LocalHost, vm: VM) -> bool:
    """Keep in the row what `find` finds, or that there is nothing (more). Whether there is something."""
    found = find(host, vm)
    if found != vm.edited:
        with transaction.atomic():
            VM.objects.filter(pk=vm.pk).update(edited=found)
            publish(vm.subject, "vms")
        vm.edited = found
    return found is not None


def require_answered(host: LocalHost, vm: VM) -> None:
    """Raise OperationFailed when vm.json has a change by hand that nobody has answered yet."""
    if notice(host, vm):
        raise OperationFailed(
            f"{plan.config_path(vm)} was changed by hand. Take the change over on the Hardware page of {vm.name}, or"
            " have bHype's own written again; then repeat this."
        )


def take_over(vm: VM, user: User | None) -> tuple[wanted.Change, Task]:
    """Make what was written by hand what is wanted. Raises WantedError, Refused and LookupError (nothing to answer)."""
    found = vm.edited
    if not found or found.get("document") is None:
        raise LookupError(vm.name)
    with transaction.atomic():
        change = wanted.apply(vm, found["document"], user)
        return change, _answered(change.vm, found, user)


def write_again(vm: VM, user: User | None) -> Task:
    """Have bHype's own vm.json written. Raises Refused and LookupError."""
    if not vm.edited:
        raise LookupError(vm.name)
    with transaction.atomic():
        return _answered(vm, vm.edited, user)


def _answered(vm: VM, found: Document, user: User | None) -> Task:
    # The text that was looked at may be overwritten, and no later one.
    VM.objects.filter(pk=vm.pk).update(edited=None, file_digest=str(found.get("digest", "")))
    publish(vm.subject, "vms")
    return ask("vms.configure", {"vm_id": vm.pk}, user)


def _read(host: LocalHost, path: str) -> bytes | None:
    """At most a byte more than is allowed; links are not followed."""
    try:
        descriptor = os.open(host.path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(TEXT_MAX + 1)


def _understand(data: bytes) -> tuple[Document | None, str]:
    if len(data) > TEXT_MAX:
        return None, f"It has more than {TEXT_MAX >> 10} KiB."
    try:
        document = load(data.decode())
        # What a database cannot hold.
        if "\\u0000" in json.dumps(document, ensure_ascii=False, allow_nan=False).encode().decode():
            return None, "It has NUL characters."
    except Unfit as unfit:
        return None, unfit.problems[0].what
    except (ValueError, RecursionError) as error:
        return None, f"It is no text in UTF-8, or has numbers that JSON does not know: {error}."
    return document, ""


def _plain(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "bhype"}
