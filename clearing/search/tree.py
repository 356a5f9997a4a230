"""Branch and bound over linear relaxations that go on from each other's basis.

The relaxation of a market is nearly right: in books of hundreds of gangs a few dozen decisions are
fractional, and taking a handful of them the right way closes most of the gap. So nodes are taken
best bound first, split on the decision that promises the largest product of both losses (measured
ahead where it has not been seen: "reliability branching", Achterberg, Koch and Martin, 2005), and
now and then a dive takes open decisions one after the other until none is left open.

Limits are counts of linear programs and of leaves. The same tree, solved again without tie credits,
is the branch certificate (``clearing.search.branching``).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np

from clearing.errors import SolverError
from clearing.program import Flags, Floats
from clearing.search.decisions import (
    WHOLE,
    Decision,
    Effect,
    Menu,
    Share,
    effect,
    one_each,
    open_decisions,
)
from clearing.solver import Resolver, Solution

LEAVES_MOST: Final = 1_024
"""Leaves of a tree at most: what a branch certificate may have."""

_MEASURED_FIRST: Final = 8
_MEASURED: Final = 2
"""Candidates whose losses are measured in the first splits, and later."""

_FIRST_SPLITS: Final = 4
_SEEN: Final = 1
"""Losses seen this often on both sides are not measured again."""

_LEAST_LOSS: Final = 1e-7
"""Share of the objective that counts for no loss, so that a product keeps its other factor."""

_DIVE_LOSS: Final = 2e-4
"""Share of the objective that a dive may lose in a step before it looks at the other way."""

_DIVE_PARTS: Final = 4
"""One in so many open decisions is taken between two looks of a dive."""

_LEANS: Final = 0.3
"""A set of which this share is chosen is taken in a dive; what is small is rarely worth taking."""

_NEAR_PARTS: Final = 4
"""A neighbourhood is split for one in so many of its linear programs before the first dive."""

_DIVE_EVERY: Final = 32
"""Splits between two dives, after the first few at 1, 2, 4, 8 and 16."""

_NO_WAY: Final = 0.05
"""Share of the objective that a side without a solution is taken to lose, while none is known."""


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """A part of all choices.

    Attributes:
        decision: Taken to come here from the parent, ``accepted`` one way; None at the root.
        bound: Value of its relaxation, minus infinity where nothing is feasible.
        shares: What its solution leaves open.
        row_duals: Of its relaxation, where the tree keeps them.
        children: None for a leaf, else the (False, True) sides.
    """

    parent: Node | None
    decision: Decision | None
    accepted: bool
    bound: float
    shares: list[Share]
    row_duals: Floats | None = None
    children: tuple[Node, Node] | None = None

    def path(self) -> list[Node]:
        """Nodes with a decision, from the root down."""
        found: list[Node] = []
        node = self
        while node.parent is not None:
            found.append(node)
            node = node.parent
        return found[::-1]

    def leaves(self) -> Iterator[Node]:
        """Leaves below, depth first, the False side first."""
        stack = [self]
        while stack:
            node = stack.pop()
            if node.children is None:
                yield node
            else:
                stack += node.children[::-1]


class Losses(NamedTuple):
    """Objective lost per unit of share, for the False and the True side: sums and counts.

    Of all decisions together it is per dollar at stake as well.
    """

    total: list[float]
    seen: list[int]


@dataclass(slots=True, kw_only=True, eq=False)
class Tree:
    """A search under way.

    Attributes:
        menu: What can be decided; ``menu.program`` carries the objective at first.
        programs_most: Linear programs at most, over the life of the tree.
        leaves_most: Leaves at most.
        relative_gap: Share of the objective within which a bound is reached.
        diving: Look for solutions; pointless where a good one is known.
        dive_after: Linear programs before the first dive: what splitting has decided by then is
            decided well, and dives from there lose a tenth of what dives from the root lose.
        keep_duals: Keep the row duals of every leaf.
        root: First node.
        best: Best solution without fractions so far.
        cutoff: Nodes that promise no more than this are not split.
        ceiling: No solution is better, as somebody else found out.
        solved: Linear programs solved so far.
        leaf_count: Leaves so far.
    """

    menu: Menu
    programs_most: int = 0
    leaves_most: int = LEAVES_MOST
    relative_gap: float = 0.0
    diving: bool = True
    dive_after: int = 0
    keep_duals: bool = False
    root: Node | None = None
    best: Solution | None = None
    cutoff: float = -np.inf
    ceiling: float = np.inf
    solved: int = 0
    leaf_count: int = 1
    _resolver: Resolver = field(init=False)
    _losses: dict[Decision, Losses] = field(default_factory=dict)
    _all: Losses = field(default_factory=lambda: Losses([0.0, 0.0], [0, 0]))
    _effects: dict[tuple[Decision, bool], Effect] = field(default_factory=dict)
    _heap: list[tuple[float, int, Node]] = field(default_factory=list)
    _pushed: int = 0

    def __post_init__(self) -> None:
        """Hand the program to the solver."""
        self._resolver = Resolver(self.menu.program)

    def bound(self) -> float:
        """No solution is better."""
        if self.root is None:
            return self.ceiling
        open_ = -self._heap[0][0] if self._heap else -np.inf
        return min(self.ceiling, max(self.cutoff, open_))

    def reached(self) -> bool:
        """Whether no solution is better than the best one by more than the gap."""
        return self.bound() <= self.cutoff + self._tolerance()

    def relax(self) -> Solution:
        """Solve the relaxation with nothing decided.

        Raises:
            SolverError: it has no solution.
        """
        self._bound_by([])
        self.solved += 1
        found = self._resolver.solve()
        if found is None:
            raise SolverError("INFEASIBLE")
        return found

    def grow(self) -> None:
        """Search until the gap is reached or a count is."""
        if self.programs_most <= self.solved:
            return
        if self.root is None:
            self.root = self._node(None, None, accepted=False)
            self._push(self.root)
            self._dive(self.root)
        splits = 0
        while not self.reached() and self._heap:
            node = self._heap[0][2]
            if self._spent() or not node.shares:
                return
            heapq.heappop(self._heap)
            splits += 1
            self._split(node, first=splits <= _FIRST_SPLITS)
            if (splits % _DIVE_EVERY == 0 or (splits & (splits - 1)) == 0) and self._heap:
                self._dive(self._heap[0][2])

    def improve(self, rounds: int, programs: int) -> None:
        """Look for better solutions near the best one.

        What it and the relaxation of a promising node agree on is held, and the rest is searched by
        a tree of its own ("relaxation induced neighbourhoods", Danna, Rothberg and Le Pape, 2005).

        Args:
            rounds: Neighbourhoods, of the open nodes that promise most.
            programs: Linear programs in each.
        """
        nodes = [node for _, _, node in heapq.nsmallest(rounds, self._heap)]
        for node in nodes:
            known = self.best
            if known is None or self.reached():
                return
            self._bound_by(node.path())
            self.solved += 1
            relaxed = self._resolver.solve()
            if relaxed is None:
                continue
            held = self._agreed(known.values, relaxed.values)
            base = self._resolver.program
            program = replace(
                self.menu.program,
                objective=base.objective,
                lower=np.where(held, known.values, self.menu.program.lower),
                upper=np.where(held, known.values, self.menu.program.upper),
            )
            near = Tree(
                menu=replace(self.menu, program=program),
                programs_most=programs,
                relative_gap=self.relative_gap,
                dive_after=programs // _NEAR_PARTS,
                cutoff=self.cutoff,
            )
            near.grow()
            self.solved += near.solved
            if near.best is not None and near.cutoff > self.cutoff:
                self.best, self.cutoff = near.best, near.cutoff

    def _agreed(self, best: Floats, relaxed: Floats) -> Flags:
        """Columns of decisions that have the same value in both."""
        held = np.zeros(best.size, dtype=np.bool_)
        at = self.menu.binaries
        held[at] = np.abs(best[at] - relaxed[at]) <= WHOLE
        return held

    def renew(self, objective: Floats, cutoff: float) -> None:
        """Change what the columns are worth, and solve every leaf again.

        Args:
            objective: Per column.
            cutoff: Value of a known solution.
        """
        self._resolver.change(objective=objective)
        self.best, self.cutoff, self.ceiling = None, cutoff, np.inf
        self._heap = []
        if self.root is None:
            self.root = self._node(None, None, accepted=False)
        else:
            for leaf in self.root.leaves():
                self._relax(leaf)
        for leaf in self.root.leaves():
            self._push(leaf)

    def resume(self, menu: Menu, objective: Floats) -> None:
        """Go on with more rows: a part whose relaxation left something open is bounded as before.

        Args:
            menu: The decisions as before; its program has the rows.
            objective: Per column, as before.
        """
        self.menu, self._effects = menu, {}
        self._resolver = Resolver(menu.program)
        self._resolver.change(objective=objective)
        self.best, self.cutoff, self.ceiling = None, -np.inf, np.inf
        self._heap = []
        for leaf in self.root.leaves() if self.root else ():
            if not leaf.shares and np.isfinite(leaf.bound):
                self._relax(leaf)
        for leaf in self.root.leaves() if self.root else ():
            self._push(leaf)

    def change_objective(self, objective: Floats) -> None:
        """Change what the columns are worth before the tree has any nodes."""
        self._resolver.change(objective=objective)

    def _spent(self) -> bool:
        return self.solved >= self.programs_most or self.leaf_count >= self.leaves_most

    def _tolerance(self) -> float:
        known = self.cutoff if np.isfinite(self.cutoff) else 0.0
        return self.relative_gap * max(1.0, abs(known))

    def _push(self, node: Node) -> None:
        if node.bound > self.cutoff:
            self._pushed += 1
            heapq.heappush(self._heap, (-node.bound, self._pushed, node))

    def _split(self, node: Node, *, first: bool) -> None:
        share, measured = self._choose_split(node, first=first)
        node.children = measured or self._children(node, share)
        node.row_duals = None
        self.leaf_count += 1
        for child in node.children:
            self._push(child)

    def _children(self, node: Node, share: Share) -> tuple[Node, Node]:
        out = self._node(node, share.decision, accepted=False)
        taken = self._node(node, share.decision, accepted=True)
        self._learn(node, share, out)
        self._learn(node, share, taken)
        return out, taken

    def _choose_split(self, node: Node, *, first: bool) -> tuple[Share, tuple[Node, Node] | None]:
        """The decision to split on, with its children where they were solved to find out."""
        ranked = sorted(one_each(node.shares), key=self._promise, reverse=True)
        best, best_score, best_children = ranked[0], -1.0, None
        left = _MEASURED_FIRST if first else _MEASURED
        for share in ranked[: 2 * _MEASURED_FIRST]:
            losses = self._losses.get(share.decision)
            children = None
            if losses is None or min(losses.seen) < _SEEN:
                if left == 0:
                    continue
                left -= 1
                children = self._children(node, share)
                score = self._product(*(self._lost(node, child) for child in children))
            else:
                score = self._promise(share)
            if score > best_score:
                best, best_score, best_children = share, score, children
        return best, best_children

    def _promise(self, share: Share) -> float:
        """Product of the losses that both sides should bring."""
        return self._product(*self._expected(share))

    def _product(self, down: float, up: float) -> float:
        least = _LEAST_LOSS * max(1.0, abs(self.root.bound if self.root else 0.0))
        return max(down, least) * max(up, least)

    def _expected(self, share: Share) -> tuple[float, float]:
        """Loss of leaving the set out, and of taking it."""
        own = self._losses.get(share.decision)
        sides = []
        for side, distance in ((0, share.value), (1, 1.0 - share.value)):
            if own is not None and own.seen[side]:
                rate = own.total[side] / own.seen[side]
            else:
                rate = share.stake * self._all.total[side] / max(1, self._all.seen[side])
            sides.append(rate * max(0.0, distance))
        return sides[0], sides[1]

    def _lost(self, node: Node, child: Node) -> float:
        """Objective lost on the way to a child; all that counts where the child is out."""
        known = np.isfinite(self.cutoff)
        most = node.bound - self.cutoff if known else _NO_WAY * max(1.0, abs(node.bound))
        return max(0.0, min(node.bound - child.bound, most))

    def _learn(self, node: Node, share: Share, child: Node) -> None:
        distance = 1.0 - share.value if child.accepted else share.value
        rate = self._lost(node, child) / max(distance, WHOLE)
        losses = self._losses.setdefault(share.decision, Losses([0.0, 0.0], [0, 0]))
        losses.total[child.accepted] += rate
        losses.seen[child.accepted] += 1
        self._all.total[child.accepted] += rate / max(share.stake, 1.0)
        self._all.seen[child.accepted] += 1

    def _node(self, parent: Node | None, decision: Decision | None, *, accepted: bool) -> Node:
        """A solved node."""
        bound = np.inf if parent is None else parent.bound
        node = Node(parent=parent, decision=decision, accepted=accepted, bound=bound, shares=[])
        self._relax(node)
        return node

    def _relax(self, node: Node) -> None:
        """Solve the relaxation of a node; one without fractions may be the best solution so far."""
        above = np.inf if node.parent is None else node.parent.bound
        node.bound, node.shares = -np.inf, []
        path = node.path()
        if not self._bound_by(path):
            return
        self.solved += 1
        binaries = self.menu.binaries
        found = self._resolver.solve(None if self.keep_duals else binaries)
        if found is None:
            return
        node.bound = min(found.objective, above)
        taken = {step.decision for step in path}
        values = found.values[binaries] if self.keep_duals else found.values
        shares = open_decisions(self.menu, values)
        # What is decided can be open again only by the tolerance of the solver.
        node.shares = [share for share in shares if share.decision not in taken]
        if self.keep_duals:
            node.row_duals = found.row_duals
        if not node.shares and found.objective > self.cutoff:
            self._keep(found)

    def _keep(self, found: Solution) -> None:
        """Remember the solution of the program that was just solved."""
        if not self.keep_duals:
            self.solved += 1
            again = self._resolver.solve()
            if again is None:
                return
            found = again
        self.best = found
        self.cutoff = max(self.cutoff, found.objective)

    def _bound_by(self, path: list[Node]) -> bool:
        """Set the bounds of a node; False where its decisions contradict each other."""
        bounds = self.bounds(path)
        if bounds is None:
            return False
        lower, upper, row_lower = bounds
        self._resolver.change(lower=lower, upper=upper, row_lower=row_lower)
        return True

    def bounds(self, path: list[Node]) -> tuple[Floats, Floats, Floats] | None:
        """Bounds of columns and lower ones of rows; None where decisions contradict each other."""
        base = self.menu.program
        lower, upper, row_lower = base.lower.copy(), base.upper.copy(), base.row_lower.copy()
        for node in path:
            if node.decision is None:
                continue
            known = self._effects.get((node.decision, node.accepted))
            if known is None:
                known = effect(self.menu, node.decision, accepted=node.accepted)
                self._effects[node.decision, node.accepted] = known
            lower[known.columns] = np.maximum(lower[known.columns], known.lower)
            upper[known.columns] = np.minimum(upper[known.columns], known.upper)
            if known.row >= 0:
                row_lower[known.row] = known.row_lower
        if (lower > upper).any():
            return None
        return lower, upper, row_lower

    def _dive(self, node: Node) -> None:
        """Take open decisions, the largest first and several at a time, until none is open.

        Where that costs much it takes fewer; one alone is taken the way that costs less.
        """
        if not self.diving or self.solved < self.dive_after:
            return
        much = _DIVE_LOSS * max(1.0, abs(node.bound))
        several = -(-len(node.shares) // _DIVE_PARTS)
        while node.shares and node.bound > self.cutoff + self._tolerance():
            if self.solved >= self.programs_most:
                return
            ranked = sorted(node.shares, key=lambda share: share.stake, reverse=True)
            several = min(several, len(ranked))
            if several > 1:
                child = self._walk(node, ranked[:several])
                if node.bound - child.bound > much:
                    several = several // _DIVE_PARTS
                    continue
            else:
                child = max(self._children(node, ranked[0]), key=lambda way: way.bound)
            several = 2 * max(1, several)
            node = child

    def _walk(self, node: Node, shares: list[Share]) -> Node:
        """Take several decisions the way they lean, without a look in between."""
        for share in shares[:-1]:
            node = Node(
                parent=node,
                decision=share.decision,
                accepted=share.value >= _LEANS,
                bound=node.bound,
                shares=[],
            )
        last = shares[-1]
        return self._node(node, last.decision, accepted=last.value >= _LEANS)
