"""Reference agent of a supplier: offers what is in service, and answers instructions.

Pure. A supplier states what a chip-hour must earn (``floor``) and how much more it asks for its
last chips (``slope``): the offer is a rising curve over the nodes that its availability says are
in service. Outages shrink the curve; the exchange takes out what it sold elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from clearing.types import Step
from clearing.units import PPM, Chips, MicroUsdPerChipHour, UnixSeconds, divide_half_even
from iso_exchange.api.v1 import dispatch_pb2
from iso_exchange.commands import AcknowledgeBatch, SignReceipt
from iso_exchange.dispatch_commands import ReceiptKind, node_number
from iso_exchange.header import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a supplier prices a pool.

    Attributes:
        floor: Least price of a chip-hour, micro-USD, a multiple of the tick.
        slope_ppm: How much above the floor the last part of the pool is asked, parts per million.
        parts: Steps of the curve, >= 1.
        tick: Prices are multiples of it, micro-USD.
    """

    floor: MicroUsdPerChipHour
    slope_ppm: int = 0
    parts: int = 1
    tick: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Nodes of a pool that are out of service over ``[start_s, end_s)``."""

    start_s: int
    end_s: int
    nodes: int


def in_service(nodes: int, outages: Iterable[Outage], start_s: int, end_s: int) -> int:
    """Nodes that are in service in every second of a window."""
    times = {start_s, *(item.start_s for item in outages if start_s <= item.start_s < end_s)}
    down = max(
        sum(item.nodes for item in outages if item.start_s <= moment < item.end_s)
        for moment in times
    )
    return max(0, nodes - down)


def curve(policy: Policy, nodes: int, chips_per_node: int) -> tuple[Step, ...]:
    """Rising offer curve over whole nodes; empty when nothing is in service."""
    steps: list[Step] = []
    done = 0
    for part in range(1, policy.parts + 1):
        reach = nodes * part // policy.parts
        if reach == done:
            continue
        share = 0 if policy.parts == 1 else PPM * (part - 1) // (policy.parts - 1)
        extra = divide_half_even(policy.floor * policy.slope_ppm * share, PPM * PPM)
        price = policy.floor + extra // policy.tick * policy.tick
        chips = (reach - done) * chips_per_node
        if steps and steps[-1].price == price:
            steps[-1] = Step(price=steps[-1].price, chips=Chips(steps[-1].chips + chips))
        else:
            steps.append(Step(price=MicroUsdPerChipHour(price), chips=Chips(chips)))
        done = reach
    return tuple(steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """What became of the nodes of one instruction.

    Attributes:
        ready: Names of nodes that the buyer can use now.
        sealed_access: Access details to them, sealed to the buyer; empty where it has no key.
        until: Expected end of what is wrong with the others; 0 where that is not known.
        reason: What is wrong with them.
    """

    ready: tuple[str, ...]
    sealed_access: bytes = b""
    until: UnixSeconds = UnixSeconds(0)
    reason: str = ""


def answers(
    batch: dispatch_pb2.InstructionBatch,
    provision: Callable[[dispatch_pb2.Instruction], Provisioned],
    header: Header,
) -> Iterator[AcknowledgeBatch | SignReceipt]:
    """What a supplier signs about a batch: that it has it, then a receipt for each start.

    Args:
        batch: As ``Client.watch_instructions`` yields it.
        provision: Makes the nodes of a START or REPLACE ready and says which are.
        header: Of the commands; ``BLANK_HEADER`` where a client completes them.
    """
    yield AcknowledgeBatch(header=header, batch_index=batch.batch_entry_index)
    for instruction in batch.instructions:
        if not instruction.HasField("due_time"):
            continue
        done = provision(instruction)
        ready = [name for name in instruction.node_ids if name in done.ready]
        failed = [name for name in instruction.node_ids if name not in done.ready]
        if ready:
            yield SignReceipt(
                header=header,
                pool_id=instruction.pool_id,
                sequence=instruction.sequence_number,
                kind=ReceiptKind.HANDED_OVER,
                nodes=_numbers(ready),
                sealed_access=done.sealed_access,
            )
        if failed:
            yield SignReceipt(
                header=header,
                pool_id=instruction.pool_id,
                sequence=instruction.sequence_number,
                kind=ReceiptKind.CANNOT,
                nodes=_numbers(failed),
                until=done.until,
                reason=done.reason,
            )


def _numbers(names: Iterable[str]) -> tuple[int, ...]:
    found = map(node_number, names)
    return tuple(number for number in found if number is not None)
