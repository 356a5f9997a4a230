"""How large a book may be, so that no sum over one order leaves 63 bits.

The limits are far above any market and far below what would let arithmetic wrap around:
``2**62`` is 4.6 x 10**18.
"""

from __future__ import annotations

from typing import Final

MAX_INTERVALS: Final = 10_000
MAX_INTERVAL_SECONDS: Final = 366 * 86_400
MAX_TIME: Final = 2**53
"""Unix seconds, on either side of 1970."""
MAX_PLACES: Final = 10_000_000
"""Pools times intervals."""
MAX_ORDERS: Final = 2_000_000
MAX_STEPS_PER_SEGMENT: Final = 10_000
MAX_WATTS: Final = 10**15
MAX_CHIP_WATTS: Final = 1_000_000
MAX_NOTICE_SECONDS: Final = 2**40
MAX_PENALTY: Final = 10**15
"""Micro-USD per chip-hour."""
MAX_COST_MICRO_USD: Final = 10**12
"""Start-up cost of one run or no-load cost of one interval: a million US dollars."""
MAX_FACTOR_PPM: Final = 1_000_000_000
"""A class may be worth a thousand times what the bid names."""
MAX_WORTH: Final = 2**62
"""Chips times intervals of one order times the highest price it may meet."""
