from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.ledger import envelope
from settlement.ledger.envelope import Envelope, Signature
from settlement.ledger.errors import EnvelopeError, KeyFormatError, LedgerErrorCode
from settlement.ledger.keys import SigningKey, key_id

KIND = "application/vnd.iso-exchange.bid.v1"
ALICE = SigningKey.from_seed(b"a" * 32)
BOB = SigningKey.from_seed(b"b" * 32)
KEYS = {key.key_id: key.public for key in (ALICE, BOB)}
SIGNED = envelope.sign(KIND, b"payload", [ALICE])


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(SIGNED)
    change(document)
    return json.dumps(document, separators=(",", ":")).encode()


def refusal(data: bytes) -> LedgerErrorCode:
    with pytest.raises(EnvelopeError) as caught:
        envelope.verify(data, KEYS)
    return caught.value.code


def test_pre_authentication_encoding_is_the_example_of_the_specification() -> None:
    encoded = envelope.pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_fields_have_a_fixed_order_and_no_white_space() -> None:
    signature = base64.b64encode(ALICE.sign(envelope.pae(KIND, b"payload"))).decode()
    expected = (
        f'{{"payload":"cGF5bG9hZA==","payloadType":"{KIND}",'
        f'"signatures":[{{"keyid":"{ALICE.key_id}","sig":"{signature}"}}]}}'
    )
    assert expected.encode() == SIGNED


def test_several_signers_are_all_verified() -> None:
    signed = envelope.sign(KIND, b"rotation", [ALICE, BOB])
    opened = envelope.verify(signed, KEYS)
    assert opened.payload == b"rotation"
    assert [signature.keyid for signature in opened.signatures] == [ALICE.key_id, BOB.key_id]


@given(payload=st.binary(max_size=2_000), signers=st.sampled_from([[ALICE], [BOB, ALICE]]))
def test_what_is_signed_reads_back(payload: bytes, signers: list[SigningKey]) -> None:
    signed = envelope.sign(KIND, payload, signers)
    opened = envelope.verify(signed, KEYS)
    assert (opened.payload_type, opened.payload) == (KIND, payload)
    assert envelope.encode(opened) == signed


def test_another_library_may_order_and_indent_the_fields() -> None:
    document = json.loads(SIGNED)
    reordered = {name: document[name] for name in ("signatures", "payloadType", "payload")}
    opened = envelope.verify(json.dumps(reordered, indent=2).encode(), KEYS)
    assert opened.payload == b"payload"


@given(position=st.integers(min_value=0, max_value=len(SIGNED) - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_is_accepted_with_another_meaning(position: int, bit: int) -> None:
    data = bytearray(SIGNED)
    data[position] ^= 1 << bit
    with pytest.raises(EnvelopeError):
        envelope.verify(bytes(data), KEYS)


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_arbitrary_bytes_are_refused_with_a_typed_error(data: bytes) -> None:
    for attempt in (data, b"{" + data + b"}"):
        with pytest.raises(EnvelopeError):
            envelope.decode(attempt)


MALFORMED = {
    "oversized": (b"{" + b" " * 32_768 + b"}", "ENVELOPE_TOO_LARGE"),
    "empty": (b"", "ENVELOPE_NOT_JSON"),
    "trailing-newline": (SIGNED + b"\n", "ENVELOPE_NOT_JSON"),
    "trailing-object": (SIGNED + b"{}", "ENVELOPE_NOT_JSON"),
    "leading-space": (b" " + SIGNED, "ENVELOPE_NOT_JSON"),
    "byte-order-mark": (b"\xef\xbb\xbf" + SIGNED, "ENVELOPE_NOT_JSON"),
    "utf-16": (SIGNED.decode().encode("utf-16-le"), "ENVELOPE_NOT_JSON"),
    "not-utf-8": (b'{"payload":"\xff"}', "ENVELOPE_NOT_JSON"),
    "deep-nesting": (b'{"payload":' + b"[" * 30_000 + b"}", "ENVELOPE_NOT_JSON"),
    "long-number": (b'{"payload":' + b"1" * 30_000 + b"}", "ENVELOPE_NOT_JSON"),
    "duplicate-field": (SIGNED[:-1] + b',"payload":""}', "ENVELOPE_DUPLICATE_FIELD"),
    "duplicate-keyid": (
        SIGNED.replace(b'"keyid"', b'"keyid":"","keyid"'),
        "ENVELOPE_DUPLICATE_FIELD",
    ),
    "unknown-field": (changed(lambda it: it.update(extra=1)), "ENVELOPE_UNKNOWN_FIELD"),
    "certificate": (
        changed(lambda it: it["signatures"][0].update(cert="")),
        "ENVELOPE_UNKNOWN_FIELD",
    ),
    "missing-field": (changed(lambda it: it.pop("payload")), "ENVELOPE_MISSING_FIELD"),
    "missing-sig": (changed(lambda it: it["signatures"][0].pop("sig")), "ENVELOPE_MISSING_FIELD"),
    "payload-number": (changed(lambda it: it.update(payload=1)), "ENVELOPE_FIELD_TYPE"),
    "payload-null": (changed(lambda it: it.update(payload=None)), "ENVELOPE_FIELD_TYPE"),
    "signatures-object": (changed(lambda it: it.update(signatures={})), "ENVELOPE_FIELD_TYPE"),
    "signature-string": (changed(lambda it: it.update(signatures=["x"])), "ENVELOPE_FIELD_TYPE"),
    "unpadded": (changed(lambda it: it.update(payload="cGF5bG9hZA")), "ENVELOPE_BASE64"),
    "unused-bits": (changed(lambda it: it.update(payload="cGF5bG9hZB==")), "ENVELOPE_BASE64"),
    "line-break": (changed(lambda it: it.update(payload="cGF5\nbG9hZA==")), "ENVELOPE_BASE64"),
    "url-safe": (changed(lambda it: it.update(payload="_-__")), "ENVELOPE_BASE64"),
    "extra-padding": (changed(lambda it: it.update(payload="cGF5====")), "ENVELOPE_BASE64"),
    "no-payload-type": (changed(lambda it: it.update(payloadType="")), "ENVELOPE_PAYLOAD_TYPE"),
    "payload-type-space": (
        changed(lambda it: it.update(payloadType="a b")),
        "ENVELOPE_PAYLOAD_TYPE",
    ),
    "payload-type-surrogate": (
        changed(lambda it: it.update(payloadType="\ud800")),
        "ENVELOPE_PAYLOAD_TYPE",
    ),
    "stripped-signatures": (changed(lambda it: it.update(signatures=[])), "ENVELOPE_UNSIGNED"),
    "nine-signatures": (
        changed(lambda it: it.update(signatures=it["signatures"] * 9)),
        "ENVELOPE_TOO_MANY_SIGNATURES",
    ),
    "upper-case-keyid": (
        changed(lambda it: it["signatures"][0].update(keyid=ALICE.key_id.upper())),
        "ENVELOPE_KEY_ID",
    ),
    "short-signature": (
        changed(lambda it: it["signatures"][0].update(sig="AAAA")),
        "ENVELOPE_SIGNATURE_LENGTH",
    ),
    "repeated-signature": (
        changed(lambda it: it.update(signatures=it["signatures"] * 2)),
        "ENVELOPE_DUPLICATE_SIGNATURE",
    ),
    "unknown-key": (
        changed(lambda it: it["signatures"][0].update(keyid="0" * 64)),
        "ENVELOPE_UNKNOWN_KEY",
    ),
    "key-of-another": (
        changed(lambda it: it["signatures"][0].update(keyid=BOB.key_id)),
        "ENVELOPE_BAD_SIGNATURE",
    ),
    "other-payload": (changed(lambda it: it.update(payload="eA==")), "ENVELOPE_BAD_SIGNATURE"),
    "other-payload-type": (
        changed(lambda it: it.update(payloadType="x")),
        "ENVELOPE_BAD_SIGNATURE",
    ),
}


@pytest.mark.parametrize(("data", "code"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_envelope_is_refused_with_its_code(data: bytes, code: str) -> None:
    assert refusal(data) == code


def test_one_signature_that_fails_spoils_the_envelope() -> None:
    document = json.loads(envelope.sign(KIND, b"x", [ALICE, BOB]))
    document["signatures"][1]["sig"] = document["signatures"][0]["sig"]
    with pytest.raises(EnvelopeError) as caught:
        envelope.verify(json.dumps(document).encode(), KEYS)
    assert caught.value.code is LedgerErrorCode.ENVELOPE_BAD_SIGNATURE
    assert caught.value.place == "signatures[1]"


def test_a_key_filed_under_another_identifier_is_refused() -> None:
    with pytest.raises(EnvelopeError) as caught:
        envelope.verify(SIGNED, {ALICE.key_id: BOB.public})
    assert caught.value.code is LedgerErrorCode.ENVELOPE_KEY_ID


def test_a_key_that_signs_anything_is_refused() -> None:
    # The neutral point: with it, one signature holds for every message.
    weak = bytes([1]) + bytes(31)
    document = json.loads(SIGNED)
    document["signatures"][0] = {
        "keyid": key_id(weak),
        "sig": base64.b64encode(weak + bytes(32)).decode(),
    }
    with pytest.raises(KeyFormatError) as caught:
        envelope.verify(json.dumps(document).encode(), {key_id(weak): weak})
    assert caught.value.code is LedgerErrorCode.KEY_SMALL_ORDER


def test_unsigned_envelopes_exist_only_where_they_are_asked_for() -> None:
    leaf = envelope.unsigned(KIND, b"x")
    assert leaf == f'{{"payload":"eA==","payloadType":"{KIND}","signatures":[]}}'.encode()
    opened = envelope.decode(leaf, allow_unsigned=True)
    assert opened == Envelope(payload_type=KIND, payload=b"x", signatures=())
    assert refusal(leaf) is LedgerErrorCode.ENVELOPE_UNSIGNED
    for attempt in (
        lambda: envelope.decode(leaf),
        lambda: envelope.encode(opened),
        lambda: envelope.sign(KIND, b"x", []),
    ):
        with pytest.raises(EnvelopeError) as caught:
            attempt()
        assert caught.value.code is LedgerErrorCode.ENVELOPE_UNSIGNED


def test_the_largest_envelope_is_exactly_32_kib() -> None:
    overhead = len(envelope.unsigned("t", b""))
    room = (envelope.ENVELOPE_BYTES_MAX - overhead) // 4 * 3
    assert len(envelope.unsigned("t", bytes(room))) <= envelope.ENVELOPE_BYTES_MAX
    with pytest.raises(EnvelopeError) as caught:
        envelope.unsigned("t", bytes(room + 3))
    assert caught.value.code is LedgerErrorCode.ENVELOPE_TOO_LARGE


@pytest.mark.parametrize(
    ("written", "code"),
    [
        (Envelope(payload_type='a"b', payload=b"", signatures=()), "ENVELOPE_PAYLOAD_TYPE"),
        (Envelope(payload_type="a\nb", payload=b"", signatures=()), "ENVELOPE_PAYLOAD_TYPE"),
        (
            Envelope(
                payload_type="a", payload=b"", signatures=(Signature(keyid='"', sig=bytes(64)),)
            ),
            "ENVELOPE_KEY_ID",
        ),
    ],
)
def test_nothing_is_written_that_would_not_read_back(written: Envelope, code: str) -> None:
    signatures = written.signatures or (Signature(keyid="0" * 64, sig=bytes(64)),)
    with pytest.raises(EnvelopeError) as caught:
        envelope.encode(
            Envelope(
                payload_type=written.payload_type, payload=written.payload, signatures=signatures
            )
        )
    assert caught.value.code == code
