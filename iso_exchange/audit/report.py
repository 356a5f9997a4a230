"""What a verification answers: numbered steps, each OK, FAILED or NOT CHECKABLE."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Final

from iso_exchange.audit.bundle import BundleKind

REASON_LENGTH_MAX: Final = 500
PPB_PER_PERCENT: Final = 10_000_000


class Step(Enum):
    """Steps of a verification in order; the name is stable, the value says what is checked."""

    FILES = "every file of the bundle is listed, present and has its digest"
    CHECKPOINT = "the log's key signed the checkpoint"
    TREE = "every leaf hashes to the signed root"
    BATCHES = "signed batch headers cover every leaf once, in order of time"
    SIGNATURES = "every envelope is signed by a key in force whose owner may sign it"
    COMMITMENTS = "every commitment opens to its envelope"
    DOCUMENTS = "every document that an entry names is there with its digest"
    REPLAY = "the rules accept every entry again, in order, each request once"
    BOOKS = "book roots and commitments hold exactly the orders of the log"
    CERTIFICATES = "every outcome passes the verifier: rules, prices, cash, welfare bound"
    RESULTS = "prices, award notices and allocation follow from book and outcome"
    CONTRACTS = "contracts and award postings follow from the outcome"
    HOURS = "delivered hours and postings follow from the readings"
    BALANCES = "debits equal credits, pots are empty, the laws of settlement hold"
    STATEMENTS = "statements and payouts are what moved each account"
    COMMUNITIES = "community totals are surcharge on delivered chip-seconds"
    PREDECESSOR = "the log before, where one is named, ends where this one begins"

    # Members are one object each. Enum's own hash is a call of Python, made a million times here.
    __hash__ = object.__hash__

    @property
    def number(self) -> int:
        """Position, from 1."""
        return NUMBERS[self]


NUMBERS: Final[dict[Step, int]] = {step: number for number, step in enumerate(Step, start=1)}


class Result(Enum):
    """Result of one step."""

    OK = "OK"
    FAILED = "FAILED"
    NOT_CHECKABLE = "NOT CHECKABLE"
    """Nothing wrong was found, but not everything could be looked at; the detail says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """Result of one step.

    Attributes:
        name: Name of the ``Step``.
        title: What it checks.
        checked: Number of things looked at.
        unit: What they are.
        failures: Number of findings.
        place: Of the first finding: ``entry <index>`` or a file; empty when there is none.
        detail: Reason of the first finding, or why something is not checkable.
    """

    number: int
    name: str
    title: str
    result: Result
    checked: int
    unit: str
    failures: int
    place: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Answer of ``verify``.

    Attributes:
        kind: None when ``bundle.json`` cannot be read.
        vkey: Key that the log was checked against.
        trusts_own_key: The key came out of the bundle: it proves consistency, not identity.
        entries: Leaves verified, batch headers included.
        auctions: Outcomes checked.
        largest_gap_ppb: Largest certified welfare gap of them, parts per billion.
        meter_gaps: Contract-hours with a gap in their readings.
        hours: Delivery hours recomputed.
        statements: Statements recomputed.
        sealed_from: First entry that is sealed until its auction is published, -1 for none:
            replayed and checked is what comes before.
        timestamps: What trusted timestamp authorities say: so many entries existed at that time.
    """

    kind: BundleKind | None
    origin: str
    vkey: str
    trusts_own_key: bool
    entries: int
    auctions: int
    largest_gap_ppb: int
    meter_gaps: int
    hours: int
    statements: int
    sealed_from: int
    timestamps: tuple[str, ...]
    steps: tuple[StepReport, ...]

    @property
    def ok(self) -> bool:
        """Nothing failed; what was not checkable is said in ``steps``."""
        return not self.failed

    @property
    def failed(self) -> tuple[StepReport, ...]:
        """Steps that found something."""
        return tuple(step for step in self.steps if step.result is Result.FAILED)

    @property
    def not_checkable(self) -> tuple[StepReport, ...]:
        """Steps that could not be completed."""
        return tuple(step for step in self.steps if step.result is Result.NOT_CHECKABLE)

    def step(self, step: Step) -> StepReport:
        """Report of one step."""
        return self.steps[step.number - 1]

    def summary(self) -> str:
        """One line for people."""
        chain = self._word((Step.FILES, Step.CHECKPOINT, Step.TREE, Step.BATCHES))
        signatures = self._word((Step.SIGNATURES,))
        cleared = self._word((Step.BOOKS, Step.CERTIFICATES, Step.RESULTS, Step.CONTRACTS))
        money = (Step.HOURS, Step.BALANCES, Step.STATEMENTS, Step.COMMUNITIES)
        if self.kind is BundleKind.PUBLIC:
            closed = self.step(Step.COMMITMENTS).checked
            parts = [f"chain {chain}", f"public signatures {signatures}"]
            parts.append(f"{closed:,} commitments not checkable")
        else:
            parts = [f"chain {chain}", f"signatures {signatures}"]
        if self.kind is BundleKind.AUDITOR:
            gap = percent_text(self.largest_gap_ppb)
            parts.append(f"{self.auctions:,} auctions {cleared} (largest welfare gap {gap})")
            books = self._word(money)
            parts.append("books balance" if books == "ok" else f"books {books}")
            parts.append(f"{self.meter_gaps:,} meter gaps")
            if self.sealed_from >= 0:
                parts.append(f"sealed from entry {self.sealed_from:,}")
        return f"{self.entries:,} entries: {', '.join(parts)}"

    def _word(self, steps: tuple[Step, ...]) -> str:
        results = {self.step(step).result for step in steps}
        if Result.FAILED in results:
            return "FAILED"
        return "not checkable" if Result.NOT_CHECKABLE in results else "ok"


@dataclass(slots=True, kw_only=True)
class _Record:
    checked: int = 0
    unit: str = ""
    failures: int = 0
    place: str = ""
    detail: str = ""
    skipped: str = ""


class Guard:
    """Context of ``Record.guard``; a class, because it is entered several times per entry."""

    __slots__ = ("_place", "_record", "_step")

    def __init__(self, record: Record, step: Step, place: str) -> None:
        """Keep where a finding belongs."""
        self._record = record
        self._step = step
        self._place = place

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Record what was raised; only what ends the program goes on."""
        if not isinstance(error, Exception):  # hostile input must not stop the audit
            return False
        self._record.caught(self._step, self._place, error)
        return True


@dataclass(slots=True, kw_only=True)
class Record:
    """Collects what the steps find while the log is walked once."""

    _steps: dict[Step, _Record] = field(default_factory=lambda: {step: _Record() for step in Step})

    def count(self, step: Step, unit: str, count: int = 1) -> None:
        """Something more was looked at."""
        record = self._steps[step]
        record.checked += count
        record.unit = unit

    def fail(self, step: Step, place: str, detail: str) -> None:
        """Something is wrong; the first finding of a step is shown."""
        record = self._steps[step]
        record.failures += 1
        if record.failures == 1:
            record.place, record.detail = place, detail[:REASON_LENGTH_MAX]

    def skip(self, step: Step, reason: str) -> None:
        """The step cannot be completed; the first reason is shown."""
        self._steps[step].skipped = self._steps[step].skipped or reason

    def has_failed(self, step: Step) -> bool:
        """Whether the step found something so far."""
        return self._steps[step].failures > 0

    def caught(self, step: Step, place: str, error: Exception) -> None:
        """Something was raised: a finding, as in ``guard``."""
        self.fail(step, place, f"{type(error).__name__}: {error}")

    def guard(self, step: Step, place: str) -> Guard:
        """Make a finding of whatever a bundle made up by an adversary makes the checks raise."""
        return Guard(self, step, place)

    def steps(self) -> tuple[StepReport, ...]:
        """All steps in order."""
        return tuple(self._report(step, record) for step, record in self._steps.items())

    def _report(self, step: Step, record: _Record) -> StepReport:
        result = Result.OK
        if record.failures:
            result = Result.FAILED
        elif record.skipped:
            result = Result.NOT_CHECKABLE
        return StepReport(
            number=step.number,
            name=step.name,
            title=step.value,
            result=result,
            checked=record.checked,
            unit=record.unit,
            failures=record.failures,
            place=record.place,
            detail=record.detail or record.skipped,
        )


def percent_text(ppb: int) -> str:
    """Parts per billion as a percentage, exact.

    Example:
        >>> percent_text(21_000)
        '0.0021 %'
    """
    whole, part = divmod(abs(ppb), PPB_PER_PERCENT)
    digits = f"{part:07d}".rstrip("0")
    sign = "-" if ppb < 0 else ""
    return f"{sign}{whole}.{digits} %" if digits else f"{sign}{whole} %"
