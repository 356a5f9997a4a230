"""Laws of the wire: a body says exactly its command, and no body makes the exchange fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearing.types import (
    MAX_CHIPS,
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
from clearing.units import MicroUsd, UnixSeconds
from iso_exchange.commands import (
    AcknowledgeBatch,
    BidConditions,
    BlockBidTerms,
    CancelAllOrders,
    CancelOrder,
    ChipSegment,
    CloseSpotMarket,
    CreateAuction,
    HaltAuction,
    HaltSpotMarket,
    Header,
    Nominate,
    OfferTerms,
    OpenSpotMarket,
    PublishChipTable,
    Recall,
    RecordDeposit,
    RegisterEntitlement,
    RegisterMeter,
    RegisterParticipant,
    RegisterPool,
    RegisterRootKey,
    RegisterSite,
    ReinstateParticipant,
    Release,
    ReportOutage,
    ResumeAuction,
    ResumeSpotMarket,
    ReturnHours,
    RevokeKey,
    Role,
    RotateKey,
    SetAccessKey,
    SetWebhook,
    SignReceipt,
    StepBidTerms,
    SubmitOrder,
    SubmitReadings,
    SuspendParticipant,
    TimedSegment,
    WorkBidTerms,
)
from iso_exchange.convert import body_of, command_from, enums, payload_of
from iso_exchange.convert.bodies import CONVERTERS
from iso_exchange.dispatch_commands import ReceiptKind
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.money_commands import (
    CounterReading,
    DecideDispute,
    DisputeHour,
    RegisterGrant,
)
from iso_exchange.sequencer.refusals import Rejected
from settlement.types import MeterBatch, Reading

INT64 = 2**63 - 1

IDENTIFIERS = st.from_regex(r"\A[A-Za-z0-9._-]{1,64}\Z")
REFERENCES = st.from_regex(r"\A[A-Za-z0-9._/:-]{1,80}\Z")
TEXTS = st.text(
    st.characters(
        exclude_categories=["Cs"], exclude_characters=[chr(n) for n in range(32)] + ["\x7f"]
    ),
    min_size=1,
    max_size=30,
)
INSTANTS = st.integers(0, 4_000_000_000)
NUMBERS = st.integers(0, INT64)
ANY_NUMBERS = st.integers(-(2**63), INT64)
PPM = st.integers(0, 1_000_000)
AREAS = st.from_regex(r"\A[A-Z]{2,8}\Z")
COUNTRIES = st.from_regex(r"\A[A-Z]{2}\Z")
KEYS = st.binary(min_size=32, max_size=32)
HEX64 = KEYS.map(bytes.hex)


def distinct(
    items: st.SearchStrategy[Any], least: int = 0, most: int = 4
) -> st.SearchStrategy[Any]:
    return st.lists(items, min_size=least, max_size=most, unique=True).map(tuple)


def listed(items: st.SearchStrategy[Any], least: int = 1, most: int = 3) -> st.SearchStrategy[Any]:
    return st.lists(items, min_size=least, max_size=most).map(tuple)


HEADERS = st.builds(
    Header,
    origin=st.one_of(st.just(""), REFERENCES),
    signer_id=REFERENCES,
    request_id=st.one_of(st.just(""), TEXTS),
    create_time=INSTANTS,
)
INTERVALS = st.builds(Interval, start=INSTANTS, end=INSTANTS)
SEGMENTS = listed(
    st.builds(
        TimedSegment,
        start=INSTANTS,
        end=INSTANTS,
        steps=listed(st.builds(Step, price=ANY_NUMBERS, chips=ANY_NUMBERS)),
    )
)
CHIP_SEGMENTS = listed(
    st.builds(
        TimedSegment,
        start=INSTANTS,
        end=INSTANTS,
        steps=st.builds(Step, price=st.just(0), chips=st.integers(1, MAX_CHIPS)).map(
            lambda step: (step,)
        ),
    )
)
CONDITIONS = st.builds(
    BidConditions,
    where=st.builds(
        Eligibility,
        pool_ids=distinct(REFERENCES),
        chip_classes=distinct(REFERENCES),
        regions=distinct(REFERENCES),
        countries=distinct(AREAS),
        data_residency=distinct(AREAS),
        excluded_legal_controls=distinct(st.sampled_from(enums.LEGAL_REGIME.values())),
        certifications=distinct(st.sampled_from(enums.CERTIFICATION.values())),
        fabrics=distinct(st.sampled_from(enums.FABRIC.values())),
    ),
    service_class=st.sampled_from(ServiceClass),
    cover=st.sampled_from(Cover),
    notice_s=NUMBERS,
    conversions=st.lists(
        st.builds(Conversion, chip_class=REFERENCES, factor_ppm=ANY_NUMBERS),
        max_size=3,
        unique_by=lambda item: item.chip_class,
    ).map(tuple),
)
# The pool in which a gang runs, and what leaving it would cost.
STAYS = st.one_of(st.just(("", 0)), st.tuples(REFERENCES, NUMBERS))


def stay(where: tuple[str, int], **terms: Any) -> BlockBidTerms:
    return BlockBidTerms(initial_pool_id=where[0], restart_cost=MicroUsd(where[1]), **terms)


TERMS = st.one_of(
    st.builds(
        OfferTerms,
        pool_id=REFERENCES,
        segments=SEGMENTS,
        recallable=st.booleans(),
        commitment=st.one_of(
            st.none(),
            st.builds(
                Commitment,
                start_up=NUMBERS,
                no_load=NUMBERS,
                min_run_intervals=st.integers(1, INT64),
                min_chips=NUMBERS,
                whole=st.booleans(),
            ),
        ),
    ),
    st.builds(StepBidTerms, conditions=CONDITIONS, segments=SEGMENTS),
    st.builds(
        stay,
        STAYS,
        conditions=CONDITIONS,
        earliest_start=INSTANTS,
        latest_start=INSTANTS,
        duration_s=ANY_NUMBERS,
        chips=ANY_NUMBERS,
        limit_price=ANY_NUMBERS,
        min_fill_ppm=st.integers(1, 1_000_000),
        profile=listed(ANY_NUMBERS, least=0),
        exclusive_group=st.one_of(st.just(""), IDENTIFIERS),
        parent_order_id=st.one_of(st.just(""), REFERENCES),
    ),
    st.builds(
        WorkBidTerms,
        conditions=CONDITIONS,
        start=INSTANTS,
        deadline=INSTANTS,
        work=st.integers(1, INT64),
        max_chips=ANY_NUMBERS,
        limit_price=ANY_NUMBERS,
    ),
)


def about_participant(kind: type) -> st.SearchStrategy[Any]:
    return st.builds(kind, header=HEADERS, participant_id=REFERENCES, reason=TEXTS)


TARIFFS = st.builds(
    Tariff,
    node_cover_notice_s=NUMBERS,
    site_cover_notice_s=NUMBERS,
    base_shortfall_penalty=NUMBERS,
    cover_shortfall_penalty=NUMBERS,
    power_shortfall_penalty=NUMBERS,
    stop_loss_ppm=NUMBERS,
    withhold_gap_ppm=PPM,
)


@st.composite
def receipts(draw: st.DrawFn) -> SignReceipt:
    """Either kind, each with the fields that it has."""
    handed_over = draw(st.booleans())
    return SignReceipt(
        header=draw(HEADERS),
        pool_id=draw(REFERENCES),
        sequence=draw(st.integers(1, 2**63 - 1)),
        kind=ReceiptKind.HANDED_OVER if handed_over else ReceiptKind.CANNOT,
        nodes=tuple(sorted(draw(st.sets(st.integers(0, 20_000), min_size=1, max_size=4)))),
        sealed_access=draw(st.binary(max_size=64)) if handed_over else b"",
        until=UnixSeconds(0 if handed_over else draw(INSTANTS)),
        reason="" if handed_over else draw(st.one_of(st.just(""), TEXTS)),
    )


def about_market(kind: type) -> st.SearchStrategy[Any]:
    return st.builds(kind, header=HEADERS, market_id=REFERENCES, reason=TEXTS)


def about_auction(kind: type) -> st.SearchStrategy[Any]:
    return st.builds(kind, header=HEADERS, auction_id=REFERENCES, reason=TEXTS)


@st.composite
def pools(draw: st.DrawFn) -> RegisterPool:
    chips_per_node = draw(st.integers(1, 1_024))
    nodes = draw(st.integers(1, MAX_CHIPS // chips_per_node))
    return draw(
        st.builds(
            RegisterPool,
            header=HEADERS,
            pool_id=IDENTIFIERS,
            site_id=REFERENCES,
            supplier_ids=distinct(REFERENCES, least=1),
            chip_class=REFERENCES,
            chips_per_node=st.just(chips_per_node),
            capacity=st.just(nodes * chips_per_node),
            chip_power=NUMBERS,
            node_spare_ppm=ANY_NUMBERS,
            fabric=st.sampled_from(("", *enums.FABRIC.values())),
            derate_ppm=ANY_NUMBERS.filter(bool),
            precision=st.sampled_from(enums.PRECISION.values()),
        )
    )


@st.composite
def batches(draw: st.DrawFn) -> SubmitReadings:
    contracts = draw(distinct(REFERENCES, most=3))
    rows: list[Reading] = []
    for contract_id in contracts:
        rows.extend(
            draw(
                st.builds(
                    Reading,
                    contract_id=st.just(contract_id),
                    node_id=st.just(node_id),
                    healthy=NUMBERS,
                    observed_tflop=NUMBERS,
                    energy_joules=NUMBERS,
                )
            )
            for node_id in draw(distinct(TEXTS, least=1, most=3))
        )
    return draw(
        st.builds(
            SubmitReadings,
            header=HEADERS,
            batch=st.builds(
                MeterBatch,
                meter_id=REFERENCES,
                pool_id=REFERENCES,
                interval=INTERVALS,
                sequence=NUMBERS,
                readings=st.just(tuple(rows)),
            ),
        )
    )


STRATEGIES: dict[type, st.SearchStrategy[Any]] = {
    RegisterParticipant: st.builds(
        RegisterParticipant,
        header=HEADERS,
        participant_id=IDENTIFIERS,
        display_name=TEXTS,
        roles=distinct(st.sampled_from(Role), least=1),
        public_key=KEYS,
        country=st.one_of(st.just(""), COUNTRIES),
    ),
    RevokeKey: st.builds(
        RevokeKey, header=HEADERS, participant_id=REFERENCES, key_id=HEX64, reason=TEXTS
    ),
    RotateKey: st.builds(
        RotateKey,
        header=HEADERS,
        participant_id=REFERENCES,
        old_key_id=HEX64,
        new_public_key=KEYS,
        reason=TEXTS,
    ),
    RegisterRootKey: st.builds(RegisterRootKey, header=HEADERS, public_key=KEYS),
    SuspendParticipant: about_participant(SuspendParticipant),
    ReinstateParticipant: about_participant(ReinstateParticipant),
    CancelAllOrders: about_participant(CancelAllOrders),
    RegisterSite: st.builds(
        RegisterSite,
        header=HEADERS,
        site_id=IDENTIFIERS,
        community_id=REFERENCES,
        surcharge=st.one_of(st.none(), ANY_NUMBERS),
        power_limit=st.one_of(st.none(), ANY_NUMBERS),
        region=TEXTS,
        country=COUNTRIES,
        subdivision=st.one_of(st.just(""), st.from_regex(r"\A[A-Z]{2}-[A-Z0-9]{1,3}\Z")),
        data_residency=distinct(AREAS),
        legal_controls=distinct(st.sampled_from(enums.LEGAL_REGIME.values())),
        certifications=distinct(st.sampled_from(enums.CERTIFICATION.values())),
        carbon_grams_per_kwh=st.integers(0, 2_000),
    ),
    RegisterPool: pools(),
    RegisterMeter: st.builds(
        RegisterMeter, header=HEADERS, meter_id=IDENTIFIERS, pool_id=REFERENCES, public_key=KEYS
    ),
    PublishChipTable: st.builds(
        PublishChipTable,
        header=HEADERS,
        version=TEXTS,
        document=st.binary(min_size=1, max_size=200),
    ),
    RecordDeposit: st.builds(
        RecordDeposit,
        header=HEADERS,
        participant_id=REFERENCES,
        amount=ANY_NUMBERS,
        bank_reference=TEXTS,
    ),
    CreateAuction: st.builds(
        CreateAuction,
        header=HEADERS,
        auction_id=IDENTIFIERS,
        product=st.sampled_from(enums.AUCTION_PRODUCT.values()),
        close_time=INSTANTS,
        first_interval_start=INSTANTS,
        interval_seconds=ANY_NUMBERS,
        interval_count=ANY_NUMBERS,
        price_floor=ANY_NUMBERS,
        price_cap=ANY_NUMBERS,
        tick=ANY_NUMBERS,
        operator_fee=ANY_NUMBERS,
        pricing_rule=st.sampled_from(PricingRule),
        tie_credit=ANY_NUMBERS,
        seed_commitment=HEX64,
        tariff=TARIFFS,
    ),
    HaltAuction: about_auction(HaltAuction),
    ResumeAuction: about_auction(ResumeAuction),
    OpenSpotMarket: st.builds(
        OpenSpotMarket,
        header=HEADERS,
        market_id=IDENTIFIERS,
        first_start=INSTANTS,
        interval_seconds=ANY_NUMBERS,
        look_ahead=ANY_NUMBERS,
        gate_lead_s=ANY_NUMBERS,
        price_floor=ANY_NUMBERS,
        price_cap=ANY_NUMBERS,
        tick=ANY_NUMBERS,
        operator_fee=ANY_NUMBERS,
        pricing_rule=st.sampled_from(PricingRule),
        tie_credit=ANY_NUMBERS,
        seed_anchor=HEX64,
        chain_length=ANY_NUMBERS,
        tariff=TARIFFS,
        ready_within_s=ANY_NUMBERS,
    ),
    HaltSpotMarket: about_market(HaltSpotMarket),
    ResumeSpotMarket: about_market(ResumeSpotMarket),
    CloseSpotMarket: about_market(CloseSpotMarket),
    SetWebhook: st.builds(SetWebhook, header=HEADERS, url=st.one_of(st.just(""), TEXTS)),
    SubmitOrder: st.builds(
        SubmitOrder,
        header=HEADERS,
        order_id=IDENTIFIERS,
        auction_id=REFERENCES,
        participant_id=REFERENCES,
        revision=st.integers(1, INT64),
        terms=TERMS,
    ),
    CancelOrder: st.builds(CancelOrder, header=HEADERS, order_id=REFERENCES),
    RegisterEntitlement: st.builds(
        RegisterEntitlement,
        header=HEADERS,
        entitlement_id=IDENTIFIERS,
        holder_id=REFERENCES,
        supplier_id=REFERENCES,
        pool_id=REFERENCES,
        period=INTERVALS,
        chips=ANY_NUMBERS,
        contract_price=ANY_NUMBERS,
        cover=st.sampled_from(Cover),
        backup_pool_ids=distinct(REFERENCES),
    ),
    Release: st.builds(
        Release,
        header=HEADERS,
        release_id=IDENTIFIERS,
        entitlement_id=REFERENCES,
        auction_id=REFERENCES,
        segments=SEGMENTS,
    ),
    Recall: st.builds(
        Recall,
        header=HEADERS,
        recall_id=IDENTIFIERS,
        release_id=REFERENCES,
        segments=CHIP_SEGMENTS,
    ),
    Nominate: st.builds(
        Nominate,
        header=HEADERS,
        nomination_id=IDENTIFIERS,
        entitlement_id=REFERENCES,
        auction_id=REFERENCES,
        segments=CHIP_SEGMENTS,
        backup_pool_ids=distinct(REFERENCES),
    ),
    SubmitReadings: batches(),
    ReportOutage: st.builds(
        ReportOutage,
        header=HEADERS,
        outage_id=IDENTIFIERS,
        pool_id=REFERENCES,
        interval=INTERVALS,
        nodes=distinct(REFERENCES),
        reason=TEXTS,
    ),
    AcknowledgeBatch: st.builds(
        AcknowledgeBatch, header=HEADERS, batch_index=st.integers(0, 2**63 - 1)
    ),
    SignReceipt: receipts(),
    SetAccessKey: st.builds(
        SetAccessKey, header=HEADERS, public_key=st.binary(min_size=32, max_size=32)
    ),
    DisputeHour: st.builds(
        DisputeHour,
        header=HEADERS,
        dispute_id=IDENTIFIERS,
        contract_id=REFERENCES,
        hour_start=INSTANTS,
        reason=TEXTS,
        counter_readings=st.lists(
            st.builds(
                CounterReading,
                node_id=REFERENCES.filter(lambda name: len(name) <= 128),
                interval=INTERVALS,
                healthy=st.integers(0, 2**63 - 1),
                observed_tflop=st.integers(0, 2**63 - 1),
                energy_joules=st.integers(0, 2**63 - 1),
            ),
            max_size=3,
        ).map(tuple),
        evidence_sha256=st.sampled_from(("", "0f" * 32)),
    ),
    DecideDispute: st.builds(
        DecideDispute,
        header=HEADERS,
        dispute_id=IDENTIFIERS,
        upheld=st.booleans(),
        reason=TEXTS,
    ),
    RegisterGrant: st.builds(
        RegisterGrant,
        header=HEADERS,
        grant_id=IDENTIFIERS,
        beneficiary_id=REFERENCES,
        supplier_id=REFERENCES,
        pool_id=REFERENCES,
        period=INTERVALS,
        chips=ANY_NUMBERS,
        purpose=TEXTS,
    ),
    ReturnHours: st.builds(
        ReturnHours,
        header=HEADERS,
        return_id=IDENTIFIERS,
        contract_id=REFERENCES,
        market_id=REFERENCES,
        segments=st.lists(
            st.builds(ChipSegment, start=INSTANTS, end=INSTANTS, chips=st.integers(1, 10**6)),
            max_size=3,
        ).map(tuple),
    ),
}
PROTOBUF_KINDS = tuple(
    command for command, kind in ENTRY_KINDS.items() if kind.payload_type.endswith("+protobuf")
)


def test_every_protobuf_kind_has_a_converter_and_a_strategy() -> None:
    assert set(CONVERTERS) == set(PROTOBUF_KINDS) == set(STRATEGIES)


@pytest.mark.parametrize("kind", PROTOBUF_KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_body_reads_back_as_its_command(kind: type, data: st.DataObject) -> None:
    command = data.draw(STRATEGIES[kind])
    payload_type, payload = payload_of(command)
    assert payload_type == ENTRY_KINDS[kind].payload_type
    assert payload == body_of(command)
    assert command_from(payload_type, payload) == command


@pytest.mark.parametrize("kind", PROTOBUF_KINDS, ids=lambda kind: kind.__name__)
@given(payload=st.binary(max_size=200))
def test_any_bytes_are_answered(kind: type, payload: bytes) -> None:
    answer = command_from(ENTRY_KINDS[kind].payload_type, payload)
    if isinstance(answer, Rejected):
        assert answer.advice
    else:
        assert command_from(ENTRY_KINDS[kind].payload_type, body_of(answer)) == answer


@pytest.mark.parametrize("kind", PROTOBUF_KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_damaged_body_is_answered(kind: type, data: st.DataObject) -> None:
    payload = bytearray(body_of(data.draw(STRATEGIES[kind])))
    position = data.draw(st.integers(0, len(payload) - 1))
    payload[position] ^= data.draw(st.integers(1, 255))
    answer = command_from(ENTRY_KINDS[kind].payload_type, bytes(payload))
    if isinstance(answer, Rejected):
        assert answer.advice
    else:
        assert command_from(ENTRY_KINDS[kind].payload_type, body_of(answer)) == answer
