"""Every single-field change of a value: what a forger, or a bug, could do to an outcome."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from typing import Any

TICK = 1_000

FREE = {
    "Outcome.engine": "a claim about the run; nothing follows from it",
    "Outcome.status": "a claim about the run; the certified gap says how good the result is",
    "OrderOutcome.detail": "one sentence for people",
}
"""Fields that no check reads, each with its reason."""

COARSE = {
    "PoolPrice.spare": "node_cover is theta x spare rounded: a tick moves it, a micro-USD need not",
    "RowDual.value": "near the optimum a dual moves the bound in one direction only, or not at all "
    "inside the interval of optimal duals, and one that no order reads moves nothing; any dual is "
    "valid, so only a change of the bound can and must be noticed",
}
"""Fields whose smallest change may be without consequence, and why; they get a larger one."""

LOOSE = {
    "spare_node": {".certificate.duals[2] dropped"},
    "reclaimable": {".certificate.duals[2] dropped"},
    "base_forces_a_start": {".certificate.leaves[0].duals[0].value +1000000000000"},
    "three_leaves": {".certificate.leaves[2].duals[0].value +1000000000000"},
    "site_loss": {".prices[0].low -1", ".prices[0].high +1"},
}
"""Changes of the cases by hand that are no lie, by case: a dual of the reserve rows that the
verifier raises to what the reserve is worth anyway; a dual of a leaf whose bound is not the
largest; a wider range of prices where a bid for SITE cover leaves open which step is served."""

STEP_OF_DUALS = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A changed copy; ``path`` names the field, ``change`` what was done to it."""

    path: str
    field: str
    change: str
    value: Any


def mutants(value: Any, path: str = "") -> Iterator[Mutant]:
    """Every single-field change of a frozen dataclass, depth first."""
    if not is_dataclass(value) or isinstance(value, type):
        return
    for part in fields(value):
        name = f"{type(value).__name__}.{part.name}"
        here = f"{path}.{part.name}"
        for inner in _changes(getattr(value, part.name), here, name):
            yield replace(inner, value=replace(value, **{part.name: inner.value}))


def _changes(old: Any, path: str, field: str) -> Iterator[Mutant]:
    if is_dataclass(old):
        yield from mutants(old, path)
    elif isinstance(old, tuple):
        yield from _tuple_changes(old, path, field)
    else:
        for change, new in _leaf_changes(old, field):
            yield Mutant(path=path, field=field, change=change, value=new)


def _leaf_changes(old: Any, field: str) -> Iterator[tuple[str, Any]]:
    if isinstance(old, bool):
        yield "flipped", not old
    elif isinstance(old, Enum):
        for other in type(old):
            if other is not old:
                yield f"to {other.value}", other
    elif isinstance(old, int):
        size = {"PoolPrice.spare": TICK, "RowDual.value": STEP_OF_DUALS}.get(field, 1)
        yield f"+{size}", old + size
        yield f"-{size}", old - size
    elif isinstance(old, str):
        yield "extended", old + "0"
        yield "emptied" if old else "filled", "" if old else "x"


def _tuple_changes(old: tuple[Any, ...], path: str, field: str) -> Iterator[Mutant]:
    for index, item in enumerate(old):
        here = f"{path}[{index}]"

        def splice(*new: Any, i: int = index) -> tuple[Any, ...]:
            return (*old[:i], *new, *old[i + 1 :])

        yield Mutant(path=here, field=field, change="dropped", value=splice())
        yield Mutant(path=here, field=field, change="repeated", value=splice(item, item))
        if index and old[index - 1] != item:
            swapped = (*old[: index - 1], item, old[index - 1], *old[index + 1 :])
            yield Mutant(path=here, field=field, change="swapped", value=swapped)
        for inner in _changes(item, here, field):
            yield replace(inner, value=splice(inner.value))
