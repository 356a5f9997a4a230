"""Statements: what moved an account in a period, line by line, and what is paid out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

from clearing.types import Interval
from clearing.units import MICRO_USD_PER_CENT, ChipSeconds, MicroUsd, MicroUsdPerChipHour
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.types import Phase, Statement, StatementLine, Transfer, TransferCode


class Moved(Protocol):
    """A transfer as applied: ``books.Applied`` or the store's ``AppliedTransfer``."""

    @property
    def transfer(self) -> Transfer:
        """The transfer."""
        ...

    @property
    def applied(self) -> int:
        """Amount held (PENDING) or moved; 0 for VOID_PENDING."""
        ...


def statement(
    *,
    party_id: str,
    account: str,
    asset: str,
    period: Interval,
    opening: MicroUsd,
    applied: Iterable[Moved],
    payout: MicroUsd,
    collateral_call: MicroUsd = MicroUsd(0),
) -> Statement:
    """Statement of one account, asset and period.

    One line per code, contract and delivery hour, so that a line is found again in the
    contract; its ``transfer_ids`` lead to the ledger. Holds move nothing and are left out.

    Args:
        party_id: Participant, site or operator that owns the account.
        account: Account name.
        asset: ``USD``, ``CREDIT:<organisation>`` or ``TFLOP:<precision>``.
        period: Of the ledger entries that carried the transfers.
        opening: Balance before them.
        applied: Transfers of the period that touch the account, any order.
        payout: Part of the closing balance that is paid out: whole cents, 0 to closing
            (``settlement.postings.payable``). The payout itself is a line of the next period.
        collateral_call: What the party owes beyond its deposits (``collateral_call_of``).

    Raises:
        SettlementError: ``STATEMENT_MISMATCH`` or ``PAYOUT_NOT_WHOLE_CENTS``.
    """
    groups: dict[tuple[TransferCode, str, int], list[Moved]] = defaultdict(list)
    for item in applied:
        transfer = item.transfer
        if transfer.asset != asset or account not in {transfer.debit, transfer.credit}:
            raise SettlementError(
                SettlementErrorCode.STATEMENT_MISMATCH,
                transfer.transfer_id,
                f"does not touch {account} in {asset}",
            )
        if item.applied and transfer.phase is not Phase.PENDING:
            key = (transfer.code, transfer.contract_id, transfer.interval_start)
            groups[key].append(item)
    lines = tuple(
        _line(account, groups[key])
        for key in sorted(groups, key=lambda key: (key[2], key[1], key[0].value))
    )
    closing = MicroUsd(opening + sum(line.amount for line in lines))
    if payout and not (0 <= payout <= closing and payout % MICRO_USD_PER_CENT == 0):
        raise SettlementError(
            SettlementErrorCode.PAYOUT_NOT_WHOLE_CENTS, account, f"{payout} of {closing}"
        )
    return Statement(
        statement_id=f"statement/{account}/{asset}/{period.start}-{period.end}",
        party_id=party_id,
        account=account,
        asset=asset,
        period=period,
        opening=opening,
        lines=lines,
        closing=closing,
        payout=payout,
        collateral_call=collateral_call,
    )


def _line(account: str, items: list[Moved]) -> StatementLine:
    """Sum of the transfers of one code, contract and hour."""
    first = items[0].transfer
    prices = {item.transfer.price for item in items}
    others = {
        item.transfer.debit if item.transfer.credit == account else item.transfer.credit
        for item in items
    }
    return StatementLine(
        code=first.code,
        contract_id=first.contract_id,
        interval_start=first.interval_start,
        quantity=ChipSeconds(sum(item.transfer.quantity for item in items)),
        price=prices.pop() if len(prices) == 1 else MicroUsdPerChipHour(0),
        amount=sum(
            item.applied if item.transfer.credit == account else -item.applied for item in items
        ),
        counterparty=",".join(sorted(others)),
        transfer_ids=tuple(sorted(item.transfer.transfer_id for item in items)),
    )
