"""Proof files and salted commitments: what one participant needs, offline.

A proof file (``.tlog-proof``) shows with the log's key alone that an entry is in a log.
A commitment lets a confidential entry be logged without publishing it: the leaf holds a
salted hash, its owner holds salt and envelope and can open it to whom it likes.

Source: C2SP tlog-proof (c2sp.org/tlog-proof).
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from settlement.ledger import envelope, merkle
from settlement.ledger.base64_strict import decode_base64, encode_base64
from settlement.ledger.checkpoint import NOTE_BYTES_MAX, OpenedCheckpoint, open_checkpoint
from settlement.ledger.errors import LedgerErrorCode, ProofError
from settlement.ledger.keys import NoteKey

PROOF_HEADER: Final = "c2sp.org/tlog-proof@v1"
PROOF_PATH_MAX: Final = 63
PROOF_BYTES_MAX: Final = NOTE_BYTES_MAX + 64 * 1024

COMMITMENT_PREFIX: Final = b"iso-exchange/commitment/v1\n"
COMMITMENT_BYTES: Final = 32
COMMITMENT_SALT_BYTES: Final = 32
COMMITMENT_PAYLOAD_TYPE: Final = "application/vnd.iso-exchange.commitment.v1"

# What ``envelope.unsigned`` writes around the 43 digits and the padding of 32 bytes.
_LEAF_BEGIN: Final = b'{"payload":"'
_LEAF_END: Final = b'","payloadType":"%b","signatures":[]}' % COMMITMENT_PAYLOAD_TYPE.encode()
_COMMITMENT_LEAF: Final = re.compile(
    re.escape(_LEAF_BEGIN) + rb"([A-Za-z0-9+/]{43}=)" + re.escape(_LEAF_END)
)
_INDEX_LINE: Final = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """The parts of a proof file; nothing in it is verified.

    Attributes:
        index: Of the entry, zero-based.
        path: Audit path, from the leaf's sibling up.
        checkpoint: Signed note, verbatim.
        extra: Opaque bytes that no signature covers, not empty; None when absent.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None


def encode_proof(proof: LogProof) -> bytes:
    """Text of a proof file.

    Raises:
        ProofError: ``PROOF_FILE_MALFORMED`` for parts that would not read back.
    """
    lines = [PROOF_HEADER]
    if proof.extra is not None:
        lines.append(f"extra {encode_base64(proof.extra)}")
    lines.append(f"index {proof.index}")
    lines.extend(encode_base64(hash_) for hash_ in proof.path)
    text = "".join(f"{line}\n" for line in lines).encode() + b"\n" + proof.checkpoint
    if decode_proof(text) != proof:
        raise _malformed("the proof does not read back")
    return text


def decode_proof(text: bytes) -> LogProof:
    """Read a proof file without checking it.

    Raises:
        ProofError: ``PROOF_FILE_TOO_LARGE``, ``PROOF_FILE_MALFORMED``.
    """
    if len(text) > PROOF_BYTES_MAX:
        raise ProofError(
            LedgerErrorCode.PROOF_FILE_TOO_LARGE,
            f"{len(text)} bytes, the limit is {PROOF_BYTES_MAX}",
        )
    # The first empty line ends the proof: none of its lines is empty.
    header, separator, checkpoint = text.partition(b"\n\n")
    if not separator or not checkpoint:
        raise _malformed("no checkpoint")
    try:
        lines = header.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("not ASCII before the checkpoint") from error
    if lines.pop(0) != PROOF_HEADER:
        raise _malformed(f"the first line is not {PROOF_HEADER}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "))
        if not extra:
            raise _malformed("not base64, or empty", "extra")
    match = _INDEX_LINE.fullmatch(lines.pop(0)) if lines else None
    if match is None or int(match[1]) > merkle.TREE_SIZE_MAX:
        raise _malformed("expected 'index' and a decimal number", "index")
    if len(lines) > PROOF_PATH_MAX:
        raise _malformed(f"more than {PROOF_PATH_MAX} hashes", "path")
    path = []
    for number, line in enumerate(lines):
        hash_ = decode_base64(line)
        if hash_ is None or len(hash_) != merkle.HASH_BYTES:
            raise _malformed("not the base64 of 32 bytes", f"path[{number}]")
        path.append(hash_)
    return LogProof(index=int(match[1]), path=tuple(path), checkpoint=checkpoint, extra=extra)


def verify_proof(
    entry: bytes,
    proof: bytes,
    log_key: NoteKey,
    *,
    witnesses: Sequence[NoteKey] = (),
    witness_count_min: int = 0,
) -> OpenedCheckpoint:
    """Check that the entry is in the log, from nothing but these arguments.

    Steps: read the file; open its checkpoint with the log's key, its origin and the
    witnesses asked for; hash the entry; follow the audit path to the signed root.

    Args:
        entry: The exact bytes of the leaf.
        proof: A proof file.
        log_key: Public key of the log, obtained from a trusted place.
        witnesses: Keys whose cosignatures count.
        witness_count_min: How many different witnesses must have cosigned.

    Returns:
        The checkpoint that the entry is proved to be in.

    Raises:
        ProofError: The file is malformed.
        CheckpointError: The checkpoint is not the log's, or too few witnesses signed.
        MerkleError: The entry is not at the index.
    """
    parts = decode_proof(proof)
    opened = open_checkpoint(
        parts.checkpoint, log_key, witnesses=witnesses, witness_count_min=witness_count_min
    )
    merkle.verify_inclusion(
        index=parts.index,
        size=opened.checkpoint.size,
        leaf=merkle.leaf_hash(entry),
        proof=parts.path,
        root=opened.checkpoint.root,
    )
    return opened


def commit(salt: bytes, envelope_bytes: bytes) -> bytes:
    """Salted commitment to a confidential envelope.

    SHA-256 over a fixed prefix, the salt and the envelope. The salt has a fixed length,
    so no two pairs give the same preimage; without it a short envelope could be guessed.

    Args:
        salt: 32 unpredictable bytes, never used twice.
        envelope_bytes: Exactly as received.

    Returns:
        32 bytes.

    Raises:
        ProofError: ``COMMITMENT_SALT_LENGTH``.
    """
    if len(salt) != COMMITMENT_SALT_BYTES:
        raise ProofError(
            LedgerErrorCode.COMMITMENT_SALT_LENGTH,
            f"a salt has {COMMITMENT_SALT_BYTES} bytes, got {len(salt)}",
        )
    return hashlib.sha256(COMMITMENT_PREFIX + salt + envelope_bytes).digest()


def commitment_leaf(commitment: bytes) -> bytes:
    """Leaf that publishes a commitment: an unsigned envelope around its 32 bytes.

    Raises:
        ProofError: ``COMMITMENT_LENGTH``.
    """
    if len(commitment) != COMMITMENT_BYTES:
        raise ProofError(
            LedgerErrorCode.COMMITMENT_LENGTH,
            f"a commitment has {COMMITMENT_BYTES} bytes, got {len(commitment)}",
        )
    return b"%b%b%b" % (_LEAF_BEGIN, binascii.b2a_base64(commitment, newline=False), _LEAF_END)


def parse_commitment_leaf(leaf: bytes) -> bytes:
    """The commitment in a leaf.

    Raises:
        EnvelopeError: The leaf is no envelope.
        ProofError: ``COMMITMENT_LEAF`` when it is not exactly what
            :func:`commitment_leaf` writes.
    """
    match = _COMMITMENT_LEAF.fullmatch(leaf)
    commitment = None if match is None else decode_base64(match[1].decode("ascii"))
    if commitment is not None:
        return commitment
    parsed = envelope.decode(leaf, allow_unsigned=True)
    if (
        parsed.payload_type != COMMITMENT_PAYLOAD_TYPE
        or len(parsed.payload) != COMMITMENT_BYTES
        or leaf != commitment_leaf(parsed.payload)
    ):
        raise ProofError(LedgerErrorCode.COMMITMENT_LEAF, "the leaf is not a commitment")
    return parsed.payload


def open_commitment(commitment: bytes, salt: bytes, envelope_bytes: bytes) -> None:
    """Check that salt and envelope are what was committed to.

    Raises:
        ProofError: ``COMMITMENT_SALT_LENGTH``, ``COMMITMENT_MISMATCH``.
    """
    if commit(salt, envelope_bytes) != commitment:
        raise ProofError(
            LedgerErrorCode.COMMITMENT_MISMATCH, "salt and envelope give another commitment"
        )


def _malformed(detail: str, place: str = "") -> ProofError:
    return ProofError(LedgerErrorCode.PROOF_FILE_MALFORMED, detail, place=place)
