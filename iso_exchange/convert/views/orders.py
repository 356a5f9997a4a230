"""Orders as their owner sees them, and what became of them once their auction is published."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from clearing.eligibility import Ineligible
from clearing.errors import InvariantError
from clearing.outcome import Award, Fill, OrderOutcome, SupplyRun
from clearing.types import Interval
from clearing.units import MicroUsd, MicroUsdPerChipHour
from iso_exchange.api.v1 import market_service_pb2, order_pb2
from iso_exchange.convert import enums
from iso_exchange.convert.fields import timestamp, timestamp_of_us
from iso_exchange.convert.orders import write_order
from iso_exchange.convert.views.auctions import is_published
from iso_exchange.sequencer.orders import CANCELLED_BY_OWNER
from iso_exchange.sequencer.spot import COMPLETED, RECLAIMED
from iso_exchange.sequencer.state import Auction, Order, OrderState, PoolRecord, SiteRecord

"""``Order.cancel_reason`` of a withdrawal; any other reason is the operator's."""

FILL_STATES: Final[dict[Fill, order_pb2.OrderState.ValueType]] = {
    Fill.FULL: order_pb2.ORDER_STATE_FILLED,
    Fill.PARTIAL: order_pb2.ORDER_STATE_PARTIALLY_FILLED,
    Fill.NONE: order_pb2.ORDER_STATE_UNFILLED,
}


@dataclass(frozen=True, slots=True)
class Results:
    """Indexes over one published auction, so that each order is found at once.

    Attributes:
        outcomes: By order.
        awards: By order, sorted by pool.
        make_whole: By the first order of each family, so that a payment counts once.
        contract_ids: By order and by offer or entitlement, sorted.
        runs: By offer with a commitment, ascending.
    """

    outcomes: Mapping[str, OrderOutcome]
    awards: Mapping[str, tuple[Award, ...]]
    make_whole: Mapping[str, MicroUsd]
    contract_ids: Mapping[str, tuple[str, ...]]
    runs: Mapping[str, tuple[SupplyRun, ...]]


def results_of(auction: Auction) -> Results | None:
    """Indexes of an auction's results, None before publication."""
    if not is_published(auction):
        return None
    if auction.outcome is None or auction.assignment is None:
        raise InvariantError(f"{auction.created.auction_id} is published without a result")
    awards: dict[str, list[Award]] = defaultdict(list)
    for award in auction.outcome.awards:
        awards[award.order_id].append(award)
    runs: dict[str, list[SupplyRun]] = defaultdict(list)
    for run in auction.outcome.runs:
        runs[run.order_id].append(run)
    contract_ids: dict[str, list[str]] = defaultdict(list)
    for contract in auction.assignment.contracts:
        contract_ids[contract.order_id].append(contract.contract_id)
        contract_ids[contract.supplier_order_id].append(contract.contract_id)
    return Results(
        outcomes={outcome.order_id: outcome for outcome in auction.outcome.orders},
        awards={
            name: tuple(sorted(found, key=lambda award: award.pool_id))
            for name, found in awards.items()
        },
        make_whole={
            min(item.order_ids): item.amount
            for item in auction.outcome.make_whole
            if item.order_ids
        },
        contract_ids={name: tuple(sorted(found)) for name, found in contract_ids.items()},
        runs={
            name: tuple(sorted(found, key=lambda run: run.first)) for name, found in runs.items()
        },
    )


def order_view(
    order: Order,
    auction: Auction,
    *,
    results: Results | None = None,
    accept_time_us: int | None = None,
) -> order_pb2.OrderView:
    """An order as it stands now; its outcome only once its auction is published.

    Args:
        order: The order.
        auction: Its auction.
        results: ``results_of(auction)``, for who shows many orders; made here when None.
        accept_time_us: When its latest revision was accepted, None where it is not at hand.
    """
    found = results or results_of(auction)
    outcome = found.outcomes.get(order.submitted.order_id) if found else None
    view = order_pb2.OrderView(
        order=write_order(order.submitted),
        state=_state(order, outcome),
        entry_index=order.entry_index,
        accept_time=None if accept_time_us is None else timestamp_of_us(accept_time_us),
        hold_micro_usd=order.hold.amount if order.hold else 0,
    )
    if found is not None and outcome is not None:
        view.outcome.CopyFrom(outcome_view(outcome, found, auction.spec.intervals))
    return view


def standing_view(
    order: Order,
    run: Auction | None,
    *,
    results: Results | None,
    accept_time_us: int | None = None,
) -> order_pb2.OrderView:
    """A standing order of a spot market, with what the last published run made of it.

    Args:
        order: The order.
        run: Last published run of its market, None before the first.
        results: ``results_of(run)``.
        accept_time_us: When its latest revision was accepted, None where it is not at hand.
    """
    view = order_pb2.OrderView(
        order=write_order(order.submitted),
        state=_standing_state(order),
        entry_index=order.entry_index,
        accept_time=None if accept_time_us is None else timestamp_of_us(accept_time_us),
        hold_micro_usd=order.hold.amount if order.hold else 0,
    )
    outcome = results.outcomes.get(order.submitted.order_id) if results else None
    if run is not None and results is not None and outcome is not None:
        view.outcome.CopyFrom(outcome_view(outcome, results, run.spec.intervals))
    return view


def outcome_view(
    outcome: OrderOutcome, results: Results, intervals: tuple[Interval, ...]
) -> order_pb2.OrderOutcome:
    """What became of one order, and why."""
    name = outcome.order_id
    return order_pb2.OrderOutcome(
        fill=enums.FILL.number(outcome.fill),
        reason=enums.REASON.number(outcome.reason),
        surplus=str(outcome.surplus),
        shortfall_micro_usd_per_chip_hour=outcome.shortfall,
        foregone=str(outcome.foregone),
        detail=outcome.detail,
        make_whole_micro_usd=results.make_whole.get(name, 0),
        awards=[award_view(award, intervals) for award in results.awards.get(name, ())],
        contract_ids=results.contract_ids.get(name, ()),
        runs=[
            order_pb2.SupplyRun(
                start_time=timestamp(intervals[run.first].start),
                end_time=timestamp(intervals[run.stop - 1].end),
            )
            for run in results.runs.get(name, ())
        ],
    )


def award_view(award: Award, intervals: tuple[Interval, ...]) -> order_pb2.Award:
    """Accepted part of an order in one pool; runs of equal intervals are put together."""
    return order_pb2.Award(
        pool_id=award.pool_id,
        side=enums.SIDE.number(award.side),
        service_class=enums.SERVICE_CLASS.number(award.service_class),
        cover=enums.COVER.number(award.cover),
        segments=[
            order_pb2.AwardSegment(
                start_time=timestamp(intervals[first].start),
                end_time=timestamp(intervals[last].end),
                chip_count=chips,
                reserve_chip_count=reserve,
                site_reserve_chip_count=site_reserve,
                backups=[
                    order_pb2.AwardBackup(pool_id=backup.pool_id, chip_count=count)
                    for backup, count in zip(award.backups, backed, strict=True)
                    if count
                ],
            )
            for first, last, (chips, reserve, site_reserve, *backed) in _runs(award)
            if chips or reserve or site_reserve
        ],
    )


def eligible_pool(
    record: PoolRecord,
    site: SiteRecord,
    *,
    operator_fee: MicroUsdPerChipHour,
    last_price: MicroUsdPerChipHour | None = None,
) -> market_service_pb2.EligiblePool:
    """A pool that may serve an order, with what is added to its price there."""
    return market_service_pb2.EligiblePool(
        pool_id=record.pool.pool_id,
        capacity_chip_count=record.pool.capacity,
        surcharge_micro_usd_per_chip_hour=site.site.surcharge,
        operator_fee_micro_usd_per_chip_hour=operator_fee,
        last_price_micro_usd_per_chip_hour=last_price,
    )


def refused_pool(pool_id: str, reason: Ineligible) -> market_service_pb2.RefusedPool:
    """A pool that may not serve an order."""
    return market_service_pb2.RefusedPool(
        pool_id=pool_id,
        reason=enums.INELIGIBILITY.number(reason),
        description=MISMATCHES[reason],
    )


def pool_explanation(
    pool_id: str,
    *,
    mismatch: Ineligible | None = None,
    price: MicroUsdPerChipHour | None = None,
    shortfall: MicroUsdPerChipHour = MicroUsdPerChipHour(0),
) -> market_service_pb2.PoolExplanation:
    """What an order would have paid in one pool, or why it could not be served there."""
    return market_service_pb2.PoolExplanation(
        pool_id=pool_id,
        eligible=mismatch is None,
        reason=(
            market_service_pb2.INELIGIBILITY_REASON_UNSPECIFIED
            if mismatch is None
            else enums.INELIGIBILITY.number(mismatch)
        ),
        price_micro_usd_per_chip_hour=price,
        shortfall_micro_usd_per_chip_hour=shortfall,
    )


MISMATCHES: Final[dict[Ineligible, str]] = {
    Ineligible.NOT_NAMED: "The order names other pools.",
    Ineligible.CHIP_CLASS: "The pool has another chip class.",
    Ineligible.REGION: "The site is in another region.",
    Ineligible.COUNTRY: "The site is in another country.",
    Ineligible.DATA_RESIDENCY: "The site does not keep data where the order wants it.",
    Ineligible.LEGAL_CONTROL: "An excluded legal regime reaches the operator of the site.",
    Ineligible.CERTIFICATION: "The site lacks a certification that the order asks for.",
    Ineligible.FABRIC: "The pool has another fabric between its nodes.",
}
"""One sentence for people per condition that a pool may miss."""


def _state(order: Order, outcome: OrderOutcome | None) -> order_pb2.OrderState.ValueType:
    match order.state:
        case OrderState.OPEN:
            return order_pb2.ORDER_STATE_OPEN
        case OrderState.CANCELLED:
            if order.cancel_reason == CANCELLED_BY_OWNER:
                return order_pb2.ORDER_STATE_CANCELLED
            return order_pb2.ORDER_STATE_CANCELLED_BY_OPERATOR
        case OrderState.LOCKED:
            return order_pb2.ORDER_STATE_LOCKED
        case OrderState.DECIDED:
            # Decided and not published yet: its owner learns it with everybody else.
            return FILL_STATES[outcome.fill] if outcome else order_pb2.ORDER_STATE_LOCKED


def _standing_state(order: Order) -> order_pb2.OrderState.ValueType:
    if order.state is not OrderState.DECIDED:
        return _state(order, None)
    return {
        COMPLETED: order_pb2.ORDER_STATE_FILLED,
        RECLAIMED: order_pb2.ORDER_STATE_PARTIALLY_FILLED,
    }.get(order.cancel_reason, order_pb2.ORDER_STATE_UNFILLED)


def _runs(award: Award) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Runs (first, last, cell) of equal consecutive intervals.

    A cell is chips, reserve, reserve for SITE cover, and the chips of each backup.
    """
    site_reserve = award.site_reserve or (0,) * len(award.chips)
    cells = zip(
        award.chips,
        award.reserve,
        site_reserve,
        *(backup.chips for backup in award.backups),
        strict=True,
    )
    numbered = enumerate(cells, start=award.first)
    for cell, group in itertools.groupby(numbered, key=lambda pair: pair[1]):
        indexes = [index for index, _ in group]
        yield indexes[0], indexes[-1], cell
