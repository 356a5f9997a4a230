"""What is left to check of a signature once everything about its signer is known.

Three byte strings each, so that another process can do it: nothing here knows the exchange.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from settlement.ledger.errors import KeyFormatError
from settlement.ledger.keys import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, verify_signature

LENGTH: Final = struct.Struct(">I")
"""Before every frame and every message."""

_SIGNATURE_END: Final = PUBLIC_KEY_BYTES + SIGNATURE_BYTES


class SignatureCheck(NamedTuple):
    """One Ed25519 signature that must hold.

    Attributes:
        public: Raw key, 32 bytes.
        signature: 64 bytes.
        message: What is signed.
    """

    public: bytes
    signature: bytes
    message: bytes


def holds(check: SignatureCheck) -> bool:
    """Whether a signature is the key's for the message; an unusable key has signed nothing."""
    try:
        return verify_signature(check.public, check.signature, check.message)
    except KeyFormatError:
        return False


def frame_of(checks: Sequence[SignatureCheck]) -> bytes:
    """Length, then key, signature, length of the message and message of each."""
    parts: list[bytes] = []
    for check in checks:
        parts += (check.public, check.signature, LENGTH.pack(len(check.message)), check.message)
    body = b"".join(parts)
    return LENGTH.pack(len(body)) + body


def checks_of(body: bytes) -> list[SignatureCheck]:
    """What a frame holds, without its own length."""
    found, place = [], 0
    while place < len(body):
        public = body[place : place + PUBLIC_KEY_BYTES]
        signature = body[place + PUBLIC_KEY_BYTES : place + _SIGNATURE_END]
        (length,) = LENGTH.unpack_from(body, place + _SIGNATURE_END)
        begin = place + _SIGNATURE_END + LENGTH.size
        place = begin + length
        found.append(SignatureCheck(public, signature, body[begin:place]))
    return found
