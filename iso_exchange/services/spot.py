"""SpotService: spot markets, their runs, prices, positions and notices."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from clearing import codec
from iso_exchange.api.v1 import allocation_pb2, price_pb2, receipt_pb2, spot_pb2, spot_service_pb2
from iso_exchange.api.v1.spot_service_pb2_grpc import SpotServiceServicer
from iso_exchange.clock import MICROSECONDS
from iso_exchange.commands import (
    CloseSpotMarket,
    HaltSpotMarket,
    OpenSpotMarket,
    ResumeSpotMarket,
    ReturnHours,
    SetWebhook,
)
from iso_exchange.convert import body_of, views
from iso_exchange.identity.names import is_identifier
from iso_exchange.publication import PricesDocument
from iso_exchange.sequencer.allocation import PoolAllocation
from iso_exchange.sequencer.allocation_record import AllocationDocument
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.spot import CHAIN_LENGTH_MAX
from iso_exchange.sequencer.spot_market import SpotMarket
from iso_exchange.services.access import Context
from iso_exchange.services.backend import Backend
from iso_exchange.services.errors import refuse
from iso_exchange.services.mutations import SignedRequest
from iso_exchange.services.pages import cut, page_of
from iso_exchange.services.periods import starts_within, within

C = TypeVar("C", OpenSpotMarket, HaltSpotMarket, ResumeSpotMarket, CloseSpotMarket)


class SpotService(SpotServiceServicer):
    """Spot markets."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend

    async def GetSeedAnchor(
        self, request: spot_service_pb2.GetSeedAnchorRequest, context: Context
    ) -> spot_service_pb2.GetSeedAnchorResponse:
        """Commit to the tie seeds of a market that is to be opened."""
        self._backend.caller(context)
        if not is_identifier(request.market_id):
            raise refuse(
                Code.INVALID_VALUE,
                "market_id",
                "use 1 to 64 of a-z, 0-9, dash, dot and underscore",
                got=request.market_id[:80],
            )
        if not 1 <= request.chain_length <= CHAIN_LENGTH_MAX:
            raise refuse(
                Code.INVALID_VALUE,
                "chain_length",
                f"1 to {CHAIN_LENGTH_MAX} runs",
                got=str(request.chain_length),
            )
        anchor = await asyncio.to_thread(
            self._backend.mutations.seed_anchor, request.market_id, request.chain_length
        )
        return spot_service_pb2.GetSeedAnchorResponse(
            seed_anchor=bytes.fromhex(anchor), ledger_size=self._backend.size
        )

    async def OpenSpotMarket(
        self, request: spot_service_pb2.OpenSpotMarketRequest, context: Context
    ) -> spot_service_pb2.OpenSpotMarketResponse:
        """Open a market."""
        receipt, market = await self._accept(request, context, OpenSpotMarket)
        return spot_service_pb2.OpenSpotMarketResponse(receipt=receipt, market=market)

    async def HaltSpotMarket(
        self, request: spot_service_pb2.HaltSpotMarketRequest, context: Context
    ) -> spot_service_pb2.HaltSpotMarketResponse:
        """Stop orders and runs."""
        receipt, market = await self._accept(request, context, HaltSpotMarket)
        return spot_service_pb2.HaltSpotMarketResponse(receipt=receipt, market=market)

    async def ResumeSpotMarket(
        self, request: spot_service_pb2.ResumeSpotMarketRequest, context: Context
    ) -> spot_service_pb2.ResumeSpotMarketResponse:
        """Take up orders and runs again."""
        receipt, market = await self._accept(request, context, ResumeSpotMarket)
        return spot_service_pb2.ResumeSpotMarketResponse(receipt=receipt, market=market)

    async def CloseSpotMarket(
        self, request: spot_service_pb2.CloseSpotMarketRequest, context: Context
    ) -> spot_service_pb2.CloseSpotMarketResponse:
        """End a market."""
        receipt, market = await self._accept(request, context, CloseSpotMarket)
        return spot_service_pb2.CloseSpotMarketResponse(receipt=receipt, market=market)

    async def ListSpotMarkets(
        self, request: spot_service_pb2.ListSpotMarketsRequest, context: Context
    ) -> spot_service_pb2.ListSpotMarketsResponse:
        """List markets, by identifier."""
        self._backend.caller(context)
        found, token = cut(
            page_of(request),
            self._backend.state.markets.values(),
            lambda market: (market.opened.market_id,),
        )
        return spot_service_pb2.ListSpotMarketsResponse(
            markets=[views.market_view(market, self._now()) for market in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def ListRuns(
        self, request: spot_service_pb2.ListRunsRequest, context: Context
    ) -> spot_service_pb2.ListRunsResponse:
        """List runs of a market, latest first."""
        self._backend.caller(context)
        market = self._known(request.market_id)
        found, token = cut(
            page_of(request),
            ((start, market.runs[start]) for start in within(request, list(market.runs))),
            lambda item: (item[0],),
            descending=True,
        )
        return spot_service_pb2.ListRunsResponse(
            runs=[views.run_view(market, start, record) for start, record in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def ListRunPrices(
        self, request: spot_service_pb2.ListRunPricesRequest, context: Context
    ) -> spot_service_pb2.ListRunPricesResponse:
        """Prices of the first intervals of published runs."""
        self._backend.caller(context)
        market = self._known(request.market_id)
        if request.pool_id and request.pool_id not in market.pool_ids:
            raise refuse(Code.UNKNOWN_POOL, "pool_id", "list the pools", got=request.pool_id)
        pools = sorted(pool for pool in market.pool_ids if request.pool_id in ("", pool))
        found, token = cut(
            page_of(request),
            (
                (start, pool_id)
                for start in within(request, list(market.runs))
                if market.runs[start].prices_sha256
                for pool_id in pools
            ),
            lambda item: item,
        )
        documents: dict[int, dict[str, price_pb2.Price]] = {}
        prices = []
        for start, pool_id in found:
            if start not in documents:
                documents[start] = await self._first_prices(market, start)
            prices.append(documents[start][pool_id])
        return spot_service_pb2.ListRunPricesResponse(
            prices=prices, next_page_token=token, ledger_size=self._backend.size
        )

    async def ListPositions(
        self, request: spot_service_pb2.ListPositionsRequest, context: Context
    ) -> spot_service_pb2.ListPositionsResponse:
        """Own positions that are not over."""
        caller = self._backend.caller(context)
        market = self._known(request.market_id)
        orders = self._backend.state.orders
        now = self._now()
        found, token = cut(
            page_of(request),
            (
                position
                for order_id in market.bound
                if request.order_id in ("", order_id)
                and orders[order_id].submitted.participant_id == caller.participant_id
                for position in views.position_views(market, order_id)
                if position.end_time.seconds > now
            ),
            lambda item: (item.order_id, item.pool_id, item.start_time.seconds),
        )
        return spot_service_pb2.ListPositionsResponse(
            positions=found, next_page_token=token, ledger_size=self._backend.size
        )

    async def ListNotices(
        self, request: spot_service_pb2.ListNoticesRequest, context: Context
    ) -> spot_service_pb2.ListNoticesResponse:
        """Notices in force for own orders."""
        caller = self._backend.caller(context)
        market = self._known(request.market_id)
        found, token = cut(
            page_of(request),
            (
                notice
                for notice in market.notices.values()
                if notice.participant_id == caller.participant_id
            ),
            lambda notice: (notice.deadline, notice.order_id, notice.pool_id),
        )
        return spot_service_pb2.ListNoticesResponse(
            notices=[views.notice_view(notice) for notice in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def ListAllocations(
        self, request: allocation_pb2.ListAllocationsRequest, context: Context
    ) -> allocation_pb2.ListAllocationsResponse:
        """Records of a market's allocation, latest first."""
        self._backend.caller(context)
        self._known(request.market_id)
        kept = self._backend.state.allocations.get(request.market_id)
        found, token = cut(
            page_of(request),
            (
                record
                for record in (kept.records if kept else ())
                if starts_within(request, record.interval.start)
            ),
            lambda record: (record.interval.end, record.hourly, record.interval.start),
            descending=True,
        )
        views_of = []
        for record in found:
            pools: tuple[PoolAllocation, ...] = ()
            if request.include_pools:
                stored = await self._backend.store.document(bytes.fromhex(record.allocation_sha256))
                if stored is None:
                    raise refuse(Code.UNAVAILABLE, "", "it is not stored yet: ask again")
                pools = codec.decode(stored.body, AllocationDocument).pools
            views_of.append(views.allocation_view(record, pools))
        return allocation_pb2.ListAllocationsResponse(
            allocations=views_of, next_page_token=token, ledger_size=self._backend.size
        )

    async def ReturnHours(
        self, request: spot_service_pb2.ReturnHoursRequest, context: Context
    ) -> spot_service_pb2.ReturnHoursResponse:
        """Give hours of an own contract back."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, ReturnHours)
        return spot_service_pb2.ReturnHoursResponse(
            receipt=receipt, hour_return=spot_pb2.HourReturn.FromString(body_of(command))
        )

    async def ListReturns(
        self, request: spot_service_pb2.ListReturnsRequest, context: Context
    ) -> spot_service_pb2.ListReturnsResponse:
        """What is given back of own contracts."""
        caller = self._backend.caller(context)
        market = self._known(request.market_id)
        found, token = cut(
            page_of(request),
            (
                record
                for record in market.returns.values()
                if record.owner_id == caller.participant_id
            ),
            lambda record: (record.contract_id,),
        )
        return spot_service_pb2.ListReturnsResponse(
            returns=[views.returned_view(market, record) for record in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def SetWebhook(
        self, request: spot_service_pb2.SetWebhookRequest, context: Context
    ) -> spot_service_pb2.SetWebhookResponse:
        """Say where own notices are posted to."""
        caller = self._backend.caller(context)
        _, receipt = await self._backend.mutations.one(caller, request, SetWebhook)
        return spot_service_pb2.SetWebhookResponse(receipt=receipt)

    async def _accept(
        self, request: SignedRequest, context: Context, kind: type[C]
    ) -> tuple[receipt_pb2.Receipt, spot_pb2.SpotMarket]:
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, kind)
        market = self._backend.state.markets[command.market_id]
        return receipt, views.market_view(market, self._now())

    async def _first_prices(self, market: SpotMarket, start: int) -> dict[str, price_pb2.Price]:
        digest = bytes.fromhex(market.runs[start].prices_sha256)
        stored = await self._backend.store.document(digest)
        if stored is None:
            raise refuse(Code.UNAVAILABLE, "", "the prices are not stored yet: ask again")
        document = codec.decode(stored.body, PricesDocument)
        return {
            price.pool_id: price
            for price in views.document_prices(document)
            if price.start_time.seconds == start
        }

    def _known(self, market_id: str) -> SpotMarket:
        market = self._backend.state.markets.get(market_id)
        if market is None:
            raise refuse(Code.UNKNOWN_AUCTION, "market_id", "list the spot markets", got=market_id)
        return market

    def _now(self) -> int:
        return self._backend.clock.now_us() // MICROSECONDS
