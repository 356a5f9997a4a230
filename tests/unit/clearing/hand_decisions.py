"""Outcomes worked out by hand of decisions: a tree of them, running work, whole supply blocks.

Numbers as in ``hand``.
"""

from __future__ import annotations

from dataclasses import replace

from clearing.outcome import Fill, Fixing, Leaf, Outcome, Reason, SupplyRun
from clearing.types import Book, Commitment, Offer, PricingRule
from clearing.units import Chips
from tests.unit.clearing.hand import (
    award,
    firm,
    gang,
    money,
    offer,
    outcome,
    pool,
    pool_price,
    row_dual,
    spec,
)
from tests.unit.clearing.hand_places import CAP, at, site, two_sites

FULL, PARTIAL, NONE = Fill.FULL, Fill.PARTIAL, Fill.NONE


def three_leaves() -> tuple[Book, Outcome]:
    """Two gangs exclude each other by size: 12 and 5 of 16 chips. Three leaves prove the best.

    Without g at 2: 24 + 17.50. With g and without h at 5: 48 - 12. With both at 100: the offer
    gains 1,568, g loses 1,152 and h 472.50; less than nothing is left.
    """
    book = Book(
        spec=spec(),
        sites=(site(),),
        pools=(pool(),),
        offers=(offer("s", (16, "2")),),
        step_bids=(firm("b", (8, "5")),),
        block_bids=(gang("g", 12, "4"), gang("h", 5, "5.50")),
    )
    first = Fixing(order_id="g", accepted=False)
    second = Fixing(order_id="h", accepted=False)
    taken = replace(first, accepted=True)
    return book, outcome(
        book,
        prices=(pool_price("2"),),
        awards=(award(book, "s", 13), award(book, "b", 8), award(book, "h", 5)),
        answers=(
            ("s", PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("b", FULL, Reason.IN_THE_MONEY, "24", "0", "0"),
            ("g", NONE, Reason.PARADOXICALLY_REJECTED, "0", "0", "24"),
            ("h", FULL, Reason.IN_THE_MONEY, "17.5", "0", "0"),
        ),
        duals=(),
        leaves=(
            Leaf(fixings=(first,), duals=(row_dual("BALANCE", "n", "2"),)),
            Leaf(fixings=(taken, second), duals=(row_dual("BALANCE", "n", "5"),)),
            Leaf(
                fixings=(taken, replace(second, accepted=True)),
                duals=(row_dual("BALANCE", "n", "100"),),
            ),
        ),
        welfare="41.5",
        bound="41.5",
        lost="24",
        cash={"buyers": "26", "suppliers": "26"},
    )


def one_fits() -> tuple[Book, Outcome]:
    """Two gangs of 12 and 5 of 16 chips, and no leaf but the whole.

    At 2 each pays for room what it gains, 24 and 17.50: no set that fits pays more than 24.
    """
    book = Book(
        spec=spec(),
        sites=(site(),),
        pools=(pool(),),
        offers=(offer("s", (16, "2")),),
        block_bids=(gang("g", 12, "4"), gang("h", 5, "5.50")),
    )
    return book, outcome(
        book,
        prices=(pool_price("2"),),
        awards=(award(book, "s", 12), award(book, "g", 12)),
        answers=(
            ("s", PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("g", FULL, Reason.IN_THE_MONEY, "24", "0", "0"),
            ("h", NONE, Reason.PARADOXICALLY_REJECTED, "0", "0", "17.5"),
        ),
        duals=(),
        leaves=(
            Leaf(
                fixings=(),
                duals=(
                    row_dual("BALANCE", "n", "2"),
                    row_dual("PACKING", "n", "24", order_id="g"),
                    row_dual("PACKING", "n", "17.5", order_id="h"),
                ),
            ),
        ),
        welfare="24",
        bound="24",
        lost="17.5",
        cash={"buyers": "24", "suppliers": "24"},
    )


def stays() -> tuple[Book, Outcome]:
    """A gang stays where it runs: 4 x 1 dollar of gain and 12 of restarts saved, not 4 x 3."""
    book = two_sites(
        offers=(offer("sa", (4, "4"), where="a"), offer("sb", (4, "2"), where="b")),
        block_bids=(
            replace(
                gang("g", 4, "5"),
                where=at("a", "b"),
                initial_pool_id="a",
                restart_cost=money("3"),
            ),
        ),
    )
    return book, outcome(
        book,
        prices=(
            pool_price("4", name="a", high=CAP),
            pool_price("2", name="b", low="0", indicative=True),
        ),
        awards=(award(book, "sa", 4), award(book, "g", 4)),
        answers=(
            ("sa", FULL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("sb", NONE, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("g", FULL, Reason.IN_THE_MONEY, "4", "0", "0"),
        ),
        duals=(("BALANCE", "a", "4"), ("BALANCE", "b", "2")),
        welfare="4",
        restart="12",
        bound="16",
        lost="8",
        cash={"buyers": "16", "suppliers": "16"},
    )


def below_zero() -> tuple[Book, Outcome]:
    """Eight chips must be sold, six are wanted dearly: the rest goes at minus ten cents."""
    book = Book(
        spec=spec(floor="-5"),
        sites=(site(surcharge="0.5"),),
        pools=(pool(),),
        offers=(replace(offer("s", (8, "0")), commitment=Commitment(min_chips=Chips(8))),),
        step_bids=(firm("b", (4, "0.4")),),
        block_bids=(gang("g", 6, "3"),),
    )
    return book, outcome(
        book,
        prices=(pool_price("-0.1", surcharge="0.5"),),
        awards=(award(book, "s", 8), award(book, "b", 2), award(book, "g", 6)),
        runs=(SupplyRun(order_id="s", first=0, stop=1),),
        answers=(
            ("s", FULL, Reason.MADE_WHOLE, "-0.8", "0", "0"),
            ("b", PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("g", FULL, Reason.IN_THE_MONEY, "15.6", "0", "0"),
        ),
        duals=(("BALANCE", "n", "-0.1"),),
        welfare="14.8",
        bound="15.6",
        lost="0.8",
        cash={"buyers": "3.2", "suppliers": "-0.8", "community": "4", "make_whole": "0.8"},
        make_whole=(("s", "0.8", (("g", "0.8"),)),),
    )


def supply_block() -> tuple[Book, Outcome]:
    """Strict prices: one supply block earns its start and its hour, the other would not."""

    def block(name: str, chips: int, price: str) -> Offer:
        terms = Commitment(start_up=money("2"), no_load=money("1"), whole=True)
        return replace(offer(name, (chips, price)), commitment=terms)

    book = Book(
        spec=replace(spec(), pricing_rule=PricingRule.STRICT_UNIFORM),
        sites=(site(),),
        pools=(pool(),),
        offers=(offer("s", (4, "2")), block("u", 6, "3"), block("v", 20, "4.5")),
        step_bids=(firm("b", (10, "5")),),
    )
    return book, outcome(
        book,
        prices=(pool_price("4", low="2", high="5"),),
        awards=(award(book, "s", 4), award(book, "u", 6), award(book, "b", 10)),
        runs=(SupplyRun(order_id="u", first=0, stop=1),),
        answers=(
            ("s", FULL, Reason.IN_THE_MONEY, "8", "0", "0"),
            ("u", FULL, Reason.IN_THE_MONEY, "3", "0", "0"),
            ("v", NONE, Reason.NOT_STARTED, "0", "0", "0"),
            ("b", FULL, Reason.IN_THE_MONEY, "10", "0", "0"),
        ),
        duals=(("BALANCE", "n", "4"),),
        welfare="21",
        bound="21",
        lost="0",
        cash={"buyers": "40", "suppliers": "40"},
    )
