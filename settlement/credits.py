"""Credits: a lab runs the same market inside its own entitlement, in an asset of its own.

Same rules, another asset (SETTLEMENT R13): an auction among a lab's teams is cleared, awarded
and settled by the same functions, and its postings are moved into ``CREDIT:<organisation>``:
teams pay out of ``team:<id>``, the lab's supply earns into ``treasury``. Surcharge and fee
stay one USD bill of the lab, because a community cannot spend credits.

Teams spend what they were given and no more: a grant has an expiry, and what is left of it
then goes back to the treasury, the oldest grant first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from clearing.types import Interval
from clearing.units import ChipSeconds, Tflop, UnixSeconds
from settlement.assignment import Assignment
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.ledger.accounts import AccountKind
from settlement.metering.billable import MeteredHour
from settlement.postings import terms
from settlement.postings.award import award_postings
from settlement.postings.hour import contract_hours, hour_postings
from settlement.storage.store import Balance
from settlement.types import DeliveredHour, Phase, Postings, Transfer, TransferCode

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


def round_postings(assignment: Assignment, organisation: str) -> Postings:
    """What a round of a lab's market costs its teams, all of it at once.

    Auction money is final (SETTLEMENT R0), and there is no other in credits: what is delivered is
    metered and billed once, to the lab. What rounding leaves goes to the treasury.

    Args:
        assignment: Buyers are teams, the supplier is the lab; no surcharge, no fee.
        organisation: The lab.

    Returns:
        Postings ``credits/<auction>``.
    """
    transfers = list(award_postings(assignment, {}).transfers)
    earlier: list[DeliveredHour] = []
    in_pool = 0
    for interval in assignment.intervals:
        metered = _in_full(assignment, interval)
        hour = hour_postings(
            assignment, interval, metered, pool_balance=in_pool, earlier=tuple(earlier)
        )
        earlier.extend(item.delivered for item in metered)
        transfers.extend(hour.transfers)
        in_pool += _net(hour.transfers).get(accounts.POOL, 0)
    made = in_credits(
        Postings(postings_id=f"credits/{assignment.auction_id}", transfers=tuple(transfers)),
        organisation,
    )
    if in_pool == 0:
        return made
    swept = Transfer(
        transfer_id=f"credit-residual/{assignment.auction_id}",
        asset=asset_of(organisation),
        debit=accounts.POOL,
        credit=accounts.TREASURY,
        amount=in_pool,
        phase=Phase.POSTED,
        code=TransferCode.RESIDUAL,
    )
    return replace(made, transfers=(*made.transfers, swept))


def spent_of(postings: Postings) -> Mapping[str, int]:
    """Micro-credits that each team spends by a round's postings, >= 0, by team."""
    found: dict[str, int] = {}
    for account, amount in _net(postings.transfers).items():
        parsed = accounts.parse(account)
        if parsed.kind is AccountKind.TEAM:
            found[parsed.parts[0]] = -amount
    return found


def _in_full(assignment: Assignment, interval: Interval) -> list[MeteredHour]:
    """Every contract of an interval, as if it were delivered; its compute is the lab's own."""
    return [
        MeteredHour(
            delivered=DeliveredHour(
                contract_id=contract.contract_id,
                interval=interval,
                position=terms.position(hour),
                delivered=terms.position(hour),
                failed=ChipSeconds(0),
                gap=ChipSeconds(0),
                compute=Tflop(0),
            ),
            failures=(),
            findings=(),
        )
        for contract, hour in contract_hours(assignment, interval)
    ]


def _net(transfers: Iterable[Transfer]) -> dict[str, int]:
    """What transfers move, by account; holds move nothing."""
    found: dict[str, int] = {}
    for item in transfers:
        if item.phase in (Phase.POSTED, Phase.POST_PENDING):
            found[item.debit] = found.get(item.debit, 0) - item.amount
            found[item.credit] = found.get(item.credit, 0) + item.amount
    return found


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
