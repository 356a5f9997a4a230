"""Sixty days later everybody can verify the auction, and still nobody knows who traded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from clearing import codec
from clearing.outcome import Outcome
from clearing.types import Book
from clearing.units import MicroUsdPerChipHour
from clearing.verify import verify as verify_outcome
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.report import Result, Step
from iso_exchange.audit.verify import verify
from iso_exchange.cli.main import run
from iso_exchange.commands import ReleaseBook
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.pseudonyms import names_of, pseudonymised
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.release import BOOK_LAG_SECONDS, release_book, release_time
from iso_exchange.sequencer.sequencer import Submission
from iso_exchange.signer import make_document
from tests.integration.bundles import make_bundles, read_bundle, write_bundle
from tests.integration.market_day import AUCTION, FIRST, HOUR, HOURS, MarketDay, service_submission

DUE = FIRST + HOURS * HOUR + BOOK_LAG_SECONDS


@pytest.fixture(autouse=True)
def unsynced() -> Iterator[None]:
    with patch("os.fsync"):
        yield


async def finished(day: MarketDay) -> None:
    await day.run()
    await day.advance(DUE - 1)
    await day.work()
    assert not day.sequencer.state.auctions[AUCTION].released
    await day.advance(DUE)
    await day.work()


async def test_everybody_can_verify_a_released_book(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await finished(day)
        auction = day.sequencer.state.auctions[AUCTION]
        assert auction.released
        assert auction.book is not None
        size = day.sequencer.size
        await day.work()
        assert day.sequencer.size == size
        for kind in BundleKind:
            await write_bundle(day, tmp_path / kind.value, kind)
            report = verify(tmp_path / kind.value, day.vkey)
            assert report.ok, report.failed
        assert report.step(Step.CERTIFICATES).checked == 1
        vkey, names = day.vkey, names_of(auction.book)
    public, out = tmp_path / "public", tmp_path / "book"
    arguments = ["auction", "book", AUCTION, "--bundle", str(public), "--key", vkey, "--json"]
    capsys.readouterr()
    assert run([*arguments, "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["auction_id"] == AUCTION
    assert run(["auction", "verify", str(out), "--json"]) == 0
    # The names stand nowhere; order ids do, because ties are drawn from them.
    text = b"".join(path.read_bytes() for path in out.iterdir())
    assert not [name for name in names if json.dumps(name).encode() in text]
    assert auction.book.step_bids[0].order_id.encode() in text
    assert run([*arguments, "--out", str(out)]) == 1
    missing = ["auction", "book", "no-such", *arguments[3:], "--out", str(tmp_path / "none")]
    assert run(missing) == 4


@pytest.mark.parametrize("kind", list(BundleKind))
async def test_another_book_is_found_out(tmp_path: Path, kind: BundleKind) -> None:
    """The exchange's services release a book in which somebody offered for less, and sign it."""
    forged: list[str] = []

    def tamper(submission: Submission) -> Submission:
        command = submission.command
        if not isinstance(command, ReleaseBook):
            return submission
        book = codec.decode(submission.documents[0].body, Book)
        outcome = codec.decode(submission.documents[1].body, Outcome)
        offer = book.offers[0]
        segment = offer.segments[0]
        step = segment.steps[0]
        step = dataclasses.replace(step, price=MicroUsdPerChipHour(step.price - 1_000))
        segment = dataclasses.replace(segment, steps=(step, *segment.steps[1:]))
        offer = dataclasses.replace(offer, segments=(segment, *offer.segments[1:]))
        book = dataclasses.replace(book, offers=(offer, *book.offers[1:]))
        outcome = dataclasses.replace(outcome, book_sha256=codec.digest(book))
        documents = (
            make_document("RELEASED_BOOK", codec.encode(book), public=True),
            make_document("RELEASED_OUTCOME", codec.encode(outcome), public=True),
        )
        forged.append("book")
        changed = dataclasses.replace(
            command,
            book_sha256=documents[0].sha256.hex(),
            outcome_sha256=documents[1].sha256.hex(),
        )
        return dataclasses.replace(service_submission(changed, submission), documents=documents)

    def lenient(*_: object) -> object:
        return Accepted()

    async with MarketDay(directory=tmp_path, tamper=tamper) as day:
        # An exchange that does not keep its own rule; the audit keeps it.
        with patch.dict("iso_exchange.sequencer.machine.HANDLERS", {ReleaseBook: lenient}):
            await day.run()
            await day.advance(DUE)
            await day.auctioneer.step()
            await day.publisher.publish()
        assert forged
        bundle = tmp_path / "bundle"
        await write_bundle(day, bundle, kind)
        report = verify(bundle, day.vkey)
    failed = {step.name for step in report.failed}
    if kind is BundleKind.AUDITOR:
        assert "REPLAY" in failed
    else:
        assert {"CERTIFICATES", "RESULTS"} & failed
        assert report.step(Step.CERTIFICATES).result is Result.FAILED or "RESULTS" in failed


async def test_the_rule_knows_when_and_what(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.run()
        state = day.sequencer.state
        auction = state.auctions[AUCTION]
        assert auction.book is not None
        assert auction.outcome is not None
        assert release_time(auction) == DUE
        names = {name: f"p-{n}" for n, name in enumerate(names_of(auction.book))}

        def attempt(names: dict[str, str], time: int = DUE, **changes: object) -> object:
            assert auction.book is not None
            assert auction.outcome is not None
            book, outcome = pseudonymised(auction.book, auction.outcome, names)
            outcome = dataclasses.replace(outcome, **changes)  # type: ignore[arg-type]
            assert verify_outcome(book, pseudonymised(auction.book, auction.outcome, names)[1]).ok
            bodies = [codec.encode(book), codec.encode(outcome)]
            digests = [hashlib.sha256(body).digest() for body in bodies]
            command = ReleaseBook(
                header=day.auctioneer._signer.header("x"),
                auction_id=AUCTION,
                book_sha256=digests[0].hex(),
                outcome_sha256=digests[1].hex(),
            )
            meta = Meta(
                time_us=time * 1_000_000,
                index=0,
                leaf_hash=bytes(32),
                documents=dict(zip(digests, bodies, strict=True)),
            )
            return release_book(state, command, meta)

        def code(answer: object) -> Code:
            assert isinstance(answer, Rejected)
            return answer.code

        assert code(attempt(names, DUE - 1)) is Code.WRONG_STATE
        assert code(attempt(names, engine="other")) is Code.INVALID_VALUE
        first, second = list(names)[:2]
        swapped = {**names, first: second, second: first}
        assert code(attempt(swapped)) is Code.INVALID_VALUE
        assert not auction.released
        assert not isinstance(attempt(names), Rejected)
        assert code(attempt(names)) is Code.WRONG_STATE
    assert ENTRY_KINDS[ReleaseBook].public
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_the_bundle_of_the_day_names_no_first_key(tmp_path: Path) -> None:
    """Bundles of logs without a rotation keep the bytes that they had."""
    made = make_bundles(tmp_path)
    assert b"first_vkey" not in (made.public / "bundle.json").read_bytes()
    assert read_bundle(made.public).first_vkey == ""
