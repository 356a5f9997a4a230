"""What sellers in the money have left is offered until nobody's next node fits."""

from __future__ import annotations

import numpy as np

from clearing.layout import Choice, Settled
from clearing.loads import Draft, offered_on, runs_of
from clearing.model import fix
from clearing.node_program import Open, Width, _start, _widen
from clearing.place_rounding import _lower, sell_more
from clearing.prices import Prices
from clearing.support import supported
from clearing.types import Book
from clearing.units import Watts
from tests.golden.clearing.books import bid, book, offer, pool, price, site
from tests.unit.clearing.small_models import model_of

KILOWATT = Watts(1_000)


def draft_at(given: Book, energy: str, taken: dict[tuple[str, str], int]) -> Draft:
    """An award in the making: nodes by bid and pool, every pool at one price."""
    model = model_of(given)
    market = model.market
    zero = np.zeros(market.grid.places, dtype=np.int64)
    prices = Prices(
        energy=np.full(market.grid.places, price(energy), dtype=np.int64),
        power=zero,
        spare=zero,
        node_cover=zero,
        availability=zero,
        recall=zero,
        site_spare=zero,
        backup=np.zeros(0, dtype=np.int64),
    )
    choice = Choice(
        proven=True,
        chosen=np.zeros(0, dtype=np.bool_),
        on=np.zeros(market.units.offered.shape, dtype=np.bool_),
        short=np.zeros(model.penalties.size),
        row_duals=np.zeros(0),
        hint=np.zeros(0),
    )
    offered, must = offered_on(market, choice.on)
    draft = Draft(
        model=model,
        choice=choice,
        support=supported(model, choice, prices),
        runs=runs_of(market, choice.chosen),
        nodes=np.zeros(model.program.objective.size, dtype=np.int64),
        named=np.zeros(0, dtype=np.int64),
        offered=offered,
        must=must,
    )
    demand = market.demand
    bids = sorted(one.order_id for one in given.step_bids)
    for arc, (cell, at) in enumerate(zip(demand.arc_cell, demand.arc_pool, strict=True)):
        member = int(demand.member_bid[demand.member_start[cell]])
        key = bids[member], market.grid.pools[int(at)].pool_id
        draft.nodes[model.layout.arc + arc] = taken.get(key, 0)
    return draft


def everywhere(draft: Draft) -> np.ndarray:
    return np.ones(draft.model.market.grid.places, dtype=np.bool_)


def test_everything_is_sold_that_somebody_would_take_and_not_a_node_of_it_alone() -> None:
    draft = draft_at(book(offer("S", (9, "2")), bid("b", (9, "3"))), "3", {("b", "A"): 2})
    refused = sell_more(draft, everywhere(draft))
    assert draft.arcs.tolist() == [9]
    assert not refused.any()


def two_pools(*others: object) -> Book:
    """Pool A has power for four nodes, B has as much as it likes and is sold out to ``j``."""
    return book(
        offer("S", (8, "2")),
        offer("T", (4, "2"), at="B"),
        bid("c", (8, "3")),
        bid("j", (4, "5"), at=("A", "B")),
        *others,  # type: ignore[arg-type]
        pools=(pool("A", chip_power=KILOWATT), pool("B", "z", chip_power=KILOWATT)),
        sites=(site(power_limit=4 * KILOWATT), site("z")),
    )


def test_powerless_pool_is_left_unsold_where_nobody_wants_more_elsewhere() -> None:
    draft = draft_at(two_pools(), "3", {("c", "A"): 4, ("j", "B"): 4})
    assert sell_more(draft, everywhere(draft)).tolist() == [True, False]
    assert draft.arcs.sum() == 8


def test_powerless_pool_is_looked_at_where_somebody_wants_more_in_one_as_good() -> None:
    given = two_pools(bid("d", (2, "5"), at=("B",)))
    draft = draft_at(given, "3", {("c", "A"): 4, ("j", "B"): 4})
    assert not sell_more(draft, everywhere(draft)).any()


def test_nodes_that_a_site_gives_back_come_from_one_place_each() -> None:
    given = book(
        offer("S", (4, "2")),
        offer("T", (4, "2"), at="B"),
        bid("a", (4, "3")),
        bid("b", (4, "3"), at=("B",)),
        pools=(pool("A", chip_power=KILOWATT), pool("B", chip_power=KILOWATT)),
        sites=(site(power_limit=6 * KILOWATT),),
    )
    draft = draft_at(given, "3", {("a", "A"): 4, ("b", "B"): 4})
    _lower(draft, np.arange(2), np.array([0.1, 0.5]))
    assert draft.arcs.tolist() == [3, 3]


def test_places_of_a_limited_site_are_looked_at_together() -> None:
    given = book(
        offer("S", (8, "2")),
        bid("b", (8, "3")),
        pools=(pool("A"), pool("B"), pool("C", "z"), pool("D", "z")),
        sites=(site(power_limit=4 * KILOWATT), site("z")),
        intervals=2,
    )
    draft = draft_at(given, "3", {})
    program = fix(draft.model, draft.choice)
    nothing = np.zeros(program.objective.size)
    settled = Settled(
        program=program,
        values=nothing,
        best=nothing,
        duals=np.zeros(program.row_lower.size),
        reduced_costs=nothing,
    )
    places = draft.model.market.grid.places
    flags = np.zeros(draft.nodes.size, dtype=np.bool_)
    work = _start(draft, settled, Open(column=flags, place=np.zeros(places, dtype=np.bool_)))
    # Two intervals: A at 0 and 1, B at 2 and 3, C and D after them.
    assert _widen(work, np.array([0]), Width.SITE).tolist() == [0, 2]
    assert _widen(work, np.array([5]), Width.SITE).tolist() == [5]
