"""Survivors leave the collector's sight every so often, and come back when the work ends."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

from iso_exchange.sequencer.pauses import ENTRY_COUNT, Pauses
from tests.integration.market_day import MarketDay


def test_nothing_is_collected_inside_a_block_and_the_setting_comes_back() -> None:
    pauses = Pauses()
    with pauses.none():
        assert not gc.isenabled()
        with pauses.none():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_survivors_are_frozen_after_enough_entries() -> None:
    pauses = Pauses()
    try:
        before = gc.get_freeze_count()
        pauses.after(ENTRY_COUNT - 1)
        assert gc.get_freeze_count() == before
        pauses.after(1)
        assert gc.get_freeze_count() > before
    finally:
        pauses.end()
    assert gc.get_freeze_count() == 0


async def test_a_sequencer_that_ends_leaves_nothing_frozen(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        await asyncio.sleep(0)
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
