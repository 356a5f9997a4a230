from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from settlement.ledger import keys
from settlement.ledger.errors import KeyFormatError, LedgerErrorCode
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey

# RFC 8032, section 7.1, test 1.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
EMPTY_SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
# The example key of golang.org/x/mod/sumdb/note.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
FIELD_PRIME = 2**255 - 19


def test_seed_and_signature_are_those_of_rfc_8032() -> None:
    key = SigningKey.from_seed(SEED)
    assert key.public == PUBLIC
    assert key.sign(b"") == EMPTY_SIGNATURE
    assert keys.verify_signature(PUBLIC, EMPTY_SIGNATURE, b"")
    assert not keys.verify_signature(PUBLIC, EMPTY_SIGNATURE, b"x")
    assert not keys.verify_signature(PUBLIC, EMPTY_SIGNATURE[:-1], b"")


def test_the_key_identifier_is_the_whole_hash_in_lower_case() -> None:
    assert SigningKey.from_seed(SEED).key_id == hashlib.sha256(PUBLIC).hexdigest()


def test_a_private_key_does_not_print_itself() -> None:
    text = repr(SigningKey.from_seed(SEED))
    assert "_private" not in text
    assert SEED.hex() not in text


def test_pem_documents_read_back() -> None:
    key = SigningKey.from_seed(SEED)
    assert key.to_pem().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert SigningKey.from_pem(key.to_pem()) == key
    assert SigningKey.from_pem(key.to_pem()).sign(b"") == EMPTY_SIGNATURE
    assert keys.public_from_pem(keys.public_to_pem(PUBLIC)) == PUBLIC


def test_pem_of_other_kinds_is_refused() -> None:
    curve = ec.derive_private_key(7, ec.SECP256R1())
    private = curve.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = curve.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for attempt, code in (
        (lambda: SigningKey.from_pem(private), LedgerErrorCode.KEY_ALGORITHM),
        (lambda: SigningKey.from_pem(b"no key"), LedgerErrorCode.KEY_PEM),
        (
            lambda: SigningKey.from_pem(SigningKey.from_seed(SEED).to_pem(), password=b"x"),
            LedgerErrorCode.KEY_PEM,
        ),
        (lambda: keys.public_from_pem(public), LedgerErrorCode.KEY_ALGORITHM),
        (lambda: keys.public_from_pem(b"no key"), LedgerErrorCode.KEY_PEM),
    ):
        with pytest.raises(KeyFormatError) as caught:
            attempt()
        assert caught.value.code is code


@pytest.mark.parametrize("length", [0, 31, 33])
def test_seeds_and_public_keys_have_32_bytes(length: int) -> None:
    for attempt in (SigningKey.from_seed, keys.load_public_key):
        with pytest.raises(KeyFormatError) as caught:
            attempt(bytes(length))
        assert caught.value.code is LedgerErrorCode.KEY_LENGTH


def small_order_coordinates() -> set[int]:
    """y of every point whose order divides 8, from the curve equation.

    -x^2 + y^2 = 1 + d x^2 y^2. Order 1 and 2: x = 0. Order 4: y = 0. Order 8 doubles to
    y = 0, so x^2 = -y^2 and d y^4 + 2 y^2 - 1 = 0.
    """
    p = FIELD_PRIME
    d = -121665 * pow(121666, -1, p) % p

    def roots(square: int) -> list[int]:
        root = pow(square, (p + 3) // 8, p)
        if root * root % p != square % p:
            root = root * pow(2, (p - 1) // 4, p) % p
        return [root, p - root] if root * root % p == square % p else []

    squares = [(root - 1) * pow(d, -1, p) % p for root in roots(1 + d)]
    return {0, 1, p - 1} | {y for square in squares for y in roots(square)}


def test_every_point_of_small_order_is_refused() -> None:
    coordinates = small_order_coordinates()
    assert len(coordinates) == 5
    for coordinate in coordinates:
        for sign in (0, 1 << 255):
            with pytest.raises(KeyFormatError) as caught:
                keys.load_public_key((coordinate | sign).to_bytes(32, "little"))
            assert caught.value.code is LedgerErrorCode.KEY_SMALL_ORDER


@pytest.mark.parametrize("coordinate", [FIELD_PRIME, FIELD_PRIME + 1, 2**255 - 1])
def test_a_second_spelling_of_a_point_is_refused(coordinate: int) -> None:
    with pytest.raises(KeyFormatError) as caught:
        keys.load_public_key(coordinate.to_bytes(32, "little"))
    assert caught.value.code is LedgerErrorCode.KEY_NOT_CANONICAL


def test_verifier_keys_are_those_of_the_go_implementation() -> None:
    key = keys.parse_vkey(VKEY)
    assert key.name == "PeterNeumann"
    assert key.algorithm is NoteAlgorithm.ED25519
    assert key.key_hash.hex() == "c74f20a3"
    assert key.to_vkey() == VKEY


def test_a_cosignature_key_has_another_hash() -> None:
    plain = NoteKey(name="a", algorithm=NoteAlgorithm.ED25519, public=PUBLIC)
    witness = NoteKey(name="a", algorithm=NoteAlgorithm.COSIGNATURE_V1, public=PUBLIC)
    assert witness.key_hash == hashlib.sha256(b"a\n\x04" + PUBLIC).digest()[:4]
    assert plain.key_hash != witness.key_hash
    assert keys.parse_vkey(witness.to_vkey()) == witness


@pytest.mark.parametrize(
    ("vkey", "code"),
    [
        ("", "VKEY_MALFORMED"),
        ("name+c74f20a3", "VKEY_MALFORMED"),
        (VKEY[:-1], "VKEY_MALFORMED"),
        (VKEY.replace("c74f20a3", "c74f20a4"), "KEY_ID_MISMATCH"),
        (VKEY.replace("c74f20a3", "C74F20A3"), "KEY_ID_MISMATCH"),
        (VKEY.replace("Peter", "Paula"), "KEY_ID_MISMATCH"),
        (VKEY.replace("ARpc", "Ahpc"), "KEY_ALGORITHM"),
        ("+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "KEY_NAME"),
        ("a b+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "KEY_NAME"),
        ("a+c74f20a3+ARpc", "KEY_LENGTH"),
    ],
)
def test_a_malformed_verifier_key_is_refused(vkey: str, code: str) -> None:
    with pytest.raises(KeyFormatError) as caught:
        keys.parse_vkey(vkey)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "a\x85b", "\ud800"])
def test_a_name_that_breaks_a_signature_line_is_refused(name: str) -> None:
    with pytest.raises(KeyFormatError) as caught:
        keys.check_key_name(name)
    assert caught.value.code is LedgerErrorCode.KEY_NAME
