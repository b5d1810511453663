"""Confirming a change of the host, and taking it back."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from bhype import commit
from bhype.hosts.models import Host, this_host
from bhype.tasks import OperationFailed, Run, operation

from . import kinds, observe


class ChangeParams(BaseModel):
    """name, note: which change; one that was begun after it is not meant."""

    name: str = Field(pattern=r"[a-z][a-z0-9-]{0,62}")
    note: str = Field("", max_length=200)


def _words(params: ChangeParams) -> dict[str, Any]:
    return {"what": kinds.find(params.name).label}


@operation(
    "network.confirm_change", title="Keep: {what}", right="network.change", lock="change:{name}",
    subject="change:{name}", target=this_host, describe=_words,
)  # fmt: skip
def confirm(run: Run, params: ChangeParams) -> None:
    """Keep the change. May be repeated."""
    _decide(run, params, lambda: commit.confirm(run.host, params.name, params.note))


@operation(
    "network.revert_change", title="Take back: {what}", right="network.change", lock="change:{name}",
    subject="change:{name}", target=this_host, describe=_words,
)  # fmt: skip
def revert(run: Run, params: ChangeParams) -> None:
    """Take the change back. May be repeated."""
    _decide(run, params, lambda: commit.revert(run.host, params.name, "It was taken back.", params.note))


def _decide(run: Run, params: ChangeParams, decide: Any) -> None:
    try:
        decide()
    except (commit.NoChange, commit.TooLate) as error:
        raise OperationFailed(str(error)) from error
    finally:
        change = commit.look(run.host, params.name)
        observe.mirror(Host.objects.this(), [change] if change else [])
