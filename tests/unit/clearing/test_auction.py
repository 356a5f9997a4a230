from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import pytest

from clearing import auction
from clearing.auction import clear
from clearing.errors import BookError, GapError, RefusedResultError
from clearing.outcome import Fill, Reason, RunStatus, Side
from clearing.search import Proof
from clearing.types import Conversion, Cover, Eligibility, PricingRule, ServiceClass, Tariff
from clearing.units import SECONDS_PER_HOUR, Chips, MicroUsd, Ppm, Watts
from clearing.verify import Check, Report, verify
from tests.golden.clearing.books import (
    SEED,
    bid,
    book,
    committed,
    gang,
    link,
    nomination,
    offer,
    pool,
    price,
    site,
    usd,
    with_spec,
    work,
)
from tests.property.random_books import SEED as RANDOM_SEED
from tests.property.random_books import random_book


def test_wrong_seed_is_refused() -> None:
    with pytest.raises(BookError) as refused:
        clear(book(offer("S", (8, "2"))), b"another")
    assert refused.value.code == "SEED_MISMATCH"


def test_empty_book_clears_to_nothing() -> None:
    outcome = clear(book(), SEED)
    assert len(outcome.awards) + len(outcome.orders) + len(outcome.make_whole) == 0
    assert [price.indicative for price in outcome.prices] == [True]
    assert outcome.status is RunStatus.OPTIMAL


def test_outcome_that_the_verifier_refuses_is_never_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finding = Check(name="BALANCE", ok=False, count=1, detail="one chip too many")
    monkeypatch.setattr(auction, "verify_canonical", lambda *_: Report(ok=False, checks=(finding,)))
    with pytest.raises(RefusedResultError, match="BALANCE: one chip too many") as refused:
        clear(book(offer("S", (8, "2"))), SEED)
    assert refused.value.checks == (("BALANCE", "one chip too many"),)
    sent = copy(refused.value)
    assert (str(sent), sent.checks) == (str(refused.value), refused.value.checks)


def test_unawarded_pool_publishes_the_range_between_bid_and_offer() -> None:
    outcome = clear(book(offer("S", (8, "4")), bid("b", (4, "3"))), SEED)
    (found,) = outcome.prices
    assert (found.indicative, found.low, found.high) == (True, price("3"), price("4"))
    assert found.low <= found.energy <= found.high


def test_order_without_a_pool_says_so() -> None:
    lost = replace(bid("b", (4, "9")), where=Eligibility(countries=("NO",)))
    outcome = clear(book(offer("S", (8, "2")), lost), SEED)
    reasons = {order.order_id: order.reason for order in outcome.orders}
    assert reasons["b"] is Reason.NO_ELIGIBLE_POOL


def test_paradoxically_rejected_gang_is_told_what_it_missed() -> None:
    # 8 chips at 2, the rest at 9: the step alone gains 7 x 6 = 42, the gang alone 8 x 3 = 24,
    # both 42 + 3 - 7 x 4 = 17. One chip at 2 is left over, so pi is 2, where the gang gains.
    outcome = clear(
        book(offer("S", (8, "2")), offer("T", (20, "9")), bid("b", (7, "8")), gang("g", 8, "5")),
        SEED,
    )
    told = next(order for order in outcome.orders if order.order_id == "g")
    assert told.fill is Fill.NONE
    assert told.reason is Reason.PARADOXICALLY_REJECTED
    assert told.foregone == 8 * (price("5") - outcome.prices[0].energy) * 3_600 > 0


def test_exclusive_group_runs_one_member() -> None:
    terms: dict[str, Any] = {"participant_id": "p", "exclusive_group": "either"}
    outcome = clear(
        book(offer("S", (20, "2")), gang("g", 8, "5", **terms), gang("h", 9, "5", **terms)), SEED
    )
    assert [award.order_id for award in outcome.awards] == ["S", "h"]


def test_conversion_factor_scales_the_value() -> None:
    # One chip of class d is worth 1.5 of the bid's: 6 there, against 4 in c; d costs 4, c 3.5.
    worth = (Conversion(chip_class="d", factor_ppm=Ppm(1_500_000)),)
    outcome = clear(
        book(
            offer("C", (8, "3.5")),
            offer("D", (8, "4"), at="B"),
            bid("b", (4, "4"), at=("A", "B"), conversions=worth),
            pools=(pool("A"), pool("B", chip_class="d")),
        ),
        SEED,
    )
    assert [(a.order_id, a.pool_id) for a in outcome.awards] == [("D", "B"), ("b", "B")]
    assert outcome.certificate.welfare == 4 * (price("6") - price("4")) * 3_600


def test_base_load_is_served_before_anything_takes_its_power() -> None:
    outcome = clear(
        book(
            offer("S", (16, "2")),
            bid("b", (16, "5")),
            nomination("n", 6),
            pools=(pool(chip_power=Watts(1_000)),),
            sites=(site(power_limit=10_000),),
        ),
        SEED,
    )
    chips = {award.order_id: sum(award.chips) for award in outcome.awards}
    assert chips == {"S": 4, "b": 4, "n": 6}
    assert next(a.side for a in outcome.awards if a.order_id == "n") is Side.BASE


def test_cover_shortage_of_base_load_enters_no_price() -> None:
    # Base load 10 at theta 50 % needs 5, all supply is 3: everything offered is held, firm
    # load that would need cover stays out, and no penalty reaches a price.
    outcome = clear(
        book(
            offer("S", (3, "2")),
            bid("b", (2, "9"), cover=Cover.NODE),
            nomination("n", 10, cover=Cover.NODE),
            pools=(pool(node_spare_ppm=Ppm(500_000)),),
        ),
        SEED,
    )
    (found,) = outcome.prices
    reasons = {order.order_id: order.reason for order in outcome.orders}
    assert reasons["n"] is Reason.COVER_SHORTAGE
    assert [(a.order_id, a.chips, a.reserve) for a in outcome.awards] == [
        ("S", (0,), (3,)),
        ("n", (10,), (0,)),
    ]
    assert found.firm <= price("100")


def test_interruptible_gang_counts_as_reserve_above_its_minimum_only() -> None:
    interruptible = ServiceClass.INTERRUPTIBLE
    outcome = clear(
        book(
            offer("S", (30, "2")),
            bid("F", (10, "9"), cover=Cover.NODE),
            gang("g", 10, "5", service_class=interruptible, least=800_000),
            pools=(pool(node_spare_ppm=Ppm(500_000), capacity=Chips(30)),),
        ),
        SEED,
    )
    counted = {a.order_id: sum(a.reserve) for a in outcome.awards}
    assert counted["g"] <= 2
    assert counted["g"] + counted["S"] == 5


def test_phases_are_told_in_order() -> None:
    told: list[str] = []
    clear(book(offer("S", (8, "2")), bid("b", (4, "5"))), SEED, told.append)
    assert told == [
        "READ",
        "CHOOSE",
        "SETTLE",
        "PRICE",
        "NODES",
        "ACCOUNT",
        "CERTIFY",
        "VERIFY",
    ]


def test_order_of_the_book_decides_nothing() -> None:
    given = random_book(17)
    turned = replace(
        given,
        pools=given.pools[::-1],
        sites=given.sites[::-1],
        offers=given.offers[::-1],
        step_bids=given.step_bids[::-1],
        block_bids=given.block_bids[::-1],
        work_bids=given.work_bids[::-1],
        nominations=given.nominations[::-1],
        links=given.links[::-1],
    )
    assert clear(turned, RANDOM_SEED) == clear(given, RANDOM_SEED)


def test_result_with_a_larger_gap_than_the_tariff_allows_is_withheld(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing = Proof(leaves=(), bound=0.0, better=None)
    monkeypatch.setattr(auction, "prove", lambda *_: nothing)
    # Seven chips for two gangs of five: 20 of welfare, 26 by one set of duals.
    gangs = book(offer("S", (7, "1")), gang("g", 5, "5"), gang("h", 5, "4"))
    assert clear(gangs, SEED).certificate.gap_ppb == 300_000_000
    strict = with_spec(gangs, tariff=Tariff(withhold_gap_ppm=Ppm(299_999)))
    with pytest.raises(GapError) as withheld:
        clear(strict, SEED)
    assert (withheld.value.gap_ppb, withheld.value.limit_ppm) == (300_000_000, 299_999)
    assert "parts per million" in str(copy(withheld.value))
    enough = with_spec(gangs, tariff=Tariff(withhold_gap_ppm=Ppm(300_000)))
    assert clear(enough, SEED).certificate.welfare == 20 * price("1") * SECONDS_PER_HOUR


def test_charges_for_room_close_what_one_set_of_duals_leaves_open() -> None:
    gangs = book(offer("S", (7, "1")), gang("g", 5, "5"), gang("h", 5, "4"))
    found = clear(gangs, SEED).certificate
    assert found.gap_ppb == 0
    assert [leaf.fixings for leaf in found.leaves] == [()]
    assert {dual.order_id for dual in found.leaves[0].duals if dual.row == "PACKING"} == {"g", "h"}


def test_branch_certificate_closes_what_room_leaves_open() -> None:
    # The gang alone fits, but the bid is worth more than it: half a gang would be best.
    gangs = book(offer("S", (7, "1")), gang("g", 5, "4"), bid("b", (4, "5")))
    found = clear(gangs, SEED).certificate
    assert found.gap_ppb == 0
    assert len(found.leaves) > 1


def test_choice_whose_loss_nobody_can_fund_is_made_again() -> None:
    # Staying at A keeps 12 of restart cost for a welfare of -2: a loss of 2 and no surplus.
    given = book(
        offer("S", (4, "4")),
        offer("T", (4, "2"), at="B"),
        gang("g", 4, "3.5", at=("A", "B"), initial_pool_id="A", restart_cost=MicroUsd(3_000_000)),
        pools=(pool("A"), pool("B")),
    )
    outcome = clear(given, SEED)
    assert verify(given, outcome).ok
    assert all(payment.funding for payment in outcome.make_whole)
    assert outcome.status is RunStatus.OPTIMAL or not outcome.awards


def test_strict_prices_leave_out_a_gang_that_would_lose() -> None:
    # Example 2 of the design: with the gang 36, and without it 24.
    given = book(
        offer("S", (16, "2")),
        bid("b", (8, "5")),
        gang("g", 12, "4"),
        pricing_rule=PricingRule.STRICT_UNIFORM,
    )
    outcome = clear(given, SEED)
    assert outcome.make_whole == ()
    assert outcome.certificate.welfare == usd("24") * SECONDS_PER_HOUR
    assert [award.order_id for award in outcome.awards] == ["S", "b"]


def test_one_book_of_many_kinds() -> None:
    given = book(
        offer("S", (20, "2"), stop=2),
        offer("T", (20, "3"), at="B", stop=2),
        offer("U", (10, "1"), stop=2, commitment=committed("4", "1", min_run_intervals=2)),
        bid("b", (10, "5"), at=("A", "B"), stop=2, cover=Cover.NODE),
        bid("c", (4, "6"), at=("A", "B"), stop=2, cover=Cover.SITE),
        gang("g", 8, "5", duration=2, least=500_000, at=("A", "B"), participant_id="lab"),
        gang("h", 4, "9", parent_order_id="g", participant_id="lab"),
        work("w", 12, "3.5", rate=8, first=0, stop=2, at=("A", "B")),
        nomination("n", 4, cover=Cover.NODE),
        link("l", "A", "B", (0, 4), (0, 4)),
        pools=(
            pool("A", node_spare_ppm=Ppm(100_000), chip_power=Watts(1_000)),
            pool("B", "z", node_spare_ppm=Ppm(100_000)),
        ),
        sites=(site(power_limit=60_000), site("z")),
        intervals=2,
    )
    outcome = clear(given, SEED)
    assert verify(given, outcome).ok
    assert {run.order_id for run in outcome.runs} == {"U"}
    assert len(outcome.flows[0].chips) == 2
    accepted = {answer.order_id for answer in outcome.orders if answer.fill is not Fill.NONE}
    assert {"b", "c", "g", "h", "w", "n"} <= accepted
