"""The audit of credits finds a forged root, outcome and contracts, and a team that overspent."""

from __future__ import annotations

import dataclasses
import hashlib

from clearing import codec
from clearing.outcome import Outcome
from clearing.units import MicroUsdPerChipHour, UnixSeconds
from iso_exchange import credit_commands as k
from iso_exchange.auctioneer.credits import Given
from iso_exchange.audit.credits import CreditAudit
from iso_exchange.audit.report import Record, Step
from iso_exchange.audit.results import EntryContext
from iso_exchange.sequencer.credit_state import CreditRound
from settlement.assignment import Assignment
from tests.unit.sequencer.test_credits import bid, close, documents, grant, hour, shared
from tests.unit.sequencer.world import World


def round_of_two() -> tuple[World, CreditRound, CreditAudit]:
    """A closed round of two bids, and an audit that saw them."""
    world, audit = shared(), CreditAudit(record=Record())
    for team, chips, limit in (("red", 24, 5), ("blue", 24, 3)):
        world.must(grant(world, team, 1_000))
        index = world.index
        command = bid(world, team, chips, limit)
        world.must(command)
        leaf = hashlib.sha256(str(index).encode()).digest()
        audit.after(world.state, command, EntryContext(index=index, leaf_hash=leaf, documents={}))
    return world, close(world), audit


def published(found: Given) -> tuple[k.PublishCreditRound, EntryContext]:
    bodies = (found.book, found.outcome, found.assignment, found.postings)
    digests = [hashlib.sha256(body).hexdigest() for body in bodies]
    command = k.PublishCreditRound(
        header=World().header("exchange"),
        book_id="shared",
        start=hour(0),
        book_sha256=digests[0],
        outcome_sha256=digests[1],
        assignment_sha256=digests[2],
        postings_sha256=digests[3],
    )
    documents_ = dict(zip(digests, bodies, strict=True))
    return command, EntryContext(index=99, leaf_hash=bytes(32), documents=documents_)


def findings(audit: CreditAudit) -> set[str]:
    return {step.name for step in Step if audit.record.has_failed(step)}


def gate(world: World, decided: CreditRound, audit: CreditAudit, root: str) -> None:
    command = k.CloseCreditRound(
        header=world.header("exchange"),
        book_id="shared",
        start=UnixSeconds(decided.start),
        bid_count=decided.bid_count,
        book_root=root,
    )
    audit.after(world.state, command, EntryContext(index=98, leaf_hash=bytes(32), documents={}))


def test_what_is_right_is_right() -> None:
    world, decided, audit = round_of_two()
    gate(world, decided, audit, decided.book_root)
    audit.before(world.state, *published(documents(world, decided)))
    audit.finish(world.state)
    assert findings(audit) == set()


def test_another_root_is_found() -> None:
    world, decided, audit = round_of_two()
    gate(world, decided, audit, "ab" * 32)
    assert findings(audit) == {Step.BOOKS.name}


def test_a_cheaper_price_is_found() -> None:
    world, decided, audit = round_of_two()
    found = documents(world, decided)
    outcome = codec.decode(found.outcome, Outcome)
    prices = tuple(
        dataclasses.replace(price, energy=MicroUsdPerChipHour(price.energy - 1_000))
        for price in outcome.prices
    )
    forged = codec.encode(dataclasses.replace(outcome, prices=prices))
    audit.before(world.state, *published(dataclasses.replace(found, outcome=forged)))
    assert Step.CERTIFICATES.name in findings(audit)


def test_contracts_of_somebody_else_are_found() -> None:
    world, decided, audit = round_of_two()
    found = documents(world, decided)
    assignment = codec.decode(found.assignment, Assignment)
    contracts = tuple(
        dataclasses.replace(item, buyer_id="stranger") for item in assignment.contracts
    )
    forged = codec.encode(dataclasses.replace(assignment, contracts=contracts))
    audit.before(world.state, *published(dataclasses.replace(found, assignment=forged)))
    assert findings(audit) == {Step.CONTRACTS.name}


def test_credits_that_nobody_gave_are_found() -> None:
    world, _, audit = round_of_two()
    world.state.credit_teams["lab", "red"].spent += 1
    audit.finish(world.state)
    assert findings(audit) == {Step.BALANCES.name}
