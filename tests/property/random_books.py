"""Random tiny books of every order kind: dimes as prices, few orders, much scarcity.

A plain seed makes a book, so that a failure is named by one number. ``ALL`` mixes everything; a
caller switches kinds on and off by giving another set. With ``Kind.NODES`` a node holds one to four
chips, otherwise one.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from enum import Enum
from math import lcm
from typing import Any, Final

from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Commitment,
    Conversion,
    Cover,
    Eligibility,
    Interval,
    Link,
    Nomination,
    Offer,
    Pool,
    PricingRule,
    Segment,
    ServiceClass,
    Site,
    Step,
    StepBid,
    WorkBid,
)
from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
    Watts,
)

SEED: Final = b"a tie seed of the property tests"
DIME: Final = 100_000
TOP_DIMES: Final = 80


class Kind(Enum):
    """What a book may hold beside plain offers and firm step bids without cover."""

    GANG = "GANG"
    MIN_FILL = "MIN_FILL"
    SHIFTABLE = "SHIFTABLE"
    PROFILE = "PROFILE"
    GROUP = "GROUP"
    LINKED = "LINKED"
    RESTART = "RESTART"
    WORK = "WORK"
    COMMITMENT = "COMMITMENT"
    SUPPLY_BLOCK = "SUPPLY_BLOCK"
    INTERRUPTIBLE = "INTERRUPTIBLE"
    RELEASED = "RELEASED"
    BASE = "BASE"
    NODE_COVER = "NODE_COVER"
    SITE_COVER = "SITE_COVER"
    LINK = "LINK"
    POWER = "POWER"
    CONVERSION = "CONVERSION"
    NEGATIVE = "NEGATIVE"
    NODES = "NODES"
    STRICT = "STRICT"
    MANY = "MANY"
    """Twice as many orders."""


ALL: Final = frozenset(Kind) - {Kind.STRICT, Kind.MANY}
NETWORK: Final = ALL - {Kind.NODE_COVER, Kind.SITE_COVER, Kind.POWER, Kind.NODES}
"""Books whose quantities are a network with integer data once the choices are made: whole at every
vertex."""
STRICT: Final = frozenset(Kind) - {
    Kind.MANY,
    Kind.COMMITMENT,
    Kind.RESTART,
    Kind.BASE,
    Kind.NEGATIVE,
}
STRICT_NETWORK: Final = (NETWORK & STRICT) | {Kind.STRICT}


def random_book(seed: int, kinds: frozenset[Kind] = ALL) -> Book:
    """The book of a seed."""
    return _Maker(random.Random(seed), kinds).book()


@dataclass
class _Maker:
    """Draws one book; every part of it is drawn from what was drawn before."""

    draw: random.Random
    kinds: frozenset[Kind]

    def book(self) -> Book:
        draw = self.draw
        self.intervals = draw.choice((1, 1, 2, 2, 3, 4))
        self.duration_s = draw.choice((300, 3_600, 3_600))
        self.floor = -draw.randint(1, 20) if self._has(Kind.NEGATIVE, 4) else 0
        self.sites = tuple(self._site(n) for n in range(draw.choice((1, 2, 2, 3))))
        self.pools = tuple(self._pool(n) for n in range(draw.choice((1, 2, 3, 3, 4))))
        times = 2 if Kind.MANY in self.kinds else 1
        offers = tuple(self._offer(n) for n in range(draw.randint(1, 5) * times))
        bids = tuple(self._step_bid(n) for n in range(draw.randint(0, 4) * times))
        blocks = self._blocks(times)
        work = tuple(self._work(n) for n in range(int(self._has(Kind.WORK, 2))))
        bases = tuple(self._base(n) for n in range(2) if self._has(Kind.BASE, 4))
        links = tuple(x for n in range(2) if self._has(Kind.LINK, 2) for x in self._link(n))
        book = Book(
            spec=self._spec(),
            sites=self.sites,
            pools=self.pools,
            offers=offers,
            step_bids=bids,
            block_bids=blocks,
            work_bids=work,
            nominations=bases,
            links=links,
        )
        return _with_power_for_base(_with_capacity(book))

    def _has(self, kind: Kind, one_in: int) -> bool:
        return kind in self.kinds and self.draw.randrange(one_in) == 0

    def _price(self, low: int = 0, high: int = TOP_DIMES) -> MicroUsdPerChipHour:
        return MicroUsdPerChipHour(self.draw.randint(max(low, self.floor), high) * DIME)

    # ------------------------------------------------------------------------------------ the grid

    def _spec(self) -> AuctionSpec:
        strict = Kind.STRICT in self.kinds
        return AuctionSpec(
            auction_id="tiny",
            intervals=tuple(
                Interval(
                    start=UnixSeconds(t * self.duration_s),
                    end=UnixSeconds((t + 1) * self.duration_s),
                )
                for t in range(self.intervals)
            ),
            price_floor=MicroUsdPerChipHour(self.floor * DIME),
            operator_fee=self._price(0, 1),
            pricing_rule=PricingRule.STRICT_UNIFORM if strict else PricingRule.MAKE_WHOLE,
            tie_credit=MicroUsdPerChipHour(self.draw.choice((0, 100))),
            seed_commitment=hashlib.sha256(SEED).hexdigest(),
        )

    def _site(self, number: int) -> Site:
        limited = self._has(Kind.POWER, 3)
        return Site(
            site_id=f"z{number}",
            surcharge=self._price(0, 8),
            power_limit=Watts(500 * self.draw.randint(6, 40)) if limited else None,
            region=self.draw.choice(("east", "west")),
        )

    def _pool(self, number: int) -> Pool:
        draw = self.draw
        cover = Kind.NODE_COVER in self.kinds
        chip_class = draw.choice(("c", "c", "d")) if Kind.CONVERSION in self.kinds else "c"
        return Pool(
            pool_id=f"p{number}",
            # The first pools are spread over the sites, so that backups exist.
            site_id=self.sites[number % len(self.sites)].site_id,
            chip_class=chip_class,
            chips_per_node=Chips(draw.choice((1, 1, 2, 4)) if Kind.NODES in self.kinds else 1),
            capacity=Chips(0),
            chip_power=Watts(draw.choice((500, 1_000)) if Kind.POWER in self.kinds else 0),
            node_spare_ppm=Ppm(draw.choice((0, 100_000, 250_000, 500_000)) if cover else 0),
        )

    def _node(self, where: Eligibility) -> int:
        return lcm(*(pool.chips_per_node for pool in self._eligible(where)))

    def _eligible(self, where: Eligibility) -> list[Pool]:
        return [
            pool
            for pool in self.pools
            if (not where.pool_ids or pool.pool_id in where.pool_ids)
            and (not where.chip_classes or pool.chip_class in where.chip_classes)
        ]

    # ------------------------------------------------------------------------------------- supply

    def _segments(self, node: int, *, rising: bool, count_max: int = 2) -> tuple[Segment, ...]:
        """One or two pieces of the auction, sometimes with a gap between them."""
        draw = self.draw
        bounds = sorted(draw.sample(range(self.intervals + 1), 2))
        spans = [(bounds[0], bounds[1])]
        if count_max > 1 and bounds[1] < self.intervals and draw.randrange(2):
            spans.append((draw.randint(bounds[1], self.intervals - 1), self.intervals))
        if draw.randrange(2):
            spans = [(0, self.intervals)]
        return tuple(
            Segment(first=first, stop=stop, steps=self._steps(node, rising=rising))
            for first, stop in spans
        )

    def _steps(self, node: int, *, rising: bool) -> tuple[Step, ...]:
        draw = self.draw
        # Few different prices, so that ties are common.
        prices = draw.sample(
            range(self.floor, TOP_DIMES + 1, draw.choice((1, 5, 10))), draw.randint(1, 2)
        )
        return tuple(
            Step(price=MicroUsdPerChipHour(dimes * DIME), chips=Chips(node * draw.randint(1, 8)))
            for dimes in sorted(prices, reverse=not rising)
        )

    def _offer(self, number: int) -> Offer:
        # Most pools have supply of their own.
        spread = self.draw.randrange(3)
        pool = self.pools[number % len(self.pools)] if spread else self.draw.choice(self.pools)
        offer = Offer(
            order_id=f"o{number}",
            participant_id=f"seller{number % 3}",
            pool_id=pool.pool_id,
            segments=self._segments(pool.chips_per_node, rising=True),
        )
        if self._has(Kind.RELEASED, 5):
            return replace(offer, recallable=True)
        if self._has(Kind.SUPPLY_BLOCK, 5):
            return replace(offer, commitment=self._commitment(offer, pool, whole=True))
        if self._has(Kind.COMMITMENT, 3):
            return replace(offer, commitment=self._commitment(offer, pool, whole=False))
        return offer

    def _commitment(self, offer: Offer, pool: Pool, *, whole: bool) -> Commitment:
        draw = self.draw
        costs: dict[str, Any] = {
            "start_up": MicroUsd(draw.choice((0, draw.randint(0, 200))) * DIME),
            "no_load": MicroUsd(draw.choice((0, draw.randint(0, 40))) * DIME),
        }
        if whole:
            return Commitment(**costs, whole=True)
        least = min(sum(step.chips for step in segment.steps) for segment in offer.segments)
        longest = max(stop - first for first, stop in _spans(offer.segments))
        return Commitment(
            **costs,
            min_run_intervals=draw.randint(1, longest),
            min_chips=Chips(draw.randint(0, least // pool.chips_per_node) * pool.chips_per_node),
        )

    # ------------------------------------------------------------------------------------- demand

    def _where(self, pools_max: int) -> Eligibility:
        draw = self.draw
        if draw.randrange(6) == 0 and pools_max > 1:
            return Eligibility(chip_classes=(draw.choice(self.pools).chip_class,))
        count = draw.randint(1, min(pools_max, len(self.pools)))
        chosen = draw.sample([pool.pool_id for pool in self.pools], count)
        return Eligibility(pool_ids=tuple(sorted(chosen)))

    def _terms(
        self, where: Eligibility, *, site: bool = True
    ) -> tuple[Eligibility, dict[str, Any]]:
        """Class, cover and notice; SITE cover may widen the eligible pools to a pair."""
        draw = self.draw
        classes: list[dict[str, Any]] = [{"service_class": ServiceClass.FIRM, "cover": Cover.NONE}]
        if Kind.NODE_COVER in self.kinds:
            classes += [{"service_class": ServiceClass.FIRM, "cover": Cover.NODE}] * 2
        if Kind.SITE_COVER in self.kinds and site:
            classes += [{"service_class": ServiceClass.FIRM, "cover": Cover.SITE}] * 2
        if Kind.INTERRUPTIBLE in self.kinds:
            notice = Seconds(draw.choice((0, 300, 900, 1_800, 7_200)))
            interruptible = {"service_class": ServiceClass.INTERRUPTIBLE, "cover": Cover.NONE}
            classes += [{**interruptible, "notice_s": notice}] * 2
        terms = dict(draw.choice(classes))
        if terms["cover"] is Cover.SITE:
            pairs = self._pairs()
            if not pairs:
                return where, {**terms, "cover": Cover.NONE}
            named = set(draw.choice(pairs))
            if draw.randrange(2):
                named |= {draw.choice(self.pools).pool_id}
            where = Eligibility(pool_ids=tuple(sorted(named)))
        if Kind.CONVERSION in self.kinds and draw.randrange(3) == 0:
            factor = Ppm(draw.choice((500_000, 1_500_000, 2_000_000)))
            terms["conversions"] = (Conversion(chip_class="d", factor_ppm=factor),)
        return where, terms

    def _pairs(self) -> list[tuple[str, str]]:
        return [
            (a.pool_id, b.pool_id)
            for a in self.pools
            for b in self.pools
            if a.site_id != b.site_id
            and (a.chip_class, a.chips_per_node) == (b.chip_class, b.chips_per_node)
        ]

    def _step_bid(self, number: int) -> StepBid:
        where, terms = self._terms(self._where(3))
        return StepBid(
            order_id=f"s{number}",
            participant_id=f"buyer{number}",
            where=where,
            segments=self._segments(self._node(where), rising=False),
            **terms,
        )

    def _work(self, number: int) -> WorkBid:
        draw = self.draw
        where, terms = self._terms(self._where(3))
        node = self._node(where)
        first = draw.randrange(self.intervals)
        stop = draw.randint(first + 1, self.intervals)
        return WorkBid(
            order_id=f"w{number}",
            participant_id=f"queue{number}",
            where=where,
            first=first,
            stop=stop,
            work=ChipSeconds(node * draw.randint(1, 8) * (stop - first) * self.duration_s),
            max_chips=Chips(node * draw.randint(1, 6)),
            limit_price=self._price(),
            **terms,
        )

    def _blocks(self, times: int) -> tuple[BlockBid, ...]:
        if Kind.GANG not in self.kinds:
            return ()
        draw = self.draw
        blocks = [self._block(n) for n in range(draw.randint(0, 4) * times)]
        if len(blocks) >= 2 and self._has(Kind.LINKED, 2):
            for child in range(1, len(blocks)):
                if draw.randrange(2):
                    parent = blocks[draw.randrange(child)]
                    terms: dict[str, Any] = {"parent_order_id": parent.order_id}
                    blocks[child] = replace(blocks[child], exclusive_group="", **terms)
            # One lab holds the tree.
            blocks = [replace(b, participant_id="lab") for b in blocks]
        if len(blocks) >= 2 and self._has(Kind.GROUP, 2):
            pick = draw.sample(range(len(blocks)), 2)
            parents = {blocks[n].parent_order_id for n in pick}
            if len(parents) == 1:
                for n in pick:
                    blocks[n] = replace(blocks[n], participant_id="lab", exclusive_group="either")
        return tuple(blocks)

    def _block(self, number: int) -> BlockBid:
        draw = self.draw
        where, terms = self._terms(self._where(2))
        node = self._node(where)
        duration = draw.randint(1, self.intervals)
        earliest = draw.randint(0, self.intervals - duration)
        latest = earliest
        if self._has(Kind.SHIFTABLE, 2):
            latest = min(self.intervals - duration, earliest + draw.randint(0, 2))
        block = BlockBid(
            order_id=f"b{number}",
            participant_id=draw.choice(("lab", f"gang{number}")),
            where=where,
            earliest_start=earliest,
            latest_start=latest,
            duration=duration,
            chips=Chips(node * draw.randint(1, 8)),
            limit_price=self._price(1),
            **terms,
        )
        if block.cover is not Cover.SITE and duration > 1 and self._has(Kind.PROFILE, 3):
            return replace(block, profile=self._profile(block, node))
        if self._has(Kind.MIN_FILL, 2):
            block = replace(block, min_fill_ppm=Ppm(draw.choice((1, 250_000, 500_000, 700_000))))
        if earliest == 0 and self._has(Kind.RESTART, 2):
            pool = draw.choice(self._eligible(where))
            cost = MicroUsd(draw.randint(0, 60) * DIME)
            block = replace(block, initial_pool_id=pool.pool_id, restart_cost=cost)
        return block

    def _profile(self, block: BlockBid, node: int) -> tuple[Chips, ...]:
        draw = self.draw
        most = block.chips // node
        shape = [draw.randint(1, most)] + [draw.randint(0, most) for _ in range(block.duration - 2)]
        shape += [draw.randint(1, most)]
        shape[draw.randrange(len(shape))] = most
        return tuple(Chips(nodes * node) for nodes in shape)

    # -------------------------------------------------------------------------- base load and links

    def _base(self, number: int) -> Nomination:
        draw = self.draw
        pool = draw.choice(self.pools)
        covers = [Cover.NONE]
        if Kind.NODE_COVER in self.kinds:
            covers.append(Cover.NODE)
        backups = sorted(b for a, b in self._pairs() if a == pool.pool_id)
        if Kind.SITE_COVER in self.kinds and backups:
            covers += [Cover.SITE] * 2
        cover = draw.choice(covers)
        named: tuple[str, ...] = ()
        if cover is Cover.SITE:
            named = tuple(sorted(draw.sample(backups, draw.randint(1, len(backups)))))
        first = draw.randrange(self.intervals)
        step = Step(price=self._price(0), chips=Chips(pool.chips_per_node * draw.randint(1, 4)))
        return Nomination(
            order_id=f"n{number}",
            entitlement_id=f"e{number}",
            participant_id=f"holder{number}",
            pool_id=pool.pool_id,
            segments=(
                Segment(first=first, stop=draw.randint(first + 1, self.intervals), steps=(step,)),
            ),
            cover=cover,
            backup_pool_ids=named,
        )

    def _link(self, number: int) -> tuple[Link, ...]:
        draw = self.draw
        pairs = [
            (a, b)
            for a in self.pools
            for b in self.pools
            if a is not b and (a.chip_class, a.chips_per_node) == (b.chip_class, b.chips_per_node)
        ]
        if not pairs:
            return ()
        start, end = draw.choice(pairs)
        node = start.chips_per_node
        # A flow that is forced may have no supply: some books have no outcome at all.
        least = draw.choice(((0,), (0, -2), (-1, -3), (0,), (0, 1)))
        return (
            Link(
                link_id=f"l{number}",
                from_pool_id=start.pool_id,
                to_pool_id=end.pool_id,
                capacities=tuple(
                    (
                        Chips(node * draw.choice(least)),
                        Chips(node * draw.randint(1, 6)),
                    )
                    for _ in range(self.intervals)
                ),
                owner_id="grid",
            ),
        )


def _spans(segments: tuple[Segment, ...]) -> list[tuple[int, int]]:
    """Segments that touch are one stretch."""
    spans: list[tuple[int, int]] = []
    for segment in segments:
        if spans and spans[-1][1] == segment.first:
            spans[-1] = (spans[-1][0], segment.stop)
        else:
            spans.append((segment.first, segment.stop))
    return spans


def _with_capacity(book: Book) -> Book:
    """Pools as large as what is offered and set aside in them together."""
    named: dict[str, int] = {}
    supplied: tuple[Offer | Nomination, ...] = (*book.offers, *book.nominations)
    for order in supplied:
        most = max(sum(step.chips for step in segment.steps) for segment in order.segments)
        named[order.pool_id] = named.get(order.pool_id, 0) + most
    return replace(
        book,
        pools=tuple(
            replace(
                pool,
                capacity=Chips(
                    -(-named.get(pool.pool_id, 0) // pool.chips_per_node) * pool.chips_per_node
                ),
            )
            for pool in book.pools
        ),
    )


def _with_power_for_base(book: Book) -> Book:
    """Limits that carry at least the base load: how it is cut short is no matter of choice."""
    sites = []
    pools = {pool.pool_id: pool for pool in book.pools}
    for site in book.sites:
        if site.power_limit is None:
            sites.append(site)
            continue
        need = sum(
            pools[base.pool_id].chip_power * max(s.steps[0].chips for s in base.segments)
            for base in book.nominations
            if pools[base.pool_id].site_id == site.site_id
        )
        sites.append(replace(site, power_limit=Watts(max(site.power_limit, need))))
    return replace(book, sites=tuple(sites))
