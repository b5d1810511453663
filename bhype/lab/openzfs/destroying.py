"""``zfs destroy`` and ``zfs rollback``: what refuses, in which order things go, and what goes at all."""

from __future__ import annotations

from bhype.lab import core
from bhype.lab.openzfs import files, space
from bhype.lab.openzfs.database import head
from bhype.lab.openzfs.making import opened
from bhype.lab.openzfs.sizes import human
from bhype.lab.openzfs.store import F, S, Store, V, changing, reading
from bhype.lab.openzfs.usage import options, refuse

LISTED = 32


def drop(store: Store, name: str) -> None:
    """Destroy a dataset, and its origin if only this clone kept that."""
    origin = store.origin(name) if "@" not in name else ""
    store.drop(name)
    if origin and _is_over(store, origin):
        drop(store, origin)


def _is_over(store: Store, snapshot: str) -> bool:
    """Whether nothing keeps a snapshot whose destruction was deferred (``-d``)."""
    row = store.datasets[snapshot]
    return bool(row.get("defer")) and not row["holds"] and not store.clones(snapshot)


def dependents(store: Store, name: str) -> list[str]:
    """All that must go before ``name``: below it, its snapshots and their clones (zfs_iter_dependents())."""
    found: dict[str, None] = {}

    def visit(each: str) -> None:
        inner = store.clones(each) if "@" in each else [*store.children(each), *store.snapshots(each)]
        for one in inner:
            visit(one)
            found[one] = None

    visit(name)
    return list(found)


def _obstacles(store: Store, target: str, *, recursive: bool) -> str:
    """Why destroying needs -r or -R, with the list of what stands in the way (destroy_check_dependent())."""
    kind = store.datasets[target]["type"]
    inside, clones = [], []
    for name in dependents(store, target):
        if name.startswith((target + "/", target + "@")):
            inside.append(name)
        elif recursive or kind == S:
            clones.append(name)
    if inside and not recursive:
        words = f"cannot destroy '{target}': {kind} has children\nuse '-r' to destroy the following datasets:"
        return "\n".join([words, *inside])
    if clones:
        words = (
            f"cannot destroy '{target}': {kind} has dependent clones\n"
            "use '-R' to destroy the following datasets:"
        )
        return "\n".join([words, *clones])
    return ""


def destroy(argv: list[str]) -> int:
    """``zfs destroy``."""
    found, arguments = options("destroy", argv, "vpndfrR")
    letters = {letter for letter, _ in found}
    if not arguments:
        refuse("destroy", "missing dataset argument")
    if len(arguments) > 1:
        refuse("destroy", "too many arguments")
    target = arguments[0]
    if "#" in target:
        return _destroy_bookmark(target)
    work = _destroy_snapshots if "@" in target else _destroy_dataset
    if "n" in letters:
        return work(reading(), target, letters)
    with changing() as store:
        return work(store, target, letters)


def _destroy_bookmark(target: str) -> int:
    with changing() as store:
        if target not in store.datasets:
            core.fail(f"bookmark '{target}' does not exist.")
        store.drop(target)
    return 0


def _tell(name: str, letters: set[str]) -> None:
    if "p" in letters:
        print(f"destroy\t{name}")
    elif "v" in letters:
        print(f"{'would' if 'n' in letters else 'will'} destroy {name}")


def _held(store: Store, name: str) -> str:
    if not store.datasets[name]["holds"]:
        return ""
    return f"cannot destroy snapshot {name}: it's being held. Run 'zfs holds -r {name}' to see holders."


def _destroy_dataset(store: Store, target: str, letters: set[str]) -> int:
    opened(store, target, (S,) if "d" in letters else (F, V))
    recursive = bool(letters & {"r", "R"})
    if not recursive and "/" not in target:
        core.fail(
            f"cannot destroy '{target}': operation does not apply to pools\n"
            f"use 'zfs destroy -r {target}' to destroy all datasets in the pool\n"
            f"use 'zpool destroy {target}' to destroy the pool itself"
        )
    if "R" not in letters:
        obstacles = _obstacles(store, target, recursive=recursive)
        if obstacles:
            core.fail(obstacles)
    code = 0
    batch: list[str] = []
    for name in [*dependents(store, target), target]:
        if "/" not in head(name) and "@" not in name:
            continue
        _tell(name, letters)
        if "n" in letters:
            continue
        if "@" in name:
            batch.append(name)
            continue
        problems = _batch_problems(store, batch) or _destroy_problem(store, name)
        if problems:
            core.warn("\n".join(problems))
            code = 1
            if not recursive:
                break
        else:
            for each in [*batch, name]:
                drop(store, each)
        batch = []
    for name in batch:  # those of the pool's own filesystem
        drop(store, name)
    return code


def _batch_problems(store: Store, snapshots: list[str]) -> list[str]:
    """Why these snapshots cannot be destroyed: all go or none does."""
    cloned = [
        f"cannot destroy snapshot {name}: snapshot is cloned" for name in snapshots if store.clones(name)
    ]
    return cloned + [line for line in (_held(store, name) for name in snapshots) if line]


def _destroy_problem(store: Store, name: str) -> list[str]:
    if store.busy(name):
        if store.datasets[name]["type"] == F:
            return [f"cannot unmount '{store.datasets[name]['shown']}': pool or dataset is busy"]
        return [f"cannot destroy '{name}': dataset is busy"]
    if store.children(name):
        return [f"cannot destroy '{name}': dataset already exists"]
    return []


def _matching(store: Store, dataset: str, pattern: str) -> list[str]:
    """The snapshots of one dataset that ``a,b%c,%d`` names, oldest first (zfs_iter_snapspec())."""
    there = store.snapshots(dataset)
    chosen: set[str] = set()
    for part in pattern.split(","):
        first, percent, last = part.partition("%")
        ends = [f"{dataset}@{end}" if end else "" for end in (first, last)]
        if not percent:
            chosen |= {ends[0]} & set(there)
            continue
        if any(end and end not in there for end in ends):
            continue
        start = there.index(ends[0]) if ends[0] else 0
        stop = there.index(ends[1]) + 1 if ends[1] else len(there)
        chosen |= set(there[start:stop])
    return [name for name in there if name in chosen]


def _destroy_snapshots(store: Store, target: str, letters: set[str]) -> int:
    dataset, _, pattern = target.partition("@")
    opened(store, dataset, (F, V))
    recursive = bool(letters & {"r", "R"})
    doomed = []
    for owner in [dataset, *(store.below(dataset) if recursive else [])]:
        doomed += _matching(store, owner, pattern)
    if not letters & {"R", "d"}:
        obstacles = [_obstacles(store, name, recursive=recursive) for name in doomed]
        if any(obstacles):
            core.fail("\n".join(filter(None, obstacles)))
    if not doomed:
        core.fail("could not find any snapshots to destroy; check snapshot names.")
    for name in doomed:
        _tell(name, letters)
    if letters & {"v", "p"}:
        room = space.Space(store, dataset.partition("/")[0])
        gain = sum(room.used[name] for name in doomed)
        if "p" in letters:
            print(f"reclaim\t{gain}")
        else:
            print(f"{'would' if 'n' in letters else 'will'} reclaim {human(gain)}")
    if "n" in letters:
        return 0
    return _drop_snapshots(store, doomed, letters)


def _drop_snapshots(store: Store, doomed: list[str], letters: set[str]) -> int:
    """All of them or none, as one ioctl does."""
    clones = {clone: None for name in doomed for clone in dependents(store, name)} if "R" in letters else {}
    problems = [] if "d" in letters else list(filter(None, (_held(store, name) for name in doomed)))
    problems += [f"cannot destroy '{name}': dataset is busy" for name in clones if store.busy(name)]
    if problems:
        core.fail("\n".join(problems))
    for name in [*clones, *doomed]:
        if name not in store.datasets:
            continue
        if "d" in letters and (store.datasets[name].get("holds") or store.clones(name)):
            store.datasets[name]["defer"] = True
        else:
            drop(store, name)
    return 0


def rollback(argv: list[str]) -> int:
    """``zfs rollback``."""
    found, arguments = options("rollback", argv, "rRf")
    letters = {letter for letter, _ in found}
    if not arguments:
        refuse("rollback", "missing dataset argument")
    if len(arguments) > 1:
        refuse("rollback", "too many arguments")
    target = arguments[0]
    with changing() as store:
        opened(store, target, (S,))
        name = target.partition("@")[0]
        snapshots = store.snapshots(name)
        newer = snapshots[snapshots.index(target) + 1 :]
        age = store.datasets[target]["txg"]
        marks = [each for each in store.bookmarks(name) if store.datasets[each]["txg"] > age]
        if (newer or marks) and not letters & {"r", "R"}:
            core.fail(_newer(target, [*newer, *marks]))
        clones = {clone: None for each in newer for clone in dependents(store, each)}
        if clones and "R" not in letters:
            words = (
                f"cannot rollback to '{target}': clones of previous snapshots exist\n"
                "use '-R' to force deletion of the following clones and dependents:"
            )
            core.fail("\n".join([words, *clones]))
        held = [
            f"cannot destroy '{each}': dataset is busy" for each in newer if store.datasets[each]["holds"]
        ]
        if held:
            core.fail("\n".join(held))
        if store.busy(name) or any(store.busy(clone) for clone in clones if "@" not in clone):
            core.fail(f"cannot rollback '{name}': dataset is busy")
        if core.full():
            core.fail(f"cannot rollback '{name}': out of space")
        for each in [*clones, *newer, *marks]:
            drop(store, each)
        _restore(store, name, target)
    return 0


def _newer(target: str, newer: list[str]) -> str:
    lines = [
        f"cannot rollback to '{target}': more recent snapshots or bookmarks exist",
        "use '-r' to force deletion of the following snapshots and bookmarks:",
        *newer[:LISTED],
    ]
    if len(newer) >= LISTED:
        # It says so, and goes on all the same.
        lines += [f"Output limited to {LISTED} snapshots/bookmarks", *newer[LISTED:]]
    return "\n".join(lines)


def _restore(store: Store, name: str, snapshot: str) -> None:
    """Give the dataset the snapshot's bytes; its own stay until the copy is whole."""
    draft = store.shelf(name) + ".new"
    files.remove(draft)
    files.copy(store.shelf(snapshot), draft)
    store.replace(name, draft)
    if store.datasets[name]["type"] == V:
        store.datasets[name]["props"]["volsize"] = str(store.datasets[snapshot]["volsize"])
