"""Checks that the awards can be delivered: every physical row of the auction, in whole nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from clearing.outcome import Side
from clearing.types import BlockBid, Pool
from clearing.units import PPM, divide_up
from clearing.verify_bound import cover_shortage, group_of
from clearing.verify_view import Product, View, countable, least_chips, offered_chips, whole_nodes


def check_eligible(view: View) -> Iterator[str]:
    """ELIGIBLE: every award is in a pool that its order allows.

    Why: residency, legal control and certification are conditions, not preferences.
    Source: DESIGN 3.
    """
    for award in view.outcome.awards:
        name = award.order_id
        if name in view.bids:
            if award.pool_id not in view.eligible(view.bids[name].where):
                yield f"{name} is served in {award.pool_id}, where it is not eligible"
        else:
            own = (view.offers.get(name) or view.nominations[name]).pool_id
            if award.pool_id != own:
                yield f"{name} is awarded in {award.pool_id}, its pool is {own}"


def check_node_multiples(view: View) -> Iterator[str]:
    """NODE_MULTIPLES: supply and demand are awarded in whole nodes; a nomination as it stands.

    Source: DESIGN 4.1 row 3.
    """
    for award in view.outcome.awards:
        if award.side is Side.BASE:
            continue
        node = view.pools[award.pool_id].chips_per_node
        if any(chips % node for chips in (*award.chips, *award.reserve)):
            yield f"{award.order_id} in {award.pool_id} is not in nodes of {node}"


def check_balance(view: View) -> Iterator[str]:
    """BALANCE: no pool delivers more than it sold; supply left over has sold at zero.

    Base load is self-supplied and on neither side. Source: DESIGN 4.1 row 1.
    """
    for name, totals in view.totals.items():
        for t in range(view.intervals):
            over = totals.sold[t] - totals.delivered[t]
            if over < 0:
                yield f"{name}[{t}] delivers {-over} chips more than it sold"
            elif over > 0 and view.prices[name][t].energy > 0:
                yield f"{name}[{t}] pays for {over} chips that nobody takes"


def check_headroom(view: View) -> Iterator[str]:
    """HEADROOM: sold plus spare is within each offer, and the pool within its capacity.

    Released base load holds no spare: it serves interruptibles only. Source: DESIGN 4.1 row 7.
    """
    for award in view.outcome.awards:
        offer = view.offers.get(award.order_id)
        if offer is None:
            continue
        for t, (chips, spare) in enumerate(
            zip(award.chips, award.reserve, strict=True), award.first
        ):
            if chips + spare > offered_chips(offer.segments, t):
                yield f"{award.order_id}[{t}] sells {chips} and holds {spare}, more than it offered"
            if offer.recallable and spare:
                yield f"{award.order_id}[{t}] holds released base load as spare"
    for name, pool in view.pools.items():
        totals = view.totals[name]
        for t in range(view.intervals):
            if totals.sold[t] + totals.spare[t] + totals.base[t] > pool.capacity:
                yield f"{name}[{t}] uses more than its capacity"


def check_window(view: View) -> Iterator[str]:
    """WINDOW: a step order takes at most its curve, a block runs once inside its window."""
    taken: dict[tuple[str, int], int] = defaultdict(int)
    for award in view.outcome.awards:
        bid = view.bids.get(award.order_id)
        if bid is None:
            continue
        if isinstance(bid, BlockBid):
            if not bid.earliest_start <= award.first <= bid.latest_start:
                yield f"{award.order_id} starts at {award.first}, outside its window"
            if len(award.chips) != bid.duration:
                yield f"{award.order_id} runs {len(award.chips)} intervals, not {bid.duration}"
            continue
        for t, chips in enumerate(award.chips, award.first):
            taken[award.order_id, t] += chips
    for (name, t), total in taken.items():
        bid = view.bids[name]
        if not isinstance(bid, BlockBid) and total > offered_chips(bid.segments, t):
            yield f"{name}[{t}] takes {total} chips, more than it bid for"


def check_block_fill(view: View) -> Iterator[str]:
    """BLOCK_FILL: one pool, the same chips throughout, between its least and its full quantity.

    Why: a gang that is split or starved does not run. Source: DESIGN 4.1 rows 3 and 4.
    """
    for block in view.book.block_bids:
        awards = view.awards_of.get(block.order_id, ())
        if len(awards) > 1:
            yield f"{block.order_id} is split over {len(awards)} pools"
        for award in awards:
            least = least_chips(block, view.pools[award.pool_id].chips_per_node)
            if len(set(award.chips)) != 1:
                yield f"{block.order_id} changes its size"
            if not all(least <= chips <= block.chips for chips in award.chips):
                yield f"{block.order_id} runs outside {least} to {block.chips} chips"


def check_exclusive(view: View) -> Iterator[str]:
    """EXCLUSIVE: at most one order of an exclusive group is accepted (DESIGN 4.1 row 5)."""
    accepted: dict[tuple[str, str], list[str]] = defaultdict(list)
    for block in view.book.block_bids:
        if block.order_id in view.awards_of:
            accepted[group_of(block)].append(block.order_id)
    for names in accepted.values():
        if len(names) > 1:
            yield f"{', '.join(names)} exclude each other"


def check_power(view: View) -> Iterator[str]:
    """POWER: delivered, base and spare chips stay within their site's power.

    Base load is served first; where it alone exceeds the limit nothing else may run.
    Source: DESIGN 4.1 row 6.
    """
    for site_id, site in view.sites.items():
        if site.power_limit is None:
            continue
        for t in range(view.intervals):
            base = traded = 0
            for name in view.pools_of_site.get(site_id, ()):
                power, totals = view.pools[name].chip_power, view.totals[name]
                base += power * totals.base[t]
                traded += power * (totals.delivered[t] + totals.spare[t])
            if traded > max(0, site.power_limit - base):
                yield f"{site_id}[{t}] draws {base + traded} W of {site.power_limit}"


def check_node_cover(view: View) -> Iterator[str]:
    """NODE_COVER: spare and counted reserve are theta of the covered load, up to whole nodes.

    Not less, and not more: chips that stand by for nothing draw power and earn what others
    pay. A shortage is admitted only where base load alone lacks it and its nominations say
    ``COVER_SHORTAGE``. Source: DESIGN 4.1 row 8a.
    """
    for name, pool in view.pools.items():
        totals = view.totals[name]
        for t in range(view.intervals):
            covered = totals.covered[t] + totals.base_covered[t]
            needed = whole_nodes(divide_up(pool.node_spare_ppm * covered, PPM), pool.chips_per_node)
            held = totals.spare[t] + totals.reserve[t]
            if held < needed and not cover_shortage(view, name, t):
                yield f"{name}[{t}] covers {covered} chips with {held} of {needed}"
            if held > needed:
                yield f"{name}[{t}] holds {held}, more than the {needed} it needs"


def check_reclaimable(view: View) -> Iterator[str]:
    """RECLAIMABLE: what counts as reserve is an interruptible award that can answer in time.

    Steps count whole, blocks only above their minimum, nothing with a notice above the
    cover time. Source: DESIGN 4.1 rows 7 and 8a.
    """
    for award in view.outcome.awards:
        if award.side is Side.SUPPLY or not any(award.reserve):
            continue
        if view.products.get(award.order_id) is not Product.RECLAIMABLE:
            yield f"{award.order_id} counts as reserve, which it cannot"
        elif any(r > c for r, c in zip(award.reserve, countable(view, award), strict=True)):
            yield f"{award.order_id} counts for more than can be reclaimed"


def check_recallable(view: View) -> Iterator[str]:
    """RECALLABLE: reserve and released base load stand on interruptibles, and none twice.

    Source: DESIGN 4.1 rows 7 and 8 ("released base load serves interruptibles only").
    """
    for name, totals in view.totals.items():
        for t in range(view.intervals):
            claimed = totals.reserve[t] + totals.released[t]
            if claimed > totals.recallable[t]:
                yield f"{name}[{t}] claims {claimed} of {totals.recallable[t]} interruptible chips"


def check_base(view: View) -> Iterator[str]:
    """BASE: a nomination is served as it stands; only missing site power may cut it.

    It needs no seller, so nothing but the power of its site can leave it short. What is
    missing must also be reported as a shortfall (REASONS). Source: DESIGN 3, "Base load".
    """
    for name, nomination in view.nominations.items():
        served = [0] * view.intervals
        for award in view.awards_of.get(name, ()):
            for t, chips in enumerate(award.chips, award.first):
                served[t] += chips
        pool = view.pools[nomination.pool_id]
        for t, supplied in enumerate(served):
            missing = offered_chips(nomination.segments, t) - supplied
            if missing < 0:
                yield f"{name}[{t}] is served more than it nominated"
            elif missing > 0 and not _out_of_power(view, pool, t):
                yield f"{name}[{t}] lacks {missing} chips although its site has power"


def _out_of_power(view: View, pool: Pool, interval: int) -> bool:
    """Whether base load alone leaves no power for one more node of a pool."""
    limit = view.sites[pool.site_id].power_limit
    if limit is None:
        return False
    base = sum(
        view.pools[name].chip_power * view.totals[name].base[interval]
        for name in view.pools_of_site[pool.site_id]
    )
    return base + pool.chip_power * pool.chips_per_node > limit
