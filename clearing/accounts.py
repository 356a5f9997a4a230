"""What awards are worth at the published prices: the engine's own books, in integers.

Everything a result says about money (surpluses, cash, make-whole, welfare) comes from
here, computed from the market, the awarded quantities and the prices. The verifier shares
none of it and must reach the same numbers by itself.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from clearing.market import RECALLED, Market, Product, steps_at, value_in
from clearing.nodes import Quantities
from clearing.outcome import Cash, MakeWhole, PoolPrice
from clearing.types import BlockBid, Book, Cover, Nomination, Offer, Pool, StepBid
from clearing.units import (
    PPM,
    SECONDS_PER_HOUR,
    MicroUsd,
    PriceSeconds,
    divide_half_even,
    divide_up,
    split_largest_remainder,
)


@dataclass(slots=True, kw_only=True)
class Tally:
    """Chips per (pool, interval), flat.

    Attributes:
        sold: By supply; ``released`` the released base load in it.
        taken: By bids; ``covered`` those with NODE cover.
        spare: Held by supply.
        reserve: Interruptible chips that count as reserve.
        reclaimable: Interruptible chips that could.
        recallable: Interruptible chips within the recall time.
        base_paying: Covered base load that pays for cover: all of it but in a shortage.
    """

    sold: list[int]
    released: list[int]
    taken: list[int]
    covered: list[int]
    spare: list[int]
    reserve: list[int]
    reclaimable: list[int]
    recallable: list[int]
    base_paying: list[int]


@dataclass(slots=True, kw_only=True)
class Accounts:
    """A market, its awards and prices, and what they add up to.

    Attributes:
        prices: Flat, one per (pool, interval).
        tally: Chips.
        taken_of: Chips per bid, pool and interval.
        cover_money: What spare chips share, power included, price x chips, flat.
        spare_power: The power in it, flat.
        surplus: Per order, price-seconds, before make-whole.
        base_covered: Chips of a nomination in an interval that pay for cover.
    """

    book: Book
    market: Market
    quantities: Quantities
    prices: tuple[PoolPrice, ...]
    bids: dict[str, StepBid | BlockBid]
    tally: Tally
    taken_of: dict[str, dict[int, dict[int, int]]]
    cover_money: list[int] = field(default_factory=list)
    spare_power: list[int] = field(default_factory=list)
    spare_earned: dict[str, int] = field(default_factory=dict)
    surplus: dict[str, int] = field(default_factory=dict)
    base_covered: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def duration_s(self) -> int:
        """Length of every interval."""
        return self.market.grid.duration_s

    def pools_of(self, bid: StepBid | BlockBid) -> list[int]:
        """Pools that serve a bid, by position."""
        return sorted(self.taken_of.get(bid.order_id, ()))


def open_accounts(
    book: Book, market: Market, quantities: Quantities, prices: tuple[PoolPrice, ...]
) -> Accounts:
    """Add up awards and value them at the prices.

    Args:
        book: Canonical.
        market: Of that book.
        quantities: Awards.
        prices: One per pool and interval, sorted.
    """
    bids: dict[str, StepBid | BlockBid] = {bid.order_id: bid for bid in book.step_bids}
    bids.update((bid.order_id, bid) for bid in book.block_bids)
    taken_of: dict[str, dict[int, dict[int, int]]] = defaultdict(dict)
    for (name, pool), series in quantities.taken.items():
        taken_of[name][pool] = series
    accounts = Accounts(
        book=book,
        market=market,
        quantities=quantities,
        prices=prices,
        bids=bids,
        taken_of=taken_of,
        tally=Tally(**{name: [0] * len(prices) for name in Tally.__dataclass_fields__}),
    )
    _count(accounts)
    _cover_base(accounts)
    _share_cover_money(accounts)
    for offer in book.offers:
        accounts.surplus[offer.order_id] = _earned(accounts, offer) - _cost(accounts, offer)
    for name, bid in bids.items():
        accounts.surplus[name] = _value(accounts, bid) - _paid(accounts, bid)
    for nomination in book.nominations:
        accounts.surplus[nomination.order_id] = -_paid_by_base(accounts, nomination)
    return accounts


def least_of(bid: BlockBid, pool: Pool) -> int:
    """Chips of a block's minimum fill in a pool: up to whole nodes."""
    size = pool.chips_per_node
    return divide_up(divide_up(bid.chips * bid.min_fill_ppm, PPM), size) * size


def price_for(product: Product, price: PoolPrice) -> int:
    """All-in price of a chip of a product; a reclaimable block's minimum pays more."""
    if product is Product.COVERED:
        return price.firm
    if product is Product.RECLAIMABLE:
        return price.interruptible
    if product is Product.RECALLABLE:
        return price.firm_uncovered - price.recall_discount
    return price.firm_uncovered


def _count(accounts: Accounts) -> None:
    grid, tally = accounts.market.grid, accounts.tally
    released = {offer.order_id for offer in accounts.book.offers if offer.recallable}
    for (name, pool), series in accounts.quantities.sold.items():
        for interval, chips in series.items():
            tally.sold[grid.at(pool, interval)] += chips
            if name in released:
                tally.released[grid.at(pool, interval)] += chips
    for (_, pool), series in accounts.quantities.spare.items():
        for interval, chips in series.items():
            tally.spare[grid.at(pool, interval)] += chips
    for (_, pool), series in accounts.quantities.reserve.items():
        for interval, chips in series.items():
            tally.reserve[grid.at(pool, interval)] += chips
    for (name, pool), series in accounts.quantities.taken.items():
        product, fixed = (
            accounts.market.product[name],
            _minimum(accounts.bids[name], grid.pools[pool]),
        )
        for interval, chips in series.items():
            place = grid.at(pool, interval)
            tally.taken[place] += chips
            if product is Product.COVERED:
                tally.covered[place] += chips
            if product in RECALLED:
                tally.recallable[place] += chips
            if product is Product.RECLAIMABLE:
                tally.reclaimable[place] += chips - min(chips, fixed)


def _minimum(bid: StepBid | BlockBid, pool: Pool) -> int:
    """Chips of an award that cannot go one by one."""
    return least_of(bid, pool) if isinstance(bid, BlockBid) else 0


def _cover_base(accounts: Accounts) -> None:
    """What of each covered nomination pays: what spare and reclaimables cover beyond bids."""
    market, tally, grid = accounts.market, accounts.tally, accounts.market.grid
    held: dict[int, dict[str, int]] = defaultdict(dict)
    for nomination in accounts.book.nominations:
        if nomination.cover is not Cover.NODE:
            continue
        pool = grid.position[nomination.pool_id]
        for interval, chips in enumerate(market.base_served[nomination.order_id]):
            if chips:
                held[grid.at(pool, interval)][nomination.order_id] = chips
    for place, wanted in held.items():
        paying, theta = sum(wanted.values()), grid.pools[place // grid.intervals].node_spare_ppm
        if theta:
            reach = (tally.spare[place] + tally.reclaimable[place]) * PPM // theta
            paying = max(0, min(paying, reach - tally.covered[place]))
        tally.base_paying[place] = paying
        names = sorted(wanted)
        parts = split_largest_remainder(paying, [wanted[name] for name in names], names)
        for name, part in zip(names, parts, strict=True):
            accounts.base_covered[name, place % grid.intervals] = part


def _share_cover_money(accounts: Accounts) -> None:
    """Cover charges and recall discounts, less discounts given, over the spare chips."""
    tally, grid = accounts.tally, accounts.market.grid
    holders: dict[int, dict[str, int]] = defaultdict(dict)
    for (name, pool), series in accounts.quantities.spare.items():
        for interval, chips in series.items():
            if chips:
                holders[grid.at(pool, interval)][name] = chips
    for place, price in enumerate(accounts.prices):
        money = min(max(0, cover_collected(accounts, place)), price.spare * tally.spare[place])
        power = min(money, price.power * tally.spare[place])
        accounts.cover_money.append(money)
        accounts.spare_power.append(power)
        names = sorted(holders.get(place, ()))
        parts = split_largest_remainder(
            money - power, [holders[place][name] for name in names], names
        )
        for name, part in zip(names, parts, strict=True):
            earned = accounts.spare_earned.get(name, 0)
            accounts.spare_earned[name] = earned + part * accounts.duration_s


def cover_collected(accounts: Accounts, place: int) -> int:
    """Cover money that came in at one place, price x chips; negative after rounding."""
    tally, price = accounts.tally, accounts.prices[place]
    return (
        price.node_cover * (tally.covered[place] + tally.base_paying[place])
        - price.availability * tally.reclaimable[place]
        - price.recall_discount * (tally.recallable[place] - tally.released[place])
    )


def _earned(accounts: Accounts, offer: Offer) -> int:
    """What an offer receives: its sales, and its part of the cover money."""
    grid = accounts.market.grid
    pool, total = grid.position[offer.pool_id], 0
    for interval, chips in accounts.quantities.sold.get((offer.order_id, pool), {}).items():
        price = accounts.prices[grid.at(pool, interval)]
        total += chips * price.energy
        if offer.recallable:
            total -= chips * price.recall_discount
    return total * accounts.duration_s + accounts.spare_earned.get(offer.order_id, 0)


def _cost(accounts: Accounts, offer: Offer) -> int:
    """What an offer asked for the chips it sold, cheapest steps first."""
    pool, total = accounts.market.grid.position[offer.pool_id], 0
    for interval, chips in accounts.quantities.sold.get((offer.order_id, pool), {}).items():
        left = chips
        for step in steps_at(offer.segments, interval):
            total += min(left, step.chips) * step.price
            left -= min(left, step.chips)
    return total * accounts.duration_s


def _value(accounts: Accounts, bid: StepBid | BlockBid) -> int:
    """What a bid would have paid at most: its highest steps where a chip is worth most to it."""
    pools = accounts.market.grid.pools
    served = [(pool, accounts.taken_of[bid.order_id][pool]) for pool in accounts.pools_of(bid)]
    if isinstance(bid, BlockBid):
        total = sum(
            value_in(bid, bid.limit_price, pools[pool]) * sum(series.values())
            for pool, series in served
        )
        return total * accounts.duration_s
    served.sort(key=lambda item: -value_in(bid, PPM, pools[item[0]]))
    total = 0
    for segment in bid.segments:
        for interval in range(segment.first, segment.stop):
            steps = [[step.chips, step.price] for step in reversed(segment.steps)]
            for pool, series in served:
                left = series.get(interval, 0)
                while left and steps:
                    part = min(left, steps[-1][0])
                    total += part * value_in(bid, steps[-1][1], pools[pool])
                    steps[-1][0] -= part
                    left -= part
                    if not steps[-1][0]:
                        steps.pop()
    return total * accounts.duration_s


def _paid(accounts: Accounts, bid: StepBid | BlockBid) -> int:
    """What a bid pays, all in; the minimum of a reclaimable block earns no availability."""
    grid, product, total = accounts.market.grid, accounts.market.product[bid.order_id], 0
    for pool in accounts.pools_of(bid):
        fixed = _minimum(bid, grid.pools[pool]) if product is Product.RECLAIMABLE else 0
        for interval, chips in accounts.taken_of[bid.order_id][pool].items():
            price = accounts.prices[grid.at(pool, interval)]
            total += chips * price_for(product, price) + min(chips, fixed) * price.availability
    return total * accounts.duration_s


def _paid_by_base(accounts: Accounts, nomination: Nomination) -> int:
    """Surcharge, fee and power on what is served, cover on the part that is covered."""
    grid, name = accounts.market.grid, nomination.order_id
    pool, total = grid.position[nomination.pool_id], 0
    for interval, chips in enumerate(accounts.market.base_served[name]):
        price = accounts.prices[grid.at(pool, interval)]
        total += chips * (price.surcharge + price.fee + price.power)
        total += accounts.base_covered.get((name, interval), 0) * price.node_cover
    return total * accounts.duration_s


def power_rents(accounts: Accounts) -> dict[str, int]:
    """Power rent per site, price-seconds: of delivered, base and spare chips."""
    market, grid = accounts.market, accounts.market.grid
    rents = dict.fromkeys(grid.site_ids, 0)
    for place, price in enumerate(accounts.prices):
        chips = accounts.tally.taken[place] + market.base[place]
        rent = price.power * chips + accounts.spare_power[place]
        rents[grid.site_ids[grid.site_of[place // grid.intervals]]] += rent * accounts.duration_s
    return rents


def welfare(accounts: Accounts) -> PriceSeconds:
    """Values less costs, surcharges and fees; base load is no part of it."""
    grid = accounts.market.grid
    total = sum(_value(accounts, bid) for bid in accounts.bids.values())
    total -= sum(_cost(accounts, offer) for offer in accounts.book.offers)
    for place, chips in enumerate(accounts.tally.taken):
        total -= chips * grid.charge[place // grid.intervals] * accounts.duration_s
    return PriceSeconds(total)


def cash(accounts: Accounts, payments: tuple[MakeWhole, ...]) -> Cash:
    """The cash identity: every line rounded once, and what the others leave as residual."""
    market, book = accounts.market, accounts.book
    spare = sum(accounts.spare_earned.values())
    community = operator = 0
    for place, price in enumerate(accounts.prices):
        chips = accounts.tally.taken[place] + market.base[place]
        community += chips * price.surcharge * accounts.duration_s
        operator += chips * price.fee * accounts.duration_s
    lines = {
        "buyers": sum(_paid(accounts, bid) for bid in accounts.bids.values())
        + sum(_paid_by_base(accounts, nomination) for nomination in book.nominations),
        "suppliers": sum(_earned(accounts, offer) for offer in book.offers) - spare,
        "spare": spare,
        "community": community,
        "operator_fee": operator,
        "power_rent": sum(power_rents(accounts).values()),
    }
    rounded = {
        line: MicroUsd(divide_half_even(value, SECONDS_PER_HOUR)) for line, value in lines.items()
    }
    left = 2 * rounded["buyers"] - sum(rounded.values())
    return Cash(
        **rounded,
        link_rent=MicroUsd(0),
        residual=MicroUsd(left),
        make_whole=MicroUsd(sum(payment.amount for payment in payments)),
    )
