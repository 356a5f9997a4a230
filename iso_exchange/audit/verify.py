"""Verify an audit bundle from its files alone: no server, no database, no network."""

from __future__ import annotations

from pathlib import Path

from iso_exchange.audit.bundle import (
    BUNDLE_NAME,
    CHECKPOINT_NAME,
    DOCUMENT_PREFIX,
    LOG_PREFIX,
    NOT_SEALED,
    Bundle,
    BundleKind,
)
from iso_exchange.audit.files import BundleFiles, check_files
from iso_exchange.audit.report import Record, Report, Step
from iso_exchange.audit.walk import Walk
from iso_exchange.sequencer.pauses import Pauses
from iso_exchange.sequencer.state import State
from settlement.ledger import tiles
from settlement.ledger.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, parse_note
from settlement.ledger.errors import LedgerFormatError, TileError
from settlement.ledger.keys import NoteKey, parse_vkey

OPENINGS_NEEDED = "a public bundle holds no openings"
CONFIDENTIAL_STEPS = (
    Step.COMMITMENTS,
    Step.REPLAY,
    Step.BOOKS,
    Step.CERTIFICATES,
    Step.RESULTS,
    Step.CONTRACTS,
    Step.HOURS,
    Step.BALANCES,
    Step.STATEMENTS,
    Step.COMMUNITIES,
)
"""Steps that need openings."""


def verify(directory: Path, vkey: str | None = None) -> Report:
    """Check a bundle completely, as far as its kind allows.

    Args:
        directory: A bundle, from anybody: whatever is wrong with it is a finding of a step
            and never an exception.
        vkey: Verifier key of the log from a place that is trusted; None takes the
            bundle's own, which shows that the bundle is consistent, not whose it is.

    Returns:
        One result for each ``Step``; ``report.ok`` when none failed.
    """
    return verify_and_replay(directory, vkey)[0]


def verify_and_replay(directory: Path, vkey: str | None = None) -> tuple[Report, State | None]:
    """``verify``, and the state of the exchange that the bundle replays to.

    Returns:
        The report, and the state: None where the bundle could not be replayed to its end.
    """
    record = Record()
    files = BundleFiles(directory)
    bundle = _bundle(record, files)
    if bundle is None:
        _skip_all(record, f"{BUNDLE_NAME} cannot be read")
        return _report(record, None, vkey, None), None
    with record.guard(Step.FILES, BUNDLE_NAME):
        check_files(record, files, bundle)
    if bundle.kind is BundleKind.PUBLIC:
        for step in CONFIDENTIAL_STEPS:
            record.skip(step, OPENINGS_NEEDED)
    try:
        walk = _walk(record, files, bundle, bundle.vkey if vkey is None else vkey)
    finally:
        Pauses().end()
    if walk is None:
        _skip_all(record, "the checkpoint cannot be read")
    report = _report(record, bundle, vkey, walk)
    if walk is None or walk.stopped or walk.is_sealed or bundle.kind is BundleKind.PUBLIC:
        return report, None
    return report, None if record.has_failed(Step.TREE) else walk.state


def _bundle(record: Record, files: BundleFiles) -> Bundle | None:
    with record.guard(Step.FILES, BUNDLE_NAME):
        return files.bundle()
    return None


def _walk(record: Record, files: BundleFiles, bundle: Bundle, vkey: str) -> Walk | None:
    """Walk along the log; None when there is no checkpoint to start from."""
    with record.guard(Step.CHECKPOINT, LOG_PREFIX + CHECKPOINT_NAME):
        key = parse_vkey(vkey)
        checkpoint = _checkpoint(record, files, bundle, key)
        walk = Walk(
            record=record,
            files=files,
            kind=bundle.kind,
            origin=bundle.origin,
            log_key=key.public,
            sealed_from=bundle.sealed_from,
        )
        with record.guard(Step.TREE, LOG_PREFIX):
            _read_leaves(record, files, checkpoint, walk)
            _check_documents(record, bundle, walk)
        walk.close()
        return walk
    return None


def _checkpoint(record: Record, files: BundleFiles, bundle: Bundle, key: NoteKey) -> Checkpoint:
    """The checkpoint; one that the key did not sign is a finding and read all the same.

    Raises:
        LedgerFormatError: it cannot be read at all.
    """
    place = LOG_PREFIX + CHECKPOINT_NAME
    note = files.read_log(CHECKPOINT_NAME) or b""
    record.count(Step.CHECKPOINT, "signatures")
    try:
        checkpoint = open_checkpoint(note, key).checkpoint
    except LedgerFormatError as error:
        record.fail(Step.CHECKPOINT, place, str(error))
        checkpoint = parse_checkpoint(parse_note(note).text)
    if (checkpoint.origin, checkpoint.size) != (bundle.origin, bundle.size):
        detail = f"is of {checkpoint.origin} with {checkpoint.size} leaves, {BUNDLE_NAME} says else"
        record.fail(Step.CHECKPOINT, place, detail)
    return checkpoint


def _read_leaves(record: Record, files: BundleFiles, checkpoint: Checkpoint, walk: Walk) -> None:
    leaves = tiles.replay(files.read_log, size=checkpoint.size, root=checkpoint.root)
    while True:
        try:
            found = next(leaves, None)
        except TileError as error:
            record.fail(Step.TREE, LOG_PREFIX + error.place, str(error))
            reason = f"the log can be read up to entry {walk.entries} only"
            for step in Step:
                if step.number > Step.TREE.number:
                    record.skip(step, reason)
            return
        if found is None:
            break
        record.count(Step.TREE, "leaves")
        walk.take(*found)
    walk.finish()


def _check_documents(record: Record, bundle: Bundle, walk: Walk) -> None:
    """A document that no entry names has no place in a bundle."""
    if walk.stopped or record.has_failed(Step.TREE):
        return  # entries that may name it were not read
    for file in bundle.files:
        name = file.path.removeprefix(DOCUMENT_PREFIX)
        if name != file.path and name not in walk.named_documents:
            record.fail(Step.DOCUMENTS, file.path, "no entry names it")


def _skip_all(record: Record, reason: str) -> None:
    for step in Step:
        record.skip(step, reason)


def _report(record: Record, bundle: Bundle | None, vkey: str | None, walk: Walk | None) -> Report:
    own = "" if bundle is None else bundle.vkey
    return Report(
        kind=None if bundle is None else bundle.kind,
        origin="" if bundle is None else bundle.origin,
        vkey=own if vkey is None else vkey,
        trusts_own_key=vkey is None,
        entries=0 if walk is None else walk.entries,
        auctions=0 if walk is None else walk.results.auctions,
        largest_gap_ppb=0 if walk is None else walk.results.largest_gap_ppb,
        meter_gaps=0 if walk is None else walk.money.meter_gaps,
        hours=0 if walk is None else walk.money.hours,
        statements=0 if walk is None else walk.money.statements,
        sealed_from=NOT_SEALED if bundle is None else bundle.sealed_from,
        steps=record.steps(),
    )
