"""The meters of one supplier's pools as a process of its own.

Each pool has its own meter with its own key and certificate. After each delivery hour of
the simulated day every meter sends its twelve signed five-minute batches: one row per
contract and node. The scenario says what goes wrong: a reading that is missing, nodes
that are down. The healthy share is the meter's business alone; what it costs is
settlement's.

Run as ``python -m iso_exchange.replay.meters --supplier north-star ...``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from clearing.types import Interval
from clearing.units import ChipSeconds, Tflop, UnixSeconds
from iso_exchange.api.v1 import contract_pb2
from iso_exchange.client import Client, Refused
from iso_exchange.commands import SubmitReadings
from iso_exchange.replay import script
from iso_exchange.replay.agent import PATIENCE, add_scenario_arguments, load_script
from iso_exchange.replay.parts import MeterGap, NodeOutage, Pool
from iso_exchange.replay.script import HOUR_S, Script
from settlement.types import MeterBatch, Reading

METERING_S = 300
CELLS_PER_HOUR = HOUR_S // METERING_S
HOURS = 24
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterOptions:
    """What a meter process is started with; identities are ``<identities>/<name>``."""

    supplier_id: str
    identities: Path
    data_directory: Path | None
    scenario_day: int
    seed: int
    day_start: int
    auction_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Nodes of a pool that serve a contract in one hour."""

    contract_id: str
    nodes: tuple[str, ...]


async def run(options: MeterOptions) -> dict[str, object]:
    """Meter the whole day, hour by hour, as the exchange's clock moves."""
    async with AsyncExitStack() as stack:
        supplier = await stack.enter_async_context(
            Client.from_directory(options.identities / options.supplier_id, retry=PATIENCE)
        )
        plan = load_script(
            options.data_directory,
            options.scenario_day,
            options.seed,
            origin=supplier.origin,
            day_start=options.day_start,
            auction_id=options.auction_id,
        )
        pools = [item for item in plan.scenario.pools if item.supplier_id == options.supplier_id]
        meters = {
            pool.pool_id: await stack.enter_async_context(
                Client.from_directory(options.identities / script.meter_id(pool), retry=PATIENCE)
            )
            for pool in pools
        }
        contracts: dict[str, list[contract_pb2.Contract]] = defaultdict(list)
        await _await_time(supplier, plan.hour(1))
        for contract in await supplier.contracts(auction_id=plan.auction_id):
            if contract.supplier_id == options.supplier_id:
                contracts[contract.pool_id].append(contract)
        sent = 0
        for hour in range(HOURS):
            await _await_time(supplier, plan.hour(hour + 1))
            results = await asyncio.gather(
                *(
                    _meter_hour(meters[pool.pool_id], plan, pool, contracts[pool.pool_id], hour)
                    for pool in pools
                )
            )
            sent += sum(results)
    return {"supplier": options.supplier_id, "batches": sent}


async def _meter_hour(
    client: Client,
    plan: Script,
    pool: Pool,
    contracts: Sequence[contract_pb2.Contract],
    hour: int,
) -> int:
    """Send the batches of one pool and hour; repeating them after a restart is harmless."""
    placed = place(pool, contracts, plan.hour(hour))
    commands = [
        SubmitReadings(
            header=plan.header(script.meter_id(pool), f"readings/{hour}/{cell}"),
            batch=batch(plan, pool, placed, hour, cell),
        )
        for cell in range(CELLS_PER_HOUR)
    ]
    answers = await client.send_many(commands)
    for answer in answers:
        if isinstance(answer, Refused):
            raise answer
    return len(answers)


def place(
    pool: Pool, contracts: Sequence[contract_pb2.Contract], start: UnixSeconds
) -> tuple[Placement, ...]:
    """Give each contract whole nodes of the pool, in order of contract id."""
    placements: list[Placement] = []
    next_node = 0
    for contract in sorted(contracts, key=lambda item: item.contract_id):
        chips = sum(
            hour.chip_count
            for hour in contract.hours
            if hour.start_time.seconds <= start < hour.end_time.seconds
        )
        if not chips:
            continue
        count = -(-chips // pool.chips_per_node)
        placements.append(
            Placement(
                contract_id=contract.contract_id,
                nodes=tuple(f"n{node:04d}" for node in range(next_node, next_node + count)),
            )
        )
        next_node += count
    return tuple(placements)


def batch(
    plan: Script, pool: Pool, placed: Sequence[Placement], hour: int, cell: int
) -> MeterBatch:
    """Readings of one pool in one metering interval, with what the scenario makes go wrong."""
    start = UnixSeconds(plan.hour(hour) + cell * METERING_S)
    unread = _unread(plan, pool, placed, hour, cell)
    down = _down(plan, pool, placed, hour, cell)
    full = pool.chips_per_node * METERING_S
    return MeterBatch(
        meter_id=script.meter_id(pool),
        pool_id=pool.pool_id,
        interval=Interval(start=start, end=UnixSeconds(start + METERING_S)),
        sequence=hour * CELLS_PER_HOUR + cell + 1,
        readings=tuple(
            Reading(
                contract_id=placement.contract_id,
                node_id=node,
                healthy=ChipSeconds(0 if node in down else full),
                observed_tflop=Tflop(0),
                energy_joules=0 if node in down else pool.chip_power_w * full,
            )
            for placement in placed
            if placement.contract_id != unread
            for node in placement.nodes
        ),
    )


def _unread(
    plan: Script, pool: Pool, placed: Sequence[Placement], hour: int, cell: int
) -> str | None:
    """Contract whose reading is missing: the one with most nodes in the pool."""
    for gap in plan.scenario.meter_gaps:
        if gap.pool_id == pool.pool_id and gap.hour == hour and _within(gap, cell) and placed:
            return max(placed, key=lambda item: (len(item.nodes), item.contract_id)).contract_id
    return None


def _down(
    plan: Script, pool: Pool, placed: Sequence[Placement], hour: int, cell: int
) -> frozenset[str]:
    """Busy nodes that are down: the last ones placed."""
    busy = [node for placement in placed for node in placement.nodes]
    for outage in plan.scenario.node_outages:
        if outage.pool_id == pool.pool_id and outage.hour == hour and _within(outage, cell):
            return frozenset(busy[-outage.node_count :])
    return frozenset()


def _within(event: MeterGap | NodeOutage, cell: int) -> bool:
    return event.first_interval <= cell < event.first_interval + event.interval_count


async def _await_time(client: Client, until: UnixSeconds) -> None:
    while (await client.time()).now_s < until:
        await asyncio.sleep(POLL_SECONDS)


def main() -> None:
    """Run one supplier's meters from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--supplier", required=True)
    parser.add_argument("--identities", type=Path, required=True)
    add_scenario_arguments(parser)
    arguments = parser.parse_args()
    result = asyncio.run(
        run(
            MeterOptions(
                supplier_id=arguments.supplier,
                identities=arguments.identities,
                data_directory=arguments.data_directory,
                scenario_day=arguments.scenario_day,
                seed=arguments.seed,
                day_start=arguments.day_start,
                auction_id=arguments.auction_id,
            )
        )
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
