"""Signatures of a long log are checked beside the walk, in another process.

The walk does not need the verdict: it goes on with what a forged entry says, so that more than
the first forgery is found. Signatures are collected, handed over many at a time and asked for at
the end; when the other process is behind, or cannot be had, this one checks them itself, so
both are busy and little waits in memory.
"""

from __future__ import annotations

import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from iso_exchange.audit.report import Record, Step
from iso_exchange.signature_checks import LENGTH, SignatureCheck, frame_of, holds

BATCH_COUNT: Final = 500
BATCHES_WAITING_MAX: Final = 8
"""At some 700 bytes a signature: a few megabytes."""

Batch = tuple[list[int], list[SignatureCheck]]
"""Log indexes of entries, and a signature of each."""


class Signatures:
    """Collects signatures with their place; ``finish`` makes findings of those that do not hold."""

    def __init__(self, record: Record) -> None:
        """No process is started before there is a batch for it."""
        self._record = record
        self._places: list[int] = []
        self._checks: list[SignatureCheck] = []
        self._queue: queue.Queue[Batch | None] = queue.Queue(BATCHES_WAITING_MAX)
        self._wrong: list[int] = []
        self._left: list[Batch] = []
        self._taken: list[Batch] = []
        self._ended = False
        self._thread: threading.Thread | None = None
        self._added = 0
        self._judged = 0
        self._lock = threading.Lock()

    def add(self, place: int, checks: Sequence[SignatureCheck]) -> None:
        """Check these signatures of the entry at a place of the log, now or later."""
        self._added += len(checks)
        for check in checks:
            self._places.append(place)
            self._checks.append(check)
        if len(self._checks) >= BATCH_COUNT:
            self._hand_over()

    def finish(self) -> None:
        """Wait for every verdict and record what does not hold, in the order of the log."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        for batch in (*self._left, (self._places, self._checks)):
            self._check(batch)
        self._left, self._places, self._checks = [], [], []
        if self._judged != self._added:
            detail = f"{self._added - self._judged} of {self._added} were not checked"
            self._record.fail(Step.SIGNATURES, "signatures", detail)
        for place in sorted(self._wrong):
            detail = "BAD_SIGNATURE envelope.signatures: the signature does not hold"
            self._record.fail(Step.SIGNATURES, f"entry {place}", detail)
        self._wrong = []

    def _hand_over(self) -> None:
        batch = (self._places, self._checks)
        self._places, self._checks = [], []
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="signatures", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(batch)
        except queue.Full:
            self._check(batch)

    def _serve(self) -> None:
        """Feed the other process; what it does not answer is left for ``finish``."""
        with suppress(OSError, ValueError, struct.error):
            self._feed()
        # After a failure whoever adds must not wait for ever, and nothing may be forgotten.
        while not self._ended:
            self._next()
            self._left += self._taken
            self._taken = []

    def _feed(self) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "iso_exchange.signature_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            while True:
                self._next()
                if self._ended:
                    process.stdin.close()
                    return
                (batch,) = self._taken
                process.stdin.write(frame_of(batch[1]))
                process.stdin.flush()
                (count,) = LENGTH.unpack(process.stdout.read(LENGTH.size))
                self._note(batch, [byte == 1 for byte in process.stdout.read(count)])
                self._taken = []

    def _next(self) -> None:
        """Take a batch; one that was taken and not answered is left for ``finish``."""
        self._left += self._taken
        self._taken = []
        batch = self._queue.get()
        self._ended = batch is None
        if batch is not None:
            self._taken = [batch]

    def _check(self, batch: Batch) -> None:
        self._note(batch, [holds(check) for check in batch[1]])

    def _note(self, batch: Batch, found: Sequence[bool]) -> None:
        if len(found) != len(batch[1]):
            message = "the answer is short"
            raise ValueError(message)
        wrong = [place for place, held in zip(batch[0], found, strict=True) if not held]
        with self._lock:  # both sides come here
            self._judged += len(found)
            self._wrong += wrong
