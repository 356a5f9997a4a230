"""Checks of money: surpluses, limits, make-whole and its funding, cash and welfare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np

from clearing.checks.accounts import (
    accounts_of,
    family_surplus,
    link_rent,
    money,
    on_intervals,
    rent_of_sites,
    restart_kept,
    welfare,
)
from clearing.checks.exact import Bools, Ints, times, total
from clearing.checks.facts import View
from clearing.checks.families import families_of
from clearing.outcome import ROUNDING_MICRO_USD, Cash
from clearing.types import PricingRule
from clearing.units import SECONDS_PER_HOUR

RENT: Final = "rent:"


def check_surplus(view: View) -> Iterator[str]:
    """SURPLUS: each order is told its exact surplus at the prices, before make-whole."""
    expected = accounts_of(view).surplus[view.published.answers.order]
    told = view.published.answers.surplus
    for at in np.flatnonzero(told != expected):
        name = view.published.answers.ids[at]
        yield f"{name} is told a surplus of {told[at]}, computed {expected[at]}"


def in_the_market(view: View) -> Bools:
    """Per order: it has an award or a run, and is no nomination."""
    book = view.book
    found = view.accepted.copy()
    found[book.units.order[on_intervals(view).any(axis=1)]] = True
    found[book.starts[4] :] = False
    return found


def _parties(view: View) -> tuple[Ints, Ints]:
    """Of each order the one that stands for its family (itself, outside blocks); and the surplus.

    A family is stood for by its first accepted order; surpluses of families stand there.
    """
    book = view.book
    surplus = accounts_of(view).surplus
    first, stop = book.starts[2], book.starts[3]
    head = np.arange(book.orders)
    families = families_of(view)
    accepted = np.flatnonzero(view.accepted[first:stop])
    heads = np.full(families.groups, book.orders, dtype=np.int64)
    np.minimum.at(heads, families.family[accepted], accepted + first)
    head[first + accepted] = heads[families.family[accepted]]
    own = surplus.copy()
    of_family = family_surplus(view)[families.family]
    own = own.astype(object) if of_family.dtype == object else own
    own[first:stop] = np.where(head[first:stop] == np.arange(first, stop), of_family, 0)
    return head, own


def check_limits(view: View) -> Iterator[str]:
    """LIMITS: no accepted family pays more than its limits, no offer receives less than it asked.

    Net of make-whole received, and of make-whole funded: nobody is pushed past a limit
    to help another. Exact, in price-seconds, per family. Base load has no limit. Under
    STRICT_UNIFORM there is nothing to receive. Source: DESIGN 4.2, clearing-rules.
    """
    book = view.book
    head, own = _parties(view)
    received: dict[int, int] = defaultdict(int)
    for made in view.published.outcome.make_whole:
        if made.order_ids:
            received[int(head[book.index[made.order_ids[0]]])] += made.amount
        for share in made.funding:
            if share.source in book.index:
                received[int(head[book.index[share.source]])] -= share.amount
    present = np.flatnonzero(in_the_market(view) & (head == np.arange(book.orders)))
    losing = present[own[present] < 0].tolist()
    for at in sorted({*losing, *received}):
        if at >= book.starts[4]:
            continue
        net = int(own[at]) + SECONDS_PER_HOUR * received.get(at, 0)
        if net < 0:
            yield f"{view.name(at)} ends {-net} price-seconds past its limit"


def check_make_whole(view: View) -> Iterator[str]:
    """MAKE_WHOLE: every family's loss is paid back, rounded up to a micro-USD; nothing else is.

    A residual of the cash identity below the rounding of its lines is paid in the same way, by
    an entry without orders; under STRICT_UNIFORM by that entry alone.

    Shares add up, are positive and name each source once. No source gives more than it
    has: a site its power rent, a family its positive surplus, in the name of its first
    accepted order. Power rent is spent first, then surpluses, pro rata within one micro-USD
    per payment, and nominations last. Source: DESIGN 4.2; SETTLEMENT R14; clearing-rules.
    """
    payments = view.published.outcome.make_whole
    losses = _losses(view)
    paid = {made.order_ids: made.amount for made in payments}
    for family in sorted(losses.keys() | paid.keys()):
        if losses.get(family) != paid.get(family):
            yield f"{family} loses {losses.get(family, 0)}, is paid {paid.get(family, 0)}"
    given: dict[str, int] = defaultdict(int)
    for made in payments:
        sources = [share.source for share in made.funding]
        if len(set(sources)) != len(sources) or sources != sorted(sources):
            yield f"{made.order_ids} names its sources out of order or twice"
        if any(share.amount <= 0 for share in made.funding):
            yield f"{made.order_ids} has a share that is not positive"
        if sum(share.amount for share in made.funding) != made.amount:
            yield f"{made.order_ids} has shares that do not add up to {made.amount}"
        for share in made.funding:
            given[share.source] += share.amount
    if given:
        yield from _funding(view, dict(given))


def _losses(view: View) -> dict[tuple[str, ...], int]:
    """What each losing family must be paid, micro-USD."""
    book = view.book
    found: dict[tuple[str, ...], int] = {}
    if view.published.outcome.cash.residual < -ROUNDING_MICRO_USD:
        found[()] = -view.published.outcome.cash.residual
    if book.book.spec.pricing_rule is PricingRule.STRICT_UNIFORM:
        return found
    head, own = _parties(view)
    present = in_the_market(view)
    for at in np.flatnonzero(present & (head == np.arange(book.orders)) & (own < 0)):
        members = np.flatnonzero(present & (head == at))
        names = tuple(sorted(view.name(member) for member in members))
        found[names] = -(int(own[at]) // SECONDS_PER_HOUR)
    return found


def _funding(view: View, given: dict[str, int]) -> Iterator[str]:
    book, grid = view.book, view.book.grid
    rents = {
        RENT + name: rent
        for name, rent in zip(
            grid.site_ids,
            (times(rent_of_sites(view), grid.duration_s) // SECONDS_PER_HOUR).tolist(),
            strict=True,
        )
        if rent > 0
    }
    head, own = _parties(view)
    whole = own // SECONDS_PER_HOUR
    has = in_the_market(view) & (head == np.arange(book.orders)) & (whole > 0)
    base = set(book.ids[book.starts[4] :])
    spent = np.zeros(book.orders, dtype=object)
    for source, amount in sorted(given.items()):
        if source in base:
            continue
        at = book.index.get(source, -1)
        most = rents.get(source, int(whole[at]) if at >= 0 and has[at] else 0)
        if amount > most:
            yield f"{source} gives {amount}, it has {most}"
        if at >= 0 and has[at]:
            spent[at] = amount
    donors = np.flatnonzero(has)
    from_rents = sum(given.get(source, 0) for source in rents)
    from_gains = int(spent.sum())
    from_base = sum(given.get(name, 0) for name in base & given.keys())
    if from_gains + from_base and from_rents != sum(rents.values()):
        yield f"power rent of {sum(rents.values())} is not spent first: {from_rents}"
    weight = total(whole[donors])
    if from_base and from_gains != weight:
        yield f"base load pays before surpluses of {weight} are spent"
    if from_gains:
        tolerance = len(view.published.outcome.make_whole) * weight
        off = spent[donors] * weight - whole[donors].astype(object) * from_gains
        for at in donors[np.abs(off) > tolerance]:
            yield f"{view.name(at)} gives {spent[at]}, not its part of {from_gains}"


def cash_of(view: View) -> Cash:
    """Cash identity of the awards at the prices, before make-whole moves anything.

    Each line is the exact sum of its price-seconds, rounded half-even once; the residual is
    what the other lines leave, so the identity holds to the micro-USD.
    """
    accounts, totals, grid = accounts_of(view), view.totals, view.book.grid
    served = totals.delivered + totals.base
    fee = view.book.book.spec.operator_fee
    lines = {
        "buyers": total(accounts.payment),
        "suppliers": total(accounts.receipts),
        "spare": total(accounts.spare),
        "community": total(times(view.per_place(grid.surcharge), served)),
        "operator_fee": fee * total(served),
        "link_rent": link_rent(view),
        "power_rent": total(rent_of_sites(view)),
    }
    rounded = {line: money(amount, grid.duration_s) for line, amount in lines.items()}
    left = 2 * rounded["buyers"] - sum(rounded.values())
    moved = sum(made.amount for made in view.published.outcome.make_whole)
    return Cash(**{**rounded, "residual": left, "make_whole": moved})  # type: ignore[arg-type]


def check_cash(view: View) -> Iterator[str]:
    """CASH: every line is recomputed, and buyers equal what everybody else receives.

    Why: the operator retains its published fee and nothing else. Source: DESIGN 4.3.
    """
    published, expected = view.published.outcome.cash, cash_of(view)
    for line in Cash.__dataclass_fields__:
        if getattr(published, line) != getattr(expected, line):
            yield f"{line} is {getattr(published, line)}, computed {getattr(expected, line)}"


def check_welfare(view: View) -> Iterator[str]:
    """WELFARE: values minus costs, fees and surcharges of the awards, exactly.

    Start-up and no-load costs included, tie credits and penalties left out; restart costs
    kept stand beside it. Gains from trade are the same without base load, at least 1: base
    load has no value in the objective, so the two differ only in that floor.
    Source: DESIGN 4.3, clearing-rules "Objective".
    """
    certificate = view.published.outcome.certificate
    expected = welfare(view)
    lines = {
        "welfare": (certificate.welfare, expected),
        "gains": (certificate.gains, max(1, expected)),
        "restart_kept": (certificate.restart_kept, restart_kept(view)),
    }
    for line, (told, computed) in lines.items():
        if told != computed:
            yield f"{line} is {told}, computed {computed}"
