"""DSSE v1 envelopes: the signed bytes that become leaves of the log.

An envelope is encoded once, by whoever signs it, and kept and served verbatim from then
on. Reading is strict in what the bytes may mean (one meaning, one base64 text, no
unknown or repeated field) and lenient only in what cannot change it: the order of the
fields and white space between them, so that other DSSE libraries can write envelopes.

Source: Dead Simple Signing Envelope, protocol and envelope v1.0
(github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from settlement.ledger.base64_strict import decode_base64, encode_base64
from settlement.ledger.errors import EnvelopeError, LedgerErrorCode
from settlement.ledger.keys import SIGNATURE_BYTES, SigningKey, key_id, verify_signature

ENVELOPE_BYTES_MAX: Final = 32 * 1024
SIGNATURES_MAX: Final = 8

# Visible ASCII without the two characters that JSON escapes.
_PAYLOAD_TYPE: Final = re.compile(r"[!#-\[\]-~]{1,255}")
_COMPACT_BEGIN: Final = b'{"payload":"'
_COMPACT_REST: Final = re.compile(
    rb'","payloadType":"([!#-\[\]-~]{1,255})",'
    rb'"signatures":\[(?:\{"keyid":"([0-9a-f]{64})","sig":"([A-Za-z0-9+/]{86}==)"\})?\]\}'
)
_KEY_ID: Final = re.compile(r"[0-9a-f]{64}")
_ENVELOPE_FIELDS: Final = frozenset({"payload", "payloadType", "signatures"})
_SIGNATURE_FIELDS: Final = frozenset({"keyid", "sig"})


class Signature(NamedTuple):
    """One signature of an envelope.

    Attributes:
        keyid: Lower-case hex SHA-256 of the raw public key. A hint: it is not signed.
        sig: Ed25519 signature over :func:`pae`, 64 bytes.
    """

    keyid: str
    sig: bytes


class Envelope(NamedTuple):
    """What an envelope says, without the bytes it came in.

    Attributes:
        payload_type: Media type or URI of the payload, 1 to 255 visible ASCII characters.
        payload: The signed bytes.
        signatures: At most 8, no key twice; empty only for unsigned leaves.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: the exact bytes that are signed.

    Source: DSSE protocol, "Signature Definition".
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def encode(envelope: Envelope) -> bytes:
    """Compact JSON in a fixed field order.

    Raises:
        EnvelopeError: ``ENVELOPE_UNSIGNED`` without a signature (see :func:`unsigned`);
            otherwise what :func:`decode` would say about the result.
    """
    if not envelope.signatures:
        raise EnvelopeError(LedgerErrorCode.ENVELOPE_UNSIGNED, "no signature")
    return _encode(envelope)


def unsigned(payload_type: str, payload: bytes) -> bytes:
    """Envelope bytes without a signature, for leaves that a signed batch header covers.

    Raises:
        EnvelopeError: ``ENVELOPE_PAYLOAD_TYPE``, ``ENVELOPE_TOO_LARGE``.
    """
    return _encode(Envelope(payload_type=payload_type, payload=payload, signatures=()))


def sign(payload_type: str, payload: bytes, keys: Sequence[SigningKey]) -> bytes:
    """Envelope bytes signed by every key, in the given order.

    Raises:
        EnvelopeError: ``ENVELOPE_UNSIGNED`` without keys, ``ENVELOPE_PAYLOAD_TYPE``,
            ``ENVELOPE_TOO_MANY_SIGNATURES``, ``ENVELOPE_DUPLICATE_SIGNATURE``,
            ``ENVELOPE_TOO_LARGE``.
    """
    message = pae(payload_type, payload)
    return encode(
        Envelope(
            payload_type=payload_type,
            payload=payload,
            signatures=tuple(Signature(keyid=key.key_id, sig=key.sign(message)) for key in keys),
        )
    )


def decode(data: bytes, *, allow_unsigned: bool = False) -> Envelope:
    """Read envelope bytes without checking any signature.

    Args:
        data: At most 32 KiB, one JSON object from the first byte to the last.
        allow_unsigned: Whether an empty signature list is accepted, as in leaves that
            the operator generates.

    Raises:
        EnvelopeError: The ``ENVELOPE_*`` codes up to ``ENVELOPE_DUPLICATE_SIGNATURE``.
    """
    if len(data) > ENVELOPE_BYTES_MAX:
        raise EnvelopeError(
            LedgerErrorCode.ENVELOPE_TOO_LARGE,
            f"{len(data)} bytes, the limit is {ENVELOPE_BYTES_MAX}",
        )
    compact = _decode_compact(data)
    if compact is not None and (compact.signatures or allow_unsigned):
        return compact
    document = _fields(_parse_json(data), _ENVELOPE_FIELDS, "envelope")
    payload_type = _text(document["payloadType"], "payloadType")
    listed = document["signatures"]
    if not isinstance(listed, list):
        raise EnvelopeError(LedgerErrorCode.ENVELOPE_FIELD_TYPE, "not a list", place="signatures")
    envelope = Envelope(
        payload_type=payload_type,
        payload=_base64(document["payload"], "payload"),
        signatures=tuple(_signature(item, number) for number, item in enumerate(listed)),
    )
    _check(envelope)
    if not envelope.signatures and not allow_unsigned:
        raise EnvelopeError(LedgerErrorCode.ENVELOPE_UNSIGNED, "no signature", place="signatures")
    return envelope


def verify(data: bytes, public_keys: Mapping[str, bytes]) -> Envelope:
    """Read envelope bytes and check every signature in them.

    All signatures must be from the given keys and hold: a signature that nobody can
    check has no place in a leaf that is kept for ever.

    Args:
        data: The received bytes.
        public_keys: Raw 32-byte public keys by key identifier. Who may sign which
            payload type, and how many signatures it needs, is the caller's policy.

    Raises:
        EnvelopeError: What :func:`decode` raises, ``ENVELOPE_UNKNOWN_KEY``,
            ``ENVELOPE_KEY_ID`` when a key is filed under an identifier that is not its
            hash, ``ENVELOPE_BAD_SIGNATURE``.
        KeyFormatError: A given public key is unusable.
    """
    envelope = decode(data)
    message = pae(envelope.payload_type, envelope.payload)
    for number, signature in enumerate(envelope.signatures):
        place = f"signatures[{number}]"
        public = public_keys.get(signature.keyid)
        if public is None:
            raise EnvelopeError(
                LedgerErrorCode.ENVELOPE_UNKNOWN_KEY, f"no key {signature.keyid}", place=place
            )
        if key_id(public) != signature.keyid:
            raise EnvelopeError(
                LedgerErrorCode.ENVELOPE_KEY_ID, "the key has another identifier", place=place
            )
        if not verify_signature(public, signature.sig, message):
            raise EnvelopeError(
                LedgerErrorCode.ENVELOPE_BAD_SIGNATURE, "the signature does not hold", place=place
            )
    return envelope


def _encode(envelope: Envelope) -> bytes:
    _check(envelope)
    signatures = ",".join(
        f'{{"keyid":"{signature.keyid}","sig":"{encode_base64(signature.sig)}"}}'
        for signature in envelope.signatures
    )
    data = (
        f'{{"payload":"{encode_base64(envelope.payload)}",'
        f'"payloadType":"{envelope.payload_type}",'
        f'"signatures":[{signatures}]}}'
    ).encode("ascii")
    if len(data) > ENVELOPE_BYTES_MAX:
        raise EnvelopeError(
            LedgerErrorCode.ENVELOPE_TOO_LARGE,
            f"{len(data)} bytes, the limit is {ENVELOPE_BYTES_MAX}",
        )
    return data


def parts_of(data: bytes) -> tuple[bytes, bytes, bytes | None, bytes | None] | None:
    """Payload type, payload, key identifier and signature of bytes as :func:`encode` writes them.

    For envelopes with at most one signature, which is nearly all; None for any other bytes. What
    is admitted has one meaning as JSON and holds all that :func:`decode` asks for, so that would
    come to the same.
    """
    if len(data) > ENVELOPE_BYTES_MAX or not data.startswith(_COMPACT_BEGIN):
        return None
    end = data.find(b'"', len(_COMPACT_BEGIN))
    match = _COMPACT_REST.fullmatch(data, end) if end > 0 else None
    if match is None:
        return None
    payload_type, keyid, sig_text = match.groups()
    payload = _decode_canonical(data[len(_COMPACT_BEGIN) : end])
    if payload is None:
        return None
    if keyid is None:
        return payload_type, payload, None, None
    sig = _decode_canonical(sig_text)
    return None if sig is None else (payload_type, payload, keyid, sig)


def _decode_compact(data: bytes) -> Envelope | None:
    """Envelope of bytes as :func:`encode` writes them, with at most one signature; else None."""
    parts = parts_of(data)
    if parts is None:
        return None
    payload_type, payload, keyid, sig = parts
    signatures: tuple[Signature, ...] = ()
    if keyid is not None and sig is not None:
        signatures = (Signature(keyid=keyid.decode(), sig=sig),)
    return Envelope(payload_type=payload_type.decode(), payload=payload, signatures=signatures)


def _decode_canonical(text: bytes) -> bytes | None:
    """The bytes, or None when the text is not their one encoding (other characters included)."""
    try:
        data = binascii.a2b_base64(text)
    except binascii.Error:
        return None
    return data if binascii.b2a_base64(data, newline=False) == text else None


def _check(envelope: Envelope) -> None:
    """What holds of every envelope, read or written."""
    if not _PAYLOAD_TYPE.fullmatch(envelope.payload_type):
        raise EnvelopeError(
            LedgerErrorCode.ENVELOPE_PAYLOAD_TYPE,
            "expected 1 to 255 visible ASCII characters without quote and backslash",
            place="payloadType",
        )
    if len(envelope.signatures) > SIGNATURES_MAX:
        raise EnvelopeError(
            LedgerErrorCode.ENVELOPE_TOO_MANY_SIGNATURES,
            f"{len(envelope.signatures)} signatures, the limit is {SIGNATURES_MAX}",
            place="signatures",
        )
    seen: set[str] = set()
    for number, signature in enumerate(envelope.signatures):
        place = f"signatures[{number}]"
        if not _KEY_ID.fullmatch(signature.keyid):
            raise EnvelopeError(
                LedgerErrorCode.ENVELOPE_KEY_ID, "expected 64 lower-case hex digits", place=place
            )
        if len(signature.sig) != SIGNATURE_BYTES:
            raise EnvelopeError(
                LedgerErrorCode.ENVELOPE_SIGNATURE_LENGTH,
                f"{len(signature.sig)} bytes, expected {SIGNATURE_BYTES}",
                place=place,
            )
        if signature.keyid in seen:
            raise EnvelopeError(
                LedgerErrorCode.ENVELOPE_DUPLICATE_SIGNATURE, "one key signs once", place=place
            )
        seen.add(signature.keyid)


def _parse_json(data: bytes) -> object:
    # Decoded here, not by json: it would also guess UTF-16 and UTF-32.
    if not (data.startswith(b"{") and data.endswith(b"}")):
        raise EnvelopeError(
            LedgerErrorCode.ENVELOPE_NOT_JSON, "not one JSON object from first to last byte"
        )
    try:
        document: object = _DECODER.decode(data.decode("utf-8"))
    except EnvelopeError:
        raise
    except (ValueError, RecursionError) as error:
        raise EnvelopeError(LedgerErrorCode.ENVELOPE_NOT_JSON, "not one JSON object") from error
    return document


def _unique_fields(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise EnvelopeError(LedgerErrorCode.ENVELOPE_DUPLICATE_FIELD, "a field appears twice")
    return fields


# Made once: making a decoder costs as much as decoding an envelope.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique_fields)


def _fields(document: object, names: frozenset[str], place: str) -> dict[str, object]:
    if not isinstance(document, dict):
        raise EnvelopeError(LedgerErrorCode.ENVELOPE_FIELD_TYPE, "not an object", place=place)
    if document.keys() != names:
        code = (
            LedgerErrorCode.ENVELOPE_UNKNOWN_FIELD
            if document.keys() - names
            else LedgerErrorCode.ENVELOPE_MISSING_FIELD
        )
        raise EnvelopeError(code, f"the fields are {', '.join(sorted(names))}", place=place)
    return document


def _signature(item: object, number: int) -> Signature:
    place = f"signatures[{number}]"
    fields = _fields(item, _SIGNATURE_FIELDS, place)
    return Signature(
        keyid=_text(fields["keyid"], f"{place}.keyid"), sig=_base64(fields["sig"], f"{place}.sig")
    )


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise EnvelopeError(LedgerErrorCode.ENVELOPE_FIELD_TYPE, "not a string", place=place)
    return value


def _base64(value: object, place: str) -> bytes:
    decoded = decode_base64(_text(value, place))
    if decoded is None:
        raise EnvelopeError(
            LedgerErrorCode.ENVELOPE_BASE64, "not canonical standard base64", place=place
        )
    return decoded
