"""Spot markets: open, halt, resume, close; the gate of a run, and what its result binds."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from clearing.outcome import Outcome
from clearing.types import BlockBid, Book, Interval, Offer, StepBid
from clearing.units import UnixSeconds
from iso_exchange.commands import (
    CloseRun,
    CloseSpotMarket,
    CreateAuction,
    GiveNotices,
    HaltSpotMarket,
    Notice,
    OpenSpotMarket,
    PublishPrices,
    ResumeSpotMarket,
)
from iso_exchange.sequencer.allocation_record import note_gate
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.engine import refuse_by_engine
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_binding import RESPONSIBLE, Gate, Stop, Stops
from iso_exchange.sequencer.spot_book import RunBook, chips_out, run_book
from iso_exchange.sequencer.spot_entry import end_order
from iso_exchange.sequencer.spot_market import (
    COVER_CALLED,
    Gang,
    MarketState,
    RunRecord,
    SpotMarket,
)
from iso_exchange.sequencer.spot_renewal import renewed_outcome
from iso_exchange.sequencer.spot_returns import note_returned
from iso_exchange.sequencer.spot_settlement import settle_run
from iso_exchange.sequencer.state import Auction, AuctionState, Order, OrderState, State
from settlement.assignment import Assignment
from settlement.storage.store import AppliedTransfer

LOOK_AHEAD_MAX: Final = 168
METERING_SECONDS: Final = 300
SECONDS_MAX: Final = 3_600
CHAIN_LENGTH_MAX: Final = 4_000_000
SHA256_HEX_LENGTH: Final = 64
TIE_CREDIT_MAX: Final = 100
SPOT: Final = "SPOT"
HEX_DIGITS: Final = frozenset("0123456789abcdef")

EXPIRED: Final = "its last interval is over"
COMPLETED: Final = "it ran to its end"
RECLAIMED: Final = "it was reclaimed before its end"
MARKET_CLOSED: Final = "the market closed"


def open_spot_market(state: State, command: OpenSpotMarket, meta: Meta) -> Accepted | Rejected:
    """Open a standing market: it takes orders at once."""
    if command.market_id in state.markets or command.market_id in state.auctions:
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="market_id",
            advice="choose another identifier",
            got=command.market_id,
        )
    refused = _refuse_terms(command, meta)
    if refused:
        return refused
    market = SpotMarket(opened=command, pool_ids=tuple(state.pools), revealed=command.seed_anchor)
    spec = market.spec(command.first_start)
    refused = refuse_by_engine(Book(spec=spec, sites=(), pools=()))
    if refused:
        return refused
    state.markets[command.market_id] = market
    return Accepted()


def halt_spot_market(state: State, command: HaltSpotMarket, _: Meta) -> Accepted | Rejected:
    """No orders and no runs until resumed."""
    market = _in_state(state, command.market_id, MarketState.OPEN)
    if isinstance(market, Rejected):
        return market
    market.state, market.reason = MarketState.HALTED, command.reason
    return Accepted()


def resume_spot_market(state: State, command: ResumeSpotMarket, _: Meta) -> Accepted | Rejected:
    """Take orders and clear again; intervals that began meanwhile have no run."""
    market = _in_state(state, command.market_id, MarketState.HALTED)
    if isinstance(market, Rejected):
        return market
    market.state, market.reason = MarketState.OPEN, ""
    return Accepted()


def close_spot_market(state: State, command: CloseSpotMarket, meta: Meta) -> Accepted | Rejected:
    """End the market: open orders are released, what runs bound is delivered and settled."""
    market = _in_state(state, command.market_id, MarketState.OPEN, MarketState.HALTED)
    if isinstance(market, Rejected):
        return market
    transfers: list[AppliedTransfer] = []
    for order_id in list(market.order_ids):
        order = state.orders[order_id]
        transfers.extend(end_order(state, market, order, meta, MARKET_CLOSED, first=len(transfers)))
    market.state, market.reason = MarketState.CLOSED, command.reason
    return Accepted(transfers=tuple(transfers))


def close_run(state: State, command: CloseRun, meta: Meta) -> Accepted | Rejected:
    """The gate of a run: freeze its book, with every order before this entry of the log."""
    market = _in_state(state, command.market_id, MarketState.OPEN)
    if isinstance(market, Rejected):
        return market
    start = command.start
    first = market.opened.first_start
    if start < first or start % market.seconds or start <= market.last_start:
        return Rejected(
            code=Code.WRONG_STATE,
            field="start",
            advice="runs begin on interval boundaries, each after the one before",
            got=str(start),
            limit=str(market.next_start(meta.now)),
        )
    if not market.gate(start) <= meta.now < start:
        return Rejected(
            code=Code.WRONG_STATE,
            field="start",
            advice="the gate closes at its published time; a run is not cleared after it began",
            got=str(meta.now),
            limit=f"[{market.gate(start)}, {start})",
        )
    if market.revealed_count >= market.opened.chain_length:
        return Rejected(
            code=Code.WRONG_STATE,
            field="market_id",
            advice="its chain of tie seeds is used up: close it and open another market",
            got=str(market.revealed_count),
        )
    number = market.number(start)
    transfers = _end_what_is_over(state, market, number, meta)
    _forget_past(market, number)
    frozen = run_book(state, market, start)
    note_returned(market, frozen.book, number)
    run_id = market.run_id(start)
    count, root = frozen.count_and_root()
    state.runs[run_id] = Auction(
        created=_as_auction(market, start),
        spec=frozen.book.spec,
        state=AuctionState.OPEN,
        pool_ids=market.pool_ids,
        book=frozen.book,
        market_id=command.market_id,
        frozen=(count, root),
        gate_index=meta.index,
        gate=_gate(state, market, number, frozen),
        texts=market.parts.texts,
    )
    note_gate(state, market, start)
    market.run_ids[start] = run_id
    market.last_start = start
    market.runs[start] = RunRecord(state=AuctionState.OPEN.value, order_count=count, book_root=root)
    return Accepted(transfers=transfers)


def bind_result(
    state: State, run: Auction, assignment: Assignment, stops: Stops, seed: str
) -> None:
    """Remember what a published result binds: positions, gangs that run, notices."""
    market = state.markets[run.market_id]
    for contract in assignment.contracts:
        own = contract.supplier_order_id in state.entitlements
        for hour in contract.hours:
            number = market.number(hour.interval.start)
            if own:
                continue  # base load is there again in every run
            _add(market.bound, contract.order_id, contract.pool_id, number, hour.chips)
            _add(market.supplied, contract.pool_id, contract.supplier_order_id, number, hour.chips)
    for spare in assignment.spare_hours:
        number = market.number(spare.interval.start)
        _add(market.supplied, spare.pool_id, spare.order_id, number, spare.chips)
    start = run.spec.intervals[0].start
    _begin_gangs(state, market, market.number(start))
    news = tuple(
        stop
        for stop in stops.stops
        if not state.dispatch.was_told(
            stop.pool_id, stop.order_id, start + stop.interval * market.seconds
        )
    )
    run.notices = _give_notices(market, news, start)
    market.revealed = seed
    market.revealed_count += 1


def last_published_run(state: State, market: SpotMarket) -> Auction | None:
    """The latest published run that is still in the state, None where there is none."""
    for start in sorted(market.run_ids, reverse=True):
        run = state.runs[market.run_ids[start]]
        if run.state in (AuctionState.PUBLISHED, AuctionState.SETTLED):
            return run
    return None


def give_notices(state: State, command: GiveNotices, _: Meta) -> Accepted | Rejected:
    """Tell one participant of its notices, once; they must be what the run decided."""
    run = state.runs.get(command.run_id)
    if run is None or run.state not in (AuctionState.PUBLISHED, AuctionState.SETTLED):
        return Rejected(
            code=Code.WRONG_STATE,
            field="run_id",
            advice="notices follow from a published run",
            got=run.state.value if run else "",
        )
    if command.participant_id in run.warned:
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="participant_id",
            advice="the notices were given already",
            got=command.participant_id,
        )
    if command.notices != notices_of(run, command.participant_id) or not command.notices:
        return Rejected(
            code=Code.WRONG_STATE,
            field="notices",
            advice="the run decided other notices",
            got=str(len(command.notices)),
        )
    run.warned.add(command.participant_id)
    return Accepted(owners=(command.participant_id,))


def notices_of(run: Auction, participant_id: str) -> tuple[Notice, ...]:
    """Notices that a run gave or withdrew, of one participant."""
    return tuple(item for item in run.notices if item.participant_id == participant_id)


def renewal_of(state: State, run: Auction, seed: str) -> Outcome:
    """Outcome of a run that is not cleared in time: what the last published one advised."""
    assert run.book is not None  # frozen at its gate
    last = last_published_run(state, state.markets[run.market_id])
    before = None
    if last is not None and last.book and last.outcome and last.assignment:
        before = (last.book, last.outcome, last.assignment)
    return renewed_outcome(run.book, seed, before)


def publish_run(state: State, run: Auction, command: PublishPrices) -> None:
    """Note that the prices of a run are public; one that binds nothing is settled with it."""
    market = state.markets[run.market_id]
    start = run.spec.intervals[0].start
    market.disclosed = max(market.disclosed, run.gate_index)
    market.runs[start] = replace(
        market.runs[start],
        state=AuctionState.PUBLISHED.value,
        prices_sha256=command.prices_sha256,
        certified_gap_ppb=command.certified_gap_ppb,
        renewed=run.renewed,
    )
    if run.assignment is not None and not run.assignment.intervals:
        run.state = AuctionState.SETTLED
        settle_run(state, run)


def _gate(state: State, market: SpotMarket, number: int, frozen: RunBook) -> Gate:
    length = market.opened.look_ahead
    window = Interval(
        start=market.interval(number).start,
        end=UnixSeconds((number + length) * market.seconds),
    )
    out: dict[str, tuple[int, ...]] = {}
    for pool_id in market.pool_ids:
        outages = [
            item
            for item in state.outages.values()
            if item.pool_id == pool_id
            and item.interval.start < window.end
            and window.start < item.interval.end
        ]
        if outages:
            pool = state.pools[pool_id].pool
            out[pool_id] = tuple(
                chips_out(
                    outages, market.interval(number + place), pool.capacity, pool.chips_per_node
                )
                for place in range(length)
            )
    return Gate(
        standing=frozen.standing,
        out=out,
        credit_ids=frozenset(frozen.credit_ids),
    )


def _end_what_is_over(
    state: State, market: SpotMarket, number: int, meta: Meta
) -> tuple[AppliedTransfer, ...]:
    """Take orders out of the market that can get nothing any more."""
    transfers: list[AppliedTransfer] = []
    for order_id in list(market.order_ids):
        order = state.orders[order_id]
        why = _over(market, order, number)
        if why:
            transfers.extend(
                end_order(
                    state,
                    market,
                    order,
                    meta,
                    why,
                    first=len(transfers),
                    new=OrderState.DECIDED,
                )
            )
            market.gangs.pop(order_id, None)
    return tuple(transfers)


def _over(market: SpotMarket, order: Order, number: int) -> str:
    """Why an order is over at a gate, empty when it is not."""
    bid = order.order
    if not isinstance(bid, BlockBid):
        assert isinstance(bid, (Offer, StepBid))  # the only other kinds that a market takes
        return EXPIRED if bid.segments[-1].stop <= number else ""
    gang = market.gangs.get(bid.order_id)
    if gang is None:
        return EXPIRED if bid.latest_start < number else ""
    if gang.first + bid.duration <= number:
        return COMPLETED
    held = market.bound.get(bid.order_id, {})
    goes_on = any(at >= number - 1 for places in held.values() for at in places)
    return "" if goes_on else RECLAIMED


def _forget_past(market: SpotMarket, number: int) -> None:
    """Drop positions that ended before the interval in which running work runs now."""
    for table in (market.bound, market.supplied):
        for outer in list(table):
            inner = table[outer]
            for name in list(inner):
                places = inner[name]
                for at in [at for at in places if at < number - 1]:
                    del places[at]
                if not places:
                    del inner[name]
            if not inner:
                del table[outer]
    for order_id in [name for name in market.gangs if name not in market.order_ids]:
        if order_id not in market.bound:
            del market.gangs[order_id]
    now = number * market.seconds
    for key in [key for key, notice in market.notices.items() if notice.deadline <= now]:
        del market.notices[key]


def _begin_gangs(state: State, market: SpotMarket, number: int) -> None:
    for order_id, pools in market.bound.items():
        block = state.orders[order_id].order
        if not isinstance(block, BlockBid):
            continue
        here = sorted(name for name, places in pools.items() if number in places)
        gang = market.gangs.get(order_id)
        if gang is None and here:
            market.gangs[order_id] = Gang(pool_id=here[0], first=number)
        elif gang is not None and here and gang.pool_id not in here:
            market.gangs[order_id] = Gang(pool_id=here[0], first=gang.first)  # it moved


def _give_notices(
    market: SpotMarket, stops: tuple[Stop, ...], start: UnixSeconds
) -> tuple[Notice, ...]:
    """Notices that are new or greater, and those that no longer hold (rules 10 and 11)."""
    changed: list[Notice] = []
    standing: dict[tuple[str, str, int], Notice] = {}
    for stop in stops:
        deadline = UnixSeconds(start + stop.interval * market.seconds)
        key = (stop.order_id, stop.pool_id, deadline)
        before = market.notices.get(key)
        if before is not None and before.chips == stop.chips:
            standing[key] = before
            continue
        notice = Notice(
            order_id=stop.order_id,
            participant_id=stop.participant_id,
            pool_id=stop.pool_id,
            chips=stop.chips,
            deadline=deadline,
            run_start=start,
            reason=stop.reason.value,
            responsible=RESPONSIBLE[stop.reason].value,
        )
        standing[key] = notice
        changed.append(notice)
    # What the dispatcher reclaimed is no run's to let go on.
    standing.update(
        (key, notice) for key, notice in market.notices.items() if notice.reason == COVER_CALLED
    )
    changed.extend(
        replace(notice, run_start=start, withdrawn=True)
        for key, notice in market.notices.items()
        if key not in standing and notice.deadline > start
    )
    market.notices = standing
    return tuple(changed)


def _add(
    table: dict[str, dict[str, dict[int, int]]], outer: str, inner: str, number: int, chips: int
) -> None:
    places = table.setdefault(outer, {}).setdefault(inner, {})
    places[number] = places.get(number, 0) + chips


def _as_auction(market: SpotMarket, start: int) -> CreateAuction:
    """The auction that a run is, for everything that reads auctions."""
    opened = market.opened
    return CreateAuction(
        header=opened.header,
        auction_id=market.run_id(start),
        product=SPOT,
        close_time=UnixSeconds(market.gate(start)),
        first_interval_start=UnixSeconds(start),
        interval_seconds=opened.interval_seconds,
        interval_count=opened.look_ahead,
        price_floor=opened.price_floor,
        price_cap=opened.price_cap,
        tick=opened.tick,
        operator_fee=opened.operator_fee,
        pricing_rule=opened.pricing_rule,
        tie_credit=opened.tie_credit,
        seed_commitment=market.revealed,
        tariff=opened.tariff,
    )


def _refuse_terms(command: OpenSpotMarket, meta: Meta) -> Rejected | None:
    seconds = command.interval_seconds
    checks = (
        (bool(command.market_id), "market_id", "give an identifier"),
        (
            METERING_SECONDS <= seconds <= SECONDS_MAX and seconds % METERING_SECONDS == 0,
            "interval_seconds",
            "intervals are multiples of 300 s, the metering interval, and at most an hour",
        ),
        (
            meta.now < command.first_start and command.first_start % max(1, seconds) == 0,
            "first_start_time",
            "the first run begins in the future, on an interval boundary of UTC",
        ),
        (
            1 <= command.look_ahead <= LOOK_AHEAD_MAX,
            "look_ahead_count",
            f"1 to {LOOK_AHEAD_MAX} intervals",
        ),
        (
            1 <= command.gate_lead_s < seconds,
            "gate_lead_seconds",
            "at least a second, and less than an interval",
        ),
        (
            0 <= command.ready_within_s <= SECONDS_MAX,
            "ready_within_seconds",
            f"0 where suppliers are not instructed, else 1 to {SECONDS_MAX}",
        ),
        (command.tick > 0, "tick_micro_usd_per_chip_hour", "the tick is above zero"),
        (
            0 <= command.price_floor < command.price_cap,
            "price_cap_micro_usd_per_chip_hour",
            "the floor is at least zero and the cap above it",
        ),
        (command.operator_fee >= 0, "operator_fee_micro_usd_per_chip_hour", "zero or more"),
        (
            0 <= command.tie_credit <= TIE_CREDIT_MAX,
            "tie_credit_micro_usd_per_chip_hour",
            f"0 to {TIE_CREDIT_MAX}",
        ),
        (
            1 <= command.chain_length <= CHAIN_LENGTH_MAX,
            "chain_length",
            f"1 to {CHAIN_LENGTH_MAX} runs",
        ),
        (
            len(command.seed_anchor) == SHA256_HEX_LENGTH
            and set(command.seed_anchor) <= HEX_DIGITS,
            "seed_anchor",
            "ask the exchange for the anchor of this market's tie seeds",
        ),
    )
    for holds, field, advice in checks:
        if not holds:
            return Rejected(code=Code.INVALID_VALUE, field=field, advice=advice)
    return None


def _in_state(state: State, market_id: str, *wanted: MarketState) -> SpotMarket | Rejected:
    market = state.markets.get(market_id)
    if market is None:
        return Rejected(
            code=Code.UNKNOWN_AUCTION,
            field="market_id",
            advice="list the spot markets",
            got=market_id,
        )
    if market.state not in wanted:
        return Rejected(
            code=Code.WRONG_STATE,
            field="market_id",
            advice="the market is not in a state that allows this",
            got=market.state.value,
            limit=" or ".join(state.value for state in wanted),
        )
    return market
