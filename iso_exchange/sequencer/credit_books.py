"""Credits: a lab opens a book over an entitlement, gives its teams credits, and they bid.

A team is a participant like any other, with its own key; what makes it a team is a grant of the
lab. Credits of a lab are good in all of its books and nowhere else.
"""

from __future__ import annotations

from clearing.types import (
    MAX_PRICE_MICRO_USD_PER_CHIP_HOUR,
    AuctionSpec,
    Book,
)
from iso_exchange.credit_commands import (
    BidCredits,
    CancelCreditBid,
    CloseCredits,
    GrantCredits,
    OpenCredits,
)
from iso_exchange.header import Role
from iso_exchange.sequencer.credit_state import CreditBid, CreditBook, TeamCredits
from iso_exchange.sequencer.effects import Accepted, Meta, active_participant, post
from iso_exchange.sequencer.engine import refuse_by_engine
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import State
from settlement.credits import CreditGrant, granted
from settlement.types import Postings

METERING_SECONDS = 300
DAY_SECONDS = 86_400
INTERVAL_COUNT_MAX = 168
REACH_SECONDS = 31 * DAY_SECONDS
BIDS_MAX = 1_000
"""Standing bids of a team in a book."""
AMOUNT_MAX = 2**63 - 1
"""Micro-credits of one grant."""


def open_credits(state: State, command: OpenCredits, meta: Meta) -> Accepted | Rejected:
    """Open a book over an entitlement of the signer's; it takes bids at once."""
    holder = active_participant(state, command.header.signer_id, Role.BUYER)
    if isinstance(holder, Rejected):
        return holder
    if command.book_id in state.credit_books:
        return _exists("book_id", command.book_id)
    entitlement = state.entitlements.get(command.entitlement_id)
    if entitlement is None:
        return _unknown("entitlement_id", "register the entitlement first", command.entitlement_id)
    if entitlement.holder_id != holder.participant_id:
        return Rejected(
            code=Code.NOT_OWNER, field="entitlement_id", advice="only its holder shares it out"
        )
    for other in state.credit_books.values():
        if other.opened.entitlement_id == command.entitlement_id and not other.closed:
            return Rejected(
                code=Code.ALREADY_EXISTS,
                field="entitlement_id",
                advice="a book shares it out: close that one first",
                got=other.opened.book_id,
            )
    book = CreditBook(
        opened=command,
        organisation=holder.participant_id,
        pool_id=entitlement.pool_id,
        period=entitlement.period,
    )
    refused = _refuse_terms(command, book, meta) or refuse_by_engine(
        Book(spec=spec_of(book, command.first_start, "00" * 32), sites=(), pools=())
    )
    if refused:
        return refused
    state.credit_books[command.book_id] = book
    return Accepted(owners=(holder.participant_id,))


def close_credits(state: State, command: CloseCredits, _: Meta) -> Accepted | Rejected:
    """End a book: its bids end, decided rounds stay."""
    book = open_book(state, command.book_id)
    if isinstance(book, Rejected):
        return book
    if book.organisation != command.header.signer_id:
        return Rejected(code=Code.NOT_OWNER, field="book_id", advice="only its lab closes it")
    book.closed = command.reason
    book.bids.clear()
    return Accepted()


def grant_credits(state: State, command: GrantCredits, meta: Meta) -> Accepted | Rejected:
    """Give a team credits of the signer's; there is no limit to what a lab may give."""
    for participant_id in (command.header.signer_id, command.team_id):
        participant = active_participant(state, participant_id, Role.BUYER)
        if isinstance(participant, Rejected):
            return participant
    organisation = command.header.signer_id
    if command.team_id == organisation:
        return Rejected(
            code=Code.INVALID_VALUE, field="team_id", advice="name a team, not the lab itself"
        )
    if not 0 < command.amount <= AMOUNT_MAX:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="amount_micro_credits",
            advice="give more than nothing",
            got=str(command.amount),
            limit=str(AMOUNT_MAX),
        )
    if command.expiry <= meta.now:
        return Rejected(
            code=Code.WINDOW_IN_PAST,
            field="expire_time",
            advice="credits expire in the future",
            got=str(command.expiry),
            limit=str(meta.now),
        )
    if (organisation, command.grant_id) in state.credit_grants:
        return _exists("grant_id", command.grant_id)
    grant = CreditGrant(
        grant_id=command.grant_id,
        organisation=organisation,
        team_id=command.team_id,
        amount=command.amount,
        expiry=command.expiry,
    )
    transfer = granted(grant)
    applied = post(state, meta, Postings(postings_id=transfer.transfer_id, transfers=(transfer,)))
    if isinstance(applied, Rejected):
        return applied
    state.credit_grants.add((organisation, command.grant_id))
    key = (organisation, command.team_id)
    state.credit_teams.setdefault(key, TeamCredits()).grants.append(grant)
    return Accepted(owners=tuple(sorted(key)), transfers=applied)


def bid_credits(state: State, command: BidCredits, meta: Meta) -> Accepted | Rejected:
    """Take a team's standing bid; the next gate sees it."""
    book = open_book(state, command.book_id)
    if isinstance(book, Rejected):
        return book
    team = active_participant(state, command.header.signer_id, Role.BUYER)
    if isinstance(team, Rejected):
        return team
    if (book.organisation, team.participant_id) not in state.credit_teams:
        return Rejected(
            code=Code.NOT_OWNER,
            field="book_id",
            advice="the lab that runs this book gave you no credits: ask it for some",
            got=team.participant_id,
        )
    known = book.bids.get(command.bid_id)
    if known is not None and known.team_id != team.participant_id:
        return _exists("bid_id", command.bid_id)
    own = sum(bid.team_id == team.participant_id for bid in book.bids.values())
    if known is None and own >= BIDS_MAX:
        return Rejected(
            code=Code.TOO_MANY_ORDERS,
            field="bid_id",
            advice="cancel bids that you do not need",
            got=str(own),
            limit=str(BIDS_MAX),
        )
    refused = _refuse_bid(state, book, command, meta)
    if refused:
        return refused
    book.bids[command.bid_id] = CreditBid(
        submitted=command, entry_index=meta.index, leaf_hash=meta.leaf_hash
    )
    return Accepted(owners=(team.participant_id,))


def cancel_credit_bid(state: State, command: CancelCreditBid, _: Meta) -> Accepted | Rejected:
    """Withdraw a standing bid; what rounds gave stays given."""
    book = open_book(state, command.book_id)
    if isinstance(book, Rejected):
        return book
    bid = book.bids.get(command.bid_id)
    if bid is None or bid.team_id != command.header.signer_id:
        return _unknown("bid_id", "list your bids", command.bid_id)
    del book.bids[command.bid_id]
    return Accepted(owners=(bid.team_id,))


def end_bids_of(state: State, participant_id: str) -> None:
    """End every standing bid of a participant: the operator cancels all that it has open."""
    for book in state.credit_books.values():
        for name in [name for name, bid in book.bids.items() if bid.team_id == participant_id]:
            del book.bids[name]


def open_book(state: State, book_id: str) -> CreditBook | Rejected:
    """A book that still has rounds."""
    book = state.credit_books.get(book_id)
    if book is None:
        return _unknown("book_id", "list the credits books", book_id)
    if book.closed:
        return Rejected(
            code=Code.GATE_CLOSED, field="book_id", advice="the book is closed", got=book_id
        )
    return book


def spec_of(book: CreditBook, start: int, seed_commitment: str) -> AuctionSpec:
    """The auction that a round is: no fee, no tie credit, prices in micro-credits."""
    return AuctionSpec(
        auction_id=book.round_id(start),
        intervals=book.intervals(start),
        price_cap=book.opened.price_cap,
        tick=book.opened.tick,
        tie_credit=type(book.opened.tick)(0),
        seed_commitment=seed_commitment,
    )


def _refuse_terms(command: OpenCredits, book: CreditBook, meta: Meta) -> Rejected | None:
    seconds = command.interval_seconds
    tick = max(1, command.tick)
    checks = (
        (bool(command.book_id), "book_id", "give an identifier"),
        (
            METERING_SECONDS <= seconds <= DAY_SECONDS and seconds % METERING_SECONDS == 0,
            "interval_seconds",
            "intervals are multiples of 300 s, and at most a day",
        ),
        (
            1 <= command.interval_count <= INTERVAL_COUNT_MAX,
            "interval_count",
            f"1 to {INTERVAL_COUNT_MAX} intervals",
        ),
        (
            command.first_start > meta.now and command.first_start % max(1, seconds) == 0,
            "first_start_time",
            "the first round begins in the future, on an interval boundary of UTC",
        ),
        (
            book.period.start <= command.first_start
            and command.first_start + seconds <= book.period.end,
            "first_start_time",
            "rounds are inside the period of the entitlement",
        ),
        (
            1 <= command.gate_lead_s < max(2, book.length),
            "gate_lead_seconds",
            "at least a second, and less than a round",
        ),
        (command.tick > 0, "tick_micro_credits_per_chip_hour", "the tick is above zero"),
        (
            0 < command.price_cap <= MAX_PRICE_MICRO_USD_PER_CHIP_HOUR,
            "price_cap_micro_credits_per_chip_hour",
            "from 1 to 1,000,000,000 micro-credits",
        ),
        (
            0 <= command.reserve_price <= command.price_cap and command.reserve_price % tick == 0,
            "reserve_price_micro_credits_per_chip_hour",
            "a multiple of the tick, at most the cap",
        ),
    )
    for holds, field, advice in checks:
        if not holds:
            return Rejected(code=Code.INVALID_VALUE, field=field, advice=advice)
    return None


def _refuse_bid(state: State, book: CreditBook, command: BidCredits, meta: Meta) -> Rejected | None:
    opened = book.opened
    chips = state.entitlements[opened.entitlement_id].chips
    node = state.pools[book.pool_id].pool.chips_per_node
    seconds = opened.interval_seconds
    begin, end = max(opened.first_start, book.period.start), book.period.end
    refusals = (
        (
            command.start < command.end,
            Code.INVALID_VALUE,
            "end_time",
            "a window ends after it starts",
            command.end,
        ),
        (
            meta.now < command.end <= meta.now + REACH_SECONDS,
            Code.WINDOW_IN_PAST if command.end <= meta.now else Code.WINDOW_OUTSIDE_AUCTION,
            "end_time",
            "bid for at most 31 days ahead",
            command.end,
        ),
        (
            begin <= command.start and command.end <= end,
            Code.WINDOW_OUTSIDE_AUCTION,
            "start_time",
            f"rounds are inside [{begin}, {end})",
            command.start,
        ),
        (
            command.start % seconds == 0 and command.end % seconds == 0,
            Code.NOT_ON_INTERVAL_BOUNDARY,
            "start_time",
            f"start and end on interval boundaries, every {seconds} s of UTC",
            command.start,
        ),
        (
            command.chips > 0 and command.chips % node == 0,
            Code.NOT_NODE_MULTIPLE,
            "chip_count",
            f"whole nodes of {node} chips",
            command.chips,
        ),
        (
            command.chips <= chips,
            Code.QUANTITY_ABOVE_CAPACITY,
            "chip_count",
            f"the entitlement has {chips} chips",
            command.chips,
        ),
        (
            0 <= command.limit_price <= opened.price_cap and command.limit_price % opened.tick == 0,
            Code.PRICE_OUTSIDE_LIMITS,
            "limit_price_micro_credits_per_chip_hour",
            f"multiples of {opened.tick}, up to {opened.price_cap} micro-credits",
            command.limit_price,
        ),
    )
    for holds, code, field, advice, got in refusals:
        if not holds:
            return Rejected(code=code, field=field, advice=advice, got=str(got))
    return None


def _exists(field: str, got: str) -> Rejected:
    return Rejected(
        code=Code.ALREADY_EXISTS, field=field, advice="choose another identifier", got=got
    )


def _unknown(field: str, advice: str, got: str) -> Rejected:
    return Rejected(code=Code.NOT_FOUND, field=field, advice=advice, got=got)
