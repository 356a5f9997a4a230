"""Credits books, accounts, rounds and allocations as the API shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from iso_exchange.api.v1 import credits_pb2
from iso_exchange.convert.credits import write_credits_book
from iso_exchange.convert.fields import timestamp
from iso_exchange.sequencer.credit_state import CreditBook, CreditRound, RoundState, TeamCredits

ROUND_STATES: Final[dict[RoundState, credits_pb2.CreditRoundState.ValueType]] = {
    RoundState.CLOSED: credits_pb2.CREDIT_ROUND_STATE_CLOSED,
    RoundState.CLEARED: credits_pb2.CREDIT_ROUND_STATE_CLEARED,
    RoundState.PUBLISHED: credits_pb2.CREDIT_ROUND_STATE_PUBLISHED,
    RoundState.FAILED: credits_pb2.CREDIT_ROUND_STATE_FAILED,
}


def credits_book_view(book: CreditBook) -> credits_pb2.CreditsBookView:
    """A book as it stands now."""
    return credits_pb2.CreditsBookView(
        spec=write_credits_book(book.opened),
        organisation_id=book.organisation,
        pool_id=book.pool_id,
        closed_reason=book.closed,
        last_start_time=timestamp(book.last_start) if book.last_start else None,
    )


def credit_account_view(
    organisation: str, team_id: str, team: TeamCredits, balance: int, reserved: int
) -> credits_pb2.CreditAccount:
    """What a team has of a lab's credits."""
    left = team.spent
    grants = []
    for grant in sorted(team.grants, key=lambda item: (item.expiry, item.grant_id)):
        used = min(left, grant.amount)
        left -= used
        grants.append(
            credits_pb2.CreditBalance(
                grant_id=grant.grant_id,
                amount_micro_credits=grant.amount,
                left_micro_credits=grant.amount - used,
                expire_time=timestamp(grant.expiry),
            )
        )
    return credits_pb2.CreditAccount(
        organisation_id=organisation,
        team_id=team_id,
        balance_micro_credits=str(balance),
        reserved_micro_credits=str(reserved),
        grants=grants,
    )


def credit_round_view(book: CreditBook, decided: CreditRound) -> credits_pb2.CreditRound:
    """One round of a book."""
    return credits_pb2.CreditRound(
        book_id=book.opened.book_id,
        start_time=timestamp(decided.start),
        state=ROUND_STATES[decided.state],
        bid_count=decided.bid_count,
        book_root=bytes.fromhex(decided.book_root),
        failure=decided.failed,
    )


def credit_allocation_views(
    book: CreditBook, decided: CreditRound
) -> Iterator[credits_pb2.CreditAllocation]:
    """What a published round gave, by contract and interval."""
    if decided.state is not RoundState.PUBLISHED or decided.assignment is None:
        return
    for contract in decided.assignment.contracts:
        for hour in contract.hours:
            yield credits_pb2.CreditAllocation(
                book_id=book.opened.book_id,
                bid_id=contract.order_id,
                team_id=contract.buyer_id,
                start_time=timestamp(hour.interval.start),
                end_time=timestamp(hour.interval.end),
                chip_count=hour.chips,
                price_micro_credits_per_chip_hour=hour.legs.contract,
            )
