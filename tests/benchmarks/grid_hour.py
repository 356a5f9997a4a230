"""One delivery hour of a grid, whole path: signed meter batches to durable postings.

An exchange without its gRPC server: sequencer on a real PostgreSQL (``fsync`` on), the gateway's
checks with their signature worker, auctioneer and settler. The market before the hour is made
through the same parts: registry, an auction with an offer per pool and bids for whole nodes, the
engine's result. Batches are signed and encoded before the clock starts.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import hashlib
import os
import resource
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearing.types import Cover, Eligibility, Interval, PricingRule, ServiceClass, Step, Tariff
from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
    Watts,
)
from iso_exchange import convert
from iso_exchange.api.v1 import receipt_pb2
from iso_exchange.commands import (
    BidConditions,
    Command,
    CreateAuction,
    OfferTerms,
    PublishChipTable,
    RecordDeposit,
    RegisterMeter,
    RegisterParticipant,
    RegisterPool,
    RegisterSite,
    Role,
    StepBidTerms,
    SubmitOrder,
    SubmitReadings,
    TimedSegment,
)
from iso_exchange.gateway.signatures import SignatureWorker
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.reference import read_default, read_default_bytes
from iso_exchange.sequencer.sequencer import Submission
from iso_exchange.sequencer.state import AuctionState
from iso_exchange.services.access import Caller
from iso_exchange.services.mutations import ITEM_COUNT_MAX, Mutations
from iso_exchange.signer import EXCHANGE_ID
from iso_exchange.storage.embedded import Embedded
from iso_exchange.storage.migrate import migrate
from iso_exchange.storage.postgres import PostgresStore
from settlement.ledger import envelope
from settlement.types import MeterBatch, Reading, TransferCode
from tests.benchmarks.machine import cpu_seconds, descendants
from tests.integration.market_day import CELL, CHIP_CLASS, HOUR, MORNING, MarketDay, header, key_of

NODE: Final = 8
GATE: Final = MORNING + HOUR
FIRST: Final = MORNING + 2 * HOUR
AUCTION: Final = "grid"
SUBMITTED_AT_ONCE: Final = 400
DOWN_ONE_IN: Final = 500
"""One reading in this many reports a node as down."""
LOST_ONE_IN: Final = 100
"""One batch in this many never comes: the hour is settled when readings close."""

_KEY: Final = functools.cache(key_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeGrid:
    """A grid whose hour is settled through every part.

    Attributes:
        pools: Pools; the other numbers are of the whole grid and multiples of it, suppliers
            and sites excepted.
        nodes: Eight chips each; 125,000 of them at 9.6 kW a node are 1.2 GW.
        contracts: Bids, each for whole nodes of one pool.
    """

    name: str
    pools: int
    nodes: int
    contracts: int
    suppliers: int
    sites: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeHour:
    """What was measured.

    Attributes:
        seconds: Wall seconds by phase.
        spent: Processor seconds of this process, the signature worker and PostgreSQL.
        memory_bytes: Largest resident size of this process.
    """

    seconds: dict[str, float]
    spent: float
    readings: int
    batches: int
    contracts: int
    transfers: int
    statements: int
    memory_bytes: int


async def settle_whole(size: WholeGrid, directory: Path) -> WholeHour:
    """Make the market, then time its hour.

    Raises:
        AssertionError: something was refused, or the hour does not add up.
    """
    async with _day(directory) as day:
        await _open(day, size)
        await day.advance(GATE)
        await day.work()
        assert day.sequencer.state.auctions[AUCTION].assignment is not None
        contracts = len(day.sequencer.state.contracts)
        await day.advance(FIRST + HOUR)
        batches = list(_signed_batches(day, size))
        worker = SignatureWorker()
        await worker.start()
        running = asyncio.create_task(worker.run())
        mutations = Mutations(sequencer=day.sequencer, secrets=day.secrets, signatures=worker)
        gc.collect()
        seconds: dict[str, float] = {}
        spent, started = _spent(), time.perf_counter()
        await _read(mutations, batches)
        seconds["readings accepted"] = time.perf_counter() - started
        await day.advance(FIRST + 2 * HOUR)
        before = time.perf_counter()
        while not day.sequencer.state.auctions[AUCTION].settled:
            assert await day.settler.step()
        seconds["hour posted"] = time.perf_counter() - before
        before = time.perf_counter()
        while await day.settler.step():
            pass
        seconds["accounts stated"] = time.perf_counter() - before
        spent = _spent() - spent
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await worker.stop()
        return WholeHour(
            seconds=seconds,
            spent=spent,
            readings=sum(count for *_, count in batches),
            batches=len(batches),
            contracts=contracts,
            transfers=_checked(day),
            statements=len(day.sequencer.state.statements),
            memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024,
        )


def _spent() -> float:
    return time.process_time() + sum(map(cpu_seconds, descendants(os.getpid())))


@asynccontextmanager
async def _day(directory: Path) -> AsyncIterator[MarketDay]:
    async with Embedded(directory / "postgres") as server:
        await migrate(server.url)
        store = await PostgresStore.open(server.url)
        try:
            async with MarketDay(directory=directory, store=store) as day:
                yield day
        finally:
            await store.close()


def _checked(day: MarketDay) -> int:
    """Transfers of the hour; every chip-second is delivered, failed or a gap, and books balance."""
    state = day.sequencer.state
    hours = state.delivered[AUCTION, FIRST]
    assert len(hours) == len(state.contracts)
    for item in hours:
        assert item.delivered + item.failed + item.gap == item.position
    transfers = state.postings[f"hour/{AUCTION}/{FIRST}"].transfers
    paid = {item.code for item in transfers}
    assert state.auctions[AUCTION].state is AuctionState.SETTLED
    assert {TransferCode.AUCTION_LEG, TransferCode.SURCHARGE, TransferCode.FEE} <= paid, paid
    state.books.check()
    return len(transfers)


# The market ---------------------------------------------------------------------------------------


async def _open(day: MarketDay, size: WholeGrid) -> None:
    await _send(day, [("operator", command) for command in _registry(day, size)])
    await _send(day, list(_orders(size)))


def _people(size: WholeGrid) -> list[tuple[str, Role]]:
    people = [("operator", Role.OPERATOR), (EXCHANGE_ID, Role.EXCHANGE)]
    people += [(f"seller-{number}", Role.SUPPLIER) for number in range(size.suppliers)]
    people += [(f"lab-{number}", Role.BUYER) for number in range(size.suppliers)]
    people += [(f"town-{number}", Role.COMMUNITY) for number in range(size.sites)]
    return people


def _registry(day: MarketDay, size: WholeGrid) -> Iterator[Command]:
    people = _people(size)
    for name, role in people:
        yield RegisterParticipant(
            header=header("operator", f"participant/{name}"),
            participant_id=name,
            display_name=name,
            roles=(role,),
            public_key=_KEY(name).public,
            country="US",
        )
    yield PublishChipTable(
        header=header("operator", "chip-table"),
        version=read_default().version,
        document=read_default_bytes(),
    )
    for number in range(size.sites):
        yield RegisterSite(
            header=header("operator", f"site/{number}"),
            site_id=f"site-{number}",
            community_id=f"town-{number}",
            surcharge=MicroUsdPerChipHour(500_000),
            power_limit=None,
            region="us-south",
            country="US",
        )
    for number in range(size.pools):
        yield RegisterPool(
            header=header("operator", f"pool/{number}"),
            pool_id=f"pool-{number}",
            site_id=f"site-{number % size.sites}",
            supplier_ids=(f"seller-{number % size.suppliers}",),
            chip_class=CHIP_CLASS,
            chips_per_node=Chips(NODE),
            capacity=Chips(_pool_nodes(size) * NODE),
            chip_power=Watts(1_200),
            node_spare_ppm=Ppm(10_000),
            fabric="INFINIBAND_NDR",
        )
        yield RegisterMeter(
            header=header("operator", f"meter/{number}"),
            meter_id=f"meter-{number}",
            pool_id=f"pool-{number}",
            public_key=_KEY(f"meter-{number}").public,
        )
    for name, role in people:
        if role in (Role.BUYER, Role.SUPPLIER):
            yield RecordDeposit(
                header=header("operator", f"deposit/{name}"),
                participant_id=name,
                amount=MicroUsd(10**15),
                bank_reference=name,
            )
    yield _auction(day)


def _auction(day: MarketDay) -> CreateAuction:
    return CreateAuction(
        header=header("operator", f"auction/{AUCTION}"),
        auction_id=AUCTION,
        product="DAY_AHEAD",
        close_time=UnixSeconds(GATE),
        first_interval_start=UnixSeconds(FIRST),
        interval_seconds=Seconds(HOUR),
        interval_count=1,
        price_floor=MicroUsdPerChipHour(0),
        price_cap=MicroUsdPerChipHour(100_000_000),
        tick=MicroUsdPerChipHour(1_000),
        operator_fee=MicroUsdPerChipHour(20_000),
        pricing_rule=PricingRule.MAKE_WHOLE,
        tie_credit=MicroUsdPerChipHour(100),
        seed_commitment=day.secrets.seed_commitment(AUCTION),
        tariff=Tariff(),
    )


def _orders(size: WholeGrid) -> Iterator[tuple[str, Command]]:
    """An offer of every pool's nodes, and bids that share them evenly and pay more."""
    each = size.contracts // size.pools
    nodes = _pool_nodes(size) // each
    for pool in range(size.pools):
        seller = f"seller-{pool % size.suppliers}"
        price = 1_000_000 + pool % 50 * 10_000
        offer = OfferTerms(pool_id=f"pool-{pool}", segments=(_segment(price, nodes * each * NODE),))
        yield seller, _order(seller, f"offer-{pool}", offer)
        for place in range(each):
            number = pool * each + place
            lab = f"lab-{number % size.suppliers}"
            conditions = BidConditions(
                where=Eligibility(pool_ids=(f"pool-{pool}",)),
                service_class=ServiceClass.FIRM,
                cover=Cover.NONE,
            )
            bid = StepBidTerms(
                conditions=conditions, segments=(_segment(4_000_000 + number % 9, nodes * NODE),)
            )
            yield lab, _order(lab, f"bid-{number}", bid)


def _pool_nodes(size: WholeGrid) -> int:
    return size.nodes // size.pools


def _segment(price: int, chips: int) -> TimedSegment:
    return TimedSegment(
        start=UnixSeconds(FIRST),
        end=UnixSeconds(FIRST + HOUR),
        steps=(Step(price=MicroUsdPerChipHour(price // 1_000 * 1_000), chips=Chips(chips)),),
    )


def _order(signer: str, name: str, terms: OfferTerms | StepBidTerms) -> SubmitOrder:
    return SubmitOrder(
        header=header(signer, f"order/{name}"),
        order_id=name,
        auction_id=AUCTION,
        participant_id=signer,
        revision=1,
        terms=terms,
    )


async def _send(day: MarketDay, commands: Sequence[tuple[str, Command]]) -> None:
    for first in range(0, len(commands), SUBMITTED_AT_ONCE):
        part = commands[first : first + SUBMITTED_AT_ONCE]
        await day._accepted([_submission(signer, command) for signer, command in part])


def _submission(signer: str, command: Command) -> Submission:
    payload = convert.body_of(command)
    return Submission(
        command=command,
        envelope=envelope.sign(ENTRY_KINDS[type(command)].payload_type, payload, [_KEY(signer)]),
        body_sha256=hashlib.sha256(payload).digest(),
    )


# The hour -----------------------------------------------------------------------------------------


def _signed_batches(day: MarketDay, size: WholeGrid) -> Iterator[tuple[str, str, bytes, int]]:
    """Meter, request id, envelope and number of readings; by interval, as they would come."""
    by_pool: dict[str, list[tuple[str, int]]] = {}
    for contract in day.sequencer.state.contracts.values():
        nodes = contract.hours[0].chips // NODE
        by_pool.setdefault(contract.pool_id, []).append((contract.contract_id, nodes))
    turn = 0
    for cell, start in enumerate(range(FIRST, FIRST + HOUR, CELL)):
        for pool in range(size.pools):
            if (cell * size.pools + pool) % LOST_ONE_IN == LOST_ONE_IN - 1:
                continue
            rows: list[Reading] = []
            for contract_id, nodes in by_pool.get(f"pool-{pool}", ()):
                for _ in range(nodes):
                    turn += 1
                    healthy = 0 if turn % DOWN_ONE_IN == 0 else NODE * CELL
                    rows.append(
                        Reading(
                            contract_id=contract_id,
                            node_id=f"n{len(rows):04d}",
                            healthy=ChipSeconds(healthy),
                            energy_joules=9_600 * CELL,
                        )
                    )
            meter = f"meter-{pool}"
            command = SubmitReadings(
                header=header(meter, f"read/{start}"),
                batch=MeterBatch(
                    meter_id=meter,
                    pool_id=f"pool-{pool}",
                    interval=Interval(start=UnixSeconds(start), end=UnixSeconds(start + CELL)),
                    sequence=cell + 1,
                    readings=tuple(rows),
                ),
            )
            signed = _submission(meter, command)
            yield meter, command.header.request_id, signed.envelope, len(rows)


async def _read(mutations: Mutations, batches: Sequence[tuple[str, str, bytes, int]]) -> None:
    """Every batch as its meter sends it, many meters at a time."""

    async def one(meter: str, request_id: str, data: bytes) -> None:
        caller = Caller(participant_id=meter, roles=frozenset({Role.METER}))
        item = receipt_pb2.SignedItem(request_id=request_id, envelope=data)
        (answer,) = await mutations.many(caller, (item,), (SubmitReadings,))
        assert answer.HasField("receipt"), answer

    for first in range(0, len(batches), ITEM_COUNT_MAX):
        part = batches[first : first + ITEM_COUNT_MAX]
        await asyncio.gather(*(one(*batch[:3]) for batch in part))
