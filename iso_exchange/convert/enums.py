"""Every enumeration of the wire beside its domain value, total in both directions.

A wire value is ``<PREFIX>_<NAME>``; the domain value is the member, or for open
vocabularies such as fabrics the text, with that name. ``_UNSPECIFIED`` has no domain
value. Two sides that drift apart fail at import, not at the first order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final, Generic, Protocol, TypeVar

from clearing.eligibility import Ineligible
from clearing.errors import InvariantError
from clearing.outcome import Fill, Reason, RunStatus, Side
from clearing.types import Cover, PricingRule, ServiceClass
from iso_exchange.api.v1 import (
    auction_pb2,
    dispatch_pb2,
    location_pb2,
    market_service_pb2,
    order_pb2,
    participant_pb2,
    resource_pb2,
    settlement_pb2,
)
from iso_exchange.commands import Role
from iso_exchange.dispatch_commands import InstructionKind, ReceiptKind
from settlement.types import Phase, TransferCode

V = TypeVar("V", bound=int)
V_co = TypeVar("V_co", bound=int, covariant=True)
E = TypeVar("E", bound=Enum)
D = TypeVar("D")

_UNSPECIFIED: Final = "UNSPECIFIED"


class _Wire(Protocol[V_co]):
    """What generated enumerations have: names with numbers."""

    def items(self) -> Iterable[tuple[str, V_co]]:
        """Pairs of name and number."""
        ...


class Codes(Generic[V, D]):
    """One enumeration, both ways.

    Attributes:
        names: Names of the values that a client may send, in the order of the wire.
    """

    def __init__(self, pairs: Mapping[V, D]) -> None:
        """Keep both directions of ``pairs``."""
        self._values: dict[int, D] = {int(number): value for number, value in pairs.items()}
        self._numbers: dict[D, V] = {value: number for number, value in pairs.items()}
        self.names = tuple(
            str(value.value) if isinstance(value, Enum) else str(value) for value in pairs.values()
        )

    def value(self, number: int) -> D | None:
        """Domain value of a wire number; None for UNSPECIFIED and for numbers not in the schema."""
        return self._values.get(number)

    def number(self, value: D) -> V:
        """Wire number of a domain value.

        Raises:
            KeyError: a text that the wire has no value for.
        """
        return self._numbers[value]

    def find(self, value: D) -> V | None:
        """Wire number of a domain value, None where the wire has none."""
        return self._numbers.get(value)

    def values(self) -> tuple[D, ...]:
        """Every domain value, in the order of the wire."""
        return tuple(self._values.values())


def _members(wire: _Wire[V], prefix: str, domain: type[E]) -> Codes[V, E]:
    named = _named(wire, prefix)
    if set(named) != set(domain.__members__):
        message = f"{prefix} and {domain.__name__} differ: {set(named) ^ set(domain.__members__)}"
        raise InvariantError(message)
    return Codes({number: domain[name] for name, number in named.items()})


def _texts(wire: _Wire[V], prefix: str) -> Codes[V, str]:
    return Codes({number: name for name, number in _named(wire, prefix).items()})


def _named(wire: _Wire[V], prefix: str) -> dict[str, V]:
    return {
        name.removeprefix(f"{prefix}_"): number
        for name, number in wire.items()
        if name != f"{prefix}_{_UNSPECIFIED}"
    }


def _ineligibility() -> Codes[market_service_pb2.IneligibilityReason.ValueType, Ineligible]:
    wire = market_service_pb2.IneligibilityReason
    named = _named(wire, "INELIGIBILITY_REASON")
    # TOO_SMALL is found by the market, not by the conditions.
    return Codes({named[reason.name]: reason for reason in Ineligible})


ROLE: Final = _members(participant_pb2.Role, "ROLE", Role)
SERVICE_CLASS: Final = _members(order_pb2.ServiceClass, "SERVICE_CLASS", ServiceClass)
COVER: Final = _members(order_pb2.Cover, "COVER", Cover)
SIDE: Final = _members(order_pb2.Side, "SIDE", Side)
FILL: Final = _members(order_pb2.Fill, "FILL", Fill)
REASON: Final = _members(order_pb2.ReasonCode, "REASON_CODE", Reason)
PRICING_RULE: Final = _members(auction_pb2.PricingRule, "PRICING_RULE", PricingRule)
RUN_STATUS: Final = _members(auction_pb2.RunStatus, "RUN_STATUS", RunStatus)
PHASE: Final = _members(settlement_pb2.TransferPhase, "TRANSFER_PHASE", Phase)
TRANSFER_CODE: Final = _members(settlement_pb2.TransferCode, "TRANSFER_CODE", TransferCode)
INSTRUCTION_KIND: Final = _members(
    dispatch_pb2.InstructionKind, "INSTRUCTION_KIND", InstructionKind
)
HANDOVER_KIND: Final = _members(dispatch_pb2.HandoverKind, "HANDOVER_KIND", ReceiptKind)
INELIGIBILITY: Final = _ineligibility()

AUCTION_PRODUCT: Final = _texts(auction_pb2.AuctionProduct, "AUCTION_PRODUCT")
LEGAL_REGIME: Final = _texts(location_pb2.LegalRegime, "LEGAL_REGIME")
CERTIFICATION: Final = _texts(location_pb2.CertificationKind, "CERTIFICATION_KIND")
FABRIC: Final = _texts(resource_pb2.ScaleOutKind, "SCALE_OUT_KIND")
SCALE_UP: Final = _texts(resource_pb2.ScaleUpKind, "SCALE_UP_KIND")
FORM_FACTOR: Final = _texts(resource_pb2.FormFactor, "FORM_FACTOR")
PRECISION: Final = _texts(resource_pb2.Precision, "PRECISION")
