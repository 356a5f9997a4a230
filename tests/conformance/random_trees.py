"""Trees whose roots and proofs other software recomputes: all small ones, seeded large ones."""

from __future__ import annotations

import random
from collections.abc import Iterator

from settlement.ledger import merkle

LARGE = (65_535, 65_536, 65_537, 66_000)
SIZES = (*range(41), 255, 256, 257, 511, 512, 513, *LARGE)
RANDOM_SIZES = 60
RANDOM_SIZE_MAX = 2_000


def leaf(index: int) -> bytes:
    return b"leaf %d" % index


def tree(size: int) -> merkle.HashTree:
    found = merkle.HashTree()
    found.extend(merkle.leaf_hash(leaf(index)) for index in range(size))
    return found


def cases(seed: int, *, largest: int = max(LARGE)) -> Iterator[tuple[int, int, int]]:
    """Size, index of a leaf, and an older size."""
    chance = random.Random(seed)
    sizes = [size for size in SIZES if size <= largest]
    sizes += [chance.randrange(RANDOM_SIZE_MAX + 1) for _ in range(RANDOM_SIZES)]
    for size in sizes:
        if size:
            near = (0, size - 1, chance.randrange(size))
            for index in near:
                yield size, index, chance.choice((1, size, index + 1, chance.randint(1, size)))
