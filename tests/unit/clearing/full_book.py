"""A small book that uses every kind of order and every optional field, and an outcome likewise."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from clearing import codec
from clearing.book import canonical
from clearing.outcome import (
    Award,
    Backup,
    BackupPrice,
    Cash,
    Certificate,
    Fill,
    Fixing,
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
    Commitment,
    Conversion,
    Cover,
    Eligibility,
    Interval,
    Link,
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
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    PriceSeconds,
    Seconds,
    UnixSeconds,
    Watts,
)

SEED = bytes(range(32))
HOURS = 4
HOUR_S = 3_600
NODE = 8


def price(dollars: int) -> MicroUsdPerChipHour:
    return MicroUsdPerChipHour(dollars * 1_000_000)


def segment(first: int, stop: int, *steps: tuple[int, int]) -> Segment:
    """Steps as (chips, dollars)."""
    return Segment(
        first=first,
        stop=stop,
        steps=tuple(Step(price=price(dollars), chips=Chips(chips)) for chips, dollars in steps),
    )


def pool(name: str, site: str, chip_class: str = "h", node: int = NODE) -> Pool:
    return Pool(
        pool_id=name,
        site_id=site,
        chip_class=chip_class,
        chips_per_node=Chips(node),
        capacity=Chips(960),
        chip_power=Watts(1_200),
        fabric="INFINIBAND_NDR",
    )


SPEC = AuctionSpec(
    auction_id="full",
    intervals=tuple(
        Interval(start=UnixSeconds(HOUR_S * t), end=UnixSeconds(HOUR_S * (t + 1)))
        for t in range(HOURS)
    ),
    operator_fee=MicroUsdPerChipHour(20_000),
    seed_commitment=hashlib.sha256(SEED).hexdigest(),
)

SITES = (
    Site(
        site_id="s1",
        surcharge=price(1),
        power_limit=Watts(5_000_000),
        region="us-south",
        country="US",
        data_residency=("US",),
        legal_controls=("US_CLOUD_ACT",),
        certifications=("SOC2_TYPE2",),
    ),
    Site(site_id="s2", surcharge=price(0), region="eu-north", country="SE"),
)

POOLS = (pool("a", "s1"), pool("b", "s2"), pool("c", "s2", "m"), pool("d", "s2", "h", 16))

BOTH = Eligibility(pool_ids=("a", "b"))

OFFERS = (
    Offer(
        order_id="o1",
        participant_id="supplier",
        pool_id="a",
        segments=(segment(0, 2, (64, 1), (64, 2)), segment(2, 4, (128, 3))),
    ),
    Offer(
        order_id="o2",
        participant_id="supplier",
        pool_id="b",
        segments=(segment(0, 4, (64, 1)),),
        commitment=Commitment(
            start_up=MicroUsd(5_000_000),
            no_load=MicroUsd(1_000_000),
            min_run_intervals=2,
            min_chips=Chips(16),
        ),
    ),
    Offer(
        order_id="o3",
        participant_id="supplier",
        pool_id="c",
        segments=(segment(0, 1, (64, 1)), segment(2, 3, (64, 1))),
        commitment=Commitment(start_up=MicroUsd(1), whole=True),
    ),
    Offer(
        order_id="o4",
        participant_id="holder",
        pool_id="a",
        segments=(segment(0, 4, (8, 0)),),
        recallable=True,
    ),
)

STEP_BIDS = (
    StepBid(
        order_id="b1",
        participant_id="lab",
        where=BOTH,
        segments=(segment(0, 4, (32, 9), (32, 8)),),
        cover=Cover.SITE,
    ),
    StepBid(
        order_id="b2",
        participant_id="lab",
        where=Eligibility(
            chip_classes=("h", "m"),
            regions=("us-south", "eu-north"),
            countries=("US",),
            data_residency=("US",),
            excluded_legal_controls=("OTHER",),
            certifications=("SOC2_TYPE2",),
            fabrics=("INFINIBAND_NDR",),
        ),
        segments=(segment(1, 2, (8, 5)),),
        service_class=ServiceClass.INTERRUPTIBLE,
        cover=Cover.NONE,
        notice_s=Seconds(900),
        conversions=(
            Conversion(chip_class="h", factor_ppm=Ppm(1_000_000)),
            Conversion(chip_class="m", factor_ppm=Ppm(1_300_000)),
        ),
    ),
)

BLOCK_BIDS = (
    BlockBid(
        order_id="g1",
        participant_id="lab",
        where=BOTH,
        earliest_start=0,
        latest_start=2,
        duration=2,
        chips=Chips(64),
        limit_price=price(7),
        min_fill_ppm=Ppm(500_000),
        initial_pool_id="a",
        restart_cost=MicroUsd(40_000),
    ),
    BlockBid(
        order_id="g2",
        participant_id="lab",
        where=BOTH,
        earliest_start=1,
        latest_start=1,
        duration=3,
        chips=Chips(48),
        limit_price=price(6),
        profile=(Chips(16), Chips(0), Chips(48)),
        exclusive_group="either",
        parent_order_id="g1",
    ),
    BlockBid(
        order_id="g3",
        participant_id="lab",
        where=Eligibility(pool_ids=("c",)),
        earliest_start=0,
        latest_start=0,
        duration=4,
        chips=Chips(8),
        limit_price=price(6),
        exclusive_group="either",
        parent_order_id="g1",
    ),
)

WORK_BIDS = (
    WorkBid(
        order_id="w1",
        participant_id="lab",
        where=BOTH,
        first=0,
        stop=4,
        work=ChipSeconds(HOUR_S * NODE * 10),
        max_chips=Chips(32),
        limit_price=price(2),
        notice_s=Seconds(60),
    ),
)

NOMINATIONS = (
    Nomination(
        order_id="n1",
        entitlement_id="e1",
        participant_id="holder",
        pool_id="a",
        segments=(segment(0, 4, (24, 2)),),
        cover=Cover.SITE,
        backup_pool_ids=("b",),
    ),
)

LINKS = (
    Link(
        link_id="l1",
        from_pool_id="a",
        to_pool_id="b",
        capacities=tuple((Chips(-8), Chips(16)) for _ in range(HOURS)),
        owner_id="carrier",
    ),
)

BOOK = canonical(
    Book(
        spec=SPEC,
        sites=SITES,
        pools=POOLS,
        offers=OFFERS,
        step_bids=STEP_BIDS,
        block_bids=BLOCK_BIDS,
        work_bids=WORK_BIDS,
        nominations=NOMINATIONS,
        links=LINKS,
    )
)


def with_spec(**changes: Any) -> Book:
    return replace(BOOK, spec=replace(SPEC, **changes))


def with_item(kind: str, number: int = 0, **changes: Any) -> Book:
    """The book with one site, pool, link or order changed."""
    items = list(getattr(BOOK, kind))
    items[number] = replace(items[number], **changes)
    changed: dict[str, Any] = {kind: tuple(items)}
    return replace(BOOK, **changed)


def pool_price(name: str, interval: int, site_spare: int = 0) -> PoolPrice:
    parts = dict.fromkeys(PoolPrice.__dataclass_fields__, MicroUsdPerChipHour(1))
    fields: dict[str, Any] = {**parts, "pool_id": name, "interval": interval}
    return PoolPrice(**{**fields, "indicative": interval == 1, "site_spare": site_spare})


DUAL = RowDual(row="BALANCE", subject="a", interval=0, value=2**60)

OUTCOME = Outcome(
    auction_id="full",
    book_sha256=codec.digest(BOOK),
    seed=SEED.hex(),
    engine="by hand",
    status=RunStatus.LIMITED,
    prices=(pool_price("a", 0), pool_price("a", 1, site_spare=4)),
    awards=(
        Award(
            order_id="b1",
            participant_id="lab",
            side=Side.DEMAND,
            pool_id="a",
            service_class=ServiceClass.FIRM,
            cover=Cover.SITE,
            first=1,
            chips=(Chips(8), Chips(16)),
            reserve=(Chips(0), Chips(0)),
            backups=(Backup(pool_id="b", chips=(Chips(8), Chips(16))),),
        ),
        Award(
            order_id="o1",
            participant_id="supplier",
            side=Side.SUPPLY,
            pool_id="a",
            service_class=ServiceClass.FIRM,
            cover=Cover.NONE,
            first=0,
            chips=(Chips(8), Chips(8)),
            reserve=(Chips(0), Chips(8)),
            site_reserve=(Chips(8), Chips(0)),
        ),
    ),
    orders=(
        OrderOutcome(
            order_id="b1",
            participant_id="lab",
            fill=Fill.PARTIAL,
            reason=Reason.AT_THE_PRICE,
            surplus=PriceSeconds(-(2**60)),
            shortfall=MicroUsdPerChipHour(0),
            foregone=PriceSeconds(0),
            detail="“quoted”\n\u2028 text",
        ),
    ),
    make_whole=(
        MakeWhole(
            order_ids=("g1", "g2"),
            amount=MicroUsd(5),
            funding=(
                FundingShare(source="o1", amount=MicroUsd(2)),
                FundingShare(source="rent:s1", amount=MicroUsd(3)),
            ),
        ),
        MakeWhole(order_ids=(), amount=MicroUsd(1), funding=()),
    ),
    certificate=Certificate(
        duals=(
            DUAL,
            RowDual(row="SITE_COVER", subject="b", interval=0, value=7, lost_site="s1"),
            RowDual(row="PACKING", subject="b", interval=0, value=5, order_id="g1"),
        ),
        welfare=PriceSeconds(2**62),
        bound=PriceSeconds(2**63),
        gains=PriceSeconds(1),
        lost_opportunity=PriceSeconds(0),
        restart_kept=PriceSeconds(9),
        leaves=(
            Leaf(fixings=(Fixing(order_id="g1", accepted=False, pool_id="a"),), duals=(DUAL,)),
            Leaf(
                fixings=(
                    Fixing(order_id="g1", accepted=True, pool_id="a"),
                    Fixing(order_id="o2", accepted=False, interval=3),
                ),
                duals=(),
            ),
        ),
    ),
    cash=Cash(**dict.fromkeys(Cash.__dataclass_fields__, MicroUsd(3))),
    backup_prices=(BackupPrice(site_id="s1", pool_id="b", interval=0, price=price(1)),),
    runs=(SupplyRun(order_id="o2", first=0, stop=2),),
    flows=(LinkFlow(link_id="l1", chips=(0, 8, -8, 0)),),
)
