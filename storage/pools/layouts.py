"""What a pool of some disks would be: its groups, how much fits in, what it survives, and what it costs. Pure.

Sizes follow OpenZFS: vdev_raidz_asize of vdev_raidz.c (parity and padding of a block), the ratio that `zfs list`
takes is that of blocks of 128 KiB (vdev_set_deflate_ratio), 1/32 is kept back (spa_get_slop_space), labels and boot
block take 4.5 MiB of each disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bhype.freebsd.zpool_layout import Group

MIB = 2**20
GIB = 2**30
SMALLEST = 64 * MIB
LABELS = 9 * MIB // 2
FILE_BLOCK = 128 * 1024
# The default of volblocksize since OpenZFS 2.2: what a VM's disk is written in.
VOLUME_BLOCK = 16 * 1024
WIDEST = 12
PARITY = {"raidz1": 1, "raidz2": 2, "raidz3": 3}
# Roles whose loss is the loss of the pool.
VITAL = ("data", "special", "dedup")
NAMES = {
    "stripe": "Stripe",
    "mirror": "Mirror",
    "raidz1": "RAID-Z1",
    "raidz2": "RAID-Z2",
    "raidz3": "RAID-Z3",
}


@dataclass(frozen=True, slots=True)
class Disk:
    """size and sector_size in bytes; is_rotating: None where it is not known."""

    name: str
    size: int
    sector_size: int = 512
    is_rotating: bool | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the data groups. raw: all that the disks have; usable: what `zfs list` will say; for_volumes: how much of
    VMs' disks fits in, which are written in smaller blocks; survives: so many disks can fail, whichever they are;
    at_best: so many where they are spread well; groups: how many share the writing."""

    raw: int
    usable: int
    for_volumes: int
    survives: int
    at_best: int
    groups: int

    @property
    def cost(self) -> int:
        """Percent of the raw size that redundancy takes."""
        return round(100 * (1 - self.usable / self.raw)) if self.raw else 0

    @property
    def survival(self) -> str:
        """In words."""
        if not self.survives:
            return "no disk: one that fails takes everything with it"
        disks = f"any {self.survives} disk{'s' if self.survives > 1 else ''}"
        each = self.at_best // self.groups
        return disks if self.groups == 1 else f"{disks}, up to {each} in each of the {self.groups} groups"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the data disks could be arranged. key: for forms, such as "raidz2-6"; width: disks in each group."""

    kind: str
    width: int
    groups: int
    figures: Figures
    is_advised: bool = False

    @property
    def key(self) -> str:
        return f"{self.kind}-{self.width}"

    @property
    def name(self) -> str:
        if self.kind == "stripe":
            return NAMES[self.kind]
        each = f"of {self.width} disks" if self.groups == 1 else f"{self.groups} groups of {self.width} disks"
        return f"{NAMES[self.kind]}, {each}"

    @property
    def speed(self) -> str:
        """How it does with many small writes, which is what VMs do."""
        return f"writes like {self.groups} disk{'s' if self.groups > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be made. problems: why it cannot be; warnings: what to think about before."""

    groups: tuple[Group, ...]
    figures: Figures | None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    ashift: int = 12


def on_disks(size: int, kind: str, width: int, ashift: int) -> int:
    """How many bytes of its group's disks a block of ``size`` bytes takes, mirrors counted once."""
    sectors = (size - 1 >> ashift) + 1
    parity = PARITY.get(kind, 0)
    if parity:
        sectors += parity * -(-sectors // (width - parity))
        sectors = -(-sectors // (parity + 1)) * (parity + 1)
    return sectors << ashift


def slop(size: int) -> int:
    """What ZFS keeps back of a pool."""
    return min(max(size >> 5, min(size >> 1, 128 * MIB)), 128 * GIB)


def figures(groups: Sequence[Group], sizes: Mapping[str, int], ashift: int = 12) -> Figures:
    """What the data groups hold; sizes: of the disks, in bytes."""
    raw = usable = volumes = 0
    spare_of: list[int] = []
    for group in _split(groups):
        each = max(0, min(sizes[name] for name in group.disks) - LABELS)
        width = len(group.disks)
        raw += sum(sizes[name] for name in group.disks)
        space = each * width if group.kind in PARITY else each
        usable += space * FILE_BLOCK // on_disks(FILE_BLOCK, group.kind, width, ashift)
        volumes += space * VOLUME_BLOCK // on_disks(VOLUME_BLOCK, group.kind, width, ashift)
        spare_of.append(_survives(group))
    kept = slop(usable)
    return Figures(
        raw=raw,
        usable=usable - kept,
        for_volumes=max(0, volumes - kept),
        survives=min(spare_of, default=0),
        at_best=sum(spare_of),
        groups=len(spare_of),
    )


def _split(groups: Sequence[Group]) -> list[Group]:
    """The data groups; a stripe of three disks is three groups of one."""
    return [
        part
        for group in groups
        if group.role == "data"
        for part in (
            [Group("data", "stripe", (name,)) for name in group.disks] if group.kind == "stripe" else [group]
        )
    ]


def _survives(group: Group) -> int:
    return len(group.disks) - 1 if group.kind == "mirror" else PARITY.get(group.kind, 0)


def layouts(disks: Sequence[Disk]) -> list[Layout]:
    """All arrangements of these data disks that make sense, in groups of one size; the advised one is marked."""
    count, sizes = len(disks), {disk.name: disk.size for disk in disks}
    found = []
    for kind, width in _shapes(count):
        groups = arrange(kind, width, disks)
        number = count if kind == "stripe" else count // width
        found.append(Layout(kind, width, number, figures(groups, sizes, ashift_of(disks))))
    advised = next((one.key for one in found if one.kind == "mirror"), "")
    if count % 2 and count > 4:
        advised = next((one.key for one in found if one.kind == "raidz2"), advised)
    return [
        Layout(one.kind, one.width, one.groups, one.figures, is_advised=one.key == advised) for one in found
    ]


def _shapes(count: int) -> list[tuple[str, int]]:
    """(kind, width) of the arrangements of ``count`` disks."""
    if count < 1:
        return []
    widths = [width for width in range(2, WIDEST + 1) if count % width == 0]
    shapes = [("mirror", width) for width in widths if width in {2, 3}]
    shapes += [(kind, width) for kind, parity in PARITY.items() for width in widths if width >= parity + 2]
    return [*shapes, ("stripe", 1)]


def arrange(kind: str, width: int, disks: Sequence[Disk]) -> list[Group]:
    """Data groups of ``width`` disks each, disks of like size together."""
    if kind == "stripe":
        return [Group("data", kind, tuple(disk.name for disk in disks))]
    names = [disk.name for disk in sorted(disks, key=lambda disk: -disk.size)]
    return [Group("data", kind, tuple(names[at : at + width])) for at in range(0, len(names), width)]


def beside(role: str, disks: Sequence[Disk]) -> list[Group]:
    """The groups of a role other than data: mirrors wherever they are possible."""
    names = tuple(disk.name for disk in disks)
    if not names:
        return []
    if role in {"cache", "spare"} or len(names) == 1:
        return [Group(role, "stripe", names)]
    if len(names) % 2 == 0:
        return [Group(role, "mirror", names[at : at + 2]) for at in range(0, len(names), 2)]
    return [Group(role, "mirror", names)]


def ashift_of(disks: Sequence[Disk]) -> int:
    """The block size of a pool as a power of two: at least 4 KiB, since disks tell less than they have."""
    return max(12, max((disk.sector_size for disk in disks), default=512).bit_length() - 1)


def plan(shape: str, roles: Mapping[str, Sequence[Disk]]) -> Plan:
    """A new pool. shape: the key of a `Layout`; roles: the disks of "data", "special", "log", "cache", "spare"."""
    data = roles.get("data", ())
    every = [disk for disks in roles.values() for disk in disks]
    ashift = ashift_of(every)
    if not data:
        return Plan((), None, ("Choose at least one disk for data.",))
    chosen = next((one for one in layouts(data) if one.key == shape), None)
    if chosen is None:
        return Plan((), None, (f"{len(data)} disk{'s' if len(data) > 1 else ''} cannot be arranged so.",))
    groups = [
        *arrange(chosen.kind, chosen.width, data),
        *(
            group
            for role in ("special", "log", "cache", "spare")
            for group in beside(role, roles.get(role, ()))
        ),
    ]
    problems = _small(every)
    if twice := sorted({one.name for one in every if sum(one.name == other.name for other in every) > 1}):
        problems.append(f"{', '.join(twice)} cannot have two roles.")
    if chosen.figures.survives and any(not _survives(one) for one in groups if one.role == "special"):
        problems.append("A lost special disk is a lost pool: give special two disks, which become a mirror.")
    return Plan(
        groups=tuple(groups),
        figures=figures(groups, {disk.name: disk.size for disk in every}, ashift),
        problems=tuple(problems),
        warnings=tuple(_warnings(chosen.figures, groups, every)),
        ashift=ashift,
    )


def plan_addition(
    present: Sequence[tuple[str, int]], role: str, kind: str, disks: Sequence[Disk], ashift: int = 12
) -> Plan:
    """Disks that join a pool for good. present: (kind, width) of its data groups; kind: of the new group."""
    if not disks:
        return Plan((), None, ("Choose at least one disk.",))
    if role == "data":
        if kind not in {"stripe", "mirror", *PARITY} or len(disks) < (
            PARITY.get(kind, 0) + 2 if kind != "stripe" else 1
        ):
            return Plan((), None, ("These are too few disks for such a group.",))
        groups = [Group("data", kind, tuple(disk.name for disk in disks))]
    else:
        groups = beside(role, disks)
    problems = _small(disks)
    is_safe = any(one != "stripe" for one, _ in present)
    if is_safe and any(not _survives(one) for one in groups if one.role in VITAL):
        problems.append(
            "The pool survives a lost disk now and would not any more: add a mirror, or as many disks as a group has."
        )
    new = {(kind, len(disks))} if role == "data" and kind != "stripe" else set()
    warnings = []
    if role == "data" and not problems and new and not new <= set(present):
        warnings.append(
            "The new group is made in another way than those that are there: its speed and safety differ."
        )
    if role == "data":
        warnings.append(
            "A group of data cannot be taken out of a pool with RAID-Z, nor one of RAID-Z out of any pool."
        )
    return Plan(
        tuple(groups),
        figures(groups, {disk.name: disk.size for disk in disks}, ashift) if role == "data" else None,
        tuple(problems),
        tuple(warnings),
        ashift,
    )


def _small(disks: Sequence[Disk]) -> list[str]:
    return [
        f"{disk.name} is smaller than 64 MiB, the least that ZFS takes."
        for disk in disks
        if disk.size < SMALLEST
    ]


def _warnings(chosen: Figures, groups: Sequence[Group], disks: Sequence[Disk]) -> list[str]:
    by_name = {disk.name: disk for disk in disks}
    said = []
    if not chosen.survives:
        said.append("Nothing is stored twice: when one disk fails, all data of the pool is lost.")
    for group in groups:
        sizes = [by_name[name].size for name in group.disks]
        if group.kind != "stripe" and max(sizes) > min(sizes) * 1.01:
            said.append(
                f"The disks {', '.join(group.disks)} differ in size: each counts as the smallest of them."
            )
        if group.kind in PARITY and len(group.disks) > 8:
            said.append(
                "A group of more than 8 disks is slow for VMs and long in repair: use more, smaller groups."
            )
    volume = chosen.for_volumes / chosen.usable if chosen.usable else 1
    if volume < 0.85:
        said.append(
            f"Disks of VMs take up to {round(100 * (1 / volume - 1))}% more than their size here: "
            "RAID-Z pads small blocks. Mirrors do not."
        )
    data = [by_name[name] for group in groups if group.role == "data" for name in group.disks]
    if len({disk.is_rotating for disk in data if disk.is_rotating is not None}) > 1:
        said.append("Flash and rotating disks are mixed: the pool is as slow as the slowest.")
    roles = {group.role: group for group in groups if group.role != "data"}
    if "log" in roles and roles["log"].kind == "stripe":
        said.append(
            "With one log disk, its failure together with a power cut loses the last seconds of writes."
        )
    if "spare" in roles:
        if not chosen.survives:
            said.append("A spare cannot help a stripe: it takes over only where the data is stored twice.")
        largest = max(disk.size for disk in data)
        if late := [name for name in roles["spare"].disks if by_name[name].size < largest]:
            said.append(f"{', '.join(late)} is too small to replace every disk.")
    return said
