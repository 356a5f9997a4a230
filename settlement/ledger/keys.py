"""Ed25519 keys of the ledger: seeds, PEM, key identifiers and C2SP verifier keys.

A seed is an argument: where randomness comes from is the caller's business. Public keys
are 32 raw bytes everywhere (RFC 8032, section 5.1.5), those of ML-DSA-44 apart
(``settlement.ledger.mldsa``), and are checked once, on first use: a key of small order
would accept one signature for every message, so its owner could later deny what it signed.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import unicodedata
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from settlement.ledger.base64_strict import decode_base64, encode_base64
from settlement.ledger.errors import KeyFormatError, LedgerErrorCode
from settlement.ledger.mldsa import load_mldsa_key

SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
KEY_HASH_BYTES: Final = 4


class NoteAlgorithm(enum.IntEnum):
    """Signature type byte of a C2SP signed note."""

    ED25519 = 0x01
    COSIGNATURE_V1 = 0x04
    """Ed25519 with a time, of a witness."""
    ML_DSA_44 = 0x06
    """ML-DSA-44 with a time, of a log or of a witness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """An Ed25519 private key with the public values derived from it.

    Attributes:
        public: Raw public key, 32 bytes.
        key_id: Lower-case hex SHA-256 of ``public``, 64 characters; the DSSE ``keyid``.
    """

    _private: Ed25519PrivateKey = field(repr=False, compare=False)
    public: bytes
    key_id: str

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """Key of a 32-byte seed (RFC 8032, section 5.1.5).

        Raises:
            KeyFormatError: ``KEY_LENGTH``.
        """
        if len(seed) != SEED_BYTES:
            raise KeyFormatError(
                LedgerErrorCode.KEY_LENGTH, f"a seed has {SEED_BYTES} bytes, got {len(seed)}"
            )
        return cls._of(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, pem: bytes, *, password: bytes | None = None) -> SigningKey:
        """Key of a PKCS #8 PEM document.

        Raises:
            KeyFormatError: ``KEY_PEM``, ``KEY_ALGORITHM``.
        """
        try:
            private = serialization.load_pem_private_key(pem, password)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFormatError(LedgerErrorCode.KEY_PEM, "not a readable private key") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyFormatError(LedgerErrorCode.KEY_ALGORITHM, "not an Ed25519 key")
        return cls._of(private)

    @classmethod
    def _of(cls, private: Ed25519PrivateKey) -> SigningKey:
        public = private.public_key().public_bytes_raw()
        return cls(_private=private, public=public, key_id=key_id(public))

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes; the same message always gives the same bytes."""
        return self._private.sign(message)

    def to_pem(self) -> bytes:
        """Unencrypted PKCS #8 PEM; the caller protects the file."""
        return self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteKey:
    """A public key that may sign notes, with the name it signs under.

    Attributes:
        name: Non-empty, without white space and ``+``; for a log, its origin.
        algorithm: What its signature lines contain.
        public: Raw public key: 32 bytes of Ed25519, 1,312 of ML-DSA-44.
        key_hash: First four bytes of SHA-256(name || 0x0A || algorithm || public).

    Source: C2SP signed-note, "Signature types"; C2SP tlog-cosignature, "Format".
    """

    name: str
    algorithm: NoteAlgorithm
    public: bytes
    key_hash: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Refuse a bad name or key, derive the hash."""
        check_key_name(self.name)
        if self.algorithm is NoteAlgorithm.ML_DSA_44:
            load_mldsa_key(self.public)
        else:
            load_public_key(self.public)
        preimage = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public
        object.__setattr__(self, "key_hash", hashlib.sha256(preimage).digest()[:KEY_HASH_BYTES])

    def to_vkey(self) -> str:
        """Text form: ``name+hash+base64(algorithm || public key)``."""
        material = encode_base64(bytes([self.algorithm]) + self.public)
        return f"{self.name}+{self.key_hash.hex()}+{material}"


def parse_vkey(vkey: str) -> NoteKey:
    """Read a verifier key string.

    Raises:
        KeyFormatError: ``VKEY_MALFORMED``, ``KEY_ALGORITHM``, ``KEY_NAME``,
            ``KEY_LENGTH``, ``KEY_NOT_CANONICAL``, ``KEY_SMALL_ORDER``, ``KEY_ID_MISMATCH``.

    Source: C2SP signed-note, "Verifier keys".
    """
    # The key material may itself contain "+", names and hashes may not.
    name, _, rest = vkey.partition("+")
    key_hash, _, encoded = rest.partition("+")
    material = decode_base64(encoded)
    if not material:
        raise KeyFormatError(LedgerErrorCode.VKEY_MALFORMED, "expected name+hash+base64 key")
    try:
        algorithm = NoteAlgorithm(material[0])
    except ValueError as error:
        raise KeyFormatError(
            LedgerErrorCode.KEY_ALGORITHM, f"unsupported signature type {material[0]:#04x}"
        ) from error
    key = NoteKey(name=name, algorithm=algorithm, public=material[1:])
    if key_hash != key.key_hash.hex():
        raise KeyFormatError(
            LedgerErrorCode.KEY_ID_MISMATCH,
            f"the key hashes to {key.key_hash.hex()}, the text says {key_hash}",
        )
    return key


def check_key_name(name: str) -> None:
    """Refuse what cannot be the name in a signature line.

    Raises:
        KeyFormatError: ``KEY_NAME``.

    Source: C2SP signed-note, "Format".
    """
    if (
        not name
        or "+" in name
        or any(
            character.isspace() or unicodedata.category(character) in ("Cc", "Cs")
            for character in name
        )
    ):
        raise KeyFormatError(
            LedgerErrorCode.KEY_NAME, "a key name is not empty and has no space, control or '+'"
        )


def key_id(public: bytes) -> str:
    """Key identifier in envelopes: lower-case hex SHA-256 of the raw public key."""
    return hashlib.sha256(public).hexdigest()


def public_to_pem(public: bytes) -> bytes:
    """SubjectPublicKeyInfo PEM of a raw public key, for OpenSSL and other tools."""
    return load_public_key(public).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def public_from_pem(pem: bytes) -> bytes:
    """Raw public key of a SubjectPublicKeyInfo PEM document.

    Raises:
        KeyFormatError: ``KEY_PEM``, ``KEY_ALGORITHM``, ``KEY_NOT_CANONICAL``, ``KEY_SMALL_ORDER``.
    """
    try:
        public_key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFormatError(LedgerErrorCode.KEY_PEM, "not a readable public key") from error
    if not isinstance(public_key, Ed25519PublicKey):
        raise KeyFormatError(LedgerErrorCode.KEY_ALGORITHM, "not an Ed25519 key")
    raw = public_key.public_bytes_raw()
    load_public_key(raw)
    return raw


def verify_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the Ed25519 signature is the key's for this message.

    libsodium is asked first: it takes two thirds of the time. It accepts nothing that OpenSSL
    refuses (both compare encodings of R, without the cofactor, and ask for S below the group
    order; libsodium also refuses an R of small order), so whatever it refuses is put to OpenSSL,
    whose answer is the rule.

    Raises:
        KeyFormatError: The key itself is unusable, see :func:`load_public_key`.
    """
    key = load_public_key(public)
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError:
        pass
    else:
        return True
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def load_public_key(public: bytes) -> Ed25519PublicKey:
    """Checked key object of a raw public key, remembered per key.

    Raises:
        KeyFormatError: ``KEY_LENGTH``; ``KEY_NOT_CANONICAL`` when the y-coordinate is not
            reduced; ``KEY_SMALL_ORDER``.

    Source: RFC 8032, section 5.1.3; "Taming the many EdDSAs" (SSR 2020), section 4.
    """
    if len(public) != PUBLIC_KEY_BYTES:
        raise KeyFormatError(
            LedgerErrorCode.KEY_LENGTH,
            f"a public key has {PUBLIC_KEY_BYTES} bytes, got {len(public)}",
        )
    coordinate = int.from_bytes(public, "little") & ~_SIGN_BIT
    if coordinate >= _FIELD_PRIME:
        raise KeyFormatError(LedgerErrorCode.KEY_NOT_CANONICAL, "the y-coordinate is not reduced")
    if coordinate in _SMALL_ORDER_COORDINATES:
        raise KeyFormatError(LedgerErrorCode.KEY_SMALL_ORDER, "the point has small order")
    return Ed25519PublicKey.from_public_bytes(public)


_SIGN_BIT: Final = 1 << 255
_FIELD_PRIME: Final = 2**255 - 19
# The y-coordinates of the eight points whose order divides the cofactor: the neutral
# point (1), order 2 (-1), order 4 (0) and the four points of order 8 (two values).
_SMALL_ORDER_COORDINATES: Final = frozenset(
    {
        0,
        1,
        _FIELD_PRIME - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)
