"""Why a command is refused: stable codes, in the order in which the guards run.

A refusal is a value. It changes nothing, costs nothing and is the same on retry; the
gateway maps it once to a gRPC status with the code, the field and the advice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Code(Enum):
    """Stable reason codes of refusals, in order of precedence."""

    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    MALFORMED_ENVELOPE = "MALFORMED_ENVELOPE"
    MALFORMED_BODY = "MALFORMED_BODY"
    REQUEST_ID_REQUIRED = "REQUEST_ID_REQUIRED"
    HEADER_MISMATCH = "HEADER_MISMATCH"
    WRONG_ORIGIN = "WRONG_ORIGIN"
    UNKNOWN_PARTICIPANT = "UNKNOWN_PARTICIPANT"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    KEY_REVOKED = "KEY_REVOKED"
    WRONG_ROLE = "WRONG_ROLE"
    REQUEST_CONFLICT = "REQUEST_CONFLICT"
    SUSPENDED = "SUSPENDED"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    NOT_FOUND = "NOT_FOUND"
    NOT_OWNER = "NOT_OWNER"
    INVALID_VALUE = "INVALID_VALUE"
    UNKNOWN_SITE = "UNKNOWN_SITE"
    UNKNOWN_POOL = "UNKNOWN_POOL"
    UNKNOWN_CHIP_CLASS = "UNKNOWN_CHIP_CLASS"
    SITE_WITHOUT_SURCHARGE = "SITE_WITHOUT_SURCHARGE"
    UNKNOWN_AUCTION = "UNKNOWN_AUCTION"
    GATE_CLOSED = "GATE_CLOSED"
    AUCTION_HALTED = "AUCTION_HALTED"
    WRONG_STATE = "WRONG_STATE"
    HAS_OPEN_CHILDREN = "HAS_OPEN_CHILDREN"
    STALE_REVISION = "STALE_REVISION"
    WINDOW_IN_PAST = "WINDOW_IN_PAST"
    WINDOW_OUTSIDE_AUCTION = "WINDOW_OUTSIDE_AUCTION"
    NOT_ON_INTERVAL_BOUNDARY = "NOT_ON_INTERVAL_BOUNDARY"
    PRICE_OUTSIDE_LIMITS = "PRICE_OUTSIDE_LIMITS"
    PRICE_NOT_ON_TICK = "PRICE_NOT_ON_TICK"
    NOT_NODE_MULTIPLE = "NOT_NODE_MULTIPLE"
    QUANTITY_ABOVE_CAPACITY = "QUANTITY_ABOVE_CAPACITY"
    NO_ELIGIBLE_POOL = "NO_ELIGIBLE_POOL"
    NOT_CLEARED_YET = "NOT_CLEARED_YET"
    NEGATIVE_ENERGY_PRICE_NOT_SETTLED = "NEGATIVE_ENERGY_PRICE_NOT_SETTLED"
    UNKNOWN_PARENT = "UNKNOWN_PARENT"
    NO_RUNNING_CONTRACT = "NO_RUNNING_CONTRACT"
    NO_COVER_POSSIBLE = "NO_COVER_POSSIBLE"
    BOOK_REFUSED = "BOOK_REFUSED"
    EXPOSURE_ABOVE_COLLATERAL = "EXPOSURE_ABOVE_COLLATERAL"
    POSTINGS_REFUSED = "POSTINGS_REFUSED"
    TOO_MANY_ORDERS = "TOO_MANY_ORDERS"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    OVERLOADED = "OVERLOADED"
    """Not a verdict on the request: too much waits already; retry with the same id, later."""
    UNAVAILABLE = "UNAVAILABLE"
    """Not a verdict on the request: the exchange cannot take it now; retry with the same id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A refusal.

    Attributes:
        field: Path of the field concerned, empty for the whole request.
        advice: What to do next, one sentence.
        got: What was sent, as text, empty where that says nothing.
        limit: What would have been accepted, as text, empty where that says nothing.
    """

    code: Code
    field: str
    advice: str
    got: str = ""
    limit: str = ""
