"""What decides the answer to every order, as columns: how much it got, why, and what it missed.

Facts follow from the awards, the prices and the market; the verifier establishes the same facts
from the published documents alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.accounts import Accounts
from clearing.columns import Flags, Integers, column, expand
from clearing.families import Best, Picks, best_of_families, parents_there, with_each
from clearing.market import NONE
from clearing.options import Options, room_of
from clearing.outcome import Reason
from clearing.responses import (
    Charges,
    Gains,
    arc_nets,
    arc_starts,
    best_of_units,
    charges_at_prices,
    gains_of,
)
from clearing.support import best_of_cells, blur_of, forced_nodes, idle_of, sums_of
from clearing.types import Cover
from clearing.units import PPM, PriceSeconds

REASONS: Final = tuple(Reason)
"""Reasons by number."""

_NUMBER: Final = {reason: number for number, reason in enumerate(REASONS)}

_FAR: Final = 2**62


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """Facts of one sort of order, a row each.

    Attributes:
        wanted: Chip-intervals asked for; ``taken`` what it has of them.
        reason: Position in ``REASONS``.
        missed: How far its limit is from the best price, micro-USD per chip-hour.
        foregone: Surplus missed by being indivisible, price-seconds.
        place: Place of the best price, ``NONE`` without one.
    """

    wanted: Integers
    taken: Integers
    reason: Integers
    missed: list[int]
    foregone: list[int]
    place: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AtPrices:
    """Best responses at the published prices, made once for reasons and lost opportunity.

    Attributes:
        room: Most chips that could be delivered to each option at all.
        gains: Of block bids; ``best`` with the choices under them.
        units: Of offers with a commitment, price-seconds.
    """

    accounts: Accounts
    options: Options
    picks: Picks
    charges: Charges
    room: Integers
    gains: Gains
    best: Best
    units: list[int]
    net: Integers


def respond(accounts: Accounts, options: Options, picks: Picks) -> AtPrices:
    """Best responses of every order at the prices.

    Placements that no outcome could deliver count for nothing; the others at full fill.
    """
    market = accounts.model.market
    charges = charges_at_prices(market, accounts.prices)
    room = room_of(market, options)
    gains = gains_of(market, charges, options, allowed=room >= options.least)
    return AtPrices(
        accounts=accounts,
        options=options,
        picks=picks,
        charges=charges,
        room=room,
        gains=gains,
        best=best_of_families(picks, gains.best, gains.there),
        units=[best or 0 for best in best_of_units(market, charges)],
        net=arc_nets(accounts.model, charges),
    )


def curve_reasons(taken: Integers, least: Integers, most: Integers) -> Integers:
    """Reason of each order from (taken, least, most) per order and interval."""
    off = ((taken < least) | (taken > most)).any(axis=1)
    return np.select(
        [off, ~(most > 0).any(axis=1), (least != most).any(axis=1)],
        [
            _NUMBER[Reason.WHOLE_NODE],
            _NUMBER[Reason.OUT_OF_THE_MONEY],
            _NUMBER[Reason.AT_THE_PRICE],
        ],
        _NUMBER[Reason.IN_THE_MONEY],
    )


def facts_of_offers(prices: AtPrices) -> Facts:
    """An offer sells what it gains on; stand-by for cover is another use of the same chip."""
    accounts = prices.accounts
    market, quantities = accounts.model.market, accounts.quantities
    supply, units, grid = market.supply, market.units, market.grid
    offers, intervals = len(accounts.book.offers), grid.intervals
    place = supply.place
    earned = np.where(supply.released, prices.charges.released[place], prices.charges.sold[place])
    idle = np.where(supply.released, 0, idle_of(accounts.prices)[place])
    blur = np.where(supply.released, 0, blur_of(market, accounts.prices)[place])
    gain = earned - supply.price
    step, _ = expand(np.diff(supply.member_start))
    chips = supply.member_chips
    least = np.where((gain > idle + blur)[step], chips, 0)
    most = np.where((gain >= np.maximum(0, idle - blur))[step], chips, 0)
    owned = np.flatnonzero(supply.unit != NONE)
    if owned.size:
        # Steps of units have one member each.
        member = supply.member_start[owned]
        forced = forced_nodes(market, owned) * grid.node[place[owned] // intervals]
        on = accounts.runs()[supply.unit[owned], place[owned] % intervals]
        for part in (least, most):
            part[member] = np.where(on, np.maximum(part[member], forced), 0)
    row = supply.member_offer * intervals + place[step] % intervals

    def series(values: Integers) -> Integers:
        return sums_of(row, values, offers * intervals).reshape(offers, intervals)

    taken, wanted = series(quantities.sold), series(chips)
    reason = curve_reasons(taken, series(least), series(most))
    missed = np.full(offers, _FAR, dtype=np.int64)
    np.minimum.at(missed, supply.member_offer, -gain[step])
    nearest = _last_where(supply.member_offer, -gain[step] == missed[supply.member_offer], offers)
    foregone = [0] * offers
    started = accounts.runs().sum(axis=1).tolist()
    for unit, offer in enumerate(units.offer.tolist()):
        missed[offer] = 0
        if not started[unit]:
            foregone[offer] = max(0, prices.units[unit])
            why = Reason.PARADOXICALLY_REJECTED if foregone[offer] else Reason.NOT_STARTED
            reason[offer] = _NUMBER[why]
    return Facts(
        wanted=wanted.sum(axis=1),
        taken=taken.sum(axis=1),
        reason=reason,
        missed=missed.tolist(),
        foregone=foregone,
        place=place[step][nearest],
    )


def _last_where(rows: Integers, there: Flags, size: int) -> Integers:
    """Position of the first member of each row where the flag holds; 0 where none does."""
    found = np.zeros(size, dtype=np.int64)
    at = np.flatnonzero(there)[::-1]
    found[rows[at]] = at
    return found


def facts_of_steps(prices: AtPrices) -> Facts:
    """A step bid takes what it gains on, in its best pools."""
    accounts = prices.accounts
    market, taken = accounts.model.market, accounts.quantities.taken
    demand, grid = market.demand, market.grid
    bids, intervals = len(accounts.book.step_bids), grid.intervals
    start = arc_starts(market)
    best = best_of_cells(prices.net, start)
    cell, _ = expand(np.diff(demand.member_start))
    row = demand.member_bid * intervals + demand.interval[cell]
    rows = np.flatnonzero(taken.bid < bids)

    def series(values: Integers) -> Integers:
        return sums_of(row, values, bids * intervals).reshape(bids, intervals)

    chips = demand.member_chips
    has = sums_of(
        taken.bid[rows] * intervals + taken.interval[rows], taken.chips[rows], bids * intervals
    ).reshape(bids, intervals)
    least = series(np.where(best[cell] > 0, chips, 0))
    most = series(np.where(best[cell] >= 0, chips, 0))
    reason = curve_reasons(has, least, most)
    placed = np.diff(market.eligible_start)[:bids] > 0
    reason[~placed] = _NUMBER[Reason.NO_ELIGIBLE_POOL]
    missed = np.full(bids, _FAR, dtype=np.int64)
    np.minimum.at(missed, demand.member_bid, -best[cell])
    rows = np.flatnonzero(placed)
    nearest = _last_where(demand.member_bid, -best[cell] == missed[demand.member_bid], bids)
    place = np.full(bids, NONE, dtype=np.int64)
    place[rows] = _best_place(prices, cell[nearest[rows]], best)
    return Facts(
        wanted=series(chips).sum(axis=1),
        taken=has.sum(axis=1),
        reason=reason,
        missed=np.where(placed, missed, 0).tolist(),
        foregone=[0] * bids,
        place=place,
    )


def _best_place(prices: AtPrices, cells: Integers, best: Integers) -> Integers:
    """Place of the best arc of each cell."""
    demand = prices.accounts.model.market.demand
    arc = _last_where(demand.arc_cell, prices.net == best[demand.arc_cell], demand.chips.size)
    places: Integers = demand.arc_place[arc[cells]]
    return places


def facts_of_work(prices: AtPrices) -> Facts:
    """A work bid takes its best intervals first; only its total decides."""
    accounts = prices.accounts
    market, taken = accounts.model.market, accounts.quantities.taken
    demand, grid = market.demand, market.grid
    bids, first = len(accounts.book.work_bids), market.step_product.size + market.block_product.size
    start = arc_starts(market)
    best = best_of_cells(prices.net, start)
    cells = np.flatnonzero(demand.work != NONE)
    group = demand.work[cells]
    groups = demand.work_chips.size
    members = np.diff(demand.work_member_start)
    rate = demand.chips[cells]
    within = [
        np.minimum(demand.work_chips, sums_of(group, np.where(flag, rate, 0), groups)) // members
        for flag in (best[cells] > 0, best[cells] >= 0)
    ]
    missed = np.full(groups, _FAR, dtype=np.int64)
    np.minimum.at(missed, group, -best[cells])
    nearest = cells[_last_where(group, -best[cells] == missed[group], groups)]
    of_member, _ = expand(members)
    of_bid = np.full(bids, NONE, dtype=np.int64)
    of_bid[demand.work_member_bid] = of_member
    placed = of_bid != NONE
    rows = np.flatnonzero(taken.bid >= first)
    has = sums_of(taken.bid[rows] - first, taken.chips[rows], bids)
    least, most = (
        np.where(placed, part[of_bid], 0)[:, None] if groups else has[:, None] for part in within
    )
    reason = curve_reasons(has[:, None], least, most)
    reason[~placed] = _NUMBER[Reason.NO_ELIGIBLE_POOL]
    work = column(lambda bid: bid.work, accounts.book.work_bids) // grid.duration_s
    place = np.full(bids, NONE, dtype=np.int64)
    gap = np.zeros(bids, dtype=np.int64)
    if groups:
        place[placed] = _best_place(prices, nearest, best)[of_bid[placed]]
        gap[placed] = missed[of_bid[placed]]
    return Facts(
        wanted=work,
        taken=has,
        reason=reason,
        missed=gap.tolist(),
        foregone=[0] * bids,
        place=place,
    )


def facts_of_blocks(prices: AtPrices) -> Facts:
    """A block is accepted, or one of the rules that tie it to others says why not."""
    accounts, options = prices.accounts, prices.options
    market, taken = accounts.model.market, accounts.quantities.taken
    count = len(accounts.book.block_bids)
    steps = len(accounts.book.step_bids)
    rows = np.flatnonzero((taken.bid >= steps) & (taken.bid < steps + count))
    has = sums_of(taken.bid[rows] - steps, taken.chips[rows], count)
    size = options.chips * options.duration
    shaped = options.shaped
    of_entry, _ = expand(np.diff(options.profile_start))
    size[shaped] = sums_of(of_entry, options.profile, count)[shaped]
    accepted = accounts.chosen != NONE
    surplus = accounts.bid_surplus[steps : steps + count]
    foregone = _foregone(prices, surplus, accepted)
    under = prices.best.order - prices.gains.best
    loses = prices.gains.full + under < 0
    picks = prices.picks
    parent = picks.parent[picks.of_order]
    orphan = (parent != NONE) & ~accepted[parent] if count else accepted
    beside = np.zeros(picks.parent.size, dtype=np.bool_)
    beside[picks.of_order[accepted]] = True
    reason = np.select(
        [
            accepted & np.array([one > 0 for one in surplus], dtype=np.bool_),
            accepted,
            np.diff(market.eligible_start)[steps : steps + count] == 0,
            ~prices.gains.there,
            np.array([one > 0 for one in foregone], dtype=np.bool_),
            loses.astype(np.bool_),
            orphan,
            beside[picks.of_order],
        ],
        [
            _NUMBER[found]
            for found in (
                Reason.IN_THE_MONEY,
                Reason.AT_THE_PRICE,
                Reason.NO_ELIGIBLE_POOL,
                Reason.LARGER_THAN_ANY_POOL,
                Reason.PARADOXICALLY_REJECTED,
                Reason.OUT_OF_THE_MONEY,
                Reason.PARENT_NOT_ACCEPTED,
                Reason.OTHER_ACCEPTED,
            )
        ],
        _NUMBER[Reason.AT_THE_PRICE],
    )
    duration = market.grid.duration_s
    missed = [
        -(gain // (chips * duration))
        for gain, chips in zip(prices.gains.full.tolist(), size.tolist(), strict=True)
    ]
    option = prices.gains.option
    place = np.full(count, NONE, dtype=np.int64)
    there = np.flatnonzero(option != NONE)
    at = option[there]
    place[there] = options.pool[at] * market.grid.intervals + options.first[at]
    return Facts(
        wanted=size,
        taken=has,
        reason=reason,
        missed=missed,
        foregone=foregone,
        place=place,
    )


def _foregone(prices: AtPrices, surplus: list[int], accepted: Flags) -> list[int]:
    """Surplus that each rejected block misses, beyond what its family has already."""
    picks, gains = prices.picks, prices.gains
    has = [0] * picks.families
    family = picks.family[picks.of_order].tolist()
    for order in np.flatnonzero(accepted).tolist():
        has[family[order]] += surplus[order]
    reached = (with_each(picks, prices.best) - gains.best + gains.full).tolist()
    open_ = (~accepted & gains.there & parents_there(picks, gains.there)).tolist()
    return [
        max(0, gain - max(0, has[of])) if rejected else 0
        for gain, of, rejected in zip(reached, family, open_, strict=True)
    ]


def facts_of_base(prices: AtPrices) -> Facts:
    """A nomination is served as far as power goes, and covered as far as chips stand by."""
    accounts = prices.accounts
    market, tally, grid = accounts.model.market, accounts.tally, accounts.model.market.grid
    base, nominations = market.base, accounts.book.nominations
    wanted = np.array(
        [
            sum((s.stop - s.first) * step.chips for s in n.segments for step in s.steps)
            for n in nominations
        ],
        dtype=np.int64,
    )
    held = tally.node_spare + tally.reserve
    lacking = grid.theta.repeat(grid.intervals) * base.covered > PPM * held
    lacking &= tally.covered == 0
    pool = column(lambda n: grid.position[n.pool_id], nominations)
    node = np.array([n.cover is Cover.NODE for n in nominations], dtype=np.bool_)
    site = np.array([n.cover is Cover.SITE for n in nominations], dtype=np.bool_)
    short = (lacking.reshape(-1, grid.intervals)[pool] & (base.served > 0)).any(axis=1) & node
    short |= (base.served > tally.base_named).any(axis=1) & site
    taken = base.served.sum(axis=1)
    reason = np.select(
        [taken < wanted, short],
        [_NUMBER[Reason.BASE_SHORTFALL], _NUMBER[Reason.COVER_SHORTAGE]],
        _NUMBER[Reason.BASE_SERVED],
    )
    return Facts(
        wanted=wanted,
        taken=taken,
        reason=reason,
        missed=[0] * len(nominations),
        foregone=[0] * len(nominations),
        place=pool * grid.intervals,
    )


def lost_opportunity(prices: AtPrices, divisible: int) -> PriceSeconds:
    """Best responses at the prices less surpluses, over all families and divisible orders.

    Args:
        prices: Best responses of families.
        divisible: Those of divisible orders, price-seconds.
    """
    accounts = prices.accounts
    best = prices.best.total(prices.picks) + sum(prices.units) + divisible
    return PriceSeconds(best - sum(accounts.offer_surplus) - sum(accounts.bid_surplus))
