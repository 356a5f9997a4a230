"""Group commit: the one writer of the exchange.

Submissions queue up, are drained in batches, applied to the state in order, written in
one transaction and answered only after it committed. A submission that is refused costs
nothing. A repeated one gets its first answer again. When a commit fails, or its outcome
is unknown, the sequencer stops for good: memory and database may differ, and only a
restart from the log makes them equal again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from clearing import codec
from clearing.errors import InvariantError
from iso_exchange.authority import authorise
from iso_exchange.clock import Clock
from iso_exchange.commands import (
    Command,
    RegisterEntitlement,
    RegisterRootKey,
    RotateKey,
    RotateLogKey,
)
from iso_exchange.kinds import ENTRY_KINDS, EntryKind
from iso_exchange.observability import metrics
from iso_exchange.sequencer.effects import Meta
from iso_exchange.sequencer.leaves import SALT_BYTES, Receipt, batch_entry, leaf_of
from iso_exchange.sequencer.loading import Loaded, load
from iso_exchange.sequencer.machine import apply
from iso_exchange.sequencer.pauses import Pauses
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import State
from settlement.ledger import merkle
from settlement.ledger.keys import SigningKey
from settlement.storage.store import (
    AppliedTransfer,
    Commit,
    Document,
    Entry,
    LedgerStore,
    TreeState,
)

BATCH_COUNT_MAX: Final = 500
"""Submissions of one commit: applying them holds up everything else for some 50 ms."""
DRAIN_SECONDS: Final = 0.002
BUSY_DRAIN_SECONDS: Final = 0.010
"""After a batch of ``BUSY_COUNT``: a commit has a price of its own, and many wait for it."""
BUSY_COUNT: Final = 40
QUEUE_COUNT_MAX: Final = 20_000
KEY_EVENTS: Final = (RotateKey, RegisterRootKey, RotateLogKey)

Follower = Callable[[Sequence[Entry]], None]
"""Takes entries that were committed."""
CLOCK_BEHIND_US: Final = 1_000_000
"""A clock that is further behind the last entry was set back, and the start says so."""

log = structlog.get_logger("sequencer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A checked command on its way into the log.

    Attributes:
        command: Decoded body; its signature and role were checked.
        envelope: Exact bytes received.
        body_sha256: SHA-256 of the envelope's payload: the same body gets the same answer.
        documents: Documents that the command names by digest.
        values: What some of them say, by digest, where a service of this process wrote them.
    """

    command: Command
    envelope: bytes
    body_sha256: bytes
    documents: tuple[Document, ...] = ()
    values: Mapping[bytes, object] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Idempotency key: signer and request id."""
        return self.command.header.signer_id, self.command.header.request_id


@dataclass(slots=True)
class _Waiting:
    submission: Submission
    answer: asyncio.Future[Receipt | Rejected]


class _Taken(NamedTuple):
    """An accepted submission on its way to its entry."""

    submission: Submission
    kind: EntryKind
    owners: tuple[str, ...]
    receipt: Receipt
    leaf: bytes


@dataclass(slots=True)
class _Batch:
    """What one group commit collects while its submissions are applied.

    Attributes:
        time_us: Time of every entry in it: the signed batch header is the only place in the
            log that says when something was accepted, so all of a batch share its time.
        log_key: Signs that header.
    """

    time_us: int
    log_key: SigningKey
    accepted: list[_Taken] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    transfers: list[AppliedTransfer] = field(default_factory=list)
    answers: list[tuple[_Waiting, Receipt | Rejected]] = field(default_factory=list)
    receipts: dict[tuple[str, str], tuple[str, bytes, Receipt]] = field(default_factory=dict)


class StoppedError(RuntimeError):
    """The sequencer stopped; the process must exit and be started again."""


class LogKeyError(RuntimeError):
    """The log is signed with another key than the one at hand."""


class Sequencer:
    """Owns the state and the end of the log."""

    def __init__(
        self,
        *,
        store: LedgerStore,
        clock: Clock,
        origin: str,
        log_key: SigningKey,
        next_log_key: SigningKey | None = None,
        new_salt: Callable[[int], bytes],
        code_version: str,
    ) -> None:
        """Wire the parts; nothing happens before ``start``.

        Args:
            log_key: Signs batch headers until the log names another.
            next_log_key: Signs them once the log names it (``RotateLogKey``).
            new_salt: Source of unpredictable bytes (``secrets.token_bytes``; a test may seed it).
        """
        self._store = store
        self._clock = clock
        self._log_key = log_key
        self._next_log_key = next_log_key
        self._new_salt = new_salt
        self._code_version = code_version
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(maxsize=QUEUE_COUNT_MAX)
        self._origin = origin
        self._loaded: Loaded | None = None
        self._stopped: str = ""
        # Batches begun and ended; a batch between the two shows in the state and may be lost.
        self._begun = 0
        self._ended = 0
        self._drained = 0
        self._pauses = Pauses()
        self._followers: list[Follower] = []
        self.changed = asyncio.Condition()

    async def start(self) -> None:
        """Take the log over (fencing any older sequencer) and rebuild the state from it.

        Raises:
            StoreError: ``ROLLED_BACK``.
            LogKeyError: the log names a key that was not given.
        """
        head = await self._store.take_over()
        self._loaded = await load(self._store, self._origin, head)
        self._log_key_in_force()
        behind_us = self._loaded.time_us - self._clock.now_us()
        if behind_us > CLOCK_BEHIND_US:
            log.warning(
                "the clock is behind the log: time stands still until it has caught up",
                seconds=behind_us // 1_000_000,
            )
        log.info("sequencer started", size=head.size, epoch=head.epoch, root=head.root.hex())

    @property
    def state(self) -> State:
        """State after the last commit (and of the batch being applied); read only."""
        return self._ready().state

    @property
    def size(self) -> int:
        """Number of committed log entries."""
        return self._ready().head.size

    @property
    def waiting(self) -> int:
        """Submissions in the queue."""
        return self._queue.qsize()

    @property
    def time_us(self) -> int:
        """Time of the last committed batch; 0 for an empty log."""
        return self._ready().time_us

    def follow(self, follower: Follower) -> None:
        """Hand every entry to ``follower`` from now on, in order, once it is committed."""
        self._followers.append(follower)

    async def durable(self) -> None:
        """Return when everything that ``state`` shows now is committed.

        Whoever tells others what it read in the state waits for this first: the batch being
        applied is lost when the process dies.

        Raises:
            StoppedError: it will not be committed, or nobody knows.
        """
        begun = self._begun
        if self._ended < begun:
            async with self.changed:
                await self.changed.wait_for(lambda: self._ended >= begun or bool(self._stopped))
        if self._stopped:
            raise StoppedError(self._stopped)

    async def submit(self, submission: Submission) -> Receipt | Rejected:
        """Queue one submission and wait until it is durable or refused.

        Raises:
            StoppedError: the outcome is unknown; retry with the same request id after the restart.
        """
        return (await self.submit_all((submission,)))[0]

    async def submit_all(self, submissions: Sequence[Submission]) -> tuple[Receipt | Rejected, ...]:
        """Queue several submissions in order; one answer each, independent of one another."""
        if self._stopped:
            raise StoppedError(self._stopped)
        waiting = [
            _Waiting(submission, asyncio.get_running_loop().create_future())
            for submission in submissions
        ]
        for item in waiting:
            try:
                self._queue.put_nowait(item)
            except asyncio.QueueFull:
                item.answer.set_result(
                    Rejected(
                        code=Code.UNAVAILABLE,
                        field="",
                        advice="the exchange is busy: retry the same request in a second",
                        limit=str(QUEUE_COUNT_MAX),
                    )
                )
        return tuple(await asyncio.gather(*(item.answer for item in waiting)))

    async def run(self) -> None:
        """Drain, apply, commit, answer, for ever.

        Raises:
            StoppedError: a commit failed, its outcome is unknown, or a command met a bug.
        """
        self._pauses.now()
        try:
            await self._work()
        finally:
            self._pauses.end()

    async def _work(self) -> None:
        while True:
            waiting = await self._drain()
            batch = _Batch(
                time_us=max(self._clock.now_us(), self._ready().time_us),
                # The one before the batch: a rotation takes effect with the next one.
                log_key=self._log_key_in_force(),
            )
            self._begun += 1
            try:
                with self._pauses.none():
                    for item in waiting:
                        await self._take(batch, item)
                await self._commit(batch)
            except Exception as error:
                self._stopped = f"{type(error).__name__}: {error}"
                for item in waiting:
                    if not item.answer.done():
                        item.answer.set_exception(StoppedError(self._stopped))
                async with self.changed:
                    self.changed.notify_all()
                raise StoppedError(self._stopped) from error
            self._ended = self._begun
            for item, answer in batch.answers:
                if not item.answer.done():
                    item.answer.set_result(answer)
            async with self.changed:
                self.changed.notify_all()
            self._pauses.after(len(batch.accepted))

    async def _drain(self) -> list[_Waiting]:
        """Everything queued, after a short pause in which more may arrive."""
        waiting = [await self._queue.get()]
        if self._queue.qsize() < BATCH_COUNT_MAX:
            busy = self._drained >= BUSY_COUNT
            await asyncio.sleep(BUSY_DRAIN_SECONDS if busy else DRAIN_SECONDS)
        while len(waiting) < BATCH_COUNT_MAX and not self._queue.empty():
            waiting.append(self._queue.get_nowait())
        self._drained = len(waiting)
        return waiting

    async def _take(self, batch: _Batch, item: _Waiting) -> None:
        submission = item.submission
        repeated = await self._repeated(batch, submission)
        if repeated is not None:
            batch.answers.append((item, repeated))
            return
        answer = self._apply(batch, submission)
        if isinstance(answer, Rejected):
            metrics.refusals.labels(answer.code.value).inc()
            log.info(
                "refused",
                code=answer.code.value,
                field=answer.field,
                principal=submission.key[0],
                request_id=submission.key[1],
            )
        batch.answers.append((item, answer))

    async def _repeated(self, batch: _Batch, submission: Submission) -> Receipt | Rejected | None:
        loaded = self._ready()
        seen = batch.receipts.get(submission.key)
        if seen is None and submission.key in loaded.requests:
            entry = await self._store.find_request(*submission.key)
            if entry is None:
                message = f"request {submission.key} was answered but is not in the store"
                raise InvariantError(message)
            seen = (entry.kind, entry.body_sha256, codec.decode(entry.reply, Receipt))
        if seen is None:
            return None
        # Some kinds have bodies of the same shape: the same bytes may halt or resume.
        kind = ENTRY_KINDS[type(submission.command)].name
        if seen[:2] == (kind, submission.body_sha256):
            return seen[2]
        return Rejected(
            code=Code.REQUEST_CONFLICT,
            field="request_id",
            advice="this request id was used for another body: choose a new one",
            got=submission.key[1],
        )

    def _apply(self, batch: _Batch, submission: Submission) -> Receipt | Rejected:
        loaded = self._ready()
        refused = _refuse_revoked(loaded.state, submission)
        if refused:
            return refused
        kind = ENTRY_KINDS[type(submission.command)]
        salt = b"" if kind.public else self._new_salt(SALT_BYTES)
        leaf = leaf_of(kind, submission.envelope, salt)
        index = loaded.head.size + len(batch.accepted)
        meta = Meta(
            time_us=batch.time_us,
            index=index,
            leaf_hash=merkle.leaf_hash(leaf),
            documents=_bodies(submission.documents),
            values=submission.values,
        )
        result = apply(loaded.state, submission.command, meta)
        if isinstance(result, Rejected):
            return result
        loaded.time_us = batch.time_us
        receipt = Receipt(
            entry_index=index, leaf_hash=meta.leaf_hash, time_us=batch.time_us, salt=salt
        )
        owners = () if kind.public else result.owners
        batch.accepted.append(_Taken(submission, kind, owners, receipt, leaf))
        batch.documents.extend(submission.documents)
        batch.transfers.extend(result.transfers)
        batch.receipts[submission.key] = (kind.name, submission.body_sha256, receipt)
        return receipt

    async def _commit(self, batch: _Batch) -> None:
        if not batch.accepted:
            return
        loaded = self._ready()
        accepted = _entries(batch.accepted)
        header = batch_entry(
            accepted, loaded.time_us, loaded.head.epoch, self._code_version, batch.log_key
        )
        entries = (*accepted, header)
        frontier = loaded.frontier.extend(entry.leaf_hash for entry in entries)
        head = TreeState(epoch=loaded.head.epoch, size=frontier.size, root=frontier.root())
        await self._store.commit(
            Commit(
                expected=loaded.head,
                new=head,
                entries=entries,
                documents=tuple({item.sha256: item for item in batch.documents}.values()),
                transfers=tuple(batch.transfers),
                balances=loaded.state.books.changed_since(0),
            )
        )
        loaded.state.books.release()
        loaded.head, loaded.frontier = head, frontier
        loaded.requests.update(batch.receipts.keys())
        for follower in self._followers:
            follower(entries)
        metrics.entries.inc(len(entries))
        metrics.log_size.set(head.size)

    def _log_key_in_force(self) -> SigningKey:
        named = self.state.log_keys
        for key in (self._log_key, self._next_log_key):
            if key is not None and (not named or key.public == named[-1]):
                return key
        detail = f"the log is signed with {named[-1].hex()}, restore that key from your backup"
        raise LogKeyError(detail)

    def _ready(self) -> Loaded:
        if self._loaded is None:
            message = "the sequencer is not started"
            raise InvariantError(message)
        return self._loaded


def _refuse_revoked(state: State, submission: Submission) -> Rejected | None:
    """Check a signer that lost a key again: it may have lost it after the gateway looked."""
    command = submission.command
    signers = [command.header.signer_id]
    if isinstance(command, RegisterEntitlement):
        signers.append(command.supplier_id)
    known = (state.participants.get(name) for name in signers)
    lost = any(participant.revoked for participant in known if participant is not None)
    if not lost and not isinstance(command, KEY_EVENTS):
        return None
    answer = authorise(state, submission.envelope)
    return answer if isinstance(answer, Rejected) else None


def _bodies(documents: Sequence[Document]) -> Mapping[bytes, bytes]:
    for item in documents:
        if hashlib.sha256(item.body).digest() != item.sha256:
            message = f"document {item.sha256.hex()} does not have that digest"
            raise InvariantError(message)
    return {item.sha256: item.body for item in documents}


def _entries(accepted: Sequence[_Taken]) -> tuple[Entry, ...]:
    """Rows of the log; all replies are written at once, which is cheaper by far."""
    replies = codec.texts([item.receipt for item in accepted])
    return tuple(
        Entry(
            index=item.receipt.entry_index,
            kind=item.kind.name,
            time_us=item.receipt.time_us,
            leaf=item.leaf,
            leaf_hash=item.receipt.leaf_hash,
            envelope=item.submission.envelope,
            salt=item.receipt.salt,
            owners=item.owners,
            principal=item.submission.key[0],
            request_id=item.submission.key[1],
            body_sha256=item.submission.body_sha256,
            reply=reply.encode(),
            documents=tuple(document.sha256 for document in item.submission.documents),
        )
        for item, reply in zip(accepted, replies, strict=True)
    )
