"""Base load that its holder gives up and takes back; part of ``iso_exchange.commands``."""

from __future__ import annotations

from dataclasses import dataclass

from clearing.types import Step
from clearing.units import UnixSeconds
from iso_exchange.header import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedSegment:
    """A curve that holds over ``[start, end)``; both on interval boundaries of the auction."""

    start: UnixSeconds
    end: UnixSeconds
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What the holder gives up of an entitlement in a spot market, and for how much at least.

    Attributes:
        auction_id: The market.
        segments: Curves of least prices.
    """

    header: Header
    release_id: str
    entitlement_id: str
    auction_id: str
    segments: tuple[TimedSegment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Released chips that the holder takes back.

    Attributes:
        segments: One step without a price each.
    """

    header: Header
    recall_id: str
    release_id: str
    segments: tuple[TimedSegment, ...]
