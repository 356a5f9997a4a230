"""Who serves whom: supply awards of one pool paired with its demand awards.

An auction says how much each offer sells and each bid gets in a pool, not which offer
serves which bid; a contract needs one supplier. The pairing decides no price and no
award, only where failures are felt, so it aims at few, long contracts and depends on
nothing but its arguments:

1. Released base load goes to interruptibles that can be recalled in time (it may serve
   nobody else): gangs that fit one release whole, then divisible orders, then the rest.
2. Gangs, largest first, each whole to the offer that fits it tightest over all its
   intervals; gangs that fit nowhere are split.
3. Everything else in order of identifiers, keeping the suppliers of earlier intervals
   as long as they have chips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clearing.errors import InvariantError


@dataclass(slots=True, kw_only=True)
class Lot:
    """One award, to be used up.

    Attributes:
        order_id: Unique among the lots of its side.
        left: Chips not yet paired, by interval; intervals without chips are absent.
        gang: Demand that should stay with one supplier.
        released: Supply: released base load. Demand: may be served by it.
    """

    order_id: str
    left: dict[int, int]
    gang: bool = False
    released: bool = False

    @property
    def size(self) -> int:
        """Chips not yet paired, summed over intervals."""
        return sum(self.left.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Result of one pool.

    Attributes:
        flows: Chips by (demand order, supply order), then by interval, ascending.
        idle: Awarded supply that no bid takes (free disposal), by order, then interval.
    """

    flows: dict[tuple[str, str], dict[int, int]]
    idle: dict[str, dict[int, int]]


def pair(pool_id: str, demands: Iterable[Lot], supplies: Iterable[Lot]) -> Pairing:
    """Pair the awards of one pool. The lots are used up.

    Raises:
        InvariantError: more is delivered than sold in some interval.
    """
    work = _Work(pool_id, sorted(demands, key=_by_identifier))
    ordered = sorted(supplies, key=_by_identifier)
    released = [lot for lot in ordered if lot.released]
    ordinary = [lot for lot in ordered if not lot.released]
    if released:
        work.serve(released, [lot for lot in work.demands if lot.released], gangs_first=False)
    work.serve(ordinary, work.demands, gangs_first=True)
    for lot in work.demands:
        if lot.size:
            raise InvariantError(f"pool {pool_id} sells less than {lot.order_id} was awarded")
    flows = {key: dict(sorted(work.flows[key].items())) for key in sorted(work.flows)}
    idle = {lot.order_id: dict(sorted(lot.left.items())) for lot in ordered if lot.size}
    return Pairing(flows=flows, idle=idle)


class _Work:
    """Flows found so far in one pool."""

    def __init__(self, pool_id: str, demands: list[Lot]) -> None:
        self.pool_id = pool_id
        self.demands = demands
        self.flows: dict[tuple[str, str], dict[int, int]] = {}

    def serve(self, supplies: list[Lot], demands: list[Lot], *, gangs_first: bool) -> None:
        """Use ``supplies`` for ``demands`` as far as they go."""
        gangs = sorted(
            (lot for lot in demands if lot.gang), key=lambda lot: (-lot.size, lot.order_id)
        )
        for gang in gangs:
            self._place_whole(gang, supplies)
        others = [lot for lot in demands if not lot.gang]
        # Per interval: the first supply that may still have chips.
        cursors: dict[int, int] = {}
        for lot in (*gangs, *others) if gangs_first else (*others, *gangs):
            self._pour(lot, supplies, cursors)

    def _place_whole(self, gang: Lot, supplies: Sequence[Lot]) -> None:
        needed = list(gang.left.items())
        if not needed:
            return
        best: tuple[int, int] | None = None
        for index, supply in enumerate(supplies):
            left = supply.left
            if all(left.get(interval, 0) >= chips for interval, chips in needed):
                spare = sum(left[interval] - chips for interval, chips in needed)
                if best is None or spare < best[0]:
                    best = (spare, index)
        if best is not None:
            for interval, chips in needed:
                self._take(gang, supplies[best[1]], interval, chips)

    def _pour(self, demand: Lot, supplies: Sequence[Lot], cursors: dict[int, int]) -> None:
        used: list[Lot] = []
        for interval in sorted(demand.left):
            for supply in used:
                self._take_up(demand, supply, interval)
            cursor = cursors.get(interval, 0)
            while demand.left.get(interval, 0) and cursor < len(supplies):
                supply = supplies[cursor]
                if self._take_up(demand, supply, interval) and supply not in used:
                    used.append(supply)
                if not supply.left.get(interval, 0):
                    cursor += 1
            cursors[interval] = cursor

    def _take_up(self, demand: Lot, supply: Lot, interval: int) -> int:
        chips = min(demand.left.get(interval, 0), supply.left.get(interval, 0))
        if chips:
            self._take(demand, supply, interval, chips)
        return chips

    def _take(self, demand: Lot, supply: Lot, interval: int, chips: int) -> None:
        flow = self.flows.setdefault((demand.order_id, supply.order_id), {})
        flow[interval] = flow.get(interval, 0) + chips
        for lot in (demand, supply):
            lot.left[interval] -= chips
            if not lot.left[interval]:
                del lot.left[interval]


def _by_identifier(lot: Lot) -> str:
    return lot.order_id
