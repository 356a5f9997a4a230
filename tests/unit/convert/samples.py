"""One valid command of every kind that is signed as protobuf, and its body as a message."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from clearing.types import (
    Commitment,
    Conversion,
    Cover,
    Eligibility,
    Interval,
    PricingRule,
    ServiceClass,
    Step,
    Tariff,
)
from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    Tflop,
    UnixSeconds,
    Watts,
)
from iso_exchange import commands as c
from iso_exchange import credit_commands as k
from iso_exchange import money_commands as m
from iso_exchange.convert import command_from
from iso_exchange.convert.bodies import CONVERTERS
from iso_exchange.dispatch_commands import ReceiptKind
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.refusals import Rejected
from settlement.types import MeterBatch, Reading

START = UnixSeconds(1_800_000_000)
END = UnixSeconds(1_800_003_600)
HEADER = c.Header(
    origin="test.example/log",
    signer_id="lab",
    request_id="r-1",
    create_time=UnixSeconds(START - 60),
)
KEY = hashlib.sha256(b"key").digest()
SEGMENTS = (
    c.TimedSegment(
        start=START,
        end=END,
        steps=(Step(price=MicroUsdPerChipHour(2_000_000), chips=Chips(8)),),
    ),
)
CONDITIONS = c.BidConditions(
    where=Eligibility(
        chip_classes=("nvidia.h100-sxm5-80gb",),
        countries=("NO",),
        data_residency=("EEA",),
        excluded_legal_controls=("US_CLOUD_ACT",),
        certifications=("SOC2_TYPE2",),
        fabrics=("INFINIBAND_NDR",),
    ),
    service_class=ServiceClass.FIRM,
    cover=Cover.NODE,
    conversions=(Conversion(chip_class="nvidia.h200-sxm5-141gb", factor_ppm=Ppm(1_200_000)),),
)


def order(terms: c.OrderTerms) -> c.SubmitOrder:
    return c.SubmitOrder(
        header=HEADER,
        order_id="order-1",
        auction_id="da-1",
        participant_id="lab",
        revision=1,
        terms=terms,
    )


OFFER = order(
    c.OfferTerms(
        pool_id="tx-1-h100", segments=SEGMENTS, commitment=Commitment(start_up=MicroUsd(5))
    )
)
STEP_BID = order(c.StepBidTerms(conditions=CONDITIONS, segments=SEGMENTS))
BLOCK_BID = order(
    c.BlockBidTerms(
        conditions=CONDITIONS,
        earliest_start=START,
        latest_start=START,
        duration_s=Seconds(3_600),
        chips=Chips(64),
        limit_price=MicroUsdPerChipHour(3_000_000),
        min_fill_ppm=Ppm(1_000_000),
        exclusive_group="either",
        initial_pool_id="no-1-h100",
        restart_cost=MicroUsd(40_000_000),
    )
)
WORK_BID = order(
    c.WorkBidTerms(
        conditions=CONDITIONS,
        start=START,
        deadline=END,
        work=ChipSeconds(100),
        max_chips=Chips(8),
        limit_price=MicroUsdPerChipHour(1_000_000),
    )
)

COMMANDS: tuple[c.Command, ...] = (
    c.RegisterParticipant(
        header=HEADER,
        participant_id="lab",
        display_name="A lab",
        roles=(c.Role.BUYER, c.Role.SUPPLIER),
        public_key=KEY,
        country="NO",
    ),
    c.RevokeKey(header=HEADER, participant_id="lab", key_id=KEY.hex(), reason="lost"),
    c.RotateKey(
        header=HEADER,
        participant_id="lab",
        old_key_id=KEY.hex(),
        new_public_key=KEY,
        reason="yearly",
    ),
    c.RegisterRootKey(header=HEADER, public_key=KEY),
    c.SuspendParticipant(header=HEADER, participant_id="lab", reason="unpaid"),
    c.ReinstateParticipant(header=HEADER, participant_id="lab", reason="paid"),
    c.CancelAllOrders(header=HEADER, participant_id="lab", reason="asked to"),
    c.RegisterSite(
        header=HEADER,
        site_id="no-1",
        community_id="town",
        surcharge=MicroUsdPerChipHour(0),
        power_limit=Watts(1_000_000),
        region="eu-north",
        country="NO",
        subdivision="NO-03",
        data_residency=("EEA", "NO"),
        legal_controls=("US_CLOUD_ACT",),
        certifications=("ISO27001", "SOC2_TYPE2"),
        carbon_grams_per_kwh=30,
    ),
    c.RegisterPool(
        header=HEADER,
        pool_id="no-1-h100",
        site_id="no-1",
        supplier_ids=("sup-fjord",),
        chip_class="nvidia.h100-sxm5-80gb",
        chips_per_node=Chips(8),
        capacity=Chips(64),
        chip_power=Watts(1_000),
        node_spare_ppm=Ppm(0),
        fabric="INFINIBAND_NDR",
        derate_ppm=Ppm(900_000),
    ),
    c.RegisterMeter(header=HEADER, meter_id="meter-1", pool_id="no-1-h100", public_key=KEY),
    c.PublishChipTable(header=HEADER, version="2026.1", document=b"{}"),
    c.RecordDeposit(
        header=HEADER, participant_id="lab", amount=MicroUsd(1_000_000), bank_reference="wire-1"
    ),
    c.CreateAuction(
        header=HEADER,
        auction_id="da-1",
        product="DAY_AHEAD",
        close_time=UnixSeconds(START - 30),
        first_interval_start=START,
        interval_seconds=Seconds(3_600),
        interval_count=24,
        price_floor=MicroUsdPerChipHour(0),
        price_cap=MicroUsdPerChipHour(100_000_000),
        tick=MicroUsdPerChipHour(1_000),
        operator_fee=MicroUsdPerChipHour(20_000),
        pricing_rule=PricingRule.MAKE_WHOLE,
        tie_credit=MicroUsdPerChipHour(100),
        seed_commitment=KEY.hex(),
        tariff=Tariff(),
    ),
    c.HaltAuction(header=HEADER, auction_id="da-1", reason="a fault"),
    c.ResumeAuction(header=HEADER, auction_id="da-1", reason="mended"),
    c.OpenSpotMarket(
        header=HEADER,
        market_id="spot-1",
        first_start=START,
        interval_seconds=Seconds(300),
        look_ahead=12,
        gate_lead_s=Seconds(2),
        price_floor=MicroUsdPerChipHour(0),
        price_cap=MicroUsdPerChipHour(100_000_000),
        tick=MicroUsdPerChipHour(1_000),
        operator_fee=MicroUsdPerChipHour(20_000),
        pricing_rule=PricingRule.MAKE_WHOLE,
        tie_credit=MicroUsdPerChipHour(100),
        seed_anchor=KEY.hex(),
        chain_length=100_000,
        tariff=Tariff(),
        ready_within_s=Seconds(120),
    ),
    c.HaltSpotMarket(header=HEADER, market_id="spot-1", reason="a fault"),
    c.ResumeSpotMarket(header=HEADER, market_id="spot-1", reason="mended"),
    c.SetWebhook(header=HEADER, url="https://lab.example/notices"),
    c.CloseSpotMarket(header=HEADER, market_id="spot-1", reason="another market"),
    STEP_BID,
    c.CancelOrder(header=HEADER, order_id="order-1"),
    c.RegisterEntitlement(
        header=HEADER,
        entitlement_id="ent-1",
        holder_id="lab",
        supplier_id="sup-fjord",
        pool_id="no-1-h100",
        period=Interval(start=START, end=END),
        chips=Chips(16),
        contract_price=MicroUsdPerChipHour(1_500_000),
        cover=Cover.NODE,
    ),
    c.Release(
        header=HEADER,
        release_id="rel-1",
        entitlement_id="ent-1",
        auction_id="spot-1",
        segments=SEGMENTS,
    ),
    c.Recall(
        header=HEADER,
        recall_id="back-1",
        release_id="rel-1",
        segments=(
            c.TimedSegment(
                start=START,
                end=END,
                steps=(Step(price=MicroUsdPerChipHour(0), chips=Chips(8)),),
            ),
        ),
    ),
    c.Nominate(
        header=HEADER,
        nomination_id="nom-1",
        entitlement_id="ent-1",
        auction_id="da-1",
        segments=(
            c.TimedSegment(
                start=START,
                end=END,
                steps=(Step(price=MicroUsdPerChipHour(0), chips=Chips(8)),),
            ),
        ),
    ),
    c.SubmitReadings(
        header=HEADER,
        batch=MeterBatch(
            meter_id="meter-1",
            pool_id="no-1-h100",
            interval=Interval(start=START, end=UnixSeconds(START + 300)),
            sequence=1,
            readings=(
                Reading(contract_id="a/b/c/d", node_id="n-1", healthy=ChipSeconds(2_400)),
                Reading(
                    contract_id="a/b/c/d",
                    node_id="n-2",
                    healthy=ChipSeconds(0),
                    observed_tflop=Tflop(7),
                    energy_joules=9,
                ),
            ),
        ),
    ),
    c.ReportOutage(
        header=HEADER,
        outage_id="out-1",
        pool_id="no-1-h100",
        interval=Interval(start=START, end=END),
        nodes=("n-1",),
        reason="cooling",
    ),
    c.AcknowledgeBatch(header=HEADER, batch_index=7),
    c.SignReceipt(
        header=HEADER,
        pool_id="no-1-h100",
        sequence=3,
        kind=ReceiptKind.CANNOT,
        nodes=(1, 2),
        until=END,
        reason="no power",
    ),
    c.SetAccessKey(header=HEADER, public_key=KEY),
    m.DisputeHour(
        header=HEADER,
        dispute_id="d-1",
        contract_id="a/b/c/d",
        hour_start=START,
        reason="node n-1 was down",
        counter_readings=(
            m.CounterReading(
                node_id="n-1",
                interval=Interval(start=START, end=UnixSeconds(START + 300)),
                healthy=ChipSeconds(12),
                observed_tflop=3,
                energy_joules=4,
            ),
        ),
        evidence_sha256="ab" * 32,
    ),
    m.DecideDispute(header=HEADER, dispute_id="d-1", upheld=True, reason="the counters agree"),
    m.RegisterGrant(
        header=HEADER,
        grant_id="g-1",
        beneficiary_id="university",
        supplier_id="acme",
        pool_id="no-1-h100",
        period=Interval(start=START, end=END),
        chips=Chips(8),
        purpose="teaching",
    ),
    c.ReturnHours(
        header=HEADER,
        return_id="ret-1",
        contract_id="da-1/bid-1/no-1-h100/offer-1",
        market_id="spot",
        segments=(c.ChipSegment(start=START, end=END, chips=Chips(8)),),
    ),
    k.OpenCredits(
        header=HEADER,
        book_id="shared",
        entitlement_id="base-1",
        first_start=START,
        interval_seconds=Seconds(3_600),
        interval_count=24,
        gate_lead_s=Seconds(600),
        price_cap=MicroUsdPerChipHour(1_000_000_000),
        tick=MicroUsdPerChipHour(1_000),
        reserve_price=MicroUsdPerChipHour(2_000),
    ),
    k.CloseCredits(header=HEADER, book_id="shared", reason="the project is over"),
    k.GrantCredits(header=HEADER, grant_id="g-1", team_id="vision", amount=5_000_000, expiry=END),
    k.BidCredits(
        header=HEADER,
        bid_id="b-1",
        book_id="shared",
        start=START,
        end=END,
        chips=Chips(16),
        limit_price=MicroUsdPerChipHour(30_000),
        whole=True,
    ),
    k.CancelCreditBid(header=HEADER, book_id="shared", bid_id="b-1"),
)
SAMPLES: dict[type, c.Command] = {type(command): command for command in COMMANDS}


def message_of(command: c.Command) -> Any:
    """Body of a command as a message that a test may spoil."""
    return CONVERTERS[type(command)].write(command)


def answer_to(command: c.Command, spoil: Callable[[Any], object]) -> c.Command | Rejected:
    """What the exchange makes of a command's body after a test changed it."""
    message: Message = message_of(command)
    spoil(message)
    payload_type = ENTRY_KINDS[type(command)].payload_type
    return command_from(payload_type, message.SerializeToString())


def refusal_of(command: c.Command, spoil: Callable[[Any], object]) -> Rejected:
    """The refusal of a spoilt body."""
    answer = answer_to(command, spoil)
    assert isinstance(answer, Rejected), answer
    assert answer.advice
    return answer
