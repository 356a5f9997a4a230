"""Check of ties: steps at one price share pro rata, and the seed decides the odd node."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from clearing.units import split_largest_remainder
from clearing.verify_bound import Charges, charges_at_prices, cheapest
from clearing.verify_view import View, limit_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one order took of a step that is exactly at the price."""

    order_id: str
    wanted: int
    taken: int


Key = tuple[tuple[str, ...], int, str, int]
"""Pools, interval, product, price of the step."""


def check_ties(view: View) -> Iterator[str]:
    """TIES: equal steps at the price share what they get in proportion to their size.

    What: steps of one side with the same price, product, interval and eligible pools, whose
    limit equals the price. In one pool and with steps of whole nodes the shares are exactly
    those of largest remainder in nodes, equal remainders in order of SHA-256(seed || order ||
    0 || pool || 0 || interval). Elsewhere (several pools, steps that end inside a node) each
    share is within one node per pool of its part. Steps that bind nothing else are compared;
    an order that holds spare in the interval is left out, because spare and sale compete.
    Why: two orders that say the same must be treated the same. Source: DESIGN 4.2 "Ties",
    GOLDEN 14.
    """
    charges = charges_at_prices(view)
    groups: dict[Key, list[Share]] = defaultdict(list)
    taken = _taken(view)
    _collect_bids(view, charges, taken, groups)
    _collect_offers(view, charges, taken, groups)
    seed = bytes.fromhex(view.outcome.seed)
    for key, shares in groups.items():
        if len(shares) > 1:
            yield from _compare(view, seed, key, shares)


def sharing_key(seed: bytes, order_id: str, pool_id: str, interval: int) -> bytes:
    """Rank of an order among equal remainders: lowest first."""
    text = "\0".join((order_id, pool_id, str(interval)))
    return hashlib.sha256(seed + text.encode()).digest() + order_id.encode()


def _taken(view: View) -> dict[tuple[str, int], int]:
    taken: dict[tuple[str, int], int] = defaultdict(int)
    for award in view.outcome.awards:
        for t, chips in enumerate(award.chips, award.first):
            taken[award.order_id, t] += chips
    return taken


def _collect_bids(
    view: View,
    charges: Charges,
    taken: dict[tuple[str, int], int],
    groups: dict[Key, list[Share]],
) -> None:
    for bid in view.book.step_bids:
        if bid.conversions:
            continue
        table = cheapest(view, charges, bid)
        pools = view.eligible(bid.where)
        product = view.products[bid.order_id].value
        for segment in bid.segments:
            for t in range(segment.first, segment.stop):
                price = min(table[t].values(), default=-1)
                before = 0
                for step in segment.steps:
                    if limit_in(step.price, (), "") == price:
                        left = max(0, taken.get((bid.order_id, t), 0) - before)
                        share = Share(
                            order_id=bid.order_id, wanted=step.chips, taken=min(left, step.chips)
                        )
                        groups[pools, t, product, step.price].append(share)
                    before += step.chips


def _collect_offers(
    view: View,
    charges: Charges,
    taken: dict[tuple[str, int], int],
    groups: dict[Key, list[Share]],
) -> None:
    for offer in view.book.offers:
        earns = (charges.released if offer.recallable else charges.supply)[offer.pool_id]
        side = "released" if offer.recallable else "supply"
        for segment in offer.segments:
            for t in range(segment.first, segment.stop):
                if view.totals[offer.pool_id].spare[t]:
                    continue
                before = 0
                for step in segment.steps:
                    if step.price == earns[t]:
                        left = max(0, taken.get((offer.order_id, t), 0) - before)
                        share = Share(
                            order_id=offer.order_id, wanted=step.chips, taken=min(left, step.chips)
                        )
                        groups[(offer.pool_id,), t, side, step.price].append(share)
                    before += step.chips


def _compare(view: View, seed: bytes, key: Key, shares: list[Share]) -> Iterator[str]:
    pools, interval, product, price = key
    name = f"{'|'.join(pools[:3])}[{interval}] {product} at {price}"
    wanted, total = sum(s.wanted for s in shares), sum(s.taken for s in shares)
    nodes = [view.pools[pool_id].chips_per_node for pool_id in pools]
    whole = all(s.wanted % nodes[0] == 0 and s.taken % nodes[0] == 0 for s in shares)
    if len(pools) == 1 and whole:
        parts = split_largest_remainder(
            total // nodes[0],
            [s.wanted for s in shares],
            [sharing_key(seed, s.order_id, pools[0], interval) for s in shares],
        )
        for share, part in zip(shares, parts, strict=True):
            if share.taken != part * nodes[0]:
                yield f"{name}: {share.order_id} has {share.taken}, its part is {part * nodes[0]}"
        return
    slack = sum(nodes)
    for share in shares:
        if abs(share.taken * wanted - total * share.wanted) >= 2 * slack * wanted:
            has = f"{share.taken} of {share.wanted}"
            yield f"{name}: {share.order_id} has {has}, all of them {total} of {wanted}"
