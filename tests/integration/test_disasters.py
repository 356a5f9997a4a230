"""Restored backups, a second sequencer, flipped bits, a clock set back: refused or survived.

Each with a message that says what is wrong; see ops/runbooks.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

import asyncpg
import pytest
import structlog

from clearing.units import MicroUsd
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.verify import verify
from iso_exchange.clock import MICROSECONDS, SimulatedClock
from iso_exchange.commands import RecordDeposit
from iso_exchange.publisher.publisher import Publisher
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.sequencer import Sequencer, StoppedError, Submission
from iso_exchange.storage.postgres import PostgresStore
from settlement.storage.memory import MemoryStore
from settlement.storage.store import LedgerStore, StoreError
from tests.integration.bundles import write_bundle
from tests.integration.market_day import HOUR, MORNING, ORIGIN, MarketDay, header, key_of
from tests.torture.checks import History, check_files
from tests.torture.forgery import INDEPENDENT


def sequencer_of(store: LedgerStore) -> Sequencer:
    return Sequencer(
        store=store,
        clock=SimulatedClock(MORNING * MICROSECONDS),
        origin=ORIGIN,
        log_key=key_of("log"),
        new_salt=random.Random(1).randbytes,
        code_version="test",
    )


def publisher_of(store: LedgerStore, directory: Path) -> Publisher:
    return Publisher(store=store, origin=ORIGIN, key=key_of("log"), directory=directory)


@asynccontextmanager
async def traded(url: str, directory: Path) -> AsyncIterator[MarketDay]:
    """A market with published orders in PostgreSQL."""
    store = await PostgresStore.open(url)
    try:
        with patch("os.fsync"):  # nobody cuts the power of a test
            async with MarketDay(directory=directory, store=store) as day:
                await day.open_market()
                await day.publisher.publish()
                await day.trade()
                await day.publisher.publish()
                yield day
    finally:
        await store.close()


async def change(url: str, statement: str, *arguments: object) -> None:
    """What no role of the exchange may do: a superuser, or a disk, changes a row."""
    connection = await asyncpg.connect(url)
    try:
        for table in ("entries", "documents", "transfers"):
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        assert await connection.execute(statement, *arguments) == "UPDATE 1"
    finally:
        await connection.close()


async def refusal(url: str) -> StoreError:
    """How the sequencer refuses to start."""
    store = await PostgresStore.open(url)
    try:
        with pytest.raises(StoreError) as refused:
            await sequencer_of(store).start()
    finally:
        await store.close()
    return refused.value


# Backups ---------------------------------------------------------------------------------


async def test_an_old_backup_of_the_database_is_refused(tmp_path: Path) -> None:
    """The log directory is ahead of it: readers hold a checkpoint that it does not know."""
    store = MemoryStore()
    async with MarketDay(directory=tmp_path, store=store) as day:
        await day.open_market()
        await day.publisher.publish()
        backup = await copy_of(store)
        await day.trade()
        await day.publisher.publish()
    with pytest.raises(StoreError, match="ROLLED_BACK: the checkpoint file names"):
        await publisher_of(backup, day.log_directory).start()


async def copy_of(store: MemoryStore) -> MemoryStore:
    """As a dump and a restore give it."""
    backup = MemoryStore()
    for name in vars(store):
        value = getattr(store, name)
        setattr(backup, name, value.copy() if hasattr(value, "copy") else value)
    return backup


async def test_an_old_backup_of_the_log_directory_is_completed(tmp_path: Path) -> None:
    """The database is ahead of it: everything missing is written anew, then the checkpoint."""
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        await day.publisher.publish()
        backup = Path(shutil.copytree(day.log_directory, tmp_path / "backup"))
        await day.trade()
        await day.publisher.publish()
        with structlog.testing.capture_logs() as said:
            await publisher_of(day.store, backup).start()
    history = History(vkey=day.vkey)
    assert check_files(backup, history) == day.publisher.published.size  # type: ignore[union-attr]
    missing = [line["path"] for line in said if "missing" in line["event"]]
    assert len(missing) == 2
    assert all(str(backup) in path for path in missing)


# Two of them -----------------------------------------------------------------------------


async def test_a_second_sequencer_fences_the_first(database_url: str, tmp_path: Path) -> None:
    """The first acknowledges nothing more, and says why."""
    async with traded(database_url, tmp_path) as day:
        store = await PostgresStore.open(database_url)
        second = sequencer_of(store)
        await second.start()
        before = await store.tree_state()
        with pytest.raises(StoppedError, match="STALE_TREE_STATE: the head is not"):
            await day.sequencer.submit(deposit(day, "again"))
        assert (await store.tree_state()) == before
        assert before.epoch == 2
        assert second.size == before.size
        await store.close()


def deposit(day: MarketDay, reference: str) -> Submission:
    """A deposit that was not sent yet."""
    return day.submission(
        "operator",
        RecordDeposit(
            header=header("operator", reference),
            participant_id="lab-1",
            amount=MicroUsd(1_000_000),
            bank_reference=reference,
        ),
    )


async def test_a_second_publisher_signs_nothing_that_the_first_did(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        other = publisher_of(day.store, day.log_directory)
        await other.start()
        await day.publisher.publish()
        with pytest.raises(StoreError, match="STALE_TREE_STATE: published"):
            await other.publish()
        history = History(vkey=day.vkey)
        assert check_files(day.log_directory, history) == day.sequencer.size
        assert len(history.notes) == 1


# Bits ------------------------------------------------------------------------------------


BITS = {
    "a public leaf": ("leaf", "SITE", "does not have its hash"),
    "a batch header": ("leaf", "BATCH", "does not have its hash"),
    "a leaf hash": ("leaf_hash", "ORDER", "does not have its hash"),
    "a sealed envelope": ("envelope", "ORDER", "is not what its leaf says"),
    "a salt": ("salt", "DEPOSIT", "is not what its leaf says"),
}


@pytest.mark.parametrize(("column", "kind", "detail"), BITS.values(), ids=BITS.keys())
async def test_a_flipped_bit_in_an_entry(
    database_url: str, tmp_path: Path, column: str, kind: str, detail: str
) -> None:
    async with traded(database_url, tmp_path):
        pass
    middle = f"length({column}) / 2"
    flipped = f"set_byte({column}, {middle}, get_byte({column}, {middle}) # 1)"
    first = "(SELECT min(index) FROM entries WHERE kind = $1)"
    statement = f"UPDATE entries SET {column} = {flipped} WHERE index = {first}"  # noqa: S608
    await change(database_url, statement, kind)
    refused = await refusal(database_url)
    assert refused.code == "DAMAGED"
    assert detail in refused.detail
    assert "restore the database" in refused.detail


async def test_a_changed_balance(database_url: str, tmp_path: Path) -> None:
    async with traded(database_url, tmp_path):
        pass
    await change(
        database_url, "UPDATE balances SET posted = posted + 1 WHERE account = 'p:lab-1:collateral'"
    )
    refused = await refusal(database_url)
    assert refused.code == "DAMAGED"
    assert "p:lab-1:collateral holds" in refused.detail


async def test_a_flipped_bit_in_a_document(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        await day.trade()
        await day.clear()
    store = day.store
    assert isinstance(store, MemoryStore)
    digest, document = next(iter(store._documents.items()))
    body = bytes([document.body[0] ^ 1]) + document.body[1:]
    object.__setattr__(document, "body", body)
    with pytest.raises(StoreError, match=f"DAMAGED: document {digest.hex()} has another digest"):
        await sequencer_of(store).start()


@pytest.mark.parametrize("pattern", ["tile/0/*.p/*", "tile/entries/*.p/*"])
async def test_a_flipped_bit_in_a_published_file(tmp_path: Path, pattern: str) -> None:
    """Refused at the next start, with the way out; auditors find it in the meantime."""
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        await day.publisher.publish()
        path = max(day.log_directory.glob(pattern))
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(
            StoreError, match=r"DAMAGED: .* move it away and start again"
        ) as refused:
            await publisher_of(day.store, day.log_directory).start()
        assert str(path) in refused.value.detail
        await write_bundle(day, tmp_path / "bundle", BundleKind.PUBLIC)
        assert not verify(tmp_path / "bundle", day.vkey).ok
        assert INDEPENDENT.verify(tmp_path / "bundle", day.vkey)[0] == 1
        path.unlink()
        await publisher_of(day.store, day.log_directory).start()
        assert path.read_bytes() == whole


# The clock -------------------------------------------------------------------------------


class JumpingClock(SimulatedClock):
    """A host's clock that somebody sets back while the exchange runs."""

    back_us = 0

    def now_us(self) -> int:
        return super().now_us() - self.back_us


@pytest.mark.parametrize("restart", [False, True])
async def test_a_clock_set_back_an_hour_stands_still(tmp_path: Path, *, restart: bool) -> None:
    clock = JumpingClock(MORNING * MICROSECONDS)
    async with MarketDay(directory=tmp_path, clock=clock) as day:
        await day.open_market()
        clock.advance((MORNING + HOUR // 2) * MICROSECONDS)
        first = await day.sequencer.submit(deposit(day, "before"))
        clock.back_us = HOUR * MICROSECONDS
        if not restart:
            second = await day.sequencer.submit(deposit(day, "after"))
    if restart:
        with structlog.testing.capture_logs() as said:
            async with MarketDay(directory=tmp_path, clock=clock, store=day.store) as day:
                second = await day.sequencer.submit(deposit(day, "after"))
        warning = next(line for line in said if "behind the log" in line["event"])
        assert (warning["log_level"], warning["seconds"]) == ("warning", HOUR)
    assert not isinstance(first, Rejected)
    assert not isinstance(second, Rejected)
    assert second.time_us == first.time_us
    await day.publisher.publish()
    bundle = await write_bundle(day, tmp_path / "bundle", BundleKind.AUDITOR)
    assert bundle.size == day.sequencer.size
    assert verify(tmp_path / "bundle", day.vkey).ok
    assert INDEPENDENT.verify(tmp_path / "bundle", day.vkey)[0] == 0
