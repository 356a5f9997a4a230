"""Credits: books, grants, bids."""

from __future__ import annotations

from clearing.types import MAX_CHIPS
from clearing.units import Chips, Seconds
from iso_exchange.api.v1 import credits_pb2
from iso_exchange.convert.auctions import read_price
from iso_exchange.convert.fields import Reader, timestamp
from iso_exchange.convert.headers import read_header, write_header
from iso_exchange.credit_commands import (
    BidCredits,
    CancelCreditBid,
    CloseCredits,
    GrantCredits,
    OpenCredits,
)


def read_credits_book(body: Reader) -> OpenCredits:
    """A book; whether its figures make one is judged later."""
    return OpenCredits(
        header=read_header(body),
        book_id=body.identifier("book_id"),
        entitlement_id=body.reference("entitlement_id"),
        first_start=body.instant("first_start_time"),
        interval_seconds=Seconds(body.integer("interval_seconds")),
        interval_count=body.integer("interval_count"),
        gate_lead_s=Seconds(body.integer("gate_lead_seconds")),
        price_cap=read_price(body, "price_cap_micro_credits_per_chip_hour"),
        tick=read_price(body, "tick_micro_credits_per_chip_hour"),
        reserve_price=read_price(body, "reserve_price_micro_credits_per_chip_hour"),
    )


def write_credits_book(command: OpenCredits) -> credits_pb2.CreditsBook:
    """Body of a book."""
    return credits_pb2.CreditsBook(
        header=write_header(command.header),
        book_id=command.book_id,
        entitlement_id=command.entitlement_id,
        first_start_time=timestamp(command.first_start),
        interval_seconds=command.interval_seconds,
        interval_count=command.interval_count,
        gate_lead_seconds=command.gate_lead_s,
        price_cap_micro_credits_per_chip_hour=command.price_cap,
        tick_micro_credits_per_chip_hour=command.tick,
        reserve_price_micro_credits_per_chip_hour=command.reserve_price,
    )


def read_credits_close(body: Reader) -> CloseCredits:
    """End of a book."""
    return CloseCredits(
        header=read_header(body), book_id=body.reference("book_id"), reason=body.reason()
    )


def write_credits_close(command: CloseCredits) -> credits_pb2.CreditsClose:
    """Body of an end."""
    return credits_pb2.CreditsClose(
        header=write_header(command.header), book_id=command.book_id, reason=command.reason
    )


def read_credit_grant(body: Reader) -> GrantCredits:
    """Credits for a team."""
    return GrantCredits(
        header=read_header(body),
        grant_id=body.identifier("grant_id"),
        team_id=body.reference("team_id"),
        amount=body.integer("amount_micro_credits"),
        expiry=body.instant("expire_time"),
    )


def write_credit_grant(command: GrantCredits) -> credits_pb2.CreditGrant:
    """Body of credits for a team."""
    return credits_pb2.CreditGrant(
        header=write_header(command.header),
        grant_id=command.grant_id,
        team_id=command.team_id,
        amount_micro_credits=command.amount,
        expire_time=timestamp(command.expiry),
    )


def read_credit_bid(body: Reader) -> BidCredits:
    """A team's standing bid."""
    return BidCredits(
        header=read_header(body),
        bid_id=body.identifier("bid_id"),
        book_id=body.reference("book_id"),
        start=body.instant("start_time"),
        end=body.instant("end_time"),
        chips=Chips(body.bounded("chip_count", 1, MAX_CHIPS)),
        limit_price=read_price(body, "limit_price_micro_credits_per_chip_hour"),
        whole=body.flag("all_or_none"),
    )


def write_credit_bid(command: BidCredits) -> credits_pb2.CreditBid:
    """Body of a team's standing bid."""
    return credits_pb2.CreditBid(
        header=write_header(command.header),
        bid_id=command.bid_id,
        book_id=command.book_id,
        start_time=timestamp(command.start),
        end_time=timestamp(command.end),
        chip_count=command.chips,
        limit_price_micro_credits_per_chip_hour=command.limit_price,
        all_or_none=command.whole,
    )


def read_credit_bid_cancellation(body: Reader) -> CancelCreditBid:
    """A bid that is withdrawn."""
    return CancelCreditBid(
        header=read_header(body),
        book_id=body.reference("book_id"),
        bid_id=body.reference("bid_id"),
    )


def write_credit_bid_cancellation(command: CancelCreditBid) -> credits_pb2.CreditBidCancellation:
    """Body of a bid's withdrawal."""
    return credits_pb2.CreditBidCancellation(
        header=write_header(command.header), book_id=command.book_id, bid_id=command.bid_id
    )
