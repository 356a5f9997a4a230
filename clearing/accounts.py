"""What awards are worth at the published prices: the engine's own books, in integers.

Everything a result says about money (surpluses, cash, make-whole, welfare) comes from
here, computed from the market, the awarded quantities and the prices. The verifier shares
none of it and must reach the same numbers by itself. Money is price x chips until it is
totalled, then price-seconds; products that may need more than 63 bits go through
``clearing.exact``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing import exact
from clearing.columns import Flags, Integers, expand, group
from clearing.exact import Numbers
from clearing.layout import Choice, Model
from clearing.market import NONE, Product
from clearing.outcome import Cash, MakeWhole
from clearing.prices import Prices
from clearing.quantities import Quantities
from clearing.step_values import value_of_steps
from clearing.tally import Tally, count, products_of
from clearing.types import Book
from clearing.units import (
    SECONDS_PER_HOUR,
    MicroUsd,
    PriceSeconds,
    divide_half_even,
    split_largest_remainder,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpareMoney:
    """What chips that stand by share, price x chips.

    Attributes:
        earned: Per offer, after power.
        power: Power rent in it, per place.
    """

    earned: Numbers
    power: Numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Accounts:
    """A market, its awards and prices, and what they add up to, in price-seconds.

    Attributes:
        chosen: Accepted alternative of each block bid, or ``NONE``.
        receipts, costs: Per offer; start-up and no-load are costs.
        values, payments: Per bid: step bids, block bids, work bids.
        base_payments: Per nomination.
        spare: Money of chips that stand by.
    """

    book: Book
    model: Model
    choice: Choice
    quantities: Quantities
    prices: Prices
    tally: Tally
    chosen: Integers
    receipts: list[int]
    costs: list[int]
    values: list[int]
    payments: list[int]
    base_payments: list[int]
    spare: SpareMoney

    @property
    def offer_surplus(self) -> list[int]:
        """Surplus per offer, before make-whole."""
        return [earned - cost for earned, cost in zip(self.receipts, self.costs, strict=True)]

    @property
    def bid_surplus(self) -> list[int]:
        """Surplus per bid, before make-whole."""
        return [value - paid for value, paid in zip(self.values, self.payments, strict=True)]

    def runs(self) -> Flags:
        """Units and intervals in which they are on and can be."""
        found: Flags = self.choice.on & (self.model.market.units.offered > 0)
        return found


def open_accounts(
    book: Book, model: Model, choice: Choice, quantities: Quantities, prices: Prices
) -> Accounts:
    """Add up awards and value them at the prices.

    Args:
        book: Canonical.
        model: Of that book.
        choice: Decisions.
        quantities: Awards.
        prices: Published ones.
    """
    market = model.market
    tally = count(book, market, model.layout, quantities)
    chosen = np.full(len(book.block_bids), NONE, dtype=np.int64)
    accepted = np.flatnonzero(choice.chosen)
    chosen[market.blocks.order[accepted]] = accepted
    spare = _share_cover_money(book, model, quantities, prices, tally)
    duration = market.grid.duration_s
    receipts = _seconds(exact.plus(_sales(model, quantities, prices), spare.earned), duration)
    costs = _seconds(_sale_costs(model, quantities), duration)
    for unit, cost in enumerate(_fixed_costs(model, choice)):
        costs[int(market.units.offer[unit])] += cost
    return Accounts(
        book=book,
        model=model,
        choice=choice,
        quantities=quantities,
        prices=prices,
        tally=tally,
        chosen=chosen,
        receipts=receipts,
        costs=costs,
        values=_seconds(_values(book, model, quantities, chosen), duration),
        payments=_seconds(_payments(model, quantities, prices, tally), duration),
        base_payments=_seconds(_base_payments(book, model, quantities, prices, tally), duration),
        spare=spare,
    )


def _seconds(amounts: Numbers, duration_s: int) -> list[int]:
    """Price x chips of an interval as price-seconds."""
    return [amount * duration_s for amount in amounts.tolist()]


def _members(model: Model) -> Integers:
    """Supply step of each member."""
    column, _ = expand(np.diff(model.market.supply.member_start))
    return column


def _sales(model: Model, quantities: Quantities, prices: Prices) -> Numbers:
    """What each offer earns by what it sells."""
    supply, step = model.market.supply, _members(model)
    place = supply.place
    earned = prices.energy[place] - np.where(supply.released, prices.recall[place], 0)
    return exact.sums_at(
        supply.member_offer, exact.times(earned[step], quantities.sold), _offers(model)
    )


def _sale_costs(model: Model, quantities: Quantities) -> Numbers:
    """What each offer asked for what it sold; every draft sells cheapest steps first."""
    supply, step = model.market.supply, _members(model)
    cost = exact.times(supply.price[step], quantities.sold)
    return exact.sums_at(supply.member_offer, cost, _offers(model))


def _offers(model: Model) -> int:
    """Number of offers; each has a step."""
    return int(model.market.supply.member_offer.max(initial=NONE)) + 1


def _fixed_costs(model: Model, choice: Choice) -> list[int]:
    """Start-up and no-load of each unit, price-seconds."""
    units = model.market.units
    on = choice.on & (units.offered > 0)
    before = np.zeros_like(on)
    before[:, 1:] = on[:, :-1]
    starts_of = np.where(units.whole, on.any(axis=1), (on & ~before).sum(axis=1))
    return [
        (start_up * starts + no_load * hours) * SECONDS_PER_HOUR
        for start_up, starts, no_load, hours in zip(
            units.start_up.tolist(),
            starts_of.tolist(),
            units.no_load.tolist(),
            on.sum(axis=1).tolist(),
            strict=True,
        )
    ]


def _values(book: Book, model: Model, quantities: Quantities, chosen: Integers) -> Numbers:
    """What each bid would have paid at most."""
    market, taken = model.market, quantities.taken
    demand = market.demand
    steps, gangs = len(book.step_bids), len(book.block_bids)
    of_steps = value_of_steps(book, market, taken)
    rows = np.flatnonzero((taken.bid >= steps) & (taken.bid < steps + gangs))
    order = taken.bid[rows] - steps
    worth = exact.times(market.blocks.value[chosen[order]], taken.chips[rows])
    of_blocks = exact.sums_at(order, worth, gangs)
    rows = np.flatnonzero(taken.bid >= steps + gangs)
    order = taken.bid[rows] - steps - gangs
    pools = len(market.grid.pools)
    work_group = np.full(len(book.work_bids), NONE, dtype=np.int64)
    of_member, _ = expand(np.diff(demand.work_member_start))
    work_group[demand.work_member_bid] = of_member
    arcs = np.flatnonzero(demand.work[demand.arc_cell] != NONE)
    key = demand.work[demand.arc_cell[arcs]] * pools + demand.arc_pool[arcs]
    known, first = np.unique(key, return_index=True)
    at = np.searchsorted(known, work_group[order] * pools + taken.pool[rows])
    worth = exact.times(demand.arc_value[arcs[first[at]]], taken.chips[rows])
    of_work = exact.sums_at(order, worth, len(book.work_bids))
    parts = (of_steps, of_blocks, of_work)
    if any(part.dtype == object for part in parts):
        return np.concatenate([part.astype(object) for part in parts])
    return np.concatenate(parts)


def _payments(model: Model, quantities: Quantities, prices: Prices, tally: Tally) -> Numbers:
    """What each bid pays, all in."""
    market, taken = model.market, quantities.taken
    products = products_of(market)
    product = products[taken.bid]
    paid = np.empty(taken.bid.size, dtype=np.int64)
    for kind in Product:
        rows = np.flatnonzero(product == kind)
        paid[rows] = prices.paid(market.grid, kind)[taken.place[rows]]
    backed = np.flatnonzero(tally.slot_of_taken != NONE)
    slot = tally.slot_of_taken[backed] * market.grid.intervals + taken.interval[backed]
    paid[backed] += prices.backup[slot]
    # The least of a reclaimable block cannot go node by node and earns no availability.
    fixed = np.where(product == Product.RECLAIMABLE, taken.chips - taken.countable, 0)
    amount = exact.plus(
        exact.times(paid, taken.chips), exact.times(prices.availability[taken.place], fixed)
    )
    return exact.sums_at(taken.bid, amount, products.size)


def _base_payments(
    book: Book, model: Model, quantities: Quantities, prices: Prices, tally: Tally
) -> Numbers:
    """Surcharge, fee and power on what is served, cover on the part that is covered."""
    market, grid = model.market, model.market.grid
    pool = np.array([grid.position[n.pool_id] for n in book.nominations], dtype=np.int64)
    nomination, interval = np.nonzero(market.base.served)
    place = pool[nomination] * grid.intervals + interval
    plain = grid.charge[pool[nomination]] + prices.power[place]
    amount = exact.plus(
        exact.times(plain, market.base.served[nomination, interval]),
        exact.times(prices.node_cover[place], tally.base_covered[nomination, interval]),
    )
    total = exact.sums_at(nomination, amount, len(book.nominations))
    backed = quantities.backed
    slot = tally.slot_of_backed * grid.intervals + backed.interval
    named = exact.times(prices.backup[slot], backed.chips)
    return exact.plus(total, exact.sums_at(backed.nomination, named, len(book.nominations)))


def cover_collected(model: Model, prices: Prices, tally: Tally) -> Numbers:
    """Cover money that came in per place, price x chips; negative after rounding."""
    grid, layout = model.market.grid, model.layout
    came = exact.times(prices.node_cover, tally.covered + tally.base_paying)
    place = layout.slot_pool[:, None] * grid.intervals + np.arange(grid.intervals)
    backup = exact.times(prices.backup, tally.named)
    came = exact.plus(came, exact.sums_at(place.reshape(-1), backup, grid.places))
    given = exact.plus(
        exact.times(prices.availability, tally.countable),
        exact.times(prices.recall, tally.recallable - tally.released),
    )
    return exact.plus(came, -given)


def _share_cover_money(
    book: Book, model: Model, quantities: Quantities, prices: Prices, tally: Tally
) -> SpareMoney:
    """Cover money over the chips that stand by: by purpose, then by holder.

    Only places with a price and with such chips have any, so they are walked one by one.
    """
    held = quantities.held
    came = cover_collected(model, prices, tally)
    for_node = exact.times(prices.spare, tally.node_spare)
    for_site = exact.times(prices.site_spare, tally.site_spare)
    earned = np.zeros(_offers(model), dtype=object)
    power = np.zeros(came.size, dtype=object)
    paying = np.flatnonzero((came > 0) & ((for_node > 0) | (for_site > 0)))
    at_place = group(held.place)
    spots = held.place[at_place.first]
    for place in paying.tolist():
        weights = (int(for_node[place]), int(for_site[place]))
        money = min(int(came[place]), sum(weights))
        at = int(np.searchsorted(spots, place))
        rows = at_place.order[at_place.start[at] : at_place.start[at + 1]]
        names = [book.offers[offer].order_id for offer in held.offer[rows].tolist()]
        for part, chips in zip(
            split_largest_remainder(money, weights, ("0", "1")),
            (held.node[rows].tolist(), held.site[rows].tolist()),
            strict=True,
        ):
            rent = min(part, int(prices.power[place]) * sum(chips))
            power[place] += rent
            if part > rent:
                shares = split_largest_remainder(part - rent, chips, names)
                np.add.at(earned, held.offer[rows], np.array(shares, dtype=object))
    return SpareMoney(earned=earned, power=power)


def power_rents(accounts: Accounts) -> dict[str, int]:
    """Power rent per site, price-seconds: of delivered, base and standing-by chips."""
    market, grid = accounts.model.market, accounts.model.market.grid
    chips = accounts.tally.taken + market.base.chips
    rent = exact.plus(exact.times(accounts.prices.power, chips), accounts.spare.power)
    site = grid.site.repeat(grid.intervals)
    totals = _seconds(exact.sums_at(site, rent, len(grid.site_ids)), grid.duration_s)
    return dict(zip(grid.site_ids, totals, strict=True))


def welfare(accounts: Accounts) -> PriceSeconds:
    """Values less costs, surcharges and fees; base load is no part of it."""
    grid = accounts.model.market.grid
    charge = grid.charge.repeat(grid.intervals)
    charges = exact.total_product(charge, accounts.tally.taken) * grid.duration_s
    return PriceSeconds(sum(accounts.values) - sum(accounts.costs) - charges)


def restart_kept(accounts: Accounts) -> PriceSeconds:
    """Restart cost saved by blocks that run on where they are."""
    blocks, taken = accounts.model.market.blocks, accounts.quantities.taken
    staying = np.flatnonzero(accounts.chosen != NONE)
    staying = staying[blocks.kept[accounts.chosen[staying]] > 0]
    if staying.size == 0:
        return PriceSeconds(0)
    chips = np.zeros(accounts.chosen.size, dtype=np.int64)
    order = taken.bid - len(accounts.book.step_bids)
    inside = (order >= 0) & (order < chips.size)
    np.maximum.at(chips, order[inside], taken.chips[inside])
    kept = exact.times(blocks.kept[accounts.chosen[staying]], chips[staying])
    return PriceSeconds(exact.total(kept) * SECONDS_PER_HOUR)


def cash(accounts: Accounts, payments: tuple[MakeWhole, ...]) -> Cash:
    """The cash identity: every line rounded once, and what the others leave as residual."""
    market, grid, prices = accounts.model.market, accounts.model.market.grid, accounts.prices
    chips = accounts.tally.taken + market.base.chips
    by_pool = [int(part) for part in chips.reshape(-1, grid.intervals).sum(axis=1)]
    fee = accounts.book.spec.operator_fee
    spare = exact.total(accounts.spare.earned) * grid.duration_s
    energy = prices.energy.reshape(-1, grid.intervals)
    rise = energy[market.links.target] - energy[market.links.source]
    flows = accounts.quantities.flows
    lines = {
        "buyers": sum(accounts.payments) + sum(accounts.base_payments),
        "suppliers": sum(accounts.receipts) - spare,
        "spare": spare,
        "community": grid.duration_s
        * sum(
            (int(charge) - fee) * part for charge, part in zip(grid.charge, by_pool, strict=True)
        ),
        "operator_fee": grid.duration_s * fee * sum(by_pool),
        "link_rent": exact.total(exact.times(rise, flows)) * grid.duration_s,
        "power_rent": sum(power_rents(accounts).values()),
    }
    rounded = {
        line: MicroUsd(divide_half_even(value, SECONDS_PER_HOUR)) for line, value in lines.items()
    }
    left = 2 * rounded["buyers"] - sum(rounded.values())
    return Cash(
        **rounded,
        residual=MicroUsd(left),
        make_whole=MicroUsd(sum(payment.amount for payment in payments)),
    )


def family_surpluses(accounts: Accounts) -> dict[tuple[str, ...], int]:
    """Surplus of every accepted family that has one, by its accepted orders, sorted."""
    book, blocks = accounts.book, accounts.model.market.blocks
    found: dict[tuple[str, ...], int] = {
        (offer.order_id,): surplus
        for offer, surplus in zip(book.offers, accounts.offer_surplus, strict=True)
        if surplus
    }
    surpluses = accounts.bid_surplus
    steps, gangs = len(book.step_bids), len(book.block_bids)
    names = [*(bid.order_id for bid in book.step_bids), *(bid.order_id for bid in book.work_bids)]
    divisible = surpluses[:steps] + surpluses[steps + gangs :]
    found.update(
        ((name,), surplus) for name, surplus in zip(names, divisible, strict=True) if surplus
    )
    families: dict[int, list[int]] = {}
    accepted = np.flatnonzero(accounts.chosen != NONE)
    of_order = blocks.family_of_pick[blocks.pick_of_order[accepted]]
    for order, family in zip(accepted.tolist(), of_order.tolist(), strict=True):
        families.setdefault(family, []).append(order)
    for orders in families.values():
        members = tuple(sorted(book.block_bids[order].order_id for order in orders))
        total = sum(surpluses[steps + order] for order in orders)
        if total:
            found[members] = total
    return found
