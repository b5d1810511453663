"""``zfs load-key``, ``unload-key`` and ``change-key`` (libzfs_crypto.c). A failure is exit status 255, as there."""

from __future__ import annotations

from bhype.lab import core
from bhype.lab.openzfs import crypt, properties
from bhype.lab.openzfs.making import opened
from bhype.lab.openzfs.properties import F, V
from bhype.lab.openzfs.store import Store, changing
from bhype.lab.openzfs.usage import assignments, options, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FAILED = 255


class Failed(Exception):
    """A key cannot be loaded, unloaded or changed; the message is libzfs's line."""


def load_key(argv: list[str]) -> int:
    """``zfs load-key``."""
    found, arguments = options("load-key", argv, "nraL:")
    letters = {letter for letter, _ in found}
    place = dict(found).get("L", "")
    name = _named("load-key", arguments, letters)
    dry = "n" in letters
    with changing() as store:
        roots = _roots(store, name, letters)
        code = 0
        if roots is None:
            try:
                _load(store, name, place, dry=dry)
                if dry:
                    print("1 / 1 key(s) successfully verified")
            except Failed as failed:
                if dry:
                    print("0 / 1 key(s) successfully verified")
                core.warn(f"Key load error: {failed}")
                code = FAILED
            return code
        waiting = [each for each in roots if dry or store.locked(each)]
        done = 0
        for each in waiting:
            try:
                _load(store, each, place, dry=dry)
                done += 1
            except Failed as failed:
                core.warn(f"Key load error: {failed}")
                code = FAILED
        if waiting:
            print(f"{done} / {len(waiting)} key(s) successfully {'verified' if dry else 'loaded'}")
    return code


def _named(command: str, arguments: list[str], letters: set[str]) -> str:
    if "a" in letters:
        if arguments:
            refuse(command, "Cannot specify dataset with -a option")
        return ""
    if not arguments:
        refuse(command, "Missing dataset argument or -a option")
    if len(arguments) > 1:
        refuse(command, "Too many arguments")
    return arguments[0]


def _roots(store: Store, name: str, letters: set[str]) -> list[str] | None:
    """The encryption roots that -a or -r is about; None for one dataset alone."""
    if name:
        opened(store, name, (F, V))
    if not letters & {"a", "r"}:
        return None
    tops = [name] if name else list(store.pools)
    inside = [each for top in tops for each in [top, *store.below(top)]]
    return sorted(each for each in inside if "key" in store.datasets[each])


def _root(store: Store, name: str, action: str) -> dict[str, Any]:
    """The key of an encryption root."""
    root = store.key_root(name)
    if not root:
        raise Failed(f"'{name}' is not encrypted.")
    if root != name:
        raise Failed(f"Keys must be {action}ed for encryption root of '{name}' ({root}).")
    key: dict[str, Any] = store.datasets[name]["key"]
    return key


def _load(store: Store, name: str, place: str, *, dry: bool) -> None:
    key = _root(store, name, "load")
    if key["loaded"] and not dry:
        raise Failed(f"Key already loaded for '{name}'.")
    try:
        material = crypt.read(key["format"], place or store.datasets[name]["props"]["keylocation"])
    except crypt.BadKey as error:
        raise Failed(str(error) or "encryption failure") from None
    if not crypt.fits(key, material):
        raise Failed(f"Incorrect key provided for '{name}'.")
    if dry:
        return
    key["loaded"] = True
    # Volumes show at once, filesystems when they are mounted.
    for each in [name, *_needing(store, name)]:
        if store.datasets[each]["type"] == V:
            store.show(each)


def load(store: Store, root: str) -> None:
    """Load the key of an encryption root from where its property says; fails as zfs(8)."""
    try:
        _load(store, root, "", dry=False)
    except Failed as failed:
        core.fail(f"Key load error: {failed}", FAILED)


def _needing(store: Store, root: str) -> list[str]:
    """The datasets that need the key of ``root``, itself left out."""
    guid = str(store.datasets[root]["guid"])
    return store.datasets.find(
        "type IN ('filesystem', 'volume') AND json_extract(row, '$.key_root') = ?", guid
    )


def unload_key(argv: list[str]) -> int:
    """``zfs unload-key``."""
    found, arguments = options("unload-key", argv, "ra")
    letters = {letter for letter, _ in found}
    name = _named("unload-key", arguments, letters)
    code = 0
    with changing() as store:
        roots = _roots(store, name, letters)
        waiting = [name] if roots is None else [each for each in roots if not store.locked(each)]
        done = 0
        for each in waiting:
            try:
                _unload(store, each)
                done += 1
            except Failed as failed:
                core.warn(f"Key unload error: {failed}")
                code = FAILED
        if roots is not None and waiting:
            print(f"{done} / {len(waiting)} key(s) successfully unloaded")
    return code


def _unload(store: Store, name: str) -> None:
    key = _root(store, name, "unload")
    if not key["loaded"]:
        raise Failed(f"Key already unloaded for '{name}'.")
    mine = [name, *_needing(store, name)]
    for each in mine:
        row = store.datasets[each]
        if (row["type"] == F and row.get("shown")) or store.busy(each):
            raise Failed(f"'{name}' is busy.")
    for each in mine:
        store.hide(each)
    key["loaded"] = False


def change_key(argv: list[str]) -> int:
    """``zfs change-key``."""
    found, arguments = options("change-key", argv, "lio:")
    letters = {letter for letter, _ in found}
    given = assignments([value for letter, value in found if letter == "o"])
    if not arguments:
        refuse("change-key", "Missing dataset argument")
    if len(arguments) > 1:
        refuse("change-key", "Too many arguments")
    if "i" in letters and given:
        refuse("change-key", "Properties not allowed for inheriting")
    name = arguments[0]
    with changing() as store:
        opened(store, name, (F, V))
        try:
            if "l" in letters and store.key_root(name) and store.locked(name):
                load(store, store.key_root(name))
            _change(store, name, given, inherit="i" in letters)
        except Failed as failed:
            core.fail(f"Key change error: {failed}", FAILED)
    return 0


def _change(store: Store, name: str, given: dict[str, str], *, inherit: bool) -> None:
    row = store.datasets[name]
    root = store.key_root(name)
    if not root:
        raise Failed("Dataset not encrypted.")
    if inherit:
        above = store.key_root(name.rpartition("/")[0]) if "/" in name else ""
        if root != name:
            raise Failed("Key inheriting can only be performed on encryption roots.")
        if not above:
            raise Failed("Parent must be encrypted.")
        if store.locked(above):
            raise Failed("Parent key must be loaded.")
    if store.locked(name):
        raise Failed("Key must be loaded.")
    below = [each for each in _needing(store, name) if root == name]
    if inherit:
        for each in [name, *below]:
            store.datasets[each]["key_root"] = str(store.datasets[above]["guid"])
        del row["key"]
        row["props"].pop("keylocation", None)
        return
    checked = {}
    for prop, value in given.items():
        try:
            checked[prop] = properties.parse(prop, value, row["type"], creating=True)
        except properties.BadProperty as error:
            raise Failed(str(error)) from None
    form = checked.get("keyformat") or (row["key"]["format"] if root == name else "")
    if not form:
        raise Failed("Keyformat required for new encryption root.")
    old = row["props"].get("keylocation", "prompt")
    place = checked.get("keylocation") or ("prompt" if "keyformat" in checked and old != "prompt" else old)
    try:
        material = crypt.read(form, place)
    except crypt.BadKey as error:
        raise Failed(str(error) or "encryption failure") from None
    row["key"] = crypt.wrapped(form, material, int(checked.get("pbkdf2iters", crypt.ITERATIONS)))
    row.pop("key_root", None)
    row["props"]["keylocation"] = place
    # What lies below and had the same root has this one now.
    if root != name:
        for each in store.below(name):
            if store.key_root(each) == root:
                store.datasets[each]["key_root"] = str(row["guid"])
