"""Double-entry books in memory: the guards every transfer passes, and the balances.

Modelled on TigerBeetle's ``create_transfer``: ordered guards, each with one named code,
then the effect, which cannot fail. A two-phase transfer is resolved once, by a post (in
whole or part; the rest is void) or a void. Whether a participant *may* spend is no guard
of the books: settlement must be able to bill what is owed. The caller asks ``available``
before it accepts an order.

The books keep open holds and the identifiers they have seen, not the history, which is
in the ledger; applying the ledger's transfers in order to empty books gives these books.
Every change is journalled until ``release``, so a sequencer can try a batch and roll back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from clearing.errors import InvariantError
from settlement.ledger import accounts
from settlement.storage.store import Balance
from settlement.types import USD, Phase, Postings, Transfer

MAX_AMOUNT: Final = 2**127 - 1
"""Largest amount and largest balance, either sign: 38 decimal digits hold it."""


class RejectCode(Enum):
    """Why a transfer was refused, in the order in which the guards are checked."""

    DUPLICATE_POSTINGS = "DUPLICATE_POSTINGS"
    """Of a whole document: its ``postings_id`` was applied before."""
    PHASE_UNKNOWN = "PHASE_UNKNOWN"
    FIELD_EMPTY = "FIELD_EMPTY"
    """``transfer_id``, ``asset``, ``debit`` or ``credit``."""
    AMOUNT_NEGATIVE = "AMOUNT_NEGATIVE"
    AMOUNT_TOO_LARGE = "AMOUNT_TOO_LARGE"
    SAME_ACCOUNT = "SAME_ACCOUNT"
    DUPLICATE_TRANSFER = "DUPLICATE_TRANSFER"
    PENDING_ID_UNEXPECTED = "PENDING_ID_UNEXPECTED"
    """A POSTED or PENDING transfer names a pending one."""
    PENDING_UNKNOWN = "PENDING_UNKNOWN"
    PENDING_RESOLVED = "PENDING_RESOLVED"
    ASSET_DIFFERS = "ASSET_DIFFERS"
    ACCOUNTS_DIFFER = "ACCOUNTS_DIFFER"
    VOID_AMOUNT_NOT_ZERO = "VOID_AMOUNT_NOT_ZERO"
    AMOUNT_ABOVE_PENDING = "AMOUNT_ABOVE_PENDING"
    BALANCE_TOO_LARGE = "BALANCE_TOO_LARGE"


class Applied(NamedTuple):
    """A transfer that took effect.

    Attributes:
        applied: Amount held (PENDING) or moved (POSTED, POST_PENDING); 0 for VOID_PENDING.
    """

    transfer: Transfer
    applied: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A transfer that was refused; nothing changed.

    Attributes:
        field: Field of the transfer concerned.
        got: Its value.
        limit: What it had to respect.
        transfer_id: Transfer (or postings document) refused.
        position: Index in its document, 0 for a single transfer.
    """

    code: RejectCode
    field: str
    got: str
    limit: str
    transfer_id: str
    position: int = 0


class Books:
    """Balances, open holds and seen identifiers.

    Not safe for concurrent use: one sequencer owns one instance.
    """

    def __init__(self) -> None:
        """Start empty."""
        # Per asset and account: [posted, pending debit, pending credit].
        self._balances: dict[str, dict[str, list[int]]] = {}
        self._seen: set[str] = set()
        self._open: dict[str, Transfer] = {}
        self._resolved: set[str] = set()
        self._documents: set[str] = set()
        # (transfer, amount, hold it resolved) or a postings id, newest last.
        self._journal: list[tuple[Transfer, int, Transfer | None] | str] = []

    def apply(self, transfer: Transfer) -> Applied | Rejected:
        """Apply one transfer, or refuse it and change nothing.

        Returns:
            ``Applied``, or ``Rejected`` with the first guard of ``RejectCode`` that failed.
        """
        refusal = self._shape_refusal(transfer)
        if refusal is not None:
            return _rejected(transfer, *refusal)
        phase = transfer.phase
        hold: Transfer | None = None
        if phase is Phase.POST_PENDING or phase is Phase.VOID_PENDING:
            hold = self._open.get(transfer.pending_id)
            refusal = self._resolve_refusal(transfer, hold)
        elif transfer.pending_id:
            refusal = (RejectCode.PENDING_ID_UNEXPECTED, "pending_id", transfer.pending_id, "")
        if refusal is None and phase is not Phase.VOID_PENDING:
            refusal = self._size_refusal(transfer)
        if refusal is not None:
            return _rejected(transfer, *refusal)
        # After this point it must succeed.
        amount = transfer.amount
        self._move(transfer, amount, hold, 1)
        self._seen.add(transfer.transfer_id)
        if phase is Phase.PENDING:
            self._open[transfer.transfer_id] = transfer
        elif hold is not None:
            del self._open[hold.transfer_id]
            self._resolved.add(hold.transfer_id)
        self._journal.append((transfer, amount, hold))
        return Applied(transfer, amount)

    def apply_all(self, postings: Postings) -> tuple[Applied, ...] | Rejected:
        """Apply a document of transfers in order: all of them, or none."""
        if postings.postings_id in self._documents:
            return Rejected(
                code=RejectCode.DUPLICATE_POSTINGS,
                field="postings_id",
                got=postings.postings_id,
                limit="once",
                transfer_id=postings.postings_id,
            )
        mark = self.mark()
        applied: list[Applied] = []
        for position, transfer in enumerate(postings.transfers):
            result = self.apply(transfer)
            if isinstance(result, Rejected):
                self.rollback(mark)
                return Rejected(
                    code=result.code,
                    field=result.field,
                    got=result.got,
                    limit=result.limit,
                    transfer_id=result.transfer_id,
                    position=position,
                )
            applied.append(result)
        self._documents.add(postings.postings_id)
        self._journal.append(postings.postings_id)
        return tuple(applied)

    def mark(self) -> int:
        """Point in the journal to which ``rollback`` can return."""
        return len(self._journal)

    def rollback(self, mark: int) -> None:
        """Undo everything after ``mark``, newest first.

        Raises:
            InvariantError: the mark is ahead of the journal, as after a ``release``.
        """
        if not 0 <= mark <= len(self._journal):
            raise InvariantError(f"mark {mark} is outside a journal of {len(self._journal)}")
        while len(self._journal) > mark:
            entry = self._journal.pop()
            if isinstance(entry, str):
                self._documents.discard(entry)
                continue
            transfer, amount, hold = entry
            self._move(transfer, amount, hold, -1)
            self._seen.discard(transfer.transfer_id)
            if transfer.phase is Phase.PENDING:
                del self._open[transfer.transfer_id]
            elif hold is not None:
                self._resolved.discard(hold.transfer_id)
                self._open[hold.transfer_id] = hold

    def release(self) -> None:
        """Forget the journal: what was applied so far stays. Earlier marks become invalid."""
        self._journal.clear()

    def changed_since(self, mark: int) -> tuple[Balance, ...]:
        """Present balances of all accounts touched after ``mark``, by (asset, account)."""
        names = {
            (entry[0].asset, account)
            for entry in self._journal[mark:]
            if not isinstance(entry, str)
            for account in (entry[0].debit, entry[0].credit)
        }
        return tuple(self.balance(account, asset) for asset, account in sorted(names))

    def balance(self, account: str, asset: str = USD) -> Balance:
        """Balance of an account; zero for one that nothing has touched."""
        cell = self._balances.get(asset, {}).get(account, (0, 0, 0))
        return Balance(
            asset=asset,
            account=account,
            posted=cell[0],
            pending_debit=cell[1],
            pending_credit=cell[2],
        )

    def posted(self, account: str, asset: str = USD) -> int:
        """Posted balance of an account; zero for one that nothing has touched."""
        cells = self._balances.get(asset)
        return 0 if cells is None else cells.get(account, _ZERO)[0]

    def balances(self, prefix: str = "") -> tuple[Balance, ...]:
        """All balances of accounts with a name prefix, by (asset, account)."""
        return tuple(
            self.balance(account, asset)
            for asset in sorted(self._balances)
            for account in sorted(self._balances[asset])
            if account.startswith(prefix)
        )

    def available_to(self, participant_id: str, asset: str = USD) -> int:
        """What a participant can still commit: ``available``, without making balances of it."""
        cells = self._balances.get(asset)
        if cells is None:
            return 0
        cash = cells.get(accounts.cash(participant_id), _ZERO)
        collateral = cells.get(accounts.collateral(participant_id), _ZERO)
        return collateral[0] + cash[0] - cash[1] - collateral[1]

    def hold(self, transfer_id: str) -> Transfer | None:
        """An open pending transfer, or None when there is none or it is resolved."""
        return self._open.get(transfer_id)

    def open_holds(self) -> tuple[Transfer, ...]:
        """All unresolved pending transfers, by identifier."""
        return tuple(self._open[name] for name in sorted(self._open))

    def has_seen(self, transfer_id: str) -> bool:
        """Whether a transfer with this identifier was applied."""
        return transfer_id in self._seen

    def check(self) -> None:
        """Re-derive what can be derived from the open holds, and the sum of every asset.

        Raises:
            InvariantError: an asset does not sum to zero, or a pending amount is not the
                sum of the open holds.
        """
        expected: dict[tuple[str, str], list[int]] = {}
        for transfer in self._open.values():
            expected.setdefault((transfer.asset, transfer.debit), [0, 0])[0] += transfer.amount
            expected.setdefault((transfer.asset, transfer.credit), [0, 0])[1] += transfer.amount
        for asset, cells in self._balances.items():
            total = sum(cell[0] for cell in cells.values())
            if total != 0:
                raise InvariantError(f"asset {asset} sums to {total}")
            for account, cell in cells.items():
                if cell[1:] != expected.pop((asset, account), [0, 0]):
                    raise InvariantError(f"pending of {account} in {asset} is {cell[1:]}")
        if expected:
            raise InvariantError(f"holds on accounts without a balance: {sorted(expected)}")
        if not (self._resolved <= self._seen and self._open.keys() <= self._seen):
            raise InvariantError("a hold was never seen")
        if self._open.keys() & self._resolved:
            raise InvariantError("a hold is open and resolved")

    def _shape_refusal(self, transfer: Transfer) -> _Refusal | None:
        """Guards that need no balance."""
        amount = transfer.amount
        if not isinstance(transfer.phase, Phase):
            return (RejectCode.PHASE_UNKNOWN, "phase", str(transfer.phase), "a Phase")
        if not (transfer.transfer_id and transfer.asset and transfer.debit and transfer.credit):
            empty = next(
                name
                for name in ("transfer_id", "asset", "debit", "credit")
                if not getattr(transfer, name)
            )
            return (RejectCode.FIELD_EMPTY, empty, "", "not empty")
        if amount < 0:
            return (RejectCode.AMOUNT_NEGATIVE, "amount", str(amount), "0")
        if amount > MAX_AMOUNT:
            return (RejectCode.AMOUNT_TOO_LARGE, "amount", str(amount), str(MAX_AMOUNT))
        if transfer.debit == transfer.credit:
            return (RejectCode.SAME_ACCOUNT, "credit", transfer.credit, "another account")
        if transfer.transfer_id in self._seen:
            return (RejectCode.DUPLICATE_TRANSFER, "transfer_id", transfer.transfer_id, "once")
        return None

    def _resolve_refusal(self, transfer: Transfer, hold: Transfer | None) -> _Refusal | None:
        """Guards of POST_PENDING and VOID_PENDING."""
        if hold is None:
            known = transfer.pending_id in self._resolved
            code = RejectCode.PENDING_RESOLVED if known else RejectCode.PENDING_UNKNOWN
            return (code, "pending_id", transfer.pending_id, "an open hold")
        if transfer.asset != hold.asset:
            return (RejectCode.ASSET_DIFFERS, "asset", transfer.asset, hold.asset)
        if transfer.debit != hold.debit:
            return (RejectCode.ACCOUNTS_DIFFER, "debit", transfer.debit, hold.debit)
        if transfer.credit != hold.credit:
            return (RejectCode.ACCOUNTS_DIFFER, "credit", transfer.credit, hold.credit)
        if transfer.phase is Phase.VOID_PENDING and transfer.amount != 0:
            return (RejectCode.VOID_AMOUNT_NOT_ZERO, "amount", str(transfer.amount), "0")
        if transfer.amount > hold.amount:
            code = RejectCode.AMOUNT_ABOVE_PENDING
            return (code, "amount", str(transfer.amount), str(hold.amount))
        return None

    def _size_refusal(self, transfer: Transfer) -> _Refusal | None:
        """Refuse what would carry a balance beyond 127 bits."""
        cells = self._balances.get(transfer.asset)
        if cells is None:
            return None
        debit = cells.get(transfer.debit, _ZERO)
        credit = cells.get(transfer.credit, _ZERO)
        amount = transfer.amount
        if transfer.phase is Phase.PENDING:
            fits = debit[1] + amount <= MAX_AMOUNT and credit[2] + amount <= MAX_AMOUNT
        else:
            fits = amount - debit[0] <= MAX_AMOUNT and amount + credit[0] <= MAX_AMOUNT
        if not fits:
            return (RejectCode.BALANCE_TOO_LARGE, "amount", str(amount), str(MAX_AMOUNT))
        return None

    def _move(self, transfer: Transfer, amount: int, hold: Transfer | None, sign: int) -> None:
        """Effect of a transfer on both accounts (``sign`` 1), or its reverse (-1)."""
        cells = self._balances.get(transfer.asset)
        if cells is None:
            cells = self._balances[transfer.asset] = {}
        debit = cells.get(transfer.debit)
        if debit is None:
            debit = cells[transfer.debit] = [0, 0, 0]
        credit = cells.get(transfer.credit)
        if credit is None:
            credit = cells[transfer.credit] = [0, 0, 0]
        if transfer.phase is Phase.PENDING:
            debit[1] += sign * amount
            credit[2] += sign * amount
            return
        debit[0] -= sign * amount
        credit[0] += sign * amount
        if hold is not None:
            debit[1] -= sign * hold.amount
            credit[2] -= sign * hold.amount


def available(*, cash: Balance, collateral: Balance) -> int:
    """What a participant can still commit: deposits plus cash minus everything held.

    Must be >= 0 for a buyer when an order is accepted, its own hold included.
    """
    return collateral.posted + cash.posted - cash.pending_debit - collateral.pending_debit


def replay(transfers: Iterable[Transfer]) -> Books:
    """Books after applying a ledger's transfers in order to empty books.

    Raises:
        InvariantError: a transfer that the ledger holds is refused.
    """
    books = Books()
    for transfer in transfers:
        result = books.apply(transfer)
        if isinstance(result, Rejected):
            raise InvariantError(f"the ledger holds a transfer that is refused: {result}")
    books.release()
    return books


_ZERO: Final = (0, 0, 0)

_Refusal = tuple[RejectCode, str, str, str]


def _rejected(transfer: Transfer, code: RejectCode, field: str, got: str, limit: str) -> Rejected:
    return Rejected(code=code, field=field, got=got, limit=limit, transfer_id=transfer.transfer_id)
