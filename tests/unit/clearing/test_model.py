from __future__ import annotations

import numpy as np
import pytest

from clearing.book import canonical
from clearing.market import Product, read_market
from clearing.model import NONE, Model, build
from clearing.types import Book, Cover, ServiceClass
from clearing.units import Chips, Ppm, Seconds, Watts
from tests.golden.clearing.books import SEED, bid, book, gang, nomination, offer, pool, price, site


def model_of(given: Book) -> Model:
    given = canonical(given)
    return build(read_market(given, SEED), given.spec, SEED)


def test_equal_steps_are_one_group() -> None:
    market = read_market(
        canonical(
            book(offer("S", (9, "2")), bid("a", (3, "5")), bid("b", (4, "5")), bid("c", (1, "4")))
        ),
        SEED,
    )
    assert [(g.chips, g.members) for g in market.demand] == [
        (1, (("c", 1),)),
        (7, (("a", 3), ("b", 4))),
    ]
    assert [g.values for g in market.demand] == [(price("4"),), (price("5"),)]


def test_only_used_rows_exist() -> None:
    plain = model_of(book(offer("S", (8, "2")), bid("b", (4, "5"))))
    layout = plain.layout
    assert layout.cover == layout.headroom == layout.recall == layout.power == (NONE,)
    assert plain.program.row_lower.size == 1
    covered = model_of(
        book(
            offer("S", (8, "2")),
            bid("b", (4, "5"), cover=Cover.NODE),
            bid("i", (4, "5"), service_class=ServiceClass.INTERRUPTIBLE),
            sites=(site(power_limit=9_000),),
            pools=(pool(chip_power=Watts(1_000)),),
        )
    )
    rows = covered.layout
    assert NONE not in (*rows.cover, *rows.headroom, *rows.reclaimable, *rows.recall, *rows.power)


def test_block_is_a_list_of_alternatives_with_one_binary_each() -> None:
    given = book(
        offer("A1", (8, "2")),
        offer("B1", (8, "2"), at="B"),
        gang("g", 8, "5", at=("A", "B"), least=300_000, participant_id="p", exclusive_group="x"),
        gang("h", 4, "5", participant_id="p", exclusive_group="x"),
        pools=(pool("A", chips_per_node=Chips(2)), pool("B", chips_per_node=Chips(4))),
    )
    made = model_of(given)
    found = [(a.order_id, a.pool, a.least_nodes, a.most_nodes) for a in made.market.alternatives]
    assert found == [("g", 0, 2, 4), ("g", 1, 1, 2), ("h", 0, 2, 2)]
    assert made.market.families == (("g", "h"),)
    assert made.program.whole.sum() == 3
    assert [column != NONE for column in made.layout.fill] == [True, True, False]


def test_block_larger_than_any_pool_has_no_alternative() -> None:
    market = read_market(canonical(book(offer("S", (8, "2")), gang("g", 9, "5"))), SEED)
    assert market.alternatives == ()


@pytest.mark.parametrize(
    ("notice_s", "product"),
    [(300, Product.RECLAIMABLE), (301, Product.RECALLABLE), (1_801, Product.UNCOUNTED)],
)
def test_notice_decides_the_rows(notice_s: int, product: Product) -> None:
    interruptible = ServiceClass.INTERRUPTIBLE
    given = book(bid("i", (4, "5"), service_class=interruptible, notice_s=Seconds(notice_s)))
    assert read_market(canonical(given), SEED).demand[0].product is product


def test_base_load_beyond_site_power_is_cut_in_whole_nodes() -> None:
    given = book(
        nomination("m", 6),
        nomination("n", 6),
        sites=(site(power_limit=7_500),),
        pools=(pool(chip_power=Watts(1_000)),),
    )
    served = read_market(canonical(given), SEED).base_served
    assert sum(chips[0] for chips in served.values()) == 7


def test_shortage_column_exists_only_where_supply_cannot_cover_base_load() -> None:
    pools = (pool(node_spare_ppm=Ppm(500_000)),)
    base = nomination("n", 8, cover=Cover.NODE)
    enough = model_of(book(offer("S", (4, "2")), base, pools=pools))
    scarce = model_of(book(offer("S", (3, "2")), base, pools=pools))
    assert (len(enough.penalties), len(scarce.penalties)) == (0, 1)


def test_credits_never_touch_supply() -> None:
    made = model_of(book(offer("S", (8, "2")), bid("b", (4, "5")), gang("g", 4, "4")))
    assert not made.credits[: made.layout.delivery].any()
    assert np.abs(made.credits).max() <= 4 * 100 / 1_000_000
