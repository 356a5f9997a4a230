"""What every service is given, and the three questions that every method begins with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from iso_exchange.clock import Clock
from iso_exchange.gateway.journal import Journal
from iso_exchange.publisher.publisher import Publisher
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.sequencer.state import State
from iso_exchange.services.access import Caller, Context, caller_of
from iso_exchange.services.mutations import Mutations
from settlement.storage.store import LedgerStore

AdvanceClock = Callable[[int], Awaitable[int]]
"""Moves a simulated clock to a time in microseconds and returns where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Parts of the exchange that services use.

    Attributes:
        advance_clock: None where the clock is the system's.
    """

    sequencer: Sequencer
    store: LedgerStore
    publisher: Publisher
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
