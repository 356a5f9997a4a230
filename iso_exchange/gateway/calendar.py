"""Moving a simulated clock so that everything that falls due on the way happens.

The host's clock goes on while the exchange is down; a simulated one is kept in a file, so
that a time that anybody has seen is never taken back by a restart.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from iso_exchange.clock import MICROSECONDS, SimulatedClock
from iso_exchange.publisher.files import replace
from iso_exchange.sequencer.credit_state import CreditBook
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.sequencer.spot_market import MarketState, SpotMarket
from iso_exchange.sequencer.state import AuctionState
from iso_exchange.services.backend import AdvanceClock

LOOK_SECONDS: Final = 1.0


def reached_us(path: Path) -> int:
    """Where a simulated clock stood, microseconds since the epoch; 0 when it never moved.

    Raises:
        ValueError: the file holds no time.
    """
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return 0


def advance_through_gates(clock: SimulatedClock, sequencer: Sequencer, path: Path) -> AdvanceClock:
    """Function that moves the clock gate by gate and waits for each auction's result.

    An auction that failed or is halted does not hold the clock up: it waits for the operator.

    Args:
        path: Keeps the time for ``reached_us``, written before the clock shows it.
    """

    async def advance(target_us: int) -> int:
        while True:
            next_us = _next_gate_us(sequencer, clock.now_us(), target_us)
            replace(path, b"%d\n" % next_us)
            clock.advance(next_us)
            await _settled(sequencer, clock)
            if next_us >= target_us:
                return clock.now_us()

    return advance


def _next_gate_us(sequencer: Sequencer, now_us: int, target_us: int) -> int:
    gates = [
        gate
        for auction in sequencer.state.auctions.values()
        if auction.state is AuctionState.OPEN
        and now_us < (gate := auction.created.close_time * MICROSECONDS) < target_us
    ]
    gates.extend(
        gate
        for market in sequencer.state.markets.values()
        if market.state is MarketState.OPEN
        and now_us < (gate := _next_run_gate(market, now_us)) < target_us
    )
    gates.extend(
        gate
        for book in sequencer.state.credit_books.values()
        if (start := book.next_start(now_us // MICROSECONDS)) is not None
        and now_us < (gate := book.gate(start) * MICROSECONDS) < target_us
    )
    return min(gates, default=target_us)


def _next_run_gate(market: SpotMarket, now_us: int) -> int:
    """Gate of the first run whose gate is still to come."""
    now = now_us // MICROSECONDS
    start = market.next_start(now)
    if market.gate(start) <= now:
        start += market.seconds
    return market.gate(start) * MICROSECONDS


def _gate_passed(market: SpotMarket, now_us: int) -> bool:
    """Whether the gate of a run has come and nobody closed it yet."""
    if market.state is not MarketState.OPEN:
        return False
    if market.revealed_count >= market.opened.chain_length:
        return False
    now = now_us // MICROSECONDS
    return market.gate(market.next_start(now)) <= now


def _round_waits(book: CreditBook, now_us: int) -> bool:
    """Whether a round's gate has come and its result has not."""
    now = now_us // MICROSECONDS
    start = book.next_start(now)
    due = start is not None and book.gate(start) <= now
    return due or any(not decided.is_decided for decided in book.rounds.values())


async def _settled(sequencer: Sequencer, clock: SimulatedClock) -> None:
    """Wait until no gate that was passed waits for its result."""
    while any(
        auction.state in (AuctionState.CLOSED, AuctionState.CLEARED)
        or (
            auction.state is AuctionState.OPEN
            and auction.created.close_time * MICROSECONDS <= clock.now_us()
        )
        for auction in (*sequencer.state.auctions.values(), *sequencer.state.runs.values())
    ) or (
        any(_gate_passed(market, clock.now_us()) for market in sequencer.state.markets.values())
        or any(_round_waits(book, clock.now_us()) for book in sequencer.state.credit_books.values())
    ):
        try:
            async with asyncio.timeout(LOOK_SECONDS), sequencer.changed:
                await sequencer.changed.wait()
        except TimeoutError:
            continue
