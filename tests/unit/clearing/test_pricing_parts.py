from __future__ import annotations

from typing import Any

import numpy as np

from clearing.layout import Model
from clearing.market import Integers, Product
from clearing.outcome import BackupPrice, PoolPrice
from clearing.prices import Prices
from clearing.pricing.parts import publish
from clearing.quantities import Backed, Held, Quantities, Taken
from clearing.types import Book, Cover, ServiceClass
from clearing.units import Chips, MicroUsd, Ppm
from tests.golden.clearing.books import bid, book, committed, offer, pool, price, site, usd
from tests.unit.clearing.small_models import model_of

EITHER = ("A", "B")


def several(*extra: Any) -> Book:
    return book(
        offer("S", (10, "2"), (10, "4")),
        bid("one", (5, "6"), cover=Cover.NONE),
        bid("two", (5, "5"), at=EITHER, cover=Cover.NONE),
        bid("backed", (5, "9"), at=EITHER, cover=Cover.SITE),
        *extra,
        sites=(site("sA", "0.5"), site("sB")),
        pools=(pool("A", "sA", node_spare_ppm=Ppm(100_000)), pool("B", "sB")),
    )


def prices_of(model: Model, **series: list[int]) -> Prices:
    """Prices that are zero but for what is given."""
    count = model.market.grid.places
    zero = dict.fromkeys(
        ("energy", "power", "spare", "node_cover", "availability", "recall", "site_spare"), count
    )
    columns = {name: np.zeros(size, dtype=np.int64) for name, size in zero.items()}
    columns["backup"] = np.zeros(model.layout.slot_row.size, dtype=np.int64)
    for name, values in series.items():
        columns[name] = np.array(values, dtype=np.int64)
    return Prices(**columns)


def awarded(model: Model, nodes: Integers, active: list[bool]) -> Quantities:
    """Quantities of which only nodes and activity are read."""
    none = np.zeros(0, dtype=np.int64)
    units, intervals = model.market.units.offer.size, model.market.grid.intervals
    return Quantities(
        nodes=nodes,
        active=np.array(active),
        sold=none,
        taken=Taken(**dict.fromkeys(Taken.__dataclass_fields__, none)),
        held=Held(**dict.fromkeys(Held.__dataclass_fields__, none)),
        backed=Backed(**dict.fromkeys(Backed.__dataclass_fields__, none)),
        flows=np.zeros((0, intervals), dtype=np.int64),
        on=np.zeros((units, intervals), dtype=np.bool_),
    )


def nodes_of(model: Model, given: Book, **chips: int) -> Integers:
    """Chips of supply steps (``step0``) and of bids, in the first arc of each."""
    nodes = np.zeros(model.program.objective.size, dtype=np.int64)
    demand = model.market.demand
    names = sorted(order.order_id for order in given.step_bids)
    for name, amount in chips.items():
        if name.startswith("step"):
            nodes[int(name.removeprefix("step"))] = amount
            continue
        own = demand.member_bid[demand.member_start[:-1]] == names.index(name)
        cell = int(np.flatnonzero(own)[0])
        nodes[model.layout.arc + int(np.flatnonzero(demand.arc_cell == cell)[0])] = amount
    return nodes


def published(
    given: Book, model: Model, prices: Prices, nodes: Integers, active: list[bool]
) -> tuple[tuple[PoolPrice, ...], tuple[BackupPrice, ...]]:
    surcharge = np.array([usd("0.5"), 0], dtype=np.int64)
    return publish(model, prices, given.spec, surcharge, awarded(model, nodes, active))


def test_all_in_prices_are_sums_of_parts() -> None:
    given = several()
    model = model_of(given)
    prices = prices_of(
        model,
        energy=[2_000_000, 7],
        power=[11, 0],
        spare=[50, 0],
        node_cover=[5, 0],
        availability=[3, 0],
        recall=[2, 0],
        site_spare=[0, 4],
    )
    (at_a, at_b), _ = published(given, model, prices, nodes_of(model, given), [True, False])
    assert [at_a.surcharge, at_a.fee] == [price("0.5"), given.spec.operator_fee]
    plain = 2_000_000 + 11 + usd("0.5") + given.spec.operator_fee
    assert (at_a.firm, at_a.firm_uncovered) == (plain + 5, plain)
    assert (at_a.interruptible, at_a.interruptible_uncounted) == (plain - 5, plain)
    assert (at_a.indicative, at_b.indicative) == (False, True)
    assert (at_b.pool_id, at_b.interval, at_b.site_spare) == ("B", 0, 4)


def test_backup_prices_that_are_zero_are_not_listed() -> None:
    given = several()
    model = model_of(given)
    backup = [0] * model.layout.slot_row.size
    slot = int(np.flatnonzero(model.layout.slot_pool == 1)[0])
    backup[slot] = 9
    prices = prices_of(model, energy=[1, 1], backup=backup)
    _, found = published(given, model, prices, nodes_of(model, given), [True, True])
    assert [(b.site_id, b.pool_id, b.interval, b.price) for b in found] == [("sA", "B", 0, 9)]


def test_sold_and_unsold_steps_bound_the_price() -> None:
    given = several()
    model = model_of(given)
    prices = prices_of(model, energy=[3_000_000, 0])
    nodes = nodes_of(model, given, step0=10, one=5)
    (at_a, _), _ = published(given, model, prices, nodes, [True, False])
    assert (at_a.low, at_a.high) == (2_000_000, 4_000_000)
    half = nodes_of(model, given, step0=5, one=5)
    (at_a, _), _ = published(
        given, model, prices_of(model, energy=[2_000_000, 0]), half, [True, False]
    )
    assert (at_a.low, at_a.high) == (2_000_000, 2_000_000)


def test_only_a_bid_with_one_pool_keeps_the_price_up_while_it_is_short() -> None:
    given = several()
    model = model_of(given)
    prices = prices_of(model, energy=[5_500_000, 0])
    served = nodes_of(model, given, step0=10, step1=10, one=5)
    (at_a, _), _ = published(given, model, prices, served, [True, False])
    # "two" is not served at all, but it could go to B.
    assert (at_a.low, at_a.high) == (4_000_000, 5_500_000)
    short = nodes_of(model, given, step0=10, step1=10, one=4)
    (at_a, _), _ = published(given, model, prices, short, [True, False])
    # "one" pays up to 6, of which 0.5 is the surcharge.
    assert (at_a.low, at_a.high) == (5_500_000, 5_500_000)


def test_what_a_backed_bid_pays_for_its_backup_is_not_energy() -> None:
    given = several()
    model = model_of(given)
    demand, layout = model.market.demand, model.layout
    arcs = np.flatnonzero(demand.product[demand.arc_cell] == Product.SITE)
    arc = int(arcs[demand.arc_pool[arcs] == 0][0])
    backup = [0] * layout.slot_row.size
    backup[int(layout.slot_of_arc[arc])] = 6_000_000
    nodes = nodes_of(model, given, step0=10)
    nodes[layout.arc + arc] = 1
    prices = prices_of(model, energy=[2_000_000, 0], backup=backup)
    (at_a, _), _ = published(given, model, prices, nodes, [True, False])
    assert at_a.high == 9_000_000 - 6_000_000 - usd("0.5")


def test_offers_with_a_commitment_have_no_say() -> None:
    given = book(
        offer("S", (10, "4"), commitment=committed("1", min_chips=Chips(2))),
        bid("b", (5, "3")),
        bid("i", (5, "1"), service_class=ServiceClass.INTERRUPTIBLE),
    )
    model = model_of(given)
    prices = prices_of(model, energy=[3_000_000])
    nodes = nodes_of(model, given, step0=5, b=5)
    surcharge = np.zeros(1, dtype=np.int64)
    (at_a,), _ = publish(model, prices, given.spec, surcharge, awarded(model, nodes, [True]))
    assert (at_a.low, at_a.high) == (1_000_000, 3_000_000)
    assert MicroUsd(at_a.energy) == usd("3")
