"""What of a pool is spoken for, by offers and by base load, and what of it a buyer runs.

Auctions may deliver in the same hours (a strip, the day ahead, spot). A chip is offered in
one of them at a time: until its result an auction counts what it was offered, after it what
it sold. An entitlement's hours are nominated in one auction, the first that carries them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

from clearing.outcome import Outcome, Side
from clearing.types import Interval, Nomination
from clearing.units import UnixSeconds
from iso_exchange.sequencer.spot_market import COUNTED_PREFIXES
from iso_exchange.sequencer.state import Auction, AuctionState, State


class Taken:
    """Chips of one pool that are spoken for within a window of time."""

    def __init__(
        self, state: State, pool_id: str, window: Interval, *, markets: bool = True
    ) -> None:
        """Look up, once, what meets the window.

        Args:
            window: Half-open; ``most`` answers for intervals inside it.
            markets: Count what runs of spot markets bound, too.
        """
        self._pool_id = pool_id
        self._auctions = [
            auction
            for auction in state.auctions.values()
            if pool_id in auction.offered and _meets(_delivery(auction), window)
        ]
        self._entitlements = [
            entitlement
            for entitlement in state.entitlements.values()
            if entitlement.pool_id == pool_id and _meets(entitlement.period, window)
        ]
        self._bound = (
            [
                (market.seconds, chips)
                for market in state.markets.values()
                for supply_id, chips in market.supplied.get(pool_id, {}).items()
                if not supply_id.startswith(COUNTED_PREFIXES)
            ]
            if markets
            else []
        )
        # Only where one of them begins can the sum rise.
        begins = {item.start for auction in self._auctions for item in auction.spec.intervals}
        begins.update(
            UnixSeconds(number * seconds) for seconds, chips in self._bound for number in chips
        )
        begins.update(entitlement.period.start for entitlement in self._entitlements)
        self._rises = sorted(begins)

    def most(self, interval: Interval) -> int:
        """Most chips that are spoken for at any moment of an interval."""
        inside = self._rises[
            bisect_right(self._rises, interval.start) : bisect_left(self._rises, interval.end)
        ]
        return max(self._at(moment) for moment in (interval.start, *inside))

    def _at(self, moment: int) -> int:
        offered = sum(
            _at(auction, auction.offered[self._pool_id], moment) for auction in self._auctions
        )
        bound = sum(chips.get(moment // seconds, 0) for seconds, chips in self._bound)
        return (
            offered
            + bound
            + sum(
                entitlement.chips
                for entitlement in self._entitlements
                if entitlement.period.start <= moment < entitlement.period.end
            )
        )


def sold(auction: Auction, outcome: Outcome) -> dict[str, list[int]]:
    """Chips that an auction sold or holds as spare, per pool and interval."""
    found: dict[str, list[int]] = {}
    for award in outcome.awards:
        if award.side is not Side.SUPPLY:
            continue
        chips = found.setdefault(award.pool_id, [0] * len(auction.spec.intervals))
        held = award.site_reserve or (0,) * len(award.chips)
        for place, (awarded, spare, backup) in enumerate(
            zip(award.chips, award.reserve, held, strict=True), award.first
        ):
            chips[place] += awarded + spare + backup
    return found


def bought(auction: Auction, outcome: Outcome) -> dict[tuple[str, str], list[int]]:
    """Chips awarded to bids, per (buyer, pool) and interval."""
    found: dict[tuple[str, str], list[int]] = {}
    for award in outcome.awards:
        if award.side is Side.DEMAND:
            key = (award.participant_id, award.pool_id)
            chips = found.setdefault(key, [0] * len(auction.spec.intervals))
            for place, awarded in enumerate(award.chips, award.first):
                chips[place] += awarded
    return found


def running(state: State, participant_id: str, pool_id: str, moment: int) -> int:
    """Chips that a buyer's contracts of published auctions deliver in a pool at a moment."""
    key = (participant_id, pool_id)
    return sum(
        _at(auction, auction.bought[key], moment)
        for auction in state.auctions.values()
        if key in auction.bought and auction.state in (AuctionState.PUBLISHED, AuctionState.SETTLED)
    )


def carried_elsewhere(state: State, auction: Auction) -> dict[str, list[Interval]]:
    """Hours of each entitlement that other auctions carry, where both auctions deliver."""
    found: dict[str, list[Interval]] = {}
    for other in state.auctions.values():
        if other is auction or not _meets(_delivery(other), _delivery(auction)):
            continue
        for nomination in _nominations(state, other):
            found.setdefault(nomination.entitlement_id, []).extend(
                interval
                for segment in nomination.segments
                for interval in other.spec.intervals[segment.first : segment.stop]
            )
    return found


def carried_by_auctions(state: State, window: Interval) -> dict[str, list[Interval]]:
    """Hours of each entitlement that auctions other than spot runs carry in a window."""
    found: dict[str, list[Interval]] = {}
    for auction in state.auctions.values():
        if not _meets(_delivery(auction), window):
            continue
        for nomination in _nominations(state, auction):
            found.setdefault(nomination.entitlement_id, []).extend(
                interval
                for segment in nomination.segments
                for interval in auction.spec.intervals[segment.first : segment.stop]
            )
    return found


def meets_any(interval: Interval, others: Iterable[Interval]) -> bool:
    """Whether an interval has a moment in common with any of the others."""
    return any(_meets(interval, other) for other in others)


def _nominations(state: State, auction: Auction) -> Iterator[Nomination]:
    """Of the frozen book, standing ones included; before gate closure those made so far."""
    if auction.book is not None:
        yield from auction.book.nominations
        return
    for name in auction.nomination_ids:
        yield state.nominations[name].nomination


def _delivery(auction: Auction) -> Interval:
    intervals = auction.spec.intervals
    return Interval(start=intervals[0].start, end=intervals[-1].end)


def _meets(left: Interval, right: Interval) -> bool:
    return left.start < right.end and right.start < left.end


def _at(auction: Auction, chips: Sequence[int], moment: int) -> int:
    """Of chips per interval, those of the interval that holds a moment."""
    first = auction.spec.intervals[0]
    place = (moment - first.start) // first.duration_s
    return chips[place] if 0 <= place < len(chips) else 0
