"""What awards are worth at the published prices: receipts, costs, values, payments, surpluses.

Everything is kept in price x chips, exact, and multiplied by the length of an interval at
the end. Source: docs/reference/clearing-rules, "Prices"; clearing.outcome, ``Cash``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing.checks.charges import charges_at_prices, limit_in
from clearing.checks.curves import find
from clearing.checks.exact import (
    Bools,
    Ints,
    expand,
    plus,
    split_groups,
    spread,
    times,
    total,
    zeros,
)
from clearing.checks.facts import View
from clearing.checks.families import families_of
from clearing.checks.menus import Product, factor_table
from clearing.units import SECONDS_PER_HOUR, divide_half_even, split_largest_remainder


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverMoney:
    """Cover money per place, price x chips.

    Attributes:
        came_in: Charges and recall discounts collected, less discounts granted (P).
        paid: What spare chips share, power included (M).
        power: The power rent in it.
        shares: Per cell of an award: what its spare chips receive.
    """

    came_in: Ints
    paid: Ints
    power: Ints
    shares: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Per order, price x chips; 0 where a line is not an order's.

    Attributes:
        receipts: Of supply, without spare; ``spare`` its part of the cover money.
        cost: Of the steps sold; ``fixed`` start-up and no-load, micro-USD.
        value: Of what a bid was awarded, at its limits.
        payment: Of bids and nominations.
        surplus: Price-seconds, before make-whole.
    """

    cover: CoverMoney
    receipts: Ints
    spare: Ints
    cost: Ints
    fixed: Ints
    value: Ints
    payment: Ints
    surplus: Ints


def accounts_of(view: View) -> Accounts:
    """The accounts of every order; made once per view."""
    known = view.memory.get("accounts")
    if isinstance(known, Accounts):
        return known
    book, taken, duration = view.book, view.taken, view.book.grid.duration_s
    cover = cover_money(view)
    charges = charges_at_prices(view)
    supply = np.flatnonzero(taken.supply)
    who = taken.who[supply]
    earns = np.where(
        book.released[who],
        charges.released[taken.place[supply]],
        charges.supply[taken.place[supply]],
    )
    receipts = spread(who, times(earns, taken.chips[supply]), book.orders)
    spare = spread(who, cover.shares[supply], book.orders)
    cost, fixed = _cost(view, supply), _fixed(view)
    value, payment = _value(view), _payment(view)
    flow = plus(receipts, spare, value, -cost, -payment)
    surplus = plus(times(flow, duration), -times(fixed, SECONDS_PER_HOUR))
    found = Accounts(
        cover=cover,
        receipts=receipts,
        spare=spare,
        cost=cost,
        fixed=fixed,
        value=value,
        payment=payment,
        surplus=surplus,
    )
    view.memory["accounts"] = found
    return found


def cover_money(view: View) -> CoverMoney:
    """Who receives what of the cover money of each place.

    Covered load pays ``node_cover`` or the price of its backup at the place of the backup;
    released base load gives up ``recall_discount``; the discounts of interruptibles come out
    of that first, because they are inside their prices. Spare chips share the rest, at most
    ``spare`` or ``site_spare`` each, by kind and then by holder.
    """
    totals, prices, taken = view.totals, view.prices, view.taken
    named = times(plus(totals.bids_named, totals.base_named), view.mu)
    came_in = plus(
        times(prices["node_cover"], totals.covered + totals.base_paying),
        view.pair_sum(named),
        -times(prices["availability"], totals.reclaimable),
        -times(prices["recall_discount"], totals.recallable - totals.released),
    )
    worth = (
        times(prices["spare"], totals.spare),
        times(prices["site_spare"], totals.site_spare),
    )
    paid = np.minimum(np.maximum(0, came_in), plus(*worth))
    of_kind = _by_kind(paid, worth)
    power = zeros(len(paid))
    shares = zeros(len(taken.chips))
    for part, total_chips, chips in (
        (of_kind[0], totals.spare, taken.reserve),
        (of_kind[1], totals.site_spare, taken.site_reserve),
    ):
        drawn = np.minimum(part, times(prices["power"], total_chips))
        power = plus(power, drawn)
        left = plus(part, -drawn)
        cells = np.flatnonzero(taken.supply & (chips > 0))
        cells = cells[left[taken.place[cells]] > 0]
        places, group = np.unique(taken.place[cells], return_inverse=True)
        # Awards are sorted by order, so their position orders equal remainders.
        parts = split_groups(left[places], group, chips[cells], taken.award[cells])
        more = np.zeros(len(shares), dtype=parts.dtype)
        more[cells] = parts
        shares = plus(shares, more)
    return CoverMoney(came_in=came_in, paid=paid, power=power, shares=shares)


def _by_kind(paid: Ints, worth: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """Money of each place over NODE and SITE spare chips, pro rata to what each is worth."""
    node = np.where(worth[1] == 0, paid, 0)
    site = np.where((worth[0] == 0) & (worth[1] != 0), paid, 0)
    both = np.flatnonzero((worth[0] != 0) & (worth[1] != 0) & (paid > 0))
    if len(both):
        node, site = node.astype(object), site.astype(object)
    for place in both:
        weights = (int(worth[0][place]), int(worth[1][place]))
        node[place], site[place] = split_largest_remainder(int(paid[place]), weights, ("0", "1"))
    return node, site


def taken_in(view: View, keys: Ints) -> Ints:
    """Chips awarded to each (order, interval), over its pools; keys sorted."""
    taken = view.taken
    at = find(keys, taken.key)
    return spread(at[at >= 0], taken.chips[at >= 0], len(keys))


def _cost(view: View, supply: Ints) -> Ints:
    """Offered cost of what offers sold: the cheapest steps of each curve first."""
    curves, taken, book = view.curves, view.taken, view.book
    cell = find(curves.key[: curves.starts[1]], taken.key[supply])
    return _along(view, supply[cell >= 0], cell[cell >= 0], zeros(int((cell >= 0).sum())), None)[
        : book.orders
    ]


def _along(view: View, cells: Ints, curve: Ints, skip: Ints, factor: Ints | None) -> Ints:
    """Per order: price x chips of awards along their curves, after ``skip`` chips of the curve."""
    curves, taken = view.curves, view.taken
    counts = np.diff(curves.entries)[curve]
    owner, position = expand(counts)
    entry = curves.entries[curve][owner] + position
    first, last = skip[owner], skip[owner] + taken.chips[cells][owner]
    begin = curves.before[entry]
    chips = np.minimum(last, begin + curves.size[entry]) - np.maximum(first, begin)
    price = curves.price[entry]
    if factor is not None:
        price = limit_in(price, factor[owner])
    worth = times(price, np.maximum(0, chips))
    return spread(taken.who[cells][owner], worth, view.book.orders)


def _fixed(view: View) -> Ints:
    """Start-up and no-load costs of the published runs, micro-USD per order."""
    book, published = view.book, view.published
    units = book.units
    unit = book.unit_of[published.run_order]
    starts = spread(unit, np.ones(len(unit), dtype=np.int64), len(units.order))
    on = on_intervals(view).sum(axis=1)
    cost = plus(times(units.start_up, starts), times(units.no_load, on))
    return spread(units.order, cost, book.orders)


def on_intervals(view: View) -> Bools:
    """Per unit and interval: whether the published runs have it on."""
    known = view.memory.get("on")
    if isinstance(known, np.ndarray):
        return known
    book, published = view.book, view.published
    found = np.zeros((len(book.units.order), view.intervals), dtype=np.bool_)
    for order, first, stop in zip(
        published.run_order.tolist(),
        published.run_first.tolist(),
        published.run_stop.tolist(),
        strict=True,
    ):
        found[book.unit_of[order], first:stop] = True
    units, curves = book.units, view.curves
    if units.whole.any():
        owner = book.unit_of[curves.order[: curves.starts[1]]]
        inside = np.zeros_like(found)
        inside[owner[owner >= 0], curves.interval[: curves.starts[1]][owner >= 0]] = True
        found &= inside | ~units.whole[:, None]
    view.memory["on"] = found
    return found


def factor_of(view: View, cells: Ints) -> Ints:
    """Own factor of a bid for the class of the pool of each cell, ppm."""
    book, grid = view.book, view.book.grid
    table = factor_table(grid, book.bids.conversions)
    conversion = book.bids.conversion[view.taken.who[cells] - book.starts[1]]
    pool = view.taken.pool[view.taken.award[cells]]
    found: Ints = table[conversion, grid.class_of[pool]]
    return found


def _value(view: View) -> Ints:
    """Value of what bids were awarded, at their all-in limits.

    A step bid served in several classes is read in its own favour: its highest steps go to
    the pools where its conversion factor is highest.
    """
    book, curves, taken = view.book, view.curves, view.taken
    bids = np.flatnonzero(~taken.supply & ~taken.base)
    factor = factor_of(view, bids)
    who = taken.who[bids]
    steps = who < book.starts[2]
    cells, own = bids[steps], factor[steps]
    order = np.lexsort((taken.pool[taken.award[cells]], -own, taken.key[cells]))
    cells, own = cells[order], own[order]
    keys = taken.key[cells]
    before = np.cumsum(taken.chips[cells]) - taken.chips[cells]
    begins = np.ones(len(cells), dtype=np.bool_)
    begins[1:] = keys[1:] != keys[:-1]
    heads = np.flatnonzero(begins)
    skip = before - np.repeat(before[heads], np.diff(np.append(heads, len(cells))))
    bid_keys = curves.key[curves.starts[1] : curves.starts[2]]
    curve = find(bid_keys, keys)
    inside = curve >= 0
    value = _along(view, cells[inside], curve[inside] + curves.starts[1], skip[inside], own[inside])
    limit = zeros(book.orders)
    limit[book.starts[2] : book.starts[3]] = book.blocks.limit
    limit[book.starts[3] : book.starts[4]] = book.works.limit
    cells, own = bids[~steps], factor[~steps]
    price = limit_in(limit[taken.who[cells]], own)
    return plus(value, spread(taken.who[cells], times(price, taken.chips[cells]), book.orders))


def _payment(view: View) -> Ints:
    """All-in payments of bids and nominations."""
    taken, prices, charges = view.taken, view.prices, charges_at_prices(view)
    bids = np.flatnonzero(~taken.supply & ~taken.base)
    place = taken.place[bids]
    paid = times(charges.products[taken.product[bids], place], taken.chips[bids])
    reclaimable = taken.product[bids] == Product.RECLAIMABLE
    kept = np.where(reclaimable, taken.chips[bids] - taken.countable[bids], 0)
    paid = plus(paid, times(prices["availability"][place], kept))
    found = spread(taken.who[bids], paid, view.book.orders)
    base = np.flatnonzero(taken.base)
    place = taken.place[base]
    adders = prices["surcharge"][place] + prices["fee"][place] + prices["power"][place]
    paid = plus(
        times(adders, taken.chips[base]),
        times(prices["node_cover"][place], view.base_paying[base]),
    )
    backup = times(view.mu[taken.backup_named], taken.backup_chips)
    return plus(
        found,
        spread(taken.who[base], paid, view.book.orders),
        spread(taken.who[taken.backup_cell], backup, view.book.orders),
    )


def rent_of_sites(view: View) -> Ints:
    """Power rent per site, price x chips: what delivered, base and spare chips pay for power."""
    totals, cover = view.totals, accounts_of(view).cover
    rent = plus(times(view.prices["power"], totals.delivered + totals.base), cover.power)
    per_interval = view.site_sum(rent)
    sites = np.repeat(np.arange(len(view.book.grid.site_ids)), view.intervals)
    return spread(sites, per_interval, len(view.book.grid.site_ids))


def link_rent(view: View) -> int:
    """Price differences over links, price x chips."""
    links, flows = view.book.links, view.published.flow_chips
    at = np.tile(np.arange(view.intervals), len(links.link_ids))
    energy = view.prices["energy"]
    rise = (
        energy[np.repeat(links.to_pool, view.intervals) * view.intervals + at]
        - energy[np.repeat(links.from_pool, view.intervals) * view.intervals + at]
    )
    return total(times(rise, flows))


def welfare(view: View) -> int:
    """Values minus costs, fees and surcharges, price-seconds; base load is no part of it."""
    accounts, grid = accounts_of(view), view.book.grid
    adders = total(times(view.per_place(grid.charge), view.totals.delivered))
    traded = total(accounts.value) - total(accounts.cost) - adders
    return traded * grid.duration_s - total(accounts.fixed) * SECONDS_PER_HOUR


def restart_kept(view: View) -> int:
    """Restart costs saved by accepted blocks that stay where they run, price-seconds."""
    book, taken = view.book, view.taken
    blocks = book.blocks
    first = view.published.awards.first
    accepted = np.flatnonzero((taken.order >= book.starts[2]) & (taken.order < book.starts[3]))
    block = taken.order[accepted] - book.starts[2]
    stays = blocks.initial_pool[block] == taken.pool[accepted]
    stays &= first[accepted] == blocks.runs_until[block]
    accepted, block = accepted[stays], block[stays]
    chips = zeros(len(taken.order))
    np.maximum.at(chips, taken.award, taken.chips)
    return SECONDS_PER_HOUR * total(times(blocks.restart_cost[block], chips[accepted]))


def family_surplus(view: View) -> Ints:
    """Surplus of what each family of blocks was awarded, price-seconds, per group code."""
    book = view.book
    families = families_of(view)
    surplus = accounts_of(view).surplus[book.starts[2] : book.starts[3]]
    return spread(families.family, surplus, families.groups)


def money(price_chips: int, duration_s: int) -> int:
    """Micro-USD of an exact sum of price x chips, rounded half-even once."""
    return divide_half_even(price_chips * duration_s, SECONDS_PER_HOUR)
