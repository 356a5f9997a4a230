"""The examples in docs/reference/log-format.md are what the code writes."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from settlement.ledger import envelope, proofs
from settlement.ledger.keys import SigningKey
from tests.conformance import sample_log

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "reference" / "log-format.md"
EXAMPLE = re.compile(
    r"(<!-- example: (?P<name>[a-z-]+) -->\n```[a-z]*\n)(?P<text>.*?)(```\n)", re.DOTALL
)
PARTICIPANT = SigningKey.from_seed(b"a" * 32)


@functools.cache
def examples() -> dict[str, str]:
    """What the document should show, by the name in the comment above it."""
    log = sample_log.build(sample_log.entries_of(300))
    signed = envelope.sign("application/vnd.iso-exchange.bid.v1", b'{"chips":512}', [PARTICIPANT])
    commitment = proofs.commit(bytes(range(32)), signed)
    keys = (sample_log.LOG_NOTE_KEY, sample_log.WITNESS_NOTE_KEY)
    return {
        "envelope": signed.decode() + "\n",
        "commitment-leaf": proofs.commitment_leaf(commitment).decode() + "\n",
        "checkpoint": log.files["checkpoint"].decode(),
        "verifier-keys": "".join(f"{key.to_vkey()}\n" for key in keys),
        "files": "".join(f"{path}\n" for path in sorted(log.files)),
        "proof": log.proof_file(258).decode(),
    }


def test_the_document_shows_every_example() -> None:
    shown = [match["name"] for match in EXAMPLE.finditer(DOCUMENT.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted(examples())


@pytest.mark.parametrize("name", sorted(examples()))
def test_the_example_is_what_the_code_writes(name: str) -> None:
    shown = {
        match["name"]: match["text"]
        for match in EXAMPLE.finditer(DOCUMENT.read_text(encoding="utf-8"))
    }
    assert shown[name] == examples()[name]
