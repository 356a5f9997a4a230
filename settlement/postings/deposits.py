"""Money in and out: deposits and payouts, both against ``bank``."""

from __future__ import annotations

from clearing.units import MICRO_USD_PER_CENT, MicroUsd, floor_to_cent
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.ledger.books import available
from settlement.storage.store import Balance
from settlement.types import USD, Phase, Transfer, TransferCode


def deposit(participant_id: str, amount: MicroUsd, deposit_id: str) -> Transfer:
    """Money received from a participant, credited to its collateral.

    Args:
        participant_id: Who paid.
        amount: > 0.
        deposit_id: Unique, such as the bank's reference.

    Raises:
        SettlementError: ``AMOUNT_NOT_POSITIVE``.
    """
    _positive(amount, deposit_id)
    return Transfer(
        transfer_id=f"deposit/{deposit_id}",
        asset=USD,
        debit=accounts.BANK,
        credit=accounts.collateral(participant_id),
        amount=amount,
        phase=Phase.POSTED,
        code=TransferCode.DEPOSIT,
    )


def payout(account: str, amount: MicroUsd, payout_id: str) -> Transfer:
    """Money paid out of an account that earns: cash, community, operator, rent, link.

    Raises:
        SettlementError: ``AMOUNT_NOT_POSITIVE`` or ``PAYOUT_NOT_WHOLE_CENTS``.
    """
    _positive(amount, payout_id)
    if amount % MICRO_USD_PER_CENT:
        raise SettlementError(
            SettlementErrorCode.PAYOUT_NOT_WHOLE_CENTS, payout_id, f"{amount} micro-USD"
        )
    return Transfer(
        transfer_id=f"payout/{payout_id}",
        asset=USD,
        debit=account,
        credit=accounts.BANK,
        amount=amount,
        phase=Phase.POSTED,
        code=TransferCode.PAYOUT,
    )


def payable(balance: Balance, collateral: Balance | None = None) -> MicroUsd:
    """Most that can be paid out of an account: whole cents, nothing that is held.

    Args:
        balance: The account.
        collateral: For a participant's cash: its deposits, so that holds they carry do
            not block a payout. Collateral itself is never paid out here.

    Returns:
        Whole cents >= 0; the remainder stays in the balance (SETTLEMENT R12).

    Example:
        >>> payable(Balance(asset="USD", account="community:s", posted=3_645_556,
        ...                 pending_debit=0, pending_credit=0))
        3640000
    """
    free = balance.posted - balance.pending_debit
    if collateral is not None:
        free = min(balance.posted, available(cash=balance, collateral=collateral))
    return floor_to_cent(MicroUsd(max(0, free)))


def collateral_call_of(cash: Balance, collateral: Balance) -> MicroUsd:
    """What a participant owes beyond its deposits, holds included: called with its statement.

    Example:
        >>> owing = Balance(asset="USD", account="p:a:cash", posted=-500, pending_debit=20,
        ...                 pending_credit=0)
        >>> held = Balance(asset="USD", account="p:a:collateral", posted=400, pending_debit=0,
        ...                pending_credit=0)
        >>> collateral_call_of(owing, held)
        120
    """
    return MicroUsd(max(0, -available(cash=cash, collateral=collateral)))


def _positive(amount: int, subject: str) -> None:
    if amount <= 0:
        raise SettlementError(
            SettlementErrorCode.AMOUNT_NOT_POSITIVE, subject, f"{amount} micro-USD"
        )
