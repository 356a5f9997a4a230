"""What the state keeps of dispatch: a row of nodes per pool, starts that wait for receipts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clearing.units import UnixSeconds
from settlement.types import Contract, SpareHour

Calendar = Mapping[int, tuple[tuple[Contract, ...], tuple[SpareHour, ...]]]
"""Contracts and spare hours of an auction by start of the interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A node that serves a load.

    Attributes:
        contract_ids: Contracts that the load began with, sorted.
        sequence: Instruction that gave it the node.
        at: When it got the node.
        receipt_index: Log index of the receipt, -1 before there is one.
    """

    load_id: str
    buyer_id: str
    contract_ids: tuple[str, ...]
    sequence: int
    at: UnixSeconds
    receipt_index: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStart:
    """A START or REPLACE whose receipts are not all there.

    Attributes:
        nodes: Without a receipt, ascending, never empty.
        due: From the second after this on they count as failed.
    """

    sequence: int
    load_id: str
    buyer_id: str
    contract_ids: tuple[str, ...]
    nodes: tuple[int, ...]
    due: UnixSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """Interruptible work that is reclaimed between runs (rule 12).

    Attributes:
        nodes: That it loses.
        deadline: End of its notice.
        until: End of the interval in which the notice ends; from there on nothing is bound.
    """

    load_id: str
    nodes: int
    deadline: UnixSeconds
    until: UnixSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Why a load does not run although it was sold.

    Attributes:
        reason: ``RECLAIMED`` or ``FAILED``.
    """

    reason: str
    at: UnixSeconds


@dataclass(slots=True, kw_only=True)
class Row:
    """A pool as dispatch sees it.

    Attributes:
        sequence: Number of its last instruction.
        at: When the last ones took effect.
        held: By node.
        lost: Failed nodes of loads that wait for others in their place.
        starts: By sequence number.
        called: Interruptible work that was told between runs that it stops.
        ended: By load, for a day.
    """

    sequence: int = 0
    at: UnixSeconds = UnixSeconds(0)
    held: dict[int, Held] = field(default_factory=dict)
    spare: frozenset[int] = frozenset()
    lost: dict[str, tuple[int, ...]] = field(default_factory=dict)
    starts: dict[int, OpenStart] = field(default_factory=dict)
    called: list[Called] = field(default_factory=list)
    ended: dict[str, Ended] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBatch:
    """A batch that its suppliers have not acknowledged.

    Attributes:
        until: It is forgotten after this.
    """

    supplier_ids: tuple[str, ...]
    until: UnixSeconds


@dataclass(slots=True, kw_only=True)
class Dispatch:
    """All of dispatch.

    Attributes:
        rows: By pool; of pools that were dispatched.
        batches: By log index.
        access_keys: Hex X25519 key by buyer.
        calendars: Made of auctions that carry the present hour, to be quick.
        memo: What was last worked out of what was sold; ``named`` contracts by load. Both are
            dropped whenever the state may say something else.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    batches: dict[int, OpenBatch] = field(default_factory=dict)
    access_keys: dict[str, str] = field(default_factory=dict)
    calendars: dict[str, Calendar] = field(default_factory=dict, compare=False, repr=False)
    memo: tuple[object, object] | None = field(default=None, compare=False, repr=False)
    named: tuple[int, dict[str, list[str]]] | None = field(default=None, compare=False, repr=False)

    def forget(self) -> None:
        """Drop what was worked out."""
        self.memo = self.named = None

    def was_told(self, pool_id: str, order_id: str, moment: int) -> bool:
        """Whether the dispatcher told an order that what is bound of it ends at a moment."""
        row = self.rows.get(pool_id)
        return row is not None and any(
            item.load_id == order_id and item.until == moment for item in row.called
        )
