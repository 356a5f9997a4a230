"""Documents of an auction result: what everybody sees, and what one participant sees.

Both are canonical JSON (``clearing.codec``). The public one holds no order, no name and
no quantity that belongs to one participant alone: volumes are sums per pool and
interval, curves are sums over all orders of a chip class.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field

from clearing.outcome import (
    Award,
    BackupPrice,
    MakeWhole,
    OrderOutcome,
    Outcome,
    PoolPrice,
    RunStatus,
    Side,
    SupplyRun,
)
from clearing.shapes import LATER
from clearing.types import BlockBid, Book, Interval, Segment, ServiceClass, WorkBid
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, PriceSeconds
from iso_exchange.sequencer.spot_market import BOUND_PREFIX
from settlement.assignment import Assignment
from settlement.types import Contract


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Awarded chips of one pool in one interval.

    Attributes:
        spare: Held for NODE cover.
        site_spare: Held for SITE cover.
    """

    pool_id: str
    interval: int
    capacity: Chips
    supplied: Chips
    firm: Chips
    interruptible: Chips
    base_load: Chips
    spare: Chips
    site_spare: Chips = field(default=Chips(0), metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Chips offered or wanted at one price, summed over all orders."""

    price: MicroUsdPerChipHour
    chips: Chips


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Anonymised curves of one interval: supply ascending, demand descending.

    A bid that may be served in several chip classes stands in the demand of the whole
    market, so curves are for all pools together.
    """

    interval: int
    supply: tuple[CurvePoint, ...]
    demand: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Money and welfare of the whole auction, at awarded quantities.

    Attributes:
        restart_kept: Counts beside ``welfare`` against ``bound``.
    """

    buyers: MicroUsd
    suppliers: MicroUsd
    spare: MicroUsd
    community: MicroUsd
    operator_fee: MicroUsd
    link_rent: MicroUsd
    power_rent: MicroUsd
    residual: MicroUsd
    make_whole: MicroUsd
    make_whole_count: int
    welfare: PriceSeconds
    bound: PriceSeconds
    gains: PriceSeconds
    lost_opportunity: PriceSeconds
    order_count: int
    restart_kept: PriceSeconds = field(default=PriceSeconds(0), metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesDocument:
    """Public result of one auction.

    Attributes:
        provisional: A spot run that was not cleared in time: prices of the run before.
    """

    auction_id: str
    status: RunStatus
    engine: str
    tie_seed: str
    intervals: tuple[Interval, ...]
    prices: tuple[PoolPrice, ...]
    volumes: tuple[Volume, ...]
    curves: tuple[Curve, ...]
    totals: Totals
    backup_prices: tuple[BackupPrice, ...] = field(default=(), metadata=LATER)
    provisional: bool = field(default=False, metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardNotice:
    """One participant's own result: what became of each order, and its contracts."""

    auction_id: str
    participant_id: str
    orders: tuple[OrderOutcome, ...]
    awards: tuple[Award, ...]
    contracts: tuple[Contract, ...]
    make_whole: tuple[MakeWhole, ...]
    runs: tuple[SupplyRun, ...] = field(default=(), metadata=LATER)


def prices_document(book: Book, outcome: Outcome, *, provisional: bool = False) -> PricesDocument:
    """What everybody may see of a result."""
    certificate, cash = outcome.certificate, outcome.cash
    return PricesDocument(
        auction_id=outcome.auction_id,
        status=outcome.status,
        engine=outcome.engine,
        tie_seed=outcome.seed,
        intervals=book.spec.intervals,
        prices=outcome.prices,
        volumes=volumes(book, outcome),
        curves=curves(book),
        totals=Totals(
            buyers=cash.buyers,
            suppliers=cash.suppliers,
            spare=cash.spare,
            community=cash.community,
            operator_fee=cash.operator_fee,
            link_rent=cash.link_rent,
            power_rent=cash.power_rent,
            residual=cash.residual,
            make_whole=cash.make_whole,
            make_whole_count=len(outcome.make_whole),
            welfare=certificate.welfare,
            bound=certificate.bound,
            gains=certificate.gains,
            lost_opportunity=certificate.lost_opportunity,
            order_count=len(outcome.orders),
            restart_kept=certificate.restart_kept,
        ),
        backup_prices=outcome.backup_prices,
        provisional=provisional,
    )


def volumes(book: Book, outcome: Outcome) -> tuple[Volume, ...]:
    """Awarded chips per pool and interval, by what they are."""
    sums: dict[tuple[str, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for award in outcome.awards:
        held = award.site_reserve or (0,) * len(award.chips)
        for offset, (chips, reserve, backup) in enumerate(
            zip(award.chips, award.reserve, held, strict=True)
        ):
            cell = sums[(award.pool_id, award.first + offset)]
            if award.side is Side.SUPPLY:
                cell["supplied"] += chips
                cell["spare"] += reserve
                cell["site_spare"] += backup
            elif award.side is Side.BASE:
                cell["base_load"] += chips
            elif award.service_class is ServiceClass.FIRM:
                cell["firm"] += chips
            else:
                cell["interruptible"] += chips
    return tuple(
        Volume(
            pool_id=pool.pool_id,
            interval=index,
            capacity=pool.capacity,
            supplied=Chips(sums[(pool.pool_id, index)]["supplied"]),
            firm=Chips(sums[(pool.pool_id, index)]["firm"]),
            interruptible=Chips(sums[(pool.pool_id, index)]["interruptible"]),
            base_load=Chips(sums[(pool.pool_id, index)]["base_load"]),
            spare=Chips(sums[(pool.pool_id, index)]["spare"]),
            site_spare=Chips(sums[(pool.pool_id, index)]["site_spare"]),
        )
        for pool in book.pools
        for index in range(len(book.spec.intervals))
    )


def award_notice(outcome: Outcome, assignment: Assignment, participant_id: str) -> AwardNotice:
    """What one participant is told."""
    orders = tuple(order for order in outcome.orders if order.participant_id == participant_id)
    own = {order.order_id for order in orders}
    return AwardNotice(
        auction_id=outcome.auction_id,
        participant_id=participant_id,
        orders=orders,
        awards=tuple(award for award in outcome.awards if award.participant_id == participant_id),
        contracts=tuple(
            contract
            for contract in assignment.contracts
            if participant_id in (contract.buyer_id, contract.supplier_id)
        ),
        make_whole=tuple(item for item in outcome.make_whole if own & set(item.order_ids)),
        runs=tuple(run for run in outcome.runs if run.order_id in own),
    )


def curves(book: Book) -> tuple[Curve, ...]:
    """Anonymised curves; what only stands for earlier runs' positions is left out."""
    length = len(book.spec.intervals)
    supply: _Levels = {}
    demand: _Levels = {}
    for offer in book.offers:
        if not offer.order_id.startswith(BOUND_PREFIX):
            _add_segments(supply, offer.segments, length)
    for bid in book.step_bids:
        if not bid.order_id.startswith(BOUND_PREFIX):
            _add_segments(demand, bid.segments, length)
    others: tuple[BlockBid | WorkBid, ...] = (*book.block_bids, *book.work_bids)
    for other in others:
        for place in range(length):
            for price, chips in _wanted(other, place):
                _add(demand, price, place, place + 1, chips, length)
    offered, wanted = _by_interval(supply, length), _by_interval(demand, length)
    return tuple(
        Curve(interval=place, supply=offered[place], demand=wanted[place][::-1])
        for place in range(length)
    )


_Levels = dict[MicroUsdPerChipHour, list[int]]
"""By price, how much more chips each interval has than the one before; one more at the end."""


def _add_segments(levels: _Levels, segments: tuple[Segment, ...], length: int) -> None:
    for segment in segments:
        for step in segment.steps:
            _add(levels, step.price, segment.first, segment.stop, step.chips, length)


def _add(
    levels: _Levels, price: MicroUsdPerChipHour, first: int, stop: int, chips: int, length: int
) -> None:
    row = levels.get(price)
    if row is None:
        row = levels[price] = [0] * (length + 1)
    row[first] += chips
    row[stop] -= chips


def _by_interval(levels: _Levels, length: int) -> list[tuple[CurvePoint, ...]]:
    """Points of each interval, by ascending price."""
    points: list[list[CurvePoint]] = [[] for _ in range(length)]
    for price in sorted(levels):
        # The last sum is of what goes beyond the last interval: nothing.
        for place, chips in enumerate(itertools.accumulate(levels[price][:length])):
            if chips:
                points[place].append(CurvePoint(price=price, chips=Chips(chips)))
    return [tuple(found) for found in points]


def _wanted(
    bid: BlockBid | WorkBid, interval: int
) -> tuple[tuple[MicroUsdPerChipHour, Chips], ...]:
    if isinstance(bid, BlockBid):
        # Positions of its run that this interval can be, over all its starts.
        first = max(0, interval - bid.latest_start)
        stop = min(bid.duration, interval - bid.earliest_start + 1)
        if first >= stop:
            return ()
        chips = max(bid.profile[first:stop]) if bid.profile else bid.chips
        return ((bid.limit_price, chips),) if chips else ()
    return ((bid.limit_price, bid.max_chips),) if bid.first <= interval < bid.stop else ()
