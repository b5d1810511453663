"""mount(8), which only lists here: ``mount`` and ``mount -p`` (fstab(5)'s form); and swapinfo(8), see swapinfo.py."""

from __future__ import annotations

from bhype.lab import core, disks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS = {"ufs": "soft-updates", "msdosfs": "", "devfs": "", "zfs": "nfsv4acls"}


def main(argv: list[str]) -> int:
    core.fault(" ".join(["mount", *argv]))
    try:
        found, words = core.getopt(argv, "pvt:")
    except core.BadOption:
        core.fail("usage: mount [-adflpruvw] [-F fstab] [-o options] [-t ufs | external_type]")
    if words:
        core.fail(f"mount: {words[0]}: unknown special file or file system")
    given = dict(found)
    for device, place, kind in mounted():
        if given.get("t", kind) != kind:
            continue
        more = OPTIONS[kind]
        if "p" in given:
            options = ",".join(word for word in ("rw", more if kind == "zfs" else "") if word)
            numbers = "1 1" if place == "/" else "0 0"
            print(
                f"{device}{_tabs(device, 3)}{place}{_tabs(place, 3)}{kind}\t{options}{_tabs(options, 2)}{numbers}"
            )
        else:
            print(f"{device} on {place} ({', '.join(word for word in (kind, 'local', more) if word)})")
    return 0


def _tabs(word: str, stops: int) -> str:
    return "\t" * max(1, stops - len(word) // 8)


def mounted() -> Iterator[tuple[str, str, str]]:
    """Device or dataset, mount point and type of what is mounted."""
    kinds = {"efi": "msdosfs", "freebsd-ufs": "ufs"}
    rows = []
    for name, disk in disks.present().items():
        for index, part in enumerate(disk.get("parts", []), 1):
            if part["use"].startswith("/"):
                rows.append((f"/dev/{name}p{index}", part["use"], kinds[part["type"]]))
    yield from sorted(rows, key=lambda row: row[1] != "/")
    yield ("devfs", "/dev", "devfs")
    from bhype.lab.openzfs import pools

    store = pools.opened()
    for name in store.pools:
        for each in [name, *store.below(name)]:
            shown = store.datasets[each].get("shown", "")
            if shown and store.datasets[each]["type"] == "filesystem":
                yield (each, shown, "zfs")
