"""Access details that only the buyer can open: HPKE (RFC 9180) in base mode.

DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. The exchange and its auditors see
bytes. What is sealed is bound to the exchange, the pool, the instruction and the buyer: sealed
bytes that are moved elsewhere do not open.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

ACCESS_BYTES_MAX: Final = 8_192
SEALED_BYTES_MAX: Final = ACCESS_BYTES_MAX + 48
"""With the encapsulated key and the tag."""

_SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


class SealError(ValueError):
    """Access details that cannot be sealed or opened; the text says why."""


def seal_access(
    details: bytes, key: bytes, *, origin: str, pool_id: str, sequence: int, buyer_id: str
) -> bytes:
    """Seal access details to a buyer.

    Args:
        details: At most 8,192 bytes; what they mean is between supplier and buyer.
        key: The buyer's raw X25519 key, as the instruction names it.
        origin: Of the exchange.
        pool_id: Pool of the instruction.
        sequence: Its number in that pool.
        buyer_id: For whom.

    Raises:
        SealError: too long, or not a key.
    """
    if len(details) > ACCESS_BYTES_MAX:
        raise SealError(f"{len(details)} bytes of access details, at most {ACCESS_BYTES_MAX}")
    try:
        public = X25519PublicKey.from_public_bytes(key)
        return _SUITE.encrypt(details, public, _info(origin, pool_id, sequence, buyer_id))
    except ValueError as error:
        raise SealError(f"not an X25519 key: {error}") from error


def open_access(
    sealed: bytes,
    key: X25519PrivateKey,
    *,
    origin: str,
    pool_id: str,
    sequence: int,
    buyer_id: str,
) -> bytes:
    """Open what a supplier sealed.

    Raises:
        SealError: sealed to another key or for another instruction, or changed since.
    """
    try:
        return _SUITE.decrypt(sealed, key, _info(origin, pool_id, sequence, buyer_id))
    except (InvalidTag, ValueError) as error:
        raise SealError("sealed to another key or for another instruction") from error


def _info(origin: str, pool_id: str, sequence: int, buyer_id: str) -> bytes:
    """What the sealed bytes are bound to; no part can hold the separator."""
    return "\n".join(("iso-exchange access v1", origin, pool_id, str(sequence), buyer_id)).encode()
