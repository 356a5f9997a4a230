"""``orders``: signed orders over loopback gRPC against a real server, durable before the answer.

Process A (the server): gateway, sequencer, publisher, auctioneer, settler: one Python process.
Processes below A: the worker that checks signatures, and PostgreSQL with ``fsync`` on, on the disk
of the temporary directory.
Process C (this one): all clients in one event loop, a connection and a participant each.
Every envelope is signed and every request encoded before the clock starts, so C only moves
bytes and reads answers; what it costs is printed.

A *paced* load sends call after call at fixed times whether or not earlier ones were answered, and
latency counts from the time a call was due: a server that stalls cannot hide it. The other loads
have one call in flight per client and send the next when it is answered.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import grpc

from clearing.types import Cover, Eligibility, ServiceClass, Step
from clearing.units import Chips, MicroUsdPerChipHour, Ppm, Seconds, UnixSeconds
from iso_exchange.api.v1 import market_service_pb2, receipt_pb2
from iso_exchange.client import BLANK_HEADER, Identity, load_exchange, load_identity
from iso_exchange.client.signing import Sealed, complete, seal
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    OrderTerms,
    StepBidTerms,
    SubmitOrder,
    TimedSegment,
)
from tests.benchmarks.exchange_process import (
    AUCTION,
    CHIP_CLASS,
    HOUR_S,
    NODE,
    ExchangeProcess,
    Spent,
    first_interval,
    running_exchange,
)
from tests.benchmarks.spec import Benchmark, Row, at_least, at_most, percentile

SERVICE: Final = "/iso_exchange.api.v1.MarketService/"
POOLS: Final = 12
GOAL_PER_S: Final = 5_000.0
GOAL_P99_MS: Final = 100.0
GOAL_CHECKPOINT_S: Final = 1.5
"""A checkpoint each second; the file is looked at every so often."""
CALL_SECONDS_MAX: Final = 60.0
LEAD_SECONDS: Final = 0.2
"""Between making the calls of a paced load and the first of them."""
LOOK_SECONDS: Final = 0.05

Call = Callable[[bytes], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSize:
    """One load.

    Attributes:
        clients: Connections, each with one call in flight.
        calls: Calls per client.
        items: Orders per call; 1 is the unary call.
        paced: Orders a second of all clients together; 0 sends as fast as answers come.
        judged: Whether the goals are for this load.
    """

    name: str
    clients: int
    calls: int
    items: int
    paced: int = 0
    judged: bool = False


SIZES: Final = (
    OrderSize(
        name="batches of 25, paced", clients=64, calls=20, items=25, paced=5_200, judged=True
    ),
    OrderSize(name="batches of 25, half pace", clients=64, calls=10, items=25, paced=2_600),
    OrderSize(name="batches of 25, flat out", clients=64, calls=16, items=25),
    OrderSize(name="batches of 100, flat out", clients=8, calls=20, items=100),
    OrderSize(name="unary, 1 client", clients=1, calls=100, items=1),
    OrderSize(name="unary, 64 clients", clients=64, calls=40, items=1),
)
TINY: Final = OrderSize(name="tiny", clients=2, calls=2, items=3)
TINY_PACED: Final = OrderSize(
    name="tiny, paced", clients=2, calls=2, items=3, paced=60, judged=True
)
WARM_UP: Final = OrderSize(name="warm-up", clients=2, calls=2, items=50)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    seconds: float
    latencies_ms: tuple[float, ...]
    accepted: int
    refused: int
    spent: Spent
    client_seconds: float
    checkpoints: tuple[float, ...]


def run(sizes: Sequence[OrderSize]) -> Iterator[Row]:
    """Send every load to one exchange, one after the other."""
    for size, measured in asyncio.run(_measure(sizes)):
        yield from _rows(size, measured)


async def _measure(sizes: Sequence[OrderSize]) -> list[tuple[OrderSize, _Measured]]:
    buyers = max(size.clients for size in (*sizes, WARM_UP))
    async with running_exchange(buyers, POOLS) as exchange:
        await _load(exchange, WARM_UP)
        return [(size, await _load(exchange, size)) for size in sizes]


async def _load(exchange: ExchangeProcess, size: OrderSize) -> _Measured:
    async with AsyncExitStack() as stack:
        work: list[tuple[Call, list[bytes]]] = []
        for number in range(size.clients):
            directory = exchange.identity(f"lab-{number}")
            identity, address = load_identity(directory), load_exchange(directory)
            channel = await stack.enter_async_context(_channel(address.target, identity))
            await channel.channel_ready()
            requests = _requests(identity, address.origin, number, size)
            work.append((_call(channel, size.items), requests))
        watching = asyncio.Event()
        file = exchange.data / "log" / "checkpoint"
        watch = asyncio.create_task(_checkpoints(file, watching))
        before, own, started = exchange.spent(), time.process_time(), time.perf_counter()
        answers = await asyncio.gather(
            *(
                _send_paced(call, requests, size, number) if size.paced else _send(call, requests)
                for number, (call, requests) in enumerate(work)
            )
        )
        seconds, after = time.perf_counter() - started, exchange.spent()
        own = time.process_time() - own
        watching.set()
    (seen,) = await asyncio.gather(watch)
    flat = list(itertools.chain.from_iterable(answers))
    return _Measured(
        seconds=seconds,
        latencies_ms=tuple(latency for latency, _, _ in flat),
        accepted=sum(accepted for _, accepted, _ in flat),
        refused=sum(refused for _, _, refused in flat),
        spent=after.since(before),
        client_seconds=own,
        checkpoints=seen,
    )


async def _send(call: Call, requests: Sequence[bytes]) -> list[tuple[float, int, int]]:
    """Latency in milliseconds, orders accepted and refused, per call, one call at a time."""
    measured = []
    for request in requests:
        started = time.perf_counter()
        response = await call(request)
        latency = (time.perf_counter() - started) * 1_000
        if isinstance(response, market_service_pb2.SubmitOrdersResponse):
            accepted = sum(item.HasField("receipt") for item in response.results)
            measured.append((latency, accepted, len(response.results) - accepted))
        else:
            measured.append((latency, 1, 0))
    return measured


async def _send_paced(
    call: Call, requests: Sequence[bytes], size: OrderSize, number: int
) -> list[tuple[float, int, int]]:
    """The same, each call at its time; the clients take turns."""
    step = size.items / size.paced
    begin = time.perf_counter() + LEAD_SECONDS

    async def one(place: int, request: bytes) -> tuple[float, int, int]:
        due = begin + (place * size.clients + number) * step
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        response = await call(request)
        accepted = sum(item.HasField("receipt") for item in response.results)
        latency = (time.perf_counter() - due) * 1_000
        return latency, accepted, len(response.results) - accepted

    return await asyncio.gather(*(one(place, request) for place, request in enumerate(requests)))


async def _checkpoints(file: Path, done: asyncio.Event) -> tuple[float, ...]:
    """Times at which the published checkpoint was seen to change, until ``done``."""
    seen, last = [], await asyncio.to_thread(file.read_bytes)
    while not done.is_set():
        await asyncio.sleep(LOOK_SECONDS)
        found = await asyncio.to_thread(file.read_bytes)
        if found != last:
            seen.append(time.perf_counter())
            last = found
    return tuple(seen)


def _call(channel: grpc.aio.Channel, items: int) -> Call:
    """The method as bytes in, message out: requests are encoded beforehand."""
    unary = items == 1
    response = (
        market_service_pb2.SubmitOrderResponse if unary else market_service_pb2.SubmitOrdersResponse
    )
    method: Any = channel.unary_unary(
        SERVICE + ("SubmitOrder" if unary else "SubmitOrders"),
        request_serializer=None,
        response_deserializer=response.FromString,
    )

    async def call(request: bytes) -> Any:
        return await method(request, timeout=CALL_SECONDS_MAX)

    return call


def _channel(target: str, identity: Identity) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        identity.ca_pem, identity.private_key_pem, identity.certificate_pem
    )
    # Clients of one process share a connection unless it is forbidden.
    return grpc.aio.secure_channel(
        target, credentials, options=(("grpc.use_local_subchannel_pool", 1),)
    )


def _requests(identity: Identity, origin: str, number: int, size: OrderSize) -> list[bytes]:
    """Encoded requests of one client, orders of a seeded mix under new identifiers."""
    draw = Random(number)
    found = []
    for _ in range(size.calls):
        sealed = [_sealed(identity, origin, draw) for _ in range(size.items)]
        if size.items == 1:
            (one,) = sealed
            request: Any = market_service_pb2.SubmitOrderRequest(
                request_id=one.request_id, envelope=one.envelope
            )
        else:
            request = market_service_pb2.SubmitOrdersRequest(
                items=[
                    receipt_pb2.SignedItem(request_id=item.request_id, envelope=item.envelope)
                    for item in sealed
                ]
            )
        found.append(request.SerializeToString())
    return found


def _sealed(identity: Identity, origin: str, draw: Random) -> Sealed:
    command = SubmitOrder(
        header=BLANK_HEADER,
        order_id=uuid.uuid4().hex,
        auction_id=AUCTION,
        participant_id=identity.participant_id,
        revision=1,
        terms=_terms(draw),
    )
    now = UnixSeconds(int(time.time()))
    full = complete(command, origin=origin, signer_id=identity.participant_id, now=now)
    return seal(full, (identity.signing_key,))


def _terms(draw: Random) -> OrderTerms:
    """Half step bids over the day, half gangs; half name pools, half a class and region."""
    if draw.randrange(2):
        pools = sorted(draw.sample(range(POOLS), 3))
        where = Eligibility(pool_ids=tuple(f"pool-{i:02d}" for i in pools))
    else:
        where = Eligibility(chip_classes=(CHIP_CLASS,), regions=("us-south",))
    conditions = BidConditions(where=where, service_class=ServiceClass.FIRM, cover=Cover.NODE)
    first, hours = first_interval() + HOUR_S, draw.randrange(1, 20)
    price = MicroUsdPerChipHour(draw.randrange(100, 500) * 10_000)
    chips = Chips(NODE * draw.randrange(1, 9))
    if draw.randrange(2):
        cheaper = Step(price=MicroUsdPerChipHour(price - 500_000), chips=chips)
        segment = TimedSegment(
            start=UnixSeconds(first),
            end=UnixSeconds(first + hours * HOUR_S),
            steps=(Step(price=price, chips=chips), cheaper),
        )
        return StepBidTerms(conditions=conditions, segments=(segment,))
    return BlockBidTerms(
        conditions=conditions,
        earliest_start=UnixSeconds(first),
        latest_start=UnixSeconds(first),
        duration_s=Seconds(hours * HOUR_S),
        chips=chips,
        limit_price=price,
        min_fill_ppm=Ppm(1_000_000),
    )


def _rows(size: OrderSize, measured: _Measured) -> Iterator[Row]:
    # A paced load begins a little after the clock.
    seconds = measured.seconds - (LEAD_SECONDS if size.paced else 0)
    rate = measured.accepted / seconds
    p50, p99 = (percentile(measured.latencies_ms, share) for share in (0.5, 0.99))
    note = f"{measured.accepted:,} accepted, {measured.refused:,} refused, {size.clients} clients"
    slowest = f"of {len(measured.latencies_ms)} calls with {size.items} orders each"
    if size.judged:
        note += f"; {size.paced:,} a second offered"
        yield at_least(size.name, "accepted", rate, "orders/s", goal=GOAL_PER_S, note=note)
        yield at_most(size.name, "acknowledged, p99", p99, "ms", goal=GOAL_P99_MS, note=slowest)
        yield _longest_wait(size, measured, seconds)
    else:
        yield Row(size=size.name, phase="accepted", value=rate, unit="orders/s", note=note)
        yield Row(size=size.name, phase="acknowledged, p99", value=p99, unit="ms", note=slowest)
    yield Row(size=size.name, phase="acknowledged, p50", value=p50, unit="ms")
    for name, spent in (
        ("server", measured.spent.server),
        ("signature worker", measured.spent.signatures),
        ("PostgreSQL", measured.spent.database),
        ("load generator", measured.client_seconds),
    ):
        yield Row(
            size=size.name,
            phase=f"processor time, {name}",
            value=spent * 1e6 / max(1, measured.accepted),
            unit="µs/order",
            ratio=spent / seconds,
            against="a core",
        )


def _longest_wait(size: OrderSize, measured: _Measured, seconds: float) -> Row:
    """Longest time between two checkpoints that the clients saw during the load."""
    waits = [later - earlier for earlier, later in itertools.pairwise(measured.checkpoints)]
    return at_most(
        size.name,
        "between checkpoints, longest",
        max(waits, default=seconds),
        "s",
        goal=GOAL_CHECKPOINT_S,
        note=f"{len(measured.checkpoints)} checkpoints",
    )


BENCHMARK: Final = Benchmark(
    name="orders",
    title=f"signed orders over loopback gRPC with mutual TLS, {POOLS} pools, durable before the "
    "answer; server, signature worker, PostgreSQL (fsync on) and clients are a process each",
    sizes=SIZES,
    tiny=(TINY, TINY_PACED),
    run=run,
)
