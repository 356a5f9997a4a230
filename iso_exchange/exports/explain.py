"""From a statement line back to what it rests on: postings, readings, price, award, log entries.

Works on an auditor bundle that was read and replayed, offline. Every step names the log entry
that it stands in, and that the entry is under the signed checkpoint is proved again.
"""

from __future__ import annotations

from dataclasses import dataclass

from clearing.types import Interval
from clearing.units import UnixSeconds, energy_charge
from iso_exchange.exports.reading import ReadBundle
from settlement.exports.extract import IssuedStatement, Movement
from settlement.metering.billable import metering_intervals
from settlement.types import Contract, DeliveredHour, Legs, StatementLine


class ExplainError(ValueError):
    """No such statement or line in the bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that the line rests on.

    Attributes:
        what: Such as ``posting`` or ``reading``.
        detail: What it says, for people.
        entry_index: Log entry, -1 where the step has none of its own.
        proved: Whether that entry is under the bundle's checkpoint.
    """

    what: str
    detail: str
    entry_index: int
    proved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A line and what it rests on.

    Attributes:
        number: Of the line within its statement, from 1.
        adds_up: Whether the postings are the line's amount.
    """

    statement_id: str
    number: int
    line: StatementLine
    steps: tuple[Step, ...]
    adds_up: bool

    @property
    def ok(self) -> bool:
        """Whether everything was found, adds up and is proved."""
        return self.adds_up and all(step.proved for step in self.steps if step.entry_index >= 0)


def explain(bundle: ReadBundle, statement_id: str, number: int) -> Explanation:
    """Walk one line back.

    Args:
        bundle: From ``read_bundle``.
        statement_id: A statement in it.
        number: Line, from 1.

    Raises:
        ExplainError: there is no such statement or line.
    """
    issued = next(
        (i for i in bundle.extract.statements if i.statement.statement_id == statement_id), None
    )
    if issued is None:
        raise ExplainError(f"no statement {statement_id}")
    lines = issued.statement.lines
    if not 1 <= number <= len(lines):
        raise ExplainError(f"{statement_id} has lines 1 to {len(lines)}")
    work = _Walk(bundle=bundle, issued=issued, line=lines[number - 1])
    work.run()
    return Explanation(
        statement_id=statement_id,
        number=number,
        line=work.line,
        steps=tuple(work.steps),
        adds_up=work.total == work.line.amount,
    )


class _Walk:
    """Steps of one line while they are gathered."""

    def __init__(self, *, bundle: ReadBundle, issued: IssuedStatement, line: StatementLine) -> None:
        self.bundle = bundle
        self.issued = issued
        self.line = line
        self.steps: list[Step] = []
        self.total = 0

    def run(self) -> None:
        """All steps, from the statement down to the meters."""
        statement = self.issued.statement
        self._step(
            "statement",
            f"{statement.party_id}: {self.line.code.value} {self.line.amount:+,} {statement.asset}",
            self.issued.entry_index,
        )
        wanted = set(self.line.transfer_ids)
        for movement in self.bundle.extract.movements:
            if movement.transfer.transfer_id in wanted:
                self._posting(movement, statement.account)
        contract = self.bundle.extract.contracts.get(self.line.contract_id)
        if contract is not None:
            self._contract(contract)

    def _posting(self, movement: Movement, account: str) -> None:
        transfer = movement.transfer
        sign = 1 if transfer.credit == account else -1
        self.total += sign * movement.applied
        moved = f"{movement.applied:,} from {transfer.debit} to {transfer.credit}"
        parts = [f"{transfer.transfer_id}: {moved}"]
        if transfer.price and transfer.quantity:
            due = energy_charge(transfer.price, transfer.quantity)
            exact = "=" if due == movement.applied else "~ (shared or bounded)"
            parts.append(
                f"{transfer.quantity:,} chip-seconds x {transfer.price:,} / 3600 {exact} {due:,}"
            )
        if transfer.reason:
            parts.append(transfer.reason)
        if transfer.corrects:
            parts.append(f"corrects {transfer.corrects}")
        self._step("posting", "; ".join(parts), movement.entry_index)

    def _contract(self, contract: Contract) -> None:
        trace = self.bundle.trace
        start = self.line.interval_start
        hour = next((h for h in contract.hours if h.interval.start == start), None)
        party = self.issued.statement.party_id
        self._step(
            "award",
            f"{contract.contract_id}: {contract.buyer_id} buys from {contract.supplier_id}"
            + ("" if hour is None else f", {hour.chips} chips"),
            trace.results.get(contract.auction_id, -1),
        )
        notice = trace.awards.get((contract.auction_id, party))
        if notice is not None:
            self._step("award notice", f"to {party}", notice)
        if hour is not None:
            prices = trace.prices.get(contract.auction_id, -1)
            self._step("price", _legs_text(hour.legs), prices)
        interval = self._interval(start)
        for published in trace.spot.get(contract.auction_id, ()):
            moved = published.result
            if interval is not None and interval.start <= moved.interval.start < interval.end:
                self._step(
                    "spot",
                    f"at {moved.interval.start}: {len(moved.reclaims)} reclaims,"
                    f" {len(moved.purchases)} purchases, {len(moved.replacements)} replacements",
                    published.entry_index,
                )
        for index in trace.disputes.get(contract.contract_id, ()):
            self._step("dispute", contract.contract_id, index)
        self._delivered(contract, start)
        if interval is not None:
            self._readings(contract, interval)

    def _delivered(self, contract: Contract, start: UnixSeconds) -> None:
        for item in self.bundle.extract.hours:
            hour = item.delivered
            if (hour.contract_id, hour.interval.start) == (contract.contract_id, start):
                self._step("delivered", _delivered_text(hour), item.entry_index)

    def _readings(self, contract: Contract, interval: Interval) -> None:
        """Batches of the contract's pool, and of pools where spot had it served."""
        trace = self.bundle.trace
        pools = {contract.pool_id}
        for published in trace.spot.get(contract.auction_id, ()):
            pools |= {
                move.pool_id
                for move in published.result.replacements
                if move.contract_id == contract.contract_id
            }
        for pool_id in sorted(pools):
            for cell in metering_intervals(interval):
                for read in trace.batches.get((pool_id, cell.start), ()):
                    rows = [
                        row
                        for row in read.batch.readings
                        if row.contract_id == contract.contract_id
                    ]
                    if not rows and pool_id != contract.pool_id:
                        continue
                    healthy = sum(row.healthy for row in rows)
                    corrects = f", corrects {read.batch.corrects}" if read.batch.corrects else ""
                    meter = f"{read.batch.meter_id} {read.batch.sequence}{corrects}"
                    self._step(
                        "reading",
                        f"{pool_id} at {cell.start}: {healthy:,} healthy chip-seconds on"
                        f" {len(rows)} nodes, {meter}",
                        read.entry_index,
                    )

    def _interval(self, start: UnixSeconds) -> Interval | None:
        """Delivery interval that starts then, from what was settled."""
        for item in self.bundle.extract.hours:
            if item.delivered.interval.start == start:
                return item.delivered.interval
        return None

    def _step(self, what: str, detail: str, entry_index: int) -> None:
        leaf = self.bundle.trace.leaves.get(entry_index)
        proved = leaf is not None and self.bundle.proves(entry_index, leaf)
        self.steps.append(Step(what=what, detail=detail, entry_index=entry_index, proved=proved))


def _legs_text(legs: Legs) -> str:
    parts = (
        ("energy", legs.energy),
        ("power", legs.power),
        ("cover", legs.cover),
        ("discount", -legs.discount),
        ("link", legs.link),
        ("surcharge", legs.surcharge),
        ("fee", legs.fee),
    )
    text = " ".join(f"{name} {price:+,}" for name, price in parts if price)
    return f"{text or 'nothing'} micro-USD per chip-hour; contract price {legs.contract:,}"


def _delivered_text(hour: DeliveredHour) -> str:
    parts = [
        f"{name} {quantity:,}"
        for name, quantity in (
            ("delivered", hour.delivered),
            ("reclaimed", hour.reclaimed),
            ("withdrawn", hour.withdrawn),
            ("failed", hour.failed),
            ("gap", hour.gap),
        )
        if quantity
    ]
    return f"{' + '.join(parts)} = {hour.position:,} chip-seconds"
