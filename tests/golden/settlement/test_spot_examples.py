"""Worked cash examples of the spot layer, to the micro-USD: reclaims, recalls, calls, derates.

Numbers are those of the settlement rules' worked examples 2, 3, 4, 5c, 7a, 7c and 10.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from clearing.types import Cover, ServiceClass
from clearing.units import ChipSeconds, MicroUsdPerChipHour, UnixSeconds
from settlement.assignment import Assignment
from settlement.ledger import accounts
from settlement.postings.rebates import rent_rebates, rents_of
from settlement.spot.result import LinkMove, Reclaim, Replacement, SpotResult
from settlement.types import Contract, TransferCode
from tests.golden.settlement.test_site_cover import site_loss
from tests.unit.settlement.builders import (
    DOLLAR,
    World,
    assignment,
    contract,
    legs,
    price,
    standby,
)
from tests.unit.settlement.spot_world import (
    UNREAD,
    at,
    bought,
    close,
    derate,
    fund_pool,
    purchase,
    recall,
    reclaim,
    replacement,
    sale,
    spot,
)

FREE: Final[Any] = {"surcharge": 0, "fee": 0}
COMMUNITY = accounts.community("site-a")
I = ServiceClass.INTERRUPTIBLE  # noqa: E741 - the rules' letter


def interruptible(
    name: str, chips: int, energy: int, *, buyer: str = "I", supplier: str = "S", **parts: int
) -> Contract:
    return contract(
        name, chips, legs(energy, **parts), buyer=buyer, supplier=supplier, service_class=I
    )


def totals(world: World, *names: str) -> dict[str, int]:
    """Micro-USD by participant, community, fee and pool."""
    found = {name: world.cash(name) for name in names}
    return found | {
        "community": world.posted(COMMUNITY),
        "fee": world.posted(accounts.OPERATOR_FEE),
        "pool": world.posted(accounts.POOL),
    }


def test_2a_displaced_by_a_better_bid() -> None:
    held = interruptible("I", 24, 2 * DOLLAR)
    world = World(assignment(held, prices=(price(2 * DOLLAR),)))
    spike = bought("F2", 16, legs(2_500_000), buyer="F2")
    close(
        world,
        spot(
            0,
            at(2_500_000),
            reclaims=(reclaim(held, 8),),
            purchases=(purchase(spike, 5 * DOLLAR),),
            supply=(sale("S", 8),),
        ),
    )
    assert totals(world, "I", "F2", "S") == {
        "I": -58_466_667,
        "F2": -4_026_667,
        "S": 49_666_666,
        "community": 12_333_334,
        "fee": 493_334,
        "pool": 0,
    }
    assert world.books.open_holds() == ()
    assert world.broken({"I": 2_520_000}) == []


def test_2b_a_reclaimed_gang_gets_its_contract_price_from_the_spike() -> None:
    held = interruptible("I", 16, 3 * DOLLAR)
    world = World(assignment(held, prices=(price(3 * DOLLAR),)))
    spike = bought("F2", 16, legs(2 * DOLLAR), buyer="F2")
    close(
        world,
        spot(
            0,
            at(2 * DOLLAR),
            reclaims=(reclaim(held, 16),),
            purchases=(purchase(spike, 5 * DOLLAR - 520_000),),
        ),
    )
    assert totals(world, "I", "F2", "S") == {
        "I": -51_626_666,
        "F2": -4_693_334,
        "S": 48_000_000,
        "community": 8_000_000,
        "fee": 320_000,
        "pool": 0,
    }
    assert world.books.open_holds() == ()
    assert world.broken({"I": 3_520_000}) == []


@pytest.mark.parametrize(
    ("energy", "discount", "buyer", "supplier", "pool"),
    [
        (3_500_000, 1 * DOLLAR, -18_146_667, 21_666_667, 666_666),
        (1_500_000, 500_000, -18_480_001, 22_000_000, 666_667),
    ],
)
def test_2c_reclaimed_chips_replace_failed_ones(
    energy: int, discount: int, buyer: int, supplier: int, pool: int
) -> None:
    firm = contract("F", 8, legs(3 * DOLLAR, cover=1 * DOLLAR), cover=Cover.NODE)
    held = interruptible("I", 8, 3 * DOLLAR, supplier="S2", discount=1 * DOLLAR)
    world = World(
        assignment(
            firm, held, prices=(price(3 * DOLLAR, cover=1 * DOLLAR, availability=1 * DOLLAR),)
        )
    )
    close(
        world,
        spot(
            0,
            at(energy, availability=discount),
            reclaims=(reclaim(held, 8),),
            replacements=(replacement(firm, 8, by="S2"),),
        ),
        tflops=989,
    )
    assert totals(world, "F", "I", "S1", "S2") == {
        "F": -36_160_000,
        "I": buyer,
        "S1": supplier,
        "S2": 24_000_000,
        "community": 7_666_667,
        "fee": 306_667,
        "pool": pool,
    }
    # What S2's chips served for S1 is S2's compute.
    assert world.posted(accounts.compute("S1"), "TFLOP:BF16") == -8 * 3300 * 989
    assert world.posted(accounts.compute("S2"), "TFLOP:BF16") == -8 * 3600 * 989
    assert world.books.open_holds() == ()
    assert world.broken({"F": 4_520_000, "I": 2_520_000}) == []


@pytest.mark.parametrize(
    ("energy", "holder", "buyer"),
    [(2_400_000, 37_093_334, -53_733_334), (1_200_000, 37_493_334, -54_133_334)],
)
def test_3_nominated_released_and_recalled_base_load(energy: int, holder: int, buyer: int) -> None:
    registered = legs(0, contract=2_200_000)
    nominated = contract(
        "nom", 8, registered, buyer="H", supplier="U", service_class=ServiceClass.BASE_LOAD
    )
    released = interruptible("I", 24, 1_800_000, supplier="H")
    world = World(
        assignment(nominated, released, prices=(price(1_800_000),), released=("offer-H",))
    )
    back = bought(
        "back",
        8,
        registered,
        buyer="H",
        supplier="U",
        service_class=ServiceClass.BASE_LOAD,
    )
    close(
        world,
        spot(
            0,
            at(energy),
            reclaims=(reclaim(released, 8),),
            recalls=(recall(back, "offer-H"),),
        ),
    )
    assert totals(world, "H", "I", "U") == {
        "H": holder,
        "I": buyer,
        "U": 0,
        "community": 16_000_000,
        "fee": 640_000,
        "pool": 0,
    }
    # Outside the exchange, take or pay: 32 chips at 2.20.
    assert 32 * 2_200_000 == 70_400_000
    assert world.books.open_holds() == ()
    assert world.broken({"I": 2_320_000}) == []


def test_4b_own_node_down_and_the_interruptibles_node_takes_over() -> None:
    firm = contract("F", 16, legs(3 * DOLLAR, cover=1 * DOLLAR), cover=Cover.NODE)
    held = interruptible("I", 8, 3 * DOLLAR, supplier="S1", discount=2 * DOLLAR)
    world = World(
        assignment(
            firm, held, prices=(price(3 * DOLLAR, cover=1 * DOLLAR, availability=2 * DOLLAR),)
        )
    )
    close(
        world,
        spot(
            0,
            at(5 * DOLLAR, availability=2 * DOLLAR),
            reclaims=(reclaim(held, 8),),
            replacements=(replacement(firm, 8, by="S1"),),
        ),
    )
    assert totals(world, "F", "I", "S1") == {
        "F": -72_320_000,
        "I": -9_813_334,
        "S1": 68_666_667,
        "community": 11_666_667,
        "fee": 466_667,
        "pool": 1_333_333,
    }
    assert world.books.open_holds() == ()
    assert world.broken() == []


def test_4c_the_stop_loss_binds_and_bystanders_find_the_rest() -> None:
    firm = contract("F", 16, legs(3 * DOLLAR, cover=200_000), cover=Cover.NODE)
    other = interruptible("I", 16, 3 * DOLLAR, supplier="S3")
    world = World(
        assignment(
            firm,
            other,
            prices=(price(3 * DOLLAR, cover=200_000),),
            spare=(standby("offer-S2", "S2", 8, 400_000),),
        )
    )
    fund_pool(world, 1_500_000)
    close(
        world,
        spot(
            0,
            at(9 * DOLLAR),
            replacements=(replacement(firm, 8, by="S2", order="offer-S2"),),
        ),
    )
    assert totals(world, "F", "I", "S1", "S2", "S3") == {
        "F": -59_520_000,
        "I": -56_320_000,
        "S1": 43_866_667,
        "S2": 9_177_083,
        "S3": 47_656_250,
        "community": 16_000_000,
        "fee": 640_000,
        "pool": 0,
    }
    assert world.posted(accounts.BANK) == -1_500_000
    assert world.books.open_holds() == ()
    assert world.broken() == []


def test_4d_three_causes_of_one_reclaim() -> None:
    parts = [
        interruptible(f"I{n}", 8, 3 * DOLLAR, supplier=supplier, **FREE)
        for n, supplier in enumerate(("S1", "S2", "H"), start=1)
    ]
    world = World(assignment(*parts, prices=(price(3 * DOLLAR),), released=("offer-H",)))
    spike = bought("F2", 8, legs(2 * DOLLAR, **FREE), buyer="F2", supplier="S2")
    back = bought(
        "back",
        8,
        legs(0, contract=2_200_000, **FREE),
        buyer="H",
        supplier="U",
        service_class=ServiceClass.BASE_LOAD,
    )
    firm_of_s1 = parts[0]
    close(
        world,
        spot(
            0,
            at(2 * DOLLAR),
            reclaims=tuple(reclaim(item, 8) for item in parts[1:]),
            purchases=(purchase(spike, 5 * DOLLAR),),
            recalls=(recall(back, "offer-H"),),
        ),
        healthy={("pool-a", firm_of_s1.contract_id, 0): 0},
    )
    assert world.cash("I") == -66_000_000
    assert world.cash("S1") == 21_555_555
    assert world.cash("S2") == 24_000_000
    assert world.cash("H") == 22_222_222
    assert world.cash("F2") == -1_777_777
    assert world.posted(accounts.POOL) == 0
    assert world.books.open_holds() == ()
    assert world.broken({"I1": 3 * DOLLAR, "I2": 3 * DOLLAR, "I3": 3 * DOLLAR}) == []


def test_5c_gap_of_an_interruptible() -> None:
    held = interruptible("I", 8, 3 * DOLLAR, supplier="S1", discount=1 * DOLLAR)
    firm = contract("F", 8, legs(3 * DOLLAR, cover=1 * DOLLAR), cover=Cover.NODE)
    world = World(
        assignment(
            firm, held, prices=(price(3 * DOLLAR, cover=1 * DOLLAR, availability=1 * DOLLAR),)
        )
    )
    unread = {("pool-a", held.contract_id, index): UNREAD for index in (5, 6)}
    close(world, healthy=unread)
    assert totals(world, "F", "I", "S1") == {
        "F": -36_160_000,
        "I": -16_799_999,
        "S1": 44_000_000,
        "community": 7_333_333,
        "fee": 293_333,
        "pool": 1_333_333,
    }
    assert world.books.open_holds() == ()
    assert world.broken({"F": 4_520_000, "I": 2_520_000}) == []


def test_7a_a_called_spare_keeps_its_cover_money_and_earns_spot() -> None:
    firm = contract("F", 32, legs(3 * DOLLAR, cover=500_000, **FREE), cover=Cover.NODE)
    held = interruptible("I", 8, 3 * DOLLAR, supplier="S1", discount=1 * DOLLAR, **FREE)
    world = World(
        assignment(
            firm,
            held,
            prices=(price(3 * DOLLAR, cover=500_000, availability=1 * DOLLAR),),
            spare=(standby("offer-spare", "spare", 8, 1 * DOLLAR),),
        )
    )
    close(
        world,
        spot(
            0,
            at(2_400_000),
            replacements=(replacement(firm, 8, by="spare", order="offer-spare"),),
        ),
    )
    assert totals(world, "F", "I", "S1", "spare") == {
        "F": -112_000_000,
        "I": -16_000_000,
        "S1": 118_000_000,
        "spare": 9_600_000,
        "community": 0,
        "fee": 0,
        "pool": 400_000,
    }
    assert world.books.open_holds() == ()
    assert world.broken() == []


def test_a_spare_that_does_not_answer_repays_the_hours_cover_money() -> None:
    """Own numbers: 8 spare at mu 1 earn 8.00; called for 8 chips, 3 of them never serve: 3.00."""
    firm = contract("F", 32, legs(3 * DOLLAR, cover=250_000, **FREE), cover=Cover.NODE)
    again = World(
        assignment(
            firm,
            prices=(price(3 * DOLLAR, cover=250_000),),
            spare=(standby("offer-spare", "spare", 8, 1 * DOLLAR),),
        )
    )
    close(
        again,
        spot(
            0,
            at(2_400_000),
            replacements=(replacement(firm, 8, by="spare", order="offer-spare"),),
        ),
        healthy={("pool-a", firm.contract_id, 0): 5 * 300},
    )
    assert [
        (t.transfer.debit, t.transfer.credit, t.applied)
        for t in again.applied
        if t.transfer.code is TransferCode.CALL_FAILURE
    ] == [("p:spare:cash", "p:F:cash", 3_000_000)]
    assert again.broken() == []


def moved_to_site_b(settled: Assignment) -> SpotResult:
    """Site A is lost for 300 s: F's six chips go to B, three spare ones and three of I_B."""
    parts = {item.order_id: item for item in settled.contracts}
    base = spot(0, at(3 * DOLLAR, pool="A"), at(8 * DOLLAR, pool="B", recall_discount=5 * DOLLAR))
    (hour,) = settled.intervals
    cell = replace(base.interval, start=hour.start, end=UnixSeconds(hour.start + 300))

    def served(order: str) -> Replacement:
        return replacement(
            parts["F"], 3, by="of SB", order=order, pool="B", site="sB", surcharge=600_000
        )

    return replace(
        base,
        auction_id=settled.auction_id,
        interval=cell,
        prices=tuple(replace(item, interval=cell) for item in base.prices),
        reclaims=(Reclaim(contract_id=parts["I"].contract_id, quantity=ChipSeconds(900)),),
        replacements=(served("SB"), served("")),
    )


def test_7c_a_lost_site_is_replaced_at_the_backup() -> None:
    _, world = site_loss(sA=500_000, sB=600_000)
    parts = {item.order_id: item for item in world.assignment.contracts}
    (hour,) = world.assignment.intervals
    close(
        world,
        moved_to_site_b(world.assignment),
        healthy={("A", parts["J"].contract_id, 0): 0},
        held=hour,
    )
    assert world.cash("of F") == -51_000_000
    assert world.cash("of I") == -9_900_000
    assert world.cash("of J") == -12_833_333
    assert world.cash("of SA") == 24_950_000
    assert world.cash("of SB") == 41_000_000
    assert world.posted(accounts.POOL) == 1_250_000
    assert world.posted(accounts.community("sA")) == 4_583_333
    assert world.posted(accounts.community("sB")) == 1_950_000
    assert world.books.open_holds() == ()
    assert world.broken() == []


def test_10a_a_site_buys_its_derate_back_and_power_rent_is_rebated() -> None:
    flat = legs(2 * DOLLAR, power=2 * DOLLAR, **FREE)
    first = contract("b1", 8, flat, buyer="b1", supplier="S")
    second = contract("b2", 2, flat, buyer="b2", supplier="S")
    world = World(assignment(first, second, prices=(price(2 * DOLLAR, power=2 * DOLLAR),)))
    close(
        world,
        spot(
            0,
            at(2 * DOLLAR, power=2_500_000),
            derates=(derate(second, 2),),
        ),
        healthy={("pool-a", second.contract_id, 0): 0},
    )
    assert world.posted(accounts.rent("site-a")) == 20 * DOLLAR
    world.post(
        rent_rebates(
            world.assignment,
            world.assignment.contracts,
            [item.delivered for item in world.metered],
            rents_of(item.transfer for item in world.applied),
        )
    )
    assert world.cash("b1") == -15_728_814
    assert world.cash("b2") == -3_521_186
    assert world.cash("S") == 19_250_000
    assert world.posted(accounts.rent("site-a")) == 0
    assert world.posted(accounts.POOL) == 0
    assert world.books.open_holds() == ()
    assert world.broken({"b1": 5 * DOLLAR, "b2": 4 * DOLLAR}) == []


def test_10b_a_link_owner_buys_its_derate_back_at_the_spread() -> None:
    flat = replace(
        legs(2 * DOLLAR, contract=5 * DOLLAR, **FREE), link=MicroUsdPerChipHour(3 * DOLLAR)
    )
    far = replace(
        contract("b", 10, flat, buyer="b", supplier="SA", pool="pool-b"),
        link_id="cable",
        supply_pool_id="pool-a",
    )
    world = World(
        assignment(far, prices=(price(2 * DOLLAR, pool="pool-a"), price(5 * DOLLAR, pool="pool-b")))
    )
    close(
        world,
        spot(
            0,
            at(2 * DOLLAR, pool="pool-a"),
            at(6 * DOLLAR, pool="pool-b"),
            supply=(sale("SA", -4, pool="pool-a"), sale("SB", 4, pool="pool-b")),
            links=(
                LinkMove(
                    link_id="cable",
                    from_pool_id="pool-a",
                    to_pool_id="pool-b",
                    quantity=ChipSeconds(4 * 300),
                ),
            ),
        ),
    )
    assert world.cash("b") == -50_000_000
    assert world.cash("SA") == 19_333_333
    assert world.cash("SB") == 2_000_000
    assert world.posted(accounts.link("cable")) == 28_666_667
    assert world.posted(accounts.POOL) == 0
    assert world.books.open_holds() == ()
    assert world.broken({"b": 6 * DOLLAR}) == []
