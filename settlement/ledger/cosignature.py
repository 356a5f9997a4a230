"""What a cosignature signs, byte for byte, in its two versions.

Ed25519 (``cosignature/v1``, type 4) signs the whole note text. ML-DSA-44 (``subtree/v1``,
type 6) signs the name of the cosigner, the origin, the size and the root, and no extension
line. Both begin with the time.

Source: C2SP tlog-cosignature.
"""

from __future__ import annotations

import struct
from typing import Final

from settlement.ledger.errors import CheckpointError, LedgerErrorCode
from settlement.ledger.keys import SIGNATURE_BYTES, NoteAlgorithm
from settlement.ledger.mldsa import MLDSA_SIGNATURE_BYTES

TIMESTAMP_SECONDS_MAX: Final = 2**63 - 1
NAME_BYTES_MAX: Final = 255

_TIMESTAMP_BYTES: Final = 8
_SUBTREE_LABEL: Final = b"subtree/v1\n\x00"
_LENGTHS: Final = {
    NoteAlgorithm.COSIGNATURE_V1: _TIMESTAMP_BYTES + SIGNATURE_BYTES,
    NoteAlgorithm.ML_DSA_44: _TIMESTAMP_BYTES + MLDSA_SIGNATURE_BYTES,
}


def cosignature_message(text: bytes, time_seconds: int) -> bytes:
    """The bytes that an Ed25519 witness signs.

    Source: C2SP tlog-cosignature, "Ed25519 signed message".
    """
    return b"cosignature/v1\ntime %d\n" % time_seconds + text


def subtree_message(name: str, time_seconds: int, origin: str, size: int, root: bytes) -> bytes:
    """The bytes that an ML-DSA-44 cosigner signs for a whole tree.

    Args:
        name: Key name of the cosigner, at most 255 bytes in UTF-8.
        time_seconds: POSIX time; 0 makes no statement that the tree is the largest seen.
        origin: First line of the checkpoint, at most 255 bytes in UTF-8.
        size: Leaves.
        root: 32 bytes.

    Raises:
        CheckpointError: ``COSIGNATURE_MALFORMED`` for a name that is too long.

    Source: C2SP tlog-cosignature, "ML-DSA-44 signed message".
    """
    return b"".join(
        (
            _SUBTREE_LABEL,
            _opaque(name),
            struct.pack(">Q", time_seconds),
            _opaque(origin),
            struct.pack(">QQ", 0, size),
            root,
        )
    )


def encode_timestamped(time_seconds: int, signature: bytes) -> bytes:
    """``timestamped_signature``: the time, then the signature."""
    return struct.pack(">Q", time_seconds) + signature


def decode_timestamped(blob: bytes, algorithm: NoteAlgorithm, place: str) -> tuple[int, bytes]:
    """Time and signature of a ``timestamped_signature``.

    Raises:
        CheckpointError: ``COSIGNATURE_MALFORMED``.
    """
    expected = _LENGTHS[algorithm]
    if len(blob) != expected:
        raise CheckpointError(
            LedgerErrorCode.COSIGNATURE_MALFORMED,
            f"{len(blob)} bytes, expected {expected}",
            place=place,
        )
    time_seconds = int.from_bytes(blob[:_TIMESTAMP_BYTES], "big")
    check_time(time_seconds, place)
    return time_seconds, blob[_TIMESTAMP_BYTES:]


def check_time(time_seconds: int, place: str = "") -> None:
    """Refuse a time that a cosignature cannot have.

    Raises:
        CheckpointError: ``COSIGNATURE_MALFORMED``.
    """
    if not 0 <= time_seconds <= TIMESTAMP_SECONDS_MAX:
        raise CheckpointError(
            LedgerErrorCode.COSIGNATURE_MALFORMED, "time out of range", place=place
        )


def _opaque(text: str) -> bytes:
    encoded = text.encode()
    if not 0 < len(encoded) <= NAME_BYTES_MAX:
        raise CheckpointError(
            LedgerErrorCode.COSIGNATURE_MALFORMED,
            f"a name of {len(encoded)} bytes, the limit is {NAME_BYTES_MAX}",
        )
    return bytes([len(encoded)]) + encoded
