"""What became of an order, pool by pool, in words that say what would have changed it."""

from __future__ import annotations

from clearing.eligibility import resolve
from clearing.outcome import Outcome
from clearing.types import Eligibility, Offer
from clearing.units import MicroUsdPerChipHour, usd_text
from iso_exchange.api.v1 import market_service_pb2
from iso_exchange.convert import views
from iso_exchange.sequencer.spot import last_published_run
from iso_exchange.sequencer.spot_market import SpotMarket
from iso_exchange.sequencer.state import (
    Auction,
    AuctionState,
    BookOrder,
    Order,
    OrderState,
    State,
)
from iso_exchange.services.disclosure import is_published
from iso_exchange.services.order_prices import best_limit, mean_price, prices_of

Pools = list[market_service_pb2.PoolExplanation]


def explain(state: State, order: Order) -> tuple[Pools, str]:
    """Pools, cheapest first and then those not eligible, and a few sentences."""
    market = state.markets.get(order.submitted.auction_id)
    if market is not None:
        return _explain_standing(state, market, order)
    auction = state.auctions[order.submitted.auction_id]
    if not is_published(state, auction.spec.auction_id) or auction.outcome is None:
        return [], _waiting(auction, order)
    if order.state is OrderState.CANCELLED:
        return [], f"It was cancelled before gate closure: {order.cancel_reason}."
    outcome = next(
        item for item in auction.outcome.orders if item.order_id == order.submitted.order_id
    )
    sentences = [f"{outcome.fill.value}, {outcome.reason.value}: {outcome.detail}"]
    if outcome.shortfall:
        sentences.append(
            f"Its limit missed the price by {usd_text(outcome.shortfall)} USD per chip-hour."
        )
    return _pools(auction, auction.outcome, order), " ".join(sentences)


def _explain_standing(state: State, market: SpotMarket, order: Order) -> tuple[Pools, str]:
    """What the last published run made of a standing order."""
    if order.state is not OrderState.OPEN:
        return [], f"It is over: {order.cancel_reason}."
    run = last_published_run(state, market)
    if run is None or run.outcome is None or run.gate is None:
        return [], "It stands; no run has been published yet."
    name = order.submitted.order_id
    if name in run.gate.credit_ids:
        return [], "It was out of the last run: its hold is not covered; deposit more collateral."
    found = next((item for item in run.outcome.orders if item.order_id == name), None)
    if found is None:
        return [], "It had nothing to ask for in the last run: outside its times, or all bound."
    return (
        _pools(run, run.outcome, order),
        f"In the last run: {found.fill.value}, {found.reason.value}: {found.detail}",
    )


def _waiting(auction: Auction, order: Order) -> str:
    if order.state is OrderState.CANCELLED:
        return f"It was cancelled: {order.cancel_reason}."
    if auction.state in (AuctionState.OPEN, AuctionState.HALTED):
        return (
            f"It is open, revision {order.submitted.revision}; it can be amended and cancelled "
            "until gate closure and is decided after it."
        )
    return "It is in the frozen book; the result is not published yet."


def _in_book(auction: Auction, order: Order) -> BookOrder:
    """The order by intervals of the auction: a standing one as its run saw it."""
    if not auction.market_id or auction.book is None:
        return order.order
    book, name = auction.book, order.submitted.order_id
    orders: tuple[BookOrder, ...] = (*book.offers, *book.step_bids, *book.block_bids)
    return next(item for item in orders if item.order_id == name)


def _pools(auction: Auction, outcome: Outcome, order: Order) -> Pools:
    book_order = _in_book(auction, order)
    where = (
        Eligibility(pool_ids=(book_order.pool_id,))
        if isinstance(book_order, Offer)
        else book_order.where
    )
    # The frozen grid, not today's: a pool registered since had no part in the result.
    book = auction.book
    pools = book.pools if book else ()
    sites = {site.site_id: site for site in (book.sites if book else ())}
    resolution = resolve(where, sites, pools)
    prices = prices_of(outcome)
    limit = best_limit(book_order)
    by_id = {pool.pool_id: pool for pool in pools}
    eligible = [by_id[pool_id] for pool_id in resolution.eligible]
    answered: Pools = []
    for pool in eligible:
        price = mean_price(prices, auction.spec.tariff, pool, book_order, eligible=eligible)
        missed = 0
        if price is not None:
            missed = limit - price if isinstance(book_order, Offer) else price - limit
        answered.append(
            views.pool_explanation(
                pool.pool_id,
                price=None if price is None else MicroUsdPerChipHour(price),
                shortfall=MicroUsdPerChipHour(max(0, missed)),
            )
        )
    answered.sort(key=lambda item: (item.price_micro_usd_per_chip_hour, item.pool_id))
    answered.extend(
        views.pool_explanation(pool_id, mismatch=reason) for pool_id, reason in resolution.refused
    )
    return answered
