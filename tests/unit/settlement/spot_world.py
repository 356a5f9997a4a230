"""Hours with spot moves: readings by hand, metered and settled by the real functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from clearing.types import Cover, Interval, ServiceClass
from clearing.units import Chips, ChipSeconds, MicroUsd, MicroUsdPerChipHour, Tflop
from settlement.assignment import Assignment, IntervalPrice
from settlement.ledger import accounts
from settlement.metering.billable import MeteredHour, PoolReadings, metering_intervals
from settlement.metering.moved import metered_with_moves, moves_of
from settlement.postings import contract_hours, hour_postings, hour_postings_id
from settlement.postings.correction import correction_postings
from settlement.postings.spot_holds import spot_postings
from settlement.postings.spot_posting import spot_contracts_of
from settlement.spot.result import (
    Derate,
    Purchase,
    Recall,
    Reclaim,
    Replacement,
    SpotResult,
    SupplyMove,
    Withdrawal,
)
from settlement.types import Contract, ContractHour, Legs, Phase, Postings, Transfer, TransferCode
from tests.unit.settlement.builders import AUCTION, HOUR, World, contract, price

Healthy = Mapping[tuple[str, str, int], int]
"""Chip-seconds by (pool, contract, index of the metering interval)."""

UNREAD = -1
"""In ``Healthy``: nobody read it."""


def reclaim(item: Contract, chips: int, *, restart: int = 0) -> Reclaim:
    return Reclaim(
        contract_id=item.contract_id,
        quantity=ChipSeconds(chips * 300),
        restart_credit=MicroUsd(restart),
    )


def withdrawal(item: Contract, chips: int) -> Withdrawal:
    return Withdrawal(contract_id=item.contract_id, quantity=ChipSeconds(chips * 300))


def sale(who: str, chips: int, *, pool: str = "pool-a", order: str = "") -> SupplyMove:
    return SupplyMove(
        participant_id=who,
        order_id=order or f"offer-{who}",
        pool_id=pool,
        quantity=ChipSeconds(chips * 300),
    )


def replacement(
    item: Contract,
    chips: int,
    *,
    by: str,
    order: str = "",
    pool: str = "pool-a",
    site: str = "site-a",
    surcharge: int = 500_000,
) -> Replacement:
    return Replacement(
        contract_id=item.contract_id,
        pool_id=pool,
        site_id=site,
        supplier_id=by,
        quantity=ChipSeconds(chips * 300),
        surcharge=MicroUsdPerChipHour(surcharge),
        order_id=order,
    )


def derate(item: Contract, chips: int) -> Derate:
    return Derate(contract_id=item.contract_id, quantity=ChipSeconds(chips * 300))


def bought(
    name: str,
    chips: int,
    prices: Legs,
    *,
    buyer: str,
    supplier: str = "S",
    index: int = 0,
    pool: str = "pool-a",
    service_class: ServiceClass = ServiceClass.FIRM,
) -> Contract:
    """A contract of spot in one metering interval."""
    cell = metering_intervals(HOUR)[index]
    made = contract(
        f"spot-{name}",
        chips,
        prices,
        buyer=buyer,
        supplier=supplier,
        pool=pool,
        service_class=service_class,
        cover=Cover.NONE,
    )
    hour = ContractHour(interval=cell, chips=Chips(chips), legs=prices)
    return replace(made, hours=(hour,))


def purchase(item: Contract, limit: int) -> Purchase:
    return Purchase(contract=item, limit=MicroUsdPerChipHour(limit))


def recall(item: Contract, order: str) -> Recall:
    return Recall(order_id=order, contract=item)


def spot(index: int = 0, *prices: IntervalPrice, **moves: tuple[object, ...]) -> SpotResult:
    cell = metering_intervals(HOUR)[index]
    return SpotResult(
        auction_id=AUCTION,
        interval=cell,
        prices=tuple(replace(item, interval=cell) for item in prices),
        **moves,  # type: ignore[arg-type]
    )


def at(energy: int, *, pool: str = "pool-a", **parts: int) -> IntervalPrice:
    return price(energy, pool=pool, **parts)  # type: ignore[arg-type]


def meter(
    settled: Assignment,
    results: tuple[SpotResult, ...],
    healthy: Healthy,
    held: Interval = HOUR,
    tflops: int = 0,
) -> list[MeteredHour]:
    """Every contract of the hour, delivered in full where ``healthy`` says nothing else."""
    moves = moves_of(results)
    items = [item for item, _ in contract_hours(settled, held)]
    items.extend(spot_contracts_of(results))
    cells = metering_intervals(held)
    pools = {item.pool_id for item in items} | {
        move.pool_id for result in results for move in result.replacements
    }
    read: dict[str, dict[int, dict[str, ChipSeconds]]] = {
        pool_id: {cell.start: {} for cell in cells} for pool_id in pools
    }
    for item in items:
        for index, cell in enumerate(cells):
            chips = sum(
                hour.chips
                for hour in item.hours
                if hour.interval.start <= cell.start and cell.end <= hour.interval.end
            )
            if not chips:
                continue
            moved = moves.get((item.contract_id, cell.start))
            left = chips * cell.duration_s
            if moved is not None:
                left -= moved.reclaimed + moved.withdrawn
                for given in moved.returned:
                    left -= given.quantity
                    passed = healthy.get((item.pool_id, given.sold_to, index), given.quantity)
                    if given.sold_to and passed != UNREAD:
                        read[item.pool_id][cell.start][given.sold_to] = ChipSeconds(passed)
                for part in moved.replaced:
                    if part.pool_id != item.pool_id:
                        found = read[part.pool_id][cell.start].get(item.contract_id, 0)
                        read[part.pool_id][cell.start][item.contract_id] = ChipSeconds(
                            healthy.get(
                                (part.pool_id, item.contract_id, index), found + part.quantity
                            )
                        )
                        left -= part.quantity
            found = healthy.get((item.pool_id, item.contract_id, index), left)
            if found != UNREAD:
                read[item.pool_id][cell.start][item.contract_id] = ChipSeconds(found)
    readings = {
        pool_id: PoolReadings(pool_id=pool_id, interval=held, healthy=by_cell, findings=())  # type: ignore[arg-type]
        for pool_id, by_cell in read.items()
    }
    return [
        metered_with_moves(item, held, readings, lambda _, q: Tflop(q * tflops), moves)
        for item in items
    ]


def close(
    world: World,
    *results: SpotResult,
    healthy: Healthy | None = None,
    held: Interval = HOUR,
    tflops: int = 0,
) -> Postings:
    """Publish spot results and close their hour."""
    for result in results:
        world.post(spot_postings(world.assignment, result))
    hours = meter(world.assignment, results, healthy or {}, held, tflops)
    postings = hour_postings(
        world.assignment,
        held,
        hours,
        pool_balance=world.books.balance(accounts.POOL).posted,
        earlier=[item.delivered for item in world.metered],
        results=results,
    )
    world.post(postings)
    world.metered.extend(hours)
    world.results.extend(results)
    world.closed.append(held)
    return postings


def fund_pool(world: World, amount: int) -> None:
    world.transfer(
        Transfer(
            transfer_id="pool-start",
            asset="USD",
            debit=accounts.BANK,
            credit=accounts.POOL,
            amount=amount,
            phase=Phase.POSTED,
            code=TransferCode.RESIDUAL,
        )
    )


def correct(
    world: World,
    *results: SpotResult,
    healthy: Healthy | None = None,
    held: Interval = HOUR,
    pool_before: int = 0,
    tflops: int = 0,
) -> Postings:
    """Post what the latest readings change of a closed hour."""
    hours = meter(world.assignment, results, healthy or {}, held, tflops)
    name = hour_postings_id(AUCTION, held)
    old = [
        item
        for item in world.documents
        if item.postings_id == name or item.postings_id.startswith(f"correction/{name}/")
    ]
    others = [item for item in world.metered if item.delivered.interval != held]
    new = hour_postings(
        world.assignment,
        held,
        hours,
        pool_balance=pool_before,
        earlier=[item.delivered for item in others],
        results=results,
    )
    postings = correction_postings(old, new, pool_balance=world.books.balance(accounts.POOL).posted)
    world.post(postings)
    world.metered = [*others, *hours]
    world.corrected = [item for item in world.corrected if item[0] != old[0]]
    world.corrected.append((old[0], new))
    return postings
