"""How two sets of rules differ, and how rules keep their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from network.firewall import difference
from network.firewall.document import AliasRow, Document, ForwardRow, PolicyRow, RuleRow
from network.firewall.wording import Naming

NAMES = Naming()


def document(rules: list[RuleRow]) -> Document:
    return Document(rules=tuple(rules))


def row(number: int, note: str = "") -> RuleRow:
    return RuleRow(number, "tag:web", "in", "pass", note=note)


ROWS = st.lists(st.integers(1, 8), unique=True, max_size=8)


@given(ROWS, ROWS, st.sets(st.integers(1, 8)))
def test_each_row_is_told_of_at_most_once_for_what_it_is(old, new, touched):
    before = document([row(number) for number in old])
    after = document([row(number, "x" if number in touched else "") for number in new])
    found = difference.between(before, after, NAMES)
    kinds = [one.kind for one in found]
    assert kinds.count("added") == len(set(new) - set(old))
    assert kinds.count("removed") == len(set(old) - set(new))
    assert kinds.count("changed") == len(set(old) & set(new) & touched)
    same = [number for number in old if number in new] == [number for number in new if number in old]
    assert ("moved" in kinds) == (not same)
    assert bool(found) == (before != after)


@given(st.permutations(range(1, 8)), st.integers(0, 6), st.integers(0, 6))
def test_one_rule_that_moved_is_told_of_alone(order, start, end):
    moved = list(order)
    moved.insert(end, moved.pop(start))
    found = difference.between(document([row(n) for n in order]), document([row(n) for n in moved]), NAMES)
    assert len(found) == (0 if moved == list(order) else 1)


def test_forwards_aliases_and_switches_are_told_of_by_name():
    old = Document(
        forwards=(ForwardRow(1, "vm:7f0c7a4e-7f57-4fb2-8f0e-1b9a6f3a0001", 8080, 80),),
        aliases=(AliasRow(1, "office", "hosts", ("192.0.2.1",)),),
        switches=(PolicyRow("u", "nat"),),
    )
    new = Document(
        aliases=(AliasRow(1, "office", "hosts", ("192.0.2.1", "192.0.2.2"), "both"),),
        switches=(PolicyRow("u", "nat", passes_in=False),),
    )
    told = {(one.what, one.kind): (one.before, one.text) for one in difference.between(old, new, NAMES)}
    assert told["Forward", "removed"][1].startswith("TCP port 8080 of this host to a VM that is gone")
    assert told["Alias", "changed"] == ("office: 192.0.2.1", "office: 192.0.2.1, 192.0.2.2 (both)")
    assert "drops what comes to its guests" in told["Switch", "changed"][1]


def test_a_switch_that_is_new_and_lets_all_pass_is_no_difference():
    assert not difference.between(Document(), Document(switches=(PolicyRow("u", "nat"),)), NAMES)
