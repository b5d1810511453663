from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from network.topology.layout import Box, Graph, Group, Node, draw, left_of


def nodes(kind: str, count: int) -> tuple[Node, ...]:
    return tuple(Node(f"{kind}:{number}", kind, f"{kind} {number}") for number in range(count))


def overlap(one: Box, two: Box) -> bool:
    return (
        one.x < two.right and two.x < one.right and one.y < two.y + two.height and two.y < one.y + one.height
    )


@st.composite
def graphs(draw_from) -> Graph:
    middle = (Node("host", "host", "host"), *nodes("uplink", draw_from(st.integers(0, 6))))
    outer = nodes("mesh", draw_from(st.integers(0, 4)))
    keys = [node.key for node in middle]
    groups = []
    for number in range(draw_from(st.integers(0, 9))):
        to = draw_from(st.lists(st.sampled_from(keys), unique=True, max_size=3))
        guests = tuple(
            Node(f"guest:{number}:{at}", "guest", "g") for at in range(draw_from(st.integers(0, 40)))
        )
        groups.append(
            Group(Node(f"switch:{number}", "switch", f"s{number}"), guests, tuple((key, "") for key in to))
        )
    joined = [
        (node.key, draw_from(st.sampled_from(keys)))
        for node in outer
        for _ in range(draw_from(st.integers(0, 2)))
    ]
    return Graph(outer, middle, tuple(groups), tuple(joined))


@given(graphs())
def test_no_two_boxes_overlap_and_all_lie_in_the_picture(graph):
    picture = draw(graph)
    count = len(graph.outer) + len(graph.middle) + sum(1 + len(group.guests) for group in graph.groups)
    assert len(picture.boxes) == count
    assert not any(overlap(one, two) for one, two in combinations(picture.boxes, 2))
    for box in picture.boxes:
        assert (
            box.x >= 0 and box.y >= 0 and box.right <= picture.width and box.y + box.height <= picture.height
        )
    for frame in picture.frames:
        assert frame.x + frame.width <= picture.width and frame.y + frame.height <= picture.height
    for one, two in combinations(picture.frames, 2):
        assert one.y + one.height <= two.y or two.y + two.height <= one.y


def test_each_line_leads_to_the_next_column():
    groups = tuple(Group(node, nodes("guest", 2), (("host", "NAT"),)) for node in nodes("switch", 1))
    picture = draw(
        Graph(nodes("internet", 1), (Node("host", "host", "h"),), groups, (("internet:0", "host"),))
    )
    assert len(picture.lines) == 3
    assert [line.label for line in picture.lines if line.label] == ["NAT"]
    by_key = {box.node.key: box for box in picture.boxes}
    assert by_key["host"].right < by_key["switch:0"].x < by_key["guest:0"].x
    assert by_key["guest:0"].x == left_of(3)


def test_a_switch_stands_beside_the_middle_of_its_guests():
    group = Group(Node("s", "switch", "s"), nodes("guest", 9))
    picture = draw(Graph((), (), (group,)))
    by_key = {box.node.key: box for box in picture.boxes}
    assert by_key["s"].middle == by_key["guest:4"].middle


def test_nothing_at_all_has_a_picture_too():
    picture = draw(Graph((), (), ()))
    assert picture.boxes == [] and picture.width > 0 and picture.height > 0
