"""A checkpoint of a public log with the cosignatures of a public witness, as they were served.

The log is Google's staging log of certificates for the first half of 2026, the witness that of
Geomys; its keys are those it publishes. Nothing here was made by this project.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from settlement.ledger.checkpoint import (
    latest_cosignatures,
    parse_checkpoint,
    parse_note,
    verify_note,
)
from settlement.ledger.errors import CheckpointError, LedgerErrorCode
from settlement.ledger.keys import NoteAlgorithm, NoteKey, parse_vkey

FOLDER = Path(__file__).parent / "notes"
NOTE = (FOLDER / "cosigned-checkpoint").read_bytes()
KEYS = [parse_vkey(line) for line in (FOLDER / "witness-vkeys").read_text().splitlines()]


def test_both_cosignatures_of_a_public_witness_hold() -> None:
    note = parse_note(NOTE)
    assert parse_checkpoint(note.text).size == 185_550_722
    found = latest_cosignatures(verify_note(note, KEYS), ())
    assert [line.key.algorithm for line in found] == [
        NoteAlgorithm.COSIGNATURE_V1,
        NoteAlgorithm.ML_DSA_44,
    ]
    (seconds,) = {line.time_seconds for line in found}
    assert seconds is not None
    assert dt.datetime.fromtimestamp(seconds, dt.UTC).year == 2026


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.algorithm.name)
@pytest.mark.parametrize("line", [0, 1, 2])
def test_neither_holds_over_another_checkpoint(key: NoteKey, line: int) -> None:
    lines = NOTE.split(b"\n")
    lines[line] = {0: b"other.example", 1: b"185550723", 2: lines[2].replace(b"Y", b"Z", 1)}[line]
    with pytest.raises(CheckpointError) as caught:
        verify_note(parse_note(b"\n".join(lines)), [key])
    assert caught.value.code is LedgerErrorCode.NOTE_BAD_SIGNATURE
