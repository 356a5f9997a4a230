"""Read an auditor bundle into an extract: the log is checked, then replayed.

The checks are those without which the figures would mean nothing: digests of the files,
the checkpoint's signature, every leaf against the signed root, batch headers, signatures
and openings of entries, digests of documents, and that the rules accept every entry. What
they do not repeat is the rest of ``iso audit verify``: certificates and the recomputation of
contracts, hours and statements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clearing import codec
from clearing.types import Interval
from clearing.units import Chips, UnixSeconds
from iso_exchange.audit.bundle import (
    BUNDLE_NAME,
    CHECKPOINT_NAME,
    NOT_SEALED,
    Bundle,
    BundleKind,
    Opening,
    documents_of,
)
from iso_exchange.audit.files import BundleFiles, check_files
from iso_exchange.audit.log_keys import LogKeys, Trust
from iso_exchange.audit.report import Record, Result, Step
from iso_exchange.authority import authorise, command_of
from iso_exchange.clock import MICROSECONDS
from iso_exchange.commands import (
    Command,
    IssueStatement,
    PublishCommunityTotal,
    PublishPrices,
    PublishResult,
    RotateLogKey,
    SettleHour,
)
from iso_exchange.exports.trace import Trace
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.money_commands import CorrectHour, PublishSpot
from iso_exchange.publication import PricesDocument
from iso_exchange.sequencer.deliveries import period_of
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.leaves import BATCH_PAYLOAD_TYPE, BatchHeader
from iso_exchange.sequencer.machine import apply
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.state import State
from settlement.assignment import Assignment
from settlement.exports.extract import (
    CommunityTotal,
    Extract,
    IssuedStatement,
    Movement,
    Party,
    PublishedPrice,
    SettledHour,
    SiteFacts,
)
from settlement.ledger import envelope, merkle, proofs, tiles
from settlement.ledger.checkpoint import Checkpoint
from settlement.ledger.errors import LedgerFormatError
from settlement.ledger.proofs import COMMITMENT_PAYLOAD_TYPE
from settlement.spot.result import SpotResult
from settlement.types import Contract, DeliveredHours, Statement

ROTATION_TYPE = ENTRY_KINDS[RotateLogKey].payload_type


class BundleError(RuntimeError):
    """A bundle from which nothing can be exported.

    Attributes:
        code: ``BUNDLE_UNREADABLE``, ``BUNDLE_DAMAGED``, ``OPENINGS_NEEDED``,
            ``CHECKPOINT_REFUSED``, ``LOG_REFUSED`` or ``ENTRY_REFUSED``.
        detail: What is wrong, one sentence.
    """

    def __init__(self, code: str, detail: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceEntry:
    """A log entry that a report refers to, and what opens it.

    Attributes:
        kind: ``COMMUNITY_TOTAL`` or ``STATEMENT``.
        subject: Statement or auction that it is about.
        leaf: Exact bytes.
        proof: C2SP tlog-proof file against the bundle's checkpoint.
        salt: Of a commitment leaf, empty for a public entry.
        envelope: Opening of a commitment leaf, empty for a public entry.
        document: Document that the entry names, empty for none.
    """

    index: int
    kind: str
    subject: str
    leaf: bytes
    proof: bytes
    salt: bytes
    envelope: bytes
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBundle:
    """A bundle that was read.

    Attributes:
        vkey: Key that signed the checkpoint.
        trusts_own_key: The key came out of the bundle.
        checkpoint: Signed note, verbatim.
        trace: Where everything that a bill rests on stands in the log.
    """

    extract: Extract
    vkey: str
    trusts_own_key: bool
    checkpoint: bytes
    trace: Trace
    _reader: tiles.TileReader
    _evidence: dict[int, EvidenceEntry]

    def proves(self, index: int, leaf_hash: bytes) -> bool:
        """Whether a leaf stands at an index under the bundle's checkpoint."""
        try:
            merkle.verify_inclusion(
                index=index,
                size=self.extract.size,
                leaf=leaf_hash,
                proof=self._reader.inclusion_proof(index),
                root=bytes.fromhex(self.extract.root),
            )
        except LedgerFormatError:
            return False
        return True

    def evidence(self, indexes: tuple[int, ...]) -> tuple[EvidenceEntry, ...]:
        """Entries with their inclusion proofs, by index.

        Raises:
            KeyError: an index that is neither a community total nor a community's statement.
        """
        return tuple(self._proved(self._evidence[index]) for index in sorted(set(indexes)))

    def _proved(self, entry: EvidenceEntry) -> EvidenceEntry:
        proof = proofs.LogProof(
            index=entry.index,
            path=self._reader.inclusion_proof(entry.index),
            checkpoint=self.checkpoint,
        )
        return EvidenceEntry(
            index=entry.index,
            kind=entry.kind,
            subject=entry.subject,
            leaf=entry.leaf,
            proof=proofs.encode_proof(proof),
            salt=entry.salt,
            envelope=entry.envelope,
            document=entry.document,
        )


def read_bundle(directory: Path, vkey: str | None = None) -> ReadBundle:
    """Check and replay an auditor bundle.

    Args:
        directory: Of the bundle.
        vkey: Verifier key of the log from a place that is trusted; None takes the bundle's
            own, which shows that the bundle is consistent, not whose it is.

    Raises:
        BundleError: with a stable code; nothing is exported from what cannot be checked.
        LedgerFormatError: ``vkey`` is no verifier key.
    """
    files = BundleFiles(directory)
    bundle = _listing(files)
    own = vkey is None
    note = files.read_log(CHECKPOINT_NAME) or b""
    keys = LogKeys(bundle, Trust(vkeys=() if vkey is None else (vkey,)))
    try:
        checkpoint = keys.open(note).checkpoint
    except LedgerFormatError as error:
        raise BundleError("CHECKPOINT_REFUSED", str(error)) from error
    if (checkpoint.origin, checkpoint.size) != (bundle.origin, bundle.size):
        detail = f"the checkpoint is of {checkpoint.origin} with {checkpoint.size} leaves"
        raise BundleError("CHECKPOINT_REFUSED", f"{detail}, {BUNDLE_NAME} says else")
    reader = tiles.TileReader(files.read_log, size=checkpoint.size, root=checkpoint.root)
    replay = _Replay(files=files, bundle=bundle, log_keys=keys)
    try:
        for index, leaf in reader.replay():
            replay.take(index, leaf)
        replay.finish()
        keys.finish(note)
    except (LedgerFormatError, ValueError) as error:
        # DocumentError and unreadable openings are ValueErrors.
        raise BundleError("LOG_REFUSED", str(error)) from error
    return ReadBundle(
        extract=replay.extract(checkpoint),
        vkey=bundle.vkey if vkey is None else vkey,
        trusts_own_key=own,
        checkpoint=note,
        trace=replay.trace,
        _reader=reader,
        _evidence=replay.evidence,
    )


def _listing(files: BundleFiles) -> Bundle:
    try:
        bundle = files.bundle()
    except (OSError, ValueError) as error:
        raise BundleError("BUNDLE_UNREADABLE", str(error)) from error
    if bundle.kind is not BundleKind.AUDITOR:
        detail = "a public bundle holds no openings; exports need an auditor bundle"
        raise BundleError("OPENINGS_NEEDED", detail)
    record = Record()
    check_files(record, files, bundle)
    report = record.steps()[Step.FILES.number - 1]
    if report.result is not Result.OK:
        raise BundleError("BUNDLE_DAMAGED", f"{report.place} {report.detail}")
    return bundle


def _signed(state: State, leaf: bytes) -> Command | Rejected:
    answer = authorise(state, leaf)
    return answer if isinstance(answer, Rejected) else answer.command


@dataclass(slots=True, kw_only=True)
class _Replay:
    """State of one replay; entries wait for the header that says when they were accepted."""

    files: BundleFiles
    bundle: Bundle
    log_keys: LogKeys
    evidence: dict[int, EvidenceEntry] = field(default_factory=dict)
    trace: Trace = field(default_factory=Trace)
    _state: State = field(init=False)
    _openings: Iterator[Opening] = field(init=False)
    _pending: list[tuple[int, bytes, str]] = field(default_factory=list)
    _time_us: int = 0
    _end_us: int = 0
    _sealed: bool = False
    _movements: list[Movement] = field(default_factory=list)
    _contracts: dict[str, Contract] = field(default_factory=dict)
    _runs: set[str] = field(default_factory=set)
    _statements: list[IssuedStatement] = field(default_factory=list)
    _hours: list[SettledHour] = field(default_factory=list)
    _totals: list[CommunityTotal] = field(default_factory=list)
    _prices: list[PublishedPrice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._state = State(origin=self.bundle.origin)
        self._openings = self.files.openings()

    def take(self, index: int, leaf: bytes) -> None:
        """Next leaf, verified against the root."""
        parsed = envelope.decode(leaf, allow_unsigned=True)
        if parsed.payload_type != BATCH_PAYLOAD_TYPE:
            self._pending.append((index, leaf, parsed.payload_type))
            return
        envelope.verify(leaf, self.log_keys.in_force)
        header = codec.decode(parsed.payload, BatchHeader)
        if header.count != len(self._pending) or header.time_us < self._time_us:
            raise BundleError("LOG_REFUSED", f"batch header {index} does not fit its entries")
        self._time_us = header.time_us
        for place, entry, payload_type in self._pending:
            if not self._sealed:
                self._entry(place, entry, payload_type)
            if payload_type == ROTATION_TYPE:
                self._rotate(place, entry)
        if not self._sealed:
            self._end_us = header.time_us
        self._pending.clear()
        self._state.books.release()

    def _rotate(self, index: int, leaf: bytes) -> None:
        """Follow the log key, also where entries are sealed."""
        command = command_of(leaf) if not self._sealed else _signed(self._state, leaf)
        if not isinstance(command, RotateLogKey):
            raise BundleError("ENTRY_REFUSED", f"entry {index} is no rotation")
        self.log_keys.rotate(command)

    def finish(self) -> None:
        """End of the log.

        Raises:
            BundleError: ``LOG_REFUSED``: entries without a header that says when.
        """
        if self._pending:
            detail = f"no batch header covers entry {self._pending[0][0]}"
            raise BundleError("LOG_REFUSED", detail)

    def extract(self, checkpoint: Checkpoint) -> Extract:
        """What was found."""
        state = self._state
        return Extract(
            origin=checkpoint.origin,
            size=checkpoint.size,
            root=checkpoint.root.hex(),
            end=UnixSeconds(self._end_us // MICROSECONDS),
            sealed_from=self.bundle.sealed_from if self._sealed else NOT_SEALED,
            movements=tuple(self._movements),
            statements=tuple(self._statements),
            hours=tuple(self._hours),
            totals=tuple(self._totals),
            prices=tuple(self._prices),
            contracts=dict(self._contracts),
            periods={name: self._period(name) for name in self._runs | state.auctions.keys()},
            parties={
                name: Party(participant_id=name, display_name=participant.display_name)
                for name, participant in state.participants.items()
            },
            sites={
                name: SiteFacts(
                    site_id=name,
                    community_id=record.community_id,
                    region=record.site.region,
                    country=record.site.country,
                    surcharge=record.site.surcharge,
                )
                for name, record in state.sites.items()
            },
        )

    def _entry(self, index: int, leaf: bytes, payload_type: str) -> None:
        if index == self.bundle.sealed_from:
            self._sealed = True
            return
        opening: Opening | None = None
        data = leaf
        if payload_type == COMMITMENT_PAYLOAD_TYPE:
            opening = next(self._openings, None)
            if opening is None or opening.index != index:
                raise BundleError("ENTRY_REFUSED", f"entry {index} is not opened")
            data = opening.envelope_bytes()
            proofs.open_commitment(proofs.parse_commitment_leaf(leaf), opening.salt, data)
        authorised = authorise(self._state, data)
        if isinstance(authorised, Rejected):
            detail = f"entry {index}: {authorised.code.value}: {authorised.advice}"
            raise BundleError("ENTRY_REFUSED", detail)
        command = authorised.command
        documents = self._documents(index, command)
        accepted = apply(
            self._state,
            command,
            Meta(
                time_us=self._time_us,
                index=index,
                leaf_hash=merkle.leaf_hash(leaf),
                documents={bytes.fromhex(name): body for name, body in documents.items()},
            ),
        )
        if isinstance(accepted, Rejected):
            detail = f"the rules refuse entry {index}: {accepted.code.value}: {accepted.advice}"
            raise BundleError("ENTRY_REFUSED", detail)
        self._keep(index, command, accepted, documents)
        self.trace.keep(index, merkle.leaf_hash(leaf), command, documents)
        self._keep_evidence(index, leaf, command, opening, documents)

    def _documents(self, index: int, command: Command) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for digest in documents_of(command):
            body = self.files.document(digest)
            if body is None:
                raise BundleError("ENTRY_REFUSED", f"entry {index}: no document {digest}")
            found[digest] = body
        return found

    def _keep(
        self, index: int, command: Command, accepted: Accepted, documents: Mapping[str, bytes]
    ) -> None:
        """Gather what an accepted entry brought."""
        now = UnixSeconds(self._time_us // MICROSECONDS)
        self._movements.extend(
            Movement(
                entry_index=item.entry_index,
                position=item.position,
                time=now,
                transfer=item.transfer,
                applied=item.applied,
            )
            for item in accepted.transfers
        )
        if isinstance(command, SettleHour):
            # From the document: what is settled of a spot run may have left the state.
            settled = codec.decode(documents[command.delivered_sha256], DeliveredHours)
            self._hours.extend(
                SettledHour(entry_index=index, delivered=item) for item in settled.hours
            )
        elif isinstance(command, CorrectHour):
            corrected = codec.decode(documents[command.delivered_sha256], DeliveredHours)
            names = {item.contract_id for item in corrected.hours}
            self._hours = [
                item
                for item in self._hours
                if item.delivered.interval != command.interval
                or item.delivered.contract_id not in names
            ]
            self._hours.extend(
                SettledHour(entry_index=index, delivered=item) for item in corrected.hours
            )
        elif isinstance(command, PublishResult):
            made = codec.decode(documents[command.assignment_sha256], Assignment)
            self._contracts.update((item.contract_id, item) for item in made.contracts)
            self._runs.add(command.auction_id)
        elif isinstance(command, PublishSpot):
            result = codec.decode(documents[command.spot_sha256], SpotResult)
            self._contracts.update((item.contract_id, item) for item in result.contracts)
        elif isinstance(command, IssueStatement):
            self._statements.append(
                IssuedStatement(
                    entry_index=index,
                    time=now,
                    auction_id=command.auction_id,
                    # From the document: the state keeps no lines of a spot market's.
                    statement=codec.decode(documents[command.statement_sha256], Statement),
                )
            )
        elif isinstance(command, PublishCommunityTotal):
            self._totals.append(self._total(index, now, command))
        elif isinstance(command, PublishPrices):
            self._prices.extend(self._published(index, command))

    def _total(
        self, index: int, now: UnixSeconds, command: PublishCommunityTotal
    ) -> CommunityTotal:
        period = self._period(command.auction_id)
        return CommunityTotal(
            entry_index=index,
            time=now,
            auction_id=command.auction_id,
            site_id=command.site_id,
            community_id=command.community_id,
            period=period,
            delivered=command.delivered,
            surcharge=command.surcharge,
        )

    def _period(self, auction_id: str) -> Interval:
        """Delivery of an auction; of a run of a spot market, which may be over, its day."""
        return period_of(self._state, auction_id)

    def _published(self, index: int, command: PublishPrices) -> Iterator[PublishedPrice]:
        body = self.files.document(command.prices_sha256) or b""
        document = codec.decode(body, PricesDocument)
        volumes = {(item.pool_id, item.interval): item for item in document.volumes}
        for price in document.prices:
            volume = volumes.get((price.pool_id, price.interval))
            yield PublishedPrice(
                entry_index=index,
                auction_id=command.auction_id,
                pool_id=price.pool_id,
                interval=document.intervals[price.interval],
                firm=price.firm,
                firm_uncovered=price.firm_uncovered,
                interruptible=price.interruptible,
                energy=price.energy,
                power=price.power,
                surcharge=price.surcharge,
                fee=price.fee,
                indicative=price.indicative,
                capacity=volume.capacity if volume else Chips(0),
                supplied=volume.supplied if volume else Chips(0),
            )

    def _keep_evidence(
        self,
        index: int,
        leaf: bytes,
        command: Command,
        opening: Opening | None,
        documents: dict[str, bytes],
    ) -> None:
        """Keep the bytes of entries that community reports refer to."""
        document = b""
        if isinstance(command, PublishCommunityTotal):
            kind, subject = "COMMUNITY_TOTAL", command.auction_id
        elif isinstance(command, IssueStatement):
            made = self._state.statements[command.statement_id]
            if not made.account.startswith("community:"):
                return
            kind, subject = "STATEMENT", command.statement_id
            document = documents[command.statement_sha256]
        else:
            return
        self.evidence[index] = EvidenceEntry(
            index=index,
            kind=kind,
            subject=subject,
            leaf=leaf,
            proof=b"",
            salt=opening.salt if opening else b"",
            envelope=opening.envelope_bytes() if opening else b"",
            document=document,
        )
