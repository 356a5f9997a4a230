"""What every signed body begins with: who says it, to whom, and only once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from clearing.units import UnixSeconds


class Role(Enum):
    """What a participant may do; a participant may hold several."""

    SUPPLIER = "SUPPLIER"
    BUYER = "BUYER"
    METER = "METER"
    AUDITOR = "AUDITOR"
    OPERATOR = "OPERATOR"
    COMMUNITY = "COMMUNITY"
    EXCHANGE = "EXCHANGE"
    """The exchange's own services: they sign results, never orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """First field of every signed body.

    Attributes:
        origin: Log origin of the exchange it is meant for.
        signer_id: Participant, meter or service that signs.
        request_id: Idempotency key, unique per signer, 1 to 128 characters.
        create_time: When it was signed, as the signer says; evidence only.
    """

    origin: str
    signer_id: str
    request_id: str
    create_time: UnixSeconds
