"""Make a failing book smaller while it still fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from clearing.types import BlockBid, Book, Commitment, Offer, Segment, Step, StepBid
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, Ppm

LISTS = (
    "links",
    "nominations",
    "work_bids",
    "block_bids",
    "step_bids",
    "offers",
    "pools",
    "sites",
)


def shrink(book: Book, fails: Callable[[Book], bool], *, tries_max: int = 400) -> Book:
    """The smallest book found by greedy simplification; every step of it still fails."""
    tries = 0
    improved = True
    while improved and tries < tries_max:
        improved = False
        for simpler in _simpler(book):
            tries += 1
            if simpler != book and fails(simpler):
                book, improved = simpler, True
                break
            if tries >= tries_max:
                break
    return book


def _simpler(book: Book) -> Iterator[Book]:
    for name in LISTS:
        items = getattr(book, name)
        for n in range(len(items)):
            yield _without(book, name, n)
    yield replace(book, spec=replace(book.spec, operator_fee=MicroUsdPerChipHour(0)))
    yield replace(book, spec=replace(book.spec, tie_credit=MicroUsdPerChipHour(0)))
    for number, site in enumerate(book.sites):
        for change in ({"surcharge": MicroUsdPerChipHour(0)}, {"power_limit": None}):
            yield _changed(book, "sites", number, replace(site, **change))
    for number, pool in enumerate(book.pools):
        if pool.node_spare_ppm:
            yield _changed(book, "pools", number, replace(pool, node_spare_ppm=Ppm(0)))
    for name in ("step_bids", "offers"):
        for number, order in enumerate(getattr(book, name)):
            for curve in _simpler_curve(order):
                yield _changed(book, name, number, curve)
    for number, offer in enumerate(book.offers):
        if offer.commitment is not None:
            for terms in _simpler_commitment(offer.commitment):
                yield _changed(book, "offers", number, replace(offer, commitment=terms))
    for number, block in enumerate(book.block_bids):
        for simpler in _simpler_block(block):
            yield _changed(book, "block_bids", number, simpler)
    for name in ("step_bids", "work_bids", "block_bids"):
        for number, bid in enumerate(getattr(book, name)):
            if bid.conversions:
                yield _changed(book, name, number, replace(bid, conversions=()))
            for pool_id in bid.where.pool_ids:
                left = tuple(x for x in bid.where.pool_ids if x != pool_id)
                if left:
                    where = replace(bid.where, pool_ids=left)
                    yield _changed(book, name, number, replace(bid, where=where))


def _without(book: Book, name: str, number: int) -> Book:
    items = getattr(book, name)
    changes: dict[str, Any] = {name: (*items[:number], *items[number + 1 :])}
    if name == "block_bids":
        gone = items[number].order_id
        changes[name] = tuple(
            replace(b, parent_order_id="") if b.parent_order_id == gone else b
            for b in changes[name]
        )
    return replace(book, **changes)


def _changed(book: Book, name: str, number: int, item: object) -> Book:
    items = getattr(book, name)
    changes: dict[str, Any] = {name: (*items[:number], item, *items[number + 1 :])}
    return replace(book, **changes)


def _simpler_curve(order: Offer | StepBid) -> Iterator[Offer | StepBid]:
    for n, segment in enumerate(order.segments):
        others = (*order.segments[:n], *order.segments[n + 1 :])
        if others:
            yield replace(order, segments=others)
        for k in range(len(segment.steps)):
            left = (*segment.steps[:k], *segment.steps[k + 1 :])
            if left:
                yield _with_segment(order, n, replace(segment, steps=left))
        if segment.stop - segment.first > 1:
            yield _with_segment(order, n, replace(segment, stop=segment.stop - 1))
            yield _with_segment(order, n, replace(segment, first=segment.first + 1))
        for k, step in enumerate(segment.steps):
            for smaller in (step.chips // 2, step.chips - 1):
                if smaller:
                    less: Step = replace(step, chips=Chips(smaller))
                    steps = (*segment.steps[:k], less, *segment.steps[k + 1 :])
                    yield _with_segment(order, n, replace(segment, steps=steps))


def _with_segment(order: Offer | StepBid, n: int, segment: Segment) -> Offer | StepBid:
    return replace(order, segments=(*order.segments[:n], segment, *order.segments[n + 1 :]))


def _simpler_commitment(terms: Commitment) -> Iterator[Commitment | None]:
    yield None
    yield replace(terms, start_up=MicroUsd(0))
    yield replace(terms, no_load=MicroUsd(0))
    if terms.min_run_intervals > 1:
        yield replace(terms, min_run_intervals=terms.min_run_intervals - 1)
    if terms.min_chips:
        yield replace(terms, min_chips=Chips(0))


def _simpler_block(block: BlockBid) -> Iterator[BlockBid]:
    if block.profile:
        yield replace(block, profile=())
    yield replace(block, exclusive_group="")
    yield replace(block, parent_order_id="")
    yield replace(block, initial_pool_id="", restart_cost=MicroUsd(0))
    if block.latest_start > block.earliest_start:
        yield replace(block, latest_start=block.earliest_start)
        yield replace(block, earliest_start=block.latest_start)
    if block.min_fill_ppm != 1_000_000 and not block.profile:
        yield replace(block, min_fill_ppm=Ppm(1_000_000))
    if block.duration > 1 and not block.profile:
        yield replace(block, duration=block.duration - 1)
    for smaller in (block.chips // 2, block.chips - 1):
        if smaller and not block.profile:
            yield replace(block, chips=Chips(smaller))
