"""A validated canonical book as columns (``clearing.market``).

Objects are walked once, field by field; everything after that is grouping and arithmetic on arrays.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from clearing.alternatives import Room, read_blocks
from clearing.base_load import read_base
from clearing.cells import read_demand, read_steps
from clearing.columns import Integers, column, divide_up_each, group, starts, take
from clearing.market import NONE, Base, Grid, Links, Market, Supply, Units
from clearing.types import Book, Commitment
from clearing.venues import read_venues

_UNLIMITED: Final = 2**40
"""Nodes where no power limit holds: more than any pool can have."""


def read_market(book: Book) -> Market:
    """Read a validated canonical book.

    Args:
        book: ``clearing.validate`` accepts it and ``clearing.book.canonical`` made it.
    """
    grid = _read_grid(book)
    venues = read_venues(book, grid)
    supply = _read_supply(book, grid)
    units = _read_units(book, grid)
    base = read_base(book, grid)
    links = _read_links(book, grid)
    offered, released = (
        _per_place(supply.place[kind], supply.nodes[kind], grid)
        for kind in (~supply.released, supply.released)
    )
    room = Room(
        grid=grid,
        offered=offered,
        released=released,
        inflow=_inflow(grid, links),
        powered=_powered(grid, base),
    )
    steps, blocks = len(book.step_bids), len(book.block_bids)
    _, eligible = take(venues.start, venues.of_bid)
    return Market(
        grid=grid,
        supply=supply,
        units=units,
        demand=read_demand(book, grid, venues),
        blocks=read_blocks(book, venues, room, base),
        base=base,
        links=links,
        offered=offered,
        released=released,
        eligible_start=starts(np.diff(venues.start)[venues.of_bid]),
        eligible_pool=venues.pool[eligible],
        step_product=venues.product[:steps],
        block_product=venues.product[steps : steps + blocks],
        work_product=venues.product[steps + blocks :],
        equal_balance=book.spec.price_floor < 0,
    )


def _inflow(grid: Grid, links: Links) -> Integers:
    """Nodes that links can bring into each place at most."""
    into = np.zeros((len(grid.pools), grid.intervals), dtype=np.int64)
    np.add.at(into, links.target, np.maximum(0, links.most))
    np.add.at(into, links.source, np.maximum(0, -links.least))
    return into.reshape(-1)


def _powered(grid: Grid, base: Base) -> Integers:
    """Nodes of each place that the power of its site could carry alone, beside base load."""
    # A pool draws at most 1e8 chips x 1e6 watts, so 90,000 pools of a site fit into 63 bits.
    drawn = np.zeros((len(grid.site_ids), grid.intervals), dtype=np.int64)
    np.add.at(drawn, grid.site, grid.power[:, None] * base.chips.reshape(-1, grid.intervals))
    left = np.maximum(0, grid.power_limit[:, None] - drawn)[grid.site]
    unlimited = (grid.power_limit[grid.site] == NONE) | (grid.power == 0)
    nodes = np.where(
        unlimited[:, None], _UNLIMITED, left // np.maximum(1, grid.power * grid.node)[:, None]
    )
    return nodes.reshape(-1)


def _read_grid(book: Book) -> Grid:
    sites = {site.site_id: position for position, site in enumerate(book.sites)}
    site = column(lambda pool: sites[pool.site_id], book.pools)
    surcharge = column(lambda site: site.surcharge, book.sites)
    return Grid(
        pools=book.pools,
        site_ids=tuple(site.site_id for site in book.sites),
        intervals=len(book.spec.intervals),
        duration_s=book.spec.intervals[0].duration_s,
        position={pool.pool_id: position for position, pool in enumerate(book.pools)},
        site=site,
        node=column(lambda pool: pool.chips_per_node, book.pools),
        charge=surcharge[site] + book.spec.operator_fee,
        power=column(lambda pool: pool.chip_power, book.pools),
        theta=column(lambda pool: pool.node_spare_ppm, book.pools),
        power_limit=column(
            lambda site: NONE if site.power_limit is None else site.power_limit, book.sites
        ),
    )


def _per_place(places: Integers, nodes: Integers, grid: Grid) -> Integers:
    total = np.zeros(grid.places, dtype=np.int64)
    np.add.at(total, places, nodes)
    return total


def _read_supply(book: Book, grid: Grid) -> Supply:
    """Equal steps together; a committed offer shares a step with nobody."""
    steps = read_steps(book.offers)
    pool = column(lambda offer: grid.position[offer.pool_id], book.offers)
    released = column(lambda offer: offer.recallable, book.offers)
    committed = column(lambda offer: offer.commitment is not None, book.offers)
    unit = np.where(committed, committed.cumsum() - 1, NONE)
    place = pool[steps.order] * grid.intervals + steps.interval
    alike = group(place, steps.price, released[steps.order], unit[steps.order])
    sample = alike.first
    return Supply(
        place=place[sample],
        price=steps.price[sample],
        nodes=alike.sums(steps.chips) // grid.node[pool[steps.order[sample]]],
        released=released[steps.order[sample]].astype(np.bool_),
        unit=unit[steps.order[sample]],
        member_start=alike.start,
        member_offer=steps.order[alike.order],
        member_chips=steps.chips[alike.order],
    )


def _read_units(book: Book, grid: Grid) -> Units:
    offers = [offer for offer in book.offers if offer.commitment is not None]
    terms = [offer.commitment or Commitment() for offer in offers]
    pool = column(lambda offer: grid.position[offer.pool_id], offers)
    offered = np.zeros((len(offers), grid.intervals), dtype=np.int64)
    for unit, offer in enumerate(offers):
        for segment in offer.segments:
            chips = sum(step.chips for step in segment.steps)
            offered[unit, segment.first : segment.stop] = chips // grid.node[pool[unit]]
    whole = np.array([commitment.whole for commitment in terms], dtype=np.bool_)
    least = divide_up_each(column(lambda commitment: commitment.min_chips, terms), grid.node[pool])
    return Units(
        offer=np.flatnonzero([offer.commitment is not None for offer in book.offers]),
        pool=pool,
        start_up=column(lambda commitment: commitment.start_up, terms),
        no_load=column(lambda commitment: commitment.no_load, terms),
        min_run=column(lambda commitment: commitment.min_run_intervals, terms),
        whole=whole,
        offered=offered,
        least=np.where(whole[:, None], offered, np.minimum(offered, least[:, None])),
    )


def _read_links(book: Book, grid: Grid) -> Links:
    """Capacities are whole nodes of both pools; what is not is narrowed to them."""
    source = column(lambda link: grid.position[link.from_pool_id], book.links)
    capacities = np.array([link.capacities for link in book.links], dtype=np.int64)
    capacities = capacities.reshape(len(book.links), grid.intervals, 2)
    node = grid.node[source][:, None]
    return Links(
        source=source,
        target=column(lambda link: grid.position[link.to_pool_id], book.links),
        least=divide_up_each(capacities[:, :, 0], node),
        most=capacities[:, :, 1] // node,
    )
