"""Where the parts of the picture of networks stand. Pure: nodes and edges in, boxes and lines out.

Four columns, from left to right: the world outside; the host with its uplinks and tunnels; switches; guests, in a block
beside their switch. Lines lead from one column to the next and cross no box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

MARGIN, GAP = 16.0, 12.0
HEIGHT = 44.0
# Between blocks of guests.
SPACE = 28.0
COLUMNS_OF_GUESTS = 3
# Of each column: its left edge and the width of its boxes.
WIDTHS = (132.0, 168.0, 176.0, 168.0)
AISLE = 72.0


@dataclass(frozen=True, slots=True)
class Node:
    """One thing. kind: "internet", "host", "uplink", "tunnel", "mesh", "switch", "guest" or "more"; detail: the second
    line; state: "on", "off" or ""; href: its page, "" for none; said: what a screen reader says."""

    key: str
    kind: str
    name: str
    detail: str = ""
    state: str = ""
    href: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A switch with its guests. to: the keys of what it is joined with on its left, with how, as "NAT" or ""."""

    switch: Node
    guests: tuple[Node, ...] = ()
    to: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """outer: of the first column; middle: of the second, the host first; joined: pairs (outer key, middle key)."""

    outer: tuple[Node, ...]
    middle: tuple[Node, ...]
    groups: tuple[Group, ...]
    joined: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Box:
    """A node's place."""

    node: Node
    x: float
    y: float
    width: float
    height: float = HEIGHT

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    @property
    def text_x(self) -> float:
        return self.x + 12

    @property
    def dot_x(self) -> float:
        return self.right - 14

    @property
    def dot_y(self) -> float:
        return self.y + 15

    @property
    def name_y(self) -> float:
        return self.middle + (5 if not self.node.detail else -3)

    @property
    def detail_y(self) -> float:
        return self.middle + 13


@dataclass(frozen=True, slots=True)
class Line:
    """path: as SVG's d; label stands at (x, y)."""

    path: str
    label: str = ""
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class Frame:
    """The ground behind a switch's guests."""

    x: float
    y: float
    width: float
    height: float


@dataclass(slots=True)
class Picture:
    width: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)

    @property
    def view_box(self) -> str:
        return f"0 0 {self.width:g} {self.height:g}"


def left_of(column: int) -> float:
    return MARGIN + sum(WIDTHS[:column]) + AISLE * column


def draw(graph: Graph) -> Picture:
    """The whole picture. Whatever the graph, no two boxes overlap."""
    placed: dict[str, Box] = {}
    frames, switches = [], []
    top = MARGIN
    groups = sorted(graph.groups, key=lambda group: _order(group, graph))
    for group in groups:
        block = _block(group.guests, top)
        placed |= {box.node.key: box for box in block}
        height = max(HEIGHT, max((box.y + HEIGHT for box in block), default=top) - top)
        if block:
            width = max(box.right for box in block) - left_of(3)
            frames.append(Frame(left_of(3) - 8, top - 8, width + 16, height + 16))
        switches.append(Box(group.switch, left_of(2), top + (height - HEIGHT) / 2, WIDTHS[2]))
        top += height + SPACE
    placed |= {box.node.key: box for box in switches}
    middle = _column(graph.middle, 1, lambda key: _pulls(key, groups, placed))
    placed |= {box.node.key: box for box in middle}
    outer = _column(
        graph.outer, 0, lambda key: [placed[there].middle for here, there in graph.joined if here == key]
    )
    placed |= {box.node.key: box for box in outer}
    bottom = max((box.y + box.height for box in placed.values()), default=MARGIN)
    right = max(
        [box.right for box in placed.values()] + [frame.x + frame.width for frame in frames], default=0
    )
    return Picture(
        width=right + MARGIN,
        height=bottom + MARGIN,
        boxes=list(placed.values()),
        lines=[*_between(graph.joined, placed), *_of_groups(groups, placed)],
        frames=frames,
    )


def _order(group: Group, graph: Graph) -> tuple[int, str]:
    """By what it is joined with, so that lines cross little; those that are joined with nothing come last."""
    places = {node.key: number for number, node in enumerate(graph.middle)}
    return min((places[key] for key, _ in group.to if key in places), default=len(places)), group.switch.name


def _block(guests: Sequence[Node], top: float) -> list[Box]:
    width, step = WIDTHS[3], HEIGHT + GAP
    return [
        Box(
            node,
            left_of(3) + number % COLUMNS_OF_GUESTS * (width + GAP),
            top + number // COLUMNS_OF_GUESTS * step,
            width,
        )
        for number, node in enumerate(guests)
    ]


def _pulls(key: str, groups: Iterable[Group], placed: dict[str, Box]) -> list[float]:
    return [placed[group.switch.key].middle for group in groups for to, _ in group.to if to == key]


def _column(nodes: Sequence[Node], column: int, pulls: Callable[[str], list[float]]) -> list[Box]:
    """Each beside what it is joined with, and below the one before it. What nothing pulls follows the one before."""
    wanted: list[tuple[float, int]] = []
    for number, node in enumerate(nodes):
        found = pulls(node.key)
        before = wanted[-1][0] if wanted else MARGIN
        wanted.append((sum(found) / len(found) - HEIGHT / 2 if found else before, number))
    boxes: list[Box] = []
    for place, number in sorted(wanted):
        top = boxes[-1].y + HEIGHT + GAP if boxes else MARGIN
        boxes.append(Box(nodes[number], left_of(column), max(top, place), WIDTHS[column]))
    return boxes


def _between(pairs: Iterable[tuple[str, str]], placed: dict[str, Box]) -> list[Line]:
    return [Line(_path(placed[one], placed[two])) for one, two in pairs if one in placed and two in placed]


def _of_groups(groups: Iterable[Group], placed: dict[str, Box]) -> list[Line]:
    lines = []
    for group in groups:
        switch = placed[group.switch.key]
        for key, label in group.to:
            if key in placed:
                at = placed[key]
                x, y = (at.right + switch.x) / 2, (at.middle + switch.middle) / 2 - 6
                lines.append(Line(_path(at, switch), label, round(x, 1), round(y, 1)))
        if group.guests:
            lines.append(Line(f"M{switch.right:g} {switch.middle:g}H{left_of(3) - 8:g}"))
    return lines


def _path(one: Box, two: Box) -> str:
    """From the right side of a box to the left side of another in the next column, in a soft curve."""
    half = (one.right + two.x) / 2
    ends = f"{half:g} {one.middle:g} {half:g} {two.middle:g} {two.x:g} {two.middle:g}"
    return f"M{one.right:g} {one.middle:g}C{ends}"
