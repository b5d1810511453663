"""Which pools become bHype's, and what lies in them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bhype.freebsd import names
from bhype.freebsd.zfs import ID_PROPERTY, DatasetInfo

# The parts of POOL/bhype, in the order of their creation, and what lies in them.
LABELS = {
    "vms": "Virtual machines",
    "isos": "Install media",
    "images": "Disk images",
    "templates": "Templates",
    "jails": "Jails",
    "backups": "Backups",
    "transfers": "Uploaded and exported files",
}
PARTS = tuple(LABELS)
# The value of org.bhype:id on POOL/bhype itself and on its parts; each VM has its UUID instead.
HOME_ID = "bhype"
MEDIA = (".iso", ".img")


def layout(home: str) -> list[str]:
    """The datasets that bHype keeps in a pool, parents first: ``tank/bhype``, ``tank/bhype/vms``, ..."""
    return [home, *(f"{home}/{part}" for part in PARTS)]


def properties(name: str, home: str) -> dict[str, str]:
    """What a dataset of the layout is created with. The home is mounted where bHype looks for it, also in a pool
    that is not mounted itself; its parts inherit that."""
    mark = {ID_PROPERTY: HOME_ID}
    return mark | {"mountpoint": f"/{home}"} if name == home else mark


def may_adopt_itself(pools: Sequence[str], adopted: Iterable[str], *, is_lab: bool) -> str | None:
    """The pool that bHype takes on its first start without being told: the only one of a lab host.

    On FreeBSD an admin decides, as the pool may belong to something else.
    """
    return pools[0] if is_lab and len(pools) == 1 and not list(adopted) else None


def refusal(home: DatasetInfo | None, *, is_ours: bool) -> str | None:
    """Why a pool in which ``home`` exists cannot be adopted, or None."""
    if home is None or is_ours:
        return None
    return f"{home.name} is there already and was not made by bHype. Rename or destroy it first."


def is_medium(name: str) -> bool:
    """Whether a file of the library is an install medium that bhyve can take: partial uploads are not."""
    if name.startswith(".") or not name.lower().endswith(MEDIA) or len(name) > 128:
        return False
    try:
        names.path(f"/{name}")
    except names.BadName:
        return False
    return "/" not in name


def owner_of(dataset: str, home: str) -> tuple[str, str]:
    """Which part a dataset lies in and the name of the thing there: ("vms", "web1"); ("", "") for the layout."""
    words = dataset.removeprefix(home).strip("/").split("/")
    return (words[0], words[1]) if len(words) > 1 else ("", "")


def label_of(dataset: str, home: str) -> str:
    """What a dataset of the layout is for: "Install media" of ``tank/bhype/isos``; "bHype" of what has no other."""
    return LABELS.get(dataset.removeprefix(home).strip("/"), "bHype")
