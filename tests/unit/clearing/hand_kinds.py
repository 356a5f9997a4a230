"""More outcomes worked out by hand: one for every kind of order that binds beyond one hour or pool.

Numbers as in ``hand``; "own N" is example N of the design.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from clearing.outcome import (
    BackupPrice,
    Fill,
    Fixing,
    Leaf,
    LinkFlow,
    Outcome,
    Reason,
    SupplyRun,
)
from clearing.types import (
    BlockBid,
    Book,
    Commitment,
    Cover,
    Link,
    WorkBid,
)
from clearing.units import Chips, ChipSeconds
from tests.unit.clearing.hand import (
    HOUR,
    award,
    firm,
    gang,
    interruptible,
    money,
    offer,
    outcome,
    pool,
    pool_price,
    row_dual,
    spec,
    usd,
)
from tests.unit.clearing.hand_decisions import (
    below_zero,
    one_fits,
    stays,
    supply_block,
    three_leaves,
)
from tests.unit.clearing.hand_places import CAP, at, base, covered_by_site, hourly, site, two_sites

FULL, PARTIAL, NONE = Fill.FULL, Fill.PARTIAL, Fill.NONE


def site_loss() -> tuple[Book, Outcome]:
    """Own 5: firm load at A is covered at B by three spare chips and three interruptible ones."""
    book = two_sites(
        offers=(offer("sa", (10, "2"), where="a"), offer("sb", (6, "3"), where="b")),
        step_bids=(
            covered_by_site("f", 8, "8"),
            interruptible("i", (3, "4"), notice=600, where="b"),
            replace(interruptible("j", (4, "3.2"), notice=600), where=at("a", "b")),
        ),
    )
    return book, outcome(
        book,
        prices=(
            pool_price("3", name="a"),
            pool_price("8", name="b", recall="5", site_spare="5", low="3"),
        ),
        backup_prices=(BackupPrice(site_id="A", pool_id="b", interval=0, price=usd("5")),),
        awards=(
            award(book, "sa", 10),
            award(book, "sb", 3, site_reserve=(3,)),
            award(book, "f", 6, where="a", backups=(("b", 6),)),
            award(book, "i", 3, site_reserve=(3,)),
            award(book, "j", 4, where="a"),
        ),
        answers=(
            ("sa", FULL, Reason.IN_THE_MONEY, "10", "0", "0"),
            ("sb", PARTIAL, Reason.AT_THE_PRICE, "30", "0", "0"),
            ("f", PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("i", FULL, Reason.IN_THE_MONEY, "3", "0", "0"),
            ("j", FULL, Reason.IN_THE_MONEY, "0.8", "0", "0"),
        ),
        duals=(
            ("BALANCE", "a", "3"),
            ("BALANCE", "b", "8"),
            ("SITE_COVER", "b", "5", 0, "A"),
        ),
        welfare="43.8",
        bound="43.8",
        lost="0",
        cash={"buyers": "69", "suppliers": "54", "spare": "15"},
    )


def backup_shortage() -> tuple[Book, Outcome]:
    """Own 6: base load of six finds four chips of backup, pays for those, and nobody else any."""
    book = two_sites(
        offers=(offer("sa", (10, "2"), where="a"), offer("sb", (4, "2.5"), where="b")),
        step_bids=(
            covered_by_site("f", 3, "8"),
            interruptible("i", (2, "4"), notice=600, where="b"),
        ),
        nominations=(base("n", 6, "a", ("b",)),),
    )
    return book, outcome(
        book,
        prices=(
            pool_price("2", name="a", low="0", indicative=True),
            pool_price("8.5", name="b", recall="6", site_spare="6", low="2.5"),
        ),
        backup_prices=(BackupPrice(site_id="A", pool_id="b", interval=0, price=usd("6")),),
        awards=(
            award(book, "sb", 2, site_reserve=(2,)),
            award(book, "i", 2, site_reserve=(2,)),
            award(book, "n", 6, backups=(("b", 4),)),
        ),
        answers=(
            ("sa", NONE, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("sb", PARTIAL, Reason.AT_THE_PRICE, "24", "0", "0"),
            ("f", NONE, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("i", FULL, Reason.IN_THE_MONEY, "3", "0", "0"),
            ("n", FULL, Reason.COVER_SHORTAGE, "-24", "0", "0"),
        ),
        duals=(
            ("BALANCE", "a", "2"),
            ("BALANCE", "b", "8.5"),
            ("SITE_COVER", "b", "6", 0, "A"),
        ),
        welfare="3",
        bound="3",
        lost="0",
        cash={"buyers": "29", "suppliers": "17", "spare": "12"},
    )


def least_fill() -> tuple[Book, Outcome]:
    """Own 9: a gang that loses at its minimum fill is made whole by two winners."""
    book = Book(
        spec=spec(),
        sites=(site(),),
        pools=(pool(),),
        offers=(offer("s", (4, "2")), offer("t", (10, "6"))),
        step_bids=(firm("b", (2, "7")),),
        block_bids=(gang("g", 8, "5", fill=500_000),),
    )
    return book, outcome(
        book,
        prices=(pool_price("6"),),
        awards=(
            award(book, "s", 4),
            award(book, "t", 2),
            award(book, "b", 2),
            award(book, "g", 4),
        ),
        answers=(
            ("s", FULL, Reason.IN_THE_MONEY, "16", "0", "0"),
            ("t", PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("b", FULL, Reason.IN_THE_MONEY, "2", "0", "0"),
            ("g", PARTIAL, Reason.MADE_WHOLE, "-4", "0", "0"),
        ),
        duals=(("BALANCE", "n", "5"),),
        welfare="14",
        bound="16",
        lost="4",
        cash={"buyers": "36", "suppliers": "36", "make_whole": "4"},
        make_whole=(("g", "4", (("b", "0.444444"), ("s", "3.555556"))),),
    )


def linked() -> tuple[Book, Outcome]:
    """Own 11, with a second tree: a child carries its losing parent, another one cannot."""

    def member(name: str, chips: int, price: str, parent: str = "") -> BlockBid:
        return replace(gang(name, chips, price), participant_id="lab", parent_order_id=parent)

    book = Book(
        spec=spec(),
        sites=(site(),),
        pools=(pool(),),
        offers=(offer("s", (20, "3")),),
        block_bids=(
            member("p", 4, "2.5"),
            member("c", 12, "4", "p"),
            member("q", 4, "1"),
            member("d", 2, "3.5", "q"),
        ),
    )
    return book, outcome(
        book,
        prices=(pool_price("3"),),
        awards=(award(book, "s", 16), award(book, "p", 4), award(book, "c", 12)),
        answers=(
            ("s", PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("p", FULL, Reason.AT_THE_PRICE, "-2", "0", "0"),
            ("c", FULL, Reason.IN_THE_MONEY, "12", "0", "0"),
            ("q", NONE, Reason.OUT_OF_THE_MONEY, "0", "2", "0"),
            ("d", NONE, Reason.PARENT_NOT_ACCEPTED, "0", "0", "0"),
        ),
        duals=(("BALANCE", "n", "3"),),
        welfare="10",
        bound="10",
        lost="0",
        cash={"buyers": "48", "suppliers": "48"},
    )


def exclusive() -> tuple[Book, Outcome]:
    """One of two gangs is wanted; the better one runs."""
    book = Book(
        spec=spec(),
        sites=(site(),),
        pools=(pool(),),
        offers=(offer("s", (10, "2")),),
        block_bids=(gang("g", 4, "5", group="either"), gang("h", 4, "4.5", group="either")),
    )
    return book, outcome(
        book,
        prices=(pool_price("2"),),
        awards=(award(book, "s", 4), award(book, "g", 4)),
        answers=(
            ("s", PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("g", FULL, Reason.IN_THE_MONEY, "12", "0", "0"),
            ("h", NONE, Reason.OTHER_ACCEPTED, "0", "0", "0"),
        ),
        duals=(("BALANCE", "n", "2"),),
        welfare="12",
        bound="12",
        lost="0",
        cash={"buyers": "8", "suppliers": "8"},
    )


def start_up() -> tuple[Book, Outcome]:
    """Own 4: a start of 4 dollars is not earned at the price and made whole by three winners."""
    book = Book(
        spec=spec(),
        sites=(site(),),
        pools=(pool(),),
        offers=(
            offer("s", (8, "2")),
            replace(
                offer("t", (8, "3")),
                commitment=Commitment(start_up=money("4"), min_chips=Chips(2)),
            ),
        ),
        step_bids=(firm("b", (8, "6")), firm("c", (3, "5"))),
    )
    return book, outcome(
        book,
        prices=(pool_price("3", low="2", high="5"),),
        awards=(
            award(book, "s", 8),
            award(book, "t", 3),
            award(book, "b", 8),
            award(book, "c", 3),
        ),
        runs=(SupplyRun(order_id="t", first=0, stop=1),),
        answers=(
            ("s", FULL, Reason.IN_THE_MONEY, "8", "0", "0"),
            ("t", PARTIAL, Reason.MADE_WHOLE, "-4", "0", "0"),
            ("b", FULL, Reason.IN_THE_MONEY, "24", "0", "0"),
            ("c", FULL, Reason.IN_THE_MONEY, "6", "0", "0"),
        ),
        duals=(("BALANCE", "n", "3.5"),),
        welfare="34",
        bound="36.5",
        lost="4",
        cash={"buyers": "33", "suppliers": "33", "make_whole": "4"},
        make_whole=(("t", "4", (("b", "2.526316"), ("c", "0.631579"), ("s", "0.842105"))),),
    )


def base_forces_a_start() -> tuple[Book, Outcome]:
    """Own 12: base load needs a backup that must start; nobody else can pay, so base load does.

    The certificate has two leaves. Off, the four chips of backup are worth any price: at 10
    the bound is -40. On, the offer costs its start: -10.
    """
    book = two_sites(
        offers=(
            replace(offer("s", (8, "2.5"), where="b"), commitment=Commitment(start_up=money("10"))),
        ),
        nominations=(base("n", 4, "a", ("b",)),),
    )
    off = Fixing(order_id="s", accepted=False, interval=0)
    return book, outcome(
        book,
        prices=(
            pool_price("0", name="a", high=CAP, indicative=True),
            pool_price("0", name="b", high=CAP, indicative=True),
        ),
        awards=(
            award(book, "s", 0, site_reserve=(4,)),
            award(book, "n", 4, backups=(("b", 4),)),
        ),
        runs=(SupplyRun(order_id="s", first=0, stop=1),),
        answers=(
            ("s", NONE, Reason.MADE_WHOLE, "-10", "0", "0"),
            ("n", FULL, Reason.BASE_SERVED, "0", "0", "0"),
        ),
        duals=(),
        leaves=(
            Leaf(fixings=(off,), duals=(row_dual("SITE_COVER", "b", "10", 0, "A"),)),
            Leaf(fixings=(replace(off, accepted=True),), duals=()),
        ),
        welfare="-10",
        gains="0",
        bound="-10",
        lost="10",
        cash={"make_whole": "10"},
        make_whole=(("s", "10", (("n", "10"),)),),
    )


def link() -> tuple[Book, Outcome]:
    """Five chips of cheap supply reach the dear pool; the link earns the difference."""
    book = two_sites(
        offers=(offer("sa", (10, "2"), where="a"), offer("sb", (10, "5"), where="b")),
        step_bids=(firm("f", (8, "6"), where="b"),),
        links=(
            Link(
                link_id="l",
                from_pool_id="a",
                to_pool_id="b",
                capacities=((Chips(0), Chips(5)),),
                owner_id="carrier",
            ),
        ),
    )
    return book, outcome(
        book,
        prices=(pool_price("2", name="a"), pool_price("5", name="b")),
        awards=(award(book, "sa", 5), award(book, "sb", 3), award(book, "f", 8)),
        flows=(LinkFlow(link_id="l", chips=(5,)),),
        answers=(
            ("sa", PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("sb", PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("f", FULL, Reason.IN_THE_MONEY, "8", "0", "0"),
        ),
        duals=(("BALANCE", "a", "2"), ("BALANCE", "b", "5")),
        welfare="23",
        bound="23",
        lost="0",
        cash={"buyers": "40", "suppliers": "25", "link_rent": "15"},
    )


def work() -> tuple[Book, Outcome]:
    """Five chip-hours at most four a time: four in the cheap hour, one beside firm load."""
    book = Book(
        spec=spec(hours=2),
        sites=(site(),),
        pools=(pool(),),
        offers=(hourly("s", (4, "2"), (4, "3")),),
        step_bids=(firm("f", (3, "6")),),
        work_bids=(
            WorkBid(
                order_id="w",
                participant_id="lab",
                where=at("n"),
                first=0,
                stop=2,
                work=ChipSeconds(5 * HOUR),
                max_chips=Chips(4),
                limit_price=usd("4"),
            ),
        ),
    )
    return book, outcome(
        book,
        prices=(
            pool_price("3.5", low="2", high="6"),
            pool_price("3", interval=1, high=CAP),
        ),
        awards=(award(book, "s", 4, 4), award(book, "f", 3), award(book, "w", 1, 4)),
        answers=(
            ("s", FULL, Reason.AT_THE_PRICE, "6", "0", "0"),
            ("f", FULL, Reason.IN_THE_MONEY, "7.5", "0", "0"),
            ("w", FULL, Reason.IN_THE_MONEY, "4.5", "0", "0"),
        ),
        duals=(("BALANCE", "n", "3.5"), ("BALANCE", "n", "3", 1)),
        welfare="18",
        bound="18",
        lost="0",
        cash={"buyers": "26", "suppliers": "26"},
    )


def shiftable() -> tuple[Book, Outcome]:
    """A gang takes the cheapest of three hours; one with a profile takes 2, 0 and 1 chips."""
    book = Book(
        spec=spec(hours=3),
        sites=(site(),),
        pools=(pool(),),
        offers=(hourly("s", (10, "2"), (10, "1"), (10, "3")),),
        block_bids=(
            replace(gang("g", 6, "2.5"), latest_start=2),
            replace(gang("p", 2, "3"), duration=3, profile=(Chips(2), Chips(0), Chips(1))),
        ),
    )
    return book, outcome(
        book,
        prices=(
            pool_price("2"),
            pool_price("1", interval=1),
            pool_price("3", interval=2),
        ),
        awards=(
            award(book, "s", 2, 6, 1),
            award(book, "g", 6, first=1),
            award(book, "p", 2, 0, 1),
        ),
        answers=(
            ("s", PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("g", FULL, Reason.IN_THE_MONEY, "9", "0", "0"),
            ("p", FULL, Reason.IN_THE_MONEY, "2", "0", "0"),
        ),
        duals=(("BALANCE", "n", "2"), ("BALANCE", "n", "1", 1), ("BALANCE", "n", "3", 2)),
        welfare="11",
        bound="11",
        lost="0",
        cash={"buyers": "13", "suppliers": "13"},
    )


def site_gang() -> tuple[Book, Outcome]:
    """A gang that names one backup, and one that finds it too dear; two kinds of spare in b.

    Pool b sells nothing: its six chips stand by, four for the gang at A and two for the four
    covered chips of base load there (theta one half). Base load pays 2 x 2 dollars a chip:
    half of mu_N, 2. The gang pays pi 2 and mu_S 1. At a mu_S of 0.50 the bound is 3 for the
    spare chips, 10 for the gang, nothing for the other one.
    """
    covered = replace(gang("g", 4, "5"), cover=Cover.SITE, where=at("a", "b"), participant_id="lab")
    book = replace(
        two_sites(
            offers=(offer("sa", (8, "2"), where="a"), offer("sb", (6, "9"), where="b")),
            block_bids=(covered, replace(covered, order_id="h", limit_price=usd("2.5"))),
            nominations=(replace(base("n", 4, "b", ()), cover=Cover.NODE, backup_pool_ids=()),),
        ),
        pools=(pool("a", site="A"), pool("b", site="B", theta=500_000)),
    )
    return book, outcome(
        book,
        prices=(
            pool_price("2", name="a"),
            pool_price(
                "4",
                name="b",
                spare="2",
                node_cover="1",
                site_spare="1",
                low="0",
                high="9",
                indicative=True,
            ),
        ),
        backup_prices=(BackupPrice(site_id="A", pool_id="b", interval=0, price=usd("1")),),
        awards=(
            award(book, "sa", 4),
            award(book, "sb", 0, reserve=2, site_reserve=(4,)),
            award(book, "g", 4, where="a", backups=(("b", 4),)),
            award(book, "n", 4),
        ),
        answers=(
            ("sa", PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("sb", NONE, Reason.OUT_OF_THE_MONEY, "8", "5", "0"),
            ("g", FULL, Reason.IN_THE_MONEY, "8", "0", "0"),
            ("h", NONE, Reason.OUT_OF_THE_MONEY, "0", "0.5", "0"),
            ("n", FULL, Reason.BASE_SERVED, "-4", "0", "0"),
        ),
        duals=(
            ("BALANCE", "a", "2"),
            ("BALANCE", "b", "9"),
            ("SITE_COVER", "b", "0.5", 0, "A"),
        ),
        welfare="12",
        bound="13",
        lost="4",
        cash={"buyers": "16", "suppliers": "8", "spare": "8"},
    )


KINDS: tuple[Callable[[], tuple[Book, Outcome]], ...] = (
    site_loss,
    backup_shortage,
    least_fill,
    linked,
    exclusive,
    start_up,
    base_forces_a_start,
    link,
    work,
    shiftable,
    supply_block,
    three_leaves,
    one_fits,
    stays,
    below_zero,
    site_gang,
)
