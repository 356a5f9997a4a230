"""The market of a replay is the exchange itself: signed orders, runs, meters, over gRPC.

Each lab, supplier and meter speaks with its own identity. The clock of the exchange is simulated
and moved here: to a gate, then to the start of the interval, when the last one is metered.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from clearing.types import Cover, Eligibility, Interval, ServiceClass, Step
from clearing.units import (
    SECONDS_PER_HOUR,
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    Tflop,
)
from iso_exchange.api.v1 import auction_pb2, contract_pb2, order_pb2, spot_pb2
from iso_exchange.client import Client, Refused
from iso_exchange.client.agents import supplier
from iso_exchange.client.agents.lab import Policy, Wish
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    CancelOrder,
    Command,
    StepBidTerms,
    SubmitOrder,
    SubmitReadings,
    TimedSegment,
)
from iso_exchange.replay.trace import setup
from iso_exchange.replay.trace.drive import INTERVAL_S, Cleared, Told
from iso_exchange.replay.trace.layout import CHIPS_PER_NODE, Layout, PoolPlan
from iso_exchange.replay.trace.setup import MARKET_ID, Calendar
from settlement.types import MeterBatch, Reading

POLL_S: Final = 0.003
POLL_SHARE: Final = 0.05
"""A run is asked for again after this share of the time that it took already."""
RUN_SECONDS_MAX: Final = 60
TICK: Final = 1_000


class MarketError(RuntimeError):
    """The exchange did not do what a replay needs; the message says what and when."""


@dataclass(slots=True, kw_only=True)
class Standing:
    """A lab's open order: what it asked for last, under which identifier and revision.

    Attributes:
        began_s: Of a gang that runs: when it began, else None.
        length_s: Of a gang: time that its order asks for.
    """

    order_id: str
    revision: int
    wish: Wish
    began_s: int | None = None
    length_s: int = 0

    def is_enough(self, wish: Wish, now_s: int) -> bool:
        """Whether the order as it stands serves a wish; a gang that restarted may need longer."""
        if wish.gang and wish.running:
            return self.began_s is None or now_s + wish.work_s <= self.began_s + self.length_s
        return self.wish == wish


@dataclass(slots=True, kw_only=True)
class Clock:
    """Seconds of wall time by what they were spent on."""

    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, name: str, since: float) -> float:
        """Book the time since an instant; returns now."""
        now = time.perf_counter()
        self.spent[name] += now - since
        return now


class ExchangeMarket:
    """Bids, runs and meters of a replay on a running exchange."""

    def __init__(
        self,
        *,
        operator: Client,
        clients: Mapping[str, Client],
        calendar: Calendar,
        layout: Layout,
        asks: Mapping[str, MicroUsdPerChipHour],
        policies: Mapping[str, Policy],
        end_s: int,
    ) -> None:
        """Wire the parts; nothing is sent before ``open``.

        Args:
            clients: By participant and meter.
            end_s: Last second that orders reach to.
        """
        self._operator = operator
        self._clients = clients
        self._calendar = calendar
        self._layout = layout
        self._asks = asks
        self._policies = policies
        self._end_s = end_s
        self._outgoing: dict[str, list[Command]] = {}
        self._standing: dict[str, dict[str, Standing]] = {name: {} for name in policies}
        self._names: dict[str, tuple[str, str]] = {}
        self._count = 0
        self._revisions: dict[str, int] = {}
        self._sequence: dict[str, int] = defaultdict(int)
        self._supplied = {pool.pool_id: pool.nodes for pool in layout.pools}
        self._pools = {pool.pool_id: pool for pool in layout.pools}
        self._now_s = 0
        self._base: dict[str, int] = {}
        self._bound: dict[str, dict[tuple[str, str], int]] = {}
        self._delivering: list[contract_pb2.Contract] = []
        self._everywhere = Eligibility(
            chip_classes=tuple(sorted({pool.chip_class for pool in layout.pools}))
        )
        self.clock = Clock()
        self.silent: frozenset[str] = frozenset()
        """Pools whose meters send nothing."""
        self.firm_lost = 0
        """Node-intervals of firm work that meters found down."""
        self.refused: list[Refused] = []

    async def open(self) -> None:
        """Suppliers offer their pools."""
        for pool in self._layout.pools:
            await self._offer(pool, pool.nodes, 0)

    async def post(self, lab: str, wishes: Sequence[Wish]) -> None:
        """Amend, add and withdraw a lab's standing bids; they are sent with the next gate."""
        standing = self._standing[lab]
        commands: list[Command] = []
        wanted = {wish.key: wish for wish in wishes}
        over = [
            key
            for key, old in standing.items()
            if key not in wanted or _is_over(old.wish, wanted[key])
        ]
        commands.extend(self._cancel(lab, standing.pop(key)) for key in over)
        for key, wish in wanted.items():
            known = standing.get(key)
            if known is not None and known.is_enough(wish, self._now_s + INTERVAL_S):
                known.wish = wish
                continue
            if known is None:
                self._count += 1
                order_id = f"{lab}.{key.replace('/', '.')}.{self._count}"
                known = Standing(order_id=order_id, revision=0, wish=wish)
                standing[key] = known
                self._names[order_id] = (lab, key)
            known.wish, known.revision = wish, known.revision + 1
            commands.append(self._bid(lab, known))
        if commands:
            self._outgoing.setdefault(lab, []).extend(commands)

    async def _send(self) -> None:
        """What every lab wants to change, at once: they share a commit."""
        outgoing, self._outgoing = self._outgoing, {}
        answers = await asyncio.gather(
            *(self._clients[lab].send_many(commands) for lab, commands in outgoing.items())
        )
        self.refused.extend(
            answer for some in answers for answer in some if isinstance(answer, Refused)
        )

    async def supply(self, pool_id: str, nodes: int) -> None:
        """A supplier offers what is in service from now on."""
        self._supplied[pool_id] = nodes
        await self._offer(self._pools[pool_id], nodes, self._now_s + INTERVAL_S)

    async def clear(self, start_s: int) -> Cleared:
        """Move the clock to the interval; it stands at the gate until the result is there."""
        began = time.perf_counter()
        await self._send()
        began = self.clock.add("orders", began)
        await self._operator.advance_time(self._calendar.at(start_s))
        await self._await_published(start_s)
        began = self.clock.add("run", began)
        self._now_s = start_s
        positions, notices = await self._positions(start_s)
        prices = await self._prices(start_s)
        self.clock.add("read", began)
        return Cleared(positions=positions, notices=notices, prices=prices)

    def expect_base(self, nodes: Mapping[str, int]) -> None:
        """Nodes of base load by pool that are entitled from now on."""
        self._base = dict(nodes)

    async def deliver(self, start_s: int, failed: Mapping[str, int]) -> int:
        """Every pool's meter reads the interval; the clock stands at its end."""
        began = time.perf_counter()
        if self._now_s < start_s + INTERVAL_S:
            await self._operator.advance_time(self._calendar.at(start_s + INTERVAL_S))
        by_pool = await self._contracts_of(start_s)
        served = await asyncio.gather(
            *(
                self._read(pool, by_pool[pool.pool_id], start_s, failed.get(pool.pool_id, 0))
                for pool in self._layout.pools
            )
        )
        # A pool that is lost as a whole is an outage, not a curtailment.
        missing = sum(
            max(0, self._base.get(pool.pool_id, 0) - healthy)
            for pool, healthy in zip(self._layout.pools, served, strict=True)
            if failed.get(pool.pool_id, 0) < pool.nodes
        )
        self.clock.add("meters", began)
        return missing

    async def deliver_rest(self, end_s: int) -> None:
        """The market is closed: what its last runs bound beyond the end is delivered as well."""
        while self._delivering:
            await self.deliver(end_s, {})
            end_s += INTERVAL_S
            moment = self._calendar.at(end_s)
            self._delivering = _reaching(self._delivering, moment)

    # Within -----------------------------------------------------------------------------

    async def _contracts_of(self, start_s: int) -> dict[str, list[contract_pb2.Contract]]:
        """Contracts that deliver in an interval, by pool: also what earlier runs bound."""
        moment = self._calendar.at(start_s)
        for supplier_id in sorted(set(setup.SUPPLIERS.values())):
            self._delivering.extend(
                await self._clients[supplier_id].contracts(auction_id=f"{MARKET_ID}/{moment}")
            )
        self._delivering = _reaching(self._delivering, moment)
        by_pool: dict[str, list[contract_pb2.Contract]] = defaultdict(list)
        for contract in self._delivering:
            by_pool[contract.pool_id].append(contract)
        return by_pool

    async def _offer(self, pool: PoolPlan, nodes: int, from_s: int) -> None:
        name = setup.SUPPLIERS[pool.site_id]
        revision = self._revisions.get(pool.pool_id, 0) + 1
        self._revisions[pool.pool_id] = revision
        policy = supplier.Policy(floor=self._asks[pool.pool_id])
        steps = supplier.curve(policy, nodes, CHIPS_PER_NODE)
        if not steps:
            await self._clients[name].send(
                CancelOrder(
                    header=self._calendar.header(name, f"cancel/{pool.pool_id}/{revision}", from_s),
                    order_id=setup.offer_id(pool),
                )
            )
            return
        await self._clients[name].send(
            setup.offer(self._calendar, pool, steps, revision, (from_s, self._end_s))
        )

    def _cancel(self, lab: str, standing: Standing) -> CancelOrder:
        return CancelOrder(
            header=self._calendar.header(lab, f"cancel/{standing.order_id}", self._now_s),
            order_id=standing.order_id,
        )

    def _bid(self, lab: str, standing: Standing) -> SubmitOrder:
        wish = standing.wish
        return SubmitOrder(
            header=self._calendar.header(
                lab, f"{standing.order_id}/{standing.revision}", self._now_s
            ),
            order_id=standing.order_id,
            auction_id=MARKET_ID,
            participant_id=lab,
            revision=standing.revision,
            terms=self._gang(lab, standing) if wish.gang else self._steps(lab, wish),
        )

    def _conditions(self, lab: str, wish: Wish) -> BidConditions:
        return BidConditions(
            where=Eligibility(pool_ids=(wish.pool_id,)) if wish.pool_id else self._everywhere,
            service_class=ServiceClass.FIRM if wish.firm else ServiceClass.INTERRUPTIBLE,
            cover=Cover.NODE if wish.firm else Cover.NONE,
            notice_s=Seconds(0 if wish.firm else self._policies[lab].notice_s),
        )

    def _gang(self, lab: str, standing: Standing) -> BlockBidTerms:
        wish, next_s = standing.wish, self._now_s + INTERVAL_S
        first_s = next_s if standing.began_s is None else standing.began_s
        last_s = self._end_s - INTERVAL_S if standing.began_s is None else first_s
        seconds = -(-(next_s + wish.work_s - first_s) // INTERVAL_S) * INTERVAL_S
        standing.length_s = seconds
        limit = MicroUsdPerChipHour(wish.limit // TICK * TICK)
        chips = Chips(wish.nodes * CHIPS_PER_NODE)
        lost = chips * self._policies[lab].restart_s * limit // SECONDS_PER_HOUR
        return BlockBidTerms(
            conditions=self._conditions(lab, wish),
            earliest_start=self._calendar.at(first_s),
            latest_start=self._calendar.at(last_s),
            duration_s=Seconds(seconds),
            chips=chips,
            limit_price=limit,
            min_fill_ppm=Ppm(1_000_000),
            restart_cost=MicroUsd(lost),
        )

    def _steps(self, lab: str, wish: Wish) -> StepBidTerms:
        limit = MicroUsdPerChipHour(wish.limit // TICK * TICK)
        first_s = self._now_s + INTERVAL_S
        chips = Chips(wish.nodes * CHIPS_PER_NODE)
        # Nodes that another of its orders is bound to for one more interval are not bought twice.
        bound = self._bound_elsewhere(lab, wish)
        segments = []
        if bound:
            fewer = Chips(max(0, wish.nodes - bound) * CHIPS_PER_NODE)
            if fewer:
                segments.append(self._segment(first_s, first_s + INTERVAL_S, limit, fewer))
            first_s += INTERVAL_S
        segments.append(self._segment(first_s, self._end_s, limit, chips))
        return StepBidTerms(conditions=self._conditions(lab, wish), segments=tuple(segments))

    def _segment(
        self, start_s: int, end_s: int, limit: MicroUsdPerChipHour, chips: Chips
    ) -> TimedSegment:
        return TimedSegment(
            start=self._calendar.at(start_s),
            end=self._calendar.at(end_s),
            steps=(Step(price=limit, chips=chips),),
        )

    def _bound_elsewhere(self, lab: str, wish: Wish) -> int:
        """Nodes that other step orders of a lab hold in a wish's pool in the next interval."""
        kind = wish.key.partition("/")[0]
        return sum(
            nodes
            for (key, pool_id), nodes in self._bound.get(lab, {}).items()
            if pool_id == wish.pool_id and key != wish.key and key.partition("/")[0] == kind
        )

    async def _await_published(self, start_s: int) -> None:
        began = time.monotonic()
        deadline = began + RUN_SECONDS_MAX
        moment = self._calendar.at(start_s)
        published = (auction_pb2.AUCTION_STATE_PUBLISHED, auction_pb2.AUCTION_STATE_SETTLED)
        while time.monotonic() < deadline:
            runs = await self._operator.runs(MARKET_ID, start=moment, limit=1)
            if runs and runs[0].start_time.seconds == moment and runs[0].state in published:
                return
            await asyncio.sleep(max(POLL_S, POLL_SHARE * (time.monotonic() - began)))
        message = f"the run of second {start_s} was not published in {RUN_SECONDS_MAX} s"
        raise MarketError(message)

    async def _positions(
        self, start_s: int
    ) -> tuple[dict[str, dict[str, dict[str, int]]], list[Told]]:
        moment = self._calendar.at(start_s)
        found: dict[str, dict[str, dict[str, int]]] = {}
        told: list[Told] = []
        answers = await asyncio.gather(*(self._of_lab(lab) for lab in self._standing))
        for lab, (positions, notices) in zip(self._standing, answers, strict=True):
            keys: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
            bound: dict[tuple[str, str], int] = defaultdict(int)
            for item in positions:
                if item.start_time.seconds <= moment + INTERVAL_S < item.end_time.seconds:
                    name = (self._names[item.order_id][1], item.pool_id)
                    bound[name] += item.chip_count // CHIPS_PER_NODE
                if item.start_time.seconds <= moment < item.end_time.seconds:
                    _, key = self._names[item.order_id]
                    self._note_start(lab, key, start_s)
                    keys[key][item.pool_id] += item.chip_count // CHIPS_PER_NODE
            found[lab] = {key: dict(pools) for key, pools in keys.items()}
            self._bound[lab] = bound
            for notice in notices:
                _, key = self._names[notice.order_id]
                told.append(
                    Told(
                        lab=lab,
                        key=key,
                        pool_id=notice.pool_id,
                        nodes=notice.chip_count // CHIPS_PER_NODE,
                        deadline_s=notice.deadline_time.seconds - self._calendar.start,
                    )
                )
        return found, told

    def _note_start(self, lab: str, key: str, start_s: int) -> None:
        """A gang that has chips for the first time has begun."""
        standing = self._standing[lab].get(key)
        if standing is not None and standing.wish.gang and standing.began_s is None:
            standing.began_s = start_s

    async def _of_lab(
        self, lab: str
    ) -> tuple[Sequence[spot_pb2.SpotPosition], Sequence[spot_pb2.SpotNotice]]:
        client = self._clients[lab]
        return await client.positions(MARKET_ID), await client.notices(MARKET_ID)

    async def _prices(self, start_s: int) -> dict[str, tuple[int, int]]:
        moment = self._calendar.at(start_s)
        found = await self._operator.run_prices(MARKET_ID, start=moment)
        return {
            price.pool_id: (
                price.energy_micro_usd_per_chip_hour,
                price.energy_micro_usd_per_chip_hour,
            )
            for price in found
            if price.start_time.seconds == moment
        }

    async def _read(
        self,
        pool: PoolPlan,
        contracts: Iterable[contract_pb2.Contract],
        start_s: int,
        failed: int,
    ) -> int:
        """One signed batch: every node of every contract; the last ``failed`` nodes are down.

        Base load stands first in the row, then firm work: what fails is covered by the nodes of
        interruptible work.

        Returns:
            Healthy nodes of base load.
        """
        name = setup.meter_id(pool)
        moment = self._calendar.at(start_s)
        full = CHIPS_PER_NODE * INTERVAL_S
        readings: list[Reading] = []
        node = healthy_base = 0
        for contract in sorted(contracts, key=_precedence):
            chips = sum(
                hour.chip_count
                for hour in contract.hours
                if hour.start_time.seconds <= moment < hour.end_time.seconds
            )
            for _ in range(chips // CHIPS_PER_NODE):
                down = node >= pool.nodes - failed
                healthy_base += not down and contract.terms.service_class == _BASE
                self.firm_lost += down and contract.terms.service_class == _FIRM
                readings.append(
                    Reading(
                        contract_id=contract.contract_id,
                        node_id=f"n{node:04d}",
                        healthy=ChipSeconds(0 if down else full),
                        observed_tflop=Tflop(0),
                        energy_joules=0,
                    )
                )
                node += 1
        if pool.pool_id in self.silent:
            return healthy_base
        self._sequence[name] += 1
        await self._clients[name].send(
            SubmitReadings(
                header=self._calendar.header(name, f"readings/{start_s}", start_s),
                batch=MeterBatch(
                    meter_id=name,
                    pool_id=pool.pool_id,
                    interval=Interval(start=moment, end=self._calendar.at(start_s + INTERVAL_S)),
                    sequence=self._sequence[name],
                    readings=tuple(readings),
                ),
            )
        )
        return healthy_base


_BASE: Final = order_pb2.SERVICE_CLASS_BASE_LOAD
_FIRM: Final = order_pb2.SERVICE_CLASS_FIRM
_RANKS: Final = (_BASE, _FIRM, order_pb2.SERVICE_CLASS_INTERRUPTIBLE)


def _precedence(contract: contract_pb2.Contract) -> tuple[int, str]:
    """Base load, firm, interruptible."""
    return _RANKS.index(contract.terms.service_class), contract.contract_id


def _reaching(
    contracts: Iterable[contract_pb2.Contract], moment: int
) -> list[contract_pb2.Contract]:
    """Contracts that deliver after a moment."""
    return [
        contract
        for contract in contracts
        if any(hour.end_time.seconds > moment for hour in contract.hours)
    ]


def _is_over(before: Wish, after: Wish) -> bool:
    """Whether a gang that ran was stopped: what is left of it is another bid."""
    return before.gang and before.running and not after.running
