"""Signatures that are checked beside the walk are findings like any other, none is forgotten."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from iso_exchange.audit.report import Record, Step
from iso_exchange.audit.signatures import BATCH_COUNT, BATCHES_WAITING_MAX, Signatures
from iso_exchange.signature_checks import SignatureCheck
from settlement.ledger.keys import SigningKey

KEY = SigningKey.from_seed(bytes(32))
GOOD = SignatureCheck(KEY.public, KEY.sign(b"x"), b"x")
FORGED = GOOD._replace(message=b"y")


def _found(count: int, forged: set[int]) -> Record:
    record = Record()
    checked = Signatures(record)
    for number in range(count):
        checked.add(number, (FORGED if number in forged else GOOD,))
    checked.finish()
    checked.finish()  # once more changes nothing
    return record


def _of(record: Record) -> tuple[int, str]:
    step = record.steps()[Step.SIGNATURES.number - 1]
    return step.failures, step.place


@pytest.mark.parametrize("count", [0, 1, BATCH_COUNT, 3 * BATCH_COUNT + 1])
def test_nothing_is_found_where_all_hold(count: int) -> None:
    assert _of(_found(count, set())) == (0, "")


def test_every_forgery_is_found_and_the_first_is_named() -> None:
    count = (BATCHES_WAITING_MAX + 3) * BATCH_COUNT
    forged = {BATCH_COUNT + 7, 9, count - 1, count // 2}
    assert _of(_found(count, forged)) == (4, "entry 9")


@pytest.mark.parametrize("command", [["/nowhere"], ["true"], ["sh", "-c", "printf ab"]])
def test_without_the_other_process_this_one_checks_all(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen

    def other(_: object, **named: Any) -> subprocess.Popen[bytes]:
        return start(command, **named)

    monkeypatch.setattr("iso_exchange.audit.signatures.subprocess.Popen", other)
    forged = {3, BATCH_COUNT + 3, 4 * BATCH_COUNT + 3}
    assert _of(_found(4 * BATCH_COUNT + 10, forged)) == (3, "entry 3")
