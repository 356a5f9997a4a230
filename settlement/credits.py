"""Credits: a lab runs the same market inside its own entitlement, in an asset of its own.

Same rules, another asset (SETTLEMENT R13): an auction among a lab's teams is cleared, awarded
and settled by the same functions, and its postings are moved into ``CREDIT:<organisation>``:
teams pay out of ``team:<id>``, the lab's supply earns into ``treasury``. Surcharge and fee
stay one USD bill of the lab, because a community cannot spend credits.

Teams spend what they were given and no more: a grant has an expiry, and what is left of it
then goes back to the treasury, the oldest grant first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from clearing.units import UnixSeconds
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.ledger.accounts import AccountKind
from settlement.storage.store import Balance
from settlement.types import Phase, Postings, Transfer, TransferCode

USD_CODES: Final = frozenset(
    {TransferCode.SURCHARGE, TransferCode.FEE, TransferCode.SURCHARGE_DIFFERENCE}
)
"""What the lab owes in USD for its teams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditGrant:
    """Credits that a lab gives one of its teams.

    Attributes:
        amount: Micro-credits, > 0.
        expiry: From then on what is left of it goes back.
    """

    grant_id: str
    organisation: str
    team_id: str
    amount: int
    expiry: UnixSeconds


def asset_of(organisation: str) -> str:
    """Asset of a lab's credits.

    Example:
        >>> asset_of("lab-1")
        'CREDIT:lab-1'
    """
    return f"CREDIT:{organisation}"


def granted(grant: CreditGrant) -> Transfer:
    """Give a team its credits.

    Raises:
        SettlementError: ``AMOUNT_NOT_POSITIVE``.
    """
    if grant.amount <= 0:
        raise SettlementError(
            SettlementErrorCode.AMOUNT_NOT_POSITIVE, grant.grant_id, f"{grant.amount}"
        )
    return Transfer(
        transfer_id=f"credit-grant/{grant.organisation}/{grant.grant_id}",
        asset=asset_of(grant.organisation),
        debit=accounts.TREASURY,
        credit=accounts.team(grant.team_id),
        amount=grant.amount,
        phase=Phase.POSTED,
        code=TransferCode.CREDIT_GRANT,
    )


def expired(
    grants: Iterable[CreditGrant], spent: int, balance: Balance, now: UnixSeconds
) -> tuple[Transfer, ...]:
    """Take back what is left of a team's expired grants.

    Args:
        grants: All of one team that were not taken back yet.
        spent: Micro-credits that the team spent or has held since the first of them, >= 0:
            they count against the grant that expires first.
        balance: The team's account.
        now: Time.

    Returns:
        One transfer per expired grant of which something is left and free.
    """
    free = max(0, balance.posted - balance.pending_debit)
    found = []
    for grant in sorted(grants, key=lambda item: (item.expiry, item.grant_id)):
        used = min(spent, grant.amount)
        spent -= used
        left = min(grant.amount - used, free)
        if grant.expiry > now or left == 0:
            continue
        free -= left
        found.append(
            Transfer(
                transfer_id=f"credit-expiry/{grant.organisation}/{grant.grant_id}",
                asset=asset_of(grant.organisation),
                debit=accounts.team(grant.team_id),
                credit=accounts.TREASURY,
                amount=left,
                phase=Phase.POSTED,
                code=TransferCode.CREDIT_EXPIRY,
            )
        )
    return tuple(found)


def in_credits(postings: Postings, organisation: str) -> Postings:
    """The same money in a lab's credits.

    Args:
        postings: Of an auction whose buyers are the lab's teams and whose supply is the lab:
            award, hour, spot or correction.
        organisation: The lab.

    Raises:
        SettlementError: ``ACCOUNT_UNKNOWN``, a community or the operator would be paid in
            credits.
    """
    return replace(
        postings,
        transfers=tuple(_moved(transfer, organisation) for transfer in postings.transfers),
    )


def overspent(balances: Iterable[Balance]) -> tuple[str, ...]:
    """Teams that hold or spent more than they were given, by account: none may.

    A budget is a balance: there is no credit on credits, and no collateral behind them.
    """
    return tuple(
        item.account
        for item in balances
        if item.asset.startswith("CREDIT:")
        and accounts.parse(item.account).kind is AccountKind.TEAM
        and item.posted - item.pending_debit < 0
    )


def _moved(transfer: Transfer, organisation: str) -> Transfer:
    if transfer.asset.startswith("TFLOP:"):
        return transfer
    if transfer.code in USD_CODES or transfer.code is TransferCode.DELIVERY_HOLD:
        lab = accounts.cash(organisation)
        if transfer.credit.startswith("p:"):  # a correction, backwards
            return replace(transfer, credit=lab)
        return replace(transfer, debit=lab)
    return replace(
        transfer,
        asset=asset_of(organisation),
        debit=_account(transfer.debit, organisation),
        credit=_account(transfer.credit, organisation),
    )


def _account(account: str, organisation: str) -> str:
    parsed = accounts.parse(account)
    if parsed.kind is AccountKind.CASH:
        (name,) = parsed.parts
        return accounts.TREASURY if name == organisation else accounts.team(name)
    if parsed.kind in {AccountKind.COMMUNITY, AccountKind.OPERATOR_FEE, AccountKind.BANK}:
        raise SettlementError(
            SettlementErrorCode.ACCOUNT_UNKNOWN, account, "is not paid in credits"
        )
    return account
