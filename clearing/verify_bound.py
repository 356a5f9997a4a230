"""Best responses, and the bound that weak duality makes of them, in integers.

**The bound.** Drop the coupling rows of the auction and charge for using them instead.
For any multipliers >= 0 the welfare of every feasible outcome is at most

    bound = sum over families of the largest surplus that the family could reach on its
            own at those charges + right-hand sides of the rows x their multipliers,

because a feasible outcome pays non-negative charges for non-negative slack. It does not
matter where the multipliers come from: wrong ones only make the bound larger.

Rows per pool n and interval t (all quantities chips, all multipliers micro-USD per
chip-hour but nu, which is micro-USD per kilowatt-hour):

=============  ==============================================  ==========
row            meaning                                         multiplier
=============  ==============================================  ==========
BALANCE        delivered <= sold                               pi
RECLAIMABLE    R <= reclaimable interruptibles                 lambda_a
RECALLABLE     R + released base sold <= recallable            lambda_b
NODE_COVER     theta (covered + base covered) <= spare + R     mu
SITE_POWER     kW (delivered + base + spare) <= site limit     nu
=============  ==============================================  ==========

With sigma the surcharge plus fee, v a limit price (all-in, hence the -sigma), the
families' largest surpluses are:

* offer, per interval and step: chips x max(pi - c, mu - kW nu, 0); what is not sold may
  be spare. Released base load: chips x max(pi - lambda_b - c, 0).
* step bid, per interval and step: chips x max(0, largest v - charge over its pools), where
  charge = sigma + pi + kW nu, + theta mu with NODE cover, - lambda_a - lambda_b when its
  notice counts for NODE cover, - lambda_b when it only counts for recall.
* block, over pools and starts: max(0, chips x sum (v - charge)); a reclaimable one counts
  only above its minimum m (whole nodes), so it pays lambda_a back on m chips. A fill
  between m and full is never better than both ends, and at m a positive surplus is not
  above the full one, so the minimum needs no case of its own.
* exclusive group: the largest over its members. Nothing is summed over members.
* R (reserve counted on interruptibles) has no limit of its own, so its charge must not be
  below its worth: where lambda_a + lambda_b < mu, lambda_a is raised to mu - lambda_b
  before anything is evaluated. Raised multipliers are multipliers like any other.

Right-hand sides: nu x (site limit - power of served base load), never below zero; for
NODE_COVER -mu x (theta x base covered - published shortage): base load is a constant, its
shortages are shifted out of the rows (DESIGN 4.2).

Everything is kept times 1,000,000 (theta is in ppm; watts x micro-USD per kWh x 1,000 is
the same scale), so nothing divides before the end; the one division rounds up.

The same functions at the *published prices* (scale 1) give each order's best response,
its ``foregone`` surplus and the lost opportunity. Source: DESIGN 4.1, 4.3; GOLDEN,
"Settlement per order kind".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from clearing.outcome import RowDual
from clearing.types import BlockBid, Offer, StepBid
from clearing.units import PPM, PriceSeconds, divide_up
from clearing.verify_view import (
    COUNTS_FOR_RECALL,
    Bid,
    Product,
    View,
    least_chips,
    limit_in,
    price_of,
    whole_nodes,
)

ROWS_OF_POOLS: Final = frozenset({"BALANCE", "NODE_COVER", "RECALLABLE", "RECLAIMABLE"})
ROW_OF_SITES: Final = "SITE_POWER"

Series = list[int]
"""One entry per interval."""


@dataclass(slots=True, kw_only=True)
class Charges:
    """What orders pay and earn per chip at some multipliers, times ``scale``.

    Attributes:
        products: Per product and pool: all-in charge of a bid.
        availability: Per pool: what a reclaimable block pays back on its minimum.
        supply: Per pool: what a sold chip earns.
        released: Per pool: what a sold chip of released base load earns.
        spare: Per pool: what a spare chip earns after power; may be negative.
    """

    scale: int
    products: dict[Product, dict[str, Series]]
    availability: dict[str, Series]
    supply: dict[str, Series]
    released: dict[str, Series]
    spare: dict[str, Series]
    cheapest_cache: dict[tuple[tuple[str, ...], Product], list[dict[str, int]]] = field(
        default_factory=dict
    )
    cheapest_of_order: dict[str, list[dict[str, int]]] = field(default_factory=dict)
    prefix_cache: dict[tuple[str, Product], Series] = field(default_factory=dict)

    def prefix(self, pool_id: str, product: Product) -> Series:
        """Running sums of a product's charge, so that a block's charge is one difference."""
        found = self.prefix_cache.get((pool_id, product))
        if found is None:
            found = [0, *accumulate(self.products[product][pool_id])]
            self.prefix_cache[pool_id, product] = found
        return found


def charges_at_prices(view: View) -> Charges:
    """The published prices as charges; made once per view."""
    known = view.memory.get("charges")
    if isinstance(known, Charges):
        return known
    charges = Charges(
        scale=1,
        products={
            product: {
                name: [price_of(product, price) for price in prices]
                for name, prices in view.prices.items()
            }
            for product in Product
        },
        availability={n: [p.availability for p in prices] for n, prices in view.prices.items()},
        supply={n: [p.energy for p in prices] for n, prices in view.prices.items()},
        released={
            n: [p.energy - p.recall_discount for p in prices] for n, prices in view.prices.items()
        },
        spare={n: [p.spare - p.power for p in prices] for n, prices in view.prices.items()},
    )
    view.memory["charges"] = charges
    return charges


def charges_at_duals(view: View, duals: Mapping[tuple[str, str], Series]) -> Charges:
    """The certificate duals as charges, times one million."""
    charges = Charges(
        scale=PPM,
        products={product: {} for product in Product},
        availability={},
        supply={},
        released={},
        spare={},
    )
    zero = [0] * view.intervals
    for name, pool in view.pools.items():
        energy = [PPM * x for x in duals.get(("BALANCE", name), zero)]
        reclaim = [PPM * x for x in duals.get(("RECLAIMABLE", name), zero)]
        recall = [PPM * x for x in duals.get(("RECALLABLE", name), zero)]
        spare = duals.get(("NODE_COVER", name), zero)
        reclaim = [max(a, PPM * m - b) for a, b, m in zip(reclaim, recall, spare, strict=True)]
        power = [1_000 * pool.chip_power * x for x in duals.get((ROW_OF_SITES, pool.site_id), zero)]
        adders = PPM * (view.sites[pool.site_id].surcharge + view.book.spec.operator_fee)
        plain = [adders + e + p for e, p in zip(energy, power, strict=True)]
        recalled = [x - r for x, r in zip(plain, recall, strict=True)]
        charges.products[Product.UNCOVERED][name] = plain
        charges.products[Product.UNCOUNTED][name] = plain
        charges.products[Product.COVERED][name] = [
            x + pool.node_spare_ppm * s for x, s in zip(plain, spare, strict=True)
        ]
        charges.products[Product.RECALLABLE][name] = recalled
        charges.products[Product.RECLAIMABLE][name] = [
            x - r for x, r in zip(recalled, reclaim, strict=True)
        ]
        charges.availability[name] = reclaim
        charges.supply[name] = energy
        charges.released[name] = [e - r for e, r in zip(energy, recall, strict=True)]
        charges.spare[name] = [PPM * s - p for s, p in zip(spare, power, strict=True)]
    return charges


def best_offer(view: View, charges: Charges, offer: Offer) -> int:
    """Largest surplus of an offer: per chip, sold, spare or idle."""
    earned = charges.released if offer.recallable else charges.supply
    earns, spare = earned[offer.pool_id], charges.spare[offer.pool_id]
    total = 0
    for segment in offer.segments:
        for interval in range(segment.first, segment.stop):
            idle = 0 if offer.recallable else max(0, spare[interval])
            for step in segment.steps:
                gain = earns[interval] - charges.scale * step.price
                total += step.chips * max(gain, idle)
    return total * view.duration_s


def best_step_bid(view: View, charges: Charges, bid: StepBid) -> int:
    """Largest surplus of a step bid: per step, its best pool or nothing."""
    table = cheapest(view, charges, bid)
    total = 0
    for segment in bid.segments:
        for interval in range(segment.first, segment.stop):
            for step in segment.steps:
                total += step.chips * max(0, best_net(charges, bid, step.price, table[interval]))
    return total * view.duration_s


def best_net(charges: Charges, bid: StepBid, price: int, at: Mapping[str, int]) -> int:
    """Largest limit minus charge over the chip classes of a bid's pools."""
    if not at:
        return 0
    if not bid.conversions:
        return charges.scale * price - min(at.values())
    return max(
        charges.scale * limit_in(price, bid.conversions, chip_class) - charge
        for chip_class, charge in at.items()
    )


def cheapest(view: View, charges: Charges, bid: Bid) -> list[dict[str, int]]:
    """Per interval the least charge of each chip class over the pools of a bid; cached."""
    known = charges.cheapest_of_order.get(bid.order_id)
    if known is not None:
        return known
    pools = view.eligible(bid.where)
    product = view.products[bid.order_id]
    found = charges.cheapest_cache.get((pools, product))
    if found is None:
        found = [{} for _ in range(view.intervals)]
        for name in pools:
            chip_class = view.pools[name].chip_class
            for at, charge in zip(found, charges.products[product][name], strict=True):
                at[chip_class] = min(charge, at.get(chip_class, charge))
        charges.cheapest_cache[pools, product] = found
    charges.cheapest_of_order[bid.order_id] = found
    return found


def best_block(
    view: View, charges: Charges, bid: BlockBid, *, placeable: bool = False
) -> int | None:
    """Largest surplus of a block over its pools and starts at full fill; None without a pool.

    May be negative: the caller decides whether staying out is an alternative.

    Args:
        view: Book and outcome.
        charges: What a chip pays.
        bid: The block.
        placeable: Count only what some outcome could deliver: no pool that has less than the
            minimum to sell or to power throughout the run, nowhere more than it has.
    """
    product = view.products[bid.order_id]
    best: int | None = None
    for name in view.eligible(bid.where):
        pool = view.pools[name]
        limit = charges.scale * limit_in(bid.limit_price, bid.conversions, pool.chip_class)
        least = least_chips(bid, pool.chips_per_node)
        if least > bid.chips:
            continue
        sums = charges.prefix(name, product)
        for start in range(bid.earliest_start, bid.latest_start + 1):
            stop = start + bid.duration
            chips: int = bid.chips
            if placeable:
                most = [_most_chips(view, name, product, least, t) for t in range(start, stop)]
                chips = min(chips, *most)
                if chips < least:
                    continue
            gain = chips * (limit * bid.duration - (sums[stop] - sums[start]))
            if product is Product.RECLAIMABLE:
                gain -= least * sum(charges.availability[name][start:stop])
            if best is None or gain > best:
                best = gain
    return None if best is None else best * view.duration_s


def _most_chips(view: View, pool_id: str, product: Product, least: int, interval: int) -> int:
    """Chips of one product that a pool could deliver to a block of at least ``least``.

    Released base load serves interruptibles only, so nobody else can count on it. Whatever
    covers a covered block, spare or reclaimable beyond released base load, is supply and
    draws power beside it, in whole nodes, together with the cover of base load.
    """
    standby = 0
    if product is Product.COVERED:
        covered = least + view.totals[pool_id].base_covered[interval]
        needed = divide_up(view.pools[pool_id].node_spare_ppm * covered, PPM)
        standby = whole_nodes(needed, view.pools[pool_id].chips_per_node)
    supply = view.offered if product in COUNTS_FOR_RECALL else view.offered_firm
    pool = view.pools[pool_id]
    limit = view.sites[pool.site_id].power_limit
    if limit is None or not pool.chip_power:
        return supply[pool_id][interval] - standby
    power = limit - sum(
        view.pools[name].chip_power * view.totals[name].base[interval]
        for name in view.pools_of_site[pool.site_id]
    )
    return min(supply[pool_id][interval], max(0, power) // pool.chip_power) - standby


def group_of(bid: BlockBid) -> tuple[str, str]:
    """Key of an exclusive group; an order of its own forms its own."""
    if bid.exclusive_group:
        return bid.participant_id, bid.exclusive_group
    return "", bid.order_id


def best_total(view: View, charges: Charges, *, placeable: bool) -> int:
    """Sum over families of the largest surplus, times the scale; see ``best_block``."""
    groups: dict[tuple[str, str], int] = defaultdict(int)
    for block in view.book.block_bids:
        key = group_of(block)
        groups[key] = max(groups[key], best_block(view, charges, block, placeable=placeable) or 0)
    return (
        sum(best_offer(view, charges, offer) for offer in view.book.offers)
        + sum(best_step_bid(view, charges, bid) for bid in view.book.step_bids)
        + sum(groups.values())
    )


def lost_opportunity(view: View) -> PriceSeconds:
    """Best responses minus surpluses, over every order but nominations, at the prices."""
    earned = sum(view.surplus_of[name] for name in (*view.offers, *view.bids))
    return PriceSeconds(best_total(view, charges_at_prices(view), placeable=False) - earned)


def bound(view: View, duals: Mapping[tuple[str, str], Series]) -> PriceSeconds:
    """Welfare that no feasible outcome exceeds, from any non-negative duals (module docstring)."""
    total = best_total(view, charges_at_duals(view, duals), placeable=True)
    rents = sum(power_rents(view, duals)) + sum(cover_rents(view, duals))
    return PriceSeconds(divide_up(total + rents * view.duration_s, PPM))


def power_rents(view: View, duals: Mapping[tuple[str, str], Series]) -> Iterator[int]:
    """Nu x the power that base load leaves at each limited site, times one million."""
    for site_id, site in view.sites.items():
        values = duals.get((ROW_OF_SITES, site_id))
        if values is None or site.power_limit is None:
            continue
        for interval, value in enumerate(values):
            used = sum(
                view.pools[name].chip_power * view.totals[name].base[interval]
                for name in view.pools_of_site[site_id]
            )
            yield 1_000 * value * max(0, site.power_limit - used)


def cover_rents(view: View, duals: Mapping[tuple[str, str], Series]) -> Iterator[int]:
    """Base load's constant in the cover rows, times one million."""
    for name in view.pools:
        values = duals.get(("NODE_COVER", name))
        if values is None:
            continue
        for interval, value in enumerate(values):
            needed = view.pools[name].node_spare_ppm * view.totals[name].base_covered[interval]
            yield -value * (needed - cover_shortage(view, name, interval))


def cover_shortage(view: View, pool_id: str, interval: int) -> int:
    """Cover that base load alone lacks, chips times one million; zero beside covered bids."""
    totals = view.totals[pool_id]
    if totals.covered[interval]:
        return 0
    needed = view.pools[pool_id].node_spare_ppm * totals.base_covered[interval]
    return max(0, needed - PPM * (totals.spare[interval] + totals.reserve[interval]))


def read_duals(
    view: View, rows: Sequence[RowDual], found: Callable[[str], None]
) -> dict[tuple[str, str], Series]:
    """Index the certificate duals and report those that are no row of the book to ``found``."""
    series: dict[tuple[str, str], Series] = {}
    previous: tuple[str, str, int] | None = None
    for dual in rows:
        key = (dual.row, dual.subject, dual.interval)
        if previous is not None and key <= previous:
            found(f"dual {key} is out of order or repeated")
        previous = key
        if not _is_row(view, dual):
            found(f"dual {key} belongs to no row")
            continue
        if dual.value <= 0:
            found(f"dual {key} is {dual.value}, not positive")
            continue
        entry = series.setdefault((dual.row, dual.subject), [0] * view.intervals)
        entry[dual.interval] = dual.value
    zero: Sequence[int] = [0] * view.intervals
    for name in view.pools:
        spare = series.get(("NODE_COVER", name), zero)
        reclaim = series.get(("RECLAIMABLE", name), zero)
        recall = series.get(("RECALLABLE", name), zero)
        for interval in range(view.intervals):
            if spare[interval] > reclaim[interval] + recall[interval]:
                found(f"{name}[{interval}] leaves the reserve worth more than it is charged")
    return series


def _is_row(view: View, dual: RowDual) -> bool:
    if not 0 <= dual.interval < view.intervals:
        return False
    if dual.row == ROW_OF_SITES:
        site = view.sites.get(dual.subject)
        return site is not None and site.power_limit is not None
    return dual.row in ROWS_OF_POOLS and dual.subject in view.pools
