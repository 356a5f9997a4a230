"""What changes in a pool: which nodes start, stop, take over or stand by. Pure.

Running work keeps its nodes. What was sold is placed on nodes that are in service; spare nodes
serve covered work when nothing else is left. A gang runs whole or not at all: one that lost a
node keeps the others while it waits for another if it is covered, and stops otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from iso_exchange.dispatch.placement import SPARE, Load, Placement, place
from iso_exchange.dispatch_commands import InstructionKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What was sold of a pool to one order or entitlement.

    Attributes:
        nodes: In the interval, >= 1.
        gang: All of them or none.
        covered: A failed node of it is replaced at once (rule 16).
    """

    load_id: str
    buyer_id: str
    nodes: int
    gang: bool
    covered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """A pool before the change.

    Attributes:
        row: Nodes of the pool.
        held: Load and buyer by node that runs something.
        spare: Nodes that stand by.
        lost: Failed nodes of loads that wait for others in their place.
    """

    row: int
    held: Mapping[int, tuple[str, str]]
    spare: frozenset[int]
    lost: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instruction without its number and times; fields as of ``Instruction``."""

    kind: InstructionKind
    load_id: str
    nodes: tuple[int, ...]
    replaces: tuple[int, ...] = ()
    carried: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A pool afterwards.

    Attributes:
        steps: What to do, in this order: nodes are free before they are given away.
        held: Load by node.
        spare: Nodes that stand by.
        lost: Failed nodes of loads that wait for others in their place.
        short: Nodes by covered load that are missing.
        stopped: Loads that were sold more than they get and are not covered.
    """

    steps: tuple[Step, ...]
    held: Mapping[int, str]
    spare: frozenset[int]
    lost: Mapping[str, tuple[int, ...]]
    short: Mapping[str, int]
    stopped: tuple[str, ...]


def plan(before: Before, wants: Sequence[Want], failed: frozenset[int], spare: int) -> Plan:
    """What changes.

    Args:
        before: The pool.
        wants: What was sold, in order of precedence: the last ones are short.
        failed: Nodes out of service.
        spare: Nodes that shall stand by.

    Raises:
        InvariantError: a load named twice, a node outside of the row.
    """
    in_row = frozenset(node for node in failed if 0 <= node < before.row)
    left = list(wants)
    while True:
        placed = _placed(before, left, in_row, spare)
        broken = _broken_gang(left, placed)
        if broken is None:
            break
        left.remove(broken)
    held = {node: name for node, name in placed.nodes.items() if name}
    counts = Counter(held.values())
    short = {
        want.load_id: missing
        for want in left
        if want.covered and (missing := want.nodes - counts[want.load_id]) > 0
    }
    stopped = tuple(
        want.load_id
        for want in wants
        if want.load_id not in short and counts[want.load_id] < want.nodes
    )
    standing = frozenset(node for node, name in placed.nodes.items() if name == SPARE)
    steps, lost = _steps(before, placed, in_row, short)
    return Plan(
        steps=(
            *steps,
            *_spare_steps(before.spare, standing),
        ),
        held=held,
        spare=standing,
        lost=lost,
        short=short,
        stopped=stopped,
    )


def _placed(before: Before, wants: Sequence[Want], failed: frozenset[int], spare: int) -> Placement:
    """Where everything goes; spare nodes are touched for covered work alone."""
    running = {name for node, (name, _) in before.held.items() if node not in failed}
    loads = [
        # What runs grows and shrinks node by node, so that it keeps those that it has.
        Load(
            load_id=want.load_id,
            buyer_id=want.buyer_id,
            nodes=want.nodes,
            gang=want.gang and want.load_id not in running,
        )
        for want in wants
    ]
    held = {
        node: Load(load_id=name, buyer_id=buyer_id, nodes=1)
        for node, (name, buyer_id) in before.held.items()
    }
    keep = _standing(before.spare - failed - held.keys(), frozenset(), spare)
    placed = place(before.row, held, loads, failed=failed | keep)
    if placed.short:
        covered = {want.load_id for want in wants if want.covered}
        fitting = [
            replace(load, nodes=load.nodes - placed.short.get(load.load_id, 0))
            if load.load_id not in covered
            else load
            for load in loads
        ]
        reserved = frozenset() if covered & placed.short.keys() else keep
        placed = place(before.row, held, fitting, failed=failed | reserved)
    idle = frozenset(range(before.row)) - failed - {n for n, name in placed.nodes.items() if name}
    standing = _standing(before.spare & idle, idle, spare)
    return replace(placed, nodes={**placed.nodes, **dict.fromkeys(standing, SPARE)})


def _standing(now: frozenset[int], idle: frozenset[int], count: int) -> frozenset[int]:
    """Nodes that stand by: those that do, then idle ones from the end of the row."""
    chosen = sorted(now)[-count:] if count else []
    more = count - len(chosen)
    return frozenset(chosen) | frozenset(sorted(idle - now)[-more:] if more else ())


def _broken_gang(wants: Sequence[Want], placed: Placement) -> Want | None:
    """The last gang that got some of its nodes only, and waits for none."""
    counts = Counter(placed.nodes.values())
    for want in reversed(wants):
        if want.gang and not want.covered and 0 < counts[want.load_id] < want.nodes:
            return want
    return None


def _steps(
    before: Before,
    placed: Placement,
    failed: frozenset[int],
    short: Mapping[str, int],
) -> tuple[tuple[Step, ...], dict[str, tuple[int, ...]]]:
    """Instructions for loads, and the failed nodes that still wait to be replaced."""
    carried: dict[str, list[int]] = {}
    fresh: dict[str, list[int]] = {}
    gone: dict[str, list[int]] = {}
    for change in placed.changes:
        if change.after:
            (carried if change.carried else fresh).setdefault(change.after, []).append(change.node)
        if change.before is not None and not change.carried:
            gone.setdefault(change.before, []).append(change.node)
    stops: list[Step] = []
    passes: list[Step] = []
    starts: list[Step] = []
    lost: dict[str, tuple[int, ...]] = {}
    for name in sorted({*gone, *fresh, *carried, *before.lost}):
        out = [node for node in gone.get(name, ()) if node in failed]
        # A node that is back in service is nobody's to be replaced: others may have it.
        waiting = [node for node in before.lost.get(name, ()) if node in failed] + out
        passing, left = _taken(name, carried.get(name, []), waiting, carried=True)
        new, left = _taken(name, fresh.get(name, []), left, carried=False)
        passes.extend(passing)
        starts.extend(new)
        if left and name in short:
            lost[name] = tuple(left[: short[name]])
        replaced = {node for step in (*passing, *new) for node in step.replaces}
        stop = tuple(node for node in gone.get(name, ()) if node not in replaced)
        if stop:
            stops.append(Step(kind=InstructionKind.STOP, load_id=name, nodes=stop))
    released = before.spare - frozenset(n for n, name in placed.nodes.items() if name == SPARE)
    release = (
        [Step(kind=InstructionKind.RELEASE_SPARE, load_id="", nodes=tuple(sorted(released)))]
        if released
        else []
    )
    return (*stops, *release, *passes, *starts), lost


def _taken(
    name: str, nodes: list[int], waiting: list[int], *, carried: bool
) -> tuple[list[Step], list[int]]:
    """Instructions for nodes that a load gets, and which of its failed nodes still wait."""
    count = min(len(nodes), len(waiting))
    steps = []
    if count:
        steps.append(
            Step(
                kind=InstructionKind.REPLACE,
                load_id=name,
                nodes=tuple(nodes[:count]),
                replaces=tuple(waiting[:count]),
                carried=carried,
            )
        )
    if nodes[count:]:
        steps.append(
            Step(
                kind=InstructionKind.START,
                load_id=name,
                nodes=tuple(nodes[count:]),
                carried=carried,
            )
        )
    return steps, waiting[count:]


def _spare_steps(before: frozenset[int], after: frozenset[int]) -> tuple[Step, ...]:
    new = tuple(sorted(after - before))
    return (Step(kind=InstructionKind.HOLD_SPARE, load_id="", nodes=new),) if new else ()
