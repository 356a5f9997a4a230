"""Check of the certificate: the bound that weak duality makes of the published duals.

Drop the coupling rows of the auction and charge for using them instead. For any multipliers
of the right sign the objective of every feasible outcome is at most

    bound = sum over families of the largest surplus that the family could reach on its
            own at those charges + right-hand sides of the rows x their multipliers,

because a feasible outcome pays non-negative charges for non-negative slack. It does not
matter where the multipliers come from: wrong ones only make the bound larger.

Right-hand sides: nu x (site limit - power of served base load), never below zero; NODE_COVER
-mu x (theta x base covered - its shortage); SITE_COVER, per nomination, -(chips that have a
backup) x the least mu over its candidates; WHOLE_COVER -omega x floor; per link the largest
flow x (pi(to) - pi(from)).

Blocks may also be charged for the room they take in a place (``clearing.checks.packing``): nobody
pays more of that than a set of blocks that fits there.

A branch certificate splits the outcomes into leaves; the bound is the largest over leaves,
each with its own duals and with the choices that its fixings leave. Source: DESIGN 4.1, 4.3;
docs/reference/clearing-rules, "Certificate".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clearing.checks.accounts import accounts_of
from clearing.checks.charges import (
    Charges,
    Duals,
    charges_at_duals,
    charges_at_prices,
    read_duals,
    scale_of,
)
from clearing.checks.commitments import Holds, best_runs, free
from clearing.checks.exact import Bools, Ints, dot, fold, plus, times, total
from clearing.checks.facts import View, cover_shortage
from clearing.checks.families import (
    alternatives_of,
    families_of,
    family_total,
    family_values,
    gains,
    scale_of_time,
)
from clearing.checks.leaves import check_leaves
from clearing.checks.outcome_columns import DualColumns
from clearing.checks.packing import charged, most_charged, read_charges
from clearing.checks.responses import best_of_bids, best_of_offers, best_of_works
from clearing.checks.whole_cover import whole_cover
from clearing.outcome import Fixing
from clearing.units import PPM, divide_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a leaf leaves open.

    Attributes:
        ways: Per alternative of a block: it may be chosen.
        forced: Per block: one of them must be.
        holds: What is decided of offers with a commitment.
    """

    ways: Bools
    forced: Bools
    holds: Holds


def everything(view: View) -> Choices:
    """Nothing is decided."""
    return Choices(
        ways=np.ones(len(alternatives_of(view).block), dtype=np.bool_),
        forced=np.zeros(len(view.book.blocks.chips), dtype=np.bool_),
        holds=free(view),
    )


def choices_of(view: View, fixings: Sequence[Fixing]) -> Choices:
    """What the fixings of a leaf leave open."""
    book, grid, ways = view.book, view.book.grid, alternatives_of(view)
    open_ = everything(view)
    for fixing in fixings:
        order = book.index[fixing.order_id]
        if order < book.offers:
            unit = book.unit_of[order]
            if fixing.interval >= 0:
                (open_.holds.on if fixing.accepted else open_.holds.off)[unit, fixing.interval] = (
                    True
                )
            elif fixing.accepted:
                open_.holds.some[unit] = True
            else:
                open_.holds.off[unit] = True
            continue
        block = order - book.starts[2]
        here = slice(ways.begins[block], ways.begins[block + 1])
        meant = np.ones(ways.begins[block + 1] - ways.begins[block], dtype=np.bool_)
        if fixing.pool_id:
            meant &= ways.pool[here] == grid.pools.get(fixing.pool_id, -2)
        if fixing.backup_pool_id:
            meant &= ways.backup[here] == grid.pools.get(fixing.backup_pool_id, -2)
        if fixing.start >= 0:
            meant &= ways.start[here] == fixing.start
        open_.ways[here] &= meant if fixing.accepted else ~meant
        if fixing.accepted:
            open_.forced[block] = True
    return open_


def best_total(
    view: View,
    charges: Charges,
    chips: Ints,
    choices: Choices,
    besides: Ints | None = None,
    *,
    restarts: bool,
) -> int | None:
    """Sum over families of the largest surplus, price-seconds times the scale.

    Args:
        view: Book and outcome.
        charges: What a chip pays and earns.
        chips: Full quantity of each alternative of a block.
        choices: Which alternatives and runs are open.
        besides: What each alternative pays besides, micro-USD per hour of an interval.
        restarts: Whether restart costs kept count.

    Returns:
        None where nothing is left that the choices allow.
    """
    ways, families = alternatives_of(view), families_of(view)
    full, least = gains(view, charges, ways, chips, besides, restarts=restarts)
    rank = np.where(choices.ways, 1, 0)
    accepted = fold(np.maximum, ways.begins, rank, 0) == 1
    better = np.maximum(full, least)
    if not choices.ways.all():
        kept = np.flatnonzero(choices.ways)
        counts = np.bincount(ways.block[kept], minlength=len(accepted))
        offsets = np.concatenate(([0], np.cumsum(counts)))
        gain = fold(np.maximum, offsets, better[kept], 0)
    else:
        gain = fold(np.maximum, ways.begins, better, 0)
    values, _, possible = family_values(families, gain, accepted, choices.forced)
    runs, held = best_runs(view, charges, choices.holds)
    if not possible or not held:
        return None
    divisible = (
        best_of_offers(view, charges) + best_of_bids(view, charges) + best_of_works(view, charges)
    )
    indivisible = total(family_total(families, values)) + total(runs)
    return divisible * view.book.grid.duration_s + indivisible * scale_of_time(view).unit


def lost_opportunity(view: View) -> int:
    """Best responses minus surpluses, over every order but nominations, at the prices."""
    surplus = total(accounts_of(view).surplus[: view.book.starts[4]])
    chips = alternatives_of(view).chips
    best = best_total(view, charges_at_prices(view), chips, everything(view), restarts=False)
    return (best or 0) - surplus


def bound_of(view: View, columns: DualColumns, choices: Choices) -> int | None:
    """Objective that no feasible outcome with these choices exceeds; None where there is none."""
    duals, room = read_duals(view, columns), read_charges(view, columns)
    charges = charges_at_duals(view, duals)
    chips = alternatives_of(view).room
    besides = None if room is None else charged(view, room)
    best = best_total(view, charges, chips, choices, besides, restarts=True)
    if best is None:
        return None
    step = PPM // scale_of(view)
    hourly = rents(view, duals)
    if room is not None:
        hourly += PPM * most_charged(view, room)
    return divide_up(best * step + hourly * view.book.grid.duration_s, PPM)


def rents(view: View, duals: Duals) -> int:
    """Right-hand sides times their multipliers, price x chips times one million."""
    book, grid, totals = view.book, view.book.grid, view.totals
    watts = view.per_place(grid.chip_power)
    used = view.site_sum(times(totals.base, watts))
    left = np.repeat(grid.power_limit, view.intervals)
    left = np.where(left >= 0, np.maximum(0, left - used), 0)
    found = 1_000 * dot(duals.site_power, left)
    needed = times(totals.base_covered, view.per_place(grid.theta))
    found -= dot(duals.node_cover, plus(needed, -cover_shortage(view)))
    found -= PPM * _base_backups(view, duals)
    found -= PPM * dot(duals.whole_cover, whole_cover(view).floor)
    links = book.links
    if len(links.link_ids):
        at = np.tile(np.arange(view.intervals), len(links.link_ids))
        into = np.repeat(links.to_pool, view.intervals) * view.intervals + at
        out = np.repeat(links.from_pool, view.intervals) * view.intervals + at
        rise = plus(duals.balance[into], -duals.balance[out])
        found += PPM * total(np.maximum(times(rise, links.least), times(rise, links.most)))
    return found


def _base_backups(view: View, duals: Duals) -> int:
    """Chips of base load that have a backup, times the least price among their candidates."""
    book, taken, grid = view.book, view.taken, view.book.grid
    base = book.base
    owner = np.repeat(np.arange(len(base.pool)), np.diff(base.backups))
    if not len(owner):
        return 0
    pair = view.pair_of(grid.site_of[base.pool[owner]], base.backup_pool)
    mu = duals.site_cover.reshape(-1, view.intervals)[pair]
    least = np.minimum.reduceat(mu, base.backups[:-1][np.diff(base.backups) > 0], axis=0)
    at = np.full(len(base.pool), -1, dtype=np.int64)
    at[np.diff(base.backups) > 0] = np.arange(len(least))
    named = np.flatnonzero(taken.base[taken.backup_cell])
    cell = taken.backup_cell[named]
    price = least[at[taken.who[cell] - book.starts[4]], taken.at[cell]]
    return dot(price, taken.backup_chips[named])


def check_bound(view: View) -> Iterator[str]:
    """BOUND: the published bound follows from the published duals, and no objective exceeds it.

    With leaves, each has its own duals and fixings, and the largest of their bounds counts;
    duals and leaves that LEAVES refuses prove nothing. Also the lost opportunity at the
    prices. Source: DESIGN 4.3; this module's first lines.
    """
    certificate = view.published.outcome.certificate
    lost = lost_opportunity(view)
    if certificate.lost_opportunity != lost:
        yield f"lost opportunity is {certificate.lost_opportunity}, computed {lost}"
    if any(True for _ in check_leaves(view)):
        yield "the duals or leaves are not those of a certificate"
        return
    columns = view.published.duals
    if certificate.leaves:
        bounds = [
            bound_of(view, duals, choices_of(view, leaf.fixings))
            for leaf, duals in zip(certificate.leaves, columns[1:], strict=True)
        ]
    else:
        bounds = [bound_of(view, columns[0], everything(view))]
    reached = [bound for bound in bounds if bound is not None]
    if not reached:
        yield "every leaf contradicts the rules, and one of them must hold"
    elif certificate.bound != max(reached):
        yield f"bound is {certificate.bound}, its duals give {max(reached)}"
    objective = certificate.welfare + certificate.restart_kept
    if objective > certificate.bound:
        yield f"the objective {objective} exceeds the bound {certificate.bound}"
