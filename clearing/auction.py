"""Clear one auction: book and seed in, verified outcome out.

Nothing here reads a clock, an environment or chance: the same book, in whatever order its
tuples are, gives the same outcome on every host.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from clearing import codec
from clearing.accounts import cash, open_accounts, power_rents
from clearing.book import canonical
from clearing.certificate import certify
from clearing.errors import BookError, InvariantError, RefusedResultError, SolverError
from clearing.explain import explain
from clearing.market import read_market
from clearing.model import Model, build
from clearing.nodes import Quantities, award_nodes
from clearing.outcome import Award, Outcome, PoolPrice, RunStatus, Side
from clearing.pricing.make_whole import make_whole
from clearing.pricing.parts import publish
from clearing.pricing.price_choice import choose_prices
from clearing.pricing.rounding import round_prices
from clearing.search import Approach, Choice, choose, settle
from clearing.solver import Ended
from clearing.support import supported
from clearing.ties import seed_commitment
from clearing.types import BlockBid, Book, Cover, ServiceClass, StepBid
from clearing.units import Chips
from clearing.validate import validate
from clearing.verify import verify

ENGINE: Final = "clearing 0.1.0, ortools 9.15"
"""Name and version of the engine and its solver library, published with every outcome."""


def clear(book: Book, seed: bytes) -> Outcome:
    """Clear an auction (DESIGN section 4).

    Where whole nodes do not fit the blocks of the usual choice, so that the verifier refuses
    the result, narrower choices are tried, each once (``clearing.search.Approach``).

    Args:
        book: Frozen order set; the order of its tuples does not matter.
        seed: Tie seed; its SHA-256 was published as ``spec.seed_commitment``.

    Returns:
        An outcome that ``clearing.verify`` accepts.

    Raises:
        BookError: the book is not one that the engine clears, or the seed is not the one
            that was committed to (``SEED_MISMATCH``).
        SolverError: no usable solution within the node limit.
        RefusedResultError: the verifier refused every result; nothing is published, and the
            findings are those on the first.
    """
    book = canonical(book)
    validate(book)
    if seed_commitment(seed) != book.spec.seed_commitment:
        advice = "Reveal the seed whose SHA-256 was published before gate closure."
        raise BookError("SEED_MISMATCH", book.spec.auction_id, "seed_commitment", advice)
    model = build(read_market(book, seed), book.spec, seed)
    failure: SolverError | RefusedResultError | None = None
    for approach in Approach:
        try:
            choice = choose(model, book.spec.node_limit, approach)
            outcome = _outcome(book, seed, model, choice)
        except SolverError as error:
            failure = failure or error
            continue
        report = verify(book, outcome)
        if report.ok:
            return outcome
        checks = tuple((check.name, check.detail) for check in report.failures)
        failure = failure or RefusedResultError(book.spec.auction_id, checks)
    raise failure or InvariantError("no approach was tried")


def _outcome(book: Book, seed: bytes, model: Model, choice: Choice) -> Outcome:
    settled = settle(model, choice)
    duals = choose_prices(model, choice, settled, book.spec, seed)
    parts = round_prices(model, settled, duals)
    quantities = award_nodes(model, choice, settled, supported(model, parts), seed)
    surcharge = {site.site_id: site.surcharge for site in book.sites}
    prices = publish(
        model,
        parts,
        book.spec,
        tuple(surcharge[pool.site_id] for pool in model.market.grid.pools),
        quantities,
    )
    return _complete(book, seed, model, choice, quantities, prices)


def _complete(
    book: Book,
    seed: bytes,
    model: Model,
    choice: Choice,
    quantities: Quantities,
    prices: tuple[PoolPrice, ...],
) -> Outcome:
    """Add what follows from awards and prices: make-whole, cash, reasons, certificate."""
    awards = _awards(book, model, quantities)
    accounts = open_accounts(book, model.market, quantities, prices)
    served = {name: sum(chips) for name, chips in model.market.base_served.items()}
    accepted = sorted({award.order_id for award in awards} - served.keys())
    payments = make_whole(
        {name: accounts.surplus[name] for name in accepted},
        power_rents(accounts),
        served,
        cash(accounts, ()).residual,
    )
    return Outcome(
        auction_id=book.spec.auction_id,
        book_sha256=codec.digest(book),
        seed=seed.hex(),
        engine=ENGINE,
        status=RunStatus.OPTIMAL if choice.ended is Ended.OPTIMAL else RunStatus.LIMITED,
        prices=prices,
        awards=awards,
        orders=explain(accounts, payments),
        make_whole=payments,
        certificate=certify(model, accounts, choice.relaxed.row_duals),
        cash=cash(accounts, payments),
    )


def _awards(book: Book, model: Model, quantities: Quantities) -> tuple[Award, ...]:
    pools = model.market.grid.pools
    awards: list[Award] = []
    for offer in book.offers:
        pool = model.market.grid.position[offer.pool_id]
        service = ServiceClass.INTERRUPTIBLE if offer.recallable else ServiceClass.FIRM
        key = (offer.order_id, pool)
        series = _series(quantities.sold.get(key, {}), quantities.spare.get(key, {}))
        if series:
            awards.append(
                Award(
                    order_id=offer.order_id,
                    participant_id=offer.participant_id,
                    side=Side.SUPPLY,
                    pool_id=offer.pool_id,
                    service_class=service,
                    cover=Cover.NONE,
                    first=series[0],
                    chips=series[1],
                    reserve=series[2],
                )
            )
    pools_of: dict[str, list[int]] = defaultdict(list)
    for order_id, pool in quantities.taken:
        pools_of[order_id].append(pool)
    bids: tuple[StepBid | BlockBid, ...] = (*book.step_bids, *book.block_bids)
    for bid in bids:
        for pool in pools_of[bid.order_id]:
            key = (bid.order_id, pool)
            series = _series(quantities.taken.get(key, {}), quantities.reserve.get(key, {}))
            if series:
                awards.append(_demand_award(bid, pools[pool].pool_id, series))
    awards.extend(_base_awards(book, model))
    return tuple(sorted(awards, key=lambda award: (award.order_id, award.pool_id)))


_Series = tuple[int, tuple[Chips, ...], tuple[Chips, ...]]


def _series(chips: dict[int, int], reserve: dict[int, int]) -> _Series | None:
    """First interval, then chips and reserve per interval up to the last; None for nothing."""
    used = [t for t in {**chips, **reserve} if chips.get(t) or reserve.get(t)]
    if not used:
        return None
    span = range(min(used), max(used) + 1)
    return (
        span.start,
        tuple(Chips(chips.get(t, 0)) for t in span),
        tuple(Chips(reserve.get(t, 0)) for t in span),
    )


def _demand_award(bid: StepBid | BlockBid, pool_id: str, series: _Series) -> Award:
    interruptible = bid.service_class is ServiceClass.INTERRUPTIBLE
    return Award(
        order_id=bid.order_id,
        participant_id=bid.participant_id,
        side=Side.DEMAND,
        pool_id=pool_id,
        service_class=bid.service_class,
        cover=Cover.NONE if interruptible else bid.cover,
        first=series[0],
        chips=series[1],
        reserve=series[2],
    )


def _base_awards(book: Book, model: Model) -> list[Award]:
    awards = []
    for nomination in book.nominations:
        served = model.market.base_served[nomination.order_id]
        series = _series(dict(enumerate(served)), {})
        if series:
            awards.append(
                Award(
                    order_id=nomination.order_id,
                    participant_id=nomination.participant_id,
                    side=Side.BASE,
                    pool_id=nomination.pool_id,
                    service_class=ServiceClass.BASE_LOAD,
                    cover=nomination.cover,
                    first=series[0],
                    chips=series[1],
                    reserve=series[2],
                )
            )
    return awards
