"""What a witness decides: the request of a log, judged against what was cosigned before.

A witness cosigns a checkpoint only if it extends the one it cosigned last for that origin.
That makes a log that shows two histories, or takes entries back, visible to everybody who
asks for its cosignature. Judging is pure; keeping the last checkpoint durably, and
deciding and keeping under one lock, is what the server around it adds.

Source: C2SP tlog-witness (c2sp.org/tlog-witness), "add-checkpoint".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from settlement.ledger import merkle
from settlement.ledger.base64_strict import decode_base64, encode_base64
from settlement.ledger.checkpoint import (
    NOTE_BYTES_MAX,
    Checkpoint,
    parse_checkpoint,
    parse_note,
    verify_note,
)
from settlement.ledger.errors import (
    CheckpointError,
    LedgerErrorCode,
    MerkleError,
    WitnessRequestError,
)
from settlement.ledger.keys import NoteKey

PROOF_HASHES_MAX: Final = 63
REQUEST_BYTES_MAX: Final = NOTE_BYTES_MAX + 4 * 1024

_OLD_LINE: Final = re.compile(r"old (0|[1-9][0-9]{0,18})")


class Status(IntEnum):
    """Why a checkpoint is not cosigned; the values are the HTTP statuses of the protocol."""

    MALFORMED = 400
    """No request of the protocol, or an old size above the new one."""
    FORBIDDEN = 403
    """No trusted key of the origin signed it, or the line of one does not hold."""
    UNKNOWN_ORIGIN = 404
    CONFLICT = 409
    """Another size was cosigned last, or another root at this size."""
    INCONSISTENT = 422
    """The proof does not show that the new tree extends the old one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheckpoint:
    """A request, nothing in it verified.

    Attributes:
        old_size: Size that the log believes the witness cosigned last.
        proof: RFC 6962 consistency proof from there, at most 63 hashes.
        note: Signed checkpoint, verbatim.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistent:
    """A checkpoint that may be cosigned.

    Attributes:
        text: Note text, the bytes to cosign.
        note: The request's checkpoint.
    """

    checkpoint: Checkpoint
    text: bytes
    note: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why not.

    Attributes:
        detail: One sentence for the log's operator.
        size: Size cosigned last, for ``CONFLICT`` only.
    """

    status: Status
    detail: str
    size: int | None = None


def encode_request(request: AddCheckpoint) -> bytes:
    """Body of ``POST add-checkpoint``.

    Raises:
        WitnessRequestError: ``WITNESS_REQUEST`` for parts that would not read back.
    """
    lines = [f"old {request.old_size}", *(encode_base64(hash_) for hash_ in request.proof)]
    body = "".join(f"{line}\n" for line in lines).encode() + b"\n" + request.note
    if decode_request(body) != request:
        raise _malformed("the request does not read back")
    return body


def decode_request(body: bytes) -> AddCheckpoint:
    """Read the body of ``POST add-checkpoint``.

    Raises:
        WitnessRequestError: ``WITNESS_REQUEST``.
    """
    if len(body) > REQUEST_BYTES_MAX:
        raise _malformed(f"{len(body)} bytes, the limit is {REQUEST_BYTES_MAX}")
    head, separator, note = body.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("not ASCII before the checkpoint") from error
    match = _OLD_LINE.fullmatch(lines[0])
    if not separator or not note or match is None or int(match[1]) > merkle.TREE_SIZE_MAX:
        raise _malformed("expected 'old' and a size, hashes, an empty line and a checkpoint")
    if len(lines) - 1 > PROOF_HASHES_MAX:
        raise _malformed(f"more than {PROOF_HASHES_MAX} hashes")
    proof = []
    for number, line in enumerate(lines[1:]):
        hash_ = decode_base64(line)
        if hash_ is None or len(hash_) != merkle.HASH_BYTES:
            raise _malformed("not the base64 of 32 bytes", f"proof[{number}]")
        proof.append(hash_)
    return AddCheckpoint(old_size=int(match[1]), proof=tuple(proof), note=note)


def judge(
    body: bytes,
    keys_of: Callable[[str], Sequence[NoteKey]],
    latest_of: Callable[[str], Checkpoint | None],
) -> Consistent | Refused:
    """Decide about one request, in the order of the protocol.

    Args:
        body: As received.
        keys_of: Trusted keys of an origin, none for an unknown one.
        latest_of: What was cosigned last for an origin, None if nothing was. The caller
            holds a lock until the new checkpoint is kept.
    """
    try:
        request = decode_request(body)
        note = parse_note(request.note)
        checkpoint = parse_checkpoint(note.text)
    except (WitnessRequestError, CheckpointError) as error:
        return Refused(status=Status.MALFORMED, detail=str(error))
    keys = keys_of(checkpoint.origin)
    if not keys:
        return Refused(
            status=Status.UNKNOWN_ORIGIN, detail=f"{checkpoint.origin} is not witnessed here"
        )
    try:
        verify_note(note, keys)
    except CheckpointError as error:
        return Refused(status=Status.FORBIDDEN, detail=str(error))
    if request.old_size > checkpoint.size:
        return Refused(
            status=Status.MALFORMED,
            detail=f"old size {request.old_size} is above the checkpoint's {checkpoint.size}",
        )
    latest = latest_of(checkpoint.origin)
    known = 0 if latest is None else latest.size
    if request.old_size != known:
        detail = f"{known} entries were cosigned last"
        return Refused(status=Status.CONFLICT, detail=detail, size=known)
    if latest is not None and checkpoint.size == known and checkpoint.root != latest.root:
        detail = f"another root of size {known} was cosigned: the log shows two histories"
        return Refused(status=Status.CONFLICT, detail=detail, size=known)
    refused = _refuse_proof(request, checkpoint, latest)
    if refused is not None:
        return refused
    return Consistent(checkpoint=checkpoint, text=note.text, note=request.note)


def _refuse_proof(
    request: AddCheckpoint, checkpoint: Checkpoint, latest: Checkpoint | None
) -> Refused | None:
    if request.old_size == 0:
        if request.proof:
            return Refused(
                status=Status.INCONSISTENT, detail="a proof from the empty tree is empty"
            )
        return None
    assert latest is not None, "an old size above zero equals that of a cosigned checkpoint"
    try:
        merkle.verify_consistency(
            old_size=latest.size,
            new_size=checkpoint.size,
            proof=request.proof,
            old_root=latest.root,
            new_root=checkpoint.root,
        )
    except MerkleError as error:
        return Refused(status=Status.INCONSISTENT, detail=str(error))
    return None


def _malformed(detail: str, place: str = "") -> WitnessRequestError:
    return WitnessRequestError(LedgerErrorCode.WITNESS_REQUEST, detail, place=place)
