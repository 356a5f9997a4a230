"""How work stands that suppliers are instructed about: from rows, notices and receipts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from clearing.units import UnixSeconds, divide_up
from iso_exchange.commands import Notice
from iso_exchange.sequencer.dispatch_state import Held, Row
from iso_exchange.sequencer.dispatch_wants import load_of
from iso_exchange.sequencer.spot_binding import Party
from iso_exchange.sequencer.state import State
from settlement.types import Contract

NOBODY = "NOBODY"


class Stage(Enum):
    """Where work is between the start and the end of its contract."""

    PROVISIONING = "PROVISIONING"
    DELIVERING = "DELIVERING"
    NOTICE = "NOTICE"
    RECLAIMED = "RECLAIMED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a contract's work stands.

    Attributes:
        pool_id: Whose nodes serve it: its own, or its backup.
        reason: Reason code, empty where time alone decides.
        responsible: Party whose doing it is, ``NOBODY`` where time alone decides.
        nodes: That serve its load now, ascending.
        sold: Nodes of the load in this interval.
        since: When the stage was entered, 0 where that is not kept.
        deadline: End of the notice, 0 without one.
    """

    stage: Stage
    pool_id: str
    reason: str
    responsible: str
    nodes: tuple[int, ...]
    sold: int
    since: UnixSeconds
    deadline: UnixSeconds


def standing_of(state: State, contract: Contract, now: int) -> Standing | None:
    """How a contract stands, None where no supplier is instructed or it does not deliver now."""
    hour = next(
        (item for item in contract.hours if item.interval.start <= now < item.interval.end), None
    )
    if hour is None:
        return None
    load_id = load_of(state, contract)
    found = next(_rows(state, contract, load_id), None)
    if found is None:
        return None
    pool_id, row, held = found
    sold = divide_up(hour.chips, state.pools[pool_id].pool.chips_per_node)
    stage, reason, responsible, since, deadline = _stage(
        row, held, load_id, _notice(state, load_id, pool_id, now)
    )
    return Standing(
        stage=stage,
        pool_id=pool_id,
        reason=reason,
        responsible=responsible,
        nodes=tuple(sorted(held)),
        sold=sold,
        since=UnixSeconds(since),
        deadline=UnixSeconds(deadline),
    )


def _rows(
    state: State, contract: Contract, load_id: str
) -> Iterator[tuple[str, Row, dict[int, Held]]]:
    """Rows that may serve a contract, the one that does first."""
    home = contract.supply_pool_id or contract.pool_id
    found = []
    for pool_id in dict.fromkeys((home, contract.backup_pool_id)):
        row = state.dispatch.rows.get(pool_id)
        if row is not None:
            held = {node: item for node, item in row.held.items() if item.load_id == load_id}
            found.append((pool_id, row, held))
    found.sort(key=lambda item: not item[2])
    yield from found


def _notice(state: State, load_id: str, pool_id: str, now: int) -> Notice | None:
    """The notice on a load whose end comes first."""
    found = [
        notice
        for market in state.markets.values()
        for notice in market.notices.values()
        if notice.order_id == load_id and notice.pool_id == pool_id and notice.deadline > now
    ]
    return min(found, key=lambda notice: notice.deadline, default=None)


def _stage(
    row: Row, held: dict[int, Held], load_id: str, notice: Notice | None
) -> tuple[Stage, str, str, int, int]:
    """Stage, reason, responsible party, since when, until when."""
    if notice is not None:
        deadline = notice.deadline
        return Stage.NOTICE, notice.reason, notice.responsible, notice.run_start, deadline
    ended = row.ended.get(load_id)
    if not held:
        if ended is not None and ended.reason == Stage.RECLAIMED.value:
            return Stage.RECLAIMED, "COVER_CALLED", Party.SUPPLIER.value, ended.at, 0
        since = ended.at if ended is not None else 0
        reason = "OUTAGE" if ended is not None or load_id in row.lost else ""
        party = Party.SUPPLIER.value if reason else NOBODY
        return Stage.PROVISIONING, reason, party, since, 0
    waits = [item for item in held.values() if item.receipt_index < 0]
    if waits:
        return Stage.PROVISIONING, "", NOBODY, min(item.at for item in waits), 0
    return Stage.DELIVERING, "", NOBODY, max(item.at for item in held.values()), 0
