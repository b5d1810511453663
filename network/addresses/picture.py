"""A subnet as a picture: a cell for each address, or for several where there are many. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from network.models import AddressPool, Switch

from . import ranges
from .lines import HOST, LEASED, SEEN, Line, Table
from .ranges import Address, Interface, Span

# Cells in a row, and at most in all; larger subnets than 2**MOST addresses are not drawn.
COLUMNS, CELLS, MOST = 32, 256, 16
SIZE, GAP = 18, 2
# What a cell says, the most telling first: class of the style sheet and words of the legend.
STATES = {
    "conflict": "Two claim it",
    "host": "The host",
    "given": "Given for good",
    "leased": "Leased",
    "seen": "Seen",
    "static": "Free to be given",
    "dhcp": "Free for DHCP",
    "free": "In no pool",
}
_ORDER = {state: number for number, state in enumerate(STATES)}


@dataclass(frozen=True, slots=True)
class Cell:
    """x, y: its corner in the picture's units; state: of STATES; title: what a pointer is told."""

    x: int
    y: int
    state: str
    title: str


@dataclass(frozen=True, slots=True)
class Picture:
    """summary: all of it in words, for who does not see it; legend: the states that are in it, with how many
    addresses; each: how many addresses a cell stands for."""

    subnet: str
    cells: tuple[Cell, ...]
    summary: str
    legend: tuple[tuple[str, str, int], ...]
    each: int

    @property
    def view_box(self) -> str:
        rows = max(1, -(-len(self.cells) // COLUMNS))
        return f"0 0 {min(COLUMNS, len(self.cells)) * SIZE - GAP} {rows * SIZE - GAP}"


def pictures(switch: Switch, table: Table) -> list[Picture]:
    """One for each subnet of the switch that is small enough."""
    lines = [line for line in table.lines if line.switch.pk == switch.pk]
    pools = table.pools.get(switch.pk, [])
    return [
        _draw(subnet, lines, pools)
        for subnet in ranges.subnets(switch)
        if 4 <= subnet.network.num_addresses <= 1 << MOST
    ]


def state_of(line: Line) -> str:
    """What of STATES the line of an address is."""
    if line.other:
        return "conflict"
    if HOST in line.how:
        return "host"
    if line.how[0] == LEASED:
        return "leased"
    return "seen" if line.how[0] == SEEN else "given"


def _draw(subnet: Interface, lines: Iterable[Line], pools: list[tuple[AddressPool, Span]]) -> Picture:
    network = subnet.network
    used = {line.address: line for line in lines if line.address in network}
    count = network.num_addresses
    each = max(1, count // CELLS)
    totals: Counter[str] = Counter()
    cells = []
    for number in range(count // each):
        addresses = [network[number * each + offset] for offset in range(each)]
        states = [_state(one, used, pools) for one in addresses]
        totals.update(states)
        row, column = divmod(number, COLUMNS)
        state = min(states, key=_ORDER.__getitem__)
        cells.append(Cell(column * SIZE, row * SIZE, state, _title(addresses, states, state, used)))
    legend = tuple((state, words, totals[state]) for state, words in STATES.items() if totals[state])
    told = ", ".join(f"{words.lower()}: {number}" for _, words, number in legend)
    return Picture(str(network), tuple(cells), f"The addresses of {network}. {told}.", legend, each)


def _state(address: Address, used: dict[Address, Line], pools: list[tuple[AddressPool, Span]]) -> str:
    if line := used.get(address):
        return state_of(line)
    return next((pool.purpose for pool, span in pools if address in span), "free")


def _title(addresses: list[Address], states: list[str], state: str, used: dict[Address, Line]) -> str:
    first = addresses[0]
    if len(addresses) > 1:
        busy = sum(1 for one in addresses if one in used)
        return f"{first} to {addresses[-1]}: {busy} of {len(addresses)} in use"
    line = used.get(first)
    if line is None:
        return f"{first}: {STATES[state].lower()}"
    whose = f", {line.label}" if line.label and HOST not in line.how else ""
    return f"{first}{whose}: {line.ways.lower()}" + (f", but {line.other} has it, too" if line.other else "")
