"""securesystemslib, the library under TUF and in-toto, reads our envelopes and writes its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from settlement.ledger import envelope
from settlement.ledger.errors import EnvelopeError
from settlement.ledger.keys import SigningKey

KIND = "application/vnd.iso-exchange.bid.v1"
SEEDS = (b"a" * 32, b"b" * 32)
SIGNERS = [SigningKey.from_seed(seed) for seed in SEEDS]
PUBLIC_KEYS = {key.key_id: key.public for key in SIGNERS}


def foreign_key(key: SigningKey) -> SSlibKey:
    return SSlibKey(key.key_id, "ed25519", "ed25519", {"public": key.public.hex()})


def foreign_verify(document: dict[str, Any], threshold: int) -> bytes:
    parsed = Envelope.from_dict(document)
    parsed.verify([foreign_key(key) for key in SIGNERS], threshold)
    payload = parsed.payload
    assert isinstance(payload, bytes)
    return payload


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) * 40])
@pytest.mark.parametrize("count", [1, 2])
def test_it_accepts_what_we_sign(payload: bytes, count: int) -> None:
    signed = envelope.sign(KIND, payload, SIGNERS[:count])
    assert foreign_verify(json.loads(signed), count) == payload


def test_we_accept_what_it_signs() -> None:
    key = SIGNERS[0]
    private = Ed25519PrivateKey.from_private_bytes(SEEDS[0])
    foreign = Envelope(b"payload", KIND, {})
    foreign.sign(CryptoSigner(private, foreign_key(key)))
    data = json.dumps(foreign.to_dict()).encode()
    assert envelope.verify(data, PUBLIC_KEYS).payload == b"payload"


def test_its_encoding_of_what_is_signed_is_ours() -> None:
    payload = b"\x00\xff payload"
    assert Envelope(payload, KIND, {}).pae() == envelope.pae(KIND, payload)


TAMPERINGS: dict[str, Callable[[dict[str, Any]], object]] = {
    "payload": lambda it: it.update(payload=base64.b64encode(b"other").decode()),
    "payload-type": lambda it: it.update(payloadType=KIND + "x"),
    "signature": lambda it: it["signatures"][0].update(sig=base64.b64encode(bytes(64)).decode()),
    "keyid": lambda it: it["signatures"][0].update(keyid=SIGNERS[1].key_id),
    "stripped": lambda it: it.update(signatures=[]),
}


@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_both_refuse_a_tampered_envelope(tamper: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(envelope.sign(KIND, b"payload", SIGNERS[:1]))
    tamper(document)
    with pytest.raises(EnvelopeError):
        envelope.verify(json.dumps(document).encode(), PUBLIC_KEYS)
    with pytest.raises(VerificationError):
        foreign_verify(document, 1)
