"""What an order would cost, where it may be served, and why it would be refused."""

from __future__ import annotations

from typing import Final

from clearing.eligibility import Resolution, resolve
from clearing.errors import InvariantError
from clearing.types import Eligibility, Offer
from clearing.units import SECONDS_PER_HOUR, divide_up
from iso_exchange.api.v1 import header_pb2, market_service_pb2, order_pb2
from iso_exchange.clock import MICROSECONDS
from iso_exchange.commands import OfferTerms, SubmitOrder
from iso_exchange.convert import command_from, views
from iso_exchange.convert.fields import timestamp
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.effects import Meta
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_entry import check_order
from iso_exchange.sequencer.state import Auction, BookOrder, State, grid_of
from iso_exchange.services.access import Caller
from iso_exchange.services.backend import Backend
from iso_exchange.services.order_prices import (
    latest_published,
    mean_price,
    prices_of,
    quantity,
)
from settlement.types import Transfer

INT64_MAX: Final = 2**63 - 1


def preview(
    backend: Backend, caller: Caller, order: order_pb2.Order
) -> market_service_pb2.PreviewOrderResponse:
    """Answer of PreviewOrder: a dry run at the present time; nothing is kept."""
    state = backend.state
    before = state.books.available_to(caller.participant_id)
    response = market_service_pb2.PreviewOrderResponse(
        collateral_before_micro_usd=before,
        collateral_after_micro_usd=before,
        ledger_size=backend.size,
    )
    command = _command(backend, caller, order)
    if isinstance(command, Rejected):
        response.refusals.append(views.refusal_view(command))
        return response
    auction = state.auctions.get(command.auction_id)
    if auction is not None:
        _describe_pools(response, state, auction, _resolution(state, auction, command))
    checked = check_order(state, command, _now(backend))
    if isinstance(checked, Rejected):
        response.refusals.append(views.refusal_view(checked))
        if checked.code is Code.EXPOSURE_ABOVE_COLLATERAL:
            _describe_exposure(response, state, command, int(checked.got))
        return response
    book_order, hold = checked
    if command.auction_id in state.markets:
        # What one run can bind; a standing order has no quantity of its own.
        response.worst_case_micro_usd = (
            0 if isinstance(book_order, Offer) or hold is None else hold.amount
        )
        _describe_exposure(response, state, command, hold.amount if hold else 0)
        return response
    if auction is None:
        message = f"{command.order_id} was checked without an auction"
        raise InvariantError(message)
    _describe_cost(response, auction, book_order, hold)
    _describe_exposure(response, state, command, hold.amount if hold else 0)
    _describe_last_prices(response, state, auction, book_order)
    return response


def _command(backend: Backend, caller: Caller, order: order_pb2.Order) -> SubmitOrder | Rejected:
    """The order as a command; the header is made up, because it is not looked at."""
    if order.participant_id not in ("", caller.participant_id):
        return Rejected(
            code=Code.HEADER_MISMATCH,
            field="participant_id",
            advice="preview your own orders",
            got=order.participant_id,
            limit=caller.participant_id,
        )
    body = order_pb2.Order()
    body.CopyFrom(order)
    body.participant_id = caller.participant_id
    body.order_id = order.order_id or "preview"
    body.revision = order.revision or 1
    body.header.CopyFrom(
        header_pb2.Header(
            origin=backend.state.origin,
            signer_id=caller.participant_id,
            request_id="preview",
            create_time=timestamp(backend.clock.now_us() // MICROSECONDS),
        )
    )
    command = command_from(ENTRY_KINDS[SubmitOrder].payload_type, body.SerializeToString())
    if isinstance(command, Rejected):
        return command
    if not isinstance(command, SubmitOrder):
        message = f"an order body became a {type(command).__name__}"
        raise InvariantError(message)
    return command


def _now(backend: Backend) -> Meta:
    time_us = max(backend.clock.now_us(), backend.sequencer.time_us)
    return Meta(time_us=time_us, index=backend.size, leaf_hash=b"", documents={})


def _resolution(state: State, auction: Auction, command: SubmitOrder) -> Resolution:
    terms = command.terms
    where = (
        Eligibility(pool_ids=(terms.pool_id,))
        if isinstance(terms, OfferTerms)
        else terms.conditions.where
    )
    return resolve(
        where,
        {site_id: record.site for site_id, record in state.sites.items()},
        grid_of(state, auction),
    )


def _describe_pools(
    response: market_service_pb2.PreviewOrderResponse,
    state: State,
    auction: Auction,
    resolution: Resolution,
) -> None:
    for pool_id in resolution.eligible:
        record = state.pools[pool_id]
        response.eligible_pools.append(
            views.eligible_pool(
                record, state.sites[record.pool.site_id], operator_fee=auction.spec.operator_fee
            )
        )
    response.refused_pools.extend(
        views.refused_pool(pool_id, reason) for pool_id, reason in resolution.refused
    )


def _describe_cost(
    response: market_service_pb2.PreviewOrderResponse,
    auction: Auction,
    order: BookOrder,
    hold: Transfer | None,
) -> None:
    chip_seconds = quantity(order, auction.spec.intervals)
    worst = 0 if isinstance(order, Offer) or hold is None else hold.amount
    if max(chip_seconds, worst) > INT64_MAX:
        too_large = Rejected(
            code=Code.INVALID_VALUE,
            field="chip_count",
            advice="split the order: its worst case does not fit in 63 bits",
            got=str(max(chip_seconds, worst)),
        )
        response.refusals.append(views.refusal_view(too_large))
        return
    response.quantity_chip_seconds = chip_seconds
    response.worst_case_micro_usd = worst
    if isinstance(order, Offer):
        return
    dearest = max(
        (pool.surcharge_micro_usd_per_chip_hour for pool in response.eligible_pools), default=0
    )
    response.surcharge_micro_usd = divide_up(dearest * chip_seconds, SECONDS_PER_HOUR)
    response.operator_fee_micro_usd = divide_up(
        auction.spec.operator_fee * chip_seconds, SECONDS_PER_HOUR
    )


def _describe_exposure(
    response: market_service_pb2.PreviewOrderResponse,
    state: State,
    command: SubmitOrder,
    held: int,
) -> None:
    """Collateral after acceptance; an amendment gives the hold of the revision before back."""
    previous = state.orders.get(command.order_id)
    released = previous.hold.amount if previous is not None and previous.hold is not None else 0
    after = response.collateral_before_micro_usd + released - held
    response.collateral_after_micro_usd = max(-INT64_MAX, after)


def _describe_last_prices(
    response: market_service_pb2.PreviewOrderResponse,
    state: State,
    auction: Auction,
    order: BookOrder,
) -> None:
    last = latest_published(state, auction.created.product)
    if last is None or last.outcome is None:
        return
    prices, tariff = prices_of(last.outcome), last.spec.tariff
    eligible = [state.pools[pool.pool_id].pool for pool in response.eligible_pools]
    for pool, place in zip(response.eligible_pools, eligible, strict=True):
        price = mean_price(prices, tariff, place, order, eligible=eligible, every=True)
        if price is not None:
            pool.last_price_micro_usd_per_chip_hour = price
