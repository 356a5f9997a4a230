"""Every way in which a body is refused, by code and path of the field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from clearing.types import Cover, PricingRule, ServiceClass, Tariff
from iso_exchange import commands as c
from iso_exchange.convert import BodyError, body_of, command_from, payload_of
from iso_exchange.convert.bodies import CONVERTERS, NOT_TAKEN_YET
from iso_exchange.dispatch_commands import ReceiptKind
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.refusals import Code, Rejected
from tests.unit.convert.samples import (
    BLOCK_BID,
    COMMANDS,
    CONDITIONS,
    HEADER,
    KEY,
    OFFER,
    SAMPLES,
    SEGMENTS,
    STEP_BID,
    WORK_BID,
    answer_to,
    message_of,
    order,
    refusal_of,
)

Spoil = Callable[[Any], object]

CANNOT = SAMPLES[c.SignReceipt]
HANDED_OVER = c.SignReceipt(
    header=HEADER,
    pool_id="no-1-h100",
    sequence=3,
    kind=ReceiptKind.HANDED_OVER,
    nodes=(1, 2),
    sealed_access=b"sealed",
)


def put(path: str, value: object) -> Spoil:
    """Set a field by its path."""

    def spoil(message: Any) -> None:
        *parents, name = path.split(".")
        for parent in parents:
            field, _, index = parent.partition("[")
            message = getattr(message, field)
            if index:
                message = message[int(index.removesuffix("]"))]
        setattr(message, name, value)

    return spoil


def clear(path: str) -> Spoil:
    """Unset a field of the body or of a message in it."""

    def spoil(message: Any) -> None:
        *parents, name = path.split(".")
        for parent in parents:
            message = getattr(message, parent)
        message.ClearField(name)

    return spoil


def test_there_is_a_sample_of_every_kind() -> None:
    assert set(SAMPLES) == set(CONVERTERS)


@pytest.mark.parametrize("command", [*COMMANDS, OFFER, BLOCK_BID, WORK_BID])
def test_a_sample_reads_back(command: c.Command) -> None:
    assert command_from(*payload_of(command)) == command


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_body_without_header_is_refused(command: c.Command) -> None:
    refused = refusal_of(command, clear("header"))
    assert (refused.code, refused.field) == (Code.MALFORMED_BODY, "header")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_an_unknown_field_is_refused(command: c.Command) -> None:
    refused = refusal_of(command, lambda message: message.MergeFromString(b"\xa0\x06\x01"))
    assert (refused.code, refused.field) == (Code.MALFORMED_BODY, "100")


def test_an_unknown_field_is_found_at_any_depth() -> None:
    def spoil(message: Any) -> None:
        message.step_bid.segments[0].steps[0].MergeFromString(b"\xa0\x06\x01")

    refused = refusal_of(STEP_BID, spoil)
    assert refused.code is Code.MALFORMED_BODY
    assert refused.field == "step_bid.segments[0].steps[0].100"


def test_bytes_that_are_no_message_are_refused() -> None:
    answer = command_from(ENTRY_KINDS[c.CancelOrder].payload_type, b"\xff\xff")
    assert isinstance(answer, Rejected)
    assert answer.code is Code.MALFORMED_BODY


PARTICIPANT, SITE, POOL = (
    SAMPLES[kind] for kind in (c.RegisterParticipant, c.RegisterSite, c.RegisterPool)
)
BATCH, OUTAGE, AUCTION = (
    SAMPLES[kind] for kind in (c.SubmitReadings, c.ReportOutage, c.CreateAuction)
)
TABLE, REVOCATION, NOMINATION = (
    SAMPLES[kind] for kind in (c.PublishChipTable, c.RevokeKey, c.Nominate)
)
DEPOSIT, ENTITLEMENT, CANCEL = (
    SAMPLES[kind] for kind in (c.RecordDeposit, c.RegisterEntitlement, c.CancelOrder)
)
TARIFF = "power_shortfall_penalty_micro_usd_per_chip_hour"


@pytest.mark.parametrize(
    ("command", "spoil", "field"),
    [
        # Missing and empty.
        (PARTICIPANT, put("header.signer_id", ""), "header.signer_id"),
        (PARTICIPANT, clear("header.create_time"), "header.create_time"),
        (PARTICIPANT, clear("roles"), "roles"),
        (PARTICIPANT, put("participant_id", ""), "participant_id"),
        (PARTICIPANT, put("display_name", ""), "display_name"),
        (SITE, clear("location"), "location"),
        (SITE, put("location.country_code", ""), "location.country_code"),
        (SITE, put("location.region", ""), "location.region"),
        (POOL, clear("resource"), "resource"),
        (POOL, clear("supplier_ids"), "supplier_ids"),
        (TABLE, put("document", b""), "document"),
        (CANCEL, put("order_id", ""), "order_id"),
        (STEP_BID, clear("step_bid.segments"), "step_bid.segments"),
        (STEP_BID, put("auction_id", ""), "auction_id"),
        (STEP_BID, clear("step_bid.terms.eligibility"), "step_bid.terms.eligibility"),
        (STEP_BID, clear("step_bid"), "kind"),
        (NOMINATION, clear("segments"), "segments"),
        (OUTAGE, put("reason", ""), "reason"),
        (OUTAGE, clear("pool_id"), "subject"),
        (ENTITLEMENT, clear("end_time"), "end_time"),
        # Enumerations.
        (STEP_BID, put("step_bid.terms.service_class", 0), "step_bid.terms.service_class"),
        (STEP_BID, put("step_bid.terms.service_class", 9), "step_bid.terms.service_class"),
        (STEP_BID, put("step_bid.terms.cover", -1), "step_bid.terms.cover"),
        (AUCTION, put("product", 0), "product"),
        (AUCTION, put("pricing_rule", 77), "pricing_rule"),
        (POOL, put("resource.scale_out.kind", 99), "resource.scale_out.kind"),
        (POOL, put("resource.scale_out.kind", 0), "resource.scale_out.kind"),
        (POOL, put("precision", 99), "precision"),
        (PARTICIPANT, lambda message: message.roles.append(0), "roles[2]"),
        (PARTICIPANT, lambda message: message.roles.append(70), "roles[2]"),
        (
            SITE,
            lambda message: message.location.legal_control.regimes.append(50),
            "location.legal_control.regimes[1]",
        ),
        # Times.
        (STEP_BID, put("header.create_time.nanos", 1), "header.create_time"),
        (
            STEP_BID,
            put("step_bid.segments[0].start_time.nanos", 500_000_000),
            "step_bid.segments[0].start_time",
        ),
        (AUCTION, put("close_time.seconds", -1), "close_time"),
        (AUCTION, put("close_time.seconds", 2**60), "close_time"),
        (BLOCK_BID, put("block_bid.latest_start_time.nanos", 1), "block_bid.latest_start_time"),
        # Ranges and forms.
        (PARTICIPANT, put("participant_id", "x" * 65), "participant_id"),
        (PARTICIPANT, put("participant_id", "a:b"), "participant_id"),
        (PARTICIPANT, put("display_name", "a\nb"), "display_name"),
        (PARTICIPANT, put("country_code", "NOR"), "country_code"),
        (PARTICIPANT, put("public_key", b"short"), "public_key"),
        (REVOCATION, put("key_id", "AB" * 32), "key_id"),
        (SITE, put("location.subdivision_code", "Texas"), "location.subdivision_code"),
        (SITE, put("location.site_id", "elsewhere"), "location.site_id"),
        (
            SITE,
            put("location.power.carbon_grams_per_kwh", 2_001),
            "location.power.carbon_grams_per_kwh",
        ),
        (POOL, put("resource.node_count", 9), "resource.node_count"),
        (POOL, put("resource.chips_per_node", 0), "resource.chips_per_node"),
        (POOL, put("chip_power_watts", -1), "chip_power_watts"),
        (TABLE, put("sha256", b"\0" * 32), "sha256"),
        (TABLE, put("version", "v" * 33), "version"),
        (DEPOSIT, put("bank_reference", "b" * 141), "bank_reference"),
        (AUCTION, put("seed_commitment", b"\0" * 31), "seed_commitment"),
        (AUCTION, put(f"tariff.{TARIFF}", -1), f"tariff.{TARIFF}"),
        (AUCTION, put("tariff.withhold_gap_ppm", 1_000_001), "tariff.withhold_gap_ppm"),
        (STEP_BID, put("order_id", "with space"), "order_id"),
        (STEP_BID, put("revision", 0), "revision"),
        (STEP_BID, put("step_bid.terms.notice_seconds", -1), "step_bid.terms.notice_seconds"),
        (BLOCK_BID, put("block_bid.min_fill_ppm", 1_000_001), "block_bid.min_fill_ppm"),
        (BLOCK_BID, put("exclusive_group", "a/b"), "exclusive_group"),
        (WORK_BID, put("work_bid.work_chip_seconds", 0), "work_bid.work_chip_seconds"),
        (OFFER, put("offer.commitment.min_chip_count", -1), "offer.commitment.min_chip_count"),
        (NOMINATION, put("segments[0].chip_count", 0), "segments[0].chip_count"),
        (BATCH, put("sequence_number", -1), "sequence_number"),
        (
            BATCH,
            put("contracts[0].nodes[1].energy_joules", -1),
            "contracts[0].nodes[1].energy_joules",
        ),
        # What a kind of order does not have.
        (STEP_BID, put("exclusive_group", "either"), "exclusive_group"),
        (OFFER, put("parent_order_id", "order-0"), "parent_order_id"),
        # Duplicates and lists that are too long.
        (PARTICIPANT, lambda message: message.roles.append(1), "roles[2]"),
        (POOL, lambda message: message.supplier_ids.append("sup-fjord"), "supplier_ids[1]"),
        (POOL, lambda message: message.supplier_ids.append(""), "supplier_ids[1]"),
        (
            POOL,
            lambda message: message.supplier_ids.extend(f"s{n}" for n in range(64)),
            "supplier_ids",
        ),
        (
            SITE,
            lambda message: message.location.certifications.add(kind=1),
            "location.certifications[2].kind",
        ),
        (
            STEP_BID,
            lambda message: message.step_bid.terms.eligibility.fabrics.append(3),
            "step_bid.terms.eligibility.fabrics[1]",
        ),
        (
            STEP_BID,
            lambda message: message.step_bid.terms.eligibility.country_codes.append("norway"),
            "step_bid.terms.eligibility.country_codes[1]",
        ),
        (
            STEP_BID,
            lambda message: message.step_bid.terms.conversions.add(
                chip_class="nvidia.h200-sxm5-141gb", factor_ppm=1
            ),
            "step_bid.terms.conversions",
        ),
        (
            STEP_BID,
            lambda message: message.step_bid.segments.extend([message.step_bid.segments[0]] * 168),
            "step_bid.segments",
        ),
        (
            STEP_BID,
            lambda message: message.step_bid.segments[0].steps.extend(
                [message.step_bid.segments[0].steps[0]] * 64
            ),
            "step_bid.segments[0].steps",
        ),
        (CANNOT, lambda message: message.node_ids.append("n0000"), "node_ids[2]"),
        (CANNOT, lambda message: message.node_ids.append("n7"), "node_ids[2]"),
        (CANNOT, lambda message: message.ClearField("node_ids"), "node_ids"),
        (CANNOT, put("kind", 0), "kind"),
        (HANDED_OVER, put("sealed_access", bytes(9_000)), "sealed_access"),
        (c.SetAccessKey(header=HEADER, public_key=KEY), put("public_key", b"1"), "public_key"),
        (
            BATCH,
            lambda message: message.contracts.append(message.contracts[0]),
            "contracts[1].contract_id",
        ),
        (
            BATCH,
            lambda message: message.contracts[0].nodes.append(message.contracts[0].nodes[0]),
            "contracts[0].nodes[2].node_id",
        ),
        (
            BATCH,
            lambda message: message.contracts.add(contract_id="e/f/g/h"),
            "contracts[1].nodes",
        ),
    ],
)
def test_a_malformed_body_is_refused_by_field(command: c.Command, spoil: Spoil, field: str) -> None:
    refused = refusal_of(command, spoil)
    assert (refused.code, refused.field) == (Code.MALFORMED_BODY, field)


@pytest.mark.parametrize(
    ("command", "spoil", "field"),
    [
        (PARTICIPANT, put("legal_entity_identifier", "5" * 20), "legal_entity_identifier"),
        (SITE, put("display_name", "North"), "display_name"),
        (SITE, put("location.coordinates.latitude_micro_degrees", 5), "location.coordinates"),
        (
            SITE,
            put("location.certifications[0].scope", "hall 2"),
            "location.certifications[0].scope",
        ),
        (
            SITE,
            lambda message: message.location.data_residency.telemetry_country_codes.append("SE"),
            "location.data_residency.telemetry_country_codes",
        ),
        (POOL, put("resource.memory.chip_gb", 80), "resource.memory"),
        (POOL, put("sla.availability_ppm", 999_000), "sla"),
        (AUCTION, put("open_time.seconds", 5), "open_time"),
        (OUTAGE, put("site_id", "no-1"), "site_id"),
    ],
)
def test_what_the_exchange_does_not_act_on_is_not_taken(
    command: c.Command, spoil: Spoil, field: str
) -> None:
    refused = refusal_of(command, spoil)
    assert (refused.code, refused.field) == (Code.NOT_CLEARED_YET, field)


@pytest.mark.parametrize(
    ("command", "spoil", "field"),
    [
        (
            STEP_BID,
            put("step_bid.terms.restart_cost_micro_usd_per_chip", 1),
            "step_bid.terms.restart_cost_micro_usd_per_chip",
        ),
        (
            WORK_BID,
            put("work_bid.terms.restart_cost_micro_usd_per_chip", 1),
            "work_bid.terms.restart_cost_micro_usd_per_chip",
        ),
    ],
)
def test_a_restart_cost_belongs_to_a_gang(command: c.Command, spoil: Spoil, field: str) -> None:
    refused = refusal_of(command, spoil)
    assert (refused.code, refused.field) == (Code.INVALID_VALUE, field)


@pytest.mark.parametrize("payload_type", sorted(NOT_TAKEN_YET))
def test_kinds_that_the_market_does_not_take_are_named(payload_type: str) -> None:
    refused = command_from(payload_type, b"")
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.got) == (Code.NOT_CLEARED_YET, payload_type)


def test_a_payload_type_that_does_not_exist_is_no_envelope_of_the_exchange() -> None:
    refused = command_from("application/json", b"{}")
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.field) == (Code.MALFORMED_ENVELOPE, "envelope.payloadType")


def test_codes_of_their_own_are_left_to_who_gives_them() -> None:
    unsaid = answer_to(SITE, clear("surcharge_micro_usd_per_chip_hour"))
    assert isinstance(unsaid, c.RegisterSite)
    assert unsaid.surcharge is None
    for name in ("origin", "request_id"):
        answer = answer_to(PARTICIPANT, put(f"header.{name}", ""))
        assert isinstance(answer, c.RegisterParticipant)
        assert getattr(answer.header, name) == ""


def test_defaults_are_those_of_the_schema() -> None:
    pool = answer_to(
        POOL,
        lambda message: [
            message.ClearField(name) for name in ("node_spare_ppm", "derate_ppm", "precision")
        ],
    )
    assert isinstance(pool, c.RegisterPool)
    assert (pool.node_spare_ppm, pool.derate_ppm, pool.precision) == (10_000, 1_000_000, "BF16")
    auction = answer_to(
        AUCTION,
        lambda message: [message.ClearField(name) for name in ("pricing_rule", "tariff")],
    )
    assert isinstance(auction, c.CreateAuction)
    assert (auction.pricing_rule, auction.tariff) == (PricingRule.MAKE_WHOLE, Tariff())
    block = answer_to(
        BLOCK_BID,
        lambda message: [
            message.block_bid.ClearField(name) for name in ("latest_start_time", "min_fill_ppm")
        ],
    )
    assert block == BLOCK_BID
    entitlement = answer_to(ENTITLEMENT, clear("cover"))
    assert entitlement == ENTITLEMENT


@pytest.mark.parametrize(
    ("service_class", "cover"),
    [
        (ServiceClass.FIRM, Cover.NODE),
        (ServiceClass.INTERRUPTIBLE, Cover.NONE),
        (ServiceClass.BASE_LOAD, Cover.NODE),
    ],
)
def test_an_unstated_cover_follows_the_class(service_class: ServiceClass, cover: Cover) -> None:
    def spoil(message: Any) -> None:
        message.step_bid.terms.service_class = list(ServiceClass).index(service_class) + 1
        message.step_bid.terms.ClearField("cover")

    answer = answer_to(STEP_BID, spoil)
    assert isinstance(answer, c.SubmitOrder)
    assert isinstance(answer.terms, c.StepBidTerms)
    assert answer.terms.conditions.service_class is service_class
    assert answer.terms.conditions.cover is cover


def with_condition(**changes: Any) -> c.SubmitOrder:

    where = dataclasses.replace(CONDITIONS.where, **changes)
    return order(
        c.StepBidTerms(conditions=dataclasses.replace(CONDITIONS, where=where), segments=SEGMENTS)
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"fabrics": ("CARRIER_PIGEON",)}, "eligibility.fabrics"),
        ({"certifications": ("SOC3",)}, "eligibility.certifications"),
        ({"excluded_legal_controls": ("MARTIAL",)}, "eligibility.excluded_legal_regimes"),
    ],
)
def test_what_the_wire_cannot_say_is_not_signed(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(BodyError, match="no value") as caught:
        body_of(with_condition(**changes))
    assert caught.value.field == field


def test_numbers_beyond_the_wire_are_not_signed() -> None:

    assert isinstance(DEPOSIT, c.RecordDeposit)
    with pytest.raises(BodyError, match="RecordDeposit does not fit the wire"):
        body_of(dataclasses.replace(DEPOSIT, amount=2**63))  # type: ignore[arg-type]


def test_a_message_says_the_whole_command() -> None:
    message = message_of(STEP_BID)
    assert message.header.request_id == "r-1"
    assert message.step_bid.segments[0].start_time.seconds == SEGMENTS[0].start
    assert message.step_bid.terms.eligibility.data_residency_country_codes == ["EEA"]
