"""Two logs held against each other: the end of one and the beginning of the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from iso_exchange.commands import CloseLog, Command, ContinueLog, RecordDeposit
from iso_exchange.sequencer.state import State
from iso_exchange.sequencer.succession import CARRIED, carried_amount, carried_reference


@dataclass(slots=True, kw_only=True)
class Succession:
    """What a log says about the one before it and the one after it.

    Attributes:
        carried: Amount by bank reference of deposits that carry balances over.
    """

    continued: ContinueLog | None = None
    closed: CloseLog | None = None
    carried: dict[str, tuple[str, int]] = field(default_factory=dict)

    def see(self, command: Command) -> None:
        """A readable entry."""
        if isinstance(command, ContinueLog):
            self.continued = self.continued or command
        elif isinstance(command, CloseLog):
            self.closed = self.closed or command
        elif isinstance(command, RecordDeposit) and command.bank_reference.startswith(CARRIED):
            self.carried[command.bank_reference] = (command.participant_id, command.amount)


class Before(Protocol):
    """The log before, verified."""

    @property
    def problem(self) -> str:
        """Why it cannot be believed, empty where nothing failed."""
        ...

    @property
    def succession(self) -> Succession:
        """What it says about itself."""
        ...

    def root_at(self, size: int) -> bytes:
        """Root of its first leaves.

        Raises:
            TileError: it has fewer.
        """
        ...


def findings(origin: str, after: Succession, before: Before) -> Iterator[str]:
    """What does not fit between two logs, but for their balances.

    Args:
        origin: Of the later log.
    """
    continued, closed = after.continued, before.succession.closed
    assert continued is not None, "the caller looked"
    if before.problem:
        yield f"{continued.origin}: {before.problem}"
    if before.root_at(continued.size) != continued.root:
        yield f"{continued.origin} has another root at {continued.size} entries"
    if closed is None:
        yield f"{continued.origin} is not closed"
    elif (closed.successor_origin, closed.successor_key, closed.log_key) != (
        origin,
        continued.new_log_key,
        continued.old_log_key,
    ):
        yield f"{continued.origin} was closed for {closed.successor_origin}, or for another key"


def balance_findings(after: Succession, before_origin: str, state: State) -> Iterator[str]:
    """Balances that were not carried over as they were.

    Args:
        state: Of the log before, at its end.
    """
    expected = {
        carried_reference(before_origin, name): (name, carried_amount(state, name))
        for name in state.participants
        if carried_amount(state, name)
    }
    for reference in sorted(expected.keys() | after.carried.keys()):
        due, found = expected.get(reference), after.carried.get(reference)
        if due != found:
            yield f"{reference}: {found and found[1]} micro-USD, it held {due and due[1]}"
