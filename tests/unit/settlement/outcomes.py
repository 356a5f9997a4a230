"""Outcomes by hand: awards and prices for a book, in whole chips and micro-USD."""

from __future__ import annotations

from collections.abc import Mapping

from clearing.outcome import (
    Award,
    Backup,
    BackupPrice,
    Cash,
    Certificate,
    Fill,
    MakeWhole,
    OrderOutcome,
    Outcome,
    PoolPrice,
    Reason,
    RunStatus,
    Side,
)
from clearing.types import (
    BlockBid,
    Book,
    Cover,
    Nomination,
    Offer,
    ServiceClass,
    StepBid,
    WorkBid,
)
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, Ppm, PriceSeconds
from settlement.assignment import Assignment
from settlement.contracts import assign

NO_CASH = Cash(**{name: MicroUsd(0) for name in Cash.__dataclass_fields__})


Order = Offer | StepBid | BlockBid | WorkBid | Nomination


def orders_of(book: Book) -> tuple[Order, ...]:
    return (*book.offers, *book.step_bids, *book.block_bids, *book.work_bids, *book.nominations)


def pool_price(pool_id: str, interval: int, **parts: int) -> PoolPrice:
    """A price from its parts; those not named are zero."""
    names = (
        "energy", "power", "node_cover", "spare", "availability", "recall_discount",
        "surcharge", "fee", "site_spare",
    )  # fmt: skip
    given = {name: MicroUsdPerChipHour(parts.get(name, 0)) for name in names}
    plain = given["energy"] + given["power"] + given["surcharge"] + given["fee"]
    discount = given["availability"] + given["recall_discount"]
    return PoolPrice(
        pool_id=pool_id,
        interval=interval,
        firm=MicroUsdPerChipHour(plain + given["node_cover"]),
        firm_uncovered=MicroUsdPerChipHour(plain),
        interruptible=MicroUsdPerChipHour(plain - discount),
        interruptible_uncounted=MicroUsdPerChipHour(plain),
        indicative=False,
        low=given["energy"],
        high=given["energy"],
        **given,
    )


def backup_price(site_id: str, pool_id: str, interval: int, price: int) -> BackupPrice:
    return BackupPrice(
        site_id=site_id, pool_id=pool_id, interval=interval, price=MicroUsdPerChipHour(price)
    )


def award(
    book: Book,
    order_id: str,
    pool_id: str,
    *chips: int,
    first: int = 0,
    reserve: tuple[int, ...] = (),
    site_reserve: tuple[int, ...] = (),
    backups: Mapping[str, tuple[int, ...]] | None = None,
) -> Award:
    """An award of an order of the book; side, class and cover are the order's."""
    order = next(item for item in orders_of(book) if item.order_id == order_id)
    side, service_class, cover = Side.SUPPLY, ServiceClass.FIRM, Cover.NONE
    if isinstance(order, Nomination):
        side, service_class, cover = Side.BASE, ServiceClass.BASE_LOAD, order.cover
    elif not isinstance(order, Offer):
        side, service_class, cover = Side.DEMAND, order.service_class, order.cover
    return Award(
        order_id=order_id,
        participant_id=order.participant_id,
        side=side,
        pool_id=pool_id,
        service_class=service_class,
        cover=cover,
        first=first,
        chips=tuple(map(Chips, chips)),
        reserve=tuple(map(Chips, reserve or (0,) * len(chips))),
        site_reserve=tuple(map(Chips, site_reserve)),
        backups=tuple(
            Backup(pool_id=name, chips=tuple(map(Chips, found)))
            for name, found in sorted((backups or {}).items())
        ),
    )


def outcome(
    book: Book,
    prices: tuple[PoolPrice, ...],
    awards: tuple[Award, ...],
    *,
    backup_prices: tuple[BackupPrice, ...] = (),
    make_whole: tuple[MakeWhole, ...] = (),
) -> Outcome:
    """Awards and prices as an outcome whose other parts say nothing."""
    return Outcome(
        auction_id=book.spec.auction_id,
        book_sha256="",
        seed="",
        engine="by hand",
        status=RunStatus.OPTIMAL,
        prices=tuple(sorted(prices, key=lambda price: (price.pool_id, price.interval))),
        awards=tuple(sorted(awards, key=lambda item: (item.order_id, item.pool_id))),
        orders=tuple(
            OrderOutcome(
                order_id=order.order_id,
                participant_id=order.participant_id,
                fill=Fill.FULL,
                reason=Reason.IN_THE_MONEY,
                surplus=PriceSeconds(0),
                shortfall=MicroUsdPerChipHour(0),
                foregone=PriceSeconds(0),
                detail="",
            )
            for order in sorted(orders_of(book), key=lambda order: order.order_id)
        ),
        make_whole=make_whole,
        certificate=Certificate(
            duals=(),
            welfare=PriceSeconds(0),
            bound=PriceSeconds(0),
            gains=PriceSeconds(1),
            lost_opportunity=PriceSeconds(0),
        ),
        cash=NO_CASH,
        backup_prices=backup_prices,
    )


def assigned(book: Book, found: Outcome) -> Assignment:
    """Contracts of an outcome; base load is supplied by ``base-supplier``."""
    return assign(
        book,
        found,
        derates={pool.pool_id: Ppm(1_000_000) for pool in book.pools},
        precisions={pool.chip_class: "BF16" for pool in book.pools},
        nomination_suppliers={item.entitlement_id: "base-supplier" for item in book.nominations},
    )
