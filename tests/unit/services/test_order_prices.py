"""What an order would pay in a pool: backups, profiles, cheapest starts."""

from __future__ import annotations

from clearing.types import BlockBid, Cover, Pool, StepBid, Tariff
from clearing.units import Chips
from iso_exchange.sequencer.state import BookOrder
from iso_exchange.services.order_prices import mean_price, prices_of, quantity
from tests.golden.clearing.books import bid, book, gang, offer, pool, site, work
from tests.unit.settlement.outcomes import backup_price, outcome, pool_price

BOTH = ("A", "B", "C")
POOLS = (pool("A", "sA"), pool("B", "sB"), pool("C", "sC"), pool("D", "sB", chip_class="d"))
SHAPED = gang("shaped", 3, "5", duration=3, profile=(Chips(1), Chips(0), Chips(3)))
BOOK = book(
    offer("S", (8, "2"), stop=3),
    bid("step", (6, "9"), at=BOTH, cover=Cover.SITE, stop=2),
    gang("block", 6, "9", at=BOTH, cover=Cover.SITE, duration=2),
    gang("shift", 6, "9", latest_start=2),
    SHAPED,
    work("crunch", 4, "2", first=0, stop=3, rate=2),
    sites=(site("sA"), site("sB"), site("sC")),
    pools=POOLS,
    intervals=3,
)
ENERGY = (4, 2, 3)
PRICES = prices_of(
    outcome(
        BOOK,
        tuple(
            pool_price(p.pool_id, t, energy=ENERGY[t] * 1_000_000) for p in POOLS for t in range(3)
        ),
        (),
        # At B cheap in the first hour, at C in the second.
        backup_prices=(
            backup_price("sA", "B", 1, 3_000_000),
            backup_price("sA", "C", 0, 2_000_000),
        ),
    )
)


def price(
    order: BookOrder, eligible: tuple[Pool, ...] = POOLS, *, every: bool = False
) -> int | None:
    return mean_price(PRICES, Tariff(), POOLS[0], order, eligible=eligible, every=every)


def order(name: str) -> StepBid | BlockBid:
    orders: tuple[StepBid | BlockBid, ...] = (*BOOK.step_bids, *BOOK.block_bids)
    return next(item for item in orders if item.order_id == name)


def test_a_step_bid_takes_the_cheapest_backup_of_each_hour() -> None:
    assert price(order("step")) == (4_000_000 + 2_000_000) // 2


def test_a_block_has_one_backup_over_its_run() -> None:
    # Energy 6 and the cheaper of 3 (at B) and 2 (at C), over two hours.
    assert price(order("block")) == (6_000_000 + 2_000_000) // 2
    assert price(order("block"), (POOLS[0], POOLS[1])) == (6_000_000 + 3_000_000) // 2


def test_without_a_backup_there_is_no_price() -> None:
    # The pool itself and one of another class: neither could take over.
    assert price(order("block"), (POOLS[0], POOLS[3])) is None


def test_the_cheapest_start_counts_and_a_profile_weighs_its_hours() -> None:
    assert price(order("shift")) == 2_000_000
    assert price(SHAPED) == (1 * 4_000_000 + 3 * 3_000_000) // 4
    assert price(SHAPED, every=True) == 3_000_000


def test_quantities_are_chip_seconds() -> None:
    intervals = BOOK.spec.intervals
    assert quantity(SHAPED, intervals) == 4 * 3_600
    assert quantity(order("block"), intervals) == 12 * 3_600
    assert quantity(BOOK.work_bids[0], intervals) == 4 * 3_600
