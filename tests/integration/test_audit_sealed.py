"""Open orders stay sealed in audit bundles too, and a seal hides nothing that is published."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from clearing.units import MicroUsd, UnixSeconds
from iso_exchange.audit.bundle import NOT_SEALED, BundleKind
from iso_exchange.audit.report import Report, Result, Step
from iso_exchange.audit.seal import SEALED_STEPS
from iso_exchange.audit.verify import verify, verify_and_replay
from iso_exchange.commands import CreateAuction, RecordDeposit, StepBidTerms, SubmitOrder
from iso_exchange.disclosure import SEALED_KINDS
from iso_exchange.sequencer.state import AuctionState
from tests.integration.bundles import Made, make_bundles, read_bundle, reseal, write_bundle
from tests.integration.market_day import AUCTION, GATE, MarketDay, header, orders, registry

LATER = "day-2"


@asynccontextmanager
async def market(directory: Path) -> AsyncIterator[MarketDay]:
    with patch("os.fsync"):  # nobody cuts the power of a test
        async with MarketDay(directory=directory) as day:
            yield day


async def exported(day: MarketDay, directory: Path) -> Path:
    await day.publisher.publish()
    await write_bundle(day, directory, BundleKind.AUDITOR)
    return directory


def opened(directory: Path) -> list[int]:
    lines = (directory / "openings.jsonl").read_text().splitlines()
    return [json.loads(line)["index"] for line in lines]


def results(report: Report, result: Result) -> set[str]:
    return {step.name for step in report.steps if step.result is result}


def later_auction(day: MarketDay) -> CreateAuction:
    """A second auction like the first, a day later."""
    first = next(item for item in registry(day.secrets) if isinstance(item, CreateAuction))
    return dataclasses.replace(
        first,
        header=header("operator", f"auction/{LATER}"),
        auction_id=LATER,
        close_time=UnixSeconds(GATE + 86_400),
        first_interval_start=UnixSeconds(first.first_interval_start + 86_400),
        seed_commitment=day.secrets.seed_commitment(LATER),
    )


def later_order() -> SubmitOrder:
    """An order of the first auction, moved to the second."""
    order = next(
        item for _, item in orders() if isinstance(item, SubmitOrder) and item.order_id == "step-2"
    )
    terms = order.terms
    assert isinstance(terms, StepBidTerms)
    moved = tuple(
        dataclasses.replace(
            segment,
            start=UnixSeconds(segment.start + 86_400),
            end=UnixSeconds(segment.end + 86_400),
        )
        for segment in terms.segments
    )
    return dataclasses.replace(
        order,
        header=header("lab-2", "order/sealed-bid"),
        order_id="sealed-bid",
        auction_id=LATER,
        revision=1,
        terms=dataclasses.replace(terms, segments=moved),
    )


def deposit(reference: str) -> RecordDeposit:
    return RecordDeposit(
        header=header("operator", f"deposit/{reference}"),
        participant_id="lab-3",
        amount=MicroUsd(1_000),
        bank_reference=reference,
    )


async def test_a_bundle_made_while_orders_are_open_opens_none_of_them(tmp_path: Path) -> None:
    async with market(tmp_path) as day:
        await day.open_market()
        await day.trade()
        bundle = await exported(day, tmp_path / "bundle")
        entries = await day.store.entries(0, day.sequencer.size)
    sealed = [entry for entry in entries if entry.kind in SEALED_KINDS]
    first = sealed[0].index
    assert read_bundle(bundle).sealed_from == first
    assert opened(bundle)
    assert max(opened(bundle)) < first
    content = b"".join(path.read_bytes() for path in bundle.rglob("*") if path.is_file())
    for entry in sealed:
        assert base64.b64encode(entry.envelope) not in content
        assert entry.salt.hex().encode() not in content
    report, state = verify_and_replay(bundle, day.vkey)
    assert report.ok
    assert state is None
    assert report.sealed_from == first
    assert results(report, Result.NOT_CHECKABLE) == {step.name for step in SEALED_STEPS}
    assert {report.step(step).detail for step in SEALED_STEPS} == {
        f"entries from {first} on are sealed until publication ({AUCTION})"
    }
    assert report.summary().endswith(f"0 meter gaps, sealed from entry {first}")
    checked = {step.name: step.checked for step in report.steps}
    assert checked["TREE"] == report.entries
    # Commitments are looked at as leaves, opened or not; only those before are replayed.
    assert checked["COMMITMENTS"] > len(opened(bundle))
    assert 0 < checked["REPLAY"] < checked["TREE"] - checked["BATCHES"]


async def test_publication_takes_the_seal_off(tmp_path: Path) -> None:
    async with market(tmp_path) as day:
        await day.open_market()
        await day.trade()
        await day.advance(GATE)
        while day.sequencer.state.auctions[AUCTION].state is not AuctionState.CLEARED:
            await day.auctioneer.step()
        cleared = await exported(day, tmp_path / "cleared")
        await day.work()
        published = await exported(day, tmp_path / "published")
    report = verify(cleared, day.vkey)
    assert report.ok
    assert report.sealed_from == read_bundle(cleared).sealed_from > 0
    assert not (cleared / "documents").exists()  # neither book nor outcome
    report = verify(published, day.vkey)
    assert read_bundle(published).sealed_from == report.sealed_from == NOT_SEALED
    assert results(report, Result.OK) == {step.name for step in Step}
    assert "sealed" not in report.summary()


async def test_what_lies_before_an_open_auction_is_checked_in_full(tmp_path: Path) -> None:
    async with market(tmp_path) as day:
        await day.open_market()
        await day.trade()
        await day.clear()
        await day.send("operator", later_auction(day))
        await day.send("lab-2", later_order())
        await day.send("operator", deposit("late"))
        await day.deliver()
        await day.settle()
        bundle = await exported(day, tmp_path / "bundle")
    report = verify(bundle, day.vkey)
    assert report.ok, report.failed
    assert report.auctions == 1
    assert report.hours == report.statements == 0  # settled after the sealed order
    assert f"({LATER})" in report.step(Step.HOURS).detail
    assert "sealed-bid" not in (bundle / "openings.jsonl").read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundles(tmp_path_factory.mktemp("sealed"))


def cut(directory: Path, first: int) -> None:
    """Leave openings out from an entry on, with every document that only they name."""
    path = directory / "openings.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["index"] < first]
    named = {name for line in kept for name in json.loads(line)["documents"]}
    path.write_text("".join(kept))
    for document in (directory / "documents").iterdir():
        if document.name not in named and b"tie_seed" not in document.read_bytes():
            document.unlink()


def copied(made: Made, directory: Path) -> Path:
    for path in made.auditor.rglob("*"):
        if path.is_file():
            place = directory / path.relative_to(made.auditor)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return directory


def seal_all(directory: Path) -> int:
    return opened(directory)[5]


LIES: dict[str, tuple[Callable[[Path], int], str]] = {
    "a published auction": (seal_all, "has published prices"),
    "a public entry": (lambda _: 0, "is public"),
    "beyond the log": (lambda _: 10**6, "is no entry"),
    "before the log": (lambda _: -2, "is no entry"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_seal_that_nothing_explains_fails(name: str, made: Made, tmp_path: Path) -> None:
    choose, words = LIES[name]
    directory = copied(made, tmp_path / "bundle")
    first = choose(directory)
    if first >= 0:
        cut(directory, first)
    reseal(directory, sealed_from=first)
    report = verify(directory, made.vkey)
    commitments = report.step(Step.COMMITMENTS)
    assert commitments.result is Result.FAILED
    assert commitments.place == "bundle.json"
    assert words in commitments.detail


def test_a_public_bundle_has_no_seal(made: Made) -> None:
    listing = (made.public / "bundle.json").read_bytes()
    try:
        reseal(made.public, sealed_from=20)
        report = verify(made.public, made.vkey)
    finally:
        (made.public / "bundle.json").write_bytes(listing)
    assert report.step(Step.COMMITMENTS).result is Result.FAILED
    assert verify(made.public, made.vkey).ok


async def test_openings_are_complete_before_the_seal_and_none_after(tmp_path: Path) -> None:
    async with market(tmp_path) as day:
        await day.open_market()
        await day.trade()
        sealed = await exported(day, tmp_path / "sealed")
        first = read_bundle(sealed).sealed_from
        await day.clear()
        whole = await exported(day, tmp_path / "whole")
    lines = (sealed / "openings.jsonl").read_bytes().splitlines(keepends=True)
    later = next(
        line
        for line in (whole / "openings.jsonl").read_bytes().splitlines(keepends=True)
        if json.loads(line)["index"] == first
    )
    for changed, words in ((lines[1:], "needs an opening"), ([*lines, later], "opens no")):
        (sealed / "openings.jsonl").write_bytes(b"".join(changed))
        reseal(sealed)
        commitments = verify(sealed, day.vkey).step(Step.COMMITMENTS)
        assert commitments.result is Result.FAILED
        assert words in commitments.detail
