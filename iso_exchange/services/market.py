"""MarketService: order entry. An open order is shown to nobody but its owner."""

from __future__ import annotations

from collections.abc import AsyncIterator

from iso_exchange.api.v1 import market_service_pb2, order_pb2
from iso_exchange.api.v1.market_service_pb2_grpc import MarketServiceServicer
from iso_exchange.commands import CancelOrder, SubmitOrder
from iso_exchange.convert import views
from iso_exchange.convert.views import Results
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.spot import last_published_run
from iso_exchange.sequencer.state import Order
from iso_exchange.services.access import Caller, Context
from iso_exchange.services.backend import Backend
from iso_exchange.services.errors import refuse
from iso_exchange.services.explanation import explain
from iso_exchange.services.pages import cut, page_of
from iso_exchange.services.preview import preview

ORDER_KINDS = (SubmitOrder, CancelOrder)


class MarketService(MarketServiceServicer):
    """Suppliers and buyers, each for itself."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend

    async def PreviewOrder(
        self, request: market_service_pb2.PreviewOrderRequest, context: Context
    ) -> market_service_pb2.PreviewOrderResponse:
        """Price an order without submitting it."""
        caller = self._backend.caller(context)
        if not request.HasField("order"):
            raise refuse(Code.INVALID_VALUE, "order", "state the order to preview")
        return preview(self._backend, caller, request.order)

    async def SubmitOrder(
        self, request: market_service_pb2.SubmitOrderRequest, context: Context
    ) -> market_service_pb2.SubmitOrderResponse:
        """Accept a new order or an amendment."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, SubmitOrder)
        return market_service_pb2.SubmitOrderResponse(
            receipt=receipt, order=await self._view(self._backend.state.orders[command.order_id])
        )

    async def SubmitOrders(
        self, request: market_service_pb2.SubmitOrdersRequest, context: Context
    ) -> market_service_pb2.SubmitOrdersResponse:
        """Judge up to 100 items one by one."""
        caller = self._backend.caller(context)
        results = await self._backend.mutations.many(caller, request.items, ORDER_KINDS)
        return market_service_pb2.SubmitOrdersResponse(
            results=results, ledger_size=self._backend.size
        )

    async def StreamOrders(
        self,
        request_iterator: AsyncIterator[market_service_pb2.StreamOrdersRequest],
        context: Context,
    ) -> AsyncIterator[market_service_pb2.StreamOrdersResponse]:
        """The same over one stream; each request is answered when its items are durable."""
        caller = self._backend.caller(context)
        async for request in request_iterator:
            results = await self._backend.mutations.many(caller, request.items, ORDER_KINDS)
            yield market_service_pb2.StreamOrdersResponse(
                results=results, ledger_size=self._backend.size
            )

    async def CancelOrder(
        self, request: market_service_pb2.CancelOrderRequest, context: Context
    ) -> market_service_pb2.CancelOrderResponse:
        """Withdraw an own order."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, CancelOrder)
        return market_service_pb2.CancelOrderResponse(
            receipt=receipt, order=await self._view(self._backend.state.orders[command.order_id])
        )

    async def GetOrder(
        self, request: market_service_pb2.GetOrderRequest, context: Context
    ) -> market_service_pb2.GetOrderResponse:
        """Read an own order."""
        order = self._own(self._backend.caller(context), request.order_id)
        return market_service_pb2.GetOrderResponse(
            order=await self._view(order), ledger_size=self._backend.size
        )

    async def ListOrders(
        self, request: market_service_pb2.ListOrdersRequest, context: Context
    ) -> market_service_pb2.ListOrdersResponse:
        """List own orders, newest first."""
        caller = self._backend.caller(context)
        state = self._backend.state
        auction = state.auctions.get(request.auction_id)
        market = state.markets.get(request.auction_id)
        if request.auction_id and auction is None and market is None:
            raise refuse(
                Code.UNKNOWN_AUCTION, "auction_id", "list the auctions", got=request.auction_id
            )
        candidates = (
            (state.orders[order_id] for order_id in auction.order_ids)
            if auction is not None
            else (
                order
                for order in state.orders.values()
                if market is None or order.submitted.auction_id == request.auction_id
            )
        )
        await self._backend.journal.refresh()
        results: dict[str, Results | None] = {}
        found, token = cut(
            page_of(request),
            (
                order
                for order in candidates
                if order.submitted.participant_id == caller.participant_id
                and request.state in (0, self._show(order, results).state)
            ),
            lambda order: (order.entry_index,),
            descending=True,
        )
        return market_service_pb2.ListOrdersResponse(
            orders=[self._show(order, results) for order in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def ExplainOrder(
        self, request: market_service_pb2.ExplainOrderRequest, context: Context
    ) -> market_service_pb2.ExplainOrderResponse:
        """Explain what became of an own order; of an open one, where it stands."""
        order = self._own(self._backend.caller(context), request.order_id)
        pools, text = explain(self._backend.state, order)
        return market_service_pb2.ExplainOrderResponse(
            order=await self._view(order),
            pools=pools,
            explanation=text,
            ledger_size=self._backend.size,
        )

    def _own(self, caller: Caller, order_id: str) -> Order:
        """An order of the caller; somebody else's looks like none."""
        order = self._backend.state.orders.get(order_id)
        if order is None or order.submitted.participant_id != caller.participant_id:
            raise refuse(Code.NOT_FOUND, "order_id", "list your orders", got=order_id)
        return order

    async def _view(self, order: Order) -> order_pb2.OrderView:
        await self._backend.journal.refresh()
        return self._show(order, {})

    def _show(self, order: Order, results: dict[str, Results | None]) -> order_pb2.OrderView:
        """View of an order; ``results`` keeps the indexes of auctions already looked at."""
        state = self._backend.state
        accepted_us = self._backend.journal.time_us(order.entry_index)
        market = state.markets.get(order.submitted.auction_id)
        if market is not None:
            run = last_published_run(state, market)
            if run is not None and run.spec.auction_id not in results:
                results[run.spec.auction_id] = views.results_of(run)
            return views.standing_view(
                order,
                run,
                results=results[run.spec.auction_id] if run is not None else None,
                accept_time_us=accepted_us,
            )
        auction = state.auctions[order.submitted.auction_id]
        name = auction.spec.auction_id
        if name not in results:
            results[name] = views.results_of(auction)
        return views.order_view(
            order,
            auction,
            results=results[name],
            accept_time_us=accepted_us,
        )
