"""Disputes: a counter reading freezes the amount in question, a decision gives it back.

The amount in question is what a gap of the contested chip-seconds would cost (SETTLEMENT
R8): max(pi_c, g_c) per chip-second. It is frozen in ``dispute:<contract>``, out of the cash of
who would pay: the supplier when the buyer says that less was delivered, the buyer when the
supplier says more. A decision gives it back; what an upheld dispute changes is a correction
of the hour (R9), with the counter readings in the place of the meter's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clearing.units import ChipSeconds, MicroUsd, UnixSeconds, energy_charge
from iso_exchange.money_commands import (
    DecideDispute,
    DisputeHour,
)
from iso_exchange.sequencer.after_auction import mark_due
from iso_exchange.sequencer.effects import Accepted, Meta, post
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import Dispute, State
from settlement.ledger import accounts
from settlement.metering.billable import metering_intervals
from settlement.postings import reasons, terms
from settlement.postings.correction import CORRECTION_SECONDS_MAX
from settlement.types import (
    USD,
    Contract,
    ContractHour,
    DeliveredHour,
    Phase,
    Postings,
    Transfer,
    TransferCode,
)

REASON_LENGTH_MAX: Final = 500


def dispute_hour(state: State, command: DisputeHour, meta: Meta) -> Accepted | Rejected:
    """Contest one settled contract-hour and freeze the amount in question."""
    if command.dispute_id in state.disputes:
        return _refused(
            Code.ALREADY_EXISTS, "dispute_id", "choose another identifier", command.dispute_id
        )
    contract = state.contracts.get(command.contract_id)
    signer = command.header.signer_id
    if contract is None or signer not in (contract.buyer_id, contract.supplier_id):
        return _refused(Code.NOT_FOUND, "contract_id", "list your contracts", command.contract_id)
    hour = next((h for h in contract.hours if h.interval.start == command.hour_start), None)
    read = _delivered(state, contract, command.hour_start)
    if hour is None or read is None:
        return _refused(
            Code.WRONG_STATE,
            "hour_start_time",
            "dispute an hour of the contract once it is settled",
            str(command.hour_start),
        )
    if meta.now > hour.interval.end + CORRECTION_SECONDS_MAX:
        return _refused(
            Code.WRONG_STATE,
            "hour_start_time",
            "hours are disputed up to 60 days after their end",
            str(command.hour_start),
        )
    if any(
        item.decision is None
        and (item.opened.contract_id, item.opened.hour_start)
        == (command.contract_id, command.hour_start)
        for item in state.disputes.values()
    ):
        return _refused(
            Code.ALREADY_EXISTS, "contract_id", "this hour is disputed already", command.contract_id
        )
    buys = signer == contract.buyer_id
    quantity = _contested(state, contract, hour, command, read, buys=buys)
    if isinstance(quantity, Rejected):
        return quantity
    payer_id = contract.supplier_id if buys else contract.payer_id or contract.buyer_id
    frozen = energy_charge(terms.gap_price(contract, hour), quantity)
    transfers = _freeze(command, contract, payer_id, frozen, quantity)
    applied = post(
        state, meta, Postings(postings_id=f"dispute/{command.dispute_id}", transfers=transfers)
    )
    if isinstance(applied, Rejected):
        return applied
    state.disputes[command.dispute_id] = Dispute(
        opened=command, auction_id=contract.auction_id, payer_id=payer_id, frozen=frozen
    )
    return Accepted(owners=_owners(contract), transfers=applied)


def decide_dispute(state: State, command: DecideDispute, meta: Meta) -> Accepted | Rejected:
    """Give what is frozen back; an upheld dispute's readings correct the hour."""
    found = state.disputes.get(command.dispute_id)
    if found is None:
        return _refused(Code.NOT_FOUND, "dispute_id", "list the disputes", command.dispute_id)
    if found.decision is not None:
        return _refused(Code.WRONG_STATE, "dispute_id", "it is decided", command.dispute_id)
    opened = found.opened
    if command.upheld and not opened.counter_readings:
        return _refused(
            Code.INVALID_VALUE,
            "upheld",
            "a dispute without counter readings says nothing to correct with: dismiss it, or have"
            " the meter correct its batch",
            command.dispute_id,
        )
    contract = state.contracts[opened.contract_id]
    transfers = _release(found, contract)
    applied = post(
        state, meta, Postings(postings_id=f"decision/{command.dispute_id}", transfers=transfers)
    )
    if isinstance(applied, Rejected):
        return applied
    found.decision = command
    if command.upheld:
        hour = next(h for h in contract.hours if h.interval.start == opened.hour_start)
        for start, healthy in _healthy(state, contract, opened).items():
            cell = next(c for c in metering_intervals(hour.interval) if c.start == start)
            state.upheld[contract.contract_id, start] = healthy
            mark_due(state, contract.pool_id, cell, meta.now)
    return Accepted(owners=_owners(contract), transfers=applied)


def _contested(
    state: State,
    contract: Contract,
    hour: ContractHour,
    command: DisputeHour,
    read: DeliveredHour,
    *,
    buys: bool,
) -> ChipSeconds | Rejected:
    """Chip-seconds by which the signer's readings differ from the meter's in its favour."""
    if not command.counter_readings:
        return read.position
    cells = {cell.start: cell for cell in metering_intervals(hour.interval)}
    seen = set()
    for item in command.counter_readings:
        key = (item.node_id, item.interval.start)
        if key in seen or item.healthy < 0:
            return _refused(
                Code.INVALID_VALUE,
                "counter_readings.node_id",
                "one reading of zero or more per node and metering interval",
                item.node_id,
            )
        seen.add(key)
        if cells.get(item.interval.start) != item.interval:
            return _refused(
                Code.INVALID_VALUE,
                "counter_readings.start_time",
                "counter readings are of whole metering intervals of the hour",
                str(item.interval.start),
            )
    total = sum(
        max(0, metered - counted if buys else counted - metered)
        for metered, counted in _compared(state, contract, command)
    )
    if total == 0:
        return _refused(
            Code.INVALID_VALUE,
            "counter_readings",
            "the counter readings claim nothing against the meter's",
            "0 chip-seconds",
        )
    return ChipSeconds(total)


def _compared(state: State, contract: Contract, command: DisputeHour) -> Iterator[tuple[int, int]]:
    """Meter's and counter's healthy chip-seconds of every node and interval named."""
    for item in command.counter_readings:
        batch = state.batches.get((contract.pool_id, item.interval.start))
        rows = batch.readings if batch is not None else ()
        metered = sum(
            row.healthy
            for row in rows
            if (row.contract_id, row.node_id) == (contract.contract_id, item.node_id)
        )
        yield metered, int(item.healthy)


def _healthy(
    state: State, contract: Contract, opened: DisputeHour
) -> dict[UnixSeconds, ChipSeconds]:
    """Healthy chip-seconds of each contested interval with the counter's nodes put in."""
    found: dict[UnixSeconds, int] = {}
    for item, (metered, counted) in zip(
        opened.counter_readings, _compared(state, contract, opened), strict=True
    ):
        start = item.interval.start
        if start not in found:
            batch = state.batches.get((contract.pool_id, start))
            rows = batch.readings if batch is not None else ()
            known = sum(row.healthy for row in rows if row.contract_id == contract.contract_id)
            found[start] = state.upheld.get((contract.contract_id, start), ChipSeconds(known))
        found[start] += counted - metered
    return {start: ChipSeconds(max(0, amount)) for start, amount in sorted(found.items())}


def _delivered(state: State, contract: Contract, start: UnixSeconds) -> DeliveredHour | None:
    for item in state.delivered.get((contract.auction_id, start), ()):
        if item.contract_id == contract.contract_id:
            return item
    return None


def _freeze(
    command: DisputeHour,
    contract: Contract,
    payer_id: str,
    amount: MicroUsd,
    quantity: ChipSeconds,
) -> tuple[Transfer, ...]:
    if amount == 0:
        return ()
    return (
        Transfer(
            transfer_id=f"dispute/{command.dispute_id}",
            asset=USD,
            debit=accounts.cash(payer_id),
            credit=accounts.dispute(contract.contract_id),
            amount=amount,
            phase=Phase.POSTED,
            code=TransferCode.DISPUTE,
            reason=reasons.DISPUTED,
            contract_id=contract.contract_id,
            interval_start=command.hour_start,
            quantity=quantity,
        ),
    )


def _release(found: Dispute, contract: Contract) -> tuple[Transfer, ...]:
    if found.frozen == 0:
        return ()
    return (
        Transfer(
            transfer_id=f"decision/{found.opened.dispute_id}",
            asset=USD,
            debit=accounts.dispute(contract.contract_id),
            credit=accounts.cash(found.payer_id),
            amount=found.frozen,
            phase=Phase.POSTED,
            code=TransferCode.DISPUTE,
            reason=reasons.DISPUTE_DECIDED,
            contract_id=contract.contract_id,
            interval_start=found.opened.hour_start,
            corrects=f"dispute/{found.opened.dispute_id}",
        ),
    )


def _owners(contract: Contract) -> tuple[str, ...]:
    return tuple(sorted({contract.buyer_id, contract.supplier_id}))


def _refused(code: Code, field: str, advice: str, got: str) -> Rejected:
    return Rejected(code=code, field=field, advice=advice, got=got)
