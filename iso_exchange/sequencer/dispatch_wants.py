"""What was sold of each pool at one moment, and which of its nodes are out of service.

Worked out of the state: what spot runs bound, base load that the latest run serves, what other
auctions sold for the hour, and work whose site is lost, in its backup pool.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from clearing.types import BlockBid, Cover, Interval, ServiceClass, StepBid
from clearing.units import divide_up
from iso_exchange.commands import ReportOutage
from iso_exchange.dispatch.plan import Want
from iso_exchange.dispatch_commands import node_number
from iso_exchange.sequencer.dispatch_state import Calendar, Row
from iso_exchange.sequencer.spot_market import MarketState, SpotMarket
from iso_exchange.sequencer.state import Auction, AuctionState, State
from iso_exchange.sequencer.strips import delivery_seconds
from settlement.types import Contract, SpareHour

PUBLISHED = (AuctionState.PUBLISHED, AuctionState.SETTLED)

BASE, FIRM, INTERRUPTIBLE = range(3)
Rank = tuple[int, str]
"""Precedence of a load; the last ones are short."""


@dataclass(slots=True, kw_only=True)
class Sold:
    """What was sold of a pool.

    Attributes:
        wants: By precedence: base load, firm, interruptible; each by identifier.
        spare: Nodes that stand by.
        failed: Nodes out of service.
        lost: The whole pool is out of service.
    """

    wants: tuple[Want, ...]
    spare: int
    failed: frozenset[int]
    lost: bool


@dataclass(slots=True, kw_only=True)
class _Load:
    """A want that is being added up."""

    buyer_id: str
    rank: int
    gang: bool
    covered: bool
    chips: int = 0


@dataclass(slots=True)
class _Pool:
    loads: dict[str, _Load] = field(default_factory=dict)
    spare: int = 0


def nodes_of(state: State, pool_id: str) -> int:
    """Length of a pool's row."""
    pool = state.pools[pool_id].pool
    return pool.capacity // pool.chips_per_node


def unknown_nodes(state: State, outage: ReportOutage) -> list[str]:
    """Names in a report that are no nodes of a pool whose supplier is instructed by name."""
    if outage.pool_id not in state.dispatch.rows:
        return []
    row = nodes_of(state, outage.pool_id)
    return [name for name in outage.nodes if (number := node_number(name)) is None or number >= row]


def failed_nodes(state: State, pool_id: str, window: Interval) -> tuple[frozenset[int], bool]:
    """Nodes of a pool that are out in any part of a window, and whether all of it is."""
    found: set[int] = set()
    row = nodes_of(state, pool_id)
    for outage in state.outages.values():
        if outage.pool_id != pool_id:
            continue
        if outage.interval.start < window.end and window.start < outage.interval.end:
            if not outage.nodes:
                return frozenset(range(row)), True
            numbers = map(node_number, outage.nodes)
            found.update(node for node in numbers if node is not None and node < row)
    return frozenset(found), False


def sold_in(state: State, market: SpotMarket, start: int, at: int) -> dict[str, Sold]:
    """What was sold of each pool of a market.

    Args:
        market: Of which the interval is dispatched; what other markets bound counts too.
        start: Start of the interval.
        at: Moment in it; what breaks later in the interval is out already.
    """
    key = (market.opened.market_id, start, at)
    if state.dispatch.memo is not None and state.dispatch.memo[0] == key:
        found = state.dispatch.memo[1]
        assert isinstance(found, dict)  # only this function writes it
        return found
    window = market.interval(market.number(at))
    out = {name: failed_nodes(state, name, window) for name in market.pool_ids}
    lost = frozenset(name for name, (_, whole) in out.items() if whole)
    pools: dict[str, _Pool] = {name: _Pool() for name in market.pool_ids}
    for other in state.markets.values():
        _add_bound(state, other, pools, at)
    for contract, chips in _served(state, start):
        pool_id = place_of(contract, lost)
        if pool_id in pools:
            _add_contract(state, pools[pool_id], contract, chips)
    for spare in _spares(state, start):
        if spare.pool_id in pools:
            pools[spare.pool_id].spare += spare.chips
    result = {
        name: Sold(
            wants=_wants(state, name, pool, start, at),
            spare=divide_up(pool.spare, state.pools[name].pool.chips_per_node),
            failed=out[name][0],
            lost=out[name][1],
        )
        for name, pool in pools.items()
    }
    state.dispatch.memo = (key, result)
    return result


def place_of(contract: Contract, lost: frozenset[str]) -> str:
    """Pool whose nodes serve a contract: its own, or its backup where that is lost (rule 16)."""
    home = contract.supply_pool_id or contract.pool_id
    return contract.backup_pool_id if home in lost and contract.backup_pool_id else home


def load_of(state: State, contract: Contract) -> str:
    """Load that a contract belongs to: its order, or the entitlement of base load."""
    base = contract.supplier_order_id in state.entitlements
    return contract.supplier_order_id if base else contract.order_id


def contracts_of(state: State, start: int) -> Mapping[str, list[str]]:
    """Contracts that deliver in an interval, by load; newest run first."""
    known = state.dispatch.named
    if known is not None and known[0] == start:
        return known[1]
    found: dict[str, list[str]] = defaultdict(list)
    for contract in _delivering(state, start):
        found[load_of(state, contract)].append(contract.contract_id)
    state.dispatch.named = (start, found)
    return found


def sold_until(state: State, pool_id: str, load_id: str, start: int) -> int:
    """End of what was sold to a load in a pool from an interval on; 0 where nothing was."""
    entitlement = state.entitlements.get(load_id)
    ends = [0 if entitlement is None else int(entitlement.period.end)]
    for market in state.markets.values():
        places = market.bound.get(load_id, {}).get(pool_id, {})
        ends.extend((number + 1) * market.seconds for number in places)
    for auction in _auctions(state, start):
        contracts, _ = _calendar(state, auction).get(_hour(auction, start), ((), ()))
        ends.extend(
            contract.hours[-1].interval.end
            for contract in contracts
            if load_of(state, contract) == load_id
        )
    return max(ends)


def is_displaced(state: State, pool_id: str, load_id: str, start: int) -> bool:
    """Whether a load is served in a pool because its own site is lost."""
    entitlement = state.entitlements.get(load_id)
    if entitlement is not None:
        return entitlement.pool_id != pool_id
    if any(pool_id in market.bound.get(load_id, {}) for market in state.markets.values()):
        return False
    return not any(
        load_of(state, contract) == load_id
        and pool_id == (contract.supply_pool_id or contract.pool_id)
        for auction in _auctions(state, start)
        for contract in _calendar(state, auction).get(_hour(auction, start), ((), ()))[0]
    )


def _add_bound(state: State, market: SpotMarket, pools: dict[str, _Pool], at: int) -> None:
    """What runs bound of standing bids at a moment."""
    number = market.number(at)
    for order_id, places in market.bound.items():
        for pool_id, chips in places.items():
            quantity = chips.get(number, 0)
            if not quantity or pool_id not in pools:
                continue
            loads = pools[pool_id].loads
            load = loads.get(order_id)
            if load is None:
                bid = state.orders[order_id].order
                assert isinstance(bid, (StepBid, BlockBid))  # only bids are bound
                firm = bid.service_class is ServiceClass.FIRM
                load = loads[order_id] = _Load(
                    buyer_id=bid.participant_id,
                    rank=FIRM if firm else INTERRUPTIBLE,
                    gang=isinstance(bid, BlockBid),
                    covered=firm and bid.cover is not Cover.NONE,
                )
            load.chips += quantity


def _add_contract(state: State, pool: _Pool, contract: Contract, chips: int) -> None:
    name = load_of(state, contract)
    load = pool.loads.get(name)
    if load is None:
        base = contract.service_class is ServiceClass.BASE_LOAD
        firm = base or contract.service_class is ServiceClass.FIRM
        order = state.orders.get(contract.order_id)
        load = pool.loads[name] = _Load(
            buyer_id=contract.buyer_id,
            rank=BASE if base else FIRM if firm else INTERRUPTIBLE,
            gang=order is not None and isinstance(order.order, BlockBid),
            covered=firm and contract.cover is not Cover.NONE,
        )
    load.chips += chips


def _served(state: State, start: int) -> Iterator[tuple[Contract, int]]:
    """Base load of the interval's runs, and everything that other auctions sold for it."""
    for run in _runs(state, start, newest=True):
        assert run.assignment is not None  # published
        for contract in run.assignment.contracts:
            if contract.service_class is ServiceClass.BASE_LOAD:
                for hour in contract.hours:
                    if hour.interval.start == start:
                        yield contract, hour.chips
    returned = _returned(state, start)
    for auction in _auctions(state, start):
        contracts, _ = _calendar(state, auction).get(_hour(auction, start), ((), ()))
        for contract in contracts:
            for hour in contract.hours:
                if hour.interval.start <= start < hour.interval.end:
                    yield contract, hour.chips - returned[contract.contract_id]


def _returned(state: State, start: int) -> Counter[str]:
    """Chips that buyers gave back of what other auctions sold them, by contract (rule 23)."""
    found: Counter[str] = Counter()
    for market in state.markets.values():
        for record in market.returns.values():
            found[record.contract_id] += market.given_up(record, market.number(start))
    return found


def _spares(state: State, start: int) -> Iterator[SpareHour]:
    for run in _runs(state, start):
        assert run.assignment is not None  # published
        for spare in run.assignment.spare_hours:
            if spare.interval.start == start:
                yield spare
    for auction in _auctions(state, start):
        yield from _calendar(state, auction).get(_hour(auction, start), ((), ()))[1]


def _delivering(state: State, start: int) -> Iterator[Contract]:
    for run in _runs(state, start):
        assert run.assignment is not None  # published
        for contract in run.assignment.contracts:
            if any(hour.interval.start == start for hour in contract.hours):
                yield contract
    for auction in _auctions(state, start):
        yield from _calendar(state, auction).get(_hour(auction, start), ((), ()))[0]


def _runs(state: State, start: int, *, newest: bool = False) -> Iterator[Auction]:
    """Published runs of all markets that may have bound an interval, newest first.

    Args:
        newest: Only runs that begin with it.
    """
    for market in state.markets.values():
        reach = 0 if newest else market.opened.look_ahead * market.seconds
        for begin in sorted(market.run_ids, reverse=True):
            if not start - reach <= begin <= start:
                continue
            run = state.runs[market.run_ids[begin]]
            if run.state in PUBLISHED and run.assignment is not None:
                yield run


def _auctions(state: State, start: int) -> Iterator[Auction]:
    """Published auctions that deliver at a moment."""
    for auction in state.auctions.values():
        intervals = auction.spec.intervals
        if (
            auction.state in PUBLISHED
            and auction.assignment is not None
            and intervals[0].start <= start < intervals[-1].end
        ):
            yield auction


def _hour(auction: Auction, start: int) -> int:
    first, length = auction.spec.intervals[0], delivery_seconds(auction)
    return first.start + (start - first.start) // length * length


def _calendar(state: State, auction: Auction) -> Calendar:
    """Contracts and spare hours of an auction by hour, made once while it delivers."""
    name = auction.spec.auction_id
    known = state.dispatch.calendars.get(name)
    if known is not None:
        return known
    assert auction.assignment is not None  # published
    contracts: dict[int, list[Contract]] = defaultdict(list)
    spares: dict[int, list[SpareHour]] = defaultdict(list)
    for contract in auction.assignment.contracts:
        for hour in contract.hours:
            contracts[hour.interval.start].append(contract)
    for spare in auction.assignment.spare_hours:
        spares[spare.interval.start].append(spare)
    made = {
        begin: (tuple(contracts.get(begin, ())), tuple(spares.get(begin, ())))
        for begin in sorted({*contracts, *spares})
    }
    state.dispatch.calendars[name] = made
    return made


def _wants(state: State, pool_id: str, pool: _Pool, start: int, at: int) -> tuple[Want, ...]:
    """What was sold, in whole nodes and by precedence, less what is reclaimed already."""
    per_node = state.pools[pool_id].pool.chips_per_node
    row = state.dispatch.rows.get(pool_id, Row())
    called: dict[str, int] = defaultdict(int)
    for item in row.called:
        if item.deadline <= at < item.until:
            called[item.load_id] += item.nodes
    wants: list[tuple[Rank, Want]] = []
    for name, load in pool.loads.items():
        nodes = divide_up(load.chips, per_node) - called.get(name, 0)
        if nodes > 0:
            want = Want(
                load_id=name,
                buyer_id=load.buyer_id,
                nodes=nodes,
                gang=load.gang,
                covered=load.covered,
            )
            wants.append(((load.rank, name), want))
    is_open = any(market.state is not MarketState.CLOSED for market in state.markets.values())
    if is_open and not any(True for _ in _runs(state, start, newest=True)):
        wants.extend(_goes_on(state, row, at, pool.loads.keys()))
    wants.sort(key=lambda item: item[0])
    return tuple(want for _, want in wants)


def _goes_on(state: State, row: Row, at: int, known: Iterable[str]) -> Iterator[tuple[Rank, Want]]:
    """Base load in an interval without a run: it is not sold there, and goes on as it was."""
    counts: dict[str, int] = defaultdict(int)
    buyers: dict[str, str] = {}
    for held in row.held.values():
        counts[held.load_id] += 1
        buyers[held.load_id] = held.buyer_id
    for name in sorted(counts.keys() & state.entitlements.keys() - set(known)):
        entitlement = state.entitlements[name]
        if entitlement.period.start <= at < entitlement.period.end:
            covered = entitlement.cover is not Cover.NONE
            yield (
                (BASE, name),
                Want(
                    load_id=name,
                    buyer_id=buyers[name],
                    nodes=counts[name],
                    gang=False,
                    covered=covered,
                ),
            )
