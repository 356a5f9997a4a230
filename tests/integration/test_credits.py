"""A lab shares its entitlement out among two teams, over real gRPC and PostgreSQL, audited."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from clearing.types import Cover, Interval
from clearing.units import Chips, MicroUsdPerChipHour, Seconds, UnixSeconds
from iso_exchange.api.v1 import credits_pb2
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.report import Result, Step
from iso_exchange.client import BLANK_HEADER, Client, Refused, load_identity
from iso_exchange.commands import RegisterEntitlement, Role
from iso_exchange.credit_commands import (
    BidCredits,
    CancelCreditBid,
    CloseCredits,
    GrantCredits,
    OpenCredits,
)
from iso_exchange.exports.reading import read_bundle
from iso_exchange.server import Exchange
from settlement.credits import asset_of
from settlement.exports.beancount import beancount_text
from settlement.exports.hledger import hledger_text
from settlement.exports.journal import journal
from settlement.ledger import accounts
from tests.integration.market import (
    FIRST,
    Market,
    client_of,
    configuration,
    open_market,
    participant,
)
from tests.integration.test_spot import checked, until
from tests.simulation.world import balances

HOUR = 3_600
CREDIT = 1_000_000
TEAMS = ("red", "blue")
FAR = UnixSeconds(FIRST + 30 * HOUR)


def at(place: int) -> UnixSeconds:
    return UnixSeconds(FIRST + place * HOUR)


OPENING = OpenCredits(
    header=BLANK_HEADER,
    book_id="shared",
    entitlement_id="base-1",
    first_start=at(0),
    interval_seconds=Seconds(HOUR),
    interval_count=2,
    gate_lead_s=Seconds(300),
    price_cap=MicroUsdPerChipHour(100 * CREDIT),
    tick=MicroUsdPerChipHour(1_000),
    reserve_price=MicroUsdPerChipHour(0),
)


def grant(team: str, amount: int, expiry: UnixSeconds = FAR, name: str = "") -> GrantCredits:
    return GrantCredits(
        header=BLANK_HEADER,
        grant_id=name or f"for-{team}",
        team_id=team,
        amount=amount * CREDIT,
        expiry=expiry,
    )


def bid(bid_id: str, chips: int, limit: int, *, stop: int = 2, whole: bool = False) -> BidCredits:
    return BidCredits(
        header=BLANK_HEADER,
        bid_id=bid_id,
        book_id="shared",
        start=at(0),
        end=at(stop),
        chips=Chips(chips),
        limit_price=MicroUsdPerChipHour(limit * CREDIT),
        whole=whole,
    )


async def prepare(market: Market, stack: AsyncExitStack) -> dict[str, Client]:
    """Two teams, and an entitlement of 32 chips for six hours."""
    teams = {}
    for name in TEAMS:
        directory = market.exchange.issue_identity(name)
        await market.operator.send(participant(name, Role.BUYER, directory))
        teams[name] = await stack.enter_async_context(client_of(directory))
    supplier = load_identity(market.exchange.identity_directory("supplier"))
    entitlement = RegisterEntitlement(
        header=BLANK_HEADER,
        entitlement_id="base-1",
        holder_id="buyer",
        supplier_id="supplier",
        pool_id="plains-h100",
        period=Interval(start=at(0), end=at(6)),
        chips=Chips(32),
        contract_price=MicroUsdPerChipHour(1_500_000),
        cover=Cover.NONE,
    )
    await market.buyer.send(entitlement, cosigners=(supplier.signing_key,))
    await market.buyer.send(OPENING)
    await market.buyer.send(grant("red", 600))
    await market.buyer.send(grant("blue", 300, expiry=at(3), name="soon"))
    return teams


async def first_round(market: Market, teams: dict[str, Client]) -> None:
    """Red wants more than half and bids more; blue gets the rest at its own price."""
    with pytest.raises(Refused) as refused:
        await market.other.send(bid("mine", 8, 1))
    assert refused.value.code == "NOT_OWNER"
    await teams["red"].send(bid("train", 24, 5, whole=True))
    await teams["blue"].send(bid("sweep", 24, 3, stop=6))
    await teams["blue"].send(bid("other", 8, 1))
    await teams["blue"].send(CancelCreditBid(header=BLANK_HEADER, book_id="shared", bid_id="other"))
    assert [item.bid_id for item in await teams["blue"].credit_bids("shared")] == ["sweep"]
    assert await market.buyer.credit_bids("shared") == (), "a lab does not read its teams' bids"
    await market.operator.advance_time(at(0))
    (decided,) = await teams["red"].credit_rounds("shared")
    assert decided.state == credits_pb2.CREDIT_ROUND_STATE_PUBLISHED
    assert (decided.start_time.seconds, decided.bid_count) == (at(0), 2)
    mine = await teams["red"].credit_allocations("shared")
    assert [(item.start_time.seconds, item.chip_count) for item in mine] == [
        (at(0), 24),
        (at(1), 24),
    ]
    assert {item.price_micro_credits_per_chip_hour for item in mine} == {3 * CREDIT}
    everything = await market.buyer.credit_allocations("shared")
    assert sorted({(item.team_id, item.chip_count) for item in everything}) == [
        ("blue", 8),
        ("red", 24),
    ]
    assert await market.other.credit_allocations("shared") == ()
    (account,) = await teams["red"].credit_accounts()
    assert account.balance_micro_credits == str((600 - 2 * 24 * 3) * CREDIT)
    assert [item.left_micro_credits for item in account.grants] == [456 * CREDIT]
    assert len(await market.buyer.credit_accounts()) == len(TEAMS)


async def later(market: Market, teams: dict[str, Client]) -> None:
    """Blue has all chips for nothing in the second round; then its credits expire."""
    await market.operator.advance_time(at(2))
    assert len(await market.buyer.credit_rounds("shared")) == 2
    mine = await teams["blue"].credit_allocations("shared", start=at(2))
    assert [(item.chip_count, item.price_micro_credits_per_chip_hour) for item in mine] == [
        (24, 0),
        (24, 0),
    ]
    await market.operator.advance_time(at(3))
    state = market.exchange.sequencer.state
    asset = asset_of("buyer")
    await until(lambda: state.books.balance(accounts.team("blue"), asset).posted == 0)
    # What both were given, less what red has left, is back in the treasury.
    assert state.books.balance(accounts.TREASURY, asset).posted == -456 * CREDIT


async def test_a_lab_shares_its_entitlement_out_in_credits(
    tmp_path: Path, database_url: str
) -> None:
    config = configuration(tmp_path / "data", database_url)
    async with open_market(config) as market, AsyncExitStack() as stack:
        teams = await prepare(market, stack)
        await first_round(market, teams)
        report = await checked(market.exchange, tmp_path, BundleKind.AUDITOR, "between")
        # Blue's bid stands: what follows its gate is open, and nothing else is sealed.
        assert report.ok
        await later(market, teams)
        await teams["red"].send(replace(bid("more", 8, 2, stop=6)))
        sealed = await checked(market.exchange, tmp_path, BundleKind.AUDITOR, "sealed")
        assert Result.NOT_CHECKABLE in {step.result for step in sealed.steps}
    async with Exchange(config) as exchange, AsyncExitStack() as stack:
        buyer = await stack.enter_async_context(client_of(exchange.identity_directory("buyer")))
        operator = await stack.enter_async_context(
            client_of(exchange.identity_directory("operator"))
        )
        await operator.advance_time(at(4))
        assert len(await buyer.credit_rounds("shared")) == 3
        await buyer.send(CloseCredits(header=BLANK_HEADER, book_id="shared", reason="over"))
        (book,) = await buyer.credits_books()
        assert (book.organisation_id, book.closed_reason) == ("buyer", "over")
        for kind in BundleKind:
            report = await checked(exchange, tmp_path, kind, kind.value)
            if kind is BundleKind.AUDITOR:
                assert all(
                    step.result is Result.OK
                    for step in report.steps
                    if step.name in {Step.REPLAY.name, Step.BOOKS.name, Step.BALANCES.name}
                )
                state = exchange.sequencer.state
                assert balances(tmp_path / kind.value, exchange.log_vkey) == {
                    (item.account, item.asset): (item.posted, item.pending_debit)
                    for item in state.books.balances()
                    if item.posted or item.pending_debit
                }
    check_journals(tmp_path / BundleKind.AUDITOR.value)


def check_journals(bundle: Path) -> None:
    """Credits stand in the journals beside dollars."""
    extract = read_bundle(bundle).extract
    found = journal(
        origin=extract.origin, size=extract.size, root=extract.root, movements=extract.movements
    )
    for text in (hledger_text(found), beancount_text(found)):
        assert "CREDIT" in text
        assert "treasury" in text.lower()
    program = Path(sys.executable).parent / "bean-check"
    if program.is_file():
        path = bundle.parent / "credits.beancount"
        path.write_text(beancount_text(found))
        subprocess.run([program, "--no-cache", path], check=True)
