"""Make-whole payments: an accepted family that loses at the prices is paid its loss back.

Funded in this order (DESIGN 4.2, SETTLEMENT R14): power rents, pro rata; then the positive
surpluses of accepted families, pro rata; then base-load nominations by chips served, which
have no limit price. Each by largest remainder, over all payments together: the sources of one
kind stand in a row by name, each as long as what it gives, and the payments, by family, take
their parts from that row one after the other. So there are fewer shares than sources and
payments, however many of both there are. Nobody gives more than its surplus, so nobody is
pushed past a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from clearing.errors import UnfundedError
from clearing.outcome import FundingShare, MakeWhole
from clearing.units import SECONDS_PER_HOUR, MicroUsd, divide_up, split_largest_remainder

RENT_PREFIX: Final = "rent:"
"""Source of a share paid from the power rent of the site named behind it."""

Family = tuple[str, ...]
"""The accepted orders of a family, sorted; its first one is the family's name as a source."""


def make_whole(
    surpluses: Mapping[Family, int],
    rents: Mapping[str, int],
    base_chips: Mapping[str, int],
    residual: int,
) -> tuple[MakeWhole, ...]:
    """Payments to every accepted family that loses, sorted by family.

    Args:
        surpluses: Surplus of each accepted family, price-seconds, either sign; a divisible
            order is a family of its own.
        rents: Power rent by site, price-seconds, >= 0.
        base_chips: Chips served x intervals by nomination.
        residual: ``Cash.residual``, micro-USD; what it lacks is funded in the same way by
            the one entry without orders.

    Raises:
        UnfundedError: losses exceed every source: restart cost kept, or a link that has to flow,
            can make a choice whose welfare is below zero.
    """
    losses = {
        family: divide_up(-surplus, SECONDS_PER_HOUR)
        for family, surplus in surpluses.items()
        if surplus < 0
    }
    if residual < 0:
        losses[()] = -residual
    rows = _given(
        sum(losses.values()),
        {RENT_PREFIX + site: rent // SECONDS_PER_HOUR for site, rent in rents.items()},
        {family[0]: gain // SECONDS_PER_HOUR for family, gain in surpluses.items() if gain > 0},
        base_chips,
    )
    return tuple(_payments(losses, rows))


def _given(
    missing: int, rents: Mapping[str, int], gains: Mapping[str, int], base_chips: Mapping[str, int]
) -> list[tuple[str, int]]:
    """What each source gives in all, micro-USD > 0, in the order in which it is spent."""
    row: list[tuple[str, int]] = []
    for most in (rents, gains):
        taken = min(missing, sum(most.values()))
        row += _split(most, taken)
        missing -= taken
    if missing and not any(base_chips.values()):
        raise UnfundedError(missing)
    return row + _split(base_chips, missing)


def _split(weights: Mapping[str, int], total: int) -> list[tuple[str, int]]:
    if total == 0:
        return []
    names = sorted(weights)
    parts = split_largest_remainder(total, [weights[name] for name in names], names)
    return [(name, part) for name, part in zip(names, parts, strict=True) if part]


def _payments(losses: Mapping[Family, int], row: list[tuple[str, int]]) -> Iterator[MakeWhole]:
    """Cut the row of sources into payments."""
    sources = iter(row)
    source, left = "", 0
    for family in sorted(losses):
        missing = losses[family]
        shares: list[FundingShare] = []
        while missing:
            if not left:
                source, left = next(sources)
            part = min(missing, left)
            shares.append(FundingShare(source=source, amount=MicroUsd(part)))
            missing -= part
            left -= part
        funding = tuple(sorted(shares, key=lambda share: share.source))
        yield MakeWhole(order_ids=family, amount=MicroUsd(losses[family]), funding=funding)
