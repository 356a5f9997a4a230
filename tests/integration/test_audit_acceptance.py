"""What the sequencer owes to the audit: only what can be checked later gets into the log."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.report import Step
from iso_exchange.audit.verify import verify, verify_and_replay
from iso_exchange.clock import MICROSECONDS
from iso_exchange.commands import RegisterParticipant, RevokeKey, Role
from iso_exchange.sequencer.leaves import Receipt
from iso_exchange.sequencer.refusals import Code, Rejected
from tests.integration.bundles import read_log, write_bundle
from tests.integration.market_day import GATE, ORIGIN, MarketDay, header, key_of, orders


async def test_entries_of_one_batch_share_the_time_of_its_header(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        offers = [
            day.submission(signer, command)
            for signer, command in orders()
            if signer.startswith("sup-")
        ]
        # Just before the gate: with times of their own, a header after it would make the
        # audit refuse what was accepted in time.
        await day.advance(GATE - 1)
        receipts = await day.sequencer.submit_all(offers)
        await day.publisher.publish()
        await write_bundle(day, tmp_path / "bundle", BundleKind.AUDITOR)
    times = {receipt.time_us for receipt in receipts if isinstance(receipt, Receipt)}
    assert len(receipts) == 2
    assert times == {(GATE - 1) * MICROSECONDS}
    assert read_log(tmp_path / "bundle")[-1].time_us in times
    assert verify(tmp_path / "bundle", day.vkey).ok


async def test_a_key_revoked_between_gateway_and_log_signs_nothing_more(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        signer, command = next(pair for pair in orders() if pair[0] == "sup-a")
        waiting = day.submission(signer, command)
        revocation = RevokeKey(
            header=header("operator", "revoke"),
            participant_id=signer,
            key_id=key_of(signer).key_id,
            reason="lost",
        )
        answers = await day.sequencer.submit_all([day.submission("operator", revocation), waiting])
        assert isinstance(answers[0], Receipt)
        assert isinstance(answers[1], Rejected)
        assert answers[1].code is Code.KEY_REVOKED
        await day.publisher.publish()
        await write_bundle(day, tmp_path / "bundle", BundleKind.AUDITOR)
    assert verify(tmp_path / "bundle", day.vkey).ok


@pytest.mark.parametrize("key", [b"\x00" * 32, b"\x01" + b"\x00" * 31, b"\xff" * 32, b"short"])
async def test_a_key_that_proves_nothing_is_not_registered(tmp_path: Path, key: bytes) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        weak = RegisterParticipant(
            header=header("operator", "weak"),
            participant_id="weak",
            display_name="weak",
            roles=(Role.BUYER,),
            public_key=key_of("strong").public,
        )
        submission = day.submission("operator", weak)
        changed = dataclasses.replace(submission, command=dataclasses.replace(weak, public_key=key))
        answer = await day.sequencer.submit(changed)
        assert isinstance(answer, Rejected)
        assert (answer.code, answer.field) == (Code.INVALID_VALUE, "public_key")
        assert "weak" not in day.sequencer.state.participants


async def test_notices_follow_also_when_everything_is_settled(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        await day.trade()
        await day.advance(GATE)
        while not day.sequencer.state.auctions["day-1"].outcome:
            await day.auctioneer.step()
        await day.auctioneer.step()
        # The settler is quicker than the auctioneer: no reading came, every hour is a gap.
        await day.advance(GATE + 86_400)
        while await day.settler.step():
            pass
        auction = day.sequencer.state.auctions["day-1"]
        told_before = set(auction.notified)
        while await day.auctioneer.step():
            pass
        await day.publisher.publish()
        await write_bundle(day, tmp_path / "bundle", BundleKind.AUDITOR)
        report, state = verify_and_replay(tmp_path / "bundle", day.vkey)
        assert told_before < auction.notified
        assert report.ok
        assert report.meter_gaps > 2
        assert state is not None
        assert state.books.balances() == day.sequencer.state.books.balances()


async def test_only_a_whole_auditor_bundle_replays_to_a_state(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        await day.publisher.publish()
        for kind in BundleKind:
            await write_bundle(day, tmp_path / kind.value, kind)
    report, state = verify_and_replay(tmp_path / "public", day.vkey)
    assert report.ok
    assert state is None
    report, state = verify_and_replay(tmp_path / "auditor", day.vkey)
    assert report.ok
    assert state is not None
    assert state.origin == ORIGIN
    assert "lab-1" in state.participants
    (tmp_path / "auditor" / "openings.jsonl").write_bytes(b"")
    report, state = verify_and_replay(tmp_path / "auditor", day.vkey)
    assert report.step(Step.COMMITMENTS).failures > 0
    assert state is None
