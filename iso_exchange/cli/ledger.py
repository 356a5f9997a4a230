"""``iso ledger``: the transparency log, checked before it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from iso_exchange.cli import ledger_export, output, rollover
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import (
    OPERATOR_ID,
    Json,
    call,
    identity_directory,
    settings_of,
)
from iso_exchange.client import Client, UntrustedAnswer, load_exchange
from settlement.ledger import merkle, proofs
from settlement.ledger.checkpoint import OpenedCheckpoint, open_checkpoint
from settlement.ledger.errors import LedgerFormatError
from settlement.ledger.keys import NoteKey, parse_vkey
from settlement.ledger.policy import Policy, open_under_policy, parse_policy

app: Final = typer.Typer(
    no_args_is_help=True, help="Transparency log: checkpoint, entry, proof, export."
)
app.command("export")(ledger_export.export)
app.command("roll-over")(rollover.roll_over)

EntryIndex = Annotated[int, typer.Argument(metavar="INDEX", min=0, help="Position in the log.")]
LogKey = Annotated[
    str, typer.Option("--log-key", help="Verifier key. Default: that of the identity directory.")
]
PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", help="C2SP tlog-policy file: its quorum of witnesses must hold too."),
]


@app.command("checkpoint")
def checkpoint(
    context: typer.Context,
    log_key: LogKey = "",
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """Show the latest checkpoint, its signature checked, and its cosignatures by a policy."""
    key, rules = _log_key(context, log_key), _policy(policy)
    found = call(context, lambda client: client.checkpoint(), as_json=as_json, default=OPERATOR_ID)
    opened = _open(found.note, key, rules)
    output.answer(
        {
            "origin": opened.checkpoint.origin,
            "tree_size": opened.checkpoint.size,
            "root_hash": opened.checkpoint.root.hex(),
            "publish_time": output.stamp_text(found.publish_time),
            "witnesses": [line.key.name for line in opened.cosignatures],
            "note": found.note.decode(),
        },
        found.note.decode().rstrip("\n"),
        as_json=as_json,
    )


@app.command("entry")
def entry(context: typer.Context, index: EntryIndex, as_json: Json = False) -> None:
    """Show a log entry, with its opening where this identity may see it."""
    found = call(context, lambda client: client.entry(index), as_json=as_json, default=OPERATOR_ID)
    if merkle.leaf_hash(found.leaf) != found.leaf_hash:
        message = f"the leaf of entry {index} has another hash"
        raise UntrustedAnswer(message)
    opening = found.opening_envelope.decode() if found.opening_envelope else ""
    facts = [
        ("Entry", found.entry_index),
        ("Kind", found.kind),
        ("Accepted", output.stamp_text(found.accept_time)),
        ("Public", "yes" if found.is_public else "no"),
        ("Leaf hash", found.leaf_hash.hex()),
        ("Leaf", found.leaf.decode()),
    ]
    if opening:
        proofs.open_commitment(
            proofs.parse_commitment_leaf(found.leaf), found.opening_salt, found.opening_envelope
        )
        facts += [("Opening", opening), ("Salt", found.opening_salt.hex())]
    facts += [("Document", digest.hex()) for digest in found.document_sha256s]
    document = output.plain(found)
    document["leaf"], document["opening_envelope"] = found.leaf.decode(), opening
    output.answer(document, output.pairs(facts), as_json=as_json)
    output.next_steps(f"iso ledger proof {index} --output entry.tlog-proof", as_json=as_json)


@app.command("proof")
def proof(
    context: typer.Context,
    index: EntryIndex,
    file: Annotated[
        Path | None, typer.Option("--output", help="Write a C2SP tlog-proof file.")
    ] = None,
    log_key: LogKey = "",
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """Prove that an entry is in the log: checked here against the signed checkpoint."""
    key, rules = _log_key(context, log_key), _policy(policy)

    async def work(client: Client) -> tuple[bytes, bytes]:
        latest = await client.checkpoint()
        opened = _open(latest.note, key, rules)
        found = await client.entry(index)
        path = await client.inclusion_proof(index, tree_size=opened.checkpoint.size)
        log_proof = proofs.LogProof(index=index, path=tuple(path.hashes), checkpoint=latest.note)
        return proofs.encode_proof(log_proof), found.leaf

    text, leaf = call(context, work, as_json=as_json, default=OPERATOR_ID)
    try:
        opened = proofs.verify_proof(leaf, text, key)
    except LedgerFormatError as error:
        message = f"the proof of entry {index} does not hold: {error}"
        raise UntrustedAnswer(message) from error
    if file is not None:
        file.write_bytes(text)
    output.answer(
        {
            "entry_index": index,
            "leaf_hash": merkle.leaf_hash(leaf).hex(),
            "tree_size": opened.checkpoint.size,
            "root_hash": opened.checkpoint.root.hex(),
            "verified": True,
            "proof": text.decode(),
            "file": str(file) if file else "",
        },
        f"Entry {index} is in the tree of {opened.checkpoint.size} entries, signed by {key.name}",
        as_json=as_json,
    )


def _log_key(context: typer.Context, given: str) -> NoteKey:
    text = given
    if not text:
        directory = identity_directory(settings_of(context), default=OPERATOR_ID)
        text = load_exchange(directory).log_vkey
    try:
        return parse_vkey(text)
    except LedgerFormatError as error:
        raise BadValue("--log-key", f"expected a verifier key: {error}", got=text) from error


def _policy(path: Path | None) -> Policy | None:
    if path is None:
        return None
    try:
        return parse_policy(path.read_bytes())
    except (OSError, LedgerFormatError) as error:
        raise BadValue("--policy", str(error), got=str(path)) from error


def _open(note: bytes, key: NoteKey, policy: Policy | None) -> OpenedCheckpoint:
    try:
        opened = open_checkpoint(note, key)
        return opened if policy is None else open_under_policy(note, policy, origin=key.name)
    except LedgerFormatError as error:
        message = f"the checkpoint does not verify: {error}"
        raise UntrustedAnswer(message) from error
