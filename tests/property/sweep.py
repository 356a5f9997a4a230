"""Clear thousands of random books and count what goes wrong.

``python -m tests.property.sweep 1000`` takes a thousand seeds in each preset.

Books come from consecutive seeds, so a failure is named by its preset and seed. With ``--shrink
FOLDER`` the first failures of each name are made small and written there as documents that
``clearing.codec`` reads.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

from clearing import codec
from clearing.auction import clear
from clearing.errors import BookError, RefusedResultError, SolverError
from clearing.outcome import Outcome, RunStatus
from clearing.types import Book, PricingRule
from tests.property.laws import Symptom, broken_laws
from tests.property.random_books import (
    ALL,
    NETWORK,
    SEED,
    STRICT,
    STRICT_NETWORK,
    Kind,
    random_book,
)
from tests.property.shrinking import shrink
from tests.property.twin import best, best_strict, count_choices

CHOICES_MAX: Final = 5_000
PRESETS: Final[dict[str, frozenset[Kind]]] = {
    "network": NETWORK,
    "mixed": ALL,
    "site": ALL - {Kind.NODES, Kind.CONVERSION},
    "network-many": NETWORK | {Kind.MANY},
    "mixed-many": ALL | {Kind.MANY},
    "strict-network": STRICT_NETWORK,
    "strict": STRICT,
}


@dataclass(slots=True)
class Tally:
    """What a sweep found in one preset.

    Attributes:
        without_outcome: Books that have no feasible outcome, as the engine says too.
        narrowed: Outcomes that are not of the usual choice, because the verifier refused it.
        optimal: Outcomes that reach the best objective of divisible chips.
        losses: Share of that objective which the others miss, one each.
        seconds: Spent in the engine and its verifier.
    """

    books: int = 0
    too_large: int = 0
    without_outcome: int = 0
    narrowed: int = 0
    optimal: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    symptoms: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What is wrong with the engine's answer to a book, and what it reached of what is possible."""

    symptoms: tuple[Symptom, ...]
    reached: int | None = None
    possible: Fraction | None = None
    is_usual: bool = True
    seconds: float = 0.0


def examine(book: Book, *, whole: bool) -> Examined:
    """Clear a book and hold the outcome against the laws; an exception is a symptom too."""
    found = best(book)
    start = time.perf_counter()
    try:
        outcome = clear(book, SEED)
    except BookError as error:
        return _failed(f"book refused: {error.code}", error)
    except (SolverError, RefusedResultError) as error:
        # Forced flows may leave outcomes that nobody can pay for, or that lose under strict prices.
        forced = any(least > 0 or most < 0 for x in book.links for least, most in x.capacities)
        hopeless = found is None or (forced and found.welfare < 0)
        if hopeless or (_is_strict(book) and best_strict(book) is None):
            return Examined(symptoms=())
        return _failed(type(error).__name__, error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the sweep counts it
        return _failed(type(error).__name__, error)
    seconds = time.perf_counter() - start
    broken = broken_laws(book, outcome, found, whole=whole)
    reached = outcome.certificate.welfare + outcome.certificate.restart_kept
    possible = found.objective if found is not None and found.shortage == 0 else None
    if _is_strict(book) and possible is not None:
        possible = best_strict(book)
        broken += _against_strict(outcome, possible, whole=whole)
    return Examined(
        symptoms=tuple(broken),
        reached=reached,
        possible=possible,
        is_usual=outcome.status is RunStatus.OPTIMAL,
        seconds=seconds,
    )


def _is_strict(book: Book) -> bool:
    return book.spec.pricing_rule is PricingRule.STRICT_UNIFORM


def _failed(name: str, error: Exception) -> Examined:
    return Examined(symptoms=(Symptom(name=name, detail=str(error)[:400]),))


def _against_strict(
    outcome: Outcome, possible: Fraction | None, *, whole: bool
) -> Iterator[Symptom]:
    reached, bound = outcome.certificate.welfare, outcome.certificate.bound
    numbers = f"engine {reached}, bound {bound}, twin {possible}"
    if possible is None:
        return
    if reached > possible:
        yield Symptom(name="above the strict optimum", detail=numbers)
    if whole and reached < possible:
        yield Symptom(name="below the strict optimum", detail=numbers)
    if whole and bound < possible:
        yield Symptom(name="bound below the strict optimum", detail=numbers)


def sweep(preset: str, seeds: range, folder: Path | None, shrunk_max: int = 1) -> Tally:
    """Clear the book of every seed and hold it against the laws and the twin."""
    kinds = PRESETS[preset]
    whole = kinds <= NETWORK | {Kind.STRICT, Kind.MANY}
    tally = Tally()
    for seed in seeds:
        book = random_book(seed, kinds)
        if count_choices(book) > CHOICES_MAX:
            tally.too_large += 1
            continue
        tally.books += 1
        examined = examine(book, whole=whole)
        tally.seconds += examined.seconds
        tally.without_outcome += examined.reached is None and not examined.symptoms
        tally.narrowed += not examined.is_usual
        if examined.reached is not None and examined.possible is not None:
            missed = examined.possible - examined.reached
            tally.optimal += missed <= 0
            if missed > 0 and examined.possible > 0:
                tally.losses.append(float(missed / examined.possible))
        for symptom in examined.symptoms:
            tally.symptoms[symptom.name] += 1
            tally.examples[symptom.name].append(seed)
            if folder is not None and tally.symptoms[symptom.name] <= shrunk_max:
                _write(folder, preset, seed, symptom, book, whole=whole)
    return tally


def _write(
    folder: Path, preset: str, seed: int, symptom: Symptom, book: Book, *, whole: bool
) -> None:
    def fails(smaller: Book) -> bool:
        try:
            found = examine(smaller, whole=whole).symptoms
        except (ArithmeticError, LookupError, ValueError):
            return False
        return any(other.name == symptom.name for other in found)

    small = shrink(book, fails)
    left = examine(small, whole=whole).symptoms
    details = [s.detail for s in left if s.name == symptom.name]
    name = "".join(c if c.isalnum() else "-" for c in symptom.name)[:60]
    path = folder / f"{preset}-{seed}-{name}.json"
    path.write_bytes(codec.encode(small))
    sys.stdout.write(f"  {symptom.name}\n    {details[0] if details else ''}\n    {path}\n")


def _share(losses: list[float]) -> str:
    if not losses:
        return "nothing"
    return f"{statistics.median(losses):.1%} (median), {max(losses):.1%} (most)"


def main() -> int:
    """Print a line per preset and a line per symptom; the exit status says whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("books", type=int, help="seeds per preset")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--preset", choices=PRESETS, action="append", help="all when absent")
    parser.add_argument("--shrink", type=Path, help="folder for minimal failing books")
    given = parser.parse_args()
    clean = True
    for preset in given.preset or PRESETS:
        seeds = range(given.first, given.first + given.books)
        tally = sweep(preset, seeds, given.shrink)
        sys.stdout.write(
            f"{preset}: {tally.books} books, {tally.too_large} too large to enumerate, "
            f"{tally.seconds / max(1, tally.books) * 1_000:.0f} ms each, "
            f"{sum(tally.symptoms.values())} broken laws; {tally.optimal} reach the twin, "
            f"{len(tally.losses)} stay below it by {_share(tally.losses)}, "
            f"{tally.narrowed} not by the usual choice, {tally.without_outcome} have no outcome\n"
        )
        for name, count in tally.symptoms.most_common():
            sys.stdout.write(f"  {count:5d} {name}: seeds {tally.examples[name][:5]}\n")
        clean = clean and not tally.symptoms
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
