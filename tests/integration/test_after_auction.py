"""Spot, late readings, corrections, a dispute and a grant in one market day, audited offline."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from clearing import codec
from clearing.types import Interval, ServiceClass
from clearing.units import Chips, ChipSeconds, MicroUsdPerChipHour, UnixSeconds
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.report import Result, Step
from iso_exchange.audit.verify import verify
from iso_exchange.cli.main import app
from iso_exchange.commands import SubmitReadings
from iso_exchange.exports.explain import ExplainError, explain
from iso_exchange.exports.reading import read_bundle
from iso_exchange.money_commands import (
    CorrectHour,
    CounterReading,
    DecideDispute,
    DisputeHour,
    PublishSpot,
    RegisterGrant,
)
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.sequencer import Submission
from iso_exchange.signer import make_document
from settlement.assignment import IntervalPrice
from settlement.exports.beancount import beancount_text
from settlement.exports.community import community_report
from settlement.exports.focus import focus_table
from settlement.exports.hledger import hledger_text
from settlement.exports.journal import journal
from settlement.ledger import accounts
from settlement.spot.result import (
    Purchase,
    Reclaim,
    Replacement,
    SpotResult,
)
from settlement.types import Contract, ContractHour, MeterBatch, Phase, Postings, TransferCode
from tests.integration.bundles import change_entry, read_log, replaced, write_bundle, write_log
from tests.integration.market_day import (
    AUCTION,
    CELL,
    FIRST,
    GAP,
    HOUR,
    HOURS,
    NODE,
    SHORTFALL,
    MarketDay,
    header,
    service_submission,
)
from tests.simulation.world import balances
from tests.torture import forgery
from tests.torture.forgery import INDEPENDENT

SPOT_CELL = FIRST + 2 * CELL
"""Metering interval of the first hour in which spot moves positions."""


class LongDay(MarketDay):
    """A market day that goes on after its auction."""

    async def open_market(self) -> None:
        await super().open_market()
        await self.send(
            "sup-b",
            RegisterGrant(
                header=header("sup-b", "grant/university"),
                grant_id="university",
                beneficiary_id="lab-3",
                supplier_id="sup-b",
                pool_id="pool-b",
                period=Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + HOURS * HOUR)),
                chips=Chips(8),
                purpose="teaching",
            ),
        )

    async def clear(self) -> None:
        await super().clear()
        assert await self.settler.publish_spot(self.spot()) is None

    def contract(self, service_class: ServiceClass, pool: str = "") -> Contract:
        found = [
            item
            for item in self.sequencer.state.contracts.values()
            if item.service_class is service_class
            and pool in ("", item.pool_id)
            and item.hours[0].interval.start == FIRST
        ]
        return min(found, key=lambda item: item.contract_id)

    def spot(self) -> SpotResult:
        """An interruptible gives a node up: half for a spike, half for a failed node."""
        soft = self.contract(ServiceClass.INTERRUPTIBLE)
        firm = next(
            item
            for item in self.sequencer.state.contracts.values()
            if item.service_class is ServiceClass.FIRM and item.pool_id == soft.pool_id
        )
        cell = Interval(start=UnixSeconds(SPOT_CELL), end=UnixSeconds(SPOT_CELL + CELL))
        legs = replace(
            firm.hours[0].legs,
            energy=MicroUsdPerChipHour(3_000_000),
            power=MicroUsdPerChipHour(0),
            cover=MicroUsdPerChipHour(0),
            contract=MicroUsdPerChipHour(3_000_000),
        )
        spike = replace(
            firm,
            contract_id=f"{AUCTION}/spike-1/{soft.pool_id}/{soft.supplier_order_id}",
            order_id="spike-1",
            buyer_id="lab-2",
            hours=(ContractHour(interval=cell, chips=Chips(4), legs=legs),),
        )
        return SpotResult(
            auction_id=AUCTION,
            interval=cell,
            prices=(
                IntervalPrice(
                    pool_id=soft.pool_id,
                    interval=cell,
                    energy=MicroUsdPerChipHour(3_000_000),
                    power=MicroUsdPerChipHour(0),
                    cover=MicroUsdPerChipHour(0),
                    availability=MicroUsdPerChipHour(0),
                    recall_discount=MicroUsdPerChipHour(0),
                ),
            ),
            reclaims=(Reclaim(contract_id=soft.contract_id, quantity=ChipSeconds(8 * CELL)),),
            purchases=(Purchase(contract=spike, limit=MicroUsdPerChipHour(5_000_000)),),
            replacements=(
                Replacement(
                    contract_id=firm.contract_id,
                    pool_id=soft.pool_id,
                    site_id=soft.site_id,
                    supplier_id=soft.supplier_id,
                    quantity=ChipSeconds(4 * CELL),
                    surcharge=firm.hours[0].legs.surcharge,
                ),
            ),
        )

    def readings(self, meter_id: str, hour: int) -> tuple[SubmitReadings, ...]:
        """As the day's, with the spot interval read as it was served."""
        moved = self.sequencer.state.auctions[AUCTION].spot[0]
        soft, spike = moved.reclaims[0].contract_id, moved.purchases[0].contract
        changed = []
        for command in super().readings(meter_id, hour):
            batch = command.batch
            if batch.interval == moved.interval and batch.pool_id == spike.pool_id:
                rows = [row for row in batch.readings if row.contract_id != spike.contract_id]
                first = next(i for i, row in enumerate(rows) if row.contract_id == soft)
                rows[first] = replace(rows[first], healthy=ChipSeconds(0))
                rows.append(
                    replace(
                        rows[first],
                        contract_id=spike.contract_id,
                        node_id="spike",
                        healthy=ChipSeconds(4 * CELL),
                    )
                )
                batch = replace(batch, readings=tuple(rows))
            changed.append(replace(command, batch=batch))
        return tuple(changed)

    def late(self) -> SubmitReadings:
        """The reading that was missing: half of what was sold was healthy."""
        pool_id, start = GAP
        hour = (start - FIRST) // HOUR * HOUR + FIRST
        rows = tuple(
            replace(row, healthy=ChipSeconds(NODE * CELL // 2))
            for row in self._rows(pool_id, hour, start)
        )
        return SubmitReadings(
            header=header("meter-b", "read/late"),
            batch=MeterBatch(
                meter_id="meter-b",
                pool_id=pool_id,
                interval=Interval(start=UnixSeconds(start), end=UnixSeconds(start + CELL)),
                sequence=1_000,
                readings=rows,
            ),
        )

    def corrected(self) -> SubmitReadings:
        """The meter takes its shortfall back: the node was up after all."""
        pool_id, start = SHORTFALL
        known = self.sequencer.state.batches[pool_id, UnixSeconds(start)]
        rows = tuple(replace(row, healthy=ChipSeconds(NODE * CELL)) for row in known.readings)
        return SubmitReadings(
            header=header("meter-a", "read/corrected"),
            batch=replace(known, sequence=1_000, readings=rows, corrects=known.sequence),
        )

    def dispute(self, contract: Contract) -> DisputeHour:
        cell = Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + CELL))
        return DisputeHour(
            header=header(contract.buyer_id, "dispute/d-1"),
            dispute_id="d-1",
            contract_id=contract.contract_id,
            hour_start=UnixSeconds(FIRST),
            reason="a node hung",
            counter_readings=(
                CounterReading(
                    node_id=f"{contract.order_id}-0",
                    interval=cell,
                    healthy=ChipSeconds(300),
                ),
            ),
        )

    def cash(self, name: str) -> int:
        return self.sequencer.state.books.balance(accounts.cash(name)).posted

    async def answer(self, signer: str, command: DisputeHour | DecideDispute) -> object:
        (found,) = await self.sequencer.submit_all([self.submission(signer, command)])
        return found


async def lived(directory: Path) -> LongDay:
    """The day up to statements, then what comes later."""
    day = LongDay(directory=directory)
    async with day:
        await day.run()
        await day.send("meter-b", day.late())
        await day.send("meter-a", day.corrected())
        await day.work()
        firm = day.contract(ServiceClass.FIRM, "pool-a")
        before = day.cash(firm.supplier_id), day.cash(firm.buyer_id)
        await day.send(firm.buyer_id, day.dispute(firm))
        frozen = day.sequencer.state.disputes["d-1"].frozen
        assert frozen > 0
        assert day.cash(firm.supplier_id) == before[0] - frozen
        held = accounts.dispute(firm.contract_id)
        assert day.sequencer.state.books.balance(held).posted == frozen
        again = replace(day.dispute(firm), dispute_id="d-2", header=header(firm.buyer_id, "d-2"))
        refused = await day.answer(firm.buyer_id, again)
        assert isinstance(refused, Rejected)
        assert refused.code is Code.ALREADY_EXISTS
        await day.send(
            "operator",
            DecideDispute(
                header=header("operator", "decide/d-1"),
                dispute_id="d-1",
                upheld=True,
                reason="the counters agree",
            ),
        )
        assert day.sequencer.state.books.balance(held).posted == 0
        await day.work()
        assert day.cash(firm.buyer_id) > before[1]
        # The supplier contests a whole hour, and is told no.
        mine = replace(
            day.dispute(firm),
            header=header(firm.supplier_id, "dispute/d-3"),
            dispute_id="d-3",
            counter_readings=(),
        )
        cash = day.cash(firm.buyer_id)
        await day.send(firm.supplier_id, mine)
        assert day.cash(firm.buyer_id) == cash - day.sequencer.state.disputes["d-3"].frozen
        await day.send(
            "operator",
            DecideDispute(
                header=header("operator", "decide/d-3"),
                dispute_id="d-3",
                upheld=False,
                reason="the meter is right",
            ),
        )
        assert day.cash(firm.buyer_id) == cash
        for kind in BundleKind:
            await write_bundle(day, directory / kind.value, kind)
    return day


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[LongDay, Path]:
    directory = tmp_path_factory.mktemp("long")
    with patch("os.fsync"):
        return asyncio.run(lived(directory)), directory


def test_every_step_of_the_audit_passes(day: tuple[LongDay, Path]) -> None:
    made, directory = day
    report = verify(directory / "auditor", made.vkey)
    assert [(step.name, step.result, step.detail) for step in report.steps] == [
        (step.name, Result.OK, "") for step in Step
    ]
    code, line = INDEPENDENT.verify(directory / "auditor", made.vkey)
    assert code == 0, line
    state = made.sequencer.state
    assert balances(directory / "auditor", made.vkey) == {
        (item.account, item.asset): (item.posted, item.pending_debit)
        for item in state.books.balances()
        if item.posted or item.pending_debit
    }
    auction = state.auctions[AUCTION]
    assert auction.due == set()
    assert {start: len(made_) for start, made_ in auction.corrections.items()} == {
        FIRST: 2,
        FIRST + HOUR: 1,
    }


def test_a_restart_replays_to_the_same_books_and_finds_nothing_left_to_do(
    day: tuple[LongDay, Path],
) -> None:
    made, directory = day

    async def again() -> LongDay:
        other = LongDay(directory=directory / "again", store=made.store, clock=made.clock)
        async with other:
            assert not await other.settler.step()
        return other

    with patch("os.fsync"):
        state = asyncio.run(again()).sequencer.state
    assert state.books.balances() == made.sequencer.state.books.balances()
    assert state.delivered == made.sequencer.state.delivered
    assert state.disputes == made.sequencer.state.disputes


def test_money_moved_by_cause(day: tuple[LongDay, Path]) -> None:
    state = day[0].sequencer.state
    first = state.postings[f"hour/{AUCTION}/{FIRST}"]
    codes = {item.code for item in first.transfers}
    assert {TransferCode.RECLAIM, TransferCode.SPOT_PURCHASE, TransferCode.FAILURE} <= codes
    assert state.books.open_holds() == ()
    # The grant: its beneficiary is billed nothing, who gives it pays surcharge and fee.
    granted = [
        item
        for document in state.postings.values()
        for item in document.transfers
        if item.contract_id.endswith("/university")
    ]
    billed = {item.debit for item in granted if item.code is TransferCode.FEE}
    assert billed == {"p:sup-b:cash"}
    assert not [item for item in granted if item.debit == "p:lab-3:cash"]


def test_a_public_bundle_shows_grants_and_nothing_of_spot_or_disputes(
    day: tuple[LongDay, Path],
) -> None:
    made, directory = day
    report = verify(directory / "public", made.vkey)
    assert report.ok
    assert INDEPENDENT.verify(directory / "public", made.vkey)[0] == 0
    texts = b"".join(
        path.read_bytes() for path in (directory / "public").rglob("*") if path.is_file()
    )
    assert b"spike-1" not in texts
    assert b"d-1" not in texts


@pytest.mark.parametrize("number", range(3))
def test_both_verifiers_find_a_correction_to_somebody_else(
    day: tuple[LongDay, Path], tmp_path: Path, number: int
) -> None:
    bundle = Path(shutil.copytree(day[1] / "auditor", tmp_path / "bundle"))
    change_entry(
        bundle,
        "CORRECTION",
        lambda entry: forgery.with_document(
            bundle,
            entry,
            "postings_sha256",
            Postings,
            lambda value: forgery.redirect(value, random.Random(number)),
        ),
        number=number,
    )
    found = forgery.findings(bundle, day[0].vkey)
    assert all(found.values()), found


@pytest.mark.parametrize("kind", ["SPOT_RESULT", "DISPUTE"])
def test_both_verifiers_find_that_an_entry_vanished(
    day: tuple[LongDay, Path], tmp_path: Path, kind: str
) -> None:
    bundle = Path(shutil.copytree(day[1] / "auditor", tmp_path / "bundle"))
    batches = read_log(bundle)
    batches.remove(next(batch for batch in batches if batch.entries[0].kind == kind))
    write_log(bundle, batches)
    found = forgery.findings(bundle, day[0].vkey)
    assert all(found.values()), found


@pytest.mark.parametrize("kind", [PublishSpot, CorrectHour])
def test_a_false_document_fails_step_hours(tmp_path: Path, kind: type) -> None:
    """The exchange signs holds or corrections that do not follow."""

    def tamper(submission: Submission) -> Submission:
        if not isinstance(submission.command, kind):
            return submission
        (other,) = [item for item in submission.documents if item.kind != "POSTINGS"]
        (honest,) = [item for item in submission.documents if item.kind == "POSTINGS"]
        postings = codec.decode(honest.body, Postings)
        *others, last = postings.transfers
        less = replace(last, amount=last.amount - 1)
        body = codec.encode(replace(postings, transfers=(*others, less)))
        wrong = make_document("POSTINGS", body)
        command = replaced(submission.command, postings_sha256=wrong.sha256.hex())
        return replace(service_submission(command, submission), documents=(other, wrong))

    async def run() -> str:
        made = LongDay(directory=tmp_path, tamper=tamper)
        async with made:
            await made.run()
            await made.send("meter-b", made.late())
            await made.work()
            await write_bundle(made, tmp_path / "auditor", BundleKind.AUDITOR)
        return made.vkey

    with patch("os.fsync"):
        vkey = asyncio.run(run())
    report = verify(tmp_path / "auditor", vkey)
    assert report.step(Step.HOURS).result is Result.FAILED


def test_explain_walks_a_line_back_to_its_readings(day: tuple[LongDay, Path]) -> None:
    made, directory = day
    bundle = read_bundle(directory / "auditor", made.vkey)
    kinds = set()
    for issued in bundle.extract.statements:
        for number, line in enumerate(issued.statement.lines, start=1):
            found = explain(bundle, issued.statement.statement_id, number)
            assert found.ok, (issued.statement.statement_id, number, found)
            whats = [step.what for step in found.steps]
            assert whats.count("posting") == len(line.transfer_ids)
            if line.contract_id and line.interval_start:
                assert {"statement", "posting", "award"} <= set(whats)
            kinds |= set(whats)
    assert kinds == {
        "statement",
        "posting",
        "award",
        "award notice",
        "price",
        "spot",
        "delivered",
        "reading",
        "dispute",
    }
    with pytest.raises(ExplainError):
        explain(bundle, "nothing", 1)


def test_explain_command_prints_every_step_with_its_entry(day: tuple[LongDay, Path]) -> None:
    made, directory = day
    issued = next(
        item.statement
        for item in read_bundle(directory / "auditor", made.vkey).extract.statements
        if item.statement.party_id == "lab-2" and item.statement.asset == "USD"
    )
    number = next(n for n, line in enumerate(issued.lines, 1) if line.code is TransferCode.RECLAIM)
    arguments = ["explain", issued.statement_id, str(number), "--json"]
    bundle = ["--bundle", str(directory / "auditor"), "--key", made.vkey]
    answer = CliRunner().invoke(app, [*arguments, *bundle])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["ok"]
    assert document["code"] == "RECLAIM"
    assert all(step["proved"] for step in document["steps"])
    wrong = CliRunner().invoke(app, ["explain", issued.statement_id, "999", *bundle])
    assert wrong.exit_code != 0


def test_new_money_passes_through_the_exports(day: tuple[LongDay, Path]) -> None:
    made, directory = day
    extract = read_bundle(directory / "auditor", made.vkey).extract
    books = journal(
        origin=extract.origin, size=extract.size, root=extract.root, movements=extract.movements
    )
    for text in (hledger_text(books), beancount_text(books)):
        assert "ispute" in text
        assert "RECLAIM" in text
    table = focus_table(extract, "lab-2")
    rows = [dict(zip([c.name for c in table.columns], row, strict=True)) for row in table.rows]
    codes = {str(row["x_Code"]) for row in rows}
    assert {"RECLAIM", "SPOT_PURCHASE", "AUCTION_LEG"} <= codes
    billed = sum(
        m.applied * ((m.transfer.debit == "p:lab-2:cash") - (m.transfer.credit == "p:lab-2:cash"))
        for m in extract.movements
        if m.transfer.asset == "USD"
        and m.transfer.phase is not Phase.PENDING
        and m.transfer.code is not TransferCode.PAYOUT
    )
    assert sum(int(str(row["BilledCost"])) for row in rows) == billed
    periods = {(row["ChargePeriodStart"], row["ChargePeriodEnd"]) for row in rows}
    assert periods == {(FIRST + n * HOUR, FIRST + (n + 1) * HOUR) for n in range(HOURS)}
    report = community_report(
        extract,
        "site-a",
        Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + HOURS * HOUR)),
    )
    held = made.sequencer.state.books.balance("community:site-a").posted
    assert report.earned == held + report.paid


class RichDay(LongDay):
    """Interruptibles are cheap at spot: what firm load pays for their chips is a surplus."""

    def spot(self) -> SpotResult:
        found = super().spot()
        (price,) = found.prices
        cheap = replace(price, availability=MicroUsdPerChipHour(2_500_000))
        return replace(found, prices=(cheap,))


def test_the_pools_surplus_goes_back_after_the_month(tmp_path: Path) -> None:
    """With a ceiling of a tenth of a cent, so that one day's surplus is above it."""
    ceiling = 1_000

    async def run() -> LongDay:
        made = RichDay(directory=tmp_path)
        async with made:
            await made.run()
            books = made.sequencer.state.books
            assert books.balance(accounts.POOL).posted > ceiling
            before = {name: made.cash(name) for name in ("lab-1", "lab-2", "lab-3")}
            await made.advance(FIRST + 40 * 86_400)
            await made.work()
            assert books.balance(accounts.POOL).posted == ceiling
            assert all(made.cash(name) > amount for name, amount in before.items())
            assert not await made.settler.step()
            await write_bundle(made, tmp_path / "auditor", BundleKind.AUDITOR)
        return made

    with (
        patch("os.fsync"),
        patch("iso_exchange.settler.settler.POOL_CEILING_MICRO_USD", ceiling),
        patch("iso_exchange.settler.recomputation.POOL_CEILING_MICRO_USD", ceiling),
    ):
        made = asyncio.run(run())
        assert verify(tmp_path / "auditor", made.vkey).ok
        assert INDEPENDENT.verify(tmp_path / "auditor", made.vkey)[0] == 0
    # Under the real ceiling the same entry does not follow.
    assert verify(tmp_path / "auditor", made.vkey).step(Step.HOURS).result is Result.FAILED
