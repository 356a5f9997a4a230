"""Builds the golden vectors of the log formats: one valid input of each kind, and attacks on it.

A vector is an object with the check to run, its inputs (bytes as base64, notes and proof files
as text) and the outcome: "ok" or the stable code of the refusal.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, TypeAlias

from settlement.ledger import checkpoint, envelope, keys, merkle, proofs, tiles
from settlement.ledger.errors import LedgerFormatError
from tests.conformance import sample_log

Vector: TypeAlias = dict[str, Any]

KIND = "application/vnd.iso-exchange.bid.v1"
SIGNER = keys.SigningKey.from_seed(b"golden participant signing key 1")
OTHER = keys.SigningKey.from_seed(b"golden participant signing key 2")
SIZE, OLD_SIZE, INDEX = 300, 257, 258


def build() -> dict[str, Vector]:
    """Every vector by its file name without suffix."""
    log = sample_log.build(sample_log.entries_of(SIZE))
    return {
        **inclusion_vectors(log),
        **consistency_vectors(log),
        **checkpoint_vectors(log),
        **proof_file_vectors(log),
        **replay_vectors(log),
        **envelope_vectors(),
        **commitment_vectors(),
    }


def inclusion_vectors(log: sample_log.SampleLog) -> dict[str, Vector]:
    proof = merkle.inclusion_proof(INDEX, SIZE, log.tree.subtree_hash)
    fields: Vector = {
        "index": INDEX,
        "size": SIZE,
        "leaf": encode(merkle.leaf_hash(log.entries[INDEX])),
        "proof": [encode(hash_) for hash_ in proof],
        "root": encode(log.root),
    }
    return family(
        "inclusion",
        fields,
        {
            "valid": ({}, "ok"),
            "truncated-proof": ({"proof": fields["proof"][:-1]}, "PROOF_LENGTH"),
            "padded-proof": ({"proof": [*fields["proof"], encode(bytes(32))]}, "PROOF_LENGTH"),
            "reversed-proof": ({"proof": fields["proof"][::-1]}, "PROOF_ROOT"),
            "short-hash": ({"proof": [encode(bytes(31))]}, "HASH_LENGTH"),
            "wrong-index": ({"index": INDEX + 1}, "PROOF_ROOT"),
            "index-beyond-tree": ({"index": SIZE}, "LEAF_INDEX"),
            "wrong-leaf": ({"leaf": encode(bytes(32))}, "PROOF_ROOT"),
            "node-as-leaf": (
                {"leaf": encode(log.tree.subtree_hash(1, INDEX // 2))},
                "PROOF_ROOT",
            ),
            "root-of-other-size": ({"root": encode(log.tree.root(OLD_SIZE))}, "PROOF_ROOT"),
        },
    )


def consistency_vectors(log: sample_log.SampleLog) -> dict[str, Vector]:
    proof = merkle.consistency_proof(OLD_SIZE, SIZE, log.tree.subtree_hash)
    fork = sample_log.build([b"forked", *log.entries[1:]])
    fields: Vector = {
        "old_size": OLD_SIZE,
        "old_root": encode(log.tree.root(OLD_SIZE)),
        "new_size": SIZE,
        "new_root": encode(log.root),
        "proof": [encode(hash_) for hash_ in proof],
    }
    forked = merkle.consistency_proof(OLD_SIZE, SIZE, fork.tree.subtree_hash)
    return family(
        "consistency",
        fields,
        {
            "valid": ({}, "ok"),
            "truncated-proof": ({"proof": fields["proof"][:-1]}, "PROOF_LENGTH"),
            "padded-proof": ({"proof": [*fields["proof"], encode(bytes(32))]}, "PROOF_LENGTH"),
            "empty-proof": ({"proof": []}, "PROOF_LENGTH"),
            "swapped-roots": (
                {"old_root": fields["new_root"], "new_root": fields["old_root"]},
                "PROOF_OLD_ROOT",
            ),
            "swapped-sizes": ({"old_size": SIZE, "new_size": OLD_SIZE}, "TREE_SIZE"),
            "forked-log": (
                {"new_root": encode(fork.root), "proof": [encode(hash_) for hash_ in forked]},
                "PROOF_OLD_ROOT",
            ),
            "same-size-fork": ({"old_size": SIZE, "proof": []}, "PROOF_NEW_ROOT"),
            "false-empty-root": ({"old_size": 0, "proof": []}, "PROOF_OLD_ROOT"),
        },
    )


def checkpoint_vectors(log: sample_log.SampleLog) -> dict[str, Vector]:
    note = log.files["checkpoint"].decode()
    text, _, lines = note.rpartition("\n\n")
    log_line, witness_line = lines.splitlines(keepends=True)
    statement = checkpoint.Checkpoint(
        origin="log.example/another", size=SIZE, root=log.tree.root(SIZE)
    )
    foreign = checkpoint.sign_note(
        checkpoint.encode_checkpoint(statement), [(sample_log.ORIGIN, sample_log.LOG_KEY)]
    )
    older = sample_log.signed_checkpoint(OLD_SIZE, log.tree.root(OLD_SIZE)).decode()
    stranger = checkpoint.sign_note(f"{text}\n".encode(), [(sample_log.ORIGIN, OTHER)])
    fields = {
        "note": note,
        "vkey": sample_log.LOG_NOTE_KEY.to_vkey(),
        "witness_vkeys": [sample_log.WITNESS_NOTE_KEY.to_vkey()],
        "witness_count_min": 1,
    }
    return family(
        "checkpoint",
        fields,
        {
            "valid": ({}, "ok"),
            "wrong-origin": ({"note": foreign.decode()}, "CHECKPOINT_ORIGIN"),
            "changed-size": ({"note": note.replace("\n300\n", "\n301\n")}, "NOTE_BAD_SIGNATURE"),
            "transplanted-signature": (
                {"note": older.rpartition("\n\n")[0] + "\n\n" + lines},
                "NOTE_BAD_SIGNATURE",
            ),
            "key-of-same-name": ({"note": stranger.decode()}, "NOTE_UNVERIFIED"),
            "no-witness": ({"note": f"{text}\n\n{log_line}"}, "NOTE_TOO_FEW_WITNESSES"),
            "witness-only": ({"note": f"{text}\n\n{witness_line}"}, "NOTE_UNVERIFIED"),
            "hyphen-for-dash": ({"note": note.replace("\u2014", "-")}, "NOTE_MALFORMED"),
            "truncated-note": ({"note": note[:-1]}, "NOTE_MALFORMED"),
        },
    )


def proof_file_vectors(log: sample_log.SampleLog) -> dict[str, Vector]:
    text = log.proof_file(INDEX).decode()
    older = sample_log.signed_checkpoint(OLD_SIZE, log.tree.root(OLD_SIZE)).decode()
    fields = {
        "entry": encode(log.entries[INDEX]),
        "text": text,
        "vkey": sample_log.LOG_NOTE_KEY.to_vkey(),
    }
    stale = text.partition("\n\n")[0] + "\n\n" + older
    return family(
        "proof-file",
        fields,
        {
            "valid": ({}, "ok"),
            "other-entry": ({"entry": encode(log.entries[INDEX + 1])}, "PROOF_ROOT"),
            "other-index": (
                {"text": text.replace(f"index {INDEX}\n", f"index {INDEX + 1}\n")},
                "PROOF_ROOT",
            ),
            "stale-checkpoint": ({"text": stale}, "LEAF_INDEX"),
            "wrong-version": ({"text": text.replace("@v1", "@v2")}, "PROOF_FILE_MALFORMED"),
            "no-checkpoint": ({"text": text.partition("\n\n")[0]}, "PROOF_FILE_MALFORMED"),
            "other-log": (
                {
                    "vkey": keys.NoteKey(
                        name="log.example/another",
                        algorithm=keys.NoteAlgorithm.ED25519,
                        public=sample_log.LOG_KEY.public,
                    ).to_vkey()
                },
                "NOTE_UNVERIFIED",
            ),
        },
    )


def replay_vectors(log: sample_log.SampleLog) -> dict[str, Vector]:
    """Changes to the files of a log of 300 entries that `sample_log` builds."""
    fields: Vector = {"size": SIZE, "root": encode(log.root), "replace": {}}
    entries = list(log.entries[:256])
    entries[0], entries[1] = entries[1], entries[0]
    swapped = encode(tiles.encode_bundle(entries))
    partial = log.files["tile/0/001.p/44"]
    return family(
        "replay",
        fields,
        {
            "valid": ({}, "ok"),
            "swapped-entries": (
                {"replace": {"tile/entries/000": swapped}},
                "BUNDLE_ENTRY_MISMATCH",
            ),
            "removed-bundle": ({"replace": {"tile/entries/000": None}}, "BUNDLE_MISSING"),
            "removed-tile": ({"replace": {"tile/0/000": None}}, "TILE_MISSING"),
            "zeroed-tile": (
                {"replace": {"tile/0/000": encode(bytes(8192))}},
                "TILE_HASH_MISMATCH",
            ),
            "truncated-tile": (
                {"replace": {"tile/0/001.p/44": encode(partial[:-32])}},
                "TILE_LENGTH",
            ),
            "root-of-other-size": ({"root": encode(log.tree.root(OLD_SIZE))}, "TILE_ROOT_MISMATCH"),
        },
    )


def envelope_vectors() -> dict[str, Vector]:
    signed = envelope.sign(KIND, b'{"bid":1}', [SIGNER])
    fields = {"envelope": signed.decode(), "public_keys": [encode(SIGNER.public)]}

    def edited(change: Callable[[Vector], None]) -> Vector:
        document = json.loads(signed)
        change(document)
        return {"envelope": json.dumps(document, separators=(",", ":"))}

    return family(
        "envelope",
        fields,
        {
            "valid": ({}, "ok"),
            "changed-payload": (
                edited(lambda it: it.update(payload=encode(b'{"bid":2}'))),
                "ENVELOPE_BAD_SIGNATURE",
            ),
            "changed-payload-type": (
                edited(lambda it: it.update(payloadType=KIND.replace("bid", "offer"))),
                "ENVELOPE_BAD_SIGNATURE",
            ),
            "stripped-signatures": (
                edited(lambda it: it.update(signatures=[])),
                "ENVELOPE_UNSIGNED",
            ),
            "unknown-signer": ({"public_keys": [encode(OTHER.public)]}, "ENVELOPE_UNKNOWN_KEY"),
            "second-payload": (
                {"envelope": signed.decode()[:-1] + ',"payload":""}'},
                "ENVELOPE_DUPLICATE_FIELD",
            ),
            "trailing-bytes": ({"envelope": signed.decode() + "\n"}, "ENVELOPE_NOT_JSON"),
            "hidden-base64-bits": (
                edited(lambda it: it.update(payload="eB==")),
                "ENVELOPE_BASE64",
            ),
            "smuggled-field": (edited(lambda it: it.update(note="x")), "ENVELOPE_UNKNOWN_FIELD"),
        },
    )


def commitment_vectors() -> dict[str, Vector]:
    salt, signed = bytes(range(32)), envelope.sign(KIND, b'{"bid":1}', [SIGNER])
    fields = {
        "commitment": encode(proofs.commit(salt, signed)),
        "salt": encode(salt),
        "envelope": signed.decode(),
    }
    return family(
        "commitment",
        fields,
        {
            "valid": ({}, "ok"),
            "other-salt": ({"salt": encode(bytes(32))}, "COMMITMENT_MISMATCH"),
            "short-salt": ({"salt": encode(bytes(31))}, "COMMITMENT_SALT_LENGTH"),
            "reformatted-envelope": (
                {"envelope": signed.decode().replace(":", ": ")},
                "COMMITMENT_MISMATCH",
            ),
        },
    )


def family(check: str, fields: Vector, cases: dict[str, tuple[Vector, str]]) -> dict[str, Vector]:
    return {
        f"{check}-{name}": {"check": check, **fields, **changes, "expected": expected}
        for name, (changes, expected) in cases.items()
    }


def run(vector: Vector) -> str:
    """What the product says about a vector: "ok" or a code."""
    try:
        CHECKS[vector["check"]](vector)
    except LedgerFormatError as error:
        return error.code.value
    return "ok"


def check_inclusion(vector: Vector) -> None:
    merkle.verify_inclusion(
        index=vector["index"],
        size=vector["size"],
        leaf=decode(vector["leaf"]),
        proof=[decode(hash_) for hash_ in vector["proof"]],
        root=decode(vector["root"]),
    )


def check_consistency(vector: Vector) -> None:
    merkle.verify_consistency(
        old_size=vector["old_size"],
        old_root=decode(vector["old_root"]),
        new_size=vector["new_size"],
        new_root=decode(vector["new_root"]),
        proof=[decode(hash_) for hash_ in vector["proof"]],
    )


def check_checkpoint(vector: Vector) -> None:
    checkpoint.open_checkpoint(
        vector["note"].encode(),
        keys.parse_vkey(vector["vkey"]),
        witnesses=[keys.parse_vkey(vkey) for vkey in vector["witness_vkeys"]],
        witness_count_min=vector["witness_count_min"],
    )


def check_proof_file(vector: Vector) -> None:
    proofs.verify_proof(
        decode(vector["entry"]), vector["text"].encode(), keys.parse_vkey(vector["vkey"])
    )


def check_replay(vector: Vector) -> None:
    files: dict[str, bytes | None] = dict(sample_log.build(sample_log.entries_of(SIZE)).files)
    for path, content in vector["replace"].items():
        files[path] = None if content is None else decode(content)
    for _ in tiles.replay(files.get, size=vector["size"], root=decode(vector["root"])):
        pass


def check_envelope(vector: Vector) -> None:
    public_keys = [decode(public) for public in vector["public_keys"]]
    envelope.verify(
        vector["envelope"].encode(), {keys.key_id(public): public for public in public_keys}
    )


def check_commitment(vector: Vector) -> None:
    proofs.open_commitment(
        decode(vector["commitment"]), decode(vector["salt"]), vector["envelope"].encode()
    )


CHECKS: dict[str, Callable[[Vector], None]] = {
    "inclusion": check_inclusion,
    "consistency": check_consistency,
    "checkpoint": check_checkpoint,
    "proof-file": check_proof_file,
    "replay": check_replay,
    "envelope": check_envelope,
    "commitment": check_commitment,
}


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
