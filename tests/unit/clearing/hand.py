"""Outcomes worked out by hand: the numbers are written down, none is computed by the product.

One hour, one chip per node, prices in dollars as decimal text. The sources are the worked
examples of the design (labelled "own") and small variations of them.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal

from clearing import codec
from clearing.book import canonical
from clearing.outcome import (
    Award,
    Backup,
    BackupPrice,
    Cash,
    Certificate,
    Fill,
    FundingShare,
    Leaf,
    LinkFlow,
    MakeWhole,
    OrderOutcome,
    Outcome,
    PoolPrice,
    Reason,
    RowDual,
    RunStatus,
    Side,
    SupplyRun,
)
from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Cover,
    Eligibility,
    Interval,
    Nomination,
    Offer,
    Pool,
    Segment,
    ServiceClass,
    Site,
    Step,
    StepBid,
    WorkBid,
)
from clearing.units import (
    Chips,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    PriceSeconds,
    Seconds,
    UnixSeconds,
    Watts,
)

SEED = bytes(range(32))
HOUR = 3_600


def usd(text: str) -> MicroUsdPerChipHour:
    """Dollars to micro-USD."""
    return MicroUsdPerChipHour(int(Decimal(text).scaleb(6)))


def money(text: str) -> MicroUsd:
    """Dollars to micro-USD, as an amount."""
    return MicroUsd(usd(text))


def worth(text: str) -> PriceSeconds:
    """Dollars to price-seconds."""
    return PriceSeconds(usd(text) * HOUR)


def spec(*, hours: int = 1, fee: str = "0", floor: str = "0") -> AuctionSpec:
    """An auction of whole hours."""
    return AuctionSpec(
        auction_id="hand",
        intervals=tuple(
            Interval(start=UnixSeconds(h * HOUR), end=UnixSeconds((h + 1) * HOUR))
            for h in range(hours)
        ),
        operator_fee=usd(fee),
        price_floor=usd(floor),
        seed_commitment=hashlib.sha256(SEED).hexdigest(),
    )


def pool(
    name: str = "n", *, capacity: int = 100, theta: int = 0, power: int = 0, site: str = "z"
) -> Pool:
    """A pool with one chip per node."""
    return Pool(
        pool_id=name,
        site_id=site,
        chip_class="c",
        chips_per_node=Chips(1),
        capacity=Chips(capacity),
        chip_power=Watts(power),
        node_spare_ppm=Ppm(theta),
    )


def curve(*steps: tuple[int, str]) -> tuple[Segment, ...]:
    """One segment over the first hour."""
    return (
        Segment(
            first=0,
            stop=1,
            steps=tuple(Step(price=usd(price), chips=Chips(chips)) for chips, price in steps),
        ),
    )


def offer(name: str, *steps: tuple[int, str], where: str = "n", recallable: bool = False) -> Offer:
    return Offer(
        order_id=name,
        participant_id=f"seller-{name}",
        pool_id=where,
        segments=curve(*steps),
        recallable=recallable,
    )


def firm(
    name: str, *steps: tuple[int, str], cover: Cover = Cover.NONE, where: str = "n"
) -> StepBid:
    return StepBid(
        order_id=name,
        participant_id=f"buyer-{name}",
        where=Eligibility(pool_ids=(where,)),
        segments=curve(*steps),
        cover=cover,
    )


def interruptible(name: str, *steps: tuple[int, str], notice: int = 0, where: str = "n") -> StepBid:
    return StepBid(
        order_id=name,
        participant_id=f"buyer-{name}",
        where=Eligibility(pool_ids=(where,)),
        segments=curve(*steps),
        service_class=ServiceClass.INTERRUPTIBLE,
        cover=Cover.NONE,
        notice_s=Seconds(notice),
    )


def gang(name: str, chips: int, price: str, *, fill: int = 1_000_000, group: str = "") -> BlockBid:
    return BlockBid(
        order_id=name,
        participant_id="lab" if group else f"buyer-{name}",
        where=Eligibility(pool_ids=("n",)),
        earliest_start=0,
        latest_start=0,
        duration=1,
        chips=Chips(chips),
        limit_price=usd(price),
        min_fill_ppm=Ppm(fill),
        cover=Cover.NONE,
        exclusive_group=group,
    )


def pool_price(
    energy: str,
    *,
    name: str = "n",
    power: str = "0",
    spare: str = "0",
    node_cover: str = "0",
    availability: str = "0",
    recall: str = "0",
    surcharge: str = "0",
    fee: str = "0",
    site_spare: str = "0",
    interval: int = 0,
    low: str = "",
    high: str = "",
    indicative: bool = False,
) -> PoolPrice:
    """One price; the all-in sums follow the definitions of ``PoolPrice``."""
    plain = usd(energy) + usd(power) + usd(surcharge) + usd(fee)
    discounted = plain - usd(availability) - usd(recall)
    return PoolPrice(
        pool_id=name,
        interval=interval,
        energy=usd(energy),
        power=usd(power),
        node_cover=usd(node_cover),
        spare=usd(spare),
        availability=usd(availability),
        recall_discount=usd(recall),
        surcharge=usd(surcharge),
        fee=usd(fee),
        firm=MicroUsdPerChipHour(plain + usd(node_cover)),
        firm_uncovered=MicroUsdPerChipHour(plain),
        interruptible=MicroUsdPerChipHour(discounted),
        interruptible_uncounted=MicroUsdPerChipHour(plain),
        indicative=indicative,
        low=usd(low or energy),
        high=usd(high or energy),
        site_spare=usd(site_spare),
    )


def award(
    book: Book,
    name: str,
    *chips: int,
    reserve: int = 0,
    first: int = 0,
    where: str = "",
    site_reserve: tuple[int, ...] = (),
    backups: tuple[tuple[str, int], ...] = (),
) -> Award:
    """One award in the terms of its order; spare and backups are the same in every hour."""
    order = next(o for o in orders_of(book) if o.order_id == name)
    if isinstance(order, Offer):
        side, cover = Side.SUPPLY, Cover.NONE
        service = ServiceClass.INTERRUPTIBLE if order.recallable else ServiceClass.FIRM
    elif isinstance(order, Nomination):
        side, service, cover = Side.BASE, ServiceClass.BASE_LOAD, order.cover
    else:
        side, service, cover = Side.DEMAND, order.service_class, order.cover
    if not where:
        where = order.pool_id if isinstance(order, Offer | Nomination) else order.where.pool_ids[0]
    return Award(
        order_id=name,
        participant_id=order.participant_id,
        side=side,
        pool_id=where,
        service_class=service,
        cover=cover,
        first=first,
        chips=tuple(Chips(c) for c in chips),
        reserve=tuple(Chips(reserve) for _ in chips),
        site_reserve=tuple(Chips(c) for c in site_reserve),
        backups=tuple(
            Backup(pool_id=pool_id, chips=tuple(Chips(c) for _ in chips)) for pool_id, c in backups
        ),
    )


Answer = tuple[str, Fill, Reason, str, str, str]
"""Order, fill, reason, surplus, shortfall and foregone in dollars."""

Dual = tuple[str, str, str] | tuple[str, str, str, int] | tuple[str, str, str, int, str]
"""Row, subject, value in dollars; interval and lost site where they are not the first and none."""


def outcome(
    book: Book,
    *,
    prices: tuple[PoolPrice, ...],
    awards: tuple[Award, ...],
    answers: tuple[Answer, ...],
    duals: tuple[Dual, ...],
    welfare: str,
    bound: str,
    lost: str,
    cash: dict[str, str],
    make_whole: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (),
    gains: str = "",
    restart: str = "0",
    leaves: tuple[Leaf, ...] = (),
    backup_prices: tuple[BackupPrice, ...] = (),
    runs: tuple[SupplyRun, ...] = (),
    flows: tuple[LinkFlow, ...] = (),
) -> Outcome:
    """Assemble an outcome; amounts in dollars, the orders of a family separated by a space."""
    who = {order.order_id: order.participant_id for order in orders_of(book)}
    lines = dict.fromkeys(Cash.__dataclass_fields__, "0") | cash
    return Outcome(
        auction_id=book.spec.auction_id,
        book_sha256=codec.digest(canonical(book)),
        seed=SEED.hex(),
        engine="by hand",
        status=RunStatus.OPTIMAL,
        prices=prices,
        awards=tuple(sorted(awards, key=lambda a: (a.order_id, a.pool_id))),
        orders=tuple(
            OrderOutcome(
                order_id=name,
                participant_id=who[name],
                fill=fill,
                reason=reason,
                surplus=worth(surplus),
                shortfall=usd(shortfall),
                foregone=worth(foregone),
                detail="",
            )
            for name, fill, reason, surplus, shortfall, foregone in sorted(answers)
        ),
        make_whole=tuple(
            MakeWhole(
                order_ids=tuple(name.split()),
                amount=money(amount),
                funding=tuple(FundingShare(source=s, amount=money(a)) for s, a in funding),
            )
            for name, amount, funding in make_whole
        ),
        certificate=Certificate(
            duals=tuple(row_dual(*dual) for dual in duals),
            welfare=worth(welfare),
            bound=worth(bound),
            gains=PriceSeconds(max(1, worth(gains or welfare))),
            lost_opportunity=worth(lost),
            restart_kept=worth(restart),
            leaves=leaves,
        ),
        cash=Cash(**{line: money(amount) for line, amount in lines.items()}),
        backup_prices=backup_prices,
        runs=runs,
        flows=flows,
    )


def row_dual(
    row: str,
    subject: str,
    value: str,
    interval: int = 0,
    lost_site: str = "",
    order_id: str = "",
) -> RowDual:
    return RowDual(
        row=row,
        subject=subject,
        interval=interval,
        value=usd(value),
        lost_site=lost_site,
        order_id=order_id,
    )


def orders_of(book: Book) -> tuple[Offer | StepBid | BlockBid | WorkBid | Nomination, ...]:
    return (
        *book.offers,
        *book.step_bids,
        *book.block_bids,
        *book.work_bids,
        *book.nominations,
    )


def surcharge() -> tuple[Book, Outcome]:
    """Example 1 (own): a surcharge decides which trade happens."""
    book = Book(
        spec=spec(fee="0.02"),
        sites=(Site(site_id="z", surcharge=usd("0.48")),),
        pools=(pool(),),
        offers=(offer("s", (8, "4")),),
        step_bids=(firm("b1", (4, "4.75")), firm("b2", (4, "4.30"))),
    )
    return book, outcome(
        book,
        prices=(pool_price("4", surcharge="0.48", fee="0.02"),),
        awards=(award(book, "s", 4), award(book, "b1", 4)),
        answers=(
            ("s", Fill.PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("b1", Fill.FULL, Reason.IN_THE_MONEY, "1", "0", "0"),
            ("b2", Fill.NONE, Reason.OUT_OF_THE_MONEY, "0", "0.2", "0"),
        ),
        duals=(("BALANCE", "n", "4"),),
        welfare="1",
        bound="1",
        lost="0",
        cash={"buyers": "18", "suppliers": "16", "community": "1.92", "operator_fee": "0.08"},
    )


def losing_gang() -> tuple[Book, Outcome]:
    """Example 2 (own): a gang that loses at the price is made whole by the seller.

    A second gang of 5 at 5.50 is added and left out on purpose: it would gain 5 x 0.50 at the
    price, and with the step order it would reach 41.50 of welfare. A valid outcome need not be
    the best one; its bound says how far it may be. At dual 4 the offer gains 16 x 2, the step
    8 x 1, the gangs 0 and 5 x 1.50: 47.50.
    """
    book = Book(
        spec=spec(),
        sites=(Site(site_id="z", surcharge=usd("0")),),
        pools=(pool(),),
        offers=(offer("s", (16, "2")),),
        step_bids=(firm("b", (8, "5")),),
        block_bids=(gang("g", 12, "4"), gang("h", 5, "5.50")),
    )
    return book, outcome(
        book,
        prices=(pool_price("5"),),
        awards=(award(book, "s", 16), award(book, "b", 4), award(book, "g", 12)),
        answers=(
            ("s", Fill.FULL, Reason.IN_THE_MONEY, "48", "0", "0"),
            ("b", Fill.PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("g", Fill.FULL, Reason.MADE_WHOLE, "-12", "0", "0"),
            ("h", Fill.NONE, Reason.PARADOXICALLY_REJECTED, "0", "0", "2.5"),
        ),
        duals=(("BALANCE", "n", "4"),),
        welfare="36",
        bound="47.5",
        lost="14.5",
        cash={"buyers": "80", "suppliers": "80", "make_whole": "12"},
        make_whole=(("g", "12", (("s", "12"),)),),
    )


def power() -> tuple[Book, Outcome]:
    """Example 10 (own): ten kilowatts, a kilowatt a chip; the site's power sets the price.

    A nomination of 2 chips is added: it takes power first, so 8 chips are left to trade.
    """
    book = Book(
        spec=spec(),
        sites=(Site(site_id="z", surcharge=usd("0"), power_limit=Watts(12_000)),),
        pools=(pool(power=1_000),),
        offers=(offer("s", (16, "2")),),
        step_bids=(firm("b1", (8, "5")), firm("b2", (8, "4"))),
        nominations=(
            Nomination(
                order_id="n1",
                entitlement_id="e1",
                participant_id="holder",
                pool_id="n",
                segments=curve((2, "3")),
                cover=Cover.NONE,
            ),
        ),
    )
    return book, outcome(
        book,
        prices=(pool_price("2", power="2"),),
        awards=(
            award(book, "s", 10),
            award(book, "b1", 8),
            award(book, "b2", 2),
            award(book, "n1", 2),
        ),
        answers=(
            ("s", Fill.PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("b1", Fill.FULL, Reason.IN_THE_MONEY, "8", "0", "0"),
            ("b2", Fill.PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("n1", Fill.FULL, Reason.BASE_SERVED, "-4", "0", "0"),
        ),
        duals=(("BALANCE", "n", "2"), ("SITE_POWER", "z", "2")),
        welfare="28",
        bound="28",
        lost="0",
        cash={"buyers": "44", "suppliers": "20", "power_rent": "24"},
    )


def released_base() -> tuple[Book, Outcome]:
    """Example 7 (own): released base load serves an interruptible, which pays 0.50."""
    book = Book(
        spec=spec(),
        sites=(Site(site_id="z", surcharge=usd("0")),),
        pools=(pool(),),
        offers=(offer("s", (4, "3")), offer("r", (6, "0.5"), recallable=True)),
        step_bids=(firm("f", (6, "5")), interruptible("i", (4, "2"), notice=600)),
    )
    return book, outcome(
        book,
        prices=(pool_price("5", recall="4.5"),),
        awards=(award(book, "s", 4), award(book, "r", 4), award(book, "f", 4), award(book, "i", 4)),
        answers=(
            ("s", Fill.FULL, Reason.IN_THE_MONEY, "8", "0", "0"),
            ("r", Fill.PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("f", Fill.PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("i", Fill.FULL, Reason.IN_THE_MONEY, "6", "0", "0"),
        ),
        duals=(("BALANCE", "n", "5"), ("RECALLABLE", "n", "4.5")),
        welfare="14",
        bound="14",
        lost="0",
        cash={"buyers": "22", "suppliers": "22"},
    )


def spare_node() -> tuple[Book, Outcome]:
    """Half a chip of spare for each covered chip: 4 + 2 fill 6; firm pays 6 + 4 / 2 = 8.

    An interruptible that could stand by instead bids too little even for that.
    """
    book = Book(
        spec=spec(),
        sites=(Site(site_id="z", surcharge=usd("0")),),
        pools=(pool(theta=500_000),),
        offers=(offer("s", (6, "2")),),
        step_bids=(firm("f", (5, "8"), cover=Cover.NODE), interruptible("i", (1, "0.5"))),
    )
    return book, outcome(
        book,
        prices=(pool_price("6", spare="4", node_cover="2"),),
        awards=(award(book, "s", 4, reserve=2), award(book, "f", 4)),
        answers=(
            ("s", Fill.PARTIAL, Reason.AT_THE_PRICE, "24", "0", "0"),
            ("i", Fill.NONE, Reason.OUT_OF_THE_MONEY, "0", "5.5", "0"),
            ("f", Fill.PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
        ),
        duals=(("BALANCE", "n", "6"), ("NODE_COVER", "n", "4"), ("RECLAIMABLE", "n", "4")),
        welfare="24",
        bound="24",
        lost="0",
        cash={"buyers": "32", "suppliers": "24", "spare": "8"},
    )


def reclaimable() -> tuple[Book, Outcome]:
    """The same with an interruptible that stands by: it pays 7 - 2 = 5, no chip is spare."""
    book = Book(
        spec=spec(),
        sites=(Site(site_id="z", surcharge=usd("0")),),
        pools=(pool(theta=500_000),),
        offers=(offer("s", (6, "2")),),
        step_bids=(firm("f", (5, "8"), cover=Cover.NODE), interruptible("i", (2, "5.5"))),
    )
    return book, outcome(
        book,
        prices=(pool_price("7", spare="2", node_cover="1", availability="2"),),
        awards=(award(book, "s", 6), award(book, "f", 4), award(book, "i", 2, reserve=2)),
        answers=(
            ("s", Fill.FULL, Reason.IN_THE_MONEY, "30", "0", "0"),
            ("f", Fill.PARTIAL, Reason.AT_THE_PRICE, "0", "0", "0"),
            ("i", Fill.FULL, Reason.IN_THE_MONEY, "1", "0", "0"),
        ),
        duals=(("BALANCE", "n", "7"), ("NODE_COVER", "n", "2"), ("RECLAIMABLE", "n", "2")),
        welfare="31",
        bound="31",
        lost="0",
        cash={"buyers": "42", "suppliers": "42"},
    )


CASES = (surcharge, losing_gang, power, released_base, spare_node, reclaimable)
