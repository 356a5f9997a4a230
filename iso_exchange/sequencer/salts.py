"""Salts of commitments, from the system's source of randomness."""

from __future__ import annotations

import secrets
from typing import Final

PORTION_BYTES: Final = 8_192


class Salts:
    """``secrets.token_bytes`` in portions: one question to the kernel for hundreds of salts.

    Every byte is handed out once; what waits is as secret as the rest of the process.
    """

    def __init__(self) -> None:
        """Nothing was drawn yet."""
        self._portion = b""
        self._place = 0

    def __call__(self, length: int) -> bytes:
        """Unpredictable bytes that were never given out before."""
        end = self._place + length
        if end > len(self._portion):
            self._portion = secrets.token_bytes(max(PORTION_BYTES, length))
            self._place, end = 0, length
        salt = self._portion[self._place : end]
        self._place = end
        return salt
