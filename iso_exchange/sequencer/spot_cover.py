"""Bound interruptible work in a later run: it stays, and it stands by for firm work (rule 7).

What earlier runs bound is out of supply and demand of a run, or it would be sold twice. Without
it a full pool has nothing left to reclaim, so no firm work could begin or go on beside it: NODE
cover asks for nodes that can be taken away. So the bound steps stand in the book with the supply
that they were sold: a bid at the price cap and an offer at the floor, of one quantity, which are
always awarded to each other. ``spot_binding`` leaves both out: they move no money in the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from clearing.types import (
    Cover,
    Eligibility,
    Offer,
    Segment,
    ServiceClass,
    Step,
    StepBid,
)
from clearing.units import Chips, MicroUsdPerChipHour
from iso_exchange.sequencer.spot_curves import joined
from iso_exchange.sequencer.spot_market import BOUND_PREFIX, RELEASE_PREFIX, SpotMarket
from iso_exchange.sequencer.state import State


def standing_by(
    state: State, market: SpotMarket, first: int
) -> tuple[tuple[StepBid, ...], tuple[Offer, ...]]:
    """Bids and offers for what earlier runs bound of interruptible step bids.

    Gangs are left out: losing a node would kill them, so they are no reserve. So is what
    released base load serves: it stands by for its holder's recall already.

    Args:
        first: Interval number in which the run begins.
    """
    length = market.opened.look_ahead
    tariff = market.opened.tariff
    chips: dict[tuple[str, str], list[int]] = {}
    places_of_run = range(first, first + length)
    for order_id, pools in market.bound.items():
        record = state.orders.get(order_id)
        bid = record.order if record else None
        if (
            not isinstance(bid, StepBid)
            or bid.service_class is not ServiceClass.INTERRUPTIBLE
            or bid.notice_s > tariff.node_cover_notice_s
        ):
            continue
        for pool_id, places in pools.items():
            row = [places.get(place, 0) for place in places_of_run]
            if any(row):
                chips[order_id, pool_id] = row
    if not chips:
        return (), ()
    released = _released(market, first, length)
    bids: list[StepBid] = []
    supply: dict[str, list[int]] = defaultdict(lambda: [0] * length)
    known, made = market.parts.bound, {}
    for key in sorted(chips):
        (order_id, pool_id), row = key, chips[key]
        left, sums = released.get(pool_id), supply[pool_id]
        for place, bound in enumerate(row):
            if bound and left is not None:
                recallable = min(bound, left[place])
                left[place] -= recallable
                row[place] -= recallable
            sums[place] += row[place]
        bid = state.orders[order_id].order
        assert isinstance(bid, StepBid)  # chosen above
        before = known.get(key)
        if before is None or before[0] is not bid or before[1] != row:
            before = bid, row, _stands(bid, pool_id, _segments(row, market.opened.price_cap))
        made[key] = before
        if before[2] is not None:
            bids.append(before[2])
    market.parts.bound = made
    offers = tuple(
        Offer(
            order_id=f"{BOUND_PREFIX}{pool_id}",
            participant_id=min(state.pools[pool_id].supplier_ids),
            pool_id=pool_id,
            segments=segments,
        )
        for pool_id, row in sorted(supply.items())
        if (segments := _segments(row, market.opened.price_floor))
    )
    return tuple(bids), offers


def _stands(bid: StepBid, pool_id: str, segments: tuple[Segment, ...]) -> StepBid | None:
    """Bid for what is bound of another; None for nothing."""
    if not segments:
        return None
    return StepBid(
        order_id=f"{BOUND_PREFIX}{bid.order_id}/{pool_id}",
        participant_id=bid.participant_id,
        where=Eligibility(pool_ids=(pool_id,)),
        segments=segments,
        service_class=ServiceClass.INTERRUPTIBLE,
        cover=Cover.NONE,
        notice_s=bid.notice_s,
    )


def _segments(row: Iterable[int], price: MicroUsdPerChipHour) -> tuple[Segment, ...]:
    """One step of so many chips in each interval."""
    return joined((Step(price=price, chips=Chips(chips)),) if chips else () for chips in row)


def _released(market: SpotMarket, first: int, length: int) -> dict[str, list[int]]:
    """Chips by pool and interval that released base load owes."""
    found: dict[str, list[int]] = defaultdict(lambda: [0] * length)
    for pool_id, supplies in market.supplied.items():
        for supply_id, places in supplies.items():
            if supply_id.startswith(RELEASE_PREFIX):
                for place in range(length):
                    found[pool_id][place] += places.get(first + place, 0)
    return found
