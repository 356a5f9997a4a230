from __future__ import annotations

import functools
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.ledger import envelope, proofs
from settlement.ledger.errors import (
    CheckpointError,
    EnvelopeError,
    LedgerErrorCode,
    LedgerFormatError,
    MerkleError,
    ProofError,
)
from settlement.ledger.proofs import LogProof
from tests.conformance import sample_log

SALT = bytes(range(32))


@functools.cache
def sample() -> sample_log.SampleLog:
    return sample_log.build(sample_log.entries_of(300))


def test_a_proof_file_has_the_lines_of_the_specification() -> None:
    text = proofs.encode_proof(
        LogProof(index=7, path=(bytes(32),), checkpoint=b"o\n\nsig\n", extra=b"more")
    )
    zeros = "A" * 43 + "="
    expected = f"c2sp.org/tlog-proof@v1\nextra bW9yZQ==\nindex 7\n{zeros}\n\no\n\nsig\n"
    assert text == expected.encode()


@given(
    index=st.integers(0, 2**63 - 1),
    path=st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    extra=st.none() | st.binary(min_size=1, max_size=50),
    checkpoint=st.binary(min_size=1, max_size=100),
)
def test_proof_files_read_back(
    index: int, path: list[bytes], extra: bytes | None, checkpoint: bytes
) -> None:
    proof = LogProof(index=index, path=tuple(path), checkpoint=checkpoint, extra=extra)
    assert proofs.decode_proof(proofs.encode_proof(proof)) == proof


@pytest.mark.parametrize("index", [0, 1, 255, 256, 299])
def test_a_proof_file_holds_offline(index: int) -> None:
    log = sample()
    opened = proofs.verify_proof(
        log.entries[index],
        log.proof_file(index),
        sample_log.LOG_NOTE_KEY,
        witnesses=[sample_log.WITNESS_NOTE_KEY],
        witness_count_min=1,
    )
    assert opened.checkpoint.size == 300
    assert opened.cosignatures[0].time_seconds == sample_log.COSIGNED_AT_SECONDS


@given(position=st.integers(min_value=0), value=st.integers(1, 255))
def test_a_changed_byte_of_a_proof_file_is_found(position: int, value: int) -> None:
    log = sample()
    text = bytearray(log.proof_file(299))
    text[position % len(text)] ^= value
    with pytest.raises(LedgerFormatError):
        proofs.verify_proof(
            log.entries[299],
            bytes(text),
            sample_log.LOG_NOTE_KEY,
            witnesses=[sample_log.WITNESS_NOTE_KEY],
            witness_count_min=1,
        )


def test_a_proof_is_for_one_entry_one_log_and_enough_witnesses() -> None:
    log = sample()
    text = log.proof_file(3)
    with pytest.raises(MerkleError) as merkle_refusal:
        proofs.verify_proof(log.entries[4], text, sample_log.LOG_NOTE_KEY)
    assert merkle_refusal.value.code is LedgerErrorCode.PROOF_ROOT
    with pytest.raises(CheckpointError) as refusal:
        proofs.verify_proof(
            log.entries[3],
            text,
            sample_log.LOG_NOTE_KEY,
            witnesses=[sample_log.WITNESS_NOTE_KEY],
            witness_count_min=2,
        )
    assert refusal.value.code is LedgerErrorCode.NOTE_TOO_FEW_WITNESSES


HEADER = "c2sp.org/tlog-proof@v1\n"
HASH = "A" * 43 + "=\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER,
        f"{HEADER}index 0\n",
        f"{HEADER}index 0\n\n",
        "c2sp.org/tlog-proof@v2\nindex 0\n\nx\n",
        f"{HEADER}\nx\n",
        f"{HEADER}index 01\n\nx\n",
        f"{HEADER}index -1\n\nx\n",
        f"{HEADER}index {2**63}\n\nx\n",
        f"{HEADER}extra \nindex 0\n\nx\n",
        f"{HEADER}extra !\nindex 0\n\nx\n",
        f"{HEADER}extra eA==\nextra eA==\nindex 0\n\nx\n",
        f"{HEADER}index 0\nextra eA==\n\nx\n",
        f"{HEADER}index 0\nAAAA\n\nx\n",
        f"{HEADER}index 0\r\n{HASH}\nx\n",
        f"{HEADER}index 0\n{HASH * 64}\nx\n",
        f"{HEADER}index \u0660\n\nx\n",
    ],
)
def test_a_malformed_proof_file_is_refused(text: str) -> None:
    with pytest.raises(ProofError) as caught:
        proofs.decode_proof(text.encode())
    assert caught.value.code is LedgerErrorCode.PROOF_FILE_MALFORMED


def test_a_proof_file_has_a_largest_size() -> None:
    with pytest.raises(ProofError) as caught:
        proofs.decode_proof(b"x" * (proofs.PROOF_BYTES_MAX + 1))
    assert caught.value.code is LedgerErrorCode.PROOF_FILE_TOO_LARGE


@pytest.mark.parametrize(
    "proof",
    [
        LogProof(index=-1, path=(), checkpoint=b"x"),
        LogProof(index=0, path=(b"short",), checkpoint=b"x"),
        LogProof(index=0, path=(), checkpoint=b""),
        LogProof(index=0, path=(), checkpoint=b"x", extra=b""),
    ],
)
def test_a_proof_that_would_not_read_back_is_not_written(proof: LogProof) -> None:
    with pytest.raises(ProofError) as caught:
        proofs.encode_proof(proof)
    assert caught.value.code is LedgerErrorCode.PROOF_FILE_MALFORMED


def test_a_commitment_is_a_hash_over_prefix_salt_and_envelope() -> None:
    commitment = proofs.commit(SALT, b"envelope")
    preimage = b"iso-exchange/commitment/v1\n" + SALT + b"envelope"
    assert commitment == hashlib.sha256(preimage).digest()
    assert commitment != proofs.commit(bytes(32), b"envelope")


def test_a_commitment_opens_with_its_salt_and_envelope_only() -> None:
    commitment = proofs.commit(SALT, b"envelope")
    proofs.open_commitment(commitment, SALT, b"envelope")
    for salt, opened in ((bytes(32), b"envelope"), (SALT, b"envelopf"), (SALT, b"")):
        with pytest.raises(ProofError) as caught:
            proofs.open_commitment(commitment, salt, opened)
        assert caught.value.code is LedgerErrorCode.COMMITMENT_MISMATCH


@pytest.mark.parametrize("length", [0, 31, 33])
def test_salts_and_commitments_have_32_bytes(length: int) -> None:
    with pytest.raises(ProofError) as caught:
        proofs.commit(bytes(length), b"")
    assert caught.value.code is LedgerErrorCode.COMMITMENT_SALT_LENGTH
    with pytest.raises(ProofError) as caught:
        proofs.commitment_leaf(bytes(length))
    assert caught.value.code is LedgerErrorCode.COMMITMENT_LENGTH


def test_a_commitment_leaf_reads_back() -> None:
    commitment = proofs.commit(SALT, b"envelope")
    assert proofs.parse_commitment_leaf(proofs.commitment_leaf(commitment)) == commitment


@pytest.mark.parametrize(
    "leaf",
    [
        envelope.unsigned("application/other", bytes(32)),
        envelope.unsigned(proofs.COMMITMENT_PAYLOAD_TYPE, bytes(31)),
        proofs.commitment_leaf(bytes(32)).replace(b":", b": "),
        envelope.sign(proofs.COMMITMENT_PAYLOAD_TYPE, bytes(32), [sample_log.LOG_KEY]),
    ],
)
def test_another_leaf_is_not_a_commitment(leaf: bytes) -> None:
    with pytest.raises(ProofError) as caught:
        proofs.parse_commitment_leaf(leaf)
    assert caught.value.code is LedgerErrorCode.COMMITMENT_LEAF


def test_a_leaf_that_is_no_envelope_is_not_a_commitment() -> None:
    with pytest.raises(EnvelopeError) as caught:
        proofs.parse_commitment_leaf(b"x")
    assert caught.value.code is LedgerErrorCode.ENVELOPE_NOT_JSON
