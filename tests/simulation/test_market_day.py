"""A market day survives a crash between any two storage calls.

A store breaks at its n-th call, before or after the call took effect. The process is gone:
sequencer, auctioneer, settler and publisher are made anew on what is stored, and the script
of the day runs again from its beginning with the same request ids. At the end books, orders,
contracts and statements are those of a day without a crash, the log verifies, and a model
of twenty lines that knows nothing of the books gives every balance.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from clearing import codec
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.report import Result
from iso_exchange.audit.verify import verify
from iso_exchange.clock import MICROSECONDS, SimulatedClock
from iso_exchange.sequencer.sequencer import StoppedError
from settlement.ledger import accounts
from settlement.storage.memory import MemoryStore
from settlement.storage.store import (
    AppliedTransfer,
    Balance,
    Commit,
    Document,
    Entry,
    LedgerStore,
    Published,
    StoreError,
    TreeState,
)
from settlement.types import Phase
from tests.integration.bundles import write_bundle
from tests.integration.market_day import (
    AUCTION,
    CELL,
    GAP,
    HOUR,
    HOURS,
    MORNING,
    NODE,
    SHORTFALL,
    SURCHARGES,
    MarketDay,
)

STARTS_MAX = 3
SAMPLES = 12


class BrokenStore:
    """Passes every call on and breaks once: before the call, or after it took effect."""

    def __init__(self, store: LedgerStore, break_at: int, *, after: bool) -> None:
        """Break at the ``break_at``-th call, counted from 1; 0 never breaks."""
        self._store = store
        self._break_at = break_at
        self._after = after
        self.calls = 0
        self.broken_call = ""

    def _enter(self, name: str) -> bool:
        """Count a call; True when it must break after it took effect."""
        self.calls += 1
        if self.calls != self._break_at:
            return False
        self.broken_call = name
        if not self._after:
            raise StoreError("UNKNOWN_OUTCOME", f"broke before {name}")
        return True

    def _leave(self, name: str, *, breaks: bool) -> None:
        if breaks:
            raise StoreError("UNKNOWN_OUTCOME", f"broke after {name}")

    async def take_over(self) -> TreeState:
        breaks = self._enter("take_over")
        answer = await self._store.take_over()
        self._leave("take_over", breaks=breaks)
        return answer

    async def tree_state(self) -> TreeState:
        breaks = self._enter("tree_state")
        answer = await self._store.tree_state()
        self._leave("tree_state", breaks=breaks)
        return answer

    async def commit(self, batch: Commit) -> None:
        breaks = self._enter("commit")
        await self._store.commit(batch)
        self._leave("commit", breaks=breaks)

    async def entries(self, start: int, limit: int) -> Sequence[Entry]:
        breaks = self._enter("entries")
        answer = await self._store.entries(start, limit)
        self._leave("entries", breaks=breaks)
        return answer

    async def leaves(self, start: int, limit: int) -> Sequence[bytes]:
        breaks = self._enter("leaves")
        answer = await self._store.leaves(start, limit)
        self._leave("leaves", breaks=breaks)
        return answer

    async def leaf_hashes(self, start: int, limit: int) -> Sequence[bytes]:
        return await self._store.leaf_hashes(start, limit)

    async def find_request(self, principal: str, request_id: str) -> Entry | None:
        breaks = self._enter("find_request")
        answer = await self._store.find_request(principal, request_id)
        self._leave("find_request", breaks=breaks)
        return answer

    async def document(self, sha256: bytes) -> Document | None:
        breaks = self._enter("document")
        answer = await self._store.document(sha256)
        self._leave("document", breaks=breaks)
        return answer

    async def documents(self, kind: str, start: bytes, limit: int) -> Sequence[Document]:
        return await self._store.documents(kind, start, limit)

    async def transfers(
        self, account: str, start: tuple[int, int], limit: int
    ) -> Sequence[AppliedTransfer]:
        return await self._store.transfers(account, start, limit)

    async def balances(self, prefix: str) -> Sequence[Balance]:
        return await self._store.balances(prefix)

    async def published(self) -> Published | None:
        breaks = self._enter("published")
        answer = await self._store.published()
        self._leave("published", breaks=breaks)
        return answer

    async def publish(self, expected_size: int, new: Published) -> None:
        breaks = self._enter("publish")
        await self._store.publish(expected_size, new)
        self._leave("publish", breaks=breaks)

    async def close(self) -> None:
        await self._store.close()


class Ended:
    """What a day left behind."""

    def __init__(self, day: MarketDay, starts: int, store: BrokenStore) -> None:
        state = day.sequencer.state
        self.starts = starts
        self.broken_call = store.broken_call
        self.calls = store.calls
        self.balances = state.books.balances()
        self.contracts = sorted(state.contracts)
        self.orders = {name: order.state for name, order in state.orders.items()}
        self.statements = {name: codec.encode(item) for name, item in state.statements.items()}
        self.totals = {name: sorted(item.totals) for name, item in state.auctions.items()}
        self.notified = {name: sorted(item.notified) for name, item in state.auctions.items()}
        self.entries = day.sequencer.size
        self.open_holds = state.books.open_holds()

    def facts(self) -> tuple[object, ...]:
        """Everything that must not depend on crashes."""
        return (
            self.balances,
            self.contracts,
            self.orders,
            self.statements,
            self.totals,
            self.notified,
            self.entries,
            self.open_holds,
        )


async def run_day(directory: Path, break_at: int, *, after: bool) -> tuple[Ended, MarketDay]:
    """One day that breaks once, started again as often as needed."""
    memory = MemoryStore()
    clock = SimulatedClock(MORNING * MICROSECONDS)
    store = BrokenStore(memory, break_at, after=after)
    for start in range(1, STARTS_MAX + 1):
        day = MarketDay(directory=directory, store=store, clock=clock)
        try:
            # Not printed: the traceback of a crash takes longer than the day.
            with capture_logs():
                async with day:
                    await day.run()
        except (StoreError, StoppedError):
            continue
        return Ended(day, start, store), day
    message = f"the day did not end in {STARTS_MAX} starts"
    raise AssertionError(message)


@pytest.fixture(autouse=True)
def _without_syncing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The crashes of these tests are the store's; no power is cut."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A day without a crash."""
    directory = tmp_path_factory.mktemp("calm")
    return asyncio.run(run_day(directory, 0, after=False))[0]


async def check_end(ended: Ended, day: MarketDay, directory: Path) -> None:
    """The log verifies, and the model gives every balance that the store keeps."""
    await write_bundle(day, directory / "bundle", BundleKind.AUDITOR)
    report = verify(directory / "bundle", day.vkey)
    assert [step.name for step in report.steps if step.result is not Result.OK] == []
    transfers = await day.store.transfers("", (0, 0), 10_000)
    model = model_balances(transfers)
    kept = {
        (item.account, item.asset): (item.posted, item.pending_debit, item.pending_credit)
        for item in await day.store.balances("")
    }
    assert model == kept
    assert kept == {
        (item.account, item.asset): (item.posted, item.pending_debit, item.pending_credit)
        for item in ended.balances
    }


def model_balances(
    transfers: Sequence[AppliedTransfer],
) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Posted, pending debit and pending credit of every account, from the transfers alone."""
    cells: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    holds = {item.transfer.transfer_id: item.transfer.amount for item in transfers}
    for item in transfers:
        transfer = item.transfer
        debit = cells[transfer.debit, transfer.asset]
        credit = cells[transfer.credit, transfer.asset]
        if transfer.phase is Phase.PENDING:
            debit[1] += transfer.amount
            credit[2] += transfer.amount
            continue
        debit[0] -= transfer.amount
        credit[0] += transfer.amount
        if transfer.pending_id:
            debit[1] -= holds[transfer.pending_id]
            credit[2] -= holds[transfer.pending_id]
    return {key: (cell[0], cell[1], cell[2]) for key, cell in cells.items()}


async def test_a_calm_day_is_what_the_script_says(tmp_path: Path, calm: Ended) -> None:
    ended, day = await run_day(tmp_path, 0, after=False)
    assert ended.starts == 1
    assert ended.facts() == calm.facts()
    await check_end(ended, day, tmp_path)
    state = day.sequencer.state
    assert ended.open_holds == ()
    assert {name: len(item.settled) for name, item in state.auctions.items()} == {AUCTION: HOURS}
    # What was delivered is known from the script: every chip of every contract in every
    # metering interval, but the gap and the node that was down. Surcharge is rounded per
    # contract and hour, and what was not paid out is less than a cent.
    paid = {item.account: item.payout for item in state.statements.values()}
    for site_id, surcharge in SURCHARGES.items():
        hours = [
            (contract.pool_id, hour)
            for contract in state.contracts.values()
            if contract.site_id == site_id
            for hour in contract.hours
        ]
        quantity = sum(hour.chips * HOUR for _, hour in hours)
        quantity -= sum(
            hour.chips * CELL
            for pool_id, hour in hours
            if pool_id == GAP[0] and hour.interval.start <= GAP[1] < hour.interval.end
        )
        quantity -= NODE * CELL if hours[0][0] == SHORTFALL[0] else 0
        account = accounts.community(site_id)
        earned = state.books.balance(account).posted + paid.get(account, 0)
        assert abs(3_600 * earned - surcharge * quantity) <= 3_600 * len(hours)
        assert 0 <= state.books.balance(account).posted < 10_000
        assert (earned > 0) == (surcharge > 0)


def test_the_store_breaks_where_it_is_told(tmp_path: Path) -> None:
    before = asyncio.run(run_day(tmp_path / "before", 5, after=False))[0]
    after = asyncio.run(run_day(tmp_path / "after", 5, after=True))[0]
    assert (before.starts, after.starts) == (2, 2)
    assert before.broken_call == after.broken_call == "commit"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("sample", range(SAMPLES))
def test_a_crash_between_any_two_storage_calls(
    tmp_path: Path, calm: Ended, sample: int, after: bool
) -> None:
    # Spread over the whole day; the two kinds of crash look at different calls.
    first = 1 + sample * calm.calls // SAMPLES
    break_at = min(calm.calls, first + (7 if after else 0))

    async def run() -> None:
        ended, day = await run_day(tmp_path, break_at, after=after)
        assert ended.starts == 2, f"break at {break_at} of {calm.calls}: {ended.broken_call}"
        assert ended.facts() == calm.facts(), f"break at {break_at}: {ended.broken_call}"
        await check_end(ended, day, tmp_path)

    asyncio.run(run())
