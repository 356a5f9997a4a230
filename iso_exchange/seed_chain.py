"""Tie seeds of a spot market: a hash chain, revealed from its end backwards.

The market commits to the end of the chain when it opens. Run ``j`` reveals the preimage of
what run ``j - 1`` revealed, so one commitment covers any number of runs and each is checked
by one hash (docs/reference/spot-rules.md, rule 18).
"""

from __future__ import annotations

import hashlib
from typing import Final

STRIDE: Final = 1_024


class SeedChain:
    """``length`` seeds above a secret base, and the anchor that commits to them."""

    def __init__(self, base: bytes, length: int) -> None:
        """Walk the chain once, keeping every ``STRIDE``-th value.

        Args:
            base: Secret, 32 bytes; the seed that the last run reveals.
            length: Number of seeds, at least 1.

        Example:
            >>> chain = SeedChain(bytes(32), 3)
            >>> hashlib.sha256(chain.seed(1)).hexdigest() == chain.anchor
            True
            >>> hashlib.sha256(chain.seed(2)).digest() == chain.seed(1)
            True
        """
        self._length = length
        self._marks = [base]
        value = base
        for step in range(1, length + 1):
            value = hashlib.sha256(value).digest()
            if step % STRIDE == 0:
                self._marks.append(value)
        self.anchor = value.hex()

    def seed(self, position: int) -> bytes:
        """Seed that the run at a position reveals, from 1 to ``length``.

        Raises:
            IndexError: the chain is used up.
        """
        if not 1 <= position <= self._length:
            message = f"a chain of {self._length} seeds has none at {position}"
            raise IndexError(message)
        height = self._length - position
        value = self._marks[height // STRIDE]
        for _ in range(height % STRIDE):
            value = hashlib.sha256(value).digest()
        return value
