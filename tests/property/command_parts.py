"""Parts that random commands are made of: identifiers, curves, conditions, terms."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from clearing.types import (
    MAX_CHIPS,
    Commitment,
    Conversion,
    Cover,
    Eligibility,
    Interval,
    ServiceClass,
    Step,
    Tariff,
)
from clearing.units import MicroUsd, UnixSeconds
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    Header,
    OfferTerms,
    RegisterPool,
    SignReceipt,
    StepBidTerms,
    SubmitReadings,
    TimedSegment,
    WorkBidTerms,
)
from iso_exchange.convert import enums
from iso_exchange.dispatch_commands import ReceiptKind
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
