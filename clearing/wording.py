"""What orders are told in words: the binding fact, and what would have changed it.

Facts are made for all orders at once (``clearing.order_facts``); here they become one sentence
each. Amounts repeat, so their texts are made once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from clearing.columns import Integers
from clearing.loads import offered_on
from clearing.market import NONE
from clearing.order_facts import REASONS, AtPrices, Facts
from clearing.outcome import Reason
from clearing.types import BlockBid, Offer
from clearing.units import SECONDS_PER_HOUR, divide_half_even, usd_text

_PLAIN: Final = {
    Reason.IN_THE_MONEY: "Its limit is better than the price; it was filled as far as it asked.",
    Reason.NO_ELIGIBLE_POOL: "No pool meets all its conditions; drop or widen one of them.",
    Reason.WHOLE_NODE: (
        "Nodes are sold whole and held whole in reserve: what the price calls for does "
        "not come out in nodes, or its next node does not fit."
    ),
    Reason.COVER_SHORTAGE: "Served in full, but too few chips stand by to cover all of it.",
    Reason.BASE_SERVED: "Nominated base load, served in full.",
    Reason.BASE_SHORTFALL: (
        "Site power does not carry all nominated base load; the rest was curtailed."
    ),
}
"""Reasons that say everything."""

_AT_PRICE_FULL: Final = "Its limit equals the price; it was filled."
_AT_PRICE: Final = "Its limit equals the price; a better limit by one tick would have filled it."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Words:
    """Everything that a sentence is looked up in.

    Attributes:
        pools: Identifiers by position.
        free: Chips neither sold nor standing by, per place.
        amounts: Texts of amounts that were asked for before.
    """

    prices: AtPrices
    pools: list[str]
    free: Integers
    amounts: dict[int, str] = field(default_factory=dict)

    def usd(self, amount: int) -> str:
        """Exact dollars of micro-USD."""
        text = self.amounts.get(amount)
        if text is None:
            text = self.amounts[amount] = usd_text(amount).rstrip("0").rstrip(".")
        return text

    def money(self, price_seconds: int) -> str:
        """Dollars and cents of price-seconds."""
        return usd_text(divide_half_even(price_seconds, SECONDS_PER_HOUR), places=2)

    def spot(self, place: int) -> str:
        """Pool and interval of a place."""
        pool, interval = divmod(place, self.prices.accounts.model.market.grid.intervals)
        return f"{self.pools[pool]} in interval {interval}"


def words_of(prices: AtPrices) -> Words:
    """Prepare the sentences of one outcome."""
    accounts = prices.accounts
    market, tally = accounts.model.market, accounts.tally
    offered, _ = offered_on(market, accounts.choice.on)
    chips = offered * market.grid.node.repeat(market.grid.intervals)
    used = tally.sold - tally.released + tally.node_spare + tally.site_spare
    return Words(
        prices=prices,
        pools=[pool.pool_id for pool in market.grid.pools],
        free=np.maximum(0, chips - used),
    )


def sentences(
    words: Words, facts: Facts, reasons: Integers, surpluses: list[int], kind: type
) -> list[str]:
    """One sentence per order of a kind, in its order.

    Args:
        words: Texts.
        facts: Of the same orders.
        reasons: Final ones, make-whole included, as positions in ``REASONS``.
        surpluses: Price-seconds.
        kind: Class of the orders.
    """
    found = [""] * reasons.size
    for number in np.unique(reasons).tolist():
        reason, rows = REASONS[number], np.flatnonzero(reasons == number)
        plain = _PLAIN.get(reason)
        if plain is not None:
            texts = [plain] * rows.size
        elif reason is Reason.OUT_OF_THE_MONEY:
            texts = _missed(words, facts, rows, kind)
        elif reason is Reason.AT_THE_PRICE:
            full = (facts.taken >= facts.wanted)[rows].tolist()
            texts = [_AT_PRICE_FULL if flag else _AT_PRICE for flag in full]
        elif reason is Reason.MADE_WHOLE:
            texts = [_made_whole(words, surpluses[row]) for row in rows.tolist()]
        else:
            write = _not_started if kind is Offer else _BLOCK[reason]
            texts = [write(words, facts, row) for row in rows.tolist()]
        for row, text in zip(rows.tolist(), texts, strict=True):
            found[row] = text
    return found


def _missed(words: Words, facts: Facts, rows: Integers, kind: type) -> list[str]:
    places = facts.place[rows].tolist()
    spots = {place: words.spot(place) for place in set(places) if place != NONE}
    gaps = [words.usd(max(0, facts.missed[row])) for row in rows.tolist()]
    if kind is Offer:
        before, after = "Its price is ", " USD per chip-hour above what it would earn at best, "
    elif kind is BlockBid:
        before = "Its limit is "
        after = " USD per chip-hour below what a run at its best pool costs, from there on: "
    else:
        before, after = "Its limit is ", " USD per chip-hour below the price at its best pool, "
    return [
        f"{before}{gap}{after}{spots[place]}." if place != NONE else "Nothing was asked for."
        for gap, place in zip(gaps, places, strict=True)
    ]


def _made_whole(words: Words, surplus: int) -> str:
    if surplus >= 0:
        return "Accepted; the orders it is tied to lose at the prices and are paid back."
    return f"Accepted; it loses {words.money(-surplus)} USD at the prices, which is paid back."


def _not_started(words: Words, facts: Facts, row: int) -> str:
    commitment = words.prices.accounts.book.offers[row].commitment
    if facts.foregone[row] > 0:
        gain = words.money(facts.foregone[row])
        return (
            f"At the prices it would gain {gain} USD, but with its least quantity and fixed costs "
            "starting it would cost others more; a smaller least quantity would have helped."
        )
    if commitment is None:
        return "It was not started."
    start_up, no_load = words.usd(commitment.start_up), words.usd(commitment.no_load)
    return (
        f"Its start-up of {start_up} USD and no-load of {no_load} USD per interval would not be "
        "earned back at the prices."
    )


def _paradox(words: Words, facts: Facts, row: int) -> str:
    gain = words.money(facts.foregone[row])
    begin = f"At the prices it would gain {gain} USD, but it is indivisible: "
    lack = _lacking(words, row)
    if lack is None:
        return begin + (
            "accepting it would cost others more than it gains; a smaller least quantity or more "
            "eligible pools would have helped."
        )
    pool, chips, hours = lack
    return begin + (
        f"its best pool, {pool}, lacks {chips} contiguous chips in {hours}; a smaller least "
        "quantity or another pool would have helped."
    )


def _lacking(words: Words, row: int) -> tuple[str, int, str] | None:
    """Pool, chips that are not free there, and when, for the best option of a block."""
    options, intervals = words.prices.options, words.prices.accounts.model.market.grid.intervals
    option = int(words.prices.gains.option[row])
    if option == NONE:
        return None
    first, pool = int(options.first[option]), int(options.pool[option])
    run = np.arange(first, first + int(options.duration[row]))
    wanted = np.full(run.size, int(options.least[option]))
    begin, end = options.profile_start[row : row + 2].tolist()
    if end > begin:
        wanted = options.profile[begin:end]
    lack = wanted - words.free[pool * intervals + run]
    short = run[lack > 0]
    if short.size == 0:
        return None
    return words.pools[pool], int(lack.max()), _span(short)


def _span(intervals: Integers) -> str:
    """Intervals as text; the ends where they are many."""
    first, last = int(intervals[0]), int(intervals[-1])
    return f"interval {first}" if first == last else f"intervals {first}-{last}"


def _too_large(words: Words, _: Facts, row: int) -> str:
    options, room = words.prices.options, words.prices.room
    begin, end = options.start[row : row + 2].tolist()
    if begin == end:
        return "No eligible pool can hold it."
    best = begin + int(np.argmax(room[begin:end]))
    most = max(0, int(room[best]))
    pool, first = words.pools[int(options.pool[best])], int(options.first[best])
    hours = _span(np.array([first, first + int(options.duration[row]) - 1]))
    if options.profile_start[row + 1] > options.profile_start[row]:
        return f"No eligible pool offers its profile throughout, not even {pool} in {hours}."
    return (
        f"No eligible pool can deliver its least quantity throughout: the largest, {pool}, can "
        f"deliver {most} of {int(options.least[best])} chips in {hours}."
    )


def _orphan(words: Words, _: Facts, row: int) -> str:
    parent = words.prices.accounts.book.block_bids[row].parent_order_id
    return f"Parent {parent} was not accepted, and the two together lose at the prices."


def _excluded(words: Words, _: Facts, row: int) -> str:
    picks, book = words.prices.picks, words.prices.accounts.book
    members = np.flatnonzero(picks.of_order == picks.of_order[row])
    chosen = members[words.prices.accounts.chosen[members] != NONE].tolist()
    names = ", ".join(book.block_bids[order].order_id for order in chosen)
    return f"{names} of its exclusive group was accepted, which gains at least as much."


_BLOCK: Final[dict[Reason, Callable[[Words, Facts, int], str]]] = {
    Reason.PARADOXICALLY_REJECTED: _paradox,
    Reason.LARGER_THAN_ANY_POOL: _too_large,
    Reason.PARENT_NOT_ACCEPTED: _orphan,
    Reason.OTHER_ACCEPTED: _excluded,
}
