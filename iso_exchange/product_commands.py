"""Commands of products beside the auctions' own: hours returned to spot; credits.

Part of ``iso_exchange.commands``, which names them all.
"""

from __future__ import annotations

from dataclasses import dataclass

from clearing.units import Chips, UnixSeconds
from iso_exchange.credit_commands import CreditCommand
from iso_exchange.header import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipSegment:
    """So many chips over ``[start, end)``, on interval boundaries."""

    start: UnixSeconds
    end: UnixSeconds
    chips: Chips


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnHours:
    """Hours of a contract that its buyer gives back to a spot market, from its next gate on.

    The latest of a contract holds. What runs sold stays sold.

    Attributes:
        contract_id: Own contract of a published auction.
        segments: Chips given back, in whole nodes, by time; none takes everything back.
    """

    header: Header
    return_id: str
    contract_id: str
    market_id: str
    segments: tuple[ChipSegment, ...]


ProductCommand = ReturnHours | CreditCommand
