"""Ways to choose, tried one after the other until whole nodes fit the choice."""

from __future__ import annotations

from enum import Enum


class Approach(Enum):
    """In the order in which they are tried."""

    USUAL = "USUAL"
    """Largest welfare, with reserves and power in fractions of a node."""
    WHOLE_RESERVES = "WHOLE_RESERVES"
    """The same with reserves in whole nodes."""
    NODE_TO_SPARE = "NODE_TO_SPARE"
    """The same, and a node of every pool and of every site's power left for rounding."""
    NO_BLOCKS = "NO_BLOCKS"
    """Divisible orders and offers with a commitment alone."""
