"""Tie rules: everything that a seed decides (DESIGN 4.2, "Ties").

The seed is committed before gate closure and revealed with the result, so that anybody
can recompute these values and nobody could aim an order at them. Parts are joined with a
zero byte, which no identifier may contain, so that two different tuples never hash alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from clearing.units import MicroUsdPerChipHour


def seed_commitment(seed: bytes) -> str:
    """Lower-case hex SHA-256 of a seed: what is published before gate closure."""
    return hashlib.sha256(seed).hexdigest()


def alternative_credit(
    seed: bytes, order_id: str, pool_id: str, start: int, credit_max: MicroUsdPerChipHour
) -> MicroUsdPerChipHour:
    """Tie credit of one placement of a block, 0 to ``credit_max``, in the objective only."""
    number = int.from_bytes(_hash(seed, order_id, pool_id, str(start))[:8], "big")
    return MicroUsdPerChipHour(number % (credit_max + 1))


def alternative_credits(
    seed: bytes, placements: Iterable[tuple[str, str, int]], credit_max: MicroUsdPerChipHour
) -> npt.NDArray[np.int64]:
    """``alternative_credit`` of many placements (order, pool, start), in their order."""
    sha256 = hashlib.sha256
    digests = b"".join(
        [
            sha256(seed + f"{order_id}\0{pool_id}\0{start}".encode()).digest()
            for order_id, pool_id, start in placements
        ]
    )
    words = np.frombuffer(digests, dtype=">u8")[::4]
    return (words % np.uint64(credit_max + 1)).astype(np.int64)


def pool_credit(seed: bytes, pool_id: str, credit_max: MicroUsdPerChipHour) -> MicroUsdPerChipHour:
    """Tie credit of step and work columns: it ranks pools and leaves equal steps tied."""
    number = int.from_bytes(_hash(seed, pool_id)[:8], "big")
    return MicroUsdPerChipHour(number % (credit_max + 1))


def sharing_key(seed: bytes, order_id: str, pool_id: str, interval: int) -> bytes:
    """Rank of an order among equal remainders when equal steps share whole nodes pro rata."""
    return _hash(seed, order_id, pool_id, str(interval)) + order_id.encode()


def price_weight(seed: bytes, name: str, subject: str, interval: int) -> int:
    """Weight of one price in the last stage of the price choice, 1,000 to 1,999."""
    digest = _hash(seed, "price", name, subject, str(interval))
    return 1_000 + int.from_bytes(digest[:8], "big") % 1_000


def _hash(seed: bytes, *parts: str) -> bytes:
    return hashlib.sha256(seed + "\0".join(parts).encode()).digest()
