"""Parts of a book that share nothing: each may be cleared by itself, on another machine.

Two pools are in one region when an order may use both, a link or a backup joins them, or they draw
on the same limited site power; orders of one family keep their pools together. A region is a
book of its own with the same specification, so clearing it needs nothing of the rest, and the
outcomes of all regions together are an outcome of the whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from clearing.book import canonical
from clearing.eligibility import PoolIndex
from clearing.types import BlockBid, Book, Eligibility, StepBid, WorkBid


class _Joined:
    """Disjoint sets of pool identifiers."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def root(self, name: str) -> str:
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def join(self, names: Iterable[str]) -> None:
        """Put all of them into one set, named by its smallest member."""
        roots = sorted({self.root(name) for name in names})
        for other in roots[1:]:
            self._parent[other] = roots[0]


def regions(book: Book) -> tuple[Book, ...]:
    """Split a validated book into independent books, in order of their first pool.

    Orders that no pool may serve go to the first region. Auction identifiers get the suffix
    ``/region-<number>`` when there are several.

    Returns:
        At least one book; the same for every order of the tuples of ``book``.
    """
    book = canonical(book)
    sites = {site.site_id: site for site in book.sites}
    index = PoolIndex(sites, book.pools)
    known: dict[Eligibility, tuple[str, ...]] = {}

    def eligible(bid: StepBid | BlockBid | WorkBid) -> tuple[str, ...]:
        if bid.where not in known:
            known[bid.where] = index.eligible(bid.where)
        return known[bid.where]

    joined = _Joined(pool.pool_id for pool in book.pools)
    for site in book.sites:
        if site.power_limit is not None:
            joined.join(pool.pool_id for pool in book.pools if pool.site_id == site.site_id)
    for link in book.links:
        joined.join((link.from_pool_id, link.to_pool_id))
    for nomination in book.nominations:
        joined.join((nomination.pool_id, *nomination.backup_pool_ids))
    families: dict[tuple[str, str], list[str]] = defaultdict(list)
    bids: tuple[StepBid | BlockBid | WorkBid, ...]
    bids = (*book.step_bids, *book.block_bids, *book.work_bids)
    for bid in bids:
        joined.join(eligible(bid))
    for block in book.block_bids:
        if block.exclusive_group:
            families[block.participant_id, block.exclusive_group] += eligible(block)
        if block.parent_order_id:
            families["", block.parent_order_id] += eligible(block)
        families["", block.order_id] += eligible(block)
    for names in families.values():
        joined.join(names)
    roots = sorted({joined.root(pool.pool_id) for pool in book.pools})
    if len(roots) <= 1:
        return (book,)
    first = roots[0]
    home = {pool.pool_id: joined.root(pool.pool_id) for pool in book.pools}
    return tuple(
        _part(
            book,
            number,
            {name for name, at in home.items() if at == root},
            known,
            unplaced=root == first,
        )
        for number, root in enumerate(roots)
    )


def _part(
    book: Book,
    number: int,
    pools: set[str],
    known: dict[Eligibility, tuple[str, ...]],
    *,
    unplaced: bool,
) -> Book:
    def here(where: Eligibility) -> bool:
        names = known[where]
        return names[0] in pools if names else unplaced

    local = tuple(pool for pool in book.pools if pool.pool_id in pools)
    used = {pool.site_id for pool in local}
    return Book(
        spec=replace(book.spec, auction_id=f"{book.spec.auction_id}/region-{number:04d}"),
        sites=tuple(site for site in book.sites if site.site_id in used),
        pools=local,
        offers=tuple(offer for offer in book.offers if offer.pool_id in pools),
        step_bids=tuple(bid for bid in book.step_bids if here(bid.where)),
        block_bids=tuple(bid for bid in book.block_bids if here(bid.where)),
        work_bids=tuple(bid for bid in book.work_bids if here(bid.where)),
        nominations=tuple(item for item in book.nominations if item.pool_id in pools),
        links=tuple(link for link in book.links if link.from_pool_id in pools),
    )
