"""Asking witnesses: a checkpoint and a consistency proof out, cosignature lines back.

All witnesses of the policy are asked at the same time, each in a thread of its own and
within one deadline. A witness that is slow, away or wrong costs its line and nothing else.
What a witness says it cosigned last is evidence against this database, though: see
``Finding.AHEAD`` and ``Finding.FORK``.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Final

import structlog

from iso_exchange.observability import metrics
from iso_exchange.publisher.posting import post
from settlement.ledger.checkpoint import (
    Checkpoint,
    add_signature_lines,
    parse_checkpoint,
    parse_note,
    verify_note,
)
from settlement.ledger.errors import CheckpointError
from settlement.ledger.keys import NoteKey
from settlement.ledger.merkle import TREE_SIZE_MAX
from settlement.ledger.policy import Policy, PolicyWitness
from settlement.ledger.witness import AddCheckpoint, Status, encode_request

ROUNDS_MAX: Final = 3
"""Requests to one witness about one checkpoint: it may have to say its size, and may be asked
by somebody else meanwhile."""

ProofOf = Callable[[int, int], tuple[bytes, ...]]
"""RFC 6962 consistency proof between two sizes of this log."""

log = structlog.get_logger("witnesses")


class Finding(Enum):
    """What became of asking one witness."""

    COSIGNED = "cosigned"
    UNREACHABLE = "unreachable"
    """No answer in time, or none that can be read."""
    REFUSED = "refused"
    """It does not know this log or its key, or its own line does not verify."""
    AHEAD = "ahead"
    """It cosigned a larger tree of this log than this database holds."""
    FORK = "fork"
    """It cosigned a tree of this log that is no part of this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer of one witness.

    Attributes:
        lines: Verified cosignature lines, empty unless ``COSIGNED``.
        detail: One sentence for the log.
    """

    witness: PolicyWitness
    finding: Finding
    lines: bytes = b""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigned:
    """A checkpoint with every cosignature that came in time.

    Attributes:
        is_quorum: Whether the cosignatures make the quorum of the policy.
    """

    note: bytes
    is_quorum: bool
    answers: tuple[Answer, ...]

    @property
    def is_complete(self) -> bool:
        """Whether asking again could bring nothing more."""
        return all(answer.finding is not Finding.UNREACHABLE for answer in self.answers)


class Witnesses:
    """The witnesses of one policy, asked on behalf of one log."""

    def __init__(self, *, policy: Policy, seconds_max: float) -> None:
        """Keep the parts.

        Args:
            policy: Witnesses without a URL are not asked.
            seconds_max: Deadline of one round of questions.
        """
        self.policy = policy
        self._seconds_max = seconds_max
        # Several keys of one witness share its URL: it is asked once for all of them.
        self._asked: dict[str, list[PolicyWitness]] = {}
        for witness in policy.witnesses:
            if witness.url:
                self._asked.setdefault(witness.url, []).append(witness)
        self._sizes: dict[str, int] = {}
        # Threads of their own: a witness that hangs must not hold up the writing of files.
        self._threads = ThreadPoolExecutor(
            max_workers=max(1, len(self._asked)), thread_name_prefix="iso-witnesses"
        )

    async def cosign(self, note: bytes, proof_of: ProofOf) -> Cosigned:
        """Ask everybody about a checkpoint.

        Args:
            note: Signed by the log; goes out as it is.
            proof_of: Called in threads; the tree below it only grows.
        """
        checkpoint = parse_checkpoint(parse_note(note).text)
        rounds = await asyncio.gather(
            *(self._ask(url, note, checkpoint, proof_of) for url in self._asked)
        )
        answers = tuple(answer for found in rounds for answer in found)
        for answer in answers:
            metrics.witness_answers.labels(answer.witness.name, answer.finding.value).inc()
        cosigners = [answer.witness.key for answer in answers if answer.lines]
        return Cosigned(
            note=add_signature_lines(note, [answer.lines for answer in answers]),
            is_quorum=self.policy.is_quorum(cosigners),
            answers=answers,
        )

    async def _ask(
        self, url: str, note: bytes, checkpoint: Checkpoint, proof_of: ProofOf
    ) -> list[Answer]:
        names = self._asked[url]
        try:
            async with asyncio.timeout(self._seconds_max):
                found, detail, lines = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._converse, url, note, checkpoint, proof_of
                )
        except (TimeoutError, OSError, http.client.HTTPException, ValueError) as error:
            detail = f"{type(error).__name__}: {error}"
            return [
                Answer(witness=name, finding=Finding.UNREACHABLE, detail=detail) for name in names
            ]
        answers = []
        for witness in names:
            own = _lines_of(note, lines, witness.key)
            finding, reason = found, detail
            if found is Finding.COSIGNED and not own:
                finding, reason = Finding.REFUSED, "no line of its key in the answer that holds"
            answers.append(Answer(witness=witness, finding=finding, lines=own, detail=reason))
        return answers

    def _converse(
        self, url: str, note: bytes, checkpoint: Checkpoint, proof_of: ProofOf
    ) -> tuple[Finding, str, bytes]:
        """Ask until the witness agrees on the old size; runs in a thread."""
        old = min(self._sizes.get(url, 0), checkpoint.size)
        for _ in range(ROUNDS_MAX):
            proof = proof_of(old, checkpoint.size) if old else ()
            request = encode_request(AddCheckpoint(old_size=old, proof=proof, note=note))
            status, body = post(
                f"{url.rstrip('/')}/add-checkpoint",
                request,
                content_type="text/plain",
                seconds_max=self._seconds_max,
            )
            if status == http.client.OK:
                self._sizes[url] = checkpoint.size
                return Finding.COSIGNED, "", body
            if status == Status.INCONSISTENT:
                return Finding.FORK, f"it cosigned another tree of {old} entries", b""
            if status != Status.CONFLICT:
                return Finding.REFUSED, f"status {status}: {body[:200]!r}", b""
            known = _size_of(body)
            if known > checkpoint.size:
                detail = f"it cosigned {known} entries, this tree has {checkpoint.size}"
                return Finding.AHEAD, detail, b""
            if known == old:
                return Finding.FORK, f"it cosigned another tree of {known} entries", b""
            old = known
        return Finding.UNREACHABLE, "its size keeps changing", b""


def _size_of(body: bytes) -> int:
    """Size in the body of a conflict.

    Raises:
        ValueError: it is none.
    """
    digits = body.removesuffix(b"\n")
    if not digits.isdigit() or len(digits) > len(str(TREE_SIZE_MAX)):
        message = f"a conflict without a size: {body[:40]!r}"
        raise ValueError(message)
    return int(digits)


def _lines_of(note: bytes, lines: bytes, key: NoteKey) -> bytes:
    """The lines of an answer that this key made and that hold."""
    text = parse_note(note).text
    kept = []
    for line in lines.splitlines(keepends=True):
        try:
            verify_note(parse_note(text + b"\n" + line), (key,))
        except CheckpointError:
            continue  # of another key, or no line at all
        kept.append(line)
    return b"".join(kept)
