"""One walk along the log: batches, signatures, openings, documents, rules.

Leaves are gathered until the header that closes their batch, because only it says when
they were accepted. The registry is replayed for every bundle; everything else needs the
openings that only an auditor has.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from clearing import codec
from iso_exchange.audit.allocation import (
    END_OF_LOG,
    STATED,
    AllocationAudit,
    check_public_allocation,
)
from iso_exchange.audit.bundle import BundleKind, Opening, documents_of
from iso_exchange.audit.credits import IN_CREDITS, CreditAudit
from iso_exchange.audit.files import BundleFiles, opening_of
from iso_exchange.audit.log_keys import LogKeys
from iso_exchange.audit.money import MoneyAudit
from iso_exchange.audit.reading import Line, Other, Usual
from iso_exchange.audit.released import ReleasedBooks
from iso_exchange.audit.report import Record, Step
from iso_exchange.audit.results import (
    EntryContext,
    ResultAudit,
    check_public_prices,
    reveal,
)
from iso_exchange.audit.seal import Seal
from iso_exchange.audit.signatures import Signatures
from iso_exchange.audit.succession import Succession
from iso_exchange.authority import Claim, claim_in, claim_of, command_in, command_of
from iso_exchange.commands import (
    CancelOrder,
    CloseRun,
    CloseSpotMarket,
    Command,
    ContinueLog,
    CreateAuction,
    HaltSpotMarket,
    OpenSpotMarket,
    PublishChipTable,
    PublishPrices,
    RecordDeposit,
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
    SubmitOrder,
    SubmitReadings,
    SuspendParticipant,
)
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.effects import MICROSECONDS, Accepted, Meta
from iso_exchange.sequencer.leaves import BATCH_PAYLOAD_TYPE, BatchHeader
from iso_exchange.sequencer.machine import apply
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.state import State, find_auction
from iso_exchange.spot_commands import ReportAllocation
from settlement.ledger import envelope, merkle, proofs
from settlement.ledger.envelope import Envelope, Signature
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


NO_DOCUMENTS: Final[dict[str, bytes]] = {}
_COMMITMENT_END = f'","payloadType":"{COMMITMENT_PAYLOAD_TYPE}","signatures":[]}}'.encode()

UNNOTED: Final = frozenset((SubmitOrder, CancelOrder, SubmitReadings))
"""Frequent commands of which neither the seal nor the succession takes note; they are asked about
every other one."""
UNJUDGED: Final = UNNOTED | {RecordDeposit}
"""Frequent commands that need nothing recomputed."""
UNKEPT: Final = frozenset((RecordDeposit, SubmitReadings))
"""Frequent commands that are no part of a book."""


class _Leaf(NamedTuple):
    """A leaf that waits for the header of its batch.

    Attributes:
        data: Its bytes; empty where ``usual`` says what is in it.
        payload_type: Of the envelope that it is; empty when it is none.
        line: Of openings, for a commitment.
        usual: A commitment that was opened already.
    """

    number: int
    hash: bytes
    data: bytes
    payload_type: str
    line: Line
    usual: Usual | None

    @property
    def place(self) -> str:
        """How a finding names it."""
        return f"entry {self.number}"


class _Opened(NamedTuple):
    """What a commitment was opened to.

    Attributes:
        kind: Entry kind that the opening says.
        documents: Digests that it says.
        envelope: Its bytes, or what they say.
    """

    kind: str
    documents: tuple[str, ...]
    envelope: Envelope | bytes


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
        self._allocation = AllocationAudit(record=record)
        self.credits = CreditAudit(record=record)
        self.entries = 0
        self.timestamps: tuple[str, ...] = ()
        self.succession = Succession()
        self._record = record
        self._files = files
        self._kind = kind
        self._scope = "public " if kind is BundleKind.PUBLIC else ""
        # Counted here and told at the end, because it is every entry.
        self._opened = self._envelopes = self._replayed = 0
        self._log_keys = log_keys
        self._state = State(origin=origin)
        # Openings are out of step with the commitments, and none can be used any more.
        self._out_of_step = False
        # What came first of openings that were not asked for: a line, or the leaf that it opened.
        self._left_over: Line | int = None
        self._pending: list[_Leaf] = []
        self._time_us = 0
        self._epoch = 0
        self._requests: set[tuple[str, str]] = set()
        self._named: set[str] = set()
        self._stopped = ""
        self._released = ReleasedBooks(record=record)
        self._seal = Seal(record=record, kind=kind, first=sealed_from)
        self._signatures = Signatures(record)

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

    def take(self, index: int, leaf: Usual | Other) -> None:
        """Next leaf, already verified against the root."""
        self.entries = index + 1
        if len(leaf) == 6:  # noqa: PLR2004 - the length of a tuple tells mypy which one it is
            self._pending.append(_Leaf(index, leaf[0], b"", COMMITMENT_PAYLOAD_TYPE, None, leaf))
            return
        leaf_hash, data, line, root = leaf
        if line is not None or _is_commitment(data):
            kind = COMMITMENT_PAYLOAD_TYPE
            self._pending.append(_Leaf(index, leaf_hash, data, kind, line, None))
            return
        try:
            payload_type = envelope.decode(data, allow_unsigned=True).payload_type
        except LedgerFormatError as error:
            self._record.fail(Step.SIGNATURES, f"entry {index}", str(error))
            payload_type = ""
        found = _Leaf(index, leaf_hash, data, payload_type, None, None)
        if payload_type != BATCH_PAYLOAD_TYPE:
            self._pending.append(found)
            return
        with self._record.guard(Step.BATCHES, found.place):
            self._header(found, root)
        for entry in self._pending:
            self._entry(entry)
        self._pending.clear()
        self._state.books.release()

    def finish(self, left_over: Line) -> None:
        """End of the log.

        Args:
            left_over: The first line of openings that no commitment took.
        """
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
        with self._record.guard(Step.RESULTS, END_OF_LOG):
            self._allocation.finish(self._state, self._time_us // MICROSECONDS)
        self.credits.finish(self._state)
        with self._record.guard(Step.COMMITMENTS, "openings.jsonl"):
            extra = left_over if self._left_over is None else self._left_over
            if not isinstance(extra, int):
                opening = _opening(extra)
                extra = None if opening is None else opening.index
            if extra is not None and not self._out_of_step:
                detail = "opens no commitment of the log"
                self._record.fail(Step.COMMITMENTS, f"entry {extra}", detail)

    def close(self) -> None:
        """Wait for the verdict on every signature that was met, also after a walk cut short."""
        self._signatures.finish()
        for step, unit, count in (
            (Step.COMMITMENTS, "commitments", self._opened),
            (Step.SIGNATURES, f"{self._scope}envelopes", self._envelopes),
            (Step.REPLAY, f"{self._scope}entries", self._replayed),
        ):
            if count:
                self._record.count(step, unit, count)
        self._opened = self._envelopes = self._replayed = 0

    def _header(self, leaf: _Leaf, root: bytes) -> None:
        """Check a batch header against the leaves before it, and the root over these."""
        with self._record.guard(Step.BATCHES, leaf.place):
            envelope.verify(leaf.data, self._log_keys.in_force)
        # A header of another key is a finding; its time is used all the same.
        header = codec.decode(envelope.decode(leaf.data).payload, BatchHeader)
        count = len(self._pending)
        if not root:  # read as no header, in a form of its own
            root = merkle.Frontier().extend(entry.hash for entry in self._pending).root()
        for said, found, what in (
            (header.first_index, leaf.number - count, "first index"),
            (header.count, count, "count"),
            (header.root, root.hex(), "root"),
        ):
            if said != found:
                detail = f"the {what} is {said}, the leaves give {found}"
                self._record.fail(Step.BATCHES, leaf.place, detail)
        if not count:
            self._record.fail(Step.BATCHES, leaf.place, "covers no leaf")
        if header.time_us < self._time_us or header.epoch < self._epoch:
            detail = f"time {header.time_us} or epoch {header.epoch} falls"
            self._record.fail(Step.BATCHES, leaf.place, detail)
        self._time_us = max(self._time_us, header.time_us)
        self._epoch = max(self._epoch, header.epoch)
        self._record.count(Step.BATCHES, "batches")

    def _entry(self, leaf: _Leaf) -> None:
        opened: _Opened | None = None
        is_commitment = leaf.payload_type == COMMITMENT_PAYLOAD_TYPE
        if leaf.number == self._seal.first:
            self._seal.enter(leaf.number, is_commitment=is_commitment)
        public_only = self._kind is BundleKind.PUBLIC or self._seal.reached
        if is_commitment:
            if public_only:
                self._closed(leaf)
                return
            opened = self._open(leaf)
            if opened is None:
                self._stop(leaf.place, "its commitment is not opened")
                return
        if self._stopped:
            return
        command: Command | None = None
        try:
            command = self._authorise(leaf, opened.envelope if opened else leaf.data)
        except Exception as error:  # noqa: BLE001 - what a bundle makes of it is a finding
            self._record.caught(Step.SIGNATURES, leaf.place, error)
        if command is None:
            self._stop(leaf.place, "it cannot be read")
            return
        named = documents_of(command)
        self._visible(leaf, command, opened, named)
        entry = EntryContext(
            leaf.number, leaf.hash, self._documents(leaf, named) if named else NO_DOCUMENTS
        )
        if type(command) not in UNNOTED:
            self._seal.see(command, entry.index)
            self.succession.see(command)
        if public_only and not isinstance(command, PUBLIC_STATE):
            if isinstance(command, PublishPrices):
                auction = find_auction(self._state, command.auction_id)
                if auction is not None:
                    check_public_prices(self._record, auction.created, command, entry)
                    reveal(self._state, auction, command, entry)
            elif isinstance(command, ReportAllocation):
                check_public_allocation(self._record, command, entry)
            self._released.take(command, entry)
            return
        self._apply(command, entry)

    def _closed(self, leaf: _Leaf) -> None:
        """A commitment that stays closed: at least it is one."""
        if self._left_over is None:
            self._left_over = leaf.number if leaf.usual else leaf.line
        with self._record.guard(Step.COMMITMENTS, leaf.place):
            if leaf.usual is None:
                proofs.parse_commitment_leaf(leaf.data)
            self._record.count(Step.COMMITMENTS, "commitments")

    def _open(self, leaf: _Leaf) -> _Opened | None:
        """What is in a commitment leaf, None where nothing that was given opens it."""
        if leaf.usual is not None and not self._out_of_step:
            self._opened += 1
            _, kind, payload_type, payload, keyid, sig = leaf.usual
            return _Opened(kind, (), Envelope(payload_type, payload, (Signature(keyid, sig),)))
        with self._record.guard(Step.COMMITMENTS, leaf.place):
            commitment = b"" if leaf.usual else proofs.parse_commitment_leaf(leaf.data)
            opening = None if self._out_of_step else _opening(leaf.line)
            if opening is None or opening.index != leaf.number:
                found = "none" if opening is None else f"one for entry {opening.index}"
                self._record.fail(Step.COMMITMENTS, leaf.place, f"needs an opening, found {found}")
                self._out_of_step = True
                return None
            data = opening.envelope_bytes()
            proofs.open_commitment(commitment, opening.salt, data)
            self._record.count(Step.COMMITMENTS, "commitments")
            return _Opened(opening.kind, opening.documents, data)
        return None

    def _authorise(self, leaf: _Leaf, said: Envelope | bytes) -> Command | None:
        if isinstance(said, Envelope):
            claim = claim_in(self._state, said)
        else:
            claim = claim_of(self._state, said)
        self._envelopes += 1
        answer: Rejected | None = claim if isinstance(claim, Rejected) else claim.refused_role
        if isinstance(claim, Claim):
            self._signatures.add(leaf.number, claim.checks)
            if answer is None:
                return claim.command
        assert answer is not None
        place = f"{answer.code.value} {answer.field}: {answer.advice} (got {answer.got})"
        self._record.fail(Step.SIGNATURES, leaf.place, place)
        # Go on with what it says, so that more than the first forgery is found.
        command = command_in(said) if isinstance(said, Envelope) else command_of(said)
        return None if isinstance(command, Rejected) else command

    def _visible(
        self, leaf: _Leaf, command: Command, opened: _Opened | None, named: tuple[str, ...]
    ) -> None:
        """A public kind is a plain leaf, a confidential one a commitment, and named as it is."""
        kind = ENTRY_KINDS[type(command)]
        if kind.public != (opened is None):
            form = "a plain leaf" if opened is None else "a commitment"
            self._record.fail(Step.COMMITMENTS, leaf.place, f"{kind.name} must not be {form}")
        if opened is None:
            return
        if opened.kind != kind.name:
            detail = f"the opening says {opened.kind}, the envelope is {kind.name}"
            self._record.fail(Step.COMMITMENTS, leaf.place, detail)
        if opened.documents != (tuple(sorted(set(named))) if named else ()):
            detail = "the opening lists other documents than the envelope names"
            self._record.fail(Step.COMMITMENTS, leaf.place, detail)

    def _documents(self, leaf: _Leaf, named: tuple[str, ...]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for digest in named:
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
        kind = type(command)
        request = (command.header.signer_id, command.header.request_id)
        if request in self._requests:
            detail = f"request {request[1]} of {request[0]} was accepted before"
            self._record.fail(Step.REPLAY, entry.place, detail)
        self._requests.add(request)
        if self._kind is BundleKind.AUDITOR and kind not in UNJUDGED:
            self.results.before(self._state, command, entry)
            self.money.before(self._state, command, entry)
            if kind in IN_CREDITS:
                self.credits.before(self._state, command, entry)
            if kind in STATED:
                self._allocation.before(self._state, command, entry)
        answer: Accepted | Rejected | None = None
        try:
            answer = apply(self._state, command, self._meta(entry))
        except Exception as error:  # noqa: BLE001 - as above
            self._record.caught(Step.REPLAY, entry.place, error)
        if isinstance(answer, Accepted):
            if kind not in UNKEPT:
                self.results.after(self._state, command, entry)
            self.money.after(answer.transfers)
            if kind in IN_CREDITS:
                self.credits.after(self._state, command, entry)
            if isinstance(command, RotateLogKey):
                with self._record.guard(Step.BATCHES, entry.place):
                    self._log_keys.rotate(command)
            self._replayed += 1
            return
        if answer is not None:
            name = ENTRY_KINDS[type(command)].name
            detail = f"{name} is refused: {answer.code.value} {answer.field}: {answer.advice}"
            self._record.fail(Step.REPLAY, entry.place, detail)
        self._stop(entry.place, "the rules refuse it")

    def _meta(self, entry: EntryContext) -> Meta:
        documents: dict[bytes, bytes] = {}
        if entry.documents:
            documents = {bytes.fromhex(name): body for name, body in entry.documents.items()}
        return Meta(self._time_us, entry.index, entry.leaf_hash, documents)

    def _stop(self, place: str, reason: str) -> None:
        """End the replay: what follows from a state that is not the log's would mean nothing."""
        if not self._stopped:
            self._stopped = f"the replay ends at {place}: {reason}"
            for step in AFTER_REPLAY:
                self._record.skip(step, self._stopped)


def _is_commitment(data: bytes) -> bool:
    """Whether a leaf is in the form of a commitment."""
    try:
        return data.endswith(_COMMITMENT_END) and bool(proofs.parse_commitment_leaf(data))
    except LedgerFormatError:
        return False


def _opening(line: Line) -> Opening | None:
    """What a line of openings says, None where there is none.

    Raises:
        ValueError: it is none, or the file cannot be read.
    """
    if isinstance(line, str):
        raise ValueError(line)  # noqa: TRY004 - the text says what is wrong with the file
    return None if line is None else opening_of(*line)
