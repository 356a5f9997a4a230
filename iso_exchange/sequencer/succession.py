"""The end of a log and the beginning of the one that continues it, such as a year's.

A log is closed when nothing in it is open: no order, no contract, no money on hold. What
its books still hold is carried over by deposits of the operator in the new log, which the
audit of both compares (``iso_exchange.audit.succession``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clearing.units import MicroUsd
from iso_exchange.commands import CloseLog, ContinueLog
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.registry import is_key_known
from iso_exchange.sequencer.state import AuctionState, State
from settlement.ledger import accounts
from settlement.ledger.errors import KeyFormatError
from settlement.ledger.keys import check_key_name
from settlement.ledger.merkle import HASH_BYTES

CARRIED: Final = "carried over from"
"""First words of the bank reference of a deposit that carries a balance over."""


def open_business(state: State) -> Iterator[str]:
    """What keeps a log from being closed, one sentence each."""
    for name, auction in state.auctions.items():
        if auction.state not in (AuctionState.SETTLED, AuctionState.FAILED):
            yield f"auction {name} is {auction.state.value}"
        elif auction.unstated:
            yield f"auction {name} has statements to come"
    for name, book in state.credit_books.items():
        if book.bids or any(not decided.is_decided for decided in book.rounds.values()):
            yield f"credits book {name} has bids, or a round without its result"
    for name, kept in state.allocations.items():
        if kept.runs:
            yield f"the allocation of {name} from {min(kept.runs)} on is not on record"
    if any(True for _ in state.books.open_holds()):
        yield "money is on hold"
    for name in state.participants:
        if carried_amount(state, name) < 0:
            yield f"{name} owes {-carried_amount(state, name)} micro-USD"


def carried_amount(state: State, participant_id: str) -> MicroUsd:
    """Collateral and cash that a participant takes along."""
    held = state.books.balance(accounts.collateral(participant_id)).posted
    return MicroUsd(held + state.books.balance(accounts.cash(participant_id)).posted)


def carried_reference(origin: str, participant_id: str) -> str:
    """Bank reference of the deposit that carries a balance over."""
    return f"{CARRIED} {origin}: {participant_id}"


def close_log(state: State, command: CloseLog, _: Meta) -> Accepted | Rejected:
    """Accept nothing more but releases of books."""
    try:
        check_key_name(command.successor_origin)
    except KeyFormatError as error:
        return _invalid("successor_origin", str(error), command.successor_origin)
    if command.successor_origin == state.origin:
        return _invalid("successor_origin", "another name than this log's", state.origin)
    if state.log_keys and command.log_key != state.log_keys[-1]:
        return _invalid("log_key", "name the log key in force", command.log_key.hex())
    if command.successor_key == command.log_key or is_key_known(state, command.successor_key):
        return _invalid("successor_key", "a key is used once", command.successor_key.hex())
    waiting = next(open_business(state), "")
    if waiting:
        return Rejected(
            code=Code.WRONG_STATE,
            field="",
            advice="a log is closed when everything in it is settled",
            got=waiting,
        )
    state.closed = command.successor_origin
    return Accepted()


def continue_log(state: State, command: ContinueLog, meta: Meta) -> Accepted | Rejected:
    """Begin with the end of another log."""
    if meta.index != 0 or state.participants or state.predecessor:
        return Rejected(
            code=Code.WRONG_STATE, field="", advice="only the first entry names a log before"
        )
    if command.origin == state.origin or command.size <= 0 or len(command.root) != HASH_BYTES:
        return _invalid("origin", "name another log, its size and root", command.origin)
    if command.old_log_key == command.new_log_key:
        return _invalid("new_log_key", "a key is used once", command.new_log_key.hex())
    state.predecessor = command.origin
    return Accepted()


def _invalid(field: str, advice: str, got: str) -> Rejected:
    return Rejected(code=Code.INVALID_VALUE, field=field, advice=advice, got=got)
