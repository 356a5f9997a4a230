"""Guards on the auction, its sites, pools and links, and on every identifier."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from clearing.errors import BookError
from clearing.types import (
    MAX_CHIPS,
    MAX_PRICE_MICRO_USD_PER_CHIP_HOUR,
    AuctionSpec,
    Book,
    Link,
    Pool,
    PricingRule,
    Site,
    Tariff,
)
from clearing.units import PPM
from clearing.validation import limits
from clearing.validation.sheet import Order, Sheet, Supplied

_TIE_CREDIT_MAX: Final = 100
_SEED_COMMITMENT: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_RENT_PREFIX: Final = "rent:"
"""Marks a site's rent among the sources that fund a make-whole payment."""


def check_count(sheet: Sheet) -> None:
    """Refuse books of more intervals, places, sites or orders than any market."""
    book, name = sheet.book, sheet.spec.auction_id
    limited = (
        ("intervals", sheet.intervals, limits.MAX_INTERVALS, "intervals"),
        ("pools", len(book.pools) * sheet.intervals, limits.MAX_PLACES, "pools x intervals"),
        ("links", len(book.links) * sheet.intervals, limits.MAX_PLACES, "links x intervals"),
        ("sites", len(book.sites), limits.MAX_PLACES, "sites"),
        ("orders", len(sheet.orders), limits.MAX_ORDERS, "orders"),
    )
    for field, size, most, what in limited:
        if size > most:
            raise BookError("TOO_MANY", name, field, f"At most {most} {what}; got {size}.")


def check_sizes(sheet: Sheet) -> None:
    """Refuse books that are larger than any market."""
    check_count(sheet)
    book = sheet.book
    for orders in (book.offers, book.step_bids, book.nominations):
        for order in orders:
            if len(order.segments) > limits.MAX_INTERVALS:
                advice = f"At most {limits.MAX_INTERVALS} segments."
                raise BookError("TOO_MANY", order.order_id, "segments", advice)
    for orders, curves in (
        (book.offers, sheet.offers),
        (book.step_bids, sheet.step_bids),
        (book.nominations, sheet.nominations),
    ):
        long = curves.steps > limits.MAX_STEPS_PER_SEGMENT
        if long.any():
            order = orders[int(curves.order[int(long.argmax())])]
            advice = f"At most {limits.MAX_STEPS_PER_SEGMENT} steps per segment."
            raise BookError("TOO_MANY", order.order_id, "segments", advice)


def check_intervals(sheet: Sheet) -> None:
    """Refuse intervals that are not one unbroken row of equal length."""
    spec = sheet.spec
    durations = {interval.duration_s for interval in spec.intervals}
    contiguous = all(left.end == right.start for left, right in pairwise(spec.intervals))
    if len(durations) != 1 or not contiguous:
        advice = "Give contiguous intervals of one positive length."
        raise BookError("BAD_INTERVALS", spec.auction_id, "intervals", advice)
    begin, end = spec.intervals[0].start, spec.intervals[-1].end
    if (
        not 0 < sheet.duration_s <= limits.MAX_INTERVAL_SECONDS
        or not -limits.MAX_TIME <= begin < end <= limits.MAX_TIME
    ):
        advice = "Give contiguous intervals of one positive length, at most 366 days."
        raise BookError("BAD_INTERVALS", spec.auction_id, "intervals", advice)


def check_identifiers(sheet: Sheet) -> None:
    """Refuse identifiers that are empty or hold a zero byte, which separates names in hashes."""
    book, orders = sheet.book, sheet.orders
    _check_names([sheet.spec.auction_id], [sheet.spec.auction_id], "auction_id")
    for field, names in _identifiers(book):
        _check_names(names, names, field)
    names = [order.order_id for order in orders]
    _check_names(names, names, "order_id")
    for name in names:
        if name.startswith(_RENT_PREFIX):
            advice = f"An order's identifier must not begin with {_RENT_PREFIX!r}."
            raise BookError("BAD_IDENTIFIER", name, "order_id", advice)
    _check_names(names, [order.participant_id for order in orders], "participant_id")
    _check_names(
        [order.order_id for order in book.nominations],
        [order.entitlement_id for order in book.nominations],
        "entitlement_id",
    )


def check_unique(sheet: Sheet) -> None:
    """Refuse identifiers that are used twice."""
    names = [order.order_id for order in sheet.orders]
    for field, found in (*_identifiers(sheet.book), ("order_id", names)):
        if len(set(found)) == len(found):
            continue
        name = next(name for name, count in Counter(found).items() if count > 1)
        raise BookError("DUPLICATE_IDENTIFIER", name, field, "Identifiers must be unique.")


def _identifiers(book: Book) -> tuple[tuple[str, list[str]], ...]:
    return (
        ("site_id", [site.site_id for site in book.sites]),
        ("pool_id", [pool.pool_id for pool in book.pools]),
        ("link_id", [link.link_id for link in book.links]),
    )


def _check_names(subjects: Sequence[str], names: Sequence[str], field: str) -> None:
    if "" not in names and "\0" not in "\n".join(names):
        return
    for subject, name in zip(subjects, names, strict=True):
        if not name or "\0" in name:
            raise BookError("BAD_IDENTIFIER", subject, field, "Use text without zero bytes.")


def check_known(sheet: Sheet) -> None:
    """Refuse sites and pools that are not in the book."""
    book, pools = sheet.book, sheet.pools
    sites = {site.site_id for site in book.sites}
    for pool in book.pools:
        if pool.site_id not in sites:
            raise BookError("UNKNOWN_SITE", pool.pool_id, "site_id", "Name a site of the book.")
    for link in book.links:
        _check_pools(link.link_id, "from_pool_id", (link.from_pool_id,), pools)
        _check_pools(link.link_id, "to_pool_id", (link.to_pool_id,), pools)
    supplied: tuple[Supplied, ...] = (*book.offers, *book.nominations)
    for order in supplied:
        if order.pool_id not in pools:
            _check_pools(order.order_id, "pool_id", (order.pool_id,), pools)
    for nomination in book.nominations:
        _check_pools(nomination.order_id, "backup_pool_ids", nomination.backup_pool_ids, pools)
    _check_conditions(sheet)
    for block in book.block_bids:
        if block.initial_pool_id:
            _check_pools(block.order_id, "initial_pool_id", (block.initial_pool_id,), pools)


def _check_conditions(sheet: Sheet) -> None:
    numbers, distinct = sheet.conditions
    unknown = {
        number
        for number, where in enumerate(distinct)
        if not sheet.pools.keys() >= set(where.pool_ids)
    }
    if not unknown:
        return
    bid = next(bid for bid, number in zip(sheet.bids, numbers, strict=True) if number in unknown)
    _check_pools(bid.order_id, "pool_id", bid.where.pool_ids, sheet.pools)


def _check_pools(subject: str, field: str, names: Iterable[str], pools: dict[str, Pool]) -> None:
    for name in names:
        if name not in pools:
            raise BookError("UNKNOWN_POOL", subject, field, f"{name} is no pool of the book.")


def check_parameters(sheet: Sheet) -> None:
    """Refuse numbers of the auction, its tariff, sites and pools that are out of range."""
    spec = sheet.spec
    _check_numbers(spec.auction_id, _spec_numbers(spec))
    _check_numbers(spec.auction_id, _tariff_numbers(spec.tariff, spec.price_cap))
    for site in sheet.book.sites:
        _check_numbers(site.site_id, _site_numbers(site))
    for pool in sheet.book.pools:
        _check_numbers(pool.pool_id, _pool_numbers(pool))


_Numbers = tuple[tuple[str, bool, str], ...]
"""Field, whether its value is in range, and the range."""


def _check_numbers(subject: str, numbers: _Numbers) -> None:
    for field, holds, advice in numbers:
        if not holds:
            raise BookError("BAD_PARAMETER", subject, field, f"{advice}.")


def _spec_numbers(spec: AuctionSpec) -> _Numbers:
    most = MAX_PRICE_MICRO_USD_PER_CHIP_HOUR
    return (
        ("tick", 1 <= spec.tick <= most, f"1 to {most}"),
        ("price_floor", -most <= spec.price_floor <= most, f"{-most} to {most}"),
        ("price_cap", spec.price_floor < spec.price_cap <= most, f"Above the floor, to {most}"),
        ("operator_fee", 0 <= spec.operator_fee <= most, f"0 to {most}"),
        ("tie_credit", 0 <= spec.tie_credit <= _TIE_CREDIT_MAX, f"0 to {_TIE_CREDIT_MAX}"),
        ("node_limit", 1 <= spec.node_limit <= limits.MAX_TIME, "1 or more"),
        (
            "seed_commitment",
            _SEED_COMMITMENT.fullmatch(spec.seed_commitment) is not None,
            "The SHA-256 of the tie seed, 64 lower-case hex digits",
        ),
    )


def _tariff_numbers(tariff: Tariff, price_cap: int) -> _Numbers:
    node, site = tariff.node_cover_notice_s, tariff.site_cover_notice_s
    base, cover = tariff.base_shortfall_penalty, tariff.cover_shortfall_penalty
    power = tariff.power_shortfall_penalty
    notice = limits.MAX_NOTICE_SECONDS
    return (
        ("tariff.node_cover_notice_s", 0 <= node <= notice, "0 or more seconds"),
        ("tariff.site_cover_notice_s", node <= site <= notice, "node_cover_notice_s or more"),
        (
            "tariff.base_shortfall_penalty",
            cover < base <= limits.MAX_PENALTY,
            f"Above the cover penalty, at most {limits.MAX_PENALTY}",
        ),
        ("tariff.cover_shortfall_penalty", power < cover, "Above the power penalty"),
        ("tariff.power_shortfall_penalty", price_cap < power, "Above the price cap"),
        ("tariff.stop_loss_ppm", 0 <= tariff.stop_loss_ppm <= limits.MAX_TIME, "0 or more"),
        (
            "tariff.withhold_gap_ppm",
            0 <= tariff.withhold_gap_ppm <= PPM,
            f"0 to {PPM} parts per million",
        ),
    )


def _site_numbers(site: Site) -> _Numbers:
    most = MAX_PRICE_MICRO_USD_PER_CHIP_HOUR
    limit = site.power_limit
    return (
        ("surcharge", 0 <= site.surcharge <= most, f"0 to {most}"),
        (
            "power_limit",
            limit is None or 0 <= limit <= limits.MAX_WATTS,
            f"0 to {limits.MAX_WATTS} watts, or none",
        ),
    )


def _pool_numbers(pool: Pool) -> _Numbers:
    return (
        ("chips_per_node", 1 <= pool.chips_per_node <= MAX_CHIPS, f"1 to {MAX_CHIPS} chips"),
        ("capacity", 0 <= pool.capacity <= MAX_CHIPS, f"0 to {MAX_CHIPS} chips"),
        ("chip_power", 0 <= pool.chip_power <= limits.MAX_CHIP_WATTS, "0 to a megawatt"),
        ("node_spare_ppm", 0 <= pool.node_spare_ppm <= PPM, f"0 to {PPM} parts per million"),
    )


def check_pricing_rule(sheet: Sheet) -> None:
    """Refuse what STRICT_UNIFORM cannot price: it would need payments."""
    if sheet.spec.pricing_rule is not PricingRule.STRICT_UNIFORM:
        return
    for offer in sheet.book.offers:
        if offer.commitment is not None and not offer.commitment.whole:
            raise _not_strict(offer, "commitment", "Only whole supply blocks")
    for block in sheet.book.block_bids:
        if block.restart_cost:
            raise _not_strict(block, "restart_cost", "No restart costs")


def _not_strict(order: Order, field: str, what: str) -> BookError:
    advice = f"{what} under the pricing rule STRICT_UNIFORM; MAKE_WHOLE takes both."
    return BookError("BAD_PRICING_RULE", order.order_id, field, advice)


def check_links(sheet: Sheet) -> None:
    """Refuse links between unlike pools, and capacities that cannot be."""
    for link in sheet.book.links:
        source, target = sheet.pools[link.from_pool_id], sheet.pools[link.to_pool_id]
        if source is target:
            raise _bad_link(link, "to_pool_id", "A link joins two different pools.")
        if source.chip_class != target.chip_class:
            raise _bad_link(link, "to_pool_id", "Both pools must have one chip class.")
        if source.chips_per_node != target.chips_per_node:
            raise _bad_link(link, "to_pool_id", "Both pools must have one node size.")
        if len(link.capacities) != sheet.intervals:
            advice = f"Give {sheet.intervals} pairs, one per interval."
            raise _bad_link(link, "capacities", advice)
        for least, most in link.capacities:
            if not -MAX_CHIPS <= least <= most <= MAX_CHIPS:
                raise _bad_link(link, "capacities", "The least must not be above the most.")
            if least % source.chips_per_node or most % source.chips_per_node:
                advice = f"Give multiples of {source.chips_per_node} chips, the node size."
                raise _bad_link(link, "capacities", advice)


def _bad_link(link: Link, field: str, advice: str) -> BookError:
    return BookError("BAD_LINK", link.link_id, field, advice)
