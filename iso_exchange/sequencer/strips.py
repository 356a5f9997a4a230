"""Strips among the auctions: what they take, and the hours in which every auction delivers."""

from __future__ import annotations

from clearing.types import Interval, ServiceClass, WorkBid
from iso_exchange.commands import CreateAuction
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import Auction, BookOrder
from settlement.strips import HOUR_SECONDS, STRIP_SECONDS_MIN, is_strip

FORWARD = "FORWARD"
STRIP_SECONDS_MAX = 31 * 86_400
REACH_SECONDS = 366 * 86_400
"""Longest row of strips of one auction."""


def sells_strips(auction: Auction) -> bool:
    """Whether an auction sells weeks or months, not hours."""
    return is_strip(auction.spec.intervals[0])


def delivery_intervals(auction: Auction) -> tuple[Interval, ...]:
    """Intervals that an auction delivers and is settled in.

    Its own; of a run of a spot market those that it binds; of strips their hours, once there is
    a result.
    """
    if auction.assignment is not None and (auction.market_id or sells_strips(auction)):
        return auction.assignment.intervals
    return auction.spec.intervals


def delivery_seconds(auction: Auction) -> int:
    """Length of a delivery interval."""
    length = auction.spec.intervals[0].duration_s
    return HOUR_SECONDS if length > STRIP_SECONDS_MIN else length


def refuse_strips(command: CreateAuction) -> Rejected | None:
    """Why an auction cannot sell strips of its length, or None."""
    seconds = command.interval_seconds
    checks = (
        (
            command.product == FORWARD,
            "interval_seconds",
            "intervals longer than a day are strips: their product is FORWARD",
        ),
        (
            seconds <= STRIP_SECONDS_MAX and seconds % HOUR_SECONDS == 0,
            "interval_seconds",
            "a strip is whole hours, at most 31 days of them",
        ),
        (
            command.interval_count >= 1 and command.interval_count * seconds <= REACH_SECONDS,
            "interval_count",
            "strips of one auction reach over at most 366 days",
        ),
        (
            command.first_interval_start % HOUR_SECONDS == 0,
            "first_interval_start_time",
            "a strip begins on a full hour of UTC",
        ),
    )
    for holds, field, advice in checks:
        if not holds:
            return Rejected(code=Code.INVALID_VALUE, field=field, advice=advice)
    return None


def refuse_in_strip(auction: Auction, order: BookOrder) -> Rejected | None:
    """Strips are firm: the same chips in every hour, for who buys and for who sells."""
    if not sells_strips(auction):
        return None
    if isinstance(order, WorkBid):
        return Rejected(
            code=Code.INVALID_VALUE,
            field="terms",
            advice="work by a deadline is no strip: bid steps or blocks, or bid day ahead",
            got="work",
        )
    service_class = getattr(order, "service_class", ServiceClass.FIRM)
    if service_class is not ServiceClass.FIRM:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="service_class",
            advice="strips are firm: interruptible work is bought day ahead and in spot",
            got=service_class.value,
            limit=ServiceClass.FIRM.value,
        )
    return None
