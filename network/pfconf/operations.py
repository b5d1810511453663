"""Adding bHype's anchors to the admin's pf.conf: on request, with a backup, and taken back unless it is confirmed.

The file itself stays as it is until the confirmation: what is loaded meanwhile is a copy beside it. So a host that dies
in between comes back with the old file.
"""

from __future__ import annotations

import stat
from pathlib import Path

from django.utils import timezone
from pydantic import BaseModel, Field

from bhype import commit
from bhype.freebsd import kld, pf_conf, pfctl
from bhype.freebsd.command import Command
from bhype.host import CommandFailed
from bhype.hosts.models import Host, this_host
from bhype.tasks import OperationFailed, Run, operation
from network.changes import observe as changes
from network.firewall.observe import missing_calls

from . import observe

CHANGE = "pf-conf"
# Back to no main rules.
FLUSH = [pfctl.flush_main("rules"), pfctl.flush_main("nat")]


class AddParams(BaseModel):
    """digest: of the file that the person has seen, empty for none; seconds: to confirm it in."""

    digest: str = Field("", pattern=r"([0-9a-f]{64})?")
    seconds: int = Field(60, ge=10, le=3600)


@operation(
    "network.add_anchors", title="Let pf.conf ask bHype's anchors", right="network.change", lock="network",
    subject="pf-conf", target=this_host,
)  # fmt: skip
def add_anchors(run: Run, params: AddParams) -> None:
    """Write the missing lines beside the file, let pfctl(8) check and load that, and wait for the confirmation."""
    path = observe.path_of(run.host.query)
    exists = run.host.exists(path)
    text = run.host.read_text(path) if exists else ""
    if (observe.digest(text) if exists else "") != params.digest:
        raise OperationFailed(f"{path} was changed meanwhile. Look at it again, then add the lines.")
    try:
        new = pf_conf.insert(text)
    except pf_conf.Unreadable as error:
        raise OperationFailed(f"{path} cannot be read: {error}") from error
    if not run.host.query(kld.is_loaded("pf")):
        raise OperationFailed("pf is not in the kernel: see the self-test of NAT and the firewall.")
    if new == text and not missing_calls(run.host.query):
        run.log("Nothing is missing.")
        return
    try:
        if new == text:
            _load_again(run, params, path)
        else:
            _load_draft(run, params, path, text if exists else None, new)
    except (CommandFailed, commit.Busy, OSError) as error:
        raise OperationFailed(str(error)) from error
    finally:
        change = commit.look(run.host, CHANGE)
        changes.mirror(Host.objects.this(), [change] if change else [])
    run.log(f"Confirm it within {params.seconds} s, or the old rules come back.")


def _load_draft(run: Run, params: AddParams, path: str, text: str | None, new: str) -> None:
    """Load the new file from beside the old one, whose text is None where there is none."""
    draft = f"{path}.bhype-new"
    run.stage("Checking the new file")
    _write(run, draft, new, like="" if text is None else path)
    undo = [pfctl.load_main(path)] if text is not None else FLUSH
    try:
        run.host.run(pfctl.check_main(draft))
        if text is not None:
            backup = f"{path}.bhype-{timezone.now():%Y%m%d-%H%M%S}"
            _write(run, backup, text, like=path)
            run.log(f"The file as it was is kept as {backup}.")
        # What the admin writes into the file meanwhile is not lost.
        _load(run, params, draft, undo, [commit.Move(draft, path, params.digest)])
    except (CommandFailed, commit.Busy, OSError):
        run.host.unlink(draft)
        raise


def _load_again(run: Run, params: AddParams, path: str) -> None:
    """Load the file as it is, as somebody has flushed what was loaded of it. Raises OperationFailed where other rules
    are loaded instead: there would be no way back to those."""
    if run.host.query(pfctl.main_rules()) or run.host.query(pfctl.main_translations()):
        raise OperationFailed(
            f"{path} has the lines, but other rules are loaded than those of the file. Load it yourself: "
            "service pf reload."
        )
    run.host.run(pfctl.check_main(path))
    _load(run, params, path, FLUSH, [])


def _load(
    run: Run, params: AddParams, path: str, undo: list[Command], keep: list[Command | commit.Move]
) -> None:
    commit.begin(run.host, CHANGE, undo=undo, seconds=params.seconds, keep=keep, note=params.digest[:12])
    run.stage("Loading it")
    with commit.changing(run.host, CHANGE):
        run.host.run(pfctl.load_main(path))


def _write(run: Run, path: str, text: str, *, like: str) -> None:
    """Write a file with the mode of ``like``; of none, as the file comes with FreeBSD."""
    mode = stat.S_IMODE(Path(run.host.path(like)).stat().st_mode) if like else 0o600
    run.host.write_text(path, text, mode)
