"""The exchange's own services lie from the start: everything is signed and consistent.

Each lie is submitted in place of the honest document or figure, so the log, its headers,
signatures and digests are all in order. Only recomputing finds it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clearing import codec
from clearing.outcome import Outcome
from iso_exchange.audit.report import Report, Result, Step
from iso_exchange.audit.verify import verify
from iso_exchange.commands import (
    CloseAuction,
    NotifyAward,
    PublishCommunityTotal,
    PublishPrices,
    PublishResult,
    SettleHour,
)
from iso_exchange.publication import AwardNotice, PricesDocument
from iso_exchange.sequencer.sequencer import Submission
from iso_exchange.signer import make_document
from settlement.assignment import Assignment
from settlement.types import DeliveredHours, Postings
from tests.integration.bundles import make_bundles, replaced
from tests.integration.market_day import Tamper, service_submission


def altered(kind: type, field: str, document: type, change: Callable[[Any], Any]) -> Tamper:
    """Tamper with the first document of a kind of command."""
    seen: list[object] = []

    def tamper(submission: Submission) -> Submission:
        command = submission.command
        if not isinstance(command, kind) or seen:
            return submission
        seen.append(command)
        digest = bytes.fromhex(getattr(command, field))
        honest = next(item for item in submission.documents if item.sha256 == digest)
        body = codec.encode(change(codec.decode(honest.body, document)))
        lie = make_document(honest.kind, body, public=honest.public, owners=honest.owners)
        others = tuple(item for item in submission.documents if item is not honest)
        return dataclasses.replace(
            service_submission(replaced(command, **{field: lie.sha256.hex()}), submission),
            documents=(*others, lie),
        )

    return tamper


def said(kind: type, **changes: object) -> Tamper:
    """Tamper with fields of a kind of command."""

    def tamper(submission: Submission) -> Submission:
        if not isinstance(submission.command, kind):
            return submission
        return service_submission(replaced(submission.command, **changes), submission)

    return tamper


def with_first(value: Any, field: str, **changes: Any) -> Any:
    """A value whose first element of a tuple field is changed."""
    first, *rest = getattr(value, field)
    new = {name: change(getattr(first, name)) for name, change in changes.items()}
    return dataclasses.replace(value, **{field: (dataclasses.replace(first, **new), *rest)})


def more_chips(chips: tuple[int, ...]) -> tuple[int, ...]:
    return (chips[0] + 8, *chips[1:])


LIES: dict[str, tuple[Step, Tamper]] = {
    "award": (
        Step.CERTIFICATES,
        altered(
            PublishResult,
            "outcome_sha256",
            Outcome,
            lambda outcome: with_first(outcome, "awards", chips=more_chips),
        ),
    ),
    "price": (
        Step.CERTIFICATES,
        altered(
            PublishResult,
            "outcome_sha256",
            Outcome,
            lambda outcome: with_first(outcome, "prices", energy=lambda price: price + 1_000),
        ),
    ),
    "contract": (
        Step.CONTRACTS,
        altered(
            PublishResult,
            "assignment_sha256",
            Assignment,
            lambda value: with_first(value, "contracts", notice_s=lambda notice: notice + 1),
        ),
    ),
    "award postings": (
        Step.CONTRACTS,
        altered(
            PublishResult,
            "postings_sha256",
            Postings,
            lambda value: dataclasses.replace(
                value,
                transfers=tuple(
                    dataclasses.replace(item, reason="other") if not index else item
                    for index, item in enumerate(value.transfers)
                ),
            ),
        ),
    ),
    "book salt": (Step.BOOKS, said(PublishResult, book_salt="00" * 32)),
    "book commitment": (Step.BOOKS, said(CloseAuction, book_commitment="00" * 32)),
    "volume": (
        Step.RESULTS,
        altered(
            PublishPrices,
            "prices_sha256",
            PricesDocument,
            lambda value: with_first(value, "volumes", firm=lambda chips: chips + 8),
        ),
    ),
    "gap": (Step.RESULTS, said(PublishPrices, certified_gap_ppb=1)),
    "notice": (
        Step.RESULTS,
        altered(
            NotifyAward,
            "notice_sha256",
            AwardNotice,
            lambda value: dataclasses.replace(value, orders=()),
        ),
    ),
    "delivered": (
        Step.HOURS,
        altered(
            SettleHour,
            "delivered_sha256",
            DeliveredHours,
            lambda value: with_first(value, "hours", delivered=lambda done: done - 300),
        ),
    ),
    "amount": (
        Step.HOURS,
        altered(
            SettleHour,
            "postings_sha256",
            Postings,
            lambda value: dataclasses.replace(
                value,
                transfers=tuple(
                    dataclasses.replace(item, amount=item.amount + 1)
                    if item.transfer_id == last_posted(value)
                    else item
                    for item in value.transfers
                ),
            ),
        ),
    ),
    "community": (Step.COMMUNITIES, said(PublishCommunityTotal, surcharge=1)),
    "community's delivered": (Step.COMMUNITIES, said(PublishCommunityTotal, delivered=1)),
    "community's name": (Step.COMMUNITIES, said(PublishCommunityTotal, community_id="town-b")),
}


def last_posted(value: Postings) -> str:
    """The last transfer that is not bound to a hold."""
    free = [item for item in value.transfers if not item.pending_id and item.asset == "USD"]
    return free[-1].transfer_id


@pytest.mark.parametrize("name", LIES)
def test_a_lie_of_the_exchange_fails_its_step(name: str, tmp_path: Path) -> None:
    step, tamper = LIES[name]
    made = make_bundles(tmp_path, tamper)
    report = verify(made.auditor, made.vkey)
    assert report.step(step).result is Result.FAILED, summary(report)
    assert report.step(step).place.startswith("entry ")
    chain = (Step.FILES, Step.CHECKPOINT, Step.TREE, Step.BATCHES, Step.SIGNATURES)
    assert {report.step(other).result for other in chain} == {Result.OK}


def test_a_false_tie_seed_is_found_by_anybody(tmp_path: Path) -> None:
    tamper = altered(
        PublishPrices,
        "prices_sha256",
        PricesDocument,
        lambda value: dataclasses.replace(value, tie_seed="00" * 32),
    )
    made = make_bundles(tmp_path, tamper)
    report = verify(made.public, made.vkey)
    assert [step.name for step in report.failed] == ["RESULTS"]
    assert "tie seed" in report.failed[0].detail


def summary(report: Report) -> str:
    return "; ".join(f"{step.name}: {step.place} {step.detail}" for step in report.failed)
