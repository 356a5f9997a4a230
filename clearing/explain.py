"""What each order is told: how much was accepted, why, and what would have changed it."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import numpy as np

from clearing.order_facts import (
    REASONS,
    AtPrices,
    Facts,
    facts_of_base,
    facts_of_blocks,
    facts_of_offers,
    facts_of_steps,
    facts_of_work,
)
from clearing.outcome import Fill, MakeWhole, OrderOutcome, Reason
from clearing.types import BlockBid, Nomination, Offer, StepBid, WorkBid
from clearing.units import MicroUsdPerChipHour, PriceSeconds
from clearing.wording import Words, sentences, words_of

Order = Offer | StepBid | BlockBid | WorkBid | Nomination


def explain(prices: AtPrices, payments: tuple[MakeWhole, ...]) -> tuple[OrderOutcome, ...]:
    """One outcome per order of the book, sorted by order.

    Args:
        prices: Awards, and best responses at the prices.
        payments: Make-whole.
    """
    accounts = prices.accounts
    book, bids = accounts.book, accounts.bid_surplus
    steps, gangs = len(book.step_bids), len(book.block_bids)
    words = words_of(prices)
    paid = frozenset(name for payment in payments for name in payment.order_ids)
    answers = [
        *_answers(words, book.offers, facts_of_offers(prices), accounts.offer_surplus, paid),
        *_answers(words, book.step_bids, facts_of_steps(prices), bids[:steps], paid),
        *_answers(
            words, book.block_bids, facts_of_blocks(prices), bids[steps : steps + gangs], paid
        ),
        *_answers(words, book.work_bids, facts_of_work(prices), bids[steps + gangs :], paid),
        *_answers(
            words,
            book.nominations,
            facts_of_base(prices),
            [-payment for payment in accounts.base_payments],
            frozenset(),
        ),
    ]
    answers.sort(key=attrgetter("order_id"))
    return tuple(answers)


def _answers(
    words: Words,
    orders: Sequence[Order],
    facts: Facts,
    surpluses: list[int],
    paid: frozenset[str],
) -> list[OrderOutcome]:
    """Answers to the orders of one kind."""
    if not orders:
        return []
    numbers = facts.reason
    if paid:
        made_whole = [order.order_id in paid for order in orders]
        numbers = np.where(made_whole, REASONS.index(Reason.MADE_WHOLE), numbers)
    kinds = (Fill.FULL, Fill.PARTIAL, Fill.NONE)
    fills = np.where(facts.taken >= facts.wanted, 0, 1)
    fills[facts.taken == 0] = 2
    out = REASONS.index(Reason.OUT_OF_THE_MONEY)
    missed = [
        max(0, gap) if number == out else 0
        for gap, number in zip(facts.missed, numbers.tolist(), strict=True)
    ]
    details = sentences(words, facts, numbers, surpluses, type(orders[0]))
    return [
        OrderOutcome(
            order_id=order.order_id,
            participant_id=order.participant_id,
            fill=kinds[fill],
            reason=REASONS[number],
            surplus=PriceSeconds(surplus),
            shortfall=MicroUsdPerChipHour(gap),
            foregone=PriceSeconds(foregone),
            detail=detail,
        )
        for order, fill, number, surplus, gap, foregone, detail in zip(
            orders,
            fills.tolist(),
            numbers.tolist(),
            surpluses,
            missed,
            facts.foregone,
            details,
            strict=True,
        )
    ]
