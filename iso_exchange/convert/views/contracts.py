"""Contracts as their parties see them; the stage follows from time and settlement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from clearing.types import BlockBid, ServiceClass, StepBid, WorkBid
from clearing.units import Chips, MicroUsdPerChipHour, UnixSeconds
from iso_exchange.api.v1 import contract_pb2, event_pb2, terms_pb2
from iso_exchange.api.v1.contract_pb2 import ContractReason as WireReason
from iso_exchange.api.v1.contract_pb2 import ContractState as WireState
from iso_exchange.api.v1.contract_pb2 import ResponsibleParty as WireParty
from iso_exchange.commands import ReportOutage
from iso_exchange.convert import enums
from iso_exchange.convert.fields import number_of, timestamp
from iso_exchange.convert.outages import write_outage_report
from iso_exchange.convert.views.auctions import is_published
from iso_exchange.convert.views.registry import location_view, resource_view
from iso_exchange.sequencer.state import Auction, Order, PoolRecord, SiteRecord
from settlement.ledger import accounts
from settlement.metering.chip_table import ChipTable
from settlement.types import USD, Contract, ContractHour, DeliveredHour, Legs, Transfer


class Viewer(Enum):
    """Who looks at a contract: each party sees only its own order, limit and collateral."""

    BUYER = "BUYER"
    SUPPLIER = "SUPPLIER"
    AUDITOR = "AUDITOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a contract is shown with.

    Attributes:
        auction: Auction that awarded it.
        pool: Its pool.
        site: The pool's site.
        table: Chip table in force, None before the first.
        order: The buyer's order, None for a nomination.
        holds: Open pending transfers (``Books.open_holds``); those of the contract are used.
        delivered: Settled hours (``State.delivered``); those of the contract are used.
    """

    auction: Auction
    pool: PoolRecord
    site: SiteRecord
    table: ChipTable | None = None
    order: Order | None = None
    holds: tuple[Transfer, ...] = ()
    delivered: tuple[DeliveredHour, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Stage of a contract's life.

    Attributes:
        since: When it was entered, None where that is not a matter of the calendar.
    """

    state: WireState.ValueType
    reason: WireReason.ValueType
    responsible: WireParty.ValueType
    since: UnixSeconds | None


def stage_of(contract: Contract, auction: Auction, now: UnixSeconds) -> Stage:
    """AWARDED, SCHEDULED, DELIVERING, COMPLETED or SETTLED, from time and settled hours."""
    first, last = contract.hours[0].interval.start, contract.hours[-1].interval.end
    if all(hour.interval.start in auction.settled for hour in contract.hours):
        return _stage(
            WireState.CONTRACT_STATE_SETTLED, WireReason.CONTRACT_REASON_ALL_HOURS_SETTLED, None
        )
    if now >= last:
        return _stage(WireState.CONTRACT_STATE_COMPLETED, WireReason.CONTRACT_REASON_ON_TIME, last)
    if now >= first:
        return _stage(
            WireState.CONTRACT_STATE_DELIVERING, WireReason.CONTRACT_REASON_ON_TIME, first
        )
    if is_published(auction):
        return _stage(WireState.CONTRACT_STATE_SCHEDULED, WireReason.CONTRACT_REASON_ON_TIME, None)
    return _stage(WireState.CONTRACT_STATE_AWARDED, WireReason.CONTRACT_REASON_AUCTION_AWARD, None)


def viewer_of(contract: Contract, participant_id: str) -> Viewer | None:
    """As what a participant may see a contract; None when it is no party."""
    if participant_id == contract.buyer_id:
        return Viewer.BUYER
    return Viewer.SUPPLIER if participant_id == contract.supplier_id else None


def contract_view(
    contract: Contract,
    around: Surroundings,
    *,
    viewer: Viewer,
    now: UnixSeconds,
    entry_index: int | None = None,
    dispatched: Stage | None = None,
) -> contract_pb2.Contract:
    """A contract as one of its parties, or an auditor, may see it.

    Args:
        contract: The contract.
        around: What it is shown with.
        viewer: Who looks.
        now: Time of the exchange.
        entry_index: Log entry of the award, None where it is not at hand.
        dispatched: Stage that instructions and receipts say; None where time alone decides.
    """
    stage = dispatched or stage_of(contract, around.auction, now)
    most = Chips(max(hour.chips for hour in contract.hours))
    return contract_pb2.Contract(
        contract_id=contract.contract_id,
        auction_id=contract.auction_id,
        order_id=contract.order_id if viewer is not Viewer.SUPPLIER else "",
        supplier_order_id=contract.supplier_order_id if viewer is not Viewer.BUYER else "",
        buyer_id=contract.buyer_id,
        supplier_id=contract.supplier_id,
        pool_id=contract.pool_id,
        backup_pool_id=contract.backup_pool_id,
        resource=resource_view(around.pool.pool, most, around.table),
        location=location_view(around.site),
        terms=_terms(contract, around, viewer),
        hours=[_hour(hour) for hour in contract.hours],
        delivered_hours=[
            delivered_hour_view(hour)
            for hour in sorted(around.delivered, key=lambda hour: hour.interval.start)
            if hour.contract_id == contract.contract_id
        ],
        state=stage.state,
        reason=stage.reason,
        responsible=stage.responsible,
        state_time=None if stage.since is None else timestamp(stage.since),
        entry_index=entry_index,
    )


def delivered_hour_view(hour: DeliveredHour) -> contract_pb2.DeliveredHour:
    """What the meter says of one contract-hour."""
    return contract_pb2.DeliveredHour(
        start_time=timestamp(hour.interval.start),
        end_time=timestamp(hour.interval.end),
        position_chip_seconds=hour.position,
        delivered_chip_seconds=hour.delivered,
        failed_chip_seconds=hour.failed,
        gap_chip_seconds=hour.gap,
        compute_tflop=str(hour.compute),
    )


def outage_view(outage: ReportOutage, contract_ids: Iterable[str]) -> event_pb2.OutageView:
    """An outage with the contracts concerned whose party asks."""
    return event_pb2.OutageView(
        report=write_outage_report(outage), contract_ids=sorted(contract_ids)
    )


def _terms(contract: Contract, around: Surroundings, viewer: Viewer) -> terms_pb2.Terms:
    spec, site = around.auction.spec, around.site
    buyer_held = _held(contract, around.holds, contract.buyer_id)
    supplier_held = _held(contract, around.holds, contract.supplier_id)
    return terms_pb2.Terms(
        service_class=enums.SERVICE_CLASS.number(contract.service_class),
        cover=enums.COVER.number(contract.cover),
        notice_seconds=contract.notice_s,
        start_time=timestamp(contract.hours[0].interval.start),
        end_time=timestamp(contract.hours[-1].interval.end),
        limit_price_micro_usd_per_chip_hour=(
            None if viewer is Viewer.SUPPLIER else _limit(contract, around)
        ),
        price_unit=terms_pb2.PRICE_UNIT_CHIP_HOUR,
        pricing_rule=enums.PRICING_RULE.number(spec.pricing_rule),
        surcharge=terms_pb2.Surcharge(
            amount_micro_usd_per_chip_hour=contract.hours[0].legs.surcharge,
            site_id=contract.site_id,
            beneficiary_id=site.community_id,
        ),
        operator_fee=terms_pb2.OperatorFee(
            amount_micro_usd_per_chip_hour=contract.hours[0].legs.fee
        ),
        collateral=terms_pb2.Collateral(
            buyer_held_micro_usd=0 if viewer is Viewer.SUPPLIER else buyer_held,
            supplier_held_micro_usd=0 if viewer is Viewer.BUYER else supplier_held,
        ),
        stop_loss_ppm=contract.stop_loss_ppm,
        termination=terms_pb2.Termination(),
        precision=number_of(enums.PRECISION, contract.precision, "terms.precision"),
        derate_ppm=contract.derate_ppm,
    )


def _hour(hour: ContractHour) -> contract_pb2.ContractHour:
    return contract_pb2.ContractHour(
        start_time=timestamp(hour.interval.start),
        end_time=timestamp(hour.interval.end),
        chip_count=hour.chips,
        legs=_legs(hour.legs),
    )


def _legs(legs: Legs) -> contract_pb2.PriceLegs:
    return contract_pb2.PriceLegs(
        energy_micro_usd_per_chip_hour=legs.energy,
        power_micro_usd_per_chip_hour=legs.power,
        cover_micro_usd_per_chip_hour=legs.cover,
        discount_micro_usd_per_chip_hour=legs.discount,
        surcharge_micro_usd_per_chip_hour=legs.surcharge,
        operator_fee_micro_usd_per_chip_hour=legs.fee,
        contract_micro_usd_per_chip_hour=legs.contract,
    )


def _held(contract: Contract, holds: Iterable[Transfer], participant_id: str) -> int:
    account = accounts.cash(participant_id)
    return sum(
        hold.amount
        for hold in holds
        if hold.contract_id == contract.contract_id and hold.debit == account and hold.asset == USD
    )


def _limit(contract: Contract, around: Surroundings) -> MicroUsdPerChipHour | None:
    """The buyer's limit: the highest step that was accepted; None for base load."""
    if contract.service_class is ServiceClass.BASE_LOAD or around.order is None:
        return None
    match around.order.order:
        case BlockBid() | WorkBid() as bid:
            return bid.limit_price
        case StepBid() as bid:
            starts = {hour.interval.start for hour in contract.hours}
            intervals = around.auction.spec.intervals
            # Steps descend, so whatever was accepted includes the first of its segment.
            return max(
                segment.steps[0].price
                for segment in bid.segments
                if any(
                    interval.start in starts for interval in intervals[segment.first : segment.stop]
                )
            )
        case _:
            return None


def _stage(
    state: WireState.ValueType, reason: WireReason.ValueType, since: UnixSeconds | None
) -> Stage:
    party = (
        WireParty.RESPONSIBLE_PARTY_EXCHANGE
        if reason == WireReason.CONTRACT_REASON_AUCTION_AWARD
        else WireParty.RESPONSIBLE_PARTY_NOBODY
    )
    return Stage(state=state, reason=reason, responsible=party, since=since)
