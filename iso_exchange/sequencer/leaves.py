"""From an accepted command to its log entry: public leaf, or salted commitment."""

from __future__ import annotations

from dataclasses import dataclass

from clearing import codec
from iso_exchange.kinds import EntryKind
from settlement.ledger import envelope, merkle, proofs
from settlement.ledger.keys import SigningKey
from settlement.storage.store import Entry

BATCH_KIND = "BATCH"
BATCH_PAYLOAD_TYPE = "application/vnd.iso-exchange.batch.v1+json"
SALT_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchHeader:
    """Body of the leaf that closes every group commit, signed by the log key.

    Attributes:
        first_index: Log index of the first leaf of the batch.
        count: Leaves of the batch, this header not counted.
        root: Hex RFC 6962 root over those leaves.
        time_us: Sequencer time of the batch, microseconds since the epoch.
        epoch: Sequencer epoch.
        code_version: Version of the program that applied it.
    """

    first_index: int
    count: int
    root: str
    time_us: int
    epoch: int
    code_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What every accepted mutation answers, and answers again on replay.

    Attributes:
        entry_index: Position in the log.
        leaf_hash: RFC 6962 leaf hash.
        time_us: When the sequencer accepted it.
        salt: Opens the commitment; empty for public kinds.
    """

    entry_index: int
    leaf_hash: bytes
    time_us: int
    salt: bytes


def leaf_of(kind: EntryKind, envelope_bytes: bytes, salt: bytes) -> bytes:
    """Leaf bytes of an envelope: itself, or the commitment to it."""
    if kind.public:
        return envelope_bytes
    return proofs.commitment_leaf(proofs.commit(salt, envelope_bytes))


def batch_entry(
    entries: tuple[Entry, ...], time_us: int, epoch: int, code_version: str, key: SigningKey
) -> Entry:
    """Signed header leaf for the entries of one group commit."""
    first = entries[0].index
    hashes = [entry.leaf_hash for entry in entries]
    header = BatchHeader(
        first_index=first,
        count=len(entries),
        root=merkle.Frontier().extend(hashes).root().hex(),
        time_us=time_us,
        epoch=epoch,
        code_version=code_version,
    )
    leaf = envelope.sign(BATCH_PAYLOAD_TYPE, codec.encode(header), [key])
    index = first + len(entries)
    return Entry(
        index=index,
        kind=BATCH_KIND,
        time_us=time_us,
        leaf=leaf,
        leaf_hash=merkle.leaf_hash(leaf),
        envelope=leaf,
        salt=b"",
        owners=(),
        principal="sequencer",
        request_id=f"batch/{epoch}/{index}",
        body_sha256=merkle.leaf_hash(leaf),
        reply=b"",
    )
