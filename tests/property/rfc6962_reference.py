"""RFC 6962, section 2.1, written down as it stands there: slow, recursive, over whole leaf lists.

Only cross-checks the fast code, from which it takes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

Leaves = Sequence[bytes]


def mth(d: Leaves) -> bytes:
    """Section 2.1: MTH(D[n])."""
    n = len(d)
    if n == 0:
        return hashlib.sha256().digest()
    if n == 1:
        return hashlib.sha256(b"\x00" + d[0]).digest()
    k = split(n)
    return hashlib.sha256(b"\x01" + mth(d[0:k]) + mth(d[k:n])).digest()


def path(m: int, d: Leaves) -> list[bytes]:
    """Section 2.1.1: PATH(m, D[n])."""
    n = len(d)
    if n == 1:
        return []
    k = split(n)
    if m < k:
        return [*path(m, d[0:k]), mth(d[k:n])]
    return [*path(m - k, d[k:n]), mth(d[0:k])]


def proof(m: int, d: Leaves) -> list[bytes]:
    """Section 2.1.2: PROOF(m, D[n])."""
    return subproof(m, d, complete=True)


def subproof(m: int, d: Leaves, *, complete: bool) -> list[bytes]:
    """Section 2.1.2: SUBPROOF(m, D[n], b)."""
    n = len(d)
    if m == n:
        return [] if complete else [mth(d)]
    k = split(n)
    if m <= k:
        return [*subproof(m, d[0:k], complete=complete), mth(d[k:n])]
    return [*subproof(m - k, d[k:n], complete=False), mth(d[0:k])]


def split(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k
