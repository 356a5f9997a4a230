"""A tiny book as one linear program with yes-or-no columns, row by row from clearing-rules.md.

Written from the rules' tables alone, in loops over objects; it shares no code with the engine or
the verifier but the resolution of eligible pools. Quantities are chips and continuous; values are
price-seconds (micro-USD per chip-hour x chips x seconds). A shortage of the cover that base load is
owed has a column and no price: ``twin`` bounds it by what it is before anything is traded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, product

from clearing.eligibility import resolve
from clearing.types import (
    BlockBid,
    Book,
    Cover,
    Nomination,
    Offer,
    Pool,
    Segment,
    ServiceClass,
    Step,
    StepBid,
    WorkBid,
)
from clearing.units import PPM, SECONDS_PER_HOUR, divide_half_even, divide_up
from tests.property.simplex import Program

Bid = StepBid | BlockBid | WorkBid
Option = tuple[int, ...]
"""One choice of a family: the yes-or-no columns that it sets, by position."""


@dataclass(slots=True)
class Family:
    """What one participant's choice ties together; ``options`` holds every choice, nothing
    included."""

    name: str
    options: list[Option]
    is_demand: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One alternative of a block: its column is position ``decision`` among the decisions."""

    order_id: str
    decision: int


@dataclass
class TwinProgram:
    """The program of a book and the families whose choices have to be enumerated."""

    book: Book
    program: Program = field(default_factory=Program)
    families: list[Family] = field(default_factory=list)
    short: list[int] = field(default_factory=list)
    meaning: dict[int, tuple[object, ...]] = field(default_factory=dict)
    node: dict[int, int] = field(default_factory=dict)
    kept: dict[int, int] = field(default_factory=dict)
    bought: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pools: dict[str, Pool] = {pool.pool_id: pool for pool in self.book.pools}
        self.sites = {site.site_id: site for site in self.book.sites}
        self.seconds = self.book.spec.intervals[0].duration_s
        self.times = range(len(self.book.spec.intervals))
        self.power = {
            (site.site_id, t): site.power_limit
            for site in self.book.sites
            if site.power_limit is not None
            for t in self.times
        }
        self._places()
        for offer in self.book.offers:
            self._offer(offer)
        for bid in self.book.step_bids:
            self._steps(bid)
        for work in self.book.work_bids:
            self._work(work)
        self._blocks()
        self._base()
        self._links()
        for (site_id, t), watts in self.power.items():
            self.program.limit(("power", site_id, t), watts)

    # ------------------------------------------------------------------------------- rows of places

    def _places(self) -> None:
        for pool in self.book.pools:
            for t in self.times:
                here = (pool.pool_id, t)
                node_spare, site_spare, node_reserve, site_reserve = (
                    self._column(0, name, *here, pool_id=pool.pool_id)
                    for name in ("node spare", "site spare", "R_N", "R_S")
                )
                put = self.program.put
                for spare in (node_spare, site_spare):
                    put(("headroom", *here), spare, 1)
                    self._draw(pool, t, spare)
                put(("node cover", *here), node_spare, -PPM)
                put(("node cover", *here), node_reserve, -PPM)
                put(("reclaim", *here), node_reserve, 1)
                put(("recall", *here), node_reserve, 1)
                put(("recall", *here), site_reserve, 1)
                for lost in self.book.sites:
                    if lost.site_id != pool.site_id:
                        put(("site cover", lost.site_id, *here), site_spare, -1)
                        put(("site cover", lost.site_id, *here), site_reserve, -1)

    def _column(self, gain: int, *meaning: object, pool_id: str = "") -> int:
        """A quantity of chips; with a pool it comes in whole nodes of it once it is awarded."""
        column = self.program.column(gain)
        self.meaning[column] = meaning
        if pool_id:
            self.node[column] = self.pools[pool_id].chips_per_node
        return column

    def _draw(self, pool: Pool, t: int, column: int, chips: int = 1) -> None:
        if (pool.site_id, t) in self.power:
            self.program.put(("power", pool.site_id, t), column, pool.chip_power * chips)

    def _balance(self, pool_id: str, t: int, column: int, delivered: int) -> None:
        """``delivered - sold - inflow + outflow <= 0``; equality where the floor is negative."""
        self.program.put(("balance", pool_id, t), column, delivered)
        if self.book.spec.price_floor < 0:
            self.program.put(("no surplus", pool_id, t), column, -delivered)

    # ------------------------------------------------------------------------------------- supply

    def _offer(self, offer: Offer) -> None:
        if offer.commitment is not None and offer.commitment.whole:
            self._supply_block(offer)
            return
        on = self._runs(offer) if offer.commitment is not None else {}
        for t, steps in _steps_by_interval(offer.segments):
            offered = 0
            for step in steps:
                sold = self._column(
                    -step.price * self.seconds,
                    "sold",
                    offer.order_id,
                    t,
                    step.price,
                    pool_id=offer.pool_id,
                )
                row = ("step", offer.order_id, t, step.price)
                self.program.put(row, sold, 1)
                self._bound_by(
                    row, on.get(t, []), step.chips, is_committed=offer.commitment is not None
                )
                self._balance(offer.pool_id, t, sold, -1)
                offered += step.chips
                if offer.recallable:
                    self.program.put(("recall", offer.pool_id, t), sold, 1)
                else:
                    self.program.put(("headroom", offer.pool_id, t), sold, 1)
                if offer.commitment is not None and offer.commitment.min_chips:
                    least = ("least", offer.order_id, t)
                    self.program.put(least, sold, -1)
            if not offer.recallable:
                shared = ("headroom", offer.pool_id, t)
                self._bound_by(
                    shared, on.get(t, []), offered, is_committed=offer.commitment is not None
                )
            if offer.commitment is not None and offer.commitment.min_chips:
                for decision in on[t]:
                    self.program.put(
                        ("least", offer.order_id, t), decision, offer.commitment.min_chips
                    )

    def _bound_by(
        self, row: tuple[object, ...], on: Iterable[int], chips: int, *, is_committed: bool
    ) -> None:
        """``chips`` on the right-hand side, at once or with any of the decisions."""
        if not is_committed:
            self.program.limit(row, chips)
            return
        self.program.limit(row, 0)
        for decision in on:
            self.program.put(row, decision, -chips)

    def _runs(self, offer: Offer) -> dict[int, list[int]]:
        """One yes-or-no column per run that the commitment allows; options are sets of disjoint
        runs.

        Two runs that touch would be one run with one start, so a gap lies between any two.
        """
        terms = offer.commitment
        assert terms is not None
        usable = {t for t, _ in _steps_by_interval(offer.segments)}
        runs: list[tuple[int, int, int]] = []
        on: dict[int, list[int]] = {t: [] for t in usable}
        for first in self.times:
            for stop in range(first + terms.min_run_intervals, len(self.times) + 1):
                if usable.issuperset(range(first, stop)):
                    cost = terms.start_up + terms.no_load * (stop - first)
                    decision = self.program.decision(-cost * SECONDS_PER_HOUR)
                    self.meaning[decision] = ("run", offer.order_id, first, stop)
                    runs.append((first, stop, len(self.program.decisions) - 1))
                    for t in range(first, stop):
                        on[t].append(decision)
        options: list[Option] = []
        for chosen in product((False, True), repeat=len(runs)):
            picked = [run for run, is_on in zip(runs, chosen, strict=True) if is_on]
            if all(left[1] < right[0] for left, right in pairwise(picked)):
                options.append(tuple(decision for _, _, decision in picked))
        self.families.append(Family(offer.order_id, options))
        return on

    def _supply_block(self, offer: Offer) -> None:
        terms = offer.commitment
        assert terms is not None
        by_interval = list(_steps_by_interval(offer.segments))
        cost = (terms.start_up + terms.no_load * len(by_interval)) * SECONDS_PER_HOUR
        cost += sum(s.price * s.chips for _, steps in by_interval for s in steps) * self.seconds
        decision = self.program.decision(-cost)
        self.meaning[decision] = ("whole", offer.order_id)
        for t, steps in by_interval:
            self._balance(offer.pool_id, t, decision, -sum(step.chips for step in steps))
        position = len(self.program.decisions) - 1
        self.families.append(Family(offer.order_id, [(), (position,)]))

    # ------------------------------------------------------------------------------------- demand

    def _where(self, bid: Bid) -> list[tuple[Pool, Pool | None]]:
        """(pool, backup) pairs: the backup is None but for SITE cover."""
        names = resolve(bid.where, self.sites, self.book.pools).eligible
        eligible = [self.pools[name] for name in names]
        if bid.cover is not Cover.SITE or bid.service_class is not ServiceClass.FIRM:
            return [(pool, None) for pool in eligible]
        return [(pool, backup) for pool in eligible for backup in eligible if _backs(backup, pool)]

    def _gain(self, bid: Bid, limit: int, pool: Pool) -> int:
        """Value of a chip-hour less surcharge and fee, price-seconds per chip and interval."""
        factors = {c.chip_class: c.factor_ppm for c in bid.conversions}
        value = divide_half_even(limit * factors.get(pool.chip_class, PPM), PPM)
        charge = self.sites[pool.site_id].surcharge + self.book.spec.operator_fee
        return (value - charge) * self.seconds

    def _deliver(
        self,
        bid: Bid,
        pool: Pool,
        backup: Pool | None,
        t: int,
        column: int,
        chips: int,
        *,
        counts: bool,
    ) -> None:
        """``chips`` of a bid per unit of a column; ``counts``: they can be reclaimed node by
        node."""
        put, tariff = self.program.put, self.book.spec.tariff
        here = (pool.pool_id, t)
        self._balance(pool.pool_id, t, column, chips)
        self._draw(pool, t, column, chips)
        if bid.service_class is ServiceClass.INTERRUPTIBLE:
            if bid.notice_s <= max(tariff.node_cover_notice_s, tariff.site_cover_notice_s):
                put(("recall", *here), column, -chips)
            if bid.notice_s <= tariff.node_cover_notice_s and counts:
                put(("reclaim", *here), column, -chips)
        elif bid.cover is Cover.NODE:
            put(("node cover", *here), column, pool.node_spare_ppm * chips)
        elif backup is not None:
            put(("site cover", pool.site_id, backup.pool_id, t), column, chips)

    def _steps(self, bid: StepBid) -> None:
        for t, steps in _steps_by_interval(bid.segments):
            for step in steps:
                row = ("bid", bid.order_id, t, step.price)
                self.program.limit(row, step.chips)
                for pool, backup in self._where(bid):
                    column = self._column(
                        self._gain(bid, step.price, pool),
                        "bought",
                        bid.order_id,
                        t,
                        pool_id=pool.pool_id,
                    )
                    self.bought.append(column)
                    self.program.put(row, column, 1)
                    self._deliver(bid, pool, backup, t, column, 1, counts=True)

    def _work(self, bid: WorkBid) -> None:
        self.program.limit(("work", bid.order_id), bid.work)
        for t in range(bid.first, bid.stop):
            self.program.limit(("rate", bid.order_id, t), bid.max_chips)
            for pool, backup in self._where(bid):
                column = self._column(
                    self._gain(bid, bid.limit_price, pool),
                    "bought",
                    bid.order_id,
                    t,
                    pool_id=pool.pool_id,
                )
                self.bought.append(column)
                self.program.put(("rate", bid.order_id, t), column, 1)
                self.program.put(("work", bid.order_id), column, self.seconds)
                self._deliver(bid, pool, backup, t, column, 1, counts=True)

    # ------------------------------------------------------------------------------------- blocks

    def _blocks(self) -> None:
        choices = {block.order_id: self._alternatives(block) for block in self.book.block_bids}
        for members in _tied(self.book.block_bids):
            options = []
            for picked in product(*([None, *choices[block.order_id]] for block in members)):
                accepted = {c.order_id for c in picked if c is not None}
                if _allowed(members, accepted):
                    options.append(tuple(c.decision for c in picked if c is not None))
            name = "+".join(block.order_id for block in members)
            self.families.append(Family(name, options, is_demand=True))

    def _alternatives(self, block: BlockBid) -> list[Choice]:
        found = []
        starts = range(block.earliest_start, block.latest_start + 1)
        for (pool, backup), start in product(self._where(block), starts):
            self._alternative(block, pool, backup, start)
            found.append(Choice(order_id=block.order_id, decision=len(self.program.decisions) - 1))
        return found

    def _alternative(self, block: BlockBid, pool: Pool, backup: Pool | None, start: int) -> None:
        """A yes-or-no column for the least quantity and a quantity for what lies above it."""
        node = pool.chips_per_node
        per_chip = self._gain(block, block.limit_price, pool)
        kept = 0
        if block.initial_pool_id == pool.pool_id and start == 0:
            kept = block.restart_cost * SECONDS_PER_HOUR
        run = block.profile or (block.chips,) * block.duration
        least = divide_up(divide_up(block.chips * block.min_fill_ppm, PPM), node) * node
        fixed = block.profile or (least,) * block.duration
        decision = self.program.decision(
            sum(fixed) * per_chip + kept * (block.chips if block.profile else least)
        )
        self.kept[decision] = kept * (block.chips if block.profile else least)
        named = "" if backup is None else backup.pool_id
        self.meaning[decision] = ("accept", block.order_id, pool.pool_id, start, named)
        for t, chips in enumerate(fixed, start):
            self._deliver(block, pool, backup, t, decision, chips, counts=False)
        if block.profile or least >= block.chips:
            return
        above = self._column(
            len(run) * per_chip + kept, "above", block.order_id, start, named, pool_id=pool.pool_id
        )
        self.kept[above] = kept
        row = ("fill", block.order_id, pool.pool_id, start, named)
        self.program.put(row, above, 1)
        self.program.put(row, decision, least - block.chips)
        for t in range(start, start + block.duration):
            self._deliver(block, pool, backup, t, above, 1, counts=True)

    # --------------------------------------------------------------------------- base load and
    # links

    def _base(self) -> None:
        covered: dict[tuple[str, int], int] = defaultdict(int)
        backed: dict[tuple[str, tuple[str, ...], int], int] = defaultdict(int)
        for base in self.book.nominations:
            pool = self.pools[base.pool_id]
            for t, chips in self._served(base):
                if (pool.site_id, t) in self.power:
                    self.program.limit(("power", pool.site_id, t), -pool.chip_power * chips)
                if base.cover is Cover.NODE:
                    covered[base.pool_id, t] += chips
                elif base.cover is Cover.SITE:
                    backed[base.pool_id, tuple(sorted(base.backup_pool_ids)), t] += chips
        for (pool_id, t), chips in covered.items():
            owed = chips * self.pools[pool_id].node_spare_ppm
            short = self._short("short_N", pool_id, t)  # millionths of a chip
            self.program.limit(("node cover", pool_id, t), -owed)
            self.program.put(("node cover", pool_id, t), short, -1)
            self.program.put(("owed", pool_id, t), short, 1)
            self.program.limit(("owed", pool_id, t), owed)
        for (pool_id, candidates, t), chips in backed.items():
            row = ("base backup", pool_id, candidates, t)
            self.program.limit(row, -chips * PPM)
            self.program.put(row, self._short("short_S", pool_id, t), -1)
            for name in candidates:
                backup = self._column(0, "backup", pool_id, name, t)
                self.program.put(row, backup, -PPM)
                self.program.put(("site cover", self.pools[pool_id].site_id, name, t), backup, 1)

    def _short(self, *meaning: object) -> int:
        self.short.append(self._column(0, *meaning))
        return self.short[-1]

    def _served(self, base: Nomination) -> Iterator[tuple[int, int]]:
        """Chips per interval: site power has to carry all of them in an enumerated book."""
        for t, steps in _steps_by_interval(base.segments):
            yield t, sum(step.chips for step in steps)

    def _links(self) -> None:
        for link in self.book.links:
            for t, (least, most) in enumerate(link.capacities):
                extra = self._column(
                    0, "flow above its least", link.link_id, t, pool_id=link.to_pool_id
                )
                self.program.put(("link", link.link_id, t), extra, 1)
                self.program.limit(("link", link.link_id, t), most - least)
                for pool_id, sign in ((link.from_pool_id, 1), (link.to_pool_id, -1)):
                    self._balance(pool_id, t, extra, sign)
                    self.program.limit(("balance", pool_id, t), -sign * least)
                    if self.book.spec.price_floor < 0:
                        self.program.limit(("no surplus", pool_id, t), sign * least)


def _backs(backup: Pool, pool: Pool) -> bool:
    """At another site, of the same class and node size."""
    return (
        backup.site_id != pool.site_id
        and backup.chip_class == pool.chip_class
        and backup.chips_per_node == pool.chips_per_node
    )


def _steps_by_interval(segments: Iterable[Segment]) -> Iterator[tuple[int, tuple[Step, ...]]]:
    for segment in segments:
        for t in range(segment.first, segment.stop):
            yield t, segment.steps


def _tied(blocks: Iterable[BlockBid]) -> list[list[BlockBid]]:
    """Blocks that a group or a parent ties together, directly or through others."""
    clusters: list[list[BlockBid]] = []
    for block in blocks:
        near = [c for c in clusters if any(_related(block, other) for other in c)]
        clusters = [c for c in clusters if c not in near]
        clusters.append([block, *(other for c in near for other in c)])
    return clusters


def _related(left: BlockBid, right: BlockBid) -> bool:
    grouped = left.exclusive_group and left.exclusive_group == right.exclusive_group
    return (
        bool(grouped and left.participant_id == right.participant_id)
        or left.parent_order_id == right.order_id
        or right.parent_order_id == left.order_id
    )


def _allowed(members: Iterable[BlockBid], accepted: set[str]) -> bool:
    """At most one of a group, and a child only with its parent."""
    taken = [b for b in members if b.order_id in accepted]
    groups = [(b.participant_id, b.exclusive_group) for b in taken if b.exclusive_group]
    parents = [b.parent_order_id for b in taken if b.parent_order_id]
    return len(set(groups)) == len(groups) and accepted.issuperset(parents)
