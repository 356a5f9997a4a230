"""From an outcome to contracts: of an auction whole, of a spot run as far as it binds.

Pure; the worker that clears and the auditor that recomputes call it with the same arguments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from clearing.outcome import Outcome
from clearing.types import Book
from clearing.units import Ppm
from iso_exchange.sequencer.spot_binding import Gate, Stops, binding
from iso_exchange.sequencer.spot_make_whole import make_whole_plans
from settlement.assignment import Assignment
from settlement.contracts import assign
from settlement.strips import by_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the registry says of contracts.

    Attributes:
        derates: Acceptance derate by pool.
        precisions: Accounting precision by chip class.
        nomination_suppliers: Registered supplier by entitlement.
        payers: Who pays the surcharge and fee of a grant, by entitlement.
    """

    derates: Mapping[str, Ppm]
    precisions: Mapping[str, str]
    nomination_suppliers: Mapping[str, str]
    payers: Mapping[str, str] = field(default_factory=dict)


def assigned(book: Book, outcome: Outcome, terms: Terms) -> Assignment:
    """Contracts of an auction, those of strips by the hour.

    Raises:
        SettlementError: it cannot be settled.
    """
    return by_hour(
        assign(
            book,
            outcome,
            derates=terms.derates,
            precisions=terms.precisions,
            nomination_suppliers=terms.nomination_suppliers,
            payers=terms.payers,
        )
    )


def assigned_in_run(
    book: Book, outcome: Outcome, gate: Gate, terms: Terms
) -> tuple[Assignment, Stops]:
    """Contracts of what a run binds, and what it does not renew.

    The assignment's intervals are those up to the last that anything is bound in. Bids that
    lose in them at the prices are made whole out of what others gain in them
    (``spot_make_whole``); the make-whole of the outcome is for the whole look-ahead.

    Raises:
        SettlementError: it cannot be settled.
    """
    found = binding(book, outcome, gate)
    whole = assigned(book, found.outcome, terms)
    ends = [hour.interval.end for contract in whole.contracts for hour in contract.hours]
    ends.extend(
        item.interval.end for item in (*whole.spare_hours, *whole.reserve_hours, *whole.idle_hours)
    )
    last = max(ends, default=0)
    assignment = dataclasses.replace(
        whole,
        intervals=tuple(item for item in whole.intervals if item.end <= last),
        make_whole=make_whole_plans(book, whole),
    )
    return assignment, Stops(auction_id=outcome.auction_id, stops=found.stops)


def concerned(assignment: Assignment) -> list[str]:
    """Participants who are told of a run's awards: parties of its contracts, sorted.

    A standing order that gets nothing stays as it is; its owner reads why in the order.
    """
    return sorted(
        {
            participant_id
            for contract in assignment.contracts
            for participant_id in (contract.buyer_id, contract.supplier_id)
        }
    )
