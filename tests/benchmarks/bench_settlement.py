"""``settlement``: one delivery hour of a generated grid, in memory and through every part."""

from __future__ import annotations

import asyncio
import gc
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from clearing.errors import InvariantError
from clearing.units import ChipSeconds, Tflop
from iso_exchange.reference import read_default
from settlement.ledger import accounts
from settlement.ledger.books import Books, Rejected
from settlement.metering.billable import MeteredHour, metered_hour, read_pool
from settlement.metering.chip_table import ChipTable, Precision
from settlement.metering.rated import rated_tflop
from settlement.postings import award_postings, contract_hours, hour_postings
from settlement.types import Contract, MeterBatch, Postings
from tests.benchmarks.delivery_hour import HOUR, DeliveryHour, GridSize, generate
from tests.benchmarks.exchange_process import disk_directory
from tests.benchmarks.grid_hour import WholeGrid, settle_whole
from tests.benchmarks.spec import Benchmark, Row, Stopwatch, at_most

SettlementSize = GridSize | WholeGrid

SIZES: Final[tuple[SettlementSize, ...]] = (
    GridSize(name="1,000 nodes", nodes=1_000),
    GridSize(name="5,000 nodes", nodes=5_000),
    GridSize(name="20,000 nodes", nodes=20_000),
    WholeGrid(
        name="120 MW, whole path", pools=50, nodes=12_600, contracts=200, suppliers=20, sites=4
    ),
    WholeGrid(
        name="1.2 GW, whole path",
        pools=500,
        nodes=126_000,
        contracts=2_000,
        suppliers=200,
        sites=40,
    ),
)
TINY: Final[tuple[SettlementSize, ...]] = (
    GridSize(name="20 nodes", nodes=20),
    WholeGrid(name="tiny, whole path", pools=2, nodes=16, contracts=4, suppliers=2, sites=1),
)
GOAL_SECONDS: Final = 60.0
GOAL_MEMORY_MIB: Final = 4_096.0
GOAL_NODES: Final = 125_000
"""From this size on a grid is judged."""
ROUNDS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """What one round did, to show that it did it.

    Attributes:
        delivered_ppm: Of the chip-seconds sold; the rest failed or nobody can say.
        gap_ppm: Of the chip-seconds sold.
    """

    transfers: int
    delivered_ppm: int
    gap_ppm: int


def run(sizes: Sequence[SettlementSize]) -> Iterator[Row]:
    """First the grids in memory, then those that take the whole path."""
    yield from _in_memory([size for size in sizes if isinstance(size, GridSize)])
    yield from _whole([size for size in sizes if isinstance(size, WholeGrid)])


def _whole(sizes: Sequence[WholeGrid]) -> Iterator[Row]:
    """Signed batches to durable postings; cost per reading beside that of the smallest grid."""
    smallest: float | None = None
    for size in sizes:
        with disk_directory() as directory:
            hour = asyncio.run(settle_whole(size, directory))
        for phase, seconds in hour.seconds.items():
            yield Row(size=size.name, phase=phase, value=seconds, unit="s")
        total = sum(hour.seconds.values())
        memory = hour.memory_bytes / 2**20
        note = (
            f"{size.nodes:,} nodes, {hour.contracts:,} contracts, {hour.batches:,} signed batches, "
            f"{hour.readings:,} readings, {hour.transfers:,} transfers, "
            f"{hour.statements:,} statements"
        )
        if size.nodes >= GOAL_NODES:
            yield at_most(size.name, "total", total, "s", goal=GOAL_SECONDS, note=note)
            yield at_most(size.name, "memory", memory, "MiB", goal=GOAL_MEMORY_MIB)
        else:
            yield Row(size=size.name, phase="total", value=total, unit="s", note=note)
            yield Row(size=size.name, phase="memory", value=memory, unit="MiB")
        each = hour.spent / hour.readings
        smallest = each if smallest is None else smallest
        yield Row(
            size=size.name,
            phase="processor time, all processes",
            value=each * 1e6,
            unit="µs/reading",
            ratio=each / smallest,
            against=f"at {sizes[0].name}",
        )


def _in_memory(sizes: Sequence[GridSize]) -> Iterator[Row]:
    """Settle each grid; the ratio is time per node beside that of the smallest grid."""
    table = read_default()
    smallest: dict[str, float] = {}
    for size in sizes:
        hour = generate(size)
        rounds: list[dict[str, float]] = []
        # What the generator left behind is not settlement's to collect.
        gc.collect()
        gc.freeze()
        for _ in range(ROUNDS):
            watch = Stopwatch()
            settled = settle(hour, table, watch)
            rounds.append({**watch.seconds, "total": sum(watch.seconds.values())})
        gc.unfreeze()
        for phase in rounds[0]:
            seconds = statistics.median(one[phase] for one in rounds)
            per_node = seconds / size.nodes
            first = smallest.setdefault(phase, per_node)
            yield Row(
                size=size.name,
                phase=phase,
                value=seconds,
                unit="s",
                ratio=per_node / first,
                against=f"per node at {sizes[0].name}",
                note=_note(hour, settled) if phase == "total" else "",
            )


def settle(hour: DeliveryHour, table: ChipTable, watch: Stopwatch) -> _Settled:
    """Settle one hour, phase by phase.

    Raises:
        InvariantError: quantities do not add up to the positions, or the books refuse.
    """
    books = Books()
    _apply(books, award_postings(hour.assignment, {}))
    books.release()
    positions = contract_hours(hour.assignment, HOUR)
    with watch.phase("read"):
        by_pool: dict[str, list[MeterBatch]] = defaultdict(list)
        for batch in hour.batches:
            by_pool[batch.pool_id].append(batch)
        pools = {contract.pool_id for contract, _ in positions}
        readings = {pool: read_pool(pool, HOUR, by_pool[pool]) for pool in pools}

    def rate(contract: Contract, quantity: ChipSeconds) -> Tflop:
        chip = table.get(contract.chip_class)
        return rated_tflop(quantity, chip, Precision(contract.precision), contract.derate_ppm)

    with watch.phase("meter"):
        metered = [
            metered_hour(contract, position, readings[contract.pool_id], rate)
            for contract, position in positions
        ]
    with watch.phase("post"):
        postings = hour_postings(
            hour.assignment, HOUR, metered, pool_balance=books.balance(accounts.POOL).posted
        )
    with watch.phase("books"):
        _apply(books, postings)
    books.check()
    return _checked(metered, len(postings.transfers))


def _checked(metered: Sequence[MeteredHour], transfers: int) -> _Settled:
    hours = [item.delivered for item in metered]
    sold = sum(hour.position for hour in hours)
    delivered, gap = sum(hour.delivered for hour in hours), sum(hour.gap for hour in hours)
    if delivered + gap + sum(hour.failed for hour in hours) != sold:
        raise InvariantError("delivered, failed and gap do not add up to what was sold")
    return _Settled(
        transfers=transfers,
        delivered_ppm=delivered * 1_000_000 // sold,
        gap_ppm=gap * 1_000_000 // sold,
    )


def _apply(books: Books, postings: Postings) -> None:
    result = books.apply_all(postings)
    if isinstance(result, Rejected):
        message = f"the books refuse {postings.postings_id}: {result}"
        raise InvariantError(message)


def _note(hour: DeliveryHour, settled: _Settled) -> str:
    contracts = len(hour.assignment.contracts)
    return (
        f"{contracts:,} contracts, {hour.readings:,} readings, {settled.transfers:,} transfers; "
        f"{settled.delivered_ppm / 1e4:.2f} % delivered, {settled.gap_ppm / 1e4:.2f} % gap"
    )


BENCHMARK: Final = Benchmark(
    name="settlement",
    title=f"one delivery hour of a generated grid, twelve readings a node: in memory, median of "
    f"{ROUNDS} rounds; and whole, from signed batches to durable postings and statements",
    sizes=SIZES,
    tiny=TINY,
    run=run,
)
