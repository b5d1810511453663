"""Locking, unlocking and changing keys, as tasks. No parameter is a passphrase: see `storage.datasets.passphrases`."""

from __future__ import annotations

from bhype.tasks import OperationFailed, Run

from . import keys, passphrases
from .operations import DatasetParams, dataset_operation, found, on_host, row_of
from .passphrases import Secret


class UnlockParams(DatasetParams):
    """secret: "" where the key lies in a file of the host; start: what starts with the host and waits for this."""

    secret: Secret = ""
    start: bool = True


class SettleParams(DatasetParams):
    """What was broken off: with ``start`` an unlocking that was to start things."""

    start: bool = False


class ChangeKeyParams(DatasetParams):
    """secret: the passphrase that it has; new_secret: the one that it is to have."""

    secret: Secret = ""
    new_secret: Secret


def taken(run: Run, secret: str) -> str | None:
    """The passphrase behind a parameter, kept out of the log; None where there is none."""
    if not secret:
        return None
    passphrase = passphrases.take(secret)
    run.redact(passphrase)
    return passphrase


@dataset_operation("storage.unlock", "Unlock {dataset}", recover="storage.settle_key")
def unlock(run: Run, params: UnlockParams) -> None:
    """Load the key of an encryption root and mount what has it. What waited for it starts."""
    passphrase = taken(run, params.secret)
    row = row_of(params)
    if row is None:
        raise OperationFailed("There is no such dataset any more.")
    on_host(run, row)
    keys.unlock(run, row.pool, row.name, passphrase, start=params.start)


@dataset_operation("storage.lock", "Lock {dataset}", recover="storage.settle_key")
def lock(run: Run, params: DatasetParams) -> None:
    """Unmount what has the key of an encryption root, and unload it. Refused while something uses it."""
    use, _, _ = found(run, params, "lock")
    keys.lock(run, use.dataset.pool, use.name)


@dataset_operation("storage.change_key", "Change the key of {dataset}")
def change_key(run: Run, params: ChangeKeyParams) -> None:
    """Give an encryption root that is unlocked another passphrase, for whoever knows the old one."""
    old, new = taken(run, params.secret), taken(run, params.new_secret)
    use, _, _ = found(run, params, "change_key")
    keys.change(run, use.dataset.pool, use.name, old or "", new or "")


@dataset_operation("storage.settle_key", "Look after the key of {dataset}", right=None)
def settle_key(run: Run, params: SettleParams) -> None:
    """Mount what is unlocked, after the worker died or was stopped; what is locked stays so."""
    row = row_of(params)
    if row is None:
        run.log("It is gone.")
        return
    on_host(run, row)
    keys.settle(run, row.pool, row.name, start=params.start)
