"""How work stands that suppliers are instructed about: from rows, notices and receipts."""

from __future__ import annotations

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


class Standings:
    """How contracts stand at one moment; rows and notices are looked through once for all."""

    def __init__(self, state: State, now: int) -> None:
        """Keep the state; nothing is looked at before it is asked for."""
        self._state = state
        self._now = now
        self._held: dict[str, dict[str, dict[int, Held]]] = {}
        self._notices: dict[tuple[str, str], Notice] | None = None

    def of(self, contract: Contract) -> Standing | None:
        """A contract; None where no supplier is instructed or it does not deliver now."""
        hour = next(
            (
                item
                for item in contract.hours
                if item.interval.start <= self._now < item.interval.end
            ),
            None,
        )
        if hour is None:
            return None
        load_id = load_of(self._state, contract)
        found = self._row(contract, load_id)
        if found is None:
            return None
        pool_id, row, held = found
        stage, reason, responsible, since, deadline = _stage(
            row, held, load_id, self._notice(load_id, pool_id)
        )
        per_node = self._state.pools[pool_id].pool.chips_per_node
        return Standing(
            stage=stage,
            pool_id=pool_id,
            reason=reason,
            responsible=responsible,
            nodes=tuple(sorted(held)),
            sold=divide_up(hour.chips, per_node),
            since=UnixSeconds(since),
            deadline=UnixSeconds(deadline),
        )

    def _row(self, contract: Contract, load_id: str) -> tuple[str, Row, dict[int, Held]] | None:
        """Row that serves a contract: its pool's, or its backup's where that alone does."""
        home = contract.supply_pool_id or contract.pool_id
        found = None
        for pool_id in (home, contract.backup_pool_id):
            row = self._state.dispatch.rows.get(pool_id)
            if row is None:
                continue
            held = self._by_load(pool_id, row).get(load_id, {})
            if held or found is None:
                found = (pool_id, row, held)
            if held:
                break
        return found

    def _by_load(self, pool_id: str, row: Row) -> dict[str, dict[int, Held]]:
        known = self._held.get(pool_id)
        if known is None:
            known = self._held[pool_id] = {}
            for node, item in row.held.items():
                known.setdefault(item.load_id, {})[node] = item
        return known

    def _notice(self, load_id: str, pool_id: str) -> Notice | None:
        """The notice on a load whose end comes first."""
        if self._notices is None:
            self._notices = {}
            for market in self._state.markets.values():
                for notice in market.notices.values():
                    key = (notice.order_id, notice.pool_id)
                    first = self._notices.get(key)
                    if notice.deadline > self._now and (
                        first is None or notice.deadline < first.deadline
                    ):
                        self._notices[key] = notice
        return self._notices.get((load_id, pool_id))


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
