"""What each order is told: how much was accepted, why, and what would have changed it.

The facts follow from the awards, the prices and the market; the verifier establishes the
same facts from the published documents alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from clearing.accounts import Accounts, least_of
from clearing.market import steps_at, value_in
from clearing.outcome import Fill, MakeWhole, OrderOutcome, Reason
from clearing.responses import Charges, best_of_block, charges_at_prices
from clearing.types import BlockBid, Nomination, Offer, Segment, StepBid
from clearing.units import (
    PPM,
    SECONDS_PER_HOUR,
    MicroUsdPerChipHour,
    PriceSeconds,
    divide_half_even,
    usd_text,
)

Order = Offer | StepBid | BlockBid | Nomination


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What decides the answer to one order.

    Attributes:
        wanted: Chips asked for over all intervals; ``taken`` what it has of them.
        missed: How far its limit is from the best price; 0 where it has no pool.
    """

    wanted: int
    taken: int
    reason: Reason
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    """Everything an answer is looked up in."""

    accounts: Accounts
    charges: Charges
    made_whole: frozenset[str]
    foregone: dict[str, int]


def explain(accounts: Accounts, payments: tuple[MakeWhole, ...]) -> tuple[OrderOutcome, ...]:
    """One outcome per order of the book, sorted by order."""
    charges = charges_at_prices(accounts.prices, accounts.market.grid.intervals)
    desk = _Desk(
        accounts=accounts,
        charges=charges,
        made_whole=frozenset(name for payment in payments for name in payment.order_ids),
        foregone=_foregone(accounts, charges),
    )
    book = accounts.book
    answers = [_answer(desk, offer, _facts_of_offer(desk, offer)) for offer in book.offers]
    answers += [_answer(desk, bid, _facts_of_bid(desk, bid)) for bid in book.step_bids]
    answers += [_answer(desk, block, _facts_of_block(desk, block)) for block in book.block_bids]
    answers += [_answer(desk, base, _facts_of_base(desk, base)) for base in book.nominations]
    return tuple(sorted(answers, key=lambda answer: answer.order_id))


def _foregone(accounts: Accounts, charges: Charges) -> dict[str, int]:
    """Surplus that each rejected block misses, beyond what its family has already."""
    market = accounts.market
    position = {name: at for at, names in enumerate(market.families) for name in names}
    has: dict[int, int] = defaultdict(int)
    for name, family in position.items():
        if accounts.taken_of.get(name):
            has[family] = max(0, accounts.surplus[name])
    missed: dict[str, int] = {}
    for block in accounts.book.block_bids:
        name = block.order_id
        if not accounts.taken_of.get(name):
            gain = best_of_block(market, charges, block, market.product[name]) or 0
            more = gain * accounts.duration_s - has[position[name]]
            if more > 0:
                missed[name] = more
    return missed


def _answer(desk: _Desk, order: Order, facts: _Facts) -> OrderOutcome:
    name, reason = order.order_id, facts.reason
    if not isinstance(order, Nomination):
        if name in desk.made_whole:
            reason = Reason.MADE_WHOLE
        elif name in desk.foregone:
            reason = Reason.PARADOXICALLY_REJECTED
    fill = Fill.FULL if facts.taken >= facts.wanted else Fill.PARTIAL
    missed = max(0, facts.missed) if reason is Reason.OUT_OF_THE_MONEY else 0
    draft = OrderOutcome(
        order_id=name,
        participant_id=order.participant_id,
        fill=fill if facts.taken else Fill.NONE,
        reason=reason,
        surplus=PriceSeconds(desk.accounts.surplus[name]),
        shortfall=MicroUsdPerChipHour(missed),
        foregone=PriceSeconds(desk.foregone.get(name, 0)),
        detail="",
    )
    return replace(draft, detail=_detail(desk, draft, order))


def _wanted(segments: tuple[Segment, ...]) -> int:
    return sum(
        (segment.stop - segment.first) * sum(step.chips for step in segment.steps)
        for segment in segments
    )


def _curve_reason(found: list[tuple[int, int, int]]) -> Reason:
    """Reason of a step order from (taken, least, most) per interval."""
    if any(not least <= taken <= most for taken, least, most in found):
        return Reason.WHOLE_NODE
    if not any(most for _, _, most in found):
        return Reason.OUT_OF_THE_MONEY
    if any(least != most for _, least, most in found):
        return Reason.AT_THE_PRICE
    return Reason.IN_THE_MONEY


def _facts_of_offer(desk: _Desk, offer: Offer) -> _Facts:
    """An offer sells what it gains on; stand-by for cover is another use of the same chip.

    The price of stand-by is only as exact as the cover charge, its rounded share, so sale
    and stand-by are equal within that.
    """
    grid = desk.accounts.market.grid
    pool = grid.position[offer.pool_id]
    theta = grid.pools[pool].node_spare_ppm
    sold = desk.accounts.quantities.sold.get((offer.order_id, pool), {})
    found: list[tuple[int, int, int]] = []
    gaps: list[int] = []
    for segment in offer.segments:
        for interval in range(segment.first, segment.stop):
            place = grid.at(pool, interval)
            earned = desk.charges.released if offer.recallable else desk.charges.sold
            idle = 0 if offer.recallable else max(0, desk.charges.idle[place])
            blur = 2 + PPM // theta if theta and desk.accounts.prices[place].spare else 0
            least = most = 0
            for step in segment.steps:
                gain = earned[place] - step.price
                least += step.chips if gain > idle + blur else 0
                most += step.chips if gain >= max(0, idle - blur) else 0
            found.append((sold.get(interval, 0), least, most))
            gaps.append(segment.steps[0].price - earned[place])
    return _Facts(
        wanted=_wanted(offer.segments),
        taken=sum(sold.values()),
        reason=_curve_reason(found),
        missed=min(gaps, default=0),
    )


def _facts_of_bid(desk: _Desk, bid: StepBid) -> _Facts:
    market, name = desk.accounts.market, bid.order_id
    pools = [market.grid.position[pool_id] for pool_id in market.eligible[name]]
    charge = desk.charges.bought[market.product[name]]
    taken_of = desk.accounts.taken_of.get(name, {})
    found: list[tuple[int, int, int]] = []
    gaps: list[int] = []
    for segment in bid.segments if pools else ():
        for interval in range(segment.first, segment.stop):
            at = [(pool, charge[market.grid.at(pool, interval)]) for pool in pools]
            if not bid.conversions:
                at = [min(at, key=lambda item: item[1])]
            nets = [
                max(value_in(bid, step.price, market.grid.pools[p]) - paid for p, paid in at)
                for step in segment.steps
            ]
            pairs = list(zip(segment.steps, nets, strict=True))
            least = sum(step.chips for step, net in pairs if net > 0)
            most = sum(step.chips for step, net in pairs if net >= 0)
            taken = sum(series.get(interval, 0) for series in taken_of.values())
            found.append((taken, least, most))
            gaps.append(-nets[0])
    return _Facts(
        wanted=_wanted(bid.segments),
        taken=sum(sum(series.values()) for series in taken_of.values()),
        reason=_curve_reason(found) if pools else Reason.NO_ELIGIBLE_POOL,
        missed=min(gaps, default=0),
    )


def _facts_of_block(desk: _Desk, block: BlockBid) -> _Facts:
    accounts, market, name = desk.accounts, desk.accounts.market, block.order_id
    taken = sum(sum(series.values()) for series in accounts.taken_of.get(name, {}).values())
    best = best_of_block(market, desk.charges, block, market.product[name])
    if not market.eligible[name]:
        reason = Reason.NO_ELIGIBLE_POOL
    elif taken:
        reason = Reason.IN_THE_MONEY if accounts.surplus[name] > 0 else Reason.AT_THE_PRICE
    elif best is None or not _fits(accounts, block):
        reason = Reason.LARGER_THAN_ANY_POOL
    else:
        reason = Reason.OUT_OF_THE_MONEY if best < 0 else Reason.AT_THE_PRICE
    size = block.chips * block.duration
    return _Facts(wanted=size, taken=taken, reason=reason, missed=-((best or 0) // size))


def _fits(accounts: Accounts, block: BlockBid) -> bool:
    """Whether some pool offers a block's least quantity throughout its run."""
    market, grid = accounts.market, accounts.market.grid
    for name in market.eligible[block.order_id]:
        pool = grid.position[name]
        first = grid.at(pool, block.earliest_start)
        least = least_of(block, grid.pools[pool])
        nodes = range(first, first + block.duration)
        supply = min(market.offered[at] + market.released[at] for at in nodes)
        if least <= supply * grid.pools[pool].chips_per_node:
            return True
    return False


def _facts_of_base(desk: _Desk, base: Nomination) -> _Facts:
    accounts, market, grid = desk.accounts, desk.accounts.market, desk.accounts.market.grid
    pool = grid.position[base.pool_id]
    wanted, taken = _wanted(base.segments), sum(market.base_served[base.order_id])
    short = False
    for interval in range(grid.intervals):
        place = grid.at(pool, interval)
        held = accounts.tally.spare[place] + accounts.tally.reserve[place]
        needed = grid.pools[pool].node_spare_ppm * market.base_covered[place]
        lacking = needed > PPM * held and not accounts.tally.covered[place]
        short |= lacking and bool(steps_at(base.segments, interval))
    reason = Reason.COVER_SHORTAGE if short else Reason.BASE_SERVED
    if taken < wanted:
        reason = Reason.BASE_SHORTFALL
    return _Facts(wanted=wanted, taken=taken, reason=reason, missed=0)


def _detail(desk: _Desk, answer: OrderOutcome, order: Order) -> str:
    """One sentence for people."""
    match answer.reason:
        case Reason.OUT_OF_THE_MONEY:
            return _missed(desk, answer.shortfall, order)
        case Reason.PARADOXICALLY_REJECTED:
            missed = usd_text(divide_half_even(answer.foregone, SECONDS_PER_HOUR), places=2)
            return (
                f"At the prices it would gain {missed} USD, but it is indivisible and accepting "
                "it would cost others more; a smaller minimum fill would have helped."
            )
        case Reason.MADE_WHOLE:
            loss = usd_text(divide_half_even(-answer.surplus, SECONDS_PER_HOUR), places=2)
            return f"Accepted; it loses {loss} USD at the prices, which is paid back."
        case Reason.NO_ELIGIBLE_POOL:
            return "No pool meets all its conditions; drop or widen one of them."
        case Reason.LARGER_THAN_ANY_POOL:
            return (
                "Its least quantity is more than any eligible pool offers throughout; a smaller "
                "quantity or minimum fill would have helped."
            )
        case Reason.AT_THE_PRICE:
            if answer.fill is Fill.FULL:
                return "Its limit equals the price; it was filled."
            return "Its limit equals the price; a better limit by one tick would have filled it."
        case Reason.IN_THE_MONEY:
            return "Its limit is better than the price; it was filled as far as it asked."
        case Reason.WHOLE_NODE:
            return (
                "Nodes are sold whole and held whole in reserve: what the price calls for does "
                "not come out in nodes, or its next node does not fit."
            )
        case Reason.COVER_SHORTAGE:
            return "Served in full, but the pool lacks spare nodes to cover all of it."
        case Reason.BASE_SERVED:
            return "Nominated base load, served in full."
        case Reason.BASE_SHORTFALL:
            return "Site power does not carry all nominated base load; the rest was curtailed."


def _missed(desk: _Desk, shortfall: int, order: Order) -> str:
    gap = f"{usd_text(shortfall)} USD per chip-hour"
    if isinstance(order, Offer):
        return f"{gap} above what pool {order.pool_id} pays."
    if isinstance(order, Nomination):
        return "Nothing was nominated."
    market = desk.accounts.market
    charge = desk.charges.bought[market.product[order.order_id]]
    hours = market.grid.intervals

    def least(pool_id: str) -> tuple[int, str]:
        first = market.grid.position[pool_id] * hours
        return min(charge[first : first + hours]), pool_id

    nearest = min(market.eligible[order.order_id], key=least)
    return f"{gap} below the cheapest eligible pool, {nearest}."
