"""ML-DSA-44 keys: the second, quantum-safe signature of checkpoints and cosignatures.

A key is its 32-byte seed (FIPS 204, section 6.1); where that comes from is the caller's
business. Signing is the hedged variant, with an empty context: two signatures of one
message differ, and both hold.

Source: FIPS 204; C2SP tlog-cosignature, "ML-DSA-44 signed message".
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
)

from settlement.ledger.errors import KeyFormatError, LedgerErrorCode

MLDSA_SEED_BYTES: Final = 32
MLDSA_PUBLIC_KEY_BYTES: Final = 1312
MLDSA_SIGNATURE_BYTES: Final = 2420


@dataclass(frozen=True, slots=True, kw_only=True)
class MlDsaKey:
    """An ML-DSA-44 private key.

    Attributes:
        public: Raw public key, 1,312 bytes.
    """

    _private: MLDSA44PrivateKey = field(repr=False, compare=False)
    public: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> MlDsaKey:
        """Key of a 32-byte seed.

        Raises:
            KeyFormatError: ``KEY_LENGTH``; ``KEY_ALGORITHM`` where the OpenSSL below
                ``cryptography`` is too old for ML-DSA.
        """
        if len(seed) != MLDSA_SEED_BYTES:
            raise KeyFormatError(
                LedgerErrorCode.KEY_LENGTH, f"a seed has {MLDSA_SEED_BYTES} bytes, got {len(seed)}"
            )
        try:
            private = MLDSA44PrivateKey.from_seed_bytes(seed)
        except UnsupportedAlgorithm as error:
            raise _unsupported() from error
        return cls(_private=private, public=private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Signature of 2,420 bytes, another one each time."""
        return self._private.sign(message)


def verify_mldsa(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the ML-DSA-44 signature is the key's for this message.

    Raises:
        KeyFormatError: see :func:`load_mldsa_key`.
    """
    try:
        load_mldsa_key(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@functools.lru_cache(maxsize=256)
def load_mldsa_key(public: bytes) -> MLDSA44PublicKey:
    """Key object of a raw public key, remembered per key.

    Every string of 1,312 bytes is a public key (FIPS 204, section 7.2), so nothing but the
    length is checked.

    Raises:
        KeyFormatError: ``KEY_LENGTH``, ``KEY_ALGORITHM``.
    """
    if len(public) != MLDSA_PUBLIC_KEY_BYTES:
        raise KeyFormatError(
            LedgerErrorCode.KEY_LENGTH,
            f"an ML-DSA-44 key has {MLDSA_PUBLIC_KEY_BYTES} bytes, got {len(public)}",
        )
    try:
        return MLDSA44PublicKey.from_public_bytes(public)
    except UnsupportedAlgorithm as error:
        raise _unsupported() from error


def _unsupported() -> KeyFormatError:
    return KeyFormatError(
        LedgerErrorCode.KEY_ALGORITHM, "ML-DSA needs a cryptography built with OpenSSL 3.5 or later"
    )
