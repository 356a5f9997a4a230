"""Verify an audit bundle from its files alone: no server, no database, no network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from iso_exchange.audit.log_keys import LogKeys, Trust
from iso_exchange.audit.reader import frames
from iso_exchange.audit.reading import Line
from iso_exchange.audit.report import Record, Report, Result, Step
from iso_exchange.audit.succession import Succession, balance_findings, findings
from iso_exchange.audit.walk import Walk
from iso_exchange.sequencer.pauses import Pauses
from iso_exchange.sequencer.state import State
from settlement.ledger import merkle, tiles
from settlement.ledger.checkpoint import Checkpoint, parse_checkpoint, parse_note
from settlement.ledger.errors import LedgerFormatError
from settlement.ledger.keys import NoteAlgorithm, NoteKey

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


def verify(directory: Path, vkey: str | Trust | None = None) -> Report:
    """Check a bundle completely, as far as its kind allows.

    Args:
        directory: A bundle, from anybody: whatever is wrong with it is a finding of a step
            and never an exception.
        vkey: Verifier key of the log from a place that is trusted, or several keys and a
            policy; None takes the bundle's own key, which shows that the bundle is
            consistent, not whose it is.

    Returns:
        One result for each ``Step``; ``report.ok`` when none failed.
    """
    return verify_and_replay(directory, vkey)[0]


def verify_and_replay(
    directory: Path, vkey: str | Trust | None = None
) -> tuple[Report, State | None]:
    """``verify``, and the state of the exchange that the bundle replays to.

    Returns:
        The report, and the state: None where the bundle could not be replayed to its end.
    """
    trust = vkey if isinstance(vkey, Trust) else Trust(vkeys=() if vkey is None else (vkey,))
    report, bundle, walk = _verified(directory, trust)
    if bundle is None or walk is None:
        return report, None
    return report, _state_of(report, bundle, walk)


def _verified(directory: Path, trust: Trust) -> tuple[Report, Bundle | None, Walk | None]:
    record = Record()
    files = BundleFiles(directory)
    bundle = _bundle(record, files)
    if bundle is None:
        _skip_all(record, f"{BUNDLE_NAME} cannot be read")
        return _report(record, None, trust, None), None, None
    if bundle.kind is BundleKind.PUBLIC:
        for step in CONFIDENTIAL_STEPS:
            record.skip(step, OPENINGS_NEEDED)
    # Hashing files leaves the interpreter free: it goes on beside the walk.
    with ThreadPoolExecutor(1, "files") as beside, Pauses().none():
        checked = beside.submit(_check_files, record, files, bundle)
        try:
            walk = _walk(record, files, bundle, trust)
        finally:
            Pauses().end()
        checked.result()
    if walk is None:
        _skip_all(record, "the checkpoint cannot be read")
    else:
        with record.guard(Step.PREDECESSOR, "entry 0"):
            _check_predecessor(record, bundle, walk, trust)
    return _report(record, bundle, trust, walk), bundle, walk


def _state_of(report: Report, bundle: Bundle, walk: Walk) -> State | None:
    """State at the end of a log that could be replayed to it."""
    if walk.stopped or walk.is_sealed or bundle.kind is BundleKind.PUBLIC:
        return None
    return None if report.step(Step.TREE).result is Result.FAILED else walk.state


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """A bundle of the log before, verified (``succession.Before``)."""

    problem: str
    succession: Succession
    state: State | None
    reader: tiles.TileReader

    def root_at(self, size: int) -> bytes:
        """Root of its first leaves."""
        return merkle.root_at(size, self.reader.subtree_hash)


def _check_predecessor(record: Record, bundle: Bundle, walk: Walk, trust: Trust) -> None:
    """Step PREDECESSOR: the log before is whole, ends here, and its balances are carried over."""
    continued = walk.succession.continued
    record.count(Step.PREDECESSOR, "first entries")
    if continued is None:
        if trust.previous:
            record.fail(Step.PREDECESSOR, "entry 0", "names no log before")
        return
    if not trust.previous:
        record.skip(Step.PREDECESSOR, f"the bundle of {continued.origin} is needed")
        return
    # The key that the new log's key accepted: trust in the one leads to the other.
    vkey = NoteKey(
        name=continued.origin, algorithm=NoteAlgorithm.ED25519, public=continued.old_log_key
    ).to_vkey()
    before = _before(trust.previous[0], Trust(vkeys=(vkey,), previous=trust.previous[1:]))
    for detail in findings(bundle.origin, walk.succession, before):
        record.fail(Step.PREDECESSOR, "entry 0", detail)
    if before.state is None or bundle.kind is BundleKind.PUBLIC:
        record.skip(Step.PREDECESSOR, "balances are compared on auditor bundles of both logs")
        return
    for detail in balance_findings(walk.succession, continued.origin, before.state):
        record.fail(Step.PREDECESSOR, "entry 0", detail)


def _before(directory: Path, trust: Trust) -> _Before:
    report, bundle, walk = _verified(directory, trust)
    if bundle is None or walk is None:
        message = f"{directory}: {report.failed[0].detail if report.failed else 'no bundle'}"
        raise ValueError(message)
    files = BundleFiles(directory)
    checkpoint = parse_checkpoint(parse_note(files.read_log(CHECKPOINT_NAME) or b"").text)
    failed = report.failed[0] if report.failed else None
    return _Before(
        problem="" if failed is None else f"step {failed.name} {failed.place}: {failed.detail}",
        succession=walk.succession,
        state=_state_of(report, bundle, walk),
        reader=tiles.TileReader(files.read_log, size=checkpoint.size, root=checkpoint.root),
    )


def _check_files(record: Record, files: BundleFiles, bundle: Bundle) -> None:
    with record.guard(Step.FILES, BUNDLE_NAME):
        check_files(record, files, bundle)


def _bundle(record: Record, files: BundleFiles) -> Bundle | None:
    with record.guard(Step.FILES, BUNDLE_NAME):
        return files.bundle()
    return None


def _walk(record: Record, files: BundleFiles, bundle: Bundle, trust: Trust) -> Walk | None:
    """Walk along the log; None when there is no checkpoint to start from."""
    with record.guard(Step.CHECKPOINT, LOG_PREFIX + CHECKPOINT_NAME):
        keys = LogKeys(bundle, trust)
        checkpoint = _checkpoint(record, files, bundle, keys)
        walk = Walk(
            record=record,
            files=files,
            kind=bundle.kind,
            origin=bundle.origin,
            log_keys=keys,
            sealed_from=bundle.sealed_from,
        )
        with record.guard(Step.TREE, LOG_PREFIX):
            _read_leaves(record, files.directory, bundle, checkpoint, walk)
            _check_documents(record, bundle, walk)
        walk.close()
        if trust.timestamp_roots:
            from iso_exchange.audit.timestamps import check_timestamps  # noqa: PLC0415 - an extra

            stamps = check_timestamps(record, files, bundle, checkpoint, trust.timestamp_roots)
            walk.timestamps = tuple(
                f"{stamp.size} entries at {stamp.time.isoformat()}" for stamp in stamps
            )
        keys.finish(files.read_log(CHECKPOINT_NAME) or b"")
        continued = walk.succession.continued
        if continued is not None and keys.first != continued.new_log_key:
            record.fail(Step.PREDECESSOR, "entry 0", "names another key than signs this log")
        return walk
    return None


def _checkpoint(record: Record, files: BundleFiles, bundle: Bundle, keys: LogKeys) -> Checkpoint:
    """The checkpoint; one that is not signed as it must be is a finding, and read all the same.

    Raises:
        LedgerFormatError: it cannot be read at all.
    """
    place = LOG_PREFIX + CHECKPOINT_NAME
    note = files.read_log(CHECKPOINT_NAME) or b""
    record.count(Step.CHECKPOINT, "signatures")
    try:
        opened = keys.open(note)
        checkpoint = opened.checkpoint
        record.count(Step.CHECKPOINT, "signatures", len(opened.cosignatures))
    except LedgerFormatError as error:
        record.fail(Step.CHECKPOINT, place, str(error))
        checkpoint = parse_checkpoint(parse_note(note).text)
    if misstated := keys.misstated():
        record.fail(Step.CHECKPOINT, BUNDLE_NAME, misstated)
    if (checkpoint.origin, checkpoint.size) != (bundle.origin, bundle.size):
        detail = f"is of {checkpoint.origin} with {checkpoint.size} leaves, {BUNDLE_NAME} says else"
        record.fail(Step.CHECKPOINT, place, detail)
    return checkpoint


def _read_leaves(
    record: Record, directory: Path, bundle: Bundle, checkpoint: Checkpoint, walk: Walk
) -> None:
    left_over: Line = None
    for first, leaves, wrong, rest in frames(
        directory,
        size=checkpoint.size,
        root=checkpoint.root,
        openings=bundle.kind is BundleKind.AUDITOR,
    ):
        if wrong is not None:
            place, detail = wrong
            record.fail(Step.TREE, LOG_PREFIX + place, detail)
            reason = f"the log can be read up to entry {walk.entries} only"
            for step in Step:
                if step.number > Step.TREE.number:
                    record.skip(step, reason)
            return
        record.count(Step.TREE, "leaves", len(leaves))
        for index, leaf in enumerate(leaves, first):
            walk.take(index, leaf)
        left_over = rest
    walk.finish(left_over)


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


def _report(record: Record, bundle: Bundle | None, trust: Trust, walk: Walk | None) -> Report:
    own = "" if bundle is None else bundle.vkey
    return Report(
        kind=None if bundle is None else bundle.kind,
        origin="" if bundle is None else bundle.origin,
        vkey=trust.vkeys[0] if trust.vkeys else own,
        trusts_own_key=trust.is_own,
        entries=0 if walk is None else walk.entries,
        auctions=0 if walk is None else walk.results.auctions,
        largest_gap_ppb=0 if walk is None else walk.results.largest_gap_ppb,
        meter_gaps=0 if walk is None else walk.money.meter_gaps,
        hours=0 if walk is None else walk.money.hours,
        statements=0 if walk is None else walk.money.statements,
        sealed_from=NOT_SEALED if bundle is None else bundle.sealed_from,
        timestamps=() if walk is None else walk.timestamps,
        steps=record.steps(),
    )
