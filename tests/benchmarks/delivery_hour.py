"""A generated delivery hour: contracts on the nodes of a grid, and every meter's readings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from clearing.types import Cover, Interval, ServiceClass
from clearing.units import Chips, ChipSeconds, MicroUsdPerChipHour, Ppm, Seconds, UnixSeconds
from settlement.assignment import Assignment, IntervalPrice
from settlement.metering.billable import METERING_INTERVAL_S, metering_intervals
from settlement.types import Contract, ContractHour, Legs, MeterBatch, Reading

AUCTION: Final = "bench-day"
CHIP_CLASS: Final = "nvidia.h100-sxm5-80gb"
NODE: Final = 8
HOUR: Final = Interval(start=UnixSeconds(1_800_000_000), end=UnixSeconds(1_800_003_600))
NODES_PER_POOL: Final = 500
CONTRACT_NODES: Final = (1, 1, 2, 4, 4, 8, 16, 32)
SURCHARGE: Final = MicroUsdPerChipHour(500_000)
FEE: Final = MicroUsdPerChipHour(10_000)
FAILING_ONE_IN: Final = 500
"""One reading in this many reports a node as down."""
GAP_ONE_IN: Final = 100
"""One batch in this many never comes: a gap for every contract of its pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSize:
    """Nodes with a contract each; every node is read twelve times an hour."""

    name: str
    nodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryHour:
    """What settlement is given."""

    assignment: Assignment
    batches: tuple[MeterBatch, ...]
    readings: int


def generate(size: GridSize, seed: int = 7) -> DeliveryHour:
    """Pools of at most 500 nodes, five contract sizes, a few failures and gaps."""
    draw = Random(seed)
    contracts: list[Contract] = []
    prices: list[IntervalPrice] = []
    batches: list[MeterBatch] = []
    left, pool = size.nodes, 0
    while left > 0:
        nodes = min(left, NODES_PER_POOL)
        name, energy = f"pool-{pool:03d}", MicroUsdPerChipHour(draw.randrange(100, 300) * 10_000)
        local = _contracts(draw, name, f"site-{pool // 4:02d}", nodes, energy)
        contracts += local
        prices.append(_price(name, energy))
        batches += _batches(draw, name, local)
        left, pool = left - nodes, pool + 1
    assignment = Assignment(
        auction_id=AUCTION,
        intervals=(HOUR,),
        node_cover_notice_s=Seconds(300),
        site_cover_notice_s=Seconds(1_800),
        contracts=tuple(sorted(contracts, key=lambda contract: contract.contract_id)),
        spare_hours=(),
        reserve_hours=(),
        idle_hours=(),
        prices=tuple(prices),
        released_order_ids=(),
        make_whole=(),
    )
    return DeliveryHour(
        assignment=assignment,
        batches=tuple(batches),
        readings=sum(len(batch.readings) for batch in batches),
    )


def _contracts(
    draw: Random, pool_id: str, site_id: str, nodes: int, energy: MicroUsdPerChipHour
) -> list[Contract]:
    found: list[Contract] = []
    while nodes > 0:
        taken = min(nodes, draw.choice(CONTRACT_NODES))
        nodes -= taken
        order, seller = f"order-{pool_id}-{len(found):03d}", len(found) % 3
        legs = Legs(
            energy=energy,
            power=MicroUsdPerChipHour(0),
            cover=MicroUsdPerChipHour(0),
            discount=MicroUsdPerChipHour(0),
            surcharge=SURCHARGE,
            fee=FEE,
            contract=energy,
        )
        found.append(
            Contract(
                contract_id=f"{AUCTION}/{order}/{pool_id}/offer-{pool_id}-{seller}",
                auction_id=AUCTION,
                order_id=order,
                buyer_id=f"lab-{draw.randrange(40):02d}",
                supplier_id=f"seller-{pool_id}-{seller}",
                supplier_order_id=f"offer-{pool_id}-{seller}",
                pool_id=pool_id,
                site_id=site_id,
                chip_class=CHIP_CLASS,
                service_class=ServiceClass.FIRM,
                cover=Cover.NONE,
                notice_s=Seconds(0),
                hours=(ContractHour(interval=HOUR, chips=Chips(taken * NODE), legs=legs),),
                precision="BF16",
                derate_ppm=Ppm(950_000),
                stop_loss_ppm=Ppm(1_000_000),
            )
        )
    return found


def _price(pool_id: str, energy: MicroUsdPerChipHour) -> IntervalPrice:
    zero = MicroUsdPerChipHour(0)
    return IntervalPrice(
        pool_id=pool_id,
        interval=HOUR,
        energy=energy,
        power=zero,
        cover=zero,
        availability=zero,
        recall_discount=zero,
    )


def _batches(draw: Random, pool_id: str, contracts: list[Contract]) -> Iterator[MeterBatch]:
    for number, cell in enumerate(metering_intervals(HOUR)):
        if draw.randrange(GAP_ONE_IN) == 0:
            continue
        yield MeterBatch(
            meter_id=f"meter-{pool_id}",
            pool_id=pool_id,
            interval=cell,
            sequence=number + 1,
            readings=tuple(
                Reading(
                    contract_id=contract.contract_id,
                    node_id=f"{contract.order_id}-{node}",
                    healthy=ChipSeconds(
                        0 if draw.randrange(FAILING_ONE_IN) == 0 else NODE * METERING_INTERVAL_S
                    ),
                )
                for contract in contracts
                for node in range(contract.hours[0].chips // NODE)
            ),
        )
