from __future__ import annotations

from dataclasses import replace

import pytest

from clearing.outcome import (
    Award,
    Cash,
    Certificate,
    Fill,
    FundingShare,
    MakeWhole,
    OrderOutcome,
    Outcome,
    PoolPrice,
    Reason,
    RunStatus,
    Side,
)
from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Cover,
    Eligibility,
    Link,
    Nomination,
    Offer,
    Pool,
    Segment,
    ServiceClass,
    Site,
    Step,
    StepBid,
)
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, Ppm, PriceSeconds, Seconds
from settlement.assignment import Assignment
from settlement.contracts import assign
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.limits import highest_limits
from tests.unit.settlement.builders import World, interval

WHERE = Eligibility(pool_ids=("pool-a",))
HOURS = (interval(0), interval(1))


def curve(chips: int, price: int, stop: int = 2) -> tuple[Segment, ...]:
    step = Step(price=MicroUsdPerChipHour(price), chips=Chips(chips))
    return (Segment(first=0, stop=stop, steps=(step,)),)


def award(
    order_id: str,
    side: Side,
    *chips: int,
    reserve: tuple[int, ...] = (0, 0),
    service_class: ServiceClass = ServiceClass.FIRM,
    cover: Cover = Cover.NONE,
) -> Award:
    return Award(
        order_id=order_id,
        participant_id=f"p-{order_id}",
        side=side,
        pool_id="pool-a",
        service_class=service_class,
        cover=cover,
        first=0,
        chips=tuple(Chips(c) for c in chips),
        reserve=tuple(Chips(c) for c in reserve),
    )


def pool_price(t: int) -> PoolPrice:
    parts = {
        "energy": 3_000_000,
        "power": 200_000,
        "node_cover": 20_000,
        "spare": 1_000_000,
        "availability": 400_000,
        "recall_discount": 100_000,
        "surcharge": 500_000,
        "fee": 20_000,
    }
    plain = 3_720_000
    return PoolPrice(
        pool_id="pool-a",
        interval=t,
        indicative=False,
        firm=MicroUsdPerChipHour(plain + 20_000),
        firm_uncovered=MicroUsdPerChipHour(plain),
        interruptible=MicroUsdPerChipHour(plain - 500_000),
        interruptible_uncounted=MicroUsdPerChipHour(plain),
        low=MicroUsdPerChipHour(3_000_000),
        high=MicroUsdPerChipHour(3_000_000),
        **{name: MicroUsdPerChipHour(value) for name, value in parts.items()},
    )


BOOK = Book(
    spec=AuctionSpec(auction_id="da-1", intervals=HOURS, operator_fee=MicroUsdPerChipHour(20_000)),
    sites=(Site(site_id="site-a", surcharge=MicroUsdPerChipHour(500_000)),),
    pools=(
        Pool(
            pool_id="pool-a",
            site_id="site-a",
            chip_class="nvidia.h100-sxm5-80gb",
            chips_per_node=Chips(8),
            capacity=Chips(800),
            node_spare_ppm=Ppm(20_000),
        ),
    ),
    offers=(
        Offer(
            order_id="s1", participant_id="p-s1", pool_id="pool-a", segments=curve(64, 2_000_000)
        ),
        Offer(
            order_id="rel",
            participant_id="p-rel",
            pool_id="pool-a",
            segments=curve(8, 100_000),
            recallable=True,
        ),
    ),
    step_bids=(
        StepBid(
            order_id="firm", participant_id="p-firm", where=WHERE, segments=curve(24, 5_000_000)
        ),
        StepBid(
            order_id="int",
            participant_id="p-int",
            where=WHERE,
            segments=curve(16, 4_000_000),
            service_class=ServiceClass.INTERRUPTIBLE,
            cover=Cover.NONE,
            notice_s=Seconds(300),
        ),
    ),
    block_bids=(
        BlockBid(
            order_id="gang",
            participant_id="p-gang",
            where=WHERE,
            earliest_start=0,
            latest_start=0,
            duration=2,
            chips=Chips(16),
            min_fill_ppm=Ppm(500_000),
            limit_price=MicroUsdPerChipHour(3_700_000),
            cover=Cover.NONE,
            service_class=ServiceClass.INTERRUPTIBLE,
            notice_s=Seconds(60),
        ),
    ),
    nominations=(
        Nomination(
            order_id="nom",
            entitlement_id="ent",
            participant_id="p-nom",
            pool_id="pool-a",
            segments=curve(8, 1_500_000),
        ),
    ),
)

ORDERS = ("firm", "gang", "int", "nom", "rel", "s1")

OUTCOME = Outcome(
    auction_id="da-1",
    book_sha256="",
    seed="",
    engine="test",
    status=RunStatus.OPTIMAL,
    prices=(pool_price(0), pool_price(1)),
    awards=(
        award("firm", Side.DEMAND, 24, 16, cover=Cover.NODE),
        award(
            "gang", Side.DEMAND, 16, 16, reserve=(8, 8), service_class=ServiceClass.INTERRUPTIBLE
        ),
        award("int", Side.DEMAND, 16, 8, service_class=ServiceClass.INTERRUPTIBLE),
        award("nom", Side.BASE, 8, 8, service_class=ServiceClass.BASE_LOAD, cover=Cover.NODE),
        award("rel", Side.SUPPLY, 8, 8),
        award("s1", Side.SUPPLY, 48, 40, reserve=(8, 0)),
    ),
    orders=tuple(
        OrderOutcome(
            order_id=name,
            participant_id=f"p-{name}",
            fill=Fill.FULL,
            reason=Reason.IN_THE_MONEY,
            surplus=PriceSeconds(0),
            shortfall=MicroUsdPerChipHour(0),
            foregone=PriceSeconds(0),
            detail="",
        )
        for name in ORDERS
    ),
    make_whole=(
        MakeWhole(
            order_ids=("gang",),
            amount=MicroUsd(9),
            funding=(
                FundingShare(source="s1", amount=MicroUsd(4)),
                FundingShare(source="rent:site-a", amount=MicroUsd(5)),
            ),
        ),
    ),
    certificate=Certificate(
        duals=(),
        welfare=PriceSeconds(0),
        bound=PriceSeconds(0),
        gains=PriceSeconds(1),
        lost_opportunity=PriceSeconds(0),
    ),
    cash=Cash(**{name: MicroUsd(0) for name in Cash.__dataclass_fields__}),
)


def assigned(book: Book = BOOK, outcome: Outcome = OUTCOME, **more: dict[str, str]) -> Assignment:
    return assign(
        book,
        outcome,
        derates={"pool-a": Ppm(900_000)},
        precisions=more.get("precisions", {"nvidia.h100-sxm5-80gb": "BF16"}),
        nomination_suppliers=more.get("suppliers", {"ent": "p-base"}),
    )


def test_terms_of_each_kind_of_contract() -> None:
    found = {item.contract_id: item for item in assigned().contracts}
    firm = found["da-1/firm/pool-a/s1"]
    assert [hour.chips for hour in firm.hours] == [24, 16]
    assert firm.hours[0].legs.contract == 3_220_000
    assert firm.hours[0].legs.cover == 20_000
    assert (firm.precision, firm.derate_ppm, firm.stop_loss_ppm) == ("BF16", 900_000, 1_000_000)
    released = found["da-1/int/pool-a/rel"]
    legs = released.hours[0].legs
    assert released.supplier_id == "p-rel"
    # The holder earns energy - recall_discount; the buyer still pays the published price.
    assert (legs.energy, legs.discount, legs.contract) == (2_900_000, 400_000, 2_700_000)
    plain = found["da-1/int/pool-a/s1"].hours[0].legs
    assert (plain.energy, plain.discount, plain.contract) == (3_000_000, 500_000, 2_700_000)
    base = found["da-1/nom/pool-a/ent"]
    assert base.supplier_id == "p-base"
    assert base.service_class is ServiceClass.BASE_LOAD
    assert (base.hours[0].legs.energy, base.hours[0].legs.contract) == (0, 1_500_000)
    assert (base.hours[0].legs.power, base.hours[0].legs.cover) == (200_000, 20_000)


def test_a_block_earns_availability_only_above_its_minimum() -> None:
    found = assigned()
    gang = next(item for item in found.contracts if item.order_id == "gang")
    assert gang.hours[0].legs.discount == 100_000
    assert [(h.order_id, h.chips, h.price) for h in found.reserve_hours] == [
        ("gang", 8, 400_000),
        ("gang", 8, 400_000),
    ]


def test_spare_earns_its_price_after_power() -> None:
    (spare,) = assigned().spare_hours
    assert (spare.supplier_id, spare.chips, spare.price) == ("p-s1", 8, 800_000)


def test_nominated_chips_that_a_shortage_leaves_uncovered_get_their_cover_back() -> None:
    thin = replace(BOOK, pools=(replace(BOOK.pools[0], node_spare_ppm=Ppm(1_000_000)),))
    found = assigned(thin)
    # Standing by in hour 0: 8 spare + 8 of the gang + 16 steps, for 24 firm chips first: 8 of 8
    # nominated chips pay. In hour 1: 0 + 8 + 8 for 16: none of them.
    paid_back = [h for h in found.reserve_hours if h.order_id == "nom"]
    assert [(h.interval, h.chips, h.price, h.supplier_id) for h in paid_back] == [
        (HOURS[1], 8, 20_000, "p-nom")
    ]


def test_make_whole_plan() -> None:
    (found,) = assigned().make_whole
    assert found.payee == "p:p-gang:cash"
    assert [(s.account, s.amount) for s in found.shares] == [("rent:site-a", 5), ("p:p-s1:cash", 4)]
    assert found.awarded == 2 * 16 * 3600
    assert found.last == HOURS[1]


def test_a_negative_residual_is_funded_into_the_pool_before_the_first_hour() -> None:
    extra = MakeWhole(
        order_ids=(), amount=MicroUsd(7), funding=(FundingShare(source="nom", amount=MicroUsd(7)),)
    )
    found = assigned(outcome=replace(OUTCOME, make_whole=(*OUTCOME.make_whole, extra)))
    first = found.make_whole[0]
    assert (first.family_id, first.payee, first.last) == ("", "pool", HOURS[0])
    world = World(found)
    for held in HOURS:
        world.close(held=held)
    assert world.broken(dict(highest_limits(BOOK))) == []
    assert world.books.open_holds() == ()


REFUSALS: list[tuple[Book, Outcome, dict[str, dict[str, str]], SettlementErrorCode]] = [
    (replace(BOOK, links=(Link(link_id="l", from_pool_id="a", to_pool_id="b", capacities=()),)),
     OUTCOME, {}, SettlementErrorCode.LINKS_NOT_SETTLED),
    (BOOK, replace(OUTCOME, auction_id="other"), {}, SettlementErrorCode.AUCTION_MISMATCH),
    (BOOK, replace(OUTCOME, awards=(award("ghost", Side.DEMAND, 8),)), {},
     SettlementErrorCode.ORDER_UNKNOWN),
    (BOOK, replace(OUTCOME, prices=()), {}, SettlementErrorCode.PRICE_MISSING),
    (BOOK, replace(OUTCOME, prices=tuple(
        replace(pool_price(t), energy=MicroUsdPerChipHour(-1)) for t in (0, 1))), {},
     SettlementErrorCode.NEGATIVE_ENERGY_PRICE_NOT_SETTLED),
    (BOOK, OUTCOME, {"suppliers": {}}, SettlementErrorCode.SUPPLIER_UNKNOWN),
    (BOOK, OUTCOME, {"precisions": {}}, SettlementErrorCode.PRECISION_UNKNOWN),
]  # fmt: skip


@pytest.mark.parametrize(
    ("book", "outcome", "more", "code"), REFUSALS, ids=[code.value for *_, code in REFUSALS]
)
def test_refusals_have_a_name(
    book: Book, outcome: Outcome, more: dict[str, dict[str, str]], code: SettlementErrorCode
) -> None:
    with pytest.raises(SettlementError) as caught:
        assigned(book, outcome, **more)
    assert caught.value.code is code
