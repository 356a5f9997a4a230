"""Checkpoints: the signed statement of a log's size and root, and its cosignatures.

A checkpoint is the text of a C2SP signed note. Reading a note has three steps, apart
from each other: :func:`parse_note` splits text and signature lines, :func:`verify_note`
checks the lines of known keys and ignores the others, :func:`parse_checkpoint` reads the
text. :func:`open_checkpoint` does all three against one log key and a set of witnesses.

Source: C2SP signed-note, tlog-checkpoint and tlog-cosignature (c2sp.org).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from settlement.ledger.base64_strict import decode_base64, encode_base64
from settlement.ledger.cosignature import (
    check_time,
    cosignature_message,
    decode_timestamped,
    encode_timestamped,
    subtree_message,
)
from settlement.ledger.errors import CheckpointError, KeyFormatError, LedgerErrorCode
from settlement.ledger.keys import (
    KEY_HASH_BYTES,
    NoteAlgorithm,
    NoteKey,
    SigningKey,
    check_key_name,
    verify_signature,
)
from settlement.ledger.merkle import EMPTY_ROOT, HASH_BYTES, TREE_SIZE_MAX
from settlement.ledger.mldsa import MlDsaKey, verify_mldsa

NOTE_BYTES_MAX: Final = 256 * 1024
NOTE_SIGNATURES_MAX: Final = 100

_SIGNATURE_PREFIX: Final = "\u2014 "
_BODY_LINES: Final = 3  # origin, size, root
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Size and root of a log at one moment.

    Attributes:
        origin: Name of the log, not empty.
        size: Number of leaves, 0 to 2**63 - 1.
        root: RFC 6962 tree hash, 32 bytes.
        extensions: Further lines of the text. This log writes none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line.

    Attributes:
        name: Key name, not yet trusted.
        key_hash: Four bytes.
        signature: What follows the key hash; its form depends on the key's algorithm.
    """

    name: str
    key_hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A parsed note; nothing in it is verified.

    Attributes:
        text: Signed bytes, with the final newline.
        signatures: In the order of the lines, at least one.
    """

    text: bytes
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSignature:
    """A signature line that was checked.

    Attributes:
        key: Which known key signed.
        time_seconds: POSIX time inside a cosignature or an ML-DSA-44 line, None for a plain
            signature.
    """

    key: NoteKey
    time_seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedCheckpoint:
    """A checkpoint whose log signature holds.

    Attributes:
        checkpoint: The parsed text.
        text: The signed bytes, which cosignatures are made over.
        cosignatures: Those of the given witnesses, all checked, one per witness: the
            latest where a witness signed twice.
    """

    checkpoint: Checkpoint
    text: bytes
    cosignatures: tuple[VerifiedSignature, ...]


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Note text of a checkpoint: origin, size, base64 root, each on a line.

    Raises:
        CheckpointError: ``CHECKPOINT_MALFORMED`` for a value that has no text.
    """
    lines = (
        checkpoint.origin,
        str(checkpoint.size),
        encode_base64(checkpoint.root),
        *checkpoint.extensions,
    )
    if any("\n" in line for line in lines):
        raise _malformed("a line break inside a line")
    text = "".join(f"{line}\n" for line in lines)
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise _malformed("not UTF-8") from error
    if parse_checkpoint(encoded) != checkpoint:
        raise _malformed("the text does not read back")
    return encoded


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Read note text as a checkpoint.

    Raises:
        CheckpointError: ``CHECKPOINT_MALFORMED``.

    Source: C2SP tlog-checkpoint, "Note text".
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed("not UTF-8") from error
    if not decoded.endswith("\n") or _CONTROL.search(decoded):
        raise _malformed("a control character, or no final newline")
    lines = decoded[:-1].split("\n")
    if len(lines) < _BODY_LINES or not all(lines):
        raise _malformed("fewer than three lines, or an empty one")
    size = int(lines[1]) if _DECIMAL.fullmatch(lines[1]) else -1
    if not 0 <= size <= TREE_SIZE_MAX:
        raise _malformed("the size is not a decimal number up to 2**63 - 1", "size")
    root = decode_base64(lines[2])
    if root is None or len(root) != HASH_BYTES:
        raise _malformed(f"the root is not the base64 of {HASH_BYTES} bytes", "root")
    if size == 0 and root != EMPTY_ROOT:
        raise _malformed("not the root of the empty tree", "root")
    return Checkpoint(origin=lines[0], size=size, root=root, extensions=tuple(lines[3:]))


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """Signed note of a checkpoint under its origin as key name.

    Raises:
        CheckpointError: ``CHECKPOINT_MALFORMED``.
        KeyFormatError: ``KEY_NAME`` when the origin cannot be a key name.
    """
    return sign_note(encode_checkpoint(checkpoint), ((checkpoint.origin, key),))


def open_checkpoint(
    note: bytes,
    log_key: NoteKey,
    *,
    further_log_keys: Sequence[NoteKey] = (),
    witnesses: Sequence[NoteKey] = (),
    witness_count_min: int = 0,
) -> OpenedCheckpoint:
    """Verify a checkpoint note of one log.

    Args:
        note: As served under ``checkpoint``.
        log_key: Key of the log, Ed25519 or ML-DSA-44; its name is the origin that the text
            must carry.
        further_log_keys: Keys of the same log that must have signed too. For "one or the
            other" see :mod:`settlement.ledger.policy`.
        witnesses: Keys whose cosignatures count. Others are ignored.
        witness_count_min: How many different witnesses must have cosigned; keys under one
            name are one witness, and so are names with one key.

    Raises:
        CheckpointError: ``NOTE_*``, ``CHECKPOINT_*``, ``COSIGNATURE_MALFORMED``.
        KeyFormatError: ``KEY_ALGORITHM`` when the log's key is a cosignature key.
    """
    log_keys = (log_key, *further_log_keys)
    for key in log_keys:
        check_log_key(key)
    parsed = parse_note(note)
    verified = verify_note(parsed, (*log_keys, *witnesses))
    signed = {line.key.key_hash for line in verified if line.key in log_keys}
    for key in log_keys:
        if key.key_hash not in signed:
            raise CheckpointError(
                LedgerErrorCode.NOTE_UNVERIFIED, "not signed by the log", place=key.name
            )
    checkpoint = parse_checkpoint(parsed.text)
    if checkpoint.origin != log_key.name:
        raise CheckpointError(
            LedgerErrorCode.CHECKPOINT_ORIGIN,
            f"expected {log_key.name}, the text says {checkpoint.origin}",
        )
    latest = latest_cosignatures(verified, log_keys)
    # One party under several names is one witness, and so is one name with several keys.
    count = min(len(latest), len({line.key.name for line in latest}))
    if count < witness_count_min:
        raise CheckpointError(
            LedgerErrorCode.NOTE_TOO_FEW_WITNESSES,
            f"{count} of at least {witness_count_min} witnesses cosigned",
        )
    return OpenedCheckpoint(checkpoint=checkpoint, text=parsed.text, cosignatures=latest)


def check_log_key(key: NoteKey) -> None:
    """Refuse a key with which a log cannot sign a checkpoint.

    Raises:
        KeyFormatError: ``KEY_ALGORITHM`` for an Ed25519 cosignature key.
    """
    if key.algorithm is NoteAlgorithm.COSIGNATURE_V1:
        raise KeyFormatError(
            LedgerErrorCode.KEY_ALGORITHM, "the key of a witness, not of a log", place=key.name
        )


def latest_cosignatures(
    verified: Iterable[VerifiedSignature], log_keys: Sequence[NoteKey]
) -> tuple[VerifiedSignature, ...]:
    """Cosignatures among checked lines: the latest of each key, none of the log's own."""
    own = {key.public for key in log_keys}
    latest: dict[bytes, VerifiedSignature] = {}
    for line in verified:
        if line.time_seconds is None or line.key.public in own:
            continue
        known = latest.get(line.key.public)
        if known is None or (known.time_seconds or 0) < line.time_seconds:
            latest[line.key.public] = line
    return tuple(latest.values())


def sign_note(text: bytes, signers: Sequence[tuple[str, SigningKey]]) -> bytes:
    """Signed note with one plain Ed25519 line for each (key name, key).

    Raises:
        CheckpointError: ``NOTE_MALFORMED`` for a text that cannot be signed.
        KeyFormatError: ``KEY_NAME``.
    """
    lines = []
    for name, key in signers:
        public = NoteKey(name=name, algorithm=NoteAlgorithm.ED25519, public=key.public)
        lines.append(_signature_line(public, key.sign(text)))
    note = text + b"\n" + b"".join(lines)
    if parse_note(note).text != text:
        raise CheckpointError(LedgerErrorCode.NOTE_MALFORMED, "the note does not read back")
    return note


def cosign(text: bytes, name: str, key: SigningKey | MlDsaKey, time_seconds: int) -> bytes:
    """Cosignature line over the text of a checkpoint.

    The caller has verified the checkpoint and its consistency with what it cosigned
    before: that is what the line states. A log signs its own checkpoints with an ML-DSA-44
    key in the same form, under its origin as name.

    Args:
        text: Note text, as in :attr:`OpenedCheckpoint.text`.
        name: Key name of the witness.
        key: An Ed25519 key is used for nothing else and under no other name: its message
            has no name in it.
        time_seconds: POSIX time, 0 to 2**63 - 1.

    Raises:
        CheckpointError: ``CHECKPOINT_MALFORMED``, ``COSIGNATURE_MALFORMED``.
        KeyFormatError: ``KEY_NAME``.
    """
    checkpoint = parse_checkpoint(text)
    check_time(time_seconds)
    if isinstance(key, MlDsaKey):
        algorithm = NoteAlgorithm.ML_DSA_44
        message = _subtree_message(name, time_seconds, checkpoint)
    else:
        algorithm = NoteAlgorithm.COSIGNATURE_V1
        message = cosignature_message(text, time_seconds)
    public = NoteKey(name=name, algorithm=algorithm, public=key.public)
    return _signature_line(public, encode_timestamped(time_seconds, key.sign(message)))


def add_signature_lines(note: bytes, lines: Iterable[bytes]) -> bytes:
    """Note with more signature lines behind the present ones.

    Raises:
        CheckpointError: ``NOTE_TOO_LARGE``, ``NOTE_MALFORMED``, also for a bad line.
    """
    text = parse_note(note).text
    extended = note + b"".join(lines)
    if parse_note(extended).text != text:
        raise CheckpointError(LedgerErrorCode.NOTE_MALFORMED, "not a signature line")
    return extended


def parse_note(note: bytes) -> Note:
    """Split a signed note into its text and its signature lines, checking neither.

    Raises:
        CheckpointError: ``NOTE_TOO_LARGE``, ``NOTE_MALFORMED``.

    Source: C2SP signed-note, "Format".
    """
    if len(note) > NOTE_BYTES_MAX:
        raise CheckpointError(
            LedgerErrorCode.NOTE_TOO_LARGE, f"{len(note)} bytes, the limit is {NOTE_BYTES_MAX}"
        )
    try:
        decoded = note.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(LedgerErrorCode.NOTE_MALFORMED, "not UTF-8") from error
    if _CONTROL.search(decoded):
        raise CheckpointError(LedgerErrorCode.NOTE_MALFORMED, "a control character")
    # The last empty line separates: the text itself may contain others.
    text, separator, block = decoded.rpartition("\n\n")
    if not separator or not block.endswith("\n"):
        raise CheckpointError(LedgerErrorCode.NOTE_MALFORMED, "no signature block")
    lines = block[:-1].split("\n")
    if len(lines) > NOTE_SIGNATURES_MAX:
        raise CheckpointError(
            LedgerErrorCode.NOTE_TOO_LARGE,
            f"{len(lines)} signatures, the limit is {NOTE_SIGNATURES_MAX}",
        )
    return Note(
        text=f"{text}\n".encode(),
        signatures=tuple(_parse_line(line, number) for number, line in enumerate(lines)),
    )


def verify_note(note: Note, keys: Sequence[NoteKey]) -> tuple[VerifiedSignature, ...]:
    """Check every signature line of a known key; lines of other keys are ignored.

    Returns:
        The checked lines in their order, at least one.

    Raises:
        CheckpointError: ``NOTE_BAD_SIGNATURE`` when a known key's line does not hold,
            ``COSIGNATURE_MALFORMED``, ``NOTE_UNVERIFIED`` when no line is of a known key.

    Source: C2SP signed-note, "Signatures".
    """
    known: dict[tuple[str, bytes], NoteKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_hash), key) != key:
            raise KeyFormatError(
                LedgerErrorCode.KEY_ID_MISMATCH, "two keys share name and hash", place=key.name
            )
    verified = []
    for number, line in enumerate(note.signatures):
        signer = known.get((line.name, line.key_hash))
        if signer is not None:
            verified.append(_verify_line(note.text, line, signer, f"signature {number}"))
    if not verified:
        raise CheckpointError(LedgerErrorCode.NOTE_UNVERIFIED, "no signature of a known key")
    return tuple(verified)


def _verify_line(text: bytes, line: NoteSignature, key: NoteKey, place: str) -> VerifiedSignature:
    time_seconds: int | None = None
    if key.algorithm is NoteAlgorithm.ED25519:
        holds = verify_signature(key.public, line.signature, text)
    else:
        time_seconds, signature = decode_timestamped(line.signature, key.algorithm, place)
        if key.algorithm is NoteAlgorithm.ML_DSA_44:
            message = _subtree_message(key.name, time_seconds, parse_checkpoint(text))
            holds = verify_mldsa(key.public, signature, message)
        else:
            holds = verify_signature(key.public, signature, cosignature_message(text, time_seconds))
    if not holds:
        raise CheckpointError(
            LedgerErrorCode.NOTE_BAD_SIGNATURE,
            f"the line of {line.name} does not hold",
            place=place,
        )
    return VerifiedSignature(key=key, time_seconds=time_seconds)


def _subtree_message(name: str, time_seconds: int, checkpoint: Checkpoint) -> bytes:
    return subtree_message(name, time_seconds, checkpoint.origin, checkpoint.size, checkpoint.root)


def _signature_line(key: NoteKey, signature: bytes) -> bytes:
    return f"{_SIGNATURE_PREFIX}{key.name} {encode_base64(key.key_hash + signature)}\n".encode()


def _parse_line(line: str, number: int) -> NoteSignature:
    place = f"signature {number}"
    if not line.startswith(_SIGNATURE_PREFIX):
        raise CheckpointError(
            LedgerErrorCode.NOTE_MALFORMED, "a line does not start with a dash", place=place
        )
    name, separator, encoded = line[len(_SIGNATURE_PREFIX) :].partition(" ")
    try:
        check_key_name(name)
    except KeyFormatError as error:
        raise CheckpointError(
            LedgerErrorCode.NOTE_MALFORMED, "not a key name", place=place
        ) from error
    blob = decode_base64(encoded) if separator else None
    if blob is None or len(blob) <= KEY_HASH_BYTES:
        raise CheckpointError(
            LedgerErrorCode.NOTE_MALFORMED, "not base64 of key hash and signature", place=place
        )
    return NoteSignature(name=name, key_hash=blob[:KEY_HASH_BYTES], signature=blob[KEY_HASH_BYTES:])


def _malformed(detail: str, place: str = "") -> CheckpointError:
    return CheckpointError(LedgerErrorCode.CHECKPOINT_MALFORMED, detail, place=place)
