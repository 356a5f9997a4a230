"""The readers of the ledger's formats, each with a valid sample and what must hold of any input.

A reader takes any bytes. It either refuses them with an error of the ledger's own, or what it
read is written again as the same bytes; and nothing that differs from a signed or proved sample
verifies in its place. Used by hypothesis (``tests/property/test_ledger_readers.py``) and by
atheris (``fuzz_ledger.py``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Final

from settlement.ledger import checkpoint, envelope, merkle, proofs, tiles
from settlement.ledger.errors import LedgerFormatError
from settlement.ledger.keys import key_id, parse_vkey
from tests.conformance import sample_log

LOG: Final = sample_log.build(sample_log.entries_of(300), steps=[256])
INDEX: Final = 258
KEY: Final = sample_log.LOG_KEY
ENVELOPE: Final = envelope.sign("text/plain", b"512 chips", [KEY])
LEAF: Final = proofs.commitment_leaf(proofs.commit(bytes(32), ENVELOPE))


def read_envelope(data: bytes) -> None:
    """DSSE: free in white space and order, so the sample's content is what counts."""
    parsed = envelope.decode(data, allow_unsigned=True)
    if parsed.signatures:
        assert envelope.decode(envelope.encode(parsed)) == parsed
    try:
        verified = envelope.verify(data, {key_id(KEY.public): KEY.public})
    except LedgerFormatError:
        return
    assert (verified.payload_type, verified.payload) == ("text/plain", b"512 chips")


def read_commitment(data: bytes) -> None:
    """One spelling only."""
    assert proofs.commitment_leaf(proofs.parse_commitment_leaf(data)) == data


def read_note(data: bytes) -> None:
    """What opens states what was signed."""
    parsed = checkpoint.parse_note(data)
    checkpoint.parse_checkpoint(parsed.text)
    opened = checkpoint.open_checkpoint(data, sample_log.LOG_NOTE_KEY)
    assert (opened.checkpoint.size, opened.checkpoint.root) == (300, LOG.root)


def read_vkey(data: bytes) -> None:
    """One spelling only."""
    text = data.decode("utf-8", "surrogateescape")
    assert parse_vkey(text).to_vkey() == text


def read_path(data: bytes) -> None:
    """One spelling only."""
    text = data.decode("utf-8", "surrogateescape")
    assert tiles.parse_path(text).path == text
    assert not text.startswith("/")
    assert ".." not in text


def read_bundle(data: bytes) -> None:
    """Every byte belongs to an entry."""
    assert tiles.encode_bundle(tiles.decode_bundle(data)) == data


def read_log(data: bytes) -> None:
    """No leaf is given out that is not the log's, whichever file is another."""
    path, _, content = data.partition(b"\n")
    files = {**LOG.files, path.decode("utf-8", "replace"): content}
    for index, leaf in tiles.replay(files.get, size=300, root=LOG.root):
        assert leaf == LOG.entries[index]


def read_proof(data: bytes) -> None:
    """What verifies is the sample's entry at the sample's place."""
    parsed = proofs.decode_proof(data)
    assert proofs.decode_proof(proofs.encode_proof(parsed)) == parsed
    proofs.verify_proof(LOG.entries[INDEX], data, sample_log.LOG_NOTE_KEY)
    assert parsed.index == INDEX


def read_consistency(data: bytes) -> None:
    """No other hashes lead from the old root to the new one."""
    hashes = [data[start : start + 32] for start in range(0, len(data), 32)]
    merkle.verify_consistency(
        old_size=256,
        new_size=300,
        old_root=LOG.tree.root(256),
        new_root=LOG.root,
        proof=hashes,
    )
    assert data == CONSISTENCY


CONSISTENCY: Final = b"".join(merkle.consistency_proof(256, 300, LOG.tree.subtree_hash))
READERS: Final[dict[str, tuple[Callable[[bytes], None], bytes]]] = {
    "envelope": (read_envelope, ENVELOPE),
    "commitment": (read_commitment, LEAF),
    "note": (read_note, LOG.files["checkpoint"]),
    "vkey": (read_vkey, sample_log.LOG_NOTE_KEY.to_vkey().encode()),
    "path": (read_path, b"tile/0/x001/x234/067.p/8"),
    "bundle": (read_bundle, LOG.files["tile/entries/001.p/44"]),
    "log": (read_log, b"tile/0/001.p/44\n" + LOG.files["tile/0/001.p/44"]),
    "proof": (read_proof, LOG.proof_file(INDEX)),
    "consistency": (read_consistency, CONSISTENCY),
}


def read(name: str, data: bytes) -> bool:
    """Give a reader some bytes; whether it took them.

    Raises:
        Exception: anything but a refusal of the ledger's own.
    """
    try:
        READERS[name][0](data)
    except LedgerFormatError:
        return False
    return True


def respelled(data: bytes) -> bytes:
    """An envelope with its fields in another order and white space between them."""
    document = json.loads(data)
    assert base64.b64decode(document["payload"])
    return json.dumps(dict(reversed(document.items())), indent=1).encode()
