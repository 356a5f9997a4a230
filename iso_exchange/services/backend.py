"""What every service is given, and the three questions that every method begins with."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from iso_exchange.clock import Clock
from iso_exchange.gateway.journal import HEARTBEAT_SECONDS, Journal
from iso_exchange.publisher.publication import Publication
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.sequencer.state import State
from iso_exchange.services.access import Caller, Context, caller_of
from iso_exchange.services.errors import refuse
from iso_exchange.services.mutations import Mutations
from settlement.storage.store import LedgerStore

FROM_NOW_ON: Final = -1
NO_ENTRY: Final = -1
"""Entry index of a heartbeat."""

AdvanceClock = Callable[[int], Awaitable[int]]
"""Moves a simulated clock to a time in microseconds and returns where it stands."""


class Pulse:
    """When a stream last sent something; a silent one sends heartbeats."""

    def __init__(self) -> None:
        """Begin now."""
        self._last = time.monotonic()

    def beat(self) -> None:
        """Something is sent."""
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether a heartbeat is to be sent; if so it counts as sent."""
        if time.monotonic() - self._last < HEARTBEAT_SECONDS - 1:
            return False
        self.beat()
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Parts of the exchange that services use.

    Attributes:
        advance_clock: None where the clock is the system's.
    """

    sequencer: Sequencer
    store: LedgerStore
    publisher: Publication
    journal: Journal
    mutations: Mutations
    clock: Clock
    advance_clock: AdvanceClock | None

    @property
    def state(self) -> State:
        """State as the sequencer has it; read only."""
        return self.sequencer.state

    @property
    def size(self) -> int:
        """Log entries that an answer made now reflects."""
        return self.sequencer.size

    def caller(self, context: Context) -> Caller:
        """Who is calling.

        Raises:
            Refused: UNAUTHENTICATED.
        """
        return caller_of(self.state, context)

    def first_entry(self, requested: int) -> int:
        """Where a watch begins: an entry of the log, or -1 for what comes from now on.

        Raises:
            Refused: INVALID_ARGUMENT.
        """
        if requested < FROM_NOW_ON:
            raise refuse(
                Code.INVALID_VALUE,
                "start_entry_index",
                "an entry from 0, or -1 for what comes from now on",
                got=str(requested),
            )
        return self.size if requested == FROM_NOW_ON else requested
