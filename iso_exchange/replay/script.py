"""What each party of a scenario says to the exchange, as commands.

Pure: the same scenario, day and origin give the same commands with the same request
ids, so an agent that is killed and started again repeats itself exactly and nothing is
doubled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clearing.types import Cover, Eligibility, Interval, PricingRule, Step, Tariff
from clearing.units import (
    Chips,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
    Watts,
)
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    Command,
    CreateAuction,
    Header,
    Nominate,
    OfferTerms,
    RecordDeposit,
    RegisterEntitlement,
    RegisterMeter,
    RegisterParticipant,
    RegisterPool,
    RegisterSite,
    Role,
    StepBidTerms,
    SubmitOrder,
    TimedSegment,
)
from iso_exchange.replay import parts
from iso_exchange.replay.parts import Scenario

HOUR_S = 3600
NODE_SPARE_PPM = Ppm(10_000)
"""theta of NODE cover. Assumption: DESIGN's default of one per cent, one day of node failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A scenario put on a calendar.

    Attributes:
        day_start: First second of the delivery day, UTC midnight.
        auction_id: Of the day-ahead auction.
    """

    scenario: Scenario
    origin: str
    day_start: UnixSeconds
    auction_id: str

    @property
    def open_time(self) -> UnixSeconds:
        """When everything is registered: noon of the day before."""
        return UnixSeconds(self.day_start - 12 * HOUR_S)

    @property
    def close_time(self) -> UnixSeconds:
        """Gate closure: two hours before delivery."""
        return UnixSeconds(self.day_start - 2 * HOUR_S)

    def hour(self, hour: int) -> UnixSeconds:
        """Start of an hour of the delivery day (24 is its end)."""
        return UnixSeconds(self.day_start + hour * HOUR_S)

    def header(self, signer_id: str, request_id: str) -> Header:
        """Header with a request id that only this statement of this signer has."""
        return Header(
            origin=self.origin,
            signer_id=signer_id,
            request_id=f"{self.auction_id}:{request_id}",
            create_time=self.open_time,
        )


def participant(
    script: Script, participant_id: str, name: str, role: Role, country: str, public_key: bytes
) -> RegisterParticipant:
    """Admission of one party."""
    return RegisterParticipant(
        header=script.header("operator", f"participant/{participant_id}"),
        participant_id=participant_id,
        display_name=name,
        roles=(role,),
        public_key=public_key,
        country=country,
    )


def grid(script: Script) -> Iterator[Command]:
    """Sites and pools of the scenario."""
    for site in script.scenario.sites:
        yield RegisterSite(
            header=script.header("operator", f"site/{site.site_id}"),
            site_id=site.site_id,
            community_id=site.community_id,
            surcharge=MicroUsdPerChipHour(site.surcharge_micro_usd_per_chip_hour),
            power_limit=Watts(site.power_limit_w),
            region=site.region,
            country=site.country,
            subdivision=site.jurisdiction if site.jurisdiction != site.country else "",
            data_residency=site.data_residency,
            legal_controls=site.legal_controls,
            certifications=site.certifications,
            carbon_grams_per_kwh=site.carbon_g_per_kwh,
        )
    for pool in script.scenario.pools:
        yield RegisterPool(
            header=script.header("operator", f"pool/{pool.pool_id}"),
            pool_id=pool.pool_id,
            site_id=pool.site_id,
            supplier_ids=(pool.supplier_id,),
            chip_class=pool.chip_class,
            chips_per_node=Chips(pool.chips_per_node),
            capacity=Chips(pool.capacity_chips),
            chip_power=Watts(pool.chip_power_w),
            node_spare_ppm=NODE_SPARE_PPM,
            fabric=pool.fabric,
            derate_ppm=Ppm(pool.acceptance_derate_ppm),
        )


def meter_id(pool: parts.Pool) -> str:
    """Name of a pool's meter."""
    return f"meter-{pool.pool_id}"


def meter(script: Script, pool: parts.Pool, public_key: bytes) -> RegisterMeter:
    """Registration of a pool's meter."""
    return RegisterMeter(
        header=script.header("operator", f"meter/{pool.pool_id}"),
        meter_id=meter_id(pool),
        pool_id=pool.pool_id,
        public_key=public_key,
    )


def deposits(script: Script) -> Iterator[RecordDeposit]:
    """Collateral of every supplier and lab."""
    parties = [
        *((item.supplier_id, item.deposit_micro_usd) for item in script.scenario.suppliers),
        *((item.lab_id, item.deposit_micro_usd) for item in script.scenario.labs),
    ]
    for party, amount in parties:
        yield RecordDeposit(
            header=script.header("operator", f"deposit/{party}"),
            participant_id=party,
            amount=MicroUsd(amount),
            bank_reference=f"{script.auction_id}/{party}",
        )


def auction(script: Script, seed_commitment: str) -> CreateAuction:
    """The day-ahead auction: 24 hourly intervals, firm and interruptible."""
    scenario = script.scenario
    return CreateAuction(
        header=script.header("operator", "auction"),
        auction_id=script.auction_id,
        product="DAY_AHEAD",
        close_time=script.close_time,
        first_interval_start=script.day_start,
        interval_seconds=Seconds(HOUR_S),
        interval_count=24,
        price_floor=MicroUsdPerChipHour(0),
        price_cap=MicroUsdPerChipHour(100_000_000),
        tick=MicroUsdPerChipHour(scenario.tick_micro_usd),
        operator_fee=MicroUsdPerChipHour(scenario.operator_fee_micro_usd_per_chip_hour),
        pricing_rule=PricingRule.MAKE_WHOLE,
        tie_credit=MicroUsdPerChipHour(100),
        seed_commitment=seed_commitment,
        tariff=Tariff(),
    )


def offers(script: Script, supplier_id: str) -> tuple[SubmitOrder, ...]:
    """Supply offers of one supplier."""
    return tuple(
        _order(
            script,
            offer.supplier_id,
            offer.order_id,
            OfferTerms(
                pool_id=offer.pool_id,
                segments=(
                    TimedSegment(
                        start=script.hour(offer.first_hour),
                        end=script.hour(offer.stop_hour),
                        steps=_steps(offer.steps),
                    ),
                ),
            ),
        )
        for offer in script.scenario.offers
        if offer.supplier_id == supplier_id
    )


def entitlements(script: Script) -> tuple[RegisterEntitlement, ...]:
    """Base-load contracts; the holder's header, signed by holder and supplier."""
    return tuple(
        RegisterEntitlement(
            header=script.header(base.lab_id, f"entitlement/{base.entitlement_id}"),
            entitlement_id=base.entitlement_id,
            holder_id=base.lab_id,
            supplier_id=base.supplier_id,
            pool_id=base.pool_id,
            period=Interval(start=script.hour(0), end=script.hour(24)),
            chips=Chips(base.chips),
            contract_price=MicroUsdPerChipHour(base.contract_price_micro_usd_per_chip_hour),
            cover=base.cover,
        )
        for base in script.scenario.base_loads
    )


def nominations(script: Script, lab_id: str) -> tuple[Nominate, ...]:
    """What one lab will use of its base load, hour by hour."""
    return tuple(
        Nominate(
            header=script.header(lab_id, f"nomination/{base.entitlement_id}"),
            nomination_id=f"nom-{base.entitlement_id}",
            entitlement_id=base.entitlement_id,
            auction_id=script.auction_id,
            segments=tuple(
                TimedSegment(
                    start=script.hour(first),
                    end=script.hour(stop),
                    steps=(
                        # A nomination names no price: its contract does.
                        Step(price=MicroUsdPerChipHour(0), chips=Chips(chips)),
                    ),
                )
                for first, stop, chips in _runs(base.nominated_chips)
                if chips
            ),
        )
        for base in script.scenario.base_loads
        if base.lab_id == lab_id
    )


def bids(script: Script, lab_id: str) -> tuple[SubmitOrder, ...]:
    """Step bids, then gangs, of one lab, in the order in which it sends them."""
    steps = [
        _order(
            script,
            lab_id,
            bid.order_id,
            StepBidTerms(
                conditions=_conditions(bid.where, bid),
                segments=tuple(
                    TimedSegment(
                        start=script.hour(curve.hour),
                        end=script.hour(curve.hour + 1),
                        steps=_steps(curve.steps),
                    )
                    for curve in bid.curves
                ),
            ),
        )
        for bid in script.scenario.step_bids
        if bid.lab_id == lab_id
    ]
    blocks = [
        _order(
            script,
            lab_id,
            bid.order_id,
            BlockBidTerms(
                conditions=_conditions(bid.where, bid),
                earliest_start=script.hour(bid.start_hour),
                latest_start=script.hour(bid.start_hour),
                duration_s=Seconds(bid.duration_hours * HOUR_S),
                chips=Chips(bid.chips),
                limit_price=MicroUsdPerChipHour(bid.limit_micro_usd_per_chip_hour),
                min_fill_ppm=Ppm(bid.min_fill_ppm),
            ),
        )
        for bid in script.scenario.block_bids
        if bid.lab_id == lab_id
    ]
    return (*steps, *blocks)


def _order(
    script: Script,
    participant_id: str,
    order_id: str,
    terms: OfferTerms | StepBidTerms | BlockBidTerms,
) -> SubmitOrder:
    return SubmitOrder(
        header=script.header(participant_id, f"order/{order_id}"),
        order_id=order_id,
        auction_id=script.auction_id,
        participant_id=participant_id,
        revision=1,
        terms=terms,
    )


def _steps(steps: tuple[parts.CurveStep, ...]) -> tuple[Step, ...]:
    return tuple(
        Step(price=MicroUsdPerChipHour(step.price_micro_usd_per_chip_hour), chips=Chips(step.chips))
        for step in steps
    )


def _conditions(where: parts.Eligibility, bid: parts.StepBid | parts.BlockBid) -> BidConditions:
    cover: Cover = bid.cover
    return BidConditions(
        where=Eligibility(
            pool_ids=where.pool_ids,
            chip_classes=where.chip_classes,
            countries=where.countries,
            data_residency=where.data_residency,
            excluded_legal_controls=where.excluded_legal_controls,
            certifications=where.certifications,
        ),
        service_class=bid.service_class,
        cover=cover,
        notice_s=Seconds(bid.notice_s),
    )


def _runs(values: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """(first, stop, value) of runs of equal values."""
    first = 0
    for index in range(1, len(values) + 1):
        if index == len(values) or values[index] != values[first]:
            yield first, index, values[first]
            first = index
