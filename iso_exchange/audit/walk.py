"""One walk along the log: batches, signatures, openings, documents, rules.

Leaves are gathered until the header that closes their batch, because only it says when
they were accepted. The registry is replayed for every bundle; everything else needs the
openings that only an auditor has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from clearing import codec
from iso_exchange.audit.bundle import BundleKind, Opening, documents_of
from iso_exchange.audit.credits import CreditAudit
from iso_exchange.audit.files import BundleFiles
from iso_exchange.audit.log_keys import LogKeys
from iso_exchange.audit.money import MoneyAudit
from iso_exchange.audit.released import ReleasedBooks
from iso_exchange.audit.report import Record, Step
from iso_exchange.audit.results import EntryContext, ResultAudit, check_public_prices, reveal
from iso_exchange.audit.seal import Seal
from iso_exchange.audit.signatures import Signatures
from iso_exchange.audit.succession import Succession
from iso_exchange.authority import Claim, claim_of, command_of
from iso_exchange.commands import (
    CloseRun,
    CloseSpotMarket,
    Command,
    ContinueLog,
    CreateAuction,
    HaltSpotMarket,
    OpenSpotMarket,
    PublishChipTable,
    PublishPrices,
    RegisterMeter,
    RegisterParticipant,
    RegisterPool,
    RegisterRootKey,
    RegisterSite,
    ReinstateParticipant,
    ResumeSpotMarket,
    RevokeKey,
    RotateKey,
    RotateLogKey,
    SuspendParticipant,
)
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.leaves import BATCH_PAYLOAD_TYPE, BatchHeader
from iso_exchange.sequencer.machine import apply
from iso_exchange.sequencer.pauses import Pauses
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.state import State, find_auction
from settlement.ledger import envelope, merkle, proofs
from settlement.ledger.errors import LedgerFormatError
from settlement.ledger.proofs import COMMITMENT_PAYLOAD_TYPE

PUBLIC_STATE = (
    ContinueLog,
    RegisterParticipant,
    RevokeKey,
    RotateKey,
    RegisterRootKey,
    RotateLogKey,
    SuspendParticipant,
    ReinstateParticipant,
    RegisterSite,
    RegisterPool,
    RegisterMeter,
    PublishChipTable,
    CreateAuction,
    OpenSpotMarket,
    HaltSpotMarket,
    ResumeSpotMarket,
    CloseSpotMarket,
    CloseRun,
)
"""Commands whose acceptance depends on public entries alone."""

AFTER_REPLAY = (
    Step.SIGNATURES,
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
"""Steps that end where the replay ends."""


class _Leaf(NamedTuple):
    """A leaf and what is asked of it more than once.

    Attributes:
        place: How a finding names it.
        hash: Leaf hash.
        commitment: What it commits to; None when it is not in the form of a commitment.
    """

    number: int
    data: bytes
    payload_type: str
    place: str
    hash: bytes
    commitment: bytes | None


_COMMITMENT_END = f'","payloadType":"{COMMITMENT_PAYLOAD_TYPE}","signatures":[]}}'.encode()


def _commitment(data: bytes) -> bytes | None:
    """What a leaf commits to, or None when it is not in the form of a commitment."""
    try:
        return proofs.parse_commitment_leaf(data) if data.endswith(_COMMITMENT_END) else None
    except LedgerFormatError:
        return None


class Walk:
    """State of one walk."""

    def __init__(
        self,
        *,
        record: Record,
        files: BundleFiles,
        kind: BundleKind,
        origin: str,
        log_keys: LogKeys,
        sealed_from: int,
    ) -> None:
        """Start before the first leaf.

        Args:
            log_keys: Whose keys must have signed the batch headers.
            sealed_from: As the bundle says; believed only where the log explains it.
        """
        self.results = ResultAudit(record=record)
        self.money = MoneyAudit(record=record)
        self.credits = CreditAudit(record=record)
        self.entries = 0
        self.timestamps: tuple[str, ...] = ()
        self.succession = Succession()
        self._record = record
        self._files = files
        self._kind = kind
        self._scope = "public " if kind is BundleKind.PUBLIC else ""
        self._log_keys = log_keys
        self._state = State(origin=origin)
        self._openings: Iterator[Opening] = iter(())
        if kind is BundleKind.AUDITOR:
            self._openings = files.openings()
        self._pending: list[_Leaf] = []
        self._time_us = 0
        self._epoch = 0
        self._requests: set[tuple[str, str]] = set()
        self._named: set[str] = set()
        self._stopped = ""
        self._released = ReleasedBooks(record=record)
        self._seal = Seal(record=record, kind=kind, first=sealed_from)
        self._signatures = Signatures(record)
        self._pauses = Pauses()

    @property
    def named_documents(self) -> set[str]:
        """Hex digests of all documents that readable entries name."""
        return self._named

    @property
    def state(self) -> State:
        """State after the last entry that was applied; read only."""
        return self._state

    @property
    def stopped(self) -> str:
        """Where and why the replay ended early, empty when it did not."""
        return self._stopped

    @property
    def is_sealed(self) -> bool:
        """Whether the replay ended at the first sealed entry."""
        return self._seal.reached

    def take(self, index: int, data: bytes) -> None:
        """Next leaf, already verified against the root."""
        self.entries = index + 1
        place, leaf_hash, commitment = f"entry {index}", merkle.leaf_hash(data), _commitment(data)
        if commitment is not None:
            kind = COMMITMENT_PAYLOAD_TYPE
            self._pending.append(_Leaf(index, data, kind, place, leaf_hash, commitment))
            return
        try:
            payload_type = envelope.decode(data, allow_unsigned=True).payload_type
        except LedgerFormatError as error:
            self._record.fail(Step.SIGNATURES, place, str(error))
            payload_type = ""
        leaf = _Leaf(index, data, payload_type, place, leaf_hash, None)
        if payload_type != BATCH_PAYLOAD_TYPE:
            self._pending.append(leaf)
            return
        with self._record.guard(Step.BATCHES, leaf.place):
            self._header(leaf)
        for entry in self._pending:
            self._entry(entry)
        self._pauses.after(len(self._pending))
        self._pending.clear()
        self._state.books.release()

    def finish(self) -> None:
        """End of the log."""
        if self._pending:
            first = self._pending[0]
            detail = f"{len(self._pending)} leaves at the end are covered by no batch header"
            self._record.fail(Step.BATCHES, first.place, detail)
            self._stop(first.place, "no batch header says when it was accepted")
        self.close()
        self._seal.finish(self.entries)
        if self._kind is BundleKind.PUBLIC:
            return
        self.money.finish(self._state)
        self.credits.finish(self._state)
        with self._record.guard(Step.COMMITMENTS, "openings.jsonl"):
            extra = next(self._openings, None)
            if extra is not None:
                detail = "opens no commitment of the log"
                self._record.fail(Step.COMMITMENTS, f"entry {extra.index}", detail)

    def close(self) -> None:
        """Wait for the verdict on every signature that was met, also after a walk cut short."""
        self._signatures.finish()

    def _header(self, leaf: _Leaf) -> None:
        """Check a batch header against the leaves before it."""
        with self._record.guard(Step.BATCHES, leaf.place):
            envelope.verify(leaf.data, self._log_keys.in_force)
        # A header of another key is a finding; its time is used all the same.
        header = codec.decode(envelope.decode(leaf.data).payload, BatchHeader)
        hashes = [entry.hash for entry in self._pending]
        root = merkle.Frontier().extend(hashes).root().hex()
        for said, found, what in (
            (header.first_index, leaf.number - len(hashes), "first index"),
            (header.count, len(hashes), "count"),
            (header.root, root, "root"),
        ):
            if said != found:
                detail = f"the {what} is {said}, the leaves give {found}"
                self._record.fail(Step.BATCHES, leaf.place, detail)
        if not hashes:
            self._record.fail(Step.BATCHES, leaf.place, "covers no leaf")
        if header.time_us < self._time_us or header.epoch < self._epoch:
            detail = f"time {header.time_us} or epoch {header.epoch} falls"
            self._record.fail(Step.BATCHES, leaf.place, detail)
        self._time_us = max(self._time_us, header.time_us)
        self._epoch = max(self._epoch, header.epoch)
        self._record.count(Step.BATCHES, "batches")

    def _entry(self, leaf: _Leaf) -> None:
        opening: Opening | None = None
        data: bytes | None = leaf.data
        self._seal.enter(leaf.number, is_commitment=leaf.payload_type == COMMITMENT_PAYLOAD_TYPE)
        if leaf.payload_type == COMMITMENT_PAYLOAD_TYPE:
            if self._public_only:
                self._closed(leaf)
                return
            opening, data = self._open(leaf)
        if data is None:
            self._stop(leaf.place, "its commitment is not opened")
            return
        if self._stopped:
            return
        command: Command | None = None
        with self._record.guard(Step.SIGNATURES, leaf.place):
            command = self._authorise(leaf, data)
        if command is None:
            self._stop(leaf.place, "it cannot be read")
            return
        self._visible(leaf, command, opening)
        entry = EntryContext(
            index=leaf.number,
            leaf_hash=leaf.hash,
            documents=self._documents(leaf, command),
        )
        self._seal.see(command, entry.index)
        self.succession.see(command)
        if self._public_only and not isinstance(command, PUBLIC_STATE):
            if isinstance(command, PublishPrices):
                auction = find_auction(self._state, command.auction_id)
                if auction is not None:
                    check_public_prices(self._record, auction.created, command, entry)
                    reveal(self._state, auction, command, entry)
            self._released.take(command, entry)
            return
        self._apply(command, entry)

    @property
    def _public_only(self) -> bool:
        """Whether only public entries can be read here: no openings, or none any more."""
        return self._kind is BundleKind.PUBLIC or self._seal.reached

    def _closed(self, leaf: _Leaf) -> None:
        """A commitment that stays closed: at least it is one."""
        with self._record.guard(Step.COMMITMENTS, leaf.place):
            proofs.parse_commitment_leaf(leaf.data)
            self._record.count(Step.COMMITMENTS, "commitments")

    def _open(self, leaf: _Leaf) -> tuple[Opening | None, bytes | None]:
        """Opening of a commitment leaf and the envelope in it, None where none fits.

        Decoded once: it is needed to open and to read.
        """
        with self._record.guard(Step.COMMITMENTS, leaf.place):
            commitment = leaf.commitment or proofs.parse_commitment_leaf(leaf.data)
            opening = next(self._openings, None)
            if opening is None or opening.index != leaf.number:
                found = "none" if opening is None else f"one for entry {opening.index}"
                self._record.fail(Step.COMMITMENTS, leaf.place, f"needs an opening, found {found}")
                # The openings are out of step from here on.
                self._openings = iter(())
                return None, None
            data = opening.envelope_bytes()
            proofs.open_commitment(commitment, opening.salt, data)
            self._record.count(Step.COMMITMENTS, "commitments")
            return opening, data
        return None, None

    def _authorise(self, leaf: _Leaf, data: bytes) -> Command | None:
        claim = claim_of(self._state, data)
        self._record.count(Step.SIGNATURES, f"{self._scope}envelopes")
        answer: Rejected | None = claim if isinstance(claim, Rejected) else claim.refused_role
        if isinstance(claim, Claim):
            self._signatures.add(leaf.place, claim.checks)
            if answer is None:
                return claim.command
        assert answer is not None
        place = f"{answer.code.value} {answer.field}: {answer.advice} (got {answer.got})"
        self._record.fail(Step.SIGNATURES, leaf.place, place)
        # Go on with what it says, so that more than the first forgery is found.
        command = command_of(data)
        return None if isinstance(command, Rejected) else command

    def _visible(self, leaf: _Leaf, command: Command, opening: Opening | None) -> None:
        """A public kind is a plain leaf, a confidential one a commitment, and named as it is."""
        kind = ENTRY_KINDS[type(command)]
        if kind.public != (opening is None):
            form = "a plain leaf" if opening is None else "a commitment"
            self._record.fail(Step.COMMITMENTS, leaf.place, f"{kind.name} must not be {form}")
        if opening is None:
            return
        if opening.kind != kind.name:
            detail = f"the opening says {opening.kind}, the envelope is {kind.name}"
            self._record.fail(Step.COMMITMENTS, leaf.place, detail)
        if opening.documents != tuple(sorted(set(documents_of(command)))):
            detail = "the opening lists other documents than the envelope names"
            self._record.fail(Step.COMMITMENTS, leaf.place, detail)

    def _documents(self, leaf: _Leaf, command: Command) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for digest in documents_of(command):
            self._named.add(digest)
            body = self._files.document(digest)
            if body is None:
                detail = f"document {digest[:64]} is missing or has another digest"
                self._record.fail(Step.DOCUMENTS, leaf.place, detail)
                continue
            found[digest] = body
            self._record.count(Step.DOCUMENTS, f"{self._scope}documents")
        return found

    def _apply(self, command: Command, entry: EntryContext) -> None:
        request = (command.header.signer_id, command.header.request_id)
        if request in self._requests:
            detail = f"request {request[1]} of {request[0]} was accepted before"
            self._record.fail(Step.REPLAY, entry.place, detail)
        self._requests.add(request)
        if self._kind is BundleKind.AUDITOR:
            self.results.before(self._state, command, entry)
            self.money.before(self._state, command, entry)
            self.credits.before(self._state, command, entry)
        answer: Accepted | Rejected | None = None
        with self._record.guard(Step.REPLAY, entry.place):
            answer = apply(self._state, command, self._meta(entry))
        if isinstance(answer, Accepted):
            self.results.after(self._state, command, entry)
            self.money.after(answer.transfers)
            self.credits.after(self._state, command, entry)
            if isinstance(command, RotateLogKey):
                with self._record.guard(Step.BATCHES, entry.place):
                    self._log_keys.rotate(command)
            self._record.count(Step.REPLAY, f"{self._scope}entries")
            return
        if answer is not None:
            name = ENTRY_KINDS[type(command)].name
            detail = f"{name} is refused: {answer.code.value} {answer.field}: {answer.advice}"
            self._record.fail(Step.REPLAY, entry.place, detail)
        self._stop(entry.place, "the rules refuse it")

    def _meta(self, entry: EntryContext) -> Meta:
        return Meta(
            time_us=self._time_us,
            index=entry.index,
            leaf_hash=entry.leaf_hash,
            documents={bytes.fromhex(name): body for name, body in entry.documents.items()},
        )

    def _stop(self, place: str, reason: str) -> None:
        """End the replay: what follows from a state that is not the log's would mean nothing."""
        if not self._stopped:
            self._stopped = f"the replay ends at {place}: {reason}"
            for step in AFTER_REPLAY:
                self._record.skip(step, self._stopped)
