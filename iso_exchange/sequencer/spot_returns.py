"""Hours of a contract that its buyer returns to a spot market: supply of its runs (rule 23).

A return is like a release of base load, of chips that an auction sold: from the next gate on
they are an offer of the buyer's at the market's floor, and the buyer earns what supply earns.
What served base load, or was supplied by released base load, can be recalled and serves
interruptible work only; all other returned chips serve anybody.
"""

from __future__ import annotations

import dataclasses

from clearing.types import Book, Offer, Segment, ServiceClass, Step
from clearing.units import Chips, MicroUsdPerChipHour
from iso_exchange.commands import ReturnHours, Role, TimedSegment
from iso_exchange.sequencer.effects import Accepted, Meta, active_participant
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_curves import joined
from iso_exchange.sequencer.spot_market import (
    RETURN_PREFIX,
    UNREAD,
    Returned,
    SpotMarket,
)
from iso_exchange.sequencer.spot_orders import numbered_segments, refuse_market
from iso_exchange.sequencer.state import Auction, AuctionState, State
from settlement.metering.billable import METERING_INTERVAL_S
from settlement.types import Contract, DeliveredHours

NO_PRICE = MicroUsdPerChipHour(0)


def return_hours(state: State, command: ReturnHours, meta: Meta) -> Accepted | Rejected:
    """Take what a buyer gives back; it holds in place of the contract's return before it."""
    holder = active_participant(state, command.header.signer_id, Role.BUYER)
    if isinstance(holder, Rejected):
        return holder
    found = _judged(state, command)
    if isinstance(found, Rejected):
        return found
    market, auction, contract = found
    refused = refuse_market(market)
    if refused:
        return dataclasses.replace(refused, field="market_id")
    curves = _curves(market, command, meta)
    if isinstance(curves, Rejected):
        return curves
    refused = _refuse_identifier(market, command) or _refuse_chips(state, market, contract, curves)
    if refused:
        return refused
    assert auction.assignment is not None  # published
    market.returns[contract.contract_id] = Returned(
        return_id=command.return_id,
        contract_id=contract.contract_id,
        auction_id=contract.auction_id,
        owner_id=contract.payer_id or contract.buyer_id,
        pool_id=contract.pool_id,
        recallable=contract.service_class is ServiceClass.BASE_LOAD
        or contract.supplier_order_id in auction.assignment.released_order_ids,
        segments=curves,
        entry_index=meta.index,
        leaf_hash=meta.leaf_hash,
    )
    return Accepted(owners=(contract.buyer_id,))


def returned_in_run(
    market: SpotMarket, first: int
) -> tuple[tuple[Offer, ...], list[tuple[int, bytes]]]:
    """Offers of what was returned and is not sold, and the log entries that say so.

    Args:
        first: Interval number of the run's interval 0.
    """
    offers: list[Offer] = []
    entries: list[tuple[int, bytes]] = []
    price = market.opened.price_floor
    for record in market.returns.values():
        owed = market.supplied.get(record.pool_id, {}).get(record.offer_id, {})
        free = [
            max(0, record.chips_at(number) - owed.get(number, 0))
            for number in range(first, first + market.opened.look_ahead)
        ]
        if any(free):
            offers.append(
                Offer(
                    order_id=record.offer_id,
                    participant_id=record.owner_id,
                    pool_id=record.pool_id,
                    segments=joined(
                        (Step(price=price, chips=Chips(chips)),) if chips else () for chips in free
                    ),
                    recallable=record.recallable,
                )
            )
            entries.append((record.entry_index, record.leaf_hash))
    return tuple(offers), entries


def note_returned(market: SpotMarket, book: Book, number: int) -> None:
    """Remember what the gate of a run finds given back for its first interval, sold or not."""
    free = {
        offer.order_id: int(offer.segments[0].steps[0].chips)
        for offer in book.offers
        if offer.order_id.startswith(RETURN_PREFIX) and offer.segments[0].first == 0
    }
    given: dict[str, int] = {}
    for name, record in market.returns.items():
        chips = free.get(record.offer_id, 0) + market.sold_of(record, number)
        if chips:
            given[name] = chips
    if given:
        market.given[number] = given


def pass_on(market: SpotMarket, delivered: DeliveredHours) -> None:
    """Remember what a settled run made of returned chips: their own contract goes by it.

    Later readings correct hours of auctions, not runs, so that what the run's buyer was owed is
    what the holder is owed.
    """
    for hour in delivered.hours:
        if f"/{RETURN_PREFIX}" in hour.contract_id:
            healthy = UNREAD if hour.gap else int(hour.delivered)
            market.passed[hour.contract_id, hour.interval.start] = healthy


def passed_of(state: State) -> dict[tuple[str, int], int]:
    """What settled runs made of returned chips, over all markets; see ``SpotMarket.passed``."""
    found: dict[tuple[str, int], int] = {}
    for market in state.markets.values():
        found.update(market.passed)
    return found


def forget_returns(state: State, auction_id: str) -> None:
    """Drop what was returned of an auction that is settled."""
    for market in state.markets.values():
        for name in [
            name for name, record in market.returns.items() if record.auction_id == auction_id
        ]:
            del market.returns[name]
            for given in market.given.values():
                given.pop(name, None)
        for number in [number for number, given in market.given.items() if not given]:
            del market.given[number]


def _judged(state: State, command: ReturnHours) -> tuple[SpotMarket, Auction, Contract] | Rejected:
    """The market, and the contract that may be returned to it, with its auction."""
    market = state.markets.get(command.market_id)
    if market is None:
        return Rejected(
            code=Code.UNKNOWN_AUCTION,
            field="market_id",
            advice="list the spot markets",
            got=command.market_id,
        )
    contract = state.contracts.get(command.contract_id)
    if contract is None:
        return Rejected(
            code=Code.NOT_FOUND,
            field="contract_id",
            advice="list your contracts",
            got=command.contract_id,
        )
    if contract.buyer_id != command.header.signer_id:
        return Rejected(
            code=Code.NOT_OWNER, field="contract_id", advice="only its buyer returns hours of it"
        )
    auction = state.auctions.get(contract.auction_id)
    if auction is None or auction.state is not AuctionState.PUBLISHED:
        return Rejected(
            code=Code.WRONG_STATE,
            field="contract_id",
            advice="return hours of a published auction; what a run bound ends with its notice",
            got=auction.state.value if auction else contract.auction_id,
        )
    if market.seconds != METERING_INTERVAL_S:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="market_id",
            advice="hours are returned to markets that clear every metering interval",
            got=str(market.seconds),
            limit=str(METERING_INTERVAL_S),
        )
    if contract.link_id:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="contract_id",
            advice="what is supplied over a link cannot be returned",
            got=contract.link_id,
        )
    if contract.pool_id not in market.pool_ids:
        return Rejected(
            code=Code.UNKNOWN_POOL,
            field="contract_id",
            advice="its pool was registered after this market was opened",
            got=contract.pool_id,
        )
    return market, auction, contract


def _curves(market: SpotMarket, command: ReturnHours, meta: Meta) -> tuple[Segment, ...] | Rejected:
    if not command.segments:
        return ()
    return numbered_segments(
        market,
        tuple(
            TimedSegment(
                start=part.start, end=part.end, steps=(Step(price=NO_PRICE, chips=part.chips),)
            )
            for part in command.segments
        ),
        meta.now,
    )


def _refuse_identifier(market: SpotMarket, command: ReturnHours) -> Rejected | None:
    for record in market.returns.values():
        if record.return_id == command.return_id and record.contract_id != command.contract_id:
            return Rejected(
                code=Code.ALREADY_EXISTS,
                field="return_id",
                advice="a return of another contract has this identifier",
                got=command.return_id,
            )
    return None


def _refuse_chips(
    state: State, market: SpotMarket, contract: Contract, curves: tuple[Segment, ...]
) -> Rejected | None:
    node = state.pools[contract.pool_id].pool.chips_per_node
    for curve in curves:
        chips = curve.steps[0].chips
        if chips <= 0 or chips % node:
            return Rejected(
                code=Code.NOT_NODE_MULTIPLE,
                field="segments",
                advice="hours are returned in whole nodes",
                got=str(chips),
                limit=f"multiple of {node}",
            )
        for number in range(curve.first, curve.stop):
            held = _held(contract, market, number)
            if chips > held:
                return Rejected(
                    code=Code.QUANTITY_ABOVE_CAPACITY,
                    field="segments",
                    advice="return at most what the contract delivers at that time",
                    got=f"{chips} at {number * market.seconds}",
                    limit=str(held),
                )
    return None


def _held(contract: Contract, market: SpotMarket, number: int) -> int:
    """Chips of a contract over the whole of an interval of the market."""
    cell = market.interval(number)
    return next(
        (
            int(hour.chips)
            for hour in contract.hours
            if hour.interval.start <= cell.start and cell.end <= hour.interval.end
        ),
        0,
    )
