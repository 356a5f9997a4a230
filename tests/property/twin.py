"""Brute force for tiny books: every combination of blocks, then an exact linear program.

Written from the formulation alone, in fractions, and slow on purpose: it shares no code with
the engine or the verifier. Quantities are continuous above a block's minimum, so its optimum
is at least that of whole nodes, and equal to it where the rest is a network with integer data
(one chip per node, no cover, no conversions, one chip power per site).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product

from clearing.eligibility import resolve
from clearing.types import BlockBid, Book, Cover, ServiceClass, StepBid

ZERO = Fraction(0)
Placement = tuple[str, int] | None
"""Pool and start of a block, or None when it stays out."""


def best_welfare(book: Book) -> Fraction | None:
    """Largest welfare of any feasible outcome, micro-USD per chip-hour x chips x seconds.

    None when no outcome is feasible (base load that cannot be covered or powered).
    """
    best: Fraction | None = None
    for placements in _assignments(book):
        found = _Program(book, placements).solve()
        if found is not None and (best is None or found > best):
            best = found
    return best


def _assignments(book: Book) -> Iterator[dict[str, tuple[str, int]]]:
    options: list[list[Placement]] = []
    for block in book.block_bids:
        starts = range(block.earliest_start, block.latest_start + 1)
        pools = _pools(book, block)
        options.append([None, *((name, start) for name in pools for start in starts)])
    for chosen in product(*options):
        groups = [
            (block.participant_id, block.exclusive_group)
            for block, where in zip(book.block_bids, chosen, strict=True)
            if where is not None and block.exclusive_group
        ]
        if len(set(groups)) == len(groups):
            yield {
                block.order_id: where
                for block, where in zip(book.block_bids, chosen, strict=True)
                if where is not None
            }


def _pools(book: Book, bid: StepBid | BlockBid) -> tuple[str, ...]:
    return resolve(bid.where, {site.site_id: site for site in book.sites}, book.pools).eligible


@dataclass(slots=True)
class _Program:
    """maximise gain . x subject to rows <= limits, x >= 0, once the blocks are placed."""

    book: Book
    placements: dict[str, tuple[str, int]]
    gain: list[Fraction] = field(default_factory=list)
    rows: dict[tuple[str, ...], dict[int, Fraction]] = field(default_factory=dict)
    limits: dict[tuple[str, ...], Fraction] = field(default_factory=dict)
    constant: Fraction = ZERO

    def solve(self) -> Fraction | None:
        book = self.book
        for t in range(len(book.spec.intervals)):
            for pool in book.pools:
                self._pool_rows(pool.pool_id, t)
            for site in book.sites:
                if site.power_limit is not None:
                    self.limits["power", site.site_id, str(t)] = Fraction(site.power_limit)
        self._offers()
        self._nominations()
        self._step_bids()
        self._blocks()
        keys = list(self.limits)
        matrix = [
            [self.rows.get(key, {}).get(column, ZERO) for column in range(len(self.gain))]
            for key in keys
        ]
        found = maximise(self.gain, matrix, [self.limits[key] for key in keys])
        if found is None:
            return None
        return (found + self.constant) * book.spec.intervals[0].duration_s

    def _pool_rows(self, pool_id: str, t: int) -> None:
        for row in ("balance", "reclaim", "recall", "cover"):
            self.limits[row, pool_id, str(t)] = ZERO
        reserve = self._column(0)
        self._put(("reclaim", pool_id, str(t)), reserve, 1)
        self._put(("recall", pool_id, str(t)), reserve, 1)
        self._put(("cover", pool_id, str(t)), reserve, -1)

    def _column(self, gain: int) -> int:
        self.gain.append(Fraction(gain))
        return len(self.gain) - 1

    def _put(self, row: tuple[str, ...], column: int, weight: Fraction | int) -> None:
        into = self.rows.setdefault(row, {})
        into[column] = into.get(column, ZERO) + weight

    def _offers(self) -> None:
        for offer in self.book.offers:
            for segment in offer.segments:
                for t in range(segment.first, segment.stop):
                    self._offer_at(offer.order_id, t)

    def _offer_at(self, order_id: str, t: int) -> None:
        offer = next(o for o in self.book.offers if o.order_id == order_id)
        steps = next(s.steps for s in offer.segments if s.first <= t < s.stop)
        headroom = ("headroom", order_id, str(t))
        self.limits[headroom] = Fraction(sum(step.chips for step in steps))
        for index, step in enumerate(steps):
            sold = self._column(-step.price)
            self.limits["step", order_id, str(t), str(index)] = Fraction(step.chips)
            self._put(("step", order_id, str(t), str(index)), sold, 1)
            self._put(headroom, sold, 1)
            self._put(("balance", offer.pool_id, str(t)), sold, -1)
            if offer.recallable:
                self._put(("recall", offer.pool_id, str(t)), sold, 1)
        if not offer.recallable:
            spare = self._column(0)
            self._put(headroom, spare, 1)
            self._put(("cover", offer.pool_id, str(t)), spare, -1)
            self._draw(offer.pool_id, t, spare)

    def _draw(self, pool_id: str, t: int, column: int) -> None:
        pool = next(p for p in self.book.pools if p.pool_id == pool_id)
        if ("power", pool.site_id, str(t)) in self.limits:
            self._put(("power", pool.site_id, str(t)), column, pool.chip_power)

    def _nominations(self) -> None:
        for nomination in self.book.nominations:
            pool = next(p for p in self.book.pools if p.pool_id == nomination.pool_id)
            for segment in nomination.segments:
                chips = sum(step.chips for step in segment.steps)
                for t in range(segment.first, segment.stop):
                    if nomination.cover is Cover.NODE:
                        share = Fraction(pool.node_spare_ppm, 1_000_000)
                        self.limits["cover", pool.pool_id, str(t)] -= share * chips
                    if ("power", pool.site_id, str(t)) in self.limits:
                        self.limits["power", pool.site_id, str(t)] -= pool.chip_power * chips

    def _step_bids(self) -> None:
        for bid in self.book.step_bids:
            for segment in bid.segments:
                for t in range(segment.first, segment.stop):
                    for index, step in enumerate(segment.steps):
                        row = ("bid", bid.order_id, str(t), str(index))
                        self.limits[row] = Fraction(step.chips)
                        for name in _pools(self.book, bid):
                            column = self._column(step.price - self._adders(name))
                            self._put(row, column, 1)
                            self._demand(bid, name, t, column)

    def _adders(self, pool_id: str) -> int:
        site_id = next(p.site_id for p in self.book.pools if p.pool_id == pool_id)
        site = next(s for s in self.book.sites if s.site_id == site_id)
        return site.surcharge + self.book.spec.operator_fee

    def _demand(self, bid: StepBid | BlockBid, pool_id: str, t: int, column: int) -> None:
        """One delivered chip: the rows it draws on and those it supports."""
        tariff = self.book.spec.tariff
        pool = next(p for p in self.book.pools if p.pool_id == pool_id)
        self._put(("balance", pool_id, str(t)), column, 1)
        self._draw(pool_id, t, column)
        if bid.service_class is ServiceClass.INTERRUPTIBLE:
            if bid.notice_s <= tariff.site_cover_notice_s:
                self._put(("recall", pool_id, str(t)), column, -1)
            if bid.notice_s <= tariff.node_cover_notice_s:
                self._put(("reclaim", pool_id, str(t)), column, -1)
        elif bid.cover is Cover.NODE:
            share = Fraction(pool.node_spare_ppm, 1_000_000)
            self._put(("cover", pool_id, str(t)), column, share)

    def _blocks(self) -> None:
        """A placed block is its minimum, a constant, and one column for what lies above it."""
        for block in self.book.block_bids:
            if block.order_id not in self.placements:
                continue
            pool_id, start = self.placements[block.order_id]
            least = -(-block.chips * block.min_fill_ppm // 1_000_000)
            worth = block.duration * (block.limit_price - self._adders(pool_id))
            self.constant += worth * least
            column = self._column(worth)
            self.limits["block", block.order_id] = Fraction(block.chips - least)
            self._put(("block", block.order_id), column, 1)
            for t in range(start, start + block.duration):
                before = {row: cells.get(column, ZERO) for row, cells in self.rows.items()}
                self._demand(block, pool_id, t, column)
                for row, cells in self.rows.items():
                    weight = cells.get(column, ZERO) - before.get(row, ZERO)
                    if weight and row[0] != "reclaim":  # the minimum of a gang is no reserve
                        self.limits[row] -= weight * least


def maximise(
    gain: list[Fraction], matrix: list[list[Fraction]], limits: list[Fraction]
) -> Fraction | None:
    """Exact simplex with Bland's rule; None when infeasible. The optimum must be bounded."""
    count = len(gain)
    # Columns: variables, one artificial, slacks; the right-hand side last.
    table = [
        [*row, Fraction(-1), *(Fraction(int(i == j)) for j in range(len(limits))), limit]
        for i, (row, limit) in enumerate(zip(matrix, limits, strict=True))
    ]
    basis = [count + 1 + i for i in range(len(limits))]
    width = count + 1 + len(limits)
    worst = min(range(len(limits)), key=lambda i: limits[i], default=None)
    if worst is not None and limits[worst] < 0:
        goal = [ZERO] * (width + 1)
        goal[count] = Fraction(-1)
        _pivot(table, basis, goal, worst, count)
        _climb(table, basis, goal, range(width))
        if goal[width] != 0:
            return None
        if count in basis:
            row = basis.index(count)
            enter = next((c for c in range(width) if c != count and table[row][c] != 0), None)
            if enter is not None:
                _pivot(table, basis, goal, row, enter)
    goal = [*gain, ZERO, *([ZERO] * len(limits)), ZERO]
    for row, column in enumerate(basis):
        if goal[column]:
            factor = goal[column]
            goal = [g - factor * x for g, x in zip(goal, table[row], strict=True)]
    _climb(table, basis, goal, [c for c in range(width) if c != count])
    return -goal[width]


def _climb(
    table: list[list[Fraction]],
    basis: list[int],
    goal: list[Fraction],
    columns: range | list[int],
) -> None:
    while True:
        enter = next((c for c in columns if goal[c] > 0), None)
        if enter is None:
            return
        ratios = [
            (row[-1] / row[enter], basis[i], i) for i, row in enumerate(table) if row[enter] > 0
        ]
        if not ratios:
            message = "the program is unbounded"
            raise ArithmeticError(message)
        _pivot(table, basis, goal, min(ratios)[2], enter)


def _pivot(
    table: list[list[Fraction]], basis: list[int], goal: list[Fraction], row: int, column: int
) -> None:
    scale = table[row][column]
    table[row] = [x / scale if x else x for x in table[row]]
    pivot = [(c, x) for c, x in enumerate(table[row]) if x]
    for other, cells in [*enumerate(table), (-1, goal)]:
        factor = cells[column]
        if other != row and factor:
            for c, x in pivot:
                cells[c] -= factor * x
    basis[row] = column
