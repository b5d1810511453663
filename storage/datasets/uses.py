"""What a dataset is to bHype, whose it is, and what may be done to it: rows in, plain data out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bhype.freebsd import names, zfs_properties
from storage import owners, plan
from storage.models import Dataset, Pool
from storage.owners import Owner

# The value of org.bhype:id on what an admin has made on the page of datasets; what is below has it by inheritance.
DATA_ID = "dataset"
# zfs(8) takes 255 characters; snapshots and streams on their way need some of them.
NAME_MAX = 180
SIZE_MIN, SIZE_MAX = 1 << 20, 64 << 40
# Blocks of volumes are at most this large: a size that is a multiple of it is one of every block size.
BLOCK = 1 << 20

LAYOUT, OWNED, DATA, ORPHAN, STRAY, FOREIGN = "layout", "owned", "data", "orphan", "stray", "foreign"


@dataclass(frozen=True, slots=True)
class Use:
    """A dataset with what it is. LAYOUT: a part of bHype's layout; OWNED: in use; DATA: made on the page; ORPHAN: left
    of something that was deleted; STRAY: a volume that its owner does not know; FOREIGN: not made by bHype.
    owner: the thing that has it."""

    dataset: Dataset
    kind: str
    owner: Owner | None = None
    label: str = ""

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def short(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]

    @property
    def depth(self) -> int:
        """How far it lies below the home of bHype."""
        return self.name.count("/") - 1

    @property
    def is_kept(self) -> bool:
        """Nothing owns it, and somebody said that it is to stay."""
        return bool(self.dataset.properties.get(zfs_properties.KEPT, ["", ""])[1] == "local")

    @property
    def is_left(self) -> bool:
        """Whether nobody has it any more."""
        return self.kind in {ORPHAN, STRAY}

    @property
    def is_root(self) -> bool:
        """Whether it has a key of its own."""
        return self.name == self.dataset.encryption_root

    @property
    def give_url(self) -> str:
        """The page on which what is left of a thing is put to use again, "" where there is none."""
        part, _ = plan.owner_of(self.name, self.dataset.pool.home)
        kind = owners.kind_of(part)
        is_thing = self.kind == ORPHAN and self.depth == 2
        return owners.address(kind.give_url, self.dataset.pk) if kind and kind.give_url and is_thing else ""

    @property
    def refusals(self) -> dict[str, str]:
        """For each thing that can be done to it a sentence why not, "" when it can be done."""
        theirs = f"It belongs to {self.owner.label} {self.owner.name}: do this there." if self.owner else ""
        foreign = "It was not made by bHype, and is left alone." if self.kind == FOREIGN else ""
        layout = "bHype needs it where it is." if self.kind == LAYOUT else ""
        left = "Nobody has it any more: give, keep or destroy it." if self.is_left else ""
        locked = "It is locked. Unlock it first." if self.dataset.is_locked else ""
        encrypted = "" if self.dataset.encryption_root else "It is not encrypted."
        if self.dataset.encryption_root and not self.is_root:
            encrypted = f"It has the key of {self.dataset.encryption_root}."
        is_volume = self.dataset.kind == Dataset.Kind.VOLUME
        stray = theirs if self.kind == OWNED else ""
        loaded = "It is unlocked." if not self.dataset.is_locked else ""
        return {
            "set": foreign,
            "add": (
                "A volume holds no other datasets."
                if is_volume
                else foreign or theirs or left or locked or self._no_place
            ),
            "resize": ""
            if is_volume and self.kind == DATA
            else (theirs or left or foreign or "It is no volume."),
            "rename": foreign or theirs or layout or left,
            "destroy": foreign or layout or stray,
            "keep": "" if self.is_left else "It is no orphan.",
            "lock": foreign or encrypted or locked or self._in_use,
            "unlock": foreign or encrypted or loaded,
            "change_key": foreign or encrypted or locked,
        }

    @property
    def _in_use(self) -> str:
        return f"{self.owner.name} is on. Stop it first." if self.owner and self.owner.is_on else ""

    @property
    def _no_place(self) -> str:
        is_part = self.kind == LAYOUT and self.name.count("/") > 1
        return f"Here lie {self.label.lower()} alone." if is_part else ""


def uses(rows: Iterable[Dataset]) -> list[Use]:
    """What each of these datasets is, in a constant number of queries. Their pools must have been read."""
    found = list(rows)
    known = owners.by_uuid({row.bhype_id for row in found})
    return [_use(row, row.pool, known.get(row.bhype_id)) for row in found]


def use_of(row: Dataset) -> Use:
    return uses([row])[0]


def _use(row: Dataset, pool: Pool, owner: Owner | None) -> Use:
    if row.name in plan.layout(pool.home):
        return Use(row, LAYOUT, label=plan.label_of(row.name, pool.home))
    if owner is not None:
        is_stray = row.kind == Dataset.Kind.VOLUME and row.name not in owner.datasets
        return Use(row, STRAY if is_stray else OWNED, owner)
    if row.bhype_id == DATA_ID:
        return Use(row, DATA)
    return Use(row, ORPHAN if owners.is_uuid(row.bhype_id) else FOREIGN)


def left(pool: Pool | None = None) -> list[Use]:
    """What nobody has any more: datasets of things that were deleted, the topmost of each, and volumes that the thing
    in whose dataset they lie does not know. Kept ones are among them."""
    rows = Dataset.objects.filter(pool__is_adopted=True).select_related("pool__host")
    if pool is not None:
        rows = rows.filter(pool=pool)
    # Most have an owner: what is set on them is not read.
    marked = rows.exclude(bhype_id__in=["", plan.HOME_ID, DATA_ID]).defer("properties")
    found = [use for use in uses(marked) if use.is_left]
    names = {use.name for use in found}
    tops = [use for use in found if not any(above in names for above in parents(use.name))]
    keys = [use.dataset.pk for use in tops]
    known = dict(Dataset.objects.filter(pk__in=keys).values_list("pk", "properties"))
    for use in tops:
        use.dataset.properties = known.get(use.dataset.pk, {})
    return tops


def missing() -> list[Owner]:
    """Things of which the dataset is not there, as somebody has destroyed it by hand. Those that are being made or
    deleted are not meant."""
    names = set(Dataset.objects.values_list("name", flat=True))
    pools = set(Pool.objects.filter(is_adopted=True, datasets__isnull=False).values_list("pk", flat=True))
    return [
        owner
        for owner in owners.find()
        if owner.pool_id in pools
        and owner.is_whole
        and (owner.dataset not in names if owner.is_lost is None else owner.is_lost)
    ]


def parents(name: str) -> list[str]:
    """The names of the datasets that one lies in, nearest first."""
    words = name.split("/")
    return ["/".join(words[:count]) for count in range(len(words) - 1, 0, -1)]


def below(name: str, row: Dataset) -> bool:
    """Whether ``row`` is the dataset ``name`` or lies in it."""
    return row.name == name or row.name.startswith(f"{name}/")


def new_name(parent: str, last: str) -> str:
    """The full name of a new dataset. Raises BadName."""
    if "/" in last or not last:
        raise names.BadName("A name is one word: letters, digits and . _ : -.")
    try:
        name = names.dataset(f"{parent}/{last}")
    except names.BadName as error:
        raise names.BadName(
            "A name has letters, digits and . _ : -, and begins with a letter or digit."
        ) from error
    if len(name) > NAME_MAX:
        raise names.BadName(f"{name} is too long: {NAME_MAX} characters are left for names.")
    return name


def size_problem(size: int) -> str:
    """Why a volume cannot have this many bytes, "" when it can."""
    if not SIZE_MIN <= size <= SIZE_MAX or size % BLOCK:
        return "A volume has a whole number of MiB, from 1M to 64T."
    return ""
