"""A book as columns: every field of every order read once, before anything is judged.

Only attributes are read here. Nothing is expanded over intervals and no name has to
resolve (an unknown one becomes -1), so a book of any content can be put into columns;
``clearing.checks.scope`` judges them, and everything else builds on what it let pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.checks.exact import Bools, Index, Ints, column, offsets_of
from clearing.checks.reading import are, attribute, identities, joined, truths
from clearing.types import (
    BlockBid,
    Book,
    Commitment,
    Conversion,
    Cover,
    Eligibility,
    Nomination,
    Offer,
    ServiceClass,
    StepBid,
    WorkBid,
)

NO_LIMIT: Final = -1
"""Power limit of a site that has none."""

Bid = StepBid | BlockBid | WorkBid

WhereKey = tuple[str, ...] | Eligibility
"""Conditions of an order; where it names pools and nothing else, those alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Sites, pools and intervals. A place is pool x intervals + interval.

    Attributes:
        site_of: Per pool; -1 for an unknown site.
        charge: Per pool: surcharge of its site and the operator's fee.
        power_limit: Per site, watts; ``NO_LIMIT`` where it has none.
        classes: Code of each chip class; ``class_of`` per pool.
    """

    intervals: int
    duration_s: int
    site_ids: list[str]
    pool_ids: list[str]
    sites: dict[str, int]
    pools: dict[str, int]
    site_of: Ints
    node: Ints
    capacity: Ints
    chip_power: Ints
    theta: Ints
    classes: dict[str, int]
    class_of: Ints
    surcharge: Ints
    charge: Ints
    power_limit: Ints

    @property
    def places(self) -> int:
        """Number of pools x intervals."""
        return len(self.pool_ids) * self.intervals

    def name(self, place: Index) -> str:
        """Text of a place for people."""
        return f"{self.pool_ids[place // self.intervals]}[{place % self.intervals}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Curves of offers, step bids and nominations.

    Attributes:
        owner: Order of each segment.
        steps: Where the steps of each segment begin, and where the last one ends.
        price, chips: Per step.
    """

    owner: Ints
    first: Ints
    stop: Ints
    steps: Ints
    price: Ints
    chips: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Offers with a commitment.

    Attributes:
        order: The offer.
        min_run: Intervals.
    """

    order: Ints
    start_up: Ints
    no_load: Ints
    min_run: Ints
    min_chips: Ints
    whole: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Block bids, by position among them.

    Attributes:
        parent: Position of the parent, -1 for none, -2 for one that is not in the book.
        group: Code of participant and exclusive group; an order in none has its own.
        profile: Where the entries of each profile begin; ``profile_chips`` the entries.
        initial_pool: -1 for none.
    """

    earliest: Ints
    latest: Ints
    duration: Ints
    chips: Ints
    min_fill: Ints
    limit: Ints
    profile: Ints
    profile_chips: Ints
    group: Ints
    grouped: Bools
    parent: Ints
    initial_pool: Ints
    restart_cost: Ints
    runs_until: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Works:
    """Work bids, by position among them."""

    first: Ints
    stop: Ints
    work: Ints
    max_chips: Ints
    limit: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class BidTerms:
    """What step, block and work bids have in common, in that order.

    Attributes:
        where: Code of the conditions; ``wheres`` the conditions themselves.
        conversion: Code of the conversions; ``conversions`` these themselves, none first.
    """

    interruptible: Bools
    base: Bools
    node_cover: Bools
    site_cover: Bools
    notice_s: Ints
    where: Ints
    wheres: list[WhereKey]
    conversion: Ints
    conversions: list[tuple[Conversion, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTerms:
    """Nominations, by position among them.

    Attributes:
        backups: Where the candidates of each begin; ``backup_pool`` the candidates.
    """

    pool: Ints
    node_cover: Bools
    site_cover: Bools
    backups: Ints
    backup_pool: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Links, with least and most flow per interval where those are given."""

    link_ids: list[str]
    from_pool: Ints
    to_pool: Ints
    capacities: Ints
    least: Ints
    most: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class BookColumns:
    """A canonical book in columns.

    Orders are numbered: offers, step bids, block bids, work bids, nominations.

    Attributes:
        starts: Where each of the five kinds begins, and the number of orders.
        index: Number of an order by its identifier.
        offer_pool: Per offer; -1 for an unknown pool.
        unit_of: Per offer: position in ``units``, or -1.
    """

    book: Book
    grid: Grid
    ids: list[str]
    participants: list[str]
    index: dict[str, int]
    starts: tuple[int, int, int, int, int, int]
    offer_pool: Ints
    released: Bools
    unit_of: Ints
    units: Units
    segments: Segments
    bids: BidTerms
    blocks: Blocks
    works: Works
    base: BaseTerms
    links: Links

    @property
    def offers(self) -> int:
        """Number of offers: they come first."""
        return self.starts[1]

    @property
    def orders(self) -> int:
        """Number of orders."""
        return self.starts[5]


def read_book(book: Book) -> BookColumns:
    """Put a canonical book into columns."""
    grid = _grid(book)
    orders: list[Offer | Bid | Nomination] = [*book.offers, *_bids(book), *book.nominations]
    sizes = (book.offers, book.step_bids, book.block_bids, book.work_bids, book.nominations)
    starts = offsets_of(column([len(kind) for kind in sizes])).tolist()
    ids = [order.order_id for order in orders]
    committed = [
        (at, offer.commitment)
        for at, offer in enumerate(book.offers)
        if offer.commitment is not None
    ]
    unit_of = np.full(len(book.offers), -1, dtype=np.int64)
    unit_of[[at for at, _ in committed]] = np.arange(len(committed))
    pools = grid.pools
    return BookColumns(
        book=book,
        grid=grid,
        ids=ids,
        participants=[order.participant_id for order in orders],
        index=dict(zip(ids, range(len(ids)), strict=True)),
        starts=(starts[0], starts[1], starts[2], starts[3], starts[4], starts[5]),
        offer_pool=column([pools.get(offer.pool_id, -1) for offer in book.offers]),
        released=truths(book.offers, "recallable"),
        unit_of=unit_of,
        units=_units(committed),
        segments=_segments(
            (*book.offers, *book.step_bids, *book.nominations),
            np.concatenate((np.arange(starts[2]), np.arange(starts[4], starts[5]))),
        ),
        bids=_bid_terms(book),
        blocks=_blocks(book, pools),
        works=Works(
            first=attribute(book.work_bids, "first"),
            stop=attribute(book.work_bids, "stop"),
            work=attribute(book.work_bids, "work"),
            max_chips=attribute(book.work_bids, "max_chips"),
            limit=attribute(book.work_bids, "limit_price"),
        ),
        base=_base_terms(book, pools),
        links=_links(book, pools),
    )


def _bids(book: Book) -> list[Bid]:
    return [*book.step_bids, *book.block_bids, *book.work_bids]


def _grid(book: Book) -> Grid:
    spec = book.spec
    site_ids = [site.site_id for site in book.sites]
    pool_ids = [pool.pool_id for pool in book.pools]
    sites = {name: at for at, name in enumerate(site_ids)}
    surcharges = [site.surcharge for site in book.sites]
    site_of = [sites.get(pool.site_id, -1) for pool in book.pools]
    classes: dict[str, int] = {}
    own = [surcharges[site] if site >= 0 else 0 for site in site_of]
    return Grid(
        intervals=len(spec.intervals),
        duration_s=spec.intervals[0].duration_s if spec.intervals else 0,
        site_ids=site_ids,
        pool_ids=pool_ids,
        sites=sites,
        pools={name: at for at, name in enumerate(pool_ids)},
        site_of=column(site_of),
        node=column([pool.chips_per_node for pool in book.pools]),
        capacity=column([pool.capacity for pool in book.pools]),
        chip_power=column([pool.chip_power for pool in book.pools]),
        theta=column([pool.node_spare_ppm for pool in book.pools]),
        classes=classes,
        class_of=column([classes.setdefault(p.chip_class, len(classes)) for p in book.pools]),
        surcharge=column(own),
        charge=column([surcharge + spec.operator_fee for surcharge in own]),
        power_limit=column(
            [
                NO_LIMIT if site.power_limit is None else max(NO_LIMIT, site.power_limit)
                for site in book.sites
            ]
        ),
    )


def _segments(orders: Sequence[Offer | StepBid | Nomination], numbers: Ints) -> Segments:
    segments, counts = joined(orders, "segments")
    steps, step_counts = joined(segments, "steps")
    return Segments(
        owner=np.repeat(numbers, counts),
        first=attribute(segments, "first"),
        stop=attribute(segments, "stop"),
        steps=offsets_of(step_counts),
        price=attribute(steps, "price"),
        chips=attribute(steps, "chips"),
    )


def _units(committed: list[tuple[int, Commitment]]) -> Units:
    terms = [commitment for _, commitment in committed]
    return Units(
        order=column([at for at, _ in committed]),
        start_up=attribute(terms, "start_up"),
        no_load=attribute(terms, "no_load"),
        min_run=attribute(terms, "min_run_intervals"),
        min_chips=attribute(terms, "min_chips"),
        whole=truths(terms, "whole"),
    )


def _bid_terms(book: Book) -> BidTerms:
    bids = _bids(book)
    wheres: dict[WhereKey, int] = {}
    places = [bid.where for bid in bids]
    keys: list[WhereKey] = [
        where
        if where.chip_classes
        or where.regions
        or where.countries
        or where.data_residency
        or where.excluded_legal_controls
        or where.certifications
        or where.fabrics
        else where.pool_ids
        for where in places
    ]
    known: dict[tuple[Conversion, ...], int] = {(): 0}
    conversion = [
        known.setdefault(bid.conversions, len(known)) if bid.conversions else 0 for bid in bids
    ]
    service, cover = identities(bids, "service_class"), identities(bids, "cover")
    return BidTerms(
        interruptible=are(service, ServiceClass.INTERRUPTIBLE),
        base=are(service, ServiceClass.BASE_LOAD),
        node_cover=are(cover, Cover.NODE),
        site_cover=are(cover, Cover.SITE),
        notice_s=attribute(bids, "notice_s"),
        where=column([wheres.setdefault(key, len(wheres)) for key in keys]),
        wheres=list(wheres),
        conversion=column(conversion),
        conversions=list(known),
    )


def _blocks(book: Book, pools: dict[str, int]) -> Blocks:
    blocks = book.block_bids
    place = {block.order_id: at for at, block in enumerate(blocks)}
    groups: dict[tuple[str, str], int] = {}
    group = [
        groups.setdefault((block.participant_id, block.exclusive_group), len(blocks) + len(groups))
        if block.exclusive_group
        else at
        for at, block in enumerate(blocks)
    ]
    profile, profile_counts = joined(blocks, "profile")
    return Blocks(
        earliest=attribute(blocks, "earliest_start"),
        latest=attribute(blocks, "latest_start"),
        duration=attribute(blocks, "duration"),
        chips=attribute(blocks, "chips"),
        min_fill=attribute(blocks, "min_fill_ppm"),
        limit=attribute(blocks, "limit_price"),
        profile=offsets_of(profile_counts),
        profile_chips=column(profile),
        group=column(group),
        grouped=column(group) >= len(blocks),
        parent=column(
            [
                place.get(block.parent_order_id, -2) if block.parent_order_id else -1
                for block in blocks
            ]
        ),
        initial_pool=column(
            [
                pools.get(block.initial_pool_id, -1) if block.initial_pool_id else -1
                for block in blocks
            ]
        ),
        restart_cost=attribute(blocks, "restart_cost"),
        runs_until=attribute(blocks, "runs_until"),
    )


def _base_terms(book: Book, pools: dict[str, int]) -> BaseTerms:
    base = book.nominations
    cover = identities(base, "cover")
    names, counts = joined(base, "backup_pool_ids")
    return BaseTerms(
        pool=column([pools.get(one.pool_id, -1) for one in base]),
        node_cover=are(cover, Cover.NODE),
        site_cover=are(cover, Cover.SITE),
        backups=offsets_of(counts),
        backup_pool=column([pools.get(name, -1) for name in names]),
    )


def _links(book: Book, pools: dict[str, int]) -> Links:
    links = book.links
    capacities, counts = joined(links, "capacities")
    return Links(
        link_ids=[link.link_id for link in links],
        from_pool=column([pools.get(link.from_pool_id, -1) for link in links]),
        to_pool=column([pools.get(link.to_pool_id, -1) for link in links]),
        capacities=counts,
        least=column([pair[0] for pair in capacities]),
        most=column([pair[1] for pair in capacities]),
    )
