"""Deterministic draws: the same labels give the same number on every host and version.

No generator state: a draw depends on its seed and labels only, so adding an order never
changes another one.
"""

from __future__ import annotations

import hashlib


def draw(seed: int, bound: int, *labels: object) -> int:
    """Integer from 0 to ``bound`` - 1, from SHA-256 over the seed and the labels.

    The modulo bias is below 2**-40 for bounds up to 2**24, which is all that is asked.

    Args:
        seed: Any integer.
        bound: 1 to 2**24.
        labels: Names of the draw; integers and strings.
    """
    text = "\x1f".join((str(seed), *(str(label) for label in labels)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % bound


def draw_between(seed: int, low: int, high: int, *labels: object) -> int:
    """Integer from ``low`` to ``high``, both included."""
    return low + draw(seed, high - low + 1, *labels)
