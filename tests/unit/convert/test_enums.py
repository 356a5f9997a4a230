"""Every value of the wire has a domain value and the other way round."""

from __future__ import annotations

from typing import Any

import pytest

from clearing.eligibility import Ineligible
from clearing.errors import InvariantError
from clearing.outcome import Fill, Reason, RunStatus, Side
from clearing.types import Cover, PricingRule, ServiceClass
from iso_exchange.api.v1 import (
    auction_pb2,
    location_pb2,
    market_service_pb2,
    order_pb2,
    participant_pb2,
    resource_pb2,
    settlement_pb2,
)
from iso_exchange.commands import Role
from iso_exchange.convert import enums
from iso_exchange.convert.views import auctions
from iso_exchange.reference import read_default
from iso_exchange.sequencer.state import AuctionState
from settlement.types import Phase, TransferCode

PAIRS: tuple[tuple[Any, Any, Any], ...] = (
    (enums.ROLE, participant_pb2.Role, Role),
    (enums.SERVICE_CLASS, order_pb2.ServiceClass, ServiceClass),
    (enums.COVER, order_pb2.Cover, Cover),
    (enums.SIDE, order_pb2.Side, Side),
    (enums.FILL, order_pb2.Fill, Fill),
    (enums.REASON, order_pb2.ReasonCode, Reason),
    (enums.PRICING_RULE, auction_pb2.PricingRule, PricingRule),
    (enums.RUN_STATUS, auction_pb2.RunStatus, RunStatus),
    (enums.PHASE, settlement_pb2.TransferPhase, Phase),
    (enums.TRANSFER_CODE, settlement_pb2.TransferCode, TransferCode),
)
VOCABULARIES: tuple[tuple[Any, Any], ...] = (
    (enums.AUCTION_PRODUCT, auction_pb2.AuctionProduct),
    (enums.LEGAL_REGIME, location_pb2.LegalRegime),
    (enums.CERTIFICATION, location_pb2.CertificationKind),
    (enums.FABRIC, resource_pb2.ScaleOutKind),
    (enums.SCALE_UP, resource_pb2.ScaleUpKind),
    (enums.FORM_FACTOR, resource_pb2.FormFactor),
    (enums.PRECISION, resource_pb2.Precision),
)


@pytest.mark.parametrize(("codes", "wire", "domain"), PAIRS)
def test_an_enumeration_maps_both_ways(codes: Any, wire: Any, domain: Any) -> None:
    assert {codes.number(member) for member in domain} == set(wire.values()) - {0}
    for name, number in wire.items():
        value = codes.value(number)
        if number == 0:
            assert value is None
        else:
            assert name.endswith(f"_{value.name}")
            assert codes.number(value) == number


@pytest.mark.parametrize(("codes", "wire"), VOCABULARIES)
def test_a_vocabulary_maps_both_ways(codes: Any, wire: Any) -> None:
    assert len(codes.values()) == len(wire.values()) - 1
    for name, number in wire.items():
        if number:
            assert name.endswith(f"_{codes.value(number)}")
            assert codes.number(codes.value(number)) == number
    assert codes.value(0) is None
    assert codes.find("NO_SUCH_VALUE") is None


def test_every_ineligibility_has_a_wire_value() -> None:
    numbers = {enums.INELIGIBILITY.number(reason) for reason in Ineligible}
    wire = market_service_pb2.IneligibilityReason
    assert set(wire.values()) - numbers == {0, wire.INELIGIBILITY_REASON_TOO_SMALL}


def test_every_auction_state_has_a_wire_value() -> None:
    assert set(auctions.AUCTION_STATES) == set(AuctionState)
    for state, number in auctions.AUCTION_STATES.items():
        assert auction_pb2.AuctionState.Name(number) == f"AUCTION_STATE_{state.value}"


def test_the_chip_table_speaks_the_vocabulary_of_the_wire() -> None:
    for chip in read_default().chips:
        assert enums.FORM_FACTOR.find(chip.form_factor)
        assert enums.SCALE_UP.find(chip.scale_up)
        assert all(enums.PRECISION.find(peak.precision.value) for peak in chip.peaks)


def test_sides_that_drift_apart_are_found() -> None:
    with pytest.raises(InvariantError, match="COVER and Role differ"):
        enums._members(order_pb2.Cover, "COVER", Role)
