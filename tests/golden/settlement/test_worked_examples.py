"""Worked cash examples of the settlement rules, to the micro-USD.

Numbers are those of docs/reference/settlement (examples 1, 4a, 5a, 6, 7b, 8) and two own
hours. The examples of spot are in test_spot_examples.py, 5b in test_corrections.py, 9 in
test_credits.py.
"""

from __future__ import annotations

import pytest

from clearing.types import Cover, ServiceClass
from clearing.units import Chips, ChipSeconds, MicroUsd, MicroUsdPerChipHour, energy_charge
from settlement.ledger import accounts
from settlement.metering.billable import metering_intervals
from settlement.postings import payable
from settlement.storage.store import Balance
from settlement.types import ContractHour, TransferCode
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
    with_hours,
)

COMMUNITY = accounts.community("site-a")


def test_example_1_firm_8_chips_one_hour() -> None:
    firm = contract("bid", 8, legs(4 * DOLLAR))
    world = World(assignment(firm, prices=(price(4 * DOLLAR),)))
    world.close()
    assert world.cash("F") == -36_160_000
    assert world.cash("S1") == 32_000_000
    assert world.posted(COMMUNITY) == 4_000_000
    assert world.posted(accounts.OPERATOR_FEE) == 160_000
    assert world.broken({"bid": 4_520_000}) == []


def test_example_4a_three_failures_at_three_spot_prices() -> None:
    firm = contract("bid", 16, legs(3 * DOLLAR))
    world = World(assignment(firm, prices=(price(3 * DOLLAR),)))
    cells = metering_intervals(HOUR)
    spot = tuple(
        price(energy, held=cell)
        for cell, energy in zip(cells, (3_600_000, 2_400_000, 9_000_000), strict=False)
    )
    postings = world.close(metered(firm, failed={0: 2400, 1: 2400, 2: 2400}), spot=spot)
    credit = [t for t in postings.transfers if t.code is TransferCode.FAILURE_CREDIT]
    assert [t.amount for t in credit] == [2_400_000 + 2_000_000 + 4_000_000]
    assert {t.reason for t in credit} == {"SUPPLIER_FAILURE"}
    assert world.cash("F") == -46_880_000
    assert world.cash("S1") == 39_600_000
    assert world.posted(COMMUNITY) == 7_000_000
    assert world.posted(accounts.OPERATOR_FEE) == 280_000
    assert world.posted(accounts.POOL) == 0
    assert world.broken({"bid": 3_520_000}) == []


def test_example_5a_unresolved_gap() -> None:
    firm = contract("bid", 8, legs(3 * DOLLAR, cover=100_000), cover=Cover.NODE)
    world = World(
        assignment(
            firm,
            prices=(price(3 * DOLLAR, cover=100_000),),
            spare=(standby("offer-spare", "spare", 8, 100_000),),
        )
    )
    world.close(metered(firm, gap=4_800))
    assert world.cash("F") == -24_133_333
    assert world.cash("S1") == 19_866_667
    assert world.cash("spare") == 800_000
    assert world.posted(COMMUNITY) == 3_333_333
    assert world.posted(accounts.OPERATOR_FEE) == 133_333
    assert world.posted(accounts.POOL) == 0
    assert world.broken({"bid": 3_620_000}) == []


def test_example_6_make_whole_is_earned_per_delivered_chip_second() -> None:
    flat = legs(5 * DOLLAR, surcharge=0, fee=0)
    gang = contract("gang", 12, flat, buyer="gang", supplier="S")
    step = contract("step", 4, flat, buyer="step", supplier="S")
    world = World(
        assignment(
            gang,
            step,
            prices=(price(5 * DOLLAR),),
            make_whole=(plan("gang", "gang", 12 * DOLLAR, {"S": 12 * DOLLAR}, gang),),
        )
    )
    cell = metering_intervals(HOUR)[3]
    world.close(metered(gang, failed={3: 3600}), spot=(price(4_500_000, held=cell),))
    assert world.cash("step") == -20_000_000
    assert world.cash("gang") == -44_000_000
    assert world.cash("S") == 64_000_000
    assert world.broken({"gang": 4 * DOLLAR, "step": 8 * DOLLAR}) == []


def test_example_7b_spare_shares_what_came_in() -> None:
    flat = legs(3 * DOLLAR, cover=20_000, surcharge=0, fee=0)
    firm = contract("bid", 24, flat, cover=Cover.NODE)
    world = World(
        assignment(
            firm,
            prices=(price(3 * DOLLAR, cover=20_000),),
            spare=(standby("offer-spare", "spare", 8, 1 * DOLLAR),),
        )
    )
    world.close()
    assert world.cash("F") == -72_480_000
    assert world.cash("S1") == 72_000_000
    assert world.cash("spare") == 480_000
    assert world.broken() == []


def test_example_7a_before_the_call_cover_pays_interruptibles_and_spare() -> None:
    firm = contract(
        "firm", 32, legs(3 * DOLLAR, cover=500_000, surcharge=0, fee=0), cover=Cover.NODE
    )
    other = contract(
        "int",
        8,
        legs(3 * DOLLAR, discount=1 * DOLLAR, surcharge=0, fee=0),
        buyer="I",
        service_class=ServiceClass.INTERRUPTIBLE,
    )
    world = World(
        assignment(
            firm,
            other,
            prices=(price(3 * DOLLAR, cover=500_000, availability=1 * DOLLAR),),
            spare=(standby("offer-spare", "spare", 8, 1 * DOLLAR),),
        )
    )
    world.close()
    assert world.cash("F") == -112_000_000
    assert world.cash("I") == -16_000_000
    assert world.cash("S1") == 120_000_000
    assert world.cash("spare") == 8_000_000
    assert world.broken() == []


def test_example_8_payouts_floor_to_the_cent() -> None:
    bill = energy_charge(MicroUsdPerChipHour(500_000), ChipSeconds(26_248))
    balance = Balance(
        asset="USD", account=COMMUNITY, posted=bill, pending_debit=0, pending_credit=0
    )
    assert bill == 3_645_556
    assert payable(balance) == 3_640_000
    assert bill - payable(balance) == 5_556


def test_own_hour_with_gap_and_shortfall_at_provisional_prices() -> None:
    """F 8 chips: pi 3, kap .2, m .1, g 3.30. One chip out for 300 s, one interval unread.

    Failed 300 cs at the stand-in price (= contract): supplier owes 3.00 -> .25, buyer is
    owed 3.30 -> .275; step 1 of the ladder asks the supplier (D 6.30) for the rest.
    Gap 2,400 cs: 3.30 x 2/3 = 2.20 from supplier to buyer. Delivered 28,800 - 2,700 =
    26,100 cs = 7.25 chip-hours: surcharge 3.625, fee .145. Leg 26.40; supply 24.00.
    """
    firm = contract("bid", 8, legs(3 * DOLLAR, power=200_000, cover=100_000), cover=Cover.NODE)
    world = World(assignment(firm, prices=(price(3 * DOLLAR, power=200_000, cover=100_000),)))
    postings = world.close(metered(firm, failed={5: 300}, gap=2_400, tflops=989))
    assert world.cash("F") == -26_400_000 + 275_000 + 2_200_000 - 3_625_000 - 145_000
    assert world.cash("S1") == 24_000_000 - 275_000 - 2_200_000
    assert world.posted(accounts.rent("site-a")) == 1_600_000
    assert world.posted(accounts.POOL) == 800_000  # cover money: nobody stood by
    assert world.posted(accounts.compute("F"), "TFLOP:BF16") == 26_100 * 989
    assert {t.reason for t in postings.transfers if t.code is TransferCode.FAILURE} == {
        "SPOT_PRICE_PROVISIONAL"
    }
    assert world.broken({"bid": 3_820_000}) == []


def test_own_hour_idle_supply_draws_on_the_pool_then_on_the_pools_suppliers() -> None:
    """S1 sells 8, S2 8, only 8 are taken at 3: 48 due, 24 received, nothing in the pool."""
    firm = contract("bid", 8, legs(3 * DOLLAR, surcharge=0, fee=0))
    idle = standby("offer-S2", "S2", 8, 3 * DOLLAR)
    world = World(assignment(firm, prices=(price(3 * DOLLAR),), idle=(idle,)))
    world.close()
    assert world.cash("F") == -24_000_000
    assert (world.cash("S1"), world.cash("S2")) == (12_000_000, 12_000_000)
    assert world.broken() == []
    assert payable(world.books.balance(accounts.cash("S1"))) == MicroUsd(12_000_000)


@pytest.mark.parametrize(
    ("failed_hour", "made_whole"),
    [
        # Out in the dear hour: 10 comes back, nothing is left to make whole beyond pro rata.
        (1, 8 * DOLLAR),
        # Out in the cheap hour, which gives nothing back: pro rata alone would be 8 of 16.
        (0, 16 * DOLLAR),
    ],
)
def test_own_gang_in_uneven_hours_never_pays_more_than_its_limit(
    failed_hour: int, made_whole: int
) -> None:
    """8 chips, limit 4, prices 0 and 10: bill 80, limit 64, make-whole 16."""
    hours = (HOUR, interval(1))
    prices = (0, 10 * DOLLAR)
    gang = with_hours(
        contract("gang", 8, legs(0), buyer="gang", supplier="S", hours=hours),
        *(
            ContractHour(interval=held, chips=Chips(8), legs=legs(p, surcharge=0, fee=0))
            for held, p in zip(hours, prices, strict=True)
        ),
    )
    world = World(
        assignment(
            gang,
            prices=tuple(price(p, held=held) for held, p in zip(hours, prices, strict=True)),
            intervals=hours,
            make_whole=(plan("gang", "gang", 16 * DOLLAR, {"other": 16 * DOLLAR}, gang),),
        )
    )
    for index, held in enumerate(hours):
        lost = dict.fromkeys(range(12), 2400) if index == failed_hour else {}
        world.close(metered(gang, held, failed=lost), held=held)
    paid = sum(t.applied for t in world.applied if t.transfer.code is TransferCode.MAKE_WHOLE)
    assert paid == made_whole
    assert world.cash("gang") >= -64 * DOLLAR
    assert world.broken({"gang": 4 * DOLLAR}) == []
