"""Which demand an idle chip could have served, and what kept it from doing so.

Unserved demand of a run's interval 0 is held against the chips that were offered and not sold. A
reason is one constraint without which the bid would run there: power, contiguity or cover of a
bid that would pay, the price, or where and on what it may run. Hardest facts come first, over all
pools. A bid explains as many idle chips as it still asks for, a gang in one pool only; chips that
no bid explains alone had no demand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from clearing.eligibility import PoolIndex
from clearing.outcome import Outcome, PoolPrice, Side
from clearing.types import BlockBid, Book, Cover, Eligibility, Pool, ServiceClass, StepBid
from clearing.units import PPM, divide_up
from iso_exchange.sequencer.spot_market import BOUND_PREFIX, is_later, standing_id
from settlement.assignment import Assignment

FAR: Final = 2**62


class Idle(Enum):
    """What held a chip idle, in the order in which a reason is looked for."""

    OUTAGE = "OUTAGE"
    """An outage was reported."""
    NOT_OFFERED = "NOT_OFFERED"
    """Its supplier, or the holder of its base load, offered it to nobody."""
    COVER = "COVER"
    """It stands by as spare; or a covered bid that would pay lacks the spare nodes beside it."""
    NOTICE_RUNNING = "NOTICE_RUNNING"
    """Work of which the notice could not be kept was not begun; or a gang that would pay waits
    for chips beside it that run out a notice."""
    POWER = "POWER"
    """A bid that would pay, were it not for the site's power."""
    CONTIGUITY = "CONTIGUITY"
    """A gang that would pay finds too few chips together, or not for as long as it runs."""
    NOT_CLEARED = "NOT_CLEARED"
    """A bid that would pay and fits: within the certified gap, or the run was renewed."""
    PRICE = "PRICE"
    """A bid that may run there and fits does not pay what the chip costs."""
    ELIGIBILITY = "ELIGIBILITY"
    """A bid that would pay and fits may not run there: other pools, or no released base load."""
    NO_DEMAND = "NO_DEMAND"
    """No unserved bid is left that a single constraint keeps away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """Chips of a pool that were offered and not sold.

    Attributes:
        ordinary: For anybody.
        recallable: Released or returned base load: for interruptibles with a short notice.
        ask: Cheapest ordinary ask among them, micro-USD per chip-hour; ``FAR`` without any.
        recall_ask: The same of recallable ones.
    """

    ordinary: int = 0
    recallable: int = 0
    ask: int = FAR
    recall_ask: int = FAR

    @property
    def chips(self) -> int:
        """All of them."""
        return self.ordinary + self.recallable

    def plus(self, chips: int, ask: int, *, recallable: bool) -> Supply:
        """With the chips of one more step."""
        if recallable:
            return replace(
                self,
                recallable=self.recallable + chips,
                recall_ask=min(self.recall_ask, ask),
            )
        return replace(self, ordinary=self.ordinary + chips, ask=min(self.ask, ask))

    def cut(self, chips: int) -> Supply:
        """At most so many, ordinary ones first."""
        ordinary = min(self.ordinary, chips)
        return replace(self, ordinary=ordinary, recallable=min(self.recallable, chips - ordinary))


@dataclass(slots=True, kw_only=True)
class Want:
    """Unserved part of a bid in interval 0.

    Attributes:
        limit: Micro-USD per chip-hour, before own factors.
        chips: Still asked for.
        least: Fewest that help: of a gang that has nothing its minimum, else 1.
        intervals: From interval 0 on, all of which it has to pay and to find room for.
    """

    bid: StepBid | BlockBid
    limit: int
    chips: int
    least: int
    intervals: int

    @property
    def order_id(self) -> str:
        """Of the bid."""
        return self.bid.order_id


def held_by(
    book: Book,
    outcome: Outcome,
    assignment: Assignment,
    left: Mapping[str, Supply],
    noticed: Mapping[str, int],
) -> dict[str, dict[Idle, int]]:
    """What held the chips that were offered and not sold.

    Args:
        book: Of the run.
        outcome: Its outcome.
        assignment: What of it binds.
        left: By pool, pools without any left out.
        noticed: Chips by pool that run out a notice.

    Returns:
        By pool of ``left``; the chips of each add up to the pool's.
    """
    if not left:
        return {}
    desk = _Desk(book, outcome, assignment, left, noticed)
    desk.explain_notices()
    desk.explain_willing()
    desk.explain_prices()
    desk.explain_eligibility()
    return desk.finish()


class _Desk:
    """Idle chips by pool, and the bids that are held against them."""

    def __init__(
        self,
        book: Book,
        outcome: Outcome,
        assignment: Assignment,
        left: Mapping[str, Supply],
        noticed: Mapping[str, int],
    ) -> None:
        self._book = book
        self._noticed = noticed
        self._supply = left
        self._left = {name: [left[name].ordinary, left[name].recallable] for name in sorted(left)}
        self._found: dict[str, dict[Idle, int]] = {name: {} for name in self._left}
        self._pools = {pool.pool_id: pool for pool in book.pools}
        self._prices = {(item.pool_id, item.interval): item for item in outcome.prices}
        self._index = PoolIndex({site.site_id: site for site in book.sites}, book.pools)
        self._open = set(self._left)
        self._eligible: dict[Eligibility, dict[str, None]] = {}
        start = book.spec.intervals[0].start
        self._bound: dict[tuple[str, str], int] = defaultdict(int)
        for contract in assignment.contracts:
            for hour in contract.hours:
                if hour.interval.start == start:
                    self._bound[contract.order_id, contract.pool_id] += hour.chips
        self._free = _free(book, outcome, self._left)
        self._stand_by = _stand_by(book, outcome)
        surcharges = {site.site_id: site.surcharge for site in book.sites}
        self._charges = {
            pool.pool_id: surcharges[pool.site_id] + book.spec.operator_fee for pool in book.pools
        }
        self._watts = _watts_left(book, outcome)
        self._awarded: dict[tuple[str, str], int] = {}
        self._later: dict[str, str] = {}
        for award in outcome.awards:
            if award.side is not Side.DEMAND or award.order_id.startswith(BOUND_PREFIX):
                continue
            if is_later(award.order_id):
                self._later[standing_id(award.order_id)] = award.pool_id
            elif award.first == 0:
                self._awarded[award.order_id, award.pool_id] = award.chips[0]
        self._wants = sorted(self._unserved(), key=lambda want: (-want.limit, want.order_id))

    def explain_notices(self) -> None:
        """What was awarded and not begun, and gangs that are awarded a later start."""
        trimmed: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for (order_id, pool_id), chips in sorted(self._awarded.items()):
            unbound = chips - self._bound.get((order_id, pool_id), 0)
            if unbound > 0 and pool_id in self._left:
                trimmed[order_id].append((pool_id, unbound))
        for want in self._wants:
            for pool_id, unbound in trimmed.get(want.order_id, ()):
                self._take(want, pool_id, Idle.NOTICE_RUNNING, most=unbound)
            pool_id = self._later.get(want.order_id, "")
            if pool_id in self._left:
                self._take(want, pool_id, Idle.NOTICE_RUNNING)

    def explain_willing(self) -> None:
        """Bids that may run there and would pay, each by the first thing that stops it."""
        for want in self._wants:
            for pool_id in self._places(want, self._eligible_for(want)):
                if self.may_run(want, pool_id):
                    reason = self._stopped(want, pool_id)
                    if reason is not None:
                        self._take(want, pool_id, reason)

    def explain_prices(self) -> None:
        """Bids that may run there and fit, and do not pay."""
        for want in self._wants:
            for pool_id in self._places(want, self._eligible_for(want)):
                if (
                    self.may_run(want, pool_id)
                    and not self.pays(want, pool_id)
                    and self._fits(want, pool_id, self._usable(want, pool_id, whole=True))
                ):
                    self._take(want, pool_id, Idle.PRICE)

    def explain_eligibility(self) -> None:
        """Bids that fit and would pay in a pool, or on released base load, that is not theirs."""
        for want in self._wants:
            for pool_id in self._places(want, self._left):
                if (
                    not self.may_run(want, pool_id)
                    and self.pays(want, pool_id)
                    and self._fits(want, pool_id, self._supply[pool_id].chips)
                ):
                    self._take(want, pool_id, Idle.ELIGIBILITY, anywhere=True)

    def finish(self) -> dict[str, dict[Idle, int]]:
        """What no bid explains had no demand."""
        for pool_id, buckets in self._left.items():
            if sum(buckets):
                self._found[pool_id][Idle.NO_DEMAND] = sum(buckets)
        return self._found

    def may_run(self, want: Want, pool_id: str) -> bool:
        """Whether there are chips left there that the bid may have."""
        return pool_id in self._eligible_for(want) and self._usable(want, pool_id) > 0

    def pays(self, want: Want, pool_id: str) -> bool:
        """Whether its limit is above the cheapest idle chip, and the prices after interval 0."""
        factor = next(
            (
                one.factor_ppm
                for one in want.bid.conversions
                if one.chip_class == self._pools[pool_id].chip_class
            ),
            PPM,
        )
        cost = self._ask(want, pool_id) + self._charges[pool_id]
        cost += sum(
            self._price_of(want, self._prices[pool_id, place]) for place in range(1, want.intervals)
        )
        return want.limit * factor // PPM * want.intervals > cost

    def _unserved(self) -> Iterator[Want]:
        served: dict[str, int] = defaultdict(int)
        for (order_id, _), chips in self._bound.items():
            served[order_id] += chips
        for bid in self._book.step_bids:
            if bid.order_id.startswith(BOUND_PREFIX):
                continue
            has = served.get(bid.order_id, 0)
            steps = next((part.steps for part in bid.segments if part.first == 0), ())
            for step in steps:  # descending: the dearest are served first
                chips = max(0, step.chips - has)
                has = max(0, has - step.chips)
                if chips:
                    yield Want(bid=bid, limit=step.price, chips=chips, least=1, intervals=1)
        for block in self._book.block_bids:
            has = served.get(block.order_id, 0)
            if is_later(block.order_id) or block.earliest_start or has >= block.chips:
                continue
            least = 1 if has else divide_up(block.chips * block.min_fill_ppm, PPM)
            yield Want(
                bid=block,
                limit=block.limit_price,
                chips=block.chips - has,
                least=least,
                intervals=block.duration,
            )

    def _eligible_for(self, want: Want) -> dict[str, None]:
        """Pools of ``left`` in which the bid may run, by identifier."""
        where = want.bid.where
        if where not in self._eligible:
            found = self._index.eligible(where)
            self._eligible[where] = {name: None for name in found if name in self._left}
        return self._eligible[where]

    def _places(self, want: Want, among: Iterable[str]) -> list[str]:
        """Pools with idle chips: for a gang the emptiest one first, which is the one it gets."""
        if not self._open or not want.chips:
            return []
        names = [name for name in among if name in self._open]
        if isinstance(want.bid, BlockBid):
            names.sort(key=lambda name: (-sum(self._left[name]), name))
        return names

    def _stopped(self, want: Want, pool_id: str) -> Idle | None:
        """The one constraint that stops a bid that would pay; None where it is not one."""
        usable = self._usable(want, pool_id, whole=True)
        if not self.pays(want, pool_id):
            return None
        if self._fits(want, pool_id, usable):
            return Idle.NOT_CLEARED
        noticed = self._noticed.get(pool_id, 0)
        if noticed and self._fits(want, pool_id, usable + noticed, more_later=noticed):
            return Idle.NOTICE_RUNNING
        return next(
            (
                constraint
                for constraint in (Idle.POWER, Idle.CONTIGUITY, Idle.COVER)
                if self._fits(want, pool_id, usable, without=constraint)
            ),
            None,
        )

    def _fits(
        self,
        want: Want,
        pool_id: str,
        usable: int,
        *,
        without: Idle | None = None,
        more_later: int = 0,
    ) -> bool:
        """Whether a bid's least could run on so many idle chips.

        Args:
            without: Constraint that is left out: without contiguity a node of a gang is enough.
            more_later: Chips that are there after interval 0 besides those that are free.
        """
        pool = self._pools[pool_id]
        node = pool.chips_per_node
        chips = divide_up(want.least, node) * node
        if without is Idle.CONTIGUITY:
            chips = node
        elif any(chips > free + more_later for free in self._free[pool_id][1 : want.intervals]):
            return False
        spare = 0
        if want.bid.cover is Cover.NODE and without is not Idle.COVER:
            stands_by = self._stand_by[pool_id]
            spare = stands_by.needed(pool, chips) - stands_by.needed(pool, 0)
        watts = (chips + spare) * pool.chip_power
        has_power = without is Idle.POWER or watts <= self._watts[pool.site_id]
        return has_power and chips + spare <= usable

    def _usable(self, want: Want, pool_id: str, *, whole: bool = False) -> int:
        """Idle chips that the bid may have.

        Args:
            whole: Of what the run left idle, not of what is still to be explained.
        """
        supply = self._supply[pool_id]
        ordinary, recallable = (
            (supply.ordinary, supply.recallable) if whole else self._left[pool_id]
        )
        return ordinary + (recallable if self._may_be_recalled(want) else 0)

    def _may_be_recalled(self, want: Want) -> bool:
        bid = want.bid
        return (
            bid.service_class is ServiceClass.INTERRUPTIBLE
            and bid.notice_s <= self._book.spec.tariff.site_cover_notice_s
        )

    def _ask(self, want: Want, pool_id: str) -> int:
        """Cheapest of the idle chips; released base load asks least."""
        supply = self._supply[pool_id]
        if not supply.ordinary or (supply.recallable and self._may_be_recalled(want)):
            return supply.recall_ask
        return supply.ask

    def _price_of(self, want: Want, price: PoolPrice) -> int:
        """Published all-in price of an interval after the first; cover is looked at apart."""
        if want.bid.service_class is ServiceClass.FIRM:
            return price.firm_uncovered
        if want.bid.notice_s > self._book.spec.tariff.site_cover_notice_s:
            return price.interruptible_uncounted
        return price.interruptible_uncounted - price.recall_discount

    def _take(
        self,
        want: Want,
        pool_id: str,
        reason: Idle,
        *,
        most: int = FAR,
        anywhere: bool = False,
    ) -> None:
        """Explain idle chips of a pool by a bid; a gang is used up by one pool.

        Args:
            anywhere: Also chips that it may not have, which is the reason then.
        """
        buckets = self._left[pool_id]
        may_be_recalled = anywhere or self._may_be_recalled(want)
        chips = min(want.chips, most)
        taken = 0
        for place in (1, 0) if may_be_recalled else (0,):
            part = min(chips - taken, buckets[place])
            buckets[place] -= part
            taken += part
        if not taken:
            return
        if not any(buckets):
            self._open.discard(pool_id)
        found = self._found[pool_id]
        found[reason] = found.get(reason, 0) + taken
        want.chips -= taken
        if isinstance(want.bid, BlockBid):
            want.chips = 0


def _free(book: Book, outcome: Outcome, pools: Iterable[str]) -> dict[str, list[int]]:
    """Chips by pool and interval that were offered and are not awarded."""
    found = {pool_id: [0] * len(book.spec.intervals) for pool_id in pools}
    for offer in book.offers:
        row = found.get(offer.pool_id)
        if row is None or offer.order_id.startswith(BOUND_PREFIX):
            continue
        for part in offer.segments:
            for place in range(part.first, part.stop):
                row[place] += sum(step.chips for step in part.steps)
    for award in outcome.awards:
        row = found.get(award.pool_id)
        if row is None or award.side is not Side.SUPPLY or award.order_id.startswith(BOUND_PREFIX):
            continue
        held = award.site_reserve or (0,) * len(award.chips)
        for place, (chips, spare, backup) in enumerate(
            zip(award.chips, award.reserve, held, strict=True), award.first
        ):
            row[place] -= chips + spare + backup
    return found


@dataclass(slots=True)
class _StandBy:
    """NODE cover of a pool in interval 0.

    Attributes:
        covered: Chips that are covered.
        reclaimable: Chips of interruptible steps that can be taken away node by node.
    """

    covered: int = 0
    reclaimable: int = 0

    def needed(self, pool: Pool, more: int) -> int:
        """Spare chips that are needed when so many more chips are covered, whole nodes."""
        chips = divide_up((self.covered + more) * pool.node_spare_ppm, PPM)
        nodes = divide_up(max(0, chips - self.reclaimable), pool.chips_per_node)
        return nodes * pool.chips_per_node


def _stand_by(book: Book, outcome: Outcome) -> dict[str, _StandBy]:
    found: dict[str, _StandBy] = defaultdict(_StandBy)
    longest = book.spec.tariff.node_cover_notice_s
    steps = {bid.order_id for bid in book.step_bids if bid.notice_s <= longest}
    for award in outcome.awards:
        if award.first or award.side is Side.SUPPLY:
            continue
        own = found[award.pool_id]
        if award.cover is Cover.NODE:
            own.covered += award.chips[0]
        elif award.service_class is ServiceClass.INTERRUPTIBLE and award.order_id in steps:
            own.reclaimable += award.chips[0]
    return found


def _watts_left(book: Book, outcome: Outcome) -> dict[str, int]:
    """Watts that each site still has in interval 0; ``FAR`` where power never binds."""
    found = {
        site.site_id: FAR if site.power_limit is None else site.power_limit for site in book.sites
    }
    pools = {pool.pool_id: pool for pool in book.pools}
    for award in outcome.awards:
        if award.first or award.side is Side.DEMAND:
            continue
        chips = int(award.chips[0])
        if award.side is Side.SUPPLY:
            chips += award.reserve[0] + (award.site_reserve[0] if award.site_reserve else 0)
        pool = pools[award.pool_id]
        found[pool.site_id] -= chips * pool.chip_power
    return found
