"""Nobody is told what a crash would take back: ``durable`` waits for the batch being applied."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from iso_exchange.sequencer.leaves import Receipt
from iso_exchange.sequencer.sequencer import StoppedError
from settlement.storage.memory import MemoryStore
from settlement.storage.store import Commit, StoreError
from tests.integration.market_day import MarketDay, registry


class SlowStore(MemoryStore):
    """Holds a commit until it is let through, or breaks it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.released = asyncio.Event()
        self.broken = False

    async def commit(self, batch: Commit) -> None:
        self.reached.set()
        await self.released.wait()
        if self.broken:
            raise StoreError("UNKNOWN_OUTCOME", "the connection broke")
        await super().commit(batch)


@pytest.mark.parametrize("broken", [False, True])
async def test_what_is_shown_waits_for_its_commit(tmp_path: Path, *, broken: bool) -> None:
    store = SlowStore()
    store.broken = broken
    async with MarketDay(directory=tmp_path, store=store) as day:
        await asyncio.wait_for(day.sequencer.durable(), 1)  # nothing is under way
        command = next(registry(day.secrets))
        sending = asyncio.create_task(day.sequencer.submit(day.submission("operator", command)))
        await store.reached.wait()
        assert "operator" in day.sequencer.state.participants  # shown already, not yet stored
        waiting = asyncio.create_task(day.sequencer.durable())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        store.released.set()
        if broken:
            with pytest.raises(StoppedError, match="the connection broke"):
                await asyncio.wait_for(waiting, 1)
            with pytest.raises(StoppedError):
                await sending
        else:
            await asyncio.wait_for(waiting, 1)
            assert isinstance(await sending, Receipt)
            assert day.sequencer.size == 2
