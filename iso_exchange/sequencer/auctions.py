"""Auction commands: create, halt, resume, close the gate, publish or fail a result."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence

from clearing.book import canonical
from clearing.outcome import Outcome
from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Interval,
    Nomination,
    Offer,
    Segment,
    Step,
    StepBid,
    WorkBid,
)
from iso_exchange.commands import (
    CloseAuction,
    CreateAuction,
    FailAuction,
    HaltAuction,
    NotifyAward,
    PublishPrices,
    PublishResult,
    RegisterEntitlement,
    ResumeAuction,
)
from iso_exchange.sequencer.allocation_record import note_result
from iso_exchange.sequencer.base_load import cover_of
from iso_exchange.sequencer.capacity import bought, carried_elsewhere, meets_any, sold
from iso_exchange.sequencer.effects import Accepted, Meta, document, post
from iso_exchange.sequencer.engine import refuse_by_engine
from iso_exchange.sequencer.grants import is_left_to_spot
from iso_exchange.sequencer.late_outcome import LateOutcome
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot import bind_result, publish_run
from iso_exchange.sequencer.spot_binding import Stops
from iso_exchange.sequencer.state import (
    Auction,
    AuctionState,
    OrderState,
    State,
    find_auction,
    grid_of,
    intervals_of,
)
from iso_exchange.sequencer.strips import refuse_strips, sells_strips
from settlement.assignment import Assignment
from settlement.ledger.merkle import Frontier
from settlement.types import Postings

INTERVAL_COUNT_MAX = 168
INTERVAL_SECONDS_MIN = 300
INTERVAL_SECONDS_MAX = 86_400
SHA256_HEX_LENGTH = 64
TIE_CREDIT_MAX = 100


def create_auction(state: State, command: CreateAuction, meta: Meta) -> Accepted | Rejected:
    """Open an auction."""
    is_long = command.interval_seconds > INTERVAL_SECONDS_MAX
    refused = (refuse_strips(command) if is_long else None) or _refuse_spec(command, meta)
    if refused:
        return refused
    if command.auction_id in state.auctions:
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="auction_id",
            advice="choose another identifier",
            got=command.auction_id,
        )
    if command.price_floor < 0:
        return Rejected(
            code=Code.NEGATIVE_ENERGY_PRICE_NOT_SETTLED,
            field="price_floor_micro_usd_per_chip_hour",
            advice="suppliers that pay are not settled yet: choose a floor of at least zero",
            got=str(command.price_floor),
            limit="0",
        )
    spec = AuctionSpec(
        auction_id=command.auction_id,
        intervals=intervals_of(command),
        price_floor=command.price_floor,
        price_cap=command.price_cap,
        tick=command.tick,
        operator_fee=command.operator_fee,
        pricing_rule=command.pricing_rule,
        tie_credit=command.tie_credit,
        seed_commitment=command.seed_commitment,
        tariff=command.tariff,
    )
    refused = refuse_by_engine(Book(spec=spec, sites=(), pools=()))
    if refused:
        return refused
    state.auctions[command.auction_id] = Auction(
        created=command, spec=spec, state=AuctionState.OPEN, pool_ids=tuple(state.pools)
    )
    return Accepted()


def halt_auction(state: State, command: HaltAuction, _: Meta) -> Accepted | Rejected:
    """Stop taking orders; the gate does not close while halted."""
    return _switch(state, command.auction_id, AuctionState.OPEN, AuctionState.HALTED)


def resume_auction(state: State, command: ResumeAuction, _: Meta) -> Accepted | Rejected:
    """Take orders again after a halt, or clear again after the last try failed."""
    auction = _in_state(state, command.auction_id, AuctionState.HALTED, AuctionState.FAILED)
    if isinstance(auction, Rejected):
        return auction
    if auction.market_id:
        return _halt_the_market(auction)
    if auction.state is AuctionState.FAILED:
        auction.forgiven_failures = len(auction.failures)
        auction.state = AuctionState.CLOSED
    else:
        auction.state = AuctionState.OPEN
    return Accepted()


def close_auction(state: State, command: CloseAuction, meta: Meta) -> Accepted | Rejected:
    """Freeze the order set; the command's root and count must be what the state says."""
    auction = _in_state(state, command.auction_id, AuctionState.OPEN)
    if isinstance(auction, Rejected):
        return auction
    if meta.now < auction.created.close_time:
        return Rejected(
            code=Code.WRONG_STATE,
            field="auction_id",
            advice="the gate closes at its published time, not before",
            got=str(meta.now),
            limit=str(auction.created.close_time),
        )
    count, root = auction.frozen or book_root(state, auction)
    if (command.order_count, command.book_root) != (count, root):
        return Rejected(
            code=Code.WRONG_STATE,
            field="book_root",
            advice="orders changed meanwhile: compute the book again and close again",
            got=f"{command.order_count} {command.book_root}",
            limit=f"{count} {root}",
        )
    if auction.book is None:  # that of a run was frozen at its gate
        auction.book = build_book(state, auction)
    auction.state = AuctionState.CLOSED
    for order_id in auction.order_ids:
        if state.orders[order_id].state is OrderState.OPEN:
            state.orders[order_id].state = OrderState.LOCKED
    return Accepted()


def publish_result(state: State, command: PublishResult, meta: Meta) -> Accepted | Rejected:
    """Take a verified result: contracts start, order holds become contract holds."""
    auction = _in_state(state, command.auction_id, AuctionState.CLOSED, AuctionState.FAILED)
    if isinstance(auction, Rejected):
        return auction
    outcome = _outcome_of(meta, command.outcome_sha256)
    if isinstance(outcome, Rejected):
        return outcome
    assignment = document(meta, command.assignment_sha256, Assignment)
    if isinstance(assignment, Rejected):
        return assignment
    postings = document(meta, command.postings_sha256, Postings)
    if isinstance(postings, Rejected):
        return postings
    stops = document(meta, command.stops_sha256, Stops) if auction.market_id else None
    if isinstance(stops, Rejected):
        return stops
    book_digest = hashlib.sha256(auction.written_book()).hexdigest()
    if not book_digest == command.book_sha256 == outcome.book_sha256:
        return Rejected(
            code=Code.WRONG_STATE,
            field="book_sha256",
            advice="the result must be of the frozen book",
            got=outcome.book_sha256,
            limit=book_digest,
        )
    applied = post(state, meta, postings)
    if isinstance(applied, Rejected):
        return applied
    state.postings[postings.postings_id] = postings
    auction.result, auction.assignment, auction.book_text = outcome, assignment, b""
    auction.state = AuctionState.CLEARED
    for contract in assignment.contracts:
        state.contracts[contract.contract_id] = contract
    if stops is not None:
        auction.renewed = command.renewed
        note_result(state, auction, command)
        bind_result(state, auction, assignment, stops, outcome.seed)
        return Accepted(transfers=applied)
    auction.offered = sold(auction, outcome.read())
    auction.bought = bought(auction, outcome.read())
    for order_id in auction.order_ids:
        order = state.orders[order_id]
        if order.state is OrderState.LOCKED:
            order.state = OrderState.DECIDED
            order.hold = None
    return Accepted(transfers=applied)


def _outcome_of(meta: Meta, digest: str) -> LateOutcome | Rejected:
    """The outcome that a result names: read, or from the service that wrote it."""
    known = meta.values.get(bytes.fromhex(digest))
    if isinstance(known, LateOutcome):
        return known
    outcome = document(meta, digest, Outcome)
    return outcome if isinstance(outcome, Rejected) else LateOutcome.of(outcome)


def publish_prices(state: State, command: PublishPrices, _: Meta) -> Accepted | Rejected:
    """Everybody may see the prices from here on."""
    auction = _in_state(state, command.auction_id, AuctionState.CLEARED)
    if isinstance(auction, Rejected):
        return auction
    auction.state = AuctionState.PUBLISHED
    if auction.market_id:
        publish_run(state, auction, command)
    auction.certified_gap_ppb = command.certified_gap_ppb
    return Accepted()


def notify_award(state: State, command: NotifyAward, _: Meta) -> Accepted | Rejected:
    """One participant's own result, once."""
    auction = _in_state(state, command.auction_id, AuctionState.PUBLISHED, AuctionState.SETTLED)
    if isinstance(auction, Rejected):
        return auction
    if command.participant_id in auction.notified:
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="participant_id",
            advice="the notice was given already",
            got=command.participant_id,
        )
    auction.notified.add(command.participant_id)
    return Accepted(owners=(command.participant_id,))


def fail_auction(state: State, command: FailAuction, _: Meta) -> Accepted | Rejected:
    """Record that clearing gave no result that may be published."""
    auction = _in_state(state, command.auction_id, AuctionState.CLOSED, AuctionState.FAILED)
    if isinstance(auction, Rejected):
        return auction
    auction.state = AuctionState.FAILED
    auction.failures.append(command.reason)
    return Accepted()


def book_root(state: State, auction: Auction) -> tuple[int, str]:
    """Number of orders in the book and hex Merkle root over their leaf hashes by log index."""
    entries = [
        (order.entry_index, order.leaf_hash)
        for order in (state.orders[order_id] for order_id in auction.order_ids)
        if order.state in (OrderState.OPEN, OrderState.LOCKED)
    ]
    entries.extend(
        (record.entry_index, record.leaf_hash)
        for record in (state.nominations[name] for name in auction.nomination_ids)
    )
    entries.sort()
    return len(entries), Frontier().extend(leaf for _, leaf in entries).root().hex()


def build_book(state: State, auction: Auction) -> Book:
    """The frozen book of an auction: its open orders, nominations and its whole grid.

    An entitlement without a nomination is nominated in full: base load is served unless
    its holder says otherwise, or another auction carries it in the same hours. A grant that
    nobody nominates is left to the spot market of its pool, where there is one.
    """
    orders = [
        order.order
        for order in (state.orders[order_id] for order_id in auction.order_ids)
        if order.state in (OrderState.OPEN, OrderState.LOCKED)
    ]
    records = [state.nominations[name] for name in auction.nomination_ids]
    named = {record.nomination.entitlement_id for record in records}
    carried = carried_elsewhere(state, auction)
    standing = [
        _standing(auction, entitlement, carried.get(entitlement.entitlement_id, ()))
        for entitlement in state.entitlements.values()
        if entitlement.entitlement_id not in named
        and entitlement.pool_id in auction.pool_ids
        and not sells_strips(auction)
        and not is_left_to_spot(state, entitlement)
    ]
    return canonical(
        Book(
            spec=auction.spec,
            sites=tuple(record.site for record in state.sites.values()),
            pools=grid_of(state, auction),
            offers=tuple(order for order in orders if isinstance(order, Offer)),
            step_bids=tuple(order for order in orders if isinstance(order, StepBid)),
            block_bids=tuple(order for order in orders if isinstance(order, BlockBid)),
            work_bids=tuple(order for order in orders if isinstance(order, WorkBid)),
            nominations=(
                *(record.nomination for record in records),
                *(nomination for nomination in standing if nomination is not None),
            ),
        )
    )


def _standing(
    auction: Auction, entitlement: RegisterEntitlement, carried: Sequence[Interval]
) -> Nomination | None:
    inside = [
        entitlement.period.start <= interval.start
        and interval.end <= entitlement.period.end
        and not meets_any(interval, carried)
        for interval in auction.spec.intervals
    ]
    if not any(inside):
        return None
    cover, backup_pool_ids = cover_of(auction, entitlement)
    return Nomination(
        order_id=f"standing:{entitlement.entitlement_id}",
        entitlement_id=entitlement.entitlement_id,
        participant_id=entitlement.holder_id,
        pool_id=entitlement.pool_id,
        segments=tuple(
            Segment(
                first=first,
                stop=stop,
                steps=(Step(price=entitlement.contract_price, chips=entitlement.chips),),
            )
            for first, stop in _runs(inside)
        ),
        cover=cover,
        backup_pool_ids=backup_pool_ids,
    )


def _runs(flags: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Positions ``[first, stop)`` of each unbroken run of true flags."""
    for wanted, group in itertools.groupby(range(len(flags)), key=lambda index: flags[index]):
        if wanted:
            members = list(group)
            yield members[0], members[-1] + 1


def _refuse_spec(command: CreateAuction, meta: Meta) -> Rejected | None:
    last = command.first_interval_start
    is_long = command.interval_seconds > INTERVAL_SECONDS_MAX
    checks = (
        (bool(command.auction_id), "auction_id", "give an identifier"),
        (meta.now < command.close_time, "close_time", "the gate closes in the future"),
        (
            command.close_time <= last,
            "close_time",
            "the gate closes before the first delivery interval",
        ),
        (
            is_long or 1 <= command.interval_count <= INTERVAL_COUNT_MAX,
            "interval_count",
            f"1 to {INTERVAL_COUNT_MAX} intervals",
        ),
        (
            command.interval_seconds >= INTERVAL_SECONDS_MIN
            and command.interval_seconds % INTERVAL_SECONDS_MIN == 0,
            "interval_seconds",
            "intervals are multiples of 300 s, the metering interval",
        ),
        (
            is_long or command.first_interval_start % command.interval_seconds == 0,
            "first_interval_start_time",
            "intervals are aligned to UTC multiples of their length",
        ),
        (command.tick > 0, "tick_micro_usd_per_chip_hour", "the tick is above zero"),
        (
            command.price_floor < command.price_cap,
            "price_cap_micro_usd_per_chip_hour",
            "the cap is above the floor",
        ),
        (command.operator_fee >= 0, "operator_fee_micro_usd_per_chip_hour", "zero or more"),
        (
            0 <= command.tie_credit <= TIE_CREDIT_MAX,
            "tie_credit_micro_usd_per_chip_hour",
            f"0 to {TIE_CREDIT_MAX}",
        ),
        (
            len(command.seed_commitment) == SHA256_HEX_LENGTH
            and set(command.seed_commitment) <= set("0123456789abcdef"),
            "seed_commitment",
            "ask the exchange for the commitment to this auction's tie seed",
        ),
    )
    for holds, field, advice in checks:
        if not holds:
            return Rejected(code=Code.INVALID_VALUE, field=field, advice=advice)
    return None


def _switch(
    state: State, auction_id: str, wanted: AuctionState, new: AuctionState
) -> Accepted | Rejected:
    auction = _in_state(state, auction_id, wanted)
    if isinstance(auction, Rejected):
        return auction
    if auction.market_id:
        return _halt_the_market(auction)
    auction.state = new
    return Accepted()


def _halt_the_market(run: Auction) -> Rejected:
    return Rejected(
        code=Code.WRONG_STATE,
        field="auction_id",
        advice="halt or resume the spot market, not one of its runs",
        got=run.spec.auction_id,
        limit=run.market_id,
    )


def _in_state(state: State, auction_id: str, *wanted: AuctionState) -> Auction | Rejected:
    auction = find_auction(state, auction_id)
    if auction is None:
        return Rejected(
            code=Code.UNKNOWN_AUCTION,
            field="auction_id",
            advice="list the auctions",
            got=auction_id,
        )
    if auction.state not in wanted:
        return Rejected(
            code=Code.WRONG_STATE,
            field="auction_id",
            advice="the auction is not in a state that allows this",
            got=auction.state.value,
            limit=" or ".join(state.value for state in wanted),
        )
    return auction
