"""A dispatched spot market over the small registered world: what a dispatcher would submit."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from dataclasses import replace

from clearing import codec
from clearing.types import Cover, Interval
from clearing.units import UnixSeconds
from iso_exchange import commands as c
from iso_exchange.dispatch_commands import (
    Instruction,
    InstructionBatch,
    InstructionKind,
    ReceiptKind,
    node_name,
)
from iso_exchange.sequencer.dispatch import batches, moment_of
from iso_exchange.sequencer.dispatch_reclaim import calls
from iso_exchange.sequencer.dispatch_state import Row
from iso_exchange.sequencer.effects import Accepted
from tests.unit.sequencer.spot_world import POOL, SPOT, STEP, market_of, opened, run_at
from tests.unit.sequencer.world import FIRST, World

READY = 120


def at(place: int) -> int:
    return FIRST + place * STEP


def dispatched() -> World:
    """A market whose suppliers are instructed, and a second buyer."""
    world = opened(ready_within_s=READY)
    world.must(world.participant("other", c.Role.BUYER))
    world.must(world.deposit("other", 1_000))
    return world


def of_other(world: World, order: c.SubmitOrder) -> c.SubmitOrder:
    """The same order by the second buyer."""
    return replace(order, header=world.header("other"), participant_id="other")


def row_of(world: World, pool_id: str = POOL) -> Row:
    return world.state.dispatch.rows[pool_id]


def picture(world: World, pool_id: str = POOL) -> str:
    """One character per node: the last of its load's name, S for spare, a dot where idle."""
    row = row_of(world, pool_id)
    record = world.state.pools[pool_id].pool
    return "".join(
        row.held[node].load_id[-1] if node in row.held else "S" if node in row.spare else "."
        for node in range(record.capacity // record.chips_per_node)
    )


def command_of(world: World, batch: InstructionBatch) -> tuple[c.InstructSuppliers, bytes]:
    body = codec.encode(batch)
    command = c.InstructSuppliers(
        header=world.header("exchange"),
        market_id=batch.market_id,
        supplier_ids=batch.supplier_ids,
        start=batch.start,
        at=batch.at,
        batch_sha256=hashlib.sha256(body).hexdigest(),
    )
    return command, body


def instruct(world: World) -> list[Instruction]:
    """Give what follows from the state now; the instructions of all pools."""
    market = world.state.markets[SPOT]
    moment = moment_of(world.state, market, world.now)
    assert moment is not None
    told: list[Instruction] = []
    for due in batches(world.state, market, *moment):
        command, body = command_of(world, due.batch)
        answer = world.apply(command, {hashlib.sha256(body).digest(): body})
        assert isinstance(answer, Accepted), answer
        assert answer.owners == due.batch.supplier_ids
        told.extend(item for pool in due.batch.pools for item in pool.instructions)
    assert not batches(world.state, market, *moment), "what was told follows again"
    return told


def step(world: World, place: int) -> list[Instruction]:
    """A run, and the instructions that follow from it."""
    run_at(world, at(place))
    return instruct(world)


def told(instructions: list[Instruction]) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(item.kind.value, item.load_id, item.nodes) for item in instructions]


def receipt(
    world: World,
    instruction: Instruction,
    *,
    nodes: tuple[int, ...] = (),
    cannot: tuple[int, ...] = (),
    pool_id: str = POOL,
    until: int = 0,
) -> c.SignReceipt:
    """Hand all nodes over, or say of some that they cannot be."""
    kind = ReceiptKind.CANNOT if cannot else ReceiptKind.HANDED_OVER
    return c.SignReceipt(
        header=world.header("acme"),
        pool_id=pool_id,
        sequence=instruction.sequence,
        kind=kind,
        nodes=cannot or nodes or instruction.nodes,
        sealed_access=b"" if cannot else b"sealed",
        until=UnixSeconds(until),
        reason="no power" if cannot else "",
    )


def hand_over(world: World, instructions: list[Instruction]) -> None:
    """Receipts for everything that waits for one."""
    for item in instructions:
        if item.due:
            world.must(receipt(world, item))


def time_out(world: World, pool_id: str = POOL) -> int:
    """Declare what is due; how many starts were."""
    due = [start for start in row_of(world, pool_id).starts.values() if start.due < world.now]
    for start in due:
        world.must(
            c.DeclareTimeout(
                header=world.header("exchange"),
                pool_id=pool_id,
                sequence=start.sequence,
                nodes=start.nodes,
            )
        )
    return len(due)


def outage(world: World, *nodes: int, end: int, pool_id: str = POOL) -> None:
    """Nodes of a pool, or all of it, are down from now on."""
    world.must(
        c.ReportOutage(
            header=world.header("acme"),
            outage_id=f"out-{world.requests}",
            pool_id=pool_id,
            interval=Interval(start=UnixSeconds(world.now), end=UnixSeconds(end)),
            nodes=tuple(map(node_name, nodes)),
            reason="a fault",
        )
    )


def covered(order: c.SubmitOrder) -> c.SubmitOrder:
    """The bid with NODE cover."""
    assert isinstance(order.terms, (c.StepBidTerms, c.BlockBidTerms))
    conditions = dataclasses.replace(order.terms.conditions, cover=Cover.NODE)
    return dataclasses.replace(order, terms=dataclasses.replace(order.terms, conditions=conditions))


def call_cover(world: World) -> list[c.Notice]:
    """Give the notices that covered work needs now, as the dispatcher does."""
    given: list[c.Notice] = []
    market = market_of(world)
    while True:
        moment = moment_of(world.state, market, world.now)
        assert moment is not None
        due = calls(world.state, market, *moment)
        if not due:
            return given
        (pool_id, participant_id), notices = next(iter(due.items()))
        world.must(
            c.GiveNotices(
                header=world.header("exchange"),
                run_id=market.run_id(moment[0]),
                participant_id=participant_id,
                notices=notices,
                pool_id=pool_id,
                at=moment[1],
            )
        )
        given.extend(notices)


class Supplier:
    """What a supplier who follows its instructions knows: an own picture of each node."""

    def __init__(self) -> None:
        self.serves: dict[int, str] = {}
        self.spare: set[int] = set()
        self.sequence = 0
        self.moves: dict[str, int] = defaultdict(int)

    def follow(self, instructions: list[Instruction]) -> None:
        """Carry instructions out; nothing may contradict what is known."""
        for item in instructions:
            self.sequence += 1
            assert item.sequence == self.sequence, "numbers without gaps"
            match item.kind:
                case InstructionKind.STOP:
                    for node in item.nodes:
                        assert self.serves.pop(node) == item.load_id
                case InstructionKind.HOLD_SPARE:
                    assert not self.spare & set(item.nodes)
                    assert not self.serves.keys() & set(item.nodes)
                    self.spare |= set(item.nodes)
                case InstructionKind.RELEASE_SPARE:
                    assert set(item.nodes) <= self.spare
                    self.spare -= set(item.nodes)
                case InstructionKind.START | InstructionKind.REPLACE:
                    assert len(item.replaces) in (0, len(item.nodes))
                    for node in item.replaces:
                        assert self.serves.pop(node, item.load_id) == item.load_id
                    for node in item.nodes:
                        assert item.carried == (node in self.serves)
                        assert node not in self.spare
                        self.serves[node] = item.load_id
