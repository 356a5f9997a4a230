"""Timestamps in a bundle: each is of a root that this log had, under an authority that is trusted.

Needs the package ``rfc3161-client`` (extra ``timestamps``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.x509 import Certificate
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

from iso_exchange.audit.bundle import Bundle, timestamps_of
from iso_exchange.audit.files import BundleFiles
from iso_exchange.audit.report import Record, Step
from settlement.ledger import merkle, tiles
from settlement.ledger.checkpoint import Checkpoint, parse_checkpoint, parse_note


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """A verified timestamp.

    Attributes:
        time: When, by the authority's clock: the root of this size existed then.
    """

    size: int
    time: datetime


def check_timestamps(
    record: Record,
    files: BundleFiles,
    bundle: Bundle,
    checkpoint: Checkpoint,
    roots: Sequence[Certificate],
) -> tuple[Stamp, ...]:
    """Verify every timestamp of a bundle; findings go to step CHECKPOINT.

    Args:
        checkpoint: Of the bundle, verified.
        roots: Certificates of trusted timestamp authorities' roots.

    Returns:
        Those that hold, by size.
    """
    reader = tiles.TileReader(files.read_log, size=checkpoint.size, root=checkpoint.root)
    found = []
    for size in timestamps_of(bundle):
        place = f"timestamps/{size}.tsr"
        with record.guard(Step.CHECKPOINT, place):
            found.append(_stamp(files, reader, checkpoint, size, roots))
            record.count(Step.CHECKPOINT, "signatures")
    return tuple(found)


def _stamp(
    files: BundleFiles,
    reader: tiles.TileReader,
    checkpoint: Checkpoint,
    size: int,
    roots: Sequence[Certificate],
) -> Stamp:
    text = parse_note(files.read_log(f"timestamps/{size}.checkpoint") or b"").text
    stated = parse_checkpoint(text)
    root = merkle.root_at(size, reader.subtree_hash)
    if (stated.origin, stated.size, stated.root) != (checkpoint.origin, size, root):
        message = f"stamps a checkpoint that is none of this log at {size} entries"
        raise ValueError(message)
    response = decode_timestamp_response(files.read_log(f"timestamps/{size}.tsr") or b"")
    refused: VerificationError | None = None
    for certificate in roots:
        try:
            VerifierBuilder(roots=[certificate]).build().verify(
                response, hashlib.sha256(text).digest()
            )
        except VerificationError as error:
            refused = error
            continue
        return Stamp(size=size, time=response.tst_info.gen_time)
    raise refused or ValueError("no root certificate of a timestamp authority is given")
