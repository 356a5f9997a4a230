"""Double-entry journals of all transfers, before a bookkeeping program's syntax.

Every transfer is one entry, so nothing is netted. A hold is a memorandum: it moves
``held:<debit account>`` and ``promised:<credit account>`` and no money; the transfer that
resolves it takes the memorandum back and books what was posted. So a journal ends with the
ledger's balances, holds included, and states them, so that a program that reads it finds
an amount that was changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from clearing.units import UnixSeconds
from settlement.exports import chart
from settlement.exports.errors import ExportError, ExportErrorCode
from settlement.exports.extract import Movement
from settlement.types import Phase, Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One side of an entry.

    Attributes:
        amount: In the smallest unit of the asset; a debit is positive.
    """

    account: str
    asset: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One transfer; its postings sum to zero."""

    movement: Movement
    postings: tuple[Posting, ...]

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What the ledger says of the transfer, by name; empty facts are left out."""
        transfer = self.movement.transfer
        found = (
            ("transfer", transfer.transfer_id),
            ("phase", transfer.phase.value),
            ("contract", transfer.contract_id),
            ("hour", str(transfer.interval_start or "")),
            ("chip-seconds", str(transfer.quantity or "")),
            ("micro-usd-per-chip-hour", str(transfer.price or "")),
            ("reason", transfer.reason),
            ("pending", transfer.pending_id),
            ("corrects", transfer.corrects),
        )
        return tuple((name, value) for name, value in found if value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """All entries, and what they end with.

    Attributes:
        closing: Sum of the postings per account and asset, sorted; accounts that ended at
            zero included.
    """

    origin: str
    size: int
    root: str
    start: UnixSeconds
    end: UnixSeconds
    entries: tuple[JournalEntry, ...]
    closing: tuple[Posting, ...]

    @property
    def assets(self) -> tuple[str, ...]:
        """Every asset, sorted."""
        return tuple(sorted({posting.asset for posting in self.closing}))

    @property
    def accounts(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Every account with its assets, sorted."""
        found: dict[str, list[str]] = defaultdict(list)
        for posting in self.closing:
            found[posting.account].append(posting.asset)
        return tuple((name, tuple(sorted(assets))) for name, assets in sorted(found.items()))


def journal(*, origin: str, size: int, root: str, movements: Iterable[Movement]) -> Journal:
    """Journal of all transfers.

    Args:
        origin: Name of the log.
        size: Leaves of the log that the transfers come from.
        root: Hex root of the log.
        movements: From the first one on, in order of application.

    Raises:
        ExportError: ``HISTORY_INCOMPLETE``: a hold is resolved that was not taken before.
    """
    holds: dict[str, Transfer] = {}
    totals: dict[tuple[str, str], int] = defaultdict(int)
    entries = []
    for movement in movements:
        postings = _postings(movement, holds)
        entries.append(JournalEntry(movement=movement, postings=postings))
        for posting in postings:
            totals[posting.account, posting.asset] += posting.amount
    return Journal(
        origin=origin,
        size=size,
        root=root,
        start=entries[0].movement.time if entries else UnixSeconds(0),
        end=entries[-1].movement.time if entries else UnixSeconds(0),
        entries=tuple(entries),
        closing=tuple(
            Posting(account=account, asset=asset, amount=totals[account, asset])
            for account, asset in sorted(totals)
        ),
    )


def _postings(movement: Movement, holds: dict[str, Transfer]) -> tuple[Posting, ...]:
    transfer = movement.transfer
    if transfer.phase is Phase.PENDING:
        holds[transfer.transfer_id] = transfer
        return _memorandum(transfer, transfer.amount)
    taken_back: tuple[Posting, ...] = ()
    if transfer.phase is not Phase.POSTED:
        hold = holds.pop(transfer.pending_id, None)
        if hold is None:
            raise ExportError(
                ExportErrorCode.HISTORY_INCOMPLETE,
                transfer.transfer_id,
                f"resolves {transfer.pending_id}, which is no open hold of this journal",
            )
        taken_back = _memorandum(hold, -hold.amount)
    if transfer.phase is Phase.VOID_PENDING:
        return taken_back
    return (
        Posting(account=transfer.debit, asset=transfer.asset, amount=movement.applied),
        Posting(account=transfer.credit, asset=transfer.asset, amount=-movement.applied),
        *taken_back,
    )


def _memorandum(hold: Transfer, amount: int) -> tuple[Posting, ...]:
    return (
        Posting(account=f"{chart.HELD}:{hold.debit}", asset=hold.asset, amount=amount),
        Posting(account=f"{chart.PROMISED}:{hold.credit}", asset=hold.asset, amount=-amount),
    )
