"""What a witness accepts: every status of C2SP tlog-witness, and the bytes of both cosignatures."""

from __future__ import annotations

import hashlib

import pytest

from settlement.ledger import merkle
from settlement.ledger.checkpoint import (
    Checkpoint,
    add_signature_lines,
    cosign,
    encode_checkpoint,
    parse_note,
    sign_checkpoint,
    verify_note,
)
from settlement.ledger.cosignature import cosignature_message, subtree_message
from settlement.ledger.errors import (
    CheckpointError,
    KeyFormatError,
    LedgerErrorCode,
    WitnessRequestError,
)
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey, parse_vkey
from settlement.ledger.mldsa import MlDsaKey, verify_mldsa
from settlement.ledger.witness import (
    AddCheckpoint,
    Consistent,
    Refused,
    Status,
    decode_request,
    encode_request,
    judge,
)

ORIGIN = "log.example/iso"
LOG = SigningKey.from_seed(bytes(32))
STRANGER = SigningKey.from_seed(b"s" * 32)
LOG_KEY = NoteKey(name=ORIGIN, algorithm=NoteAlgorithm.ED25519, public=LOG.public)
TREE = merkle.HashTree()
TREE.extend(merkle.leaf_hash(b"%d" % number) for number in range(40))
FORK = merkle.HashTree()
FORK.extend(merkle.leaf_hash(b"f%d" % number) for number in range(40))


def at(size: int, tree: merkle.HashTree = TREE) -> Checkpoint:
    return Checkpoint(origin=ORIGIN, size=size, root=tree.root(size))


def body(
    old: int,
    new: int,
    *,
    tree: merkle.HashTree = TREE,
    key: SigningKey = LOG,
    proof: tuple[bytes, ...] | None = None,
) -> bytes:
    if proof is None:
        proof = merkle.consistency_proof(old, new, tree.subtree_hash) if 0 < old < new else ()
    note = sign_checkpoint(at(new, tree), key)
    return encode_request(AddCheckpoint(old_size=old, proof=proof, note=note))


def answer(request: bytes, latest: Checkpoint | None) -> Consistent | Refused:
    return judge(request, lambda origin: (LOG_KEY,) if origin == ORIGIN else (), lambda _: latest)


def refusal(request: bytes, latest: Checkpoint | None) -> tuple[int, int | None]:
    found = answer(request, latest)
    assert isinstance(found, Refused)
    return int(found.status), found.size


@pytest.mark.parametrize("old", range(0, 34, 3))
@pytest.mark.parametrize("new", [33, 34, 40])
def test_growth_is_cosigned(old: int, new: int) -> None:
    found = answer(body(old, new), at(old) if old else None)
    assert isinstance(found, Consistent)
    assert found.checkpoint == at(new)
    assert found.text == encode_checkpoint(at(new))


def test_the_same_checkpoint_is_cosigned_again() -> None:
    assert isinstance(answer(body(7, 7), at(7)), Consistent)
    assert isinstance(answer(body(0, 0), None), Consistent)


def test_an_unknown_origin_is_not_found() -> None:
    request = body(0, 7).replace(ORIGIN.encode(), b"other.example/log")
    assert refusal(request, None) == (404, None)


def test_an_unknown_key_and_a_line_that_does_not_hold_are_forbidden() -> None:
    assert refusal(body(0, 7, key=STRANGER), None) == (403, None)
    # The log's own line over another text, beside one of a stranger that holds.
    stolen = sign_checkpoint(at(8), LOG).splitlines(keepends=True)[-1]
    note = add_signature_lines(sign_checkpoint(at(7), STRANGER), [stolen])
    request = encode_request(AddCheckpoint(old_size=0, proof=(), note=note))
    assert refusal(request, None) == (403, None)


def test_an_old_size_above_the_new_one_is_malformed() -> None:
    assert refusal(body(9, 7, proof=()), at(9)) == (400, None)


@pytest.mark.parametrize("old", [0, 6, 8])
def test_another_old_size_is_a_conflict_that_names_the_size(old: int) -> None:
    assert refusal(body(old, 20), at(7)) == (409, 7)
    assert refusal(body(6, 20), None) == (409, 0)


def test_a_rollback_is_a_conflict() -> None:
    assert refusal(body(0, 5), at(7)) == (409, 7)
    assert refusal(body(5, 6), at(7)) == (409, 7)


def test_another_root_of_the_same_size_is_a_conflict() -> None:
    assert refusal(body(7, 7, tree=FORK), at(7)) == (409, 7)


def test_a_fork_is_unprocessable() -> None:
    assert refusal(body(7, 20, tree=FORK), at(7)) == (422, None)
    good = merkle.consistency_proof(7, 20, TREE.subtree_hash)
    for proof in ((), good[:-1], (*good, good[0]), good[::-1]):
        assert refusal(body(7, 20, proof=proof), at(7)) == (422, None)
    assert refusal(body(0, 20, proof=good), None) == (422, None)
    assert refusal(body(7, 7, proof=good[:1]), at(7)) == (422, None)


GOOD = body(7, 20)


@pytest.mark.parametrize(
    "request_body",
    [
        b"",
        b"old 0\n",
        GOOD.replace(b"old 7", b"old 07"),
        GOOD.replace(b"old 7", b"old -1"),
        GOOD.replace(b"old 7\n", b"old 7\r\n"),
        GOOD.replace(b"old 7\n", b"old 7\nbm90IDMyIGJ5dGVz\n"),
        GOOD.replace(b"old 7\n", b"old 7\n" + b"A" * 43 + b"=\n" * 64),
        b"old 7\n" + (b"A" * 43 + b"=\n") * 64 + b"\n" + sign_checkpoint(at(20), LOG),
        GOOD[:-1],
        GOOD + b"x" * 300_000,
    ],
)
def test_what_is_no_request_is_malformed(request_body: bytes) -> None:
    assert refusal(request_body, at(7)) == (400, None)


def test_a_request_reads_back() -> None:
    request = decode_request(GOOD)
    assert request.old_size == 7
    assert encode_request(request) == GOOD
    with pytest.raises(WitnessRequestError):
        encode_request(AddCheckpoint(old_size=-1, proof=(), note=request.note))


# Cosignatures -------------------------------------------------------------------------------------

MLDSA = MlDsaKey.from_seed(bytes(range(32)))
NAME = "witness.example/pq"
MLDSA_KEY = NoteKey(name=NAME, algorithm=NoteAlgorithm.ML_DSA_44, public=MLDSA.public)


def test_the_signed_bytes_are_those_of_the_specification() -> None:
    """Written out by hand from C2SP tlog-cosignature."""
    root = bytes(range(32))
    text = encode_checkpoint(Checkpoint(origin="a.example", size=300, root=root))
    assert cosignature_message(text, 1679315147) == (
        b"cosignature/v1\ntime 1679315147\na.example\n300\n"
        b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    )
    assert subtree_message("w.example", 1679315147, "a.example", 300, root) == (
        b"subtree/v1\n\x00"
        b"\x09w.example"
        b"\x00\x00\x00\x00\x64\x18\x50\xcb"
        b"\x09a.example"
        b"\x00\x00\x00\x00\x00\x00\x00\x00"
        b"\x00\x00\x00\x00\x00\x00\x01\x2c" + root
    )


def test_an_ml_dsa_key_is_that_of_its_seed() -> None:
    """RFC 9881, appendix C.1: the ML-DSA-44 public key of the seed 00 01 .. 1f."""
    assert len(MLDSA.public) == 1312
    assert MLDSA.public.hex().startswith(
        "d7b2b47254aae0db45e7930d4a98d2c97d8f1397d1789dafa17024b316e9bec9"
    )
    assert MLDSA.public.hex().endswith(
        "2202766151f16a965f9f81ece76cc070b55869e4db9784cf05c830b3242c8312"
    )
    assert parse_vkey(MLDSA_KEY.to_vkey()) == MLDSA_KEY
    preimage = NAME.encode() + b"\n\x06" + MLDSA.public
    assert MLDSA_KEY.key_hash == hashlib.sha256(preimage).digest()[:4]


def test_an_ml_dsa_line_holds_for_its_name_time_origin_size_and_root() -> None:
    text = encode_checkpoint(at(7))
    line = cosign(text, NAME, MLDSA, 1679315147)
    (found,) = verify_note(parse_note(text + b"\n" + line), (MLDSA_KEY,))
    assert (found.key, found.time_seconds) == (MLDSA_KEY, 1679315147)
    for other in (at(8), at(7, FORK), Checkpoint(origin="o.example", size=7, root=TREE.root(7))):
        with pytest.raises(CheckpointError) as caught:
            verify_note(parse_note(encode_checkpoint(other) + b"\n" + line), (MLDSA_KEY,))
        assert caught.value.code is LedgerErrorCode.NOTE_BAD_SIGNATURE
    blob = parse_note(text + b"\n" + line).signatures[0].signature
    assert blob[:8] == (1679315147).to_bytes(8, "big")
    message = subtree_message(NAME, 1679315147, ORIGIN, 7, TREE.root(7))
    assert verify_mldsa(MLDSA.public, blob[8:], message)
    assert not verify_mldsa(
        MLDSA.public, blob[8:], subtree_message("w", 1679315147, ORIGIN, 7, TREE.root(7))
    )
    assert not verify_mldsa(
        MLDSA.public, blob[8:], subtree_message(NAME, 1679315148, ORIGIN, 7, TREE.root(7))
    )


def test_bad_ml_dsa_keys_and_names_are_refused() -> None:
    for attempt in (
        lambda: MlDsaKey.from_seed(b"short"),
        lambda: NoteKey(name=NAME, algorithm=NoteAlgorithm.ML_DSA_44, public=bytes(32)),
        lambda: NoteKey(name=NAME, algorithm=NoteAlgorithm.ED25519, public=MLDSA.public),
    ):
        with pytest.raises(KeyFormatError) as caught:
            attempt()
        assert caught.value.code is LedgerErrorCode.KEY_LENGTH
    with pytest.raises(CheckpointError) as too_long:
        cosign(encode_checkpoint(at(7)), "n" * 256, MLDSA, 7)
    assert too_long.value.code is LedgerErrorCode.COSIGNATURE_MALFORMED


def test_conflict_is_the_only_refusal_with_a_size() -> None:
    assert {status.value for status in Status} == {400, 403, 404, 409, 422}
