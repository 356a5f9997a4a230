"""Instructions to suppliers: what follows from the state, and what becomes of the rows.

The dispatcher submits a batch per set of suppliers; the state machine works the same batch out
and takes nothing else, so an auditor who replays the log derives every instruction again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from clearing.units import UnixSeconds
from iso_exchange.dispatch.plan import Before, Plan, Want, plan
from iso_exchange.dispatch_commands import (
    Instruction,
    InstructionBatch,
    InstructionKind,
    InstructSuppliers,
    PoolInstructions,
)
from iso_exchange.sequencer.dispatch_state import Ended, Held, OpenBatch, OpenStart, Row
from iso_exchange.sequencer.dispatch_wants import PUBLISHED, contracts_of, nodes_of, sold_in
from iso_exchange.sequencer.effects import Accepted, Meta, document
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_market import SpotMarket
from iso_exchange.sequencer.state import State

LATE_SECONDS_MAX: Final = 30
"""Instructions take effect at most this long before they are in the log."""
KEPT_SECONDS: Final = 86_400
"""How long it is known why a load ended."""

RECLAIMED: Final = "RECLAIMED"
FAILED: Final = "FAILED"
STARTS: Final = frozenset({InstructionKind.START, InstructionKind.REPLACE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What changes in a pool."""

    pool_id: str
    plan: Plan
    wants: Mapping[str, Want]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A batch that is to be given, and how its pools look afterwards."""

    batch: InstructionBatch
    planned: tuple[Planned, ...]


def is_dispatched(market: SpotMarket) -> bool:
    """Whether suppliers get instructions for what a market binds."""
    return market.opened.ready_within_s > 0 and market.last_start > 0


def suppliers_of(state: State, pool_id: str) -> tuple[str, ...]:
    """Who supply a pool, sorted."""
    return tuple(sorted(state.pools[pool_id].supplier_ids))


def moment_of(state: State, market: SpotMarket, now: int) -> tuple[UnixSeconds, UnixSeconds] | None:
    """Interval to dispatch at a time and when instructions take effect, None for not now.

    The next interval as soon as its run is published; else the present one, unless its run is
    still on its way.
    """
    coming = (now // market.seconds + 1) * market.seconds
    for start in (coming, coming - market.seconds):
        if _is_awaited(state, market, start) or (start == coming and start not in market.run_ids):
            continue
        if start < market.opened.first_start:
            return None
        return UnixSeconds(start), UnixSeconds(max(start, now))
    return None


def _is_awaited(state: State, market: SpotMarket, start: int) -> bool:
    """Whether the run of an interval is closed and not published yet."""
    run_id = market.run_ids.get(start)
    return run_id is not None and state.runs[run_id].state not in PUBLISHED


def plans(
    state: State,
    market: SpotMarket,
    start: UnixSeconds,
    at: UnixSeconds,
    suppliers: tuple[str, ...] = (),
) -> Iterator[Planned]:
    """What changes in each pool of a market, by pool.

    Args:
        suppliers: Only pools of just these; empty for all.
    """
    for pool_id, sold in sorted(sold_in(state, market, start, at).items()):
        if suppliers and suppliers != suppliers_of(state, pool_id):
            continue
        row = state.dispatch.rows.get(pool_id)
        if row is None and not sold.wants and not sold.spare:
            continue
        row = row or Row()
        found = plan(
            Before(
                row=nodes_of(state, pool_id),
                held={node: (held.load_id, held.buyer_id) for node, held in row.held.items()},
                spare=row.spare,
                lost=row.lost,
            ),
            sold.wants,
            sold.failed,
            sold.spare,
        )
        yield Planned(
            pool_id=pool_id, plan=found, wants={want.load_id: want for want in sold.wants}
        )


def batches(
    state: State,
    market: SpotMarket,
    start: UnixSeconds,
    at: UnixSeconds,
    suppliers: tuple[str, ...] = (),
) -> list[Due]:
    """Instructions of a moment, one batch for each set of suppliers; none where nothing changes.

    Args:
        suppliers: Only of just these; empty for all.
    """
    by_suppliers: dict[tuple[str, ...], list[Planned]] = defaultdict(list)
    for planned in plans(state, market, start, at, suppliers):
        if planned.plan.steps:
            by_suppliers[suppliers_of(state, planned.pool_id)].append(planned)
    steps = (
        step for group in by_suppliers.values() for planned in group for step in planned.plan.steps
    )
    begins = any(step.kind in STARTS for step in steps)
    contracts = contracts_of(state, start) if begins else {}
    return [
        Due(
            batch=InstructionBatch(
                market_id=market.opened.market_id,
                supplier_ids=who,
                start=start,
                at=at,
                pools=tuple(
                    _pool_instructions(state, market, planned, at, contracts) for planned in group
                ),
            ),
            planned=tuple(group),
        )
        for who, group in sorted(by_suppliers.items())
    ]


def instruct_suppliers(state: State, command: InstructSuppliers, meta: Meta) -> Accepted | Rejected:
    """Take the instructions that follow from the state."""
    market = state.markets.get(command.market_id)
    if market is None:
        return Rejected(
            code=Code.UNKNOWN_AUCTION,
            field="market_id",
            advice="name a market whose suppliers are instructed",
            got=command.market_id,
        )
    refused = refuse_moment(state, market, command.start, command.at, meta)
    if refused:
        return refused
    batch = document(meta, command.batch_sha256, InstructionBatch)
    if isinstance(batch, Rejected):
        return batch
    due = next(
        (
            item
            for item in batches(state, market, command.start, command.at, command.supplier_ids)
            if item.batch.supplier_ids == command.supplier_ids
        ),
        None,
    )
    if due is None or due.batch != batch:
        return Rejected(
            code=Code.WRONG_STATE,
            field="batch_sha256",
            advice="other instructions follow from the state now: work them out again",
            got=command.batch_sha256,
        )
    for planned, told in zip(due.planned, batch.pools, strict=True):
        _carry_out(state, planned, told, command.at)
    until = UnixSeconds(command.at + market.opened.ready_within_s + market.seconds)
    state.dispatch.batches[meta.index] = OpenBatch(supplier_ids=batch.supplier_ids, until=until)
    _forget(state, command.at)
    return Accepted(owners=batch.supplier_ids)


def refuse_moment(
    state: State, market: SpotMarket, start: UnixSeconds, at: UnixSeconds, meta: Meta
) -> Rejected | None:
    """Whether nothing can be instructed for a moment of an interval now."""
    if not is_dispatched(market):
        return Rejected(
            code=Code.UNKNOWN_AUCTION,
            field="market_id",
            advice="name a market whose suppliers are instructed",
            got=market.opened.market_id,
        )
    end = start + market.seconds
    if start % market.seconds or not start <= at < end:
        return _stale(at, f"[{start}, {end})")
    early = at > max(meta.now, start) or market.gate(start) > meta.now
    if early or at < meta.now - LATE_SECONDS_MAX:
        return _stale(at, str(meta.now))
    begins = start > meta.now and start not in market.run_ids
    if begins or _is_awaited(state, market, start):
        return _stale(start, "a published run")
    rows = (state.dispatch.rows.get(name) for name in market.pool_ids)
    latest = max((row.at for row in rows if row is not None), default=0)
    return _stale(at, str(latest)) if at < latest else None


def _stale(got: int, limit: str) -> Rejected:
    return Rejected(
        code=Code.WRONG_STATE,
        field="at",
        advice="instructions are for the present, after the run of their interval",
        got=str(got),
        limit=limit,
    )


def _pool_instructions(
    state: State,
    market: SpotMarket,
    planned: Planned,
    at: UnixSeconds,
    contracts: Mapping[str, list[str]],
) -> PoolInstructions:
    row = state.dispatch.rows.get(planned.pool_id, Row())
    buyers = {held.load_id: held.buyer_id for held in row.held.values()}
    buyers.update((name, want.buyer_id) for name, want in planned.wants.items())
    known = {held.load_id: held.contract_ids for held in row.held.values()}
    due = UnixSeconds(at + market.opened.ready_within_s)
    told = []
    for number, step in enumerate(planned.plan.steps, row.sequence + 1):
        buyer_id = buyers.get(step.load_id, "")
        starts = step.kind in STARTS
        waits = starts and not step.carried
        own = known.get(step.load_id)
        if own is None or starts:
            prefix = tuple(sorted(contracts.get(step.load_id, ())))
            own = prefix or own or ()
        told.append(
            Instruction(
                sequence=number,
                kind=step.kind,
                load_id=step.load_id,
                buyer_id=buyer_id,
                contract_ids=_in_pool(state, own, planned.pool_id),
                nodes=step.nodes,
                replaces=step.replaces,
                carried=step.carried,
                at=at,
                due=due if waits else UnixSeconds(0),
                access_key=state.dispatch.access_keys.get(buyer_id, "") if waits else "",
            )
        )
    return PoolInstructions(pool_id=planned.pool_id, instructions=tuple(told))


def _in_pool(state: State, contract_ids: tuple[str, ...], pool_id: str) -> tuple[str, ...]:
    """Contracts that a pool serves: a step bid may have others elsewhere."""
    return tuple(
        name
        for name in contract_ids
        if (contract := state.contracts.get(name)) is None
        or pool_id in (contract.pool_id, contract.supply_pool_id, contract.backup_pool_id)
    )


def _carry_out(state: State, planned: Planned, told: PoolInstructions, at: UnixSeconds) -> None:
    """The row after its instructions."""
    row = state.dispatch.rows.setdefault(planned.pool_id, Row())
    for instruction in told.instructions:
        _apply(row, instruction)
    row.sequence = told.instructions[-1].sequence
    row.at = at
    row.spare = planned.plan.spare
    row.lost = dict(planned.plan.lost)
    serving = set(planned.plan.held.values())
    for item in row.called:
        if item.deadline <= at and item.load_id not in serving:
            row.ended[item.load_id] = Ended(reason=RECLAIMED, at=item.deadline)
    for name in planned.plan.stopped:
        row.ended[name] = Ended(reason=FAILED, at=at)
    for name in serving:
        row.ended.pop(name, None)


def _apply(row: Row, instruction: Instruction) -> None:
    freed = instruction.replaces
    if instruction.kind is InstructionKind.STOP:
        freed = instruction.nodes
    for node in freed:
        row.held.pop(node, None)
    if freed:
        _close_starts(row, frozenset(freed))
    if instruction.kind not in STARTS:
        return
    for node in instruction.nodes:
        before = row.held.get(node)
        row.held[node] = Held(
            load_id=instruction.load_id,
            buyer_id=instruction.buyer_id,
            contract_ids=instruction.contract_ids,
            sequence=instruction.sequence,
            at=instruction.at,
            receipt_index=before.receipt_index if instruction.carried and before else -1,
        )
    if instruction.due:
        row.starts[instruction.sequence] = OpenStart(
            sequence=instruction.sequence,
            load_id=instruction.load_id,
            buyer_id=instruction.buyer_id,
            contract_ids=instruction.contract_ids,
            nodes=instruction.nodes,
            due=instruction.due,
        )


def _close_starts(row: Row, freed: frozenset[int]) -> None:
    """Nodes that stop need no receipt any more."""
    for sequence, start in list(row.starts.items()):
        left = tuple(node for node in start.nodes if node not in freed)
        if not left:
            del row.starts[sequence]
        elif left != start.nodes:
            row.starts[sequence] = replace(start, nodes=left)


def _forget(state: State, at: int) -> None:
    """Drop what nobody can answer or ask for any more."""
    for index in [name for name, item in state.dispatch.batches.items() if item.until < at]:
        del state.dispatch.batches[index]
    for row in state.dispatch.rows.values():
        for name in [key for key, item in row.ended.items() if item.at + KEPT_SECONDS < at]:
            del row.ended[name]
        row.called = [item for item in row.called if max(item.until, item.deadline) > at]
    done = [
        name
        for name in state.dispatch.calendars
        if (auction := state.auctions.get(name)) is None or auction.spec.intervals[-1].end <= at
    ]
    for name in done:
        del state.dispatch.calendars[name]
