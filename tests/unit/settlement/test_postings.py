from __future__ import annotations

from dataclasses import replace

import pytest

from clearing.types import (
    AuctionSpec,
    BlockBid,
    Conversion,
    Eligibility,
    Nomination,
    Offer,
    Segment,
    ServiceClass,
    Step,
    StepBid,
    WorkBid,
)
from clearing.units import Chips, ChipSeconds, MicroUsd, MicroUsdPerChipHour, Ppm
from settlement.assignment import Assignment
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.ledger.books import Applied, Books
from settlement.metering.billable import MeteredHour
from settlement.postings import (
    award_postings,
    deposit,
    hour_postings,
    order_hold,
    order_hold_id,
    payable,
    payout,
    release_hold,
)
from settlement.postings.failure import split_capped
from settlement.postings.orders import Order
from settlement.storage.store import Balance
from settlement.types import Phase, TransferCode
from tests.unit.settlement.builders import (
    DOLLAR,
    HOUR,
    World,
    assignment,
    contract,
    interval,
    legs,
    metered,
    plan,
    price,
    standby,
)

SPEC = AuctionSpec(auction_id="da-1", intervals=(interval(0), interval(1)))
WHERE = Eligibility(pool_ids=("pool-a",))


def steps(*parts: tuple[int, int]) -> tuple[Segment, ...]:
    made = tuple(Step(price=MicroUsdPerChipHour(p), chips=Chips(c)) for p, c in parts)
    return (Segment(first=0, stop=2, steps=made),)


def block(**more: object) -> BlockBid:
    bid = BlockBid(
        order_id="o", participant_id="lab", where=WHERE, earliest_start=0, latest_start=1,
        duration=1, chips=Chips(8), limit_price=MicroUsdPerChipHour(4_000_000),
    )  # fmt: skip
    return replace(bid, **more)  # type: ignore[arg-type]


WORST_CASES: list[tuple[Order, int]] = [
    (
        StepBid(
            order_id="o", participant_id="lab", where=WHERE,
            segments=steps((5_000_000, 8), (4_000_000, 16)),
        ),
        2 * (40_000_000 + 64_000_000),
    ),
    (block(), 32_000_000),
    (
        block(latest_start=0, duration=2, chips=Chips(16), profile=(Chips(16), Chips(8))),
        4 * 24_000_000,
    ),
    (block(conversions=(Conversion(chip_class="c", factor_ppm=Ppm(1_500_000)),)), 48_000_000),
    (block(conversions=(Conversion(chip_class="c", factor_ppm=Ppm(500_000)),)), 32_000_000),
    (
        WorkBid(
            order_id="o", participant_id="lab", where=WHERE, first=0, stop=2,
            work=ChipSeconds(5_400), max_chips=Chips(8), limit_price=MicroUsdPerChipHour(1),
        ),
        2,
    ),
    (
        Offer(order_id="o", participant_id="lab", pool_id="p", segments=steps((2_000_000, 8))),
        32_000_000,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("order", "amount"), WORST_CASES)
def test_acceptance_holds_the_worst_case(order: Order, amount: int) -> None:
    hold = order_hold(SPEC, order)
    assert hold is not None
    assert (hold.amount, hold.phase, hold.debit) == (amount, Phase.PENDING, "p:lab:cash")
    assert hold.transfer_id == order_hold_id("da-1", "o")
    released = release_hold(hold, "CANCELLED")
    books = Books()
    assert isinstance(books.apply(hold), Applied)
    assert books.available_to("lab") == -amount
    assert isinstance(books.apply(released), Applied)
    assert books.available_to("lab") == 0


def test_a_nomination_is_held_at_award_only() -> None:
    nomination = Nomination(
        order_id="n", entitlement_id="e", participant_id="lab", pool_id="p", segments=steps((1, 8))
    )
    assert order_hold(SPEC, nomination) is None


def test_award_replaces_acceptance_holds_by_contract_holds() -> None:
    firm = contract("bid", 8, legs(3 * DOLLAR, power=100_000))
    hold = order_hold(SPEC, block(order_id="bid", participant_id="F"))
    assert hold is not None
    books = Books()
    books.apply(hold)
    postings = award_postings(assignment(firm, prices=(price(3 * DOLLAR),)), {"bid": hold})
    books.apply_all(postings)
    held = {item.transfer_id.split("/")[0]: item for item in books.open_holds()}
    assert {name: item.amount for name, item in held.items()} == {
        "leg-hold": 24_800_000,
        "surcharge-hold": 4_000_000,
        "fee-hold": 160_000,
        # D - pi_c = 3.10 + 3.00 - 3.00
        "stop-loss-hold": 24_800_000,
    }
    assert held["stop-loss-hold"].debit == "p:S1:cash"
    assert books.available_to("F") == -28_960_000


def test_base_load_holds_the_whole_stop_loss_because_its_price_is_paid_outside() -> None:
    base = contract(
        "nom", 8, legs(0, contract=2_000_000), service_class=ServiceClass.BASE_LOAD, supplier="B"
    )
    world = World(assignment(base, prices=(price(3 * DOLLAR),)))
    assert world.books.balance("p:B:cash").pending_debit == 8 * 4_000_000
    world.close(metered(base, gap=28_800))
    assert (world.cash("B"), world.cash("F")) == (-16_000_000, 16_000_000)
    assert world.broken() == []


def test_stop_loss_binds_then_premium_then_pool_then_other_suppliers() -> None:
    """D = 4 + 0 (k 0 %); 3,600 cs fail at spot pi 9 with kap .5: owed 9.50, paid 4.00.

    Missing 5.50: premiums above 4.00 shrink by what the stop-loss withheld (5.00); the rest
    .50 comes from the pool (.20) and the other supplier's earnings (.30).
    """
    firm = contract("bid", 8, legs(4 * DOLLAR, surcharge=0, fee=0), stop_loss_ppm=0)
    other = contract("two", 8, legs(4 * DOLLAR, surcharge=0, fee=0), buyer="G", supplier="S2")
    world = World(assignment(firm, other, prices=(price(4 * DOLLAR),)))
    world.transfer(
        replace(
            deposit("x", MicroUsd(200_000), "pool"),
            credit=accounts.POOL,
            code=TransferCode.RESIDUAL,
        )
    )
    world.close(
        metered(firm, failed={0: 2_400, 1: 1_200}),
        spot=(price(9 * DOLLAR, power=500_000),),
    )
    assert world.cash("S1") == 32_000_000 - 4_000_000
    assert world.cash("S2") == 32_000_000 - 300_000
    assert world.cash("F") == -32_000_000 + 4_500_000
    assert world.posted(accounts.POOL) == 0
    assert world.broken() == []


def test_failing_suppliers_pay_missing_money_inside_their_limit_first() -> None:
    """g_c 3.40 > pi_s 3.00: the refund includes power, which the supplier bears (R6 step 1)."""
    firm = contract("bid", 8, legs(3 * DOLLAR, power=400_000, surcharge=0, fee=0))
    world = World(assignment(firm, prices=(price(3 * DOLLAR, power=400_000),)))
    world.close(metered(firm, failed={0: 1_800}))
    assert world.cash("F") == -27_200_000 + 1_700_000
    assert world.cash("S1") == 24_000_000 - 1_700_000
    assert world.posted(accounts.POOL) == 0


def test_a_surplus_of_failure_money_goes_to_the_pool() -> None:
    """An interruptible at g_c 1.00 fails at pi 3.00: 3.00 paid, spot I 1.00 owed."""
    item = contract(
        "int", 8, legs(3 * DOLLAR, discount=2 * DOLLAR, surcharge=0, fee=0), buyer="I",
        service_class=ServiceClass.INTERRUPTIBLE,
    )  # fmt: skip
    firm = contract("bid", 16, legs(3 * DOLLAR, cover=1 * DOLLAR, surcharge=0, fee=0))
    world = World(
        assignment(item, firm, prices=(price(3 * DOLLAR, cover=DOLLAR, availability=2 * DOLLAR),))
    )
    world.close(metered(item, failed={0: 1_800}))
    assert world.cash("I") == -8_000_000 + 500_000
    assert world.posted(accounts.POOL) == 1_000_000
    assert world.broken() == []


def test_discounts_beyond_cover_money_are_paid_by_pool_and_suppliers_not_by_buyers() -> None:
    item = contract(
        "int", 8, legs(3 * DOLLAR, discount=1 * DOLLAR, surcharge=0, fee=0), buyer="I",
        service_class=ServiceClass.INTERRUPTIBLE,
    )  # fmt: skip
    spare = standby("sp", "S3", 8, 1 * DOLLAR)
    world = World(assignment(item, prices=(price(3 * DOLLAR),), spare=(spare,)))
    world.close()
    assert (world.cash("I"), world.cash("S1"), world.cash("S3")) == (-16_000_000, 16_000_000, 0)
    assert world.broken({"int": 2 * DOLLAR}) == []


def test_spare_pays_its_power_out_of_its_cover_money() -> None:
    firm = contract("bid", 8, legs(3 * DOLLAR, cover=DOLLAR, power=100_000, surcharge=0, fee=0))
    world = World(
        assignment(
            firm,
            prices=(price(3 * DOLLAR, cover=DOLLAR, power=100_000),),
            spare=(standby("sp", "S3", 8, 900_000),),
        )
    )
    world.close()
    assert world.cash("S3") == 7_200_000
    assert world.posted(accounts.rent("site-a")) == 1_600_000
    assert world.posted(accounts.POOL) == 0


def test_make_whole_waits_for_the_last_hour_and_needs_the_earlier_ones() -> None:
    hours = (interval(0), interval(1))
    gang = contract("gang", 8, legs(3 * DOLLAR, surcharge=0, fee=0), hours=hours)
    settled = assignment(
        gang,
        prices=(price(3 * DOLLAR), price(3 * DOLLAR, held=hours[1])),
        intervals=hours,
        make_whole=(plan("gang", "F", 1_000, {"S2": 600, "rent:site-a": 300, "F": 100}, gang),),
    )
    world = World(settled)
    world.close(metered(gang, gap=2_400))
    assert world.cash("S2") == 0
    with pytest.raises(SettlementError) as caught:
        hour_postings(settled, hours[1], [metered(gang, hours[1])], pool_balance=0)
    assert caught.value.code is SettlementErrorCode.READING_MISSING
    world.close(held=hours[1])
    # 55,200 of 57,600 chip-seconds: 958 of 1,000; a family does not pay itself.
    assert world.cash("S2") == -575
    assert world.posted(accounts.rent("site-a")) == -287
    assert world.broken() == []


def test_bills_of_linked_orders_are_judged_together() -> None:
    """At 3 the parent (limit 2.50) pays 4 x .50 too much, the child (limit 4) 12 x 1 too little."""
    parent = contract("parent", 4, legs(3 * DOLLAR, surcharge=0, fee=0))
    child = contract("child", 12, legs(3 * DOLLAR, surcharge=0, fee=0))
    limits = {"parent": 2_500_000, "child": 4_000_000}
    settled = assignment(parent, child, prices=(price(3 * DOLLAR),))
    linked, apart = World(settled, {"child": "parent"}), World(settled)
    linked.close()
    apart.close()
    assert linked.broken(limits) == []
    (broken,) = apart.broken(limits)
    assert (broken.name, broken.detail.split()[0]) == ("6_bills_within_limits", "parent")
    # A family that loses is found all the same.
    assert linked.broken({**limits, "child": 3_100_000})


def test_a_participant_that_serves_itself_moves_no_compute() -> None:
    own = contract("bid", 8, legs(3 * DOLLAR, surcharge=0, fee=0), buyer="S1")
    world = World(assignment(own, prices=(price(3 * DOLLAR),)))
    world.close(metered(own, tflops=5))
    assert world.cash("S1") == 0
    assert world.posted(accounts.compute("S1"), "TFLOP:BF16") == 0
    assert world.broken() == []


FIRM = contract("bid", 8, legs(3 * DOLLAR))
SETTLED = assignment(FIRM, prices=(price(3 * DOLLAR),))
GOOD = metered(FIRM)
LIES = replace(GOOD, delivered=replace(GOOD.delivered, delivered=ChipSeconds(1)))
STRANGER = metered(contract("other", 8, legs(3 * DOLLAR)))

BAD_HOURS: list[tuple[Assignment, tuple[MeteredHour, ...], SettlementErrorCode]] = [
    (SETTLED, (), SettlementErrorCode.READING_MISSING),
    (SETTLED, (GOOD, GOOD), SettlementErrorCode.READING_MISMATCH),
    (SETTLED, (GOOD, STRANGER), SettlementErrorCode.READING_MISMATCH),
    (SETTLED, (LIES,), SettlementErrorCode.READING_MISMATCH),
    (replace(SETTLED, intervals=()), (GOOD,), SettlementErrorCode.INTERVAL_UNKNOWN),
    (replace(SETTLED, prices=()), (GOOD,), SettlementErrorCode.PRICE_MISSING),
]


@pytest.mark.parametrize(("settled", "readings", "code"), BAD_HOURS)
def test_an_hour_that_cannot_be_settled_is_refused_by_name(
    settled: Assignment, readings: tuple[MeteredHour, ...], code: SettlementErrorCode
) -> None:
    with pytest.raises(SettlementError) as caught:
        hour_postings(settled, HOUR, readings, pool_balance=0)
    assert caught.value.code is code


def test_spot_prices_that_miss_a_failed_interval_are_refused() -> None:
    with pytest.raises(SettlementError) as caught:
        hour_postings(
            SETTLED, HOUR, [metered(FIRM, failed={0: 1})], pool_balance=0,
            spot=(price(1, pool="pool-b"),),
        )  # fmt: skip
    assert caught.value.code is SettlementErrorCode.SPOT_PRICE_MISSING


def test_deposits_and_payouts() -> None:
    books = Books()
    assert isinstance(books.apply(deposit("lab", MicroUsd(5), "ref-1")), Applied)
    assert books.balance("p:lab:collateral").posted == 5
    assert books.balance(accounts.BANK).posted == -5
    out = payout(accounts.community("s"), MicroUsd(20_000), "pay-1")
    assert (out.debit, out.credit, out.code) == ("community:s", "bank", TransferCode.PAYOUT)
    with pytest.raises(SettlementError) as nothing:
        deposit("lab", MicroUsd(0), "r")
    assert nothing.value.code is SettlementErrorCode.AMOUNT_NOT_POSITIVE
    with pytest.raises(SettlementError) as uneven:
        payout("x", MicroUsd(15), "r")
    assert uneven.value.code is SettlementErrorCode.PAYOUT_NOT_WHOLE_CENTS


def balance(posted: int, held: int = 0) -> Balance:
    return Balance(asset="USD", account="a", posted=posted, pending_debit=held, pending_credit=0)


@pytest.mark.parametrize(
    ("cash", "collateral", "amount"),
    [
        (balance(25_000), None, 20_000),
        (balance(-25_000), None, 0),
        (balance(50_000, 20_000), None, 30_000),
        (balance(50_000, 20_000), balance(100_000), 50_000),
        (balance(50_000, 20_000), balance(0), 30_000),
        (balance(50_000, 90_000), balance(10_000), 0),
    ],
)
def test_payable(cash: Balance, collateral: Balance | None, amount: int) -> None:
    assert payable(cash, collateral) == amount


def test_split_capped_refills_what_a_cap_refuses() -> None:
    assert split_capped(10, [1, 1, 2], [1, 100, 4], ["a", "b", "c"]) == [1, 5, 4]
    assert split_capped(10, [1, 0], [3, 9], ["a", "b"]) == [3, 0]
    assert split_capped(0, [], [], []) == []
