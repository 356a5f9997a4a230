"""Two libraries check signatures: what the quick one accepts, the other accepts too.

Random signatures never show where implementations of Ed25519 differ, so keys and signatures with
parts of small order are made here from the group itself, as in "Taming the many EdDSAs" (SSR 2020).
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import example, given
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from settlement.ledger.errors import KeyFormatError
from settlement.ledger.keys import verify_signature

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
MESSAGE = b"an order"


class Point(NamedTuple):
    """Affine coordinates; slow and plain."""

    x: int
    y: int

    def __add__(self, other: object) -> Point:
        assert isinstance(other, Point)
        product = D * self.x * other.x * self.y * other.y
        x = (self.x * other.y + self.y * other.x) * pow(1 + product, -1, P)
        y = (self.y * other.y + self.x * other.x) * pow(1 - product, -1, P)
        return Point(x % P, y % P)

    def times(self, factor: int) -> Point:
        found, power = NEUTRAL, self
        while factor:
            if factor & 1:
                found += power
            power, factor = power + power, factor >> 1
        return found

    def encoded(self) -> bytes:
        return (self.y | (self.x & 1) << 255).to_bytes(32, "little")


def _point(y: int, sign: int) -> Point:
    """The point with this y-coordinate (RFC 8032, section 5.1.3)."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    if root * root % P != square:
        root = root * pow(2, (P - 1) // 4, P) % P
    assert root * root % P == square
    return Point(root if root & 1 == sign else P - root, y)


NEUTRAL = Point(0, 1)
BASE = _point(4 * pow(5, -1, P) % P, 0)
EIGHTH = _point(0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7, 0)
"""Of order 8."""


def _signed(secret: int, nonce: int, twist: int, turn: int, message: bytes) -> tuple[bytes, bytes]:
    """Key and signature that hold up to parts of small order in both."""
    key = (BASE.times(secret) + EIGHTH.times(twist)).encoded()
    half = (BASE.times(nonce) + EIGHTH.times(turn)).encoded()
    hashed = int.from_bytes(hashlib.sha512(half + key + message).digest(), "little")
    return key, half + ((nonce + hashed * secret) % ORDER).to_bytes(32, "little")


def _openssl(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _sodium(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True


def _agrees(key: bytes, signature: bytes, message: bytes) -> bool:
    """The verdict; OpenSSL's, and libsodium's only where it says yes."""
    rule = _openssl(key, signature, message)
    assert rule or not _sodium(key, signature, message)
    try:
        assert verify_signature(key, signature, message) == rule
    except KeyFormatError:
        return False
    return rule


SCALARS = st.integers(1, ORDER - 1)
TWISTS = st.integers(0, 7)


@given(secret=SCALARS, nonce=SCALARS, twist=TWISTS, turn=TWISTS, number=st.integers(0, 63))
def test_parts_of_small_order_change_no_verdict(
    secret: int, nonce: int, twist: int, turn: int, number: int
) -> None:
    message = b"%d" % number
    key, signature = _signed(secret, nonce, twist, turn, message)
    hashed = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little")
    # Without the cofactor the parts of small order have to cancel out by themselves, after the
    # hash was reduced: a batch that multiplies by the cofactor would accept them all.
    cancels = (turn + hashed % ORDER * twist) % 8 == 0
    assert _agrees(key, signature, message) == cancels


@given(twist=TWISTS, secret=SCALARS, sign=st.booleans())
def test_a_half_of_small_order_is_judged_as_openssl_judges_it(
    twist: int, secret: int, sign: bool
) -> None:
    key, signature = _signed(secret, 0, 0, twist, MESSAGE)
    assert _agrees(key, signature, MESSAGE) == (twist == 0)
    other = bytearray(signature)
    other[31] ^= 0x80 * sign
    _agrees(key, bytes(other), MESSAGE)


@given(secret=SCALARS, nonce=SCALARS, place=st.integers(0, 511), extra=st.integers(1, 15))
@example(secret=7, nonce=11, place=0, extra=1)
def test_changed_signatures_are_refused(secret: int, nonce: int, place: int, extra: int) -> None:
    key, signature = _signed(secret, nonce, 0, 0, MESSAGE)
    assert _agrees(key, signature, MESSAGE)
    changed = bytearray(signature)
    changed[place // 8] ^= 1 << place % 8
    assert not _agrees(key, bytes(changed), MESSAGE)
    # The same scalar in a second spelling, as far as 32 bytes hold it.
    longer = int.from_bytes(signature[32:], "little") + extra * ORDER
    if longer < 1 << 256:
        assert not _agrees(key, signature[:32] + longer.to_bytes(32, "little"), MESSAGE)
    assert not verify_signature(key, signature[:-1], MESSAGE)
    assert not verify_signature(key, signature + b"\0", MESSAGE)
