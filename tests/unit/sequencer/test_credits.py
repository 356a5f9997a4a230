"""Credits books: gates, budgets, what a round gives, credits that expire."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from clearing import codec
from clearing.types import Cover, Step
from clearing.units import Chips, MicroUsdPerChipHour, UnixSeconds
from iso_exchange import commands as c
from iso_exchange import credit_commands as k
from iso_exchange.auctioneer.credits import Given, give
from iso_exchange.auctioneer.work import Failed
from iso_exchange.sequencer.credit_rounds import (
    expiry_postings,
    freeze_round,
    reserved_of,
    round_seed,
    spendable,
)
from iso_exchange.sequencer.credit_state import CreditBook, CreditRound, RoundState
from iso_exchange.sequencer.effects import Accepted
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.succession import open_business
from settlement.credits import asset_of, overspent
from settlement.ledger import accounts
from tests.unit.sequencer.spot_world import market_terms
from tests.unit.sequencer.world import FIRST, World, registered

HOUR = 3_600
CREDIT = 1_000_000
ASSET = asset_of("lab")
FAR = FIRST + 100 * HOUR


def hour(place: int) -> UnixSeconds:
    return UnixSeconds(FIRST + place * HOUR)


def opening(world: World, **changes: Any) -> k.OpenCredits:
    values: dict[str, Any] = {
        "header": world.header("lab"),
        "book_id": "shared",
        "entitlement_id": "ent-1",
        "first_start": hour(0),
        "interval_seconds": HOUR,
        "interval_count": 2,
        "gate_lead_s": 600,
        "price_cap": 100 * CREDIT,
        "tick": 1_000,
        "reserve_price": 0,
    }
    return k.OpenCredits(**{**values, **changes})


def shared(chips: int = 32, **changes: Any) -> World:
    """A lab with 32 chips for four hours, and two teams."""
    world = registered()
    world.must(world.entitlement(chips=chips, cover=Cover.NONE))
    for team in ("red", "blue", "stranger"):
        world.must(world.participant(team, c.Role.BUYER))
    world.must(opening(world, **changes))
    return world


def grant(world: World, team: str, amount: int, **changes: Any) -> k.GrantCredits:
    values: dict[str, Any] = {
        "header": world.header("lab"),
        "grant_id": f"for-{team}",
        "team_id": team,
        "amount": amount * CREDIT,
        "expiry": UnixSeconds(FAR),
    }
    return k.GrantCredits(**{**values, **changes})


def bid(world: World, team: str, chips: int, limit: float, **changes: Any) -> k.BidCredits:
    values: dict[str, Any] = {
        "header": world.header(team),
        "bid_id": f"{team}-1",
        "book_id": "shared",
        "start": hour(0),
        "end": hour(2),
        "chips": Chips(chips),
        "limit_price": MicroUsdPerChipHour(int(limit * CREDIT)),
        "whole": False,
    }
    return k.BidCredits(**{**values, **changes})


def book_of(world: World) -> CreditBook:
    return world.state.credit_books["shared"]


def close(world: World, start: int = 0) -> CreditRound:
    """The gate of the round that begins in an hour."""
    world.now = hour(start) - 600
    frozen = freeze_round(world.state, book_of(world), hour(start), UnixSeconds(world.now))
    count, root = frozen.count_and_root()
    world.must(
        k.CloseCreditRound(
            header=world.header("exchange"),
            book_id="shared",
            start=hour(start),
            bid_count=count,
            book_root=root,
        )
    )
    return book_of(world).rounds[hour(start)]


def documents(world: World, decided: CreditRound) -> Given:
    book, pools = book_of(world), world.state.pools.values()
    found = give(
        decided.book,
        round_seed(book.round_id(decided.start), decided.book_root),
        book.organisation,
        {item.pool.pool_id: item.derate_ppm for item in pools},
        {item.pool.chip_class: item.precision for item in pools},
    )
    assert isinstance(found, Given), found
    return found


def submit(world: World, decided: CreditRound, found: Given) -> Accepted | Rejected:
    bodies = (found.book, found.outcome, found.assignment, found.postings)
    digests = [hashlib.sha256(body) for body in bodies]
    return world.apply(
        k.PublishCreditRound(
            header=world.header("exchange"),
            book_id="shared",
            start=UnixSeconds(decided.start),
            book_sha256=digests[0].hexdigest(),
            outcome_sha256=digests[1].hexdigest(),
            assignment_sha256=digests[2].hexdigest(),
            postings_sha256=digests[3].hexdigest(),
        ),
        {item.digest(): body for item, body in zip(digests, bodies, strict=True)},
    )


def disclose(world: World, decided: CreditRound, failed: str = "") -> None:
    world.must(
        k.DiscloseCreditRound(
            header=world.header("exchange"),
            book_id="shared",
            start=UnixSeconds(decided.start),
            failed=failed,
        )
    )


def decide(world: World, start: int = 0) -> CreditRound:
    """A whole round."""
    decided = close(world, start)
    answer = submit(world, decided, documents(world, decided))
    assert isinstance(answer, Accepted), answer
    disclose(world, decided)
    return decided


def given(decided: CreditRound) -> dict[str, list[int]]:
    """Chips by bid and interval."""
    assert decided.assignment is not None
    found: dict[str, list[int]] = {}
    for contract in decided.assignment.contracts:
        row = found.setdefault(contract.order_id, [0, 0])
        for item in contract.hours:
            row[(item.interval.start - decided.start) // HOUR] += item.chips
    return found


def balance(world: World, team: str) -> int:
    return world.state.books.balance(accounts.team(team), ASSET).posted


def test_the_dearer_bid_runs_and_the_price_is_what_the_other_would_have_paid() -> None:
    world = shared()
    for team in ("red", "blue"):
        world.must(grant(world, team, 1_000))
    world.must(bid(world, "red", 24, 5))
    world.must(bid(world, "blue", 24, 3))
    decided = decide(world)
    assert given(decided) == {"red-1": [24, 24], "blue-1": [8, 8]}
    assert decided.assignment is not None
    # Blue is served in part, so its limit is the price: two hours of 24 and of 8 chips at 3.
    assert {price.energy for price in decided.assignment.prices} == {3 * CREDIT}
    assert balance(world, "red") == (1_000 - 2 * 24 * 3) * CREDIT
    assert balance(world, "blue") == (1_000 - 2 * 8 * 3) * CREDIT
    books = world.state.books
    assert books.balance(accounts.TREASURY, ASSET).posted == -(2_000 - 2 * 32 * 3) * CREDIT
    books.check()
    assert overspent(books.balances()) == ()
    assert not [item for item in books.open_holds() if item.asset == ASSET]
    assert decided.state is RoundState.PUBLISHED


def test_a_budget_cuts_divisible_bids_down_and_leaves_gangs_out() -> None:
    world = shared()
    world.must(grant(world, "red", 100))
    world.must(grant(world, "blue", 100))
    # Two hours at 5: ten credits a chip; a hundred carry eight chips of sixteen.
    world.must(bid(world, "red", 16, 5))
    world.must(bid(world, "blue", 16, 5, whole=True))
    decided = close(world)
    assert decided.short == {"red-1": 8, "blue-1": 16}
    assert decided.reserved == {"red": 80 * CREDIT}
    assert spendable(world.state, "lab", "red", UnixSeconds(world.now)) == 20 * CREDIT
    answer = submit(world, decided, documents(world, decided))
    assert isinstance(answer, Accepted)
    assert given(decided) == {"red-1": [8, 8]}
    assert reserved_of(world.state, "lab", "red") == 0
    # Nobody else wants the chips: they cost nothing.
    assert balance(world, "red") == 100 * CREDIT


def test_a_gang_gets_all_of_it_or_nothing_and_a_reserve_price_is_kept() -> None:
    world = shared(reserve_price=2 * CREDIT)
    for team in ("red", "blue"):
        world.must(grant(world, team, 1_000))
    world.must(bid(world, "red", 24, 4, whole=True))
    world.must(bid(world, "blue", 16, 3, whole=True))
    decided = decide(world)
    assert given(decided) == {"red-1": [24, 24]}
    assert balance(world, "red") == (1_000 - 2 * 24 * 2) * CREDIT
    world.must(bid(world, "blue", 16, 1, start=hour(2), end=hour(4)))
    decided = decide(world, 2)
    assert given(decided) == {}


def test_what_the_lab_released_is_not_shared_out() -> None:
    world = shared()
    world.must(grant(world, "red", 1_000))
    step = Step(price=MicroUsdPerChipHour(0), chips=Chips(8))
    world.must(
        c.Nominate(
            header=world.header("lab"),
            nomination_id="nom-1",
            entitlement_id="ent-1",
            auction_id="da-1",
            segments=(c.TimedSegment(start=hour(0), end=hour(1), steps=(step,)),),
        )
    )
    world.must(bid(world, "red", 32, 4))
    # Eight chips in the first hour; in the second the nomination says nothing, so nothing is used.
    assert given(decide(world)) == {"red-1": [8, 0]}


def test_what_the_lab_released_in_spot_is_not_shared_out() -> None:
    world = shared()
    world.must(market_terms(world))
    world.must(grant(world, "red", 1_000))
    step = Step(price=MicroUsdPerChipHour(CREDIT), chips=Chips(8))
    world.must(
        c.Release(
            header=world.header("lab"),
            release_id="rel-1",
            entitlement_id="ent-1",
            auction_id="spot",
            segments=(c.TimedSegment(start=hour(1), end=hour(2), steps=(step,)),),
        )
    )
    world.must(bid(world, "red", 32, 4))
    assert given(decide(world)) == {"red-1": [32, 24]}


def test_unspent_credits_expire_the_earliest_grant_first() -> None:
    world = shared()
    world.must(grant(world, "red", 100, grant_id="early", expiry=hour(1)))
    world.must(grant(world, "red", 50, grant_id="late"))
    world.must(grant(world, "blue", 500))
    world.must(bid(world, "red", 8, 2))
    world.must(bid(world, "blue", 32, 2))
    decide(world)
    spent = 150 * CREDIT - balance(world, "red")
    assert 0 < spent < 100 * CREDIT
    assert expiry_postings(world.state, "lab", "red", UnixSeconds(world.now)) is None
    world.now = int(hour(1))
    assert spendable(world.state, "lab", "red", hour(1)) == 50 * CREDIT
    postings = expiry_postings(world.state, "lab", "red", hour(1))
    assert postings is not None
    body = codec.encode(postings)
    command = k.ExpireCredits(
        header=world.header("exchange"),
        organisation="lab",
        team_id="red",
        postings_sha256=hashlib.sha256(body).hexdigest(),
    )
    answer = world.apply(command, {hashlib.sha256(body).digest(): body})
    assert isinstance(answer, Accepted)
    assert balance(world, "red") == 50 * CREDIT
    team = world.state.credit_teams["lab", "red"]
    assert ([item.grant_id for item in team.grants], team.spent) == (["late"], 0)
    again = world.apply(command, {hashlib.sha256(body).digest(): body})
    assert isinstance(again, Rejected)


def test_credits_that_expired_buy_nothing_even_before_they_are_taken_back() -> None:
    world = shared()
    world.must(grant(world, "red", 100, expiry=UnixSeconds(hour(0) - 601)))
    world.must(bid(world, "red", 8, 2))
    decided = close(world)
    assert (decided.bid_count, decided.short) == (0, {"red-1": 8})


def test_a_round_that_fails_gives_and_costs_nothing() -> None:
    world = shared()
    world.must(grant(world, "red", 100))
    world.must(bid(world, "red", 8, 2, end=hour(4)))
    decided = close(world)
    disclose(world, decided, failed="no solution")
    assert (decided.state, balance(world, "red")) == (RoundState.FAILED, 100 * CREDIT)
    assert spendable(world.state, "lab", "red", UnixSeconds(world.now)) == 100 * CREDIT
    assert given(decide(world, 2)) == {"red-1": [8, 8]}


def test_a_suspended_team_is_left_out_and_the_operator_cancels_its_bids() -> None:
    world = shared()
    for team in ("red", "blue"):
        world.must(grant(world, team, 100))
        world.must(bid(world, team, 8, 2, end=hour(4)))
    header = world.header("operator")
    world.must(c.SuspendParticipant(header=header, participant_id="red", reason="unpaid"))
    assert given(decide(world)) == {"blue-1": [8, 8]}
    cancel = c.CancelAllOrders(
        header=world.header("operator"), participant_id="blue", reason="asked for"
    )
    world.must(cancel)
    assert list(book_of(world).bids) == ["red-1"]


def test_a_log_is_not_closed_over_bids_and_open_rounds() -> None:
    world = shared()
    assert not [item for item in open_business(world.state) if "credits" in item]
    world.must(grant(world, "red", 100))
    world.must(bid(world, "red", 8, 2))
    assert [item for item in open_business(world.state) if "credits book shared" in item]
    decided = close(world)
    assert not book_of(world).bids
    assert [item for item in open_business(world.state) if "credits book shared" in item]
    disclose(world, decided, failed="no solution")
    assert not [item for item in open_business(world.state) if "credits" in item]


def test_forged_results_are_refused() -> None:
    world = shared()
    for team in ("red", "blue"):
        world.must(grant(world, team, 1_000))
    world.must(bid(world, "red", 24, 5))
    world.must(bid(world, "blue", 24, 3))
    decided = close(world)
    found = documents(world, decided)
    cheaper = found.postings.replace(b'"amount":"72000000"', b'"amount":"71000000"')
    if cheaper == found.postings:
        cheaper = found.postings.replace(b"72000000", b"71000000")
    assert cheaper != found.postings
    for wrong in (
        dataclasses.replace(found, postings=cheaper),
        dataclasses.replace(found, book=b"{}"),
    ):
        answer = submit(world, decided, wrong)
        assert isinstance(answer, Rejected)
        assert answer.code is Code.WRONG_STATE
    assert decided.state is RoundState.CLOSED


def test_a_solver_that_fails_is_a_reason_and_no_crash() -> None:
    world = shared()
    world.must(grant(world, "red", 100))
    world.must(bid(world, "red", 8, 2))
    decided = close(world)
    assert isinstance(give(decided.book, b"another seed", "lab", {}, {}), Failed)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"book_id": "none"}, Code.NOT_FOUND, "book_id"),
        ({"chips": Chips(7)}, Code.NOT_NODE_MULTIPLE, "chip_count"),
        ({"chips": Chips(40)}, Code.QUANTITY_ABOVE_CAPACITY, "chip_count"),
        ({"end": hour(5)}, Code.WINDOW_OUTSIDE_AUCTION, "start_time"),
        ({"start": UnixSeconds(hour(0) + 1)}, Code.NOT_ON_INTERVAL_BOUNDARY, "start_time"),
        ({"end": hour(0)}, Code.INVALID_VALUE, "end_time"),
        (
            {"limit_price": MicroUsdPerChipHour(1_500)},
            Code.PRICE_OUTSIDE_LIMITS,
            "limit_price_micro_credits_per_chip_hour",
        ),
    ],
)
def test_bids_that_are_refused(changes: dict[str, Any], code: Code, field: str) -> None:
    world = shared()
    world.must(grant(world, "red", 100))
    refused = world.refused(dataclasses.replace(bid(world, "red", 8, 2), **changes))
    assert (refused.code, refused.field) == (code, field)


def test_who_may_do_what() -> None:
    world = shared()
    assert world.refused(bid(world, "stranger", 8, 2)).code is Code.NOT_OWNER
    assert world.refused(opening(world, book_id="twice")).field == "entitlement_id"
    other = dataclasses.replace(opening(world, book_id="other"), header=world.header("red"))
    assert world.refused(other).code is Code.NOT_OWNER
    world.must(grant(world, "red", 100))
    assert world.refused(grant(world, "red", 1)).code is Code.ALREADY_EXISTS
    assert world.refused(grant(world, "lab", 1, grant_id="own")).field == "team_id"
    assert world.refused(grant(world, "red", 0, grant_id="nothing")).code is Code.INVALID_VALUE
    late = grant(world, "red", 1, grant_id="late", expiry=UnixSeconds(world.now))
    assert world.refused(late).code is Code.WINDOW_IN_PAST
    world.must(bid(world, "red", 8, 2))
    world.must(grant(world, "blue", 100))
    taken = bid(world, "blue", 8, 2, bid_id="red-1")
    assert world.refused(taken).code is Code.ALREADY_EXISTS
    cancel = k.CancelCreditBid(header=world.header("blue"), book_id="shared", bid_id="red-1")
    assert world.refused(cancel).code is Code.NOT_FOUND
    world.must(dataclasses.replace(cancel, header=world.header("red")))
    assert book_of(world).next_start(world.now) is None, "a round without bids is none"
    shut = k.CloseCredits(header=world.header("red"), book_id="shared", reason="over")
    assert world.refused(shut).code is Code.NOT_OWNER
    world.must(dataclasses.replace(shut, header=world.header("lab")))
    assert world.refused(bid(world, "red", 8, 2)).code is Code.GATE_CLOSED


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"interval_seconds": 400}, "interval_seconds"),
        ({"interval_count": 0}, "interval_count"),
        ({"first_start": FIRST - 10 * HOUR}, "first_start_time"),
        ({"first_start": FIRST + 4 * HOUR}, "first_start_time"),
        ({"gate_lead_s": 0}, "gate_lead_seconds"),
        ({"tick": 0}, "tick_micro_credits_per_chip_hour"),
        ({"price_cap": 0}, "price_cap_micro_credits_per_chip_hour"),
        ({"reserve_price": 1_500}, "reserve_price_micro_credits_per_chip_hour"),
        ({"entitlement_id": "none"}, "entitlement_id"),
    ],
)
def test_books_that_are_refused(changes: dict[str, Any], field: str) -> None:
    world = registered()
    world.must(world.entitlement(chips=32, cover=Cover.NONE))
    assert world.refused(opening(world, **changes)).field == field
