"""The life of keys, in the lab: made, locked, unlocked, changed, and lost with the host's power."""

from __future__ import annotations

import random

import pytest

from bhype.freebsd import zfs_keys
from bhype.hosts.observer import Observer
from bhype.tasks import ask
from bhype.tasks.models import Task
from storage.datasets import observe as observe_datasets
from storage.datasets import passphrases
from storage.models import Dataset, Pool

FIRST, OTHER, WRONG = "the first words", "quite other words", "not these words"
MIB = 1 << 20


@pytest.fixture
def do(ready):
    def do(operation: str, row: Dataset, **params) -> Task:
        for name in ("secret", "new_secret"):
            if name in params:
                params[name] = passphrases.seal(params[name])
        task = ask(operation, {"dataset_id": row.pk, **params}, None)
        ready.run_tasks()
        task.refresh_from_db()
        return task

    return do


@pytest.fixture
def safe(ready, do) -> Dataset:
    """An encrypted filesystem with a volume and a file in it."""
    observe_datasets.refresh(ready.host, Pool.objects.get(name="tank"))
    home = Dataset.objects.get(name="tank/bhype")
    made = do("storage.create_dataset", home, name="safe", secret=FIRST)
    assert made.status == "succeeded", made.error
    row = Dataset.objects.get(name="tank/bhype/safe")
    made = do("storage.create_dataset", row, name="disk", kind="volume", size=8 * MIB)
    assert made.status == "succeeded", made.error
    (ready.root / "tank/bhype/safe/note").write_text("secret plans")
    return row


def reboot(lab) -> None:
    """What a start of the host leaves of encrypted datasets: nothing mounted, no key."""
    if "tank/bhype/safe" in mounted(lab):
        lab.commands("/sbin/zfs", "unmount", "tank/bhype/safe")
    if key(lab) == "available":
        lab.commands("/sbin/zfs", "unload-key", "tank/bhype/safe")
    Observer(lab.host).sweep()


def mounted(lab) -> list[str]:
    text = lab.commands(
        "/sbin/zfs", "list", "-H", "-o", "name,mounted", "-t", "filesystem", "-r", "tank/bhype"
    )
    return [line.split("\t")[0] for line in text.splitlines() if line.endswith("yes")]


def key(lab) -> str:
    return lab.commands("/sbin/zfs", "get", "-H", "-o", "value", "keystatus", "tank/bhype/safe").strip()


def note(lab) -> str | None:
    file = lab.root / "tank/bhype/safe/note"
    return file.read_text() if file.exists() else None


def test_children_have_the_key_of_their_parent(ready, safe):
    rows = {row.name: row for row in Dataset.objects.filter(name__startswith=safe.name)}
    assert {row.encryption_root for row in rows.values()} == {safe.name}
    assert {row.encryption for row in rows.values()} == {"aes-256-gcm"}
    assert {row.key_status for row in rows.values()} == {"available"}
    assert Dataset.objects.get(name="tank/bhype").encryption == "off"


def test_locked_it_cannot_be_read_until_the_right_words_come(ready, do, safe):
    assert do("storage.lock", safe).status == "succeeded"
    safe.refresh_from_db()
    assert safe.is_locked and key(ready) == "unavailable" and note(ready) is None
    assert "is locked" in do("storage.create_dataset", safe, name="x").error
    assert do("storage.unlock", safe, secret=WRONG).error == "The passphrase is wrong."
    assert "Give its passphrase" in do("storage.unlock", safe).error
    assert key(ready) == "unavailable"
    assert do("storage.unlock", safe, secret=FIRST).status == "succeeded"
    safe.refresh_from_db()
    assert not safe.is_locked and note(ready) == "secret plans"
    assert do("storage.unlock", safe, secret=FIRST).status == "succeeded"


def test_a_new_passphrase_needs_the_old_one(ready, do, safe):
    assert do("storage.change_key", safe, secret=WRONG, new_secret=OTHER).error == "The passphrase is wrong."
    assert do("storage.change_key", safe, secret=FIRST, new_secret=OTHER).status == "succeeded"
    do("storage.lock", safe)
    assert "It is locked" in do("storage.change_key", safe, secret=OTHER, new_secret=FIRST).error
    assert do("storage.unlock", safe, secret=FIRST).error == "The passphrase is wrong."
    assert do("storage.unlock", safe, secret=OTHER).status == "succeeded"
    assert note(ready) == "secret plans"


def test_no_passphrase_stands_anywhere(ready, do, safe):
    do("storage.change_key", safe, secret=FIRST, new_secret=OTHER)
    do("storage.lock", safe)
    do("storage.unlock", safe, secret=OTHER)
    from tests.test_routes import snapshot

    everything = snapshot()
    history = ready.commands("/sbin/zpool", "history", "tank")
    for words in (FIRST, OTHER):
        assert words not in everything and words not in history
    assert "load-key" in everything


def test_what_is_in_use_stays_unlocked_and_mounted(ready, do, safe):
    ready.fault(
        command="zfs unload-key", do="fail", code=255, text="Key unload error: 'tank/bhype/safe' is busy."
    )
    assert do("storage.lock", safe).error == "Something on the host still uses it."
    ready.clear_faults()
    safe.refresh_from_db()
    assert not safe.is_locked and note(ready) == "secret plans"
    ready.fault(
        command="zfs unmount", do="fail", text="cannot unmount '/tank/bhype/safe': pool or dataset is busy"
    )
    assert do("storage.lock", safe).error == "Something on the host still uses it."
    ready.clear_faults()
    assert note(ready) == "secret plans"


@pytest.mark.parametrize("command", ["zfs load-key", "zfs mount"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_unlocking_that_broke_off_is_done_again(ready, do, safe, command, when):
    do("storage.lock", safe)
    ready.fault(command=command, do="kill", when=when)
    assert do("storage.unlock", safe, secret=FIRST).status == "failed"
    ready.clear_faults()
    assert do("storage.unlock", safe, secret=FIRST).status == "succeeded"
    assert note(ready) == "secret plans"


def test_a_worker_that_died_leaves_it_locked_or_mounted(ready, do, safe):
    do("storage.lock", safe)
    ready.host.run(zfs_keys.load(safe.name, FIRST))
    assert note(ready) is None
    task = ask("storage.settle_key", {"dataset_id": safe.pk}, None)
    ready.run_tasks()
    task.refresh_from_db()
    assert task.status == "succeeded" and note(ready) == "secret plans"


def test_what_has_no_key_of_its_own_is_locked_at_its_root(ready, do, safe):
    disk = Dataset.objects.get(name=f"{safe.name}/disk")
    assert f"has the key of {safe.name}" in do("storage.lock", disk).error
    assert "not encrypted with a key of its own" in do("storage.unlock", disk, secret=FIRST).error
    plain = Dataset.objects.get(name="tank/bhype/isos")
    assert "not encrypted" in do("storage.lock", plain).error


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_done_the_key_behaves_as_a_lock_does(ready, do, safe, seed):
    """Against a model: whether it is locked, and the words that open it."""
    chance = random.Random(seed)
    is_locked, words = False, FIRST
    for _ in range(14):
        act = chance.choice(["lock", "right", "wrong", "change", "change wrongly", "reboot"])
        if act == "lock":
            assert (do("storage.lock", safe).status == "succeeded") == (not is_locked)
            is_locked = True
        elif act == "right":
            assert do("storage.unlock", safe, secret=words).status == "succeeded"
            is_locked = False
        elif act == "wrong":
            assert (do("storage.unlock", safe, secret=WRONG).status == "failed") == is_locked
        elif act == "change":
            new = f"words of number {chance.random()}"
            worked = do("storage.change_key", safe, secret=words, new_secret=new).status == "succeeded"
            assert worked == (not is_locked)
            words = new if worked else words
        elif act == "change wrongly":
            assert do("storage.change_key", safe, secret=WRONG, new_secret=OTHER).status == "failed"
        else:
            reboot(ready)
            is_locked = True
        safe.refresh_from_db()
        assert (safe.is_locked, key(ready)) == (is_locked, "unavailable" if is_locked else "available"), act
        assert note(ready) == (None if is_locked else "secret plans"), act
