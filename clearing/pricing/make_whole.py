"""Make-whole payments: an accepted order that loses at the prices is paid its loss back.

Funded in this order (DESIGN 4.2, SETTLEMENT R14): power rents, pro rata to what is left of
them; then the positive surpluses of accepted orders, pro rata, largest remainder; then
base-load nominations by chips served, which have no limit price and never fund pro rata.
Nobody gives more than its surplus, so nobody is pushed past a limit.
"""

from __future__ import annotations

from collections.abc import Mapping

from clearing.errors import InvariantError
from clearing.outcome import FundingShare, MakeWhole
from clearing.units import SECONDS_PER_HOUR, MicroUsd, divide_up, split_largest_remainder

RENT_PREFIX = "rent:"
"""Source of a share paid from the power rent of the site named behind it."""


def make_whole(
    surpluses: Mapping[str, int],
    rents: Mapping[str, int],
    base_chips: Mapping[str, int],
    residual: int,
) -> tuple[MakeWhole, ...]:
    """Payments to every accepted order that loses, sorted by order.

    Args:
        surpluses: Surplus of each accepted bid and offer, price-seconds, either sign.
        rents: Power rent by site, price-seconds, >= 0.
        base_chips: Chips served x intervals by nomination.
        residual: ``Cash.residual``, micro-USD; what it lacks is funded in the same way by
            the one entry without orders.

    Raises:
        InvariantError: losses exceed every source, which welfare >= 0 rules out.
    """
    sources = [
        {RENT_PREFIX + s: r // SECONDS_PER_HOUR for s, r in rents.items()},
        {name: s // SECONDS_PER_HOUR for name, s in surpluses.items() if s > 0},
    ]
    losses: dict[tuple[str, ...], int] = {
        (name,): divide_up(-surplus, SECONDS_PER_HOUR)
        for name, surplus in surpluses.items()
        if surplus < 0
    }
    if residual < 0:
        losses[()] = -residual
    return tuple(
        MakeWhole(
            order_ids=family,
            amount=MicroUsd(losses[family]),
            funding=_fund(losses[family], sources, base_chips),
        )
        for family in sorted(losses)
    )


def _fund(
    amount: int, sources: list[dict[str, int]], base_chips: Mapping[str, int]
) -> tuple[FundingShare, ...]:
    """Shares of one payment; what the sources have left falls by them."""
    shares: dict[str, int] = {}
    missing = amount
    for left in sources:
        missing -= _take(left, missing, shares)
    if missing:
        if not any(base_chips.values()):
            message = f"nobody can fund {missing} micro-USD of make-whole"
            raise InvariantError(message)
        _split(base_chips, missing, shares)
    return tuple(
        FundingShare(source=source, amount=MicroUsd(share))
        for source, share in sorted(shares.items())
    )


def _take(sources: dict[str, int], wanted: int, shares: dict[str, int]) -> int:
    """Take up to ``wanted`` pro rata to what the sources have left; returns what was taken."""
    taken = min(wanted, sum(sources.values()))
    for source, part in _split(sources, taken, shares).items():
        sources[source] -= part
    return taken


def _split(weights: Mapping[str, int], total: int, shares: dict[str, int]) -> dict[str, int]:
    names = sorted(weights)
    parts = split_largest_remainder(total, [weights[name] for name in names], names)
    given = {name: part for name, part in zip(names, parts, strict=True) if part}
    for name, part in given.items():
        shares[name] = shares.get(name, 0) + part
    return given
