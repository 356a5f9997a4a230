"""Corrections: a settled hour is recomputed and the difference is posted (SETTLEMENT R9).

Nothing is edited. The hour is worked out again from all readings known by then, at original
prices and with the ``pool`` balance of the first time, so that auction money stays what it
was. New minus old is posted per payer and payee as entries that name what they correct. Holds
are spent by then, so corrections move cash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clearing.units import ChipSeconds, Seconds, UnixSeconds
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.postings import reasons
from settlement.types import Phase, Postings, Transfer, TransferCode

CORRECTION_SECONDS_MAX: Final = Seconds(60 * 86_400)
"""How long after its hour a correction may be posted: 60 days."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Movement:
    """Who pays whom for what; amounts of one movement add up.

    Attributes:
        part: Tells movements of equal parties apart that laws look at one by one (make-whole
            families); empty elsewhere.
    """

    asset: str
    debit: str
    credit: str
    code: str
    contract_id: str
    start: int
    part: str


@dataclass(slots=True, kw_only=True)
class _Sum:
    amount: int = 0
    quantity: int = 0
    transfer_id: str = ""


def correction_postings(old: Sequence[Postings], new: Postings, *, pool_balance: int) -> Postings:
    """What turns the money of an hour into that of its recomputation.

    Args:
        old: The hour's postings, then its corrections so far.
        new: The recomputation, under the hour's own identifier.
        pool_balance: Posted balance of ``pool`` now.

    Returns:
        Postings ``correction/<hour>/<number>``; without transfers where nothing changes.

    Raises:
        SettlementError: ``POOL_TOO_SMALL``, when it takes back from ``pool`` what was spent.
    """
    before, after = movements(old), movements((new,))
    number = len(old)
    name = f"correction/{new.postings_id}/{number}"
    transfers: list[Transfer] = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key, _Sum()), after.get(key, _Sum())
        difference = now.amount - was.amount
        if difference == 0:
            continue
        forward = difference > 0
        transfers.append(
            Transfer(
                transfer_id=f"{name}/{len(transfers)}",
                asset=key.asset,
                debit=key.debit if forward else key.credit,
                credit=key.credit if forward else key.debit,
                amount=abs(difference),
                phase=Phase.POSTED,
                code=TransferCode(key.code),
                reason=reasons.CORRECTION if forward else reasons.CORRECTION_REVERSAL,
                contract_id=key.contract_id,
                interval_start=UnixSeconds(key.start),
                quantity=ChipSeconds(abs(now.quantity - was.quantity)),
                corrects=was.transfer_id or new.postings_id,
            )
        )
    left = pool_balance + sum(
        item.amount * ((item.credit == accounts.POOL) - (item.debit == accounts.POOL))
        for item in transfers
    )
    if left < 0:
        raise SettlementError(
            SettlementErrorCode.POOL_TOO_SMALL, new.postings_id, f"the pool lacks {-left}"
        )
    # What fills the pool comes first, so that it is never negative on the way.
    transfers.sort(key=lambda item: item.debit == accounts.POOL)
    return Postings(postings_id=name, transfers=tuple(transfers))


def movements(documents: Iterable[Postings]) -> Mapping[Movement, _Sum]:
    """What documents moved, corrections of them included; holds and voids move nothing."""
    found: dict[Movement, _Sum] = {}
    for document in documents:
        for item in document.transfers:
            if item.phase not in (Phase.POSTED, Phase.POST_PENDING):
                continue
            sign = 1
            debit, credit = item.debit, item.credit
            if item.reason == reasons.CORRECTION_REVERSAL:
                sign, debit, credit = -1, credit, debit
            if item.code is TransferCode.RESIDUAL and debit == accounts.POOL:
                sign, debit, credit = -sign, credit, debit
            family = item.code is TransferCode.MAKE_WHOLE
            key = Movement(
                asset=item.asset,
                debit=debit,
                credit=credit,
                code=item.code.value,
                contract_id=item.contract_id,
                start=item.interval_start,
                part=(item.corrects or item.transfer_id) if family else "",
            )
            total = found.setdefault(key, _Sum(transfer_id=item.transfer_id))
            total.amount += sign * item.amount
            total.quantity += sign * item.quantity
    return found


def check_in_time(interval_end: UnixSeconds, now: UnixSeconds) -> None:
    """Refuse a correction that comes too late.

    Raises:
        SettlementError: ``CORRECTION_TOO_LATE``, more than 60 days after the hour.
    """
    if now > interval_end + CORRECTION_SECONDS_MAX:
        raise SettlementError(
            SettlementErrorCode.CORRECTION_TOO_LATE, str(interval_end), f"it is {now}"
        )
