"""AuctionService: auctions, prices and curves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TypeVar

from iso_exchange.api.v1 import auction_pb2, auction_service_pb2, price_pb2, receipt_pb2
from iso_exchange.api.v1.auction_service_pb2_grpc import AuctionServiceServicer
from iso_exchange.commands import CreateAuction, HaltAuction, ResumeAuction
from iso_exchange.convert import enums, views
from iso_exchange.convert.views.auctions import AUCTION_STATES
from iso_exchange.gateway.journal import Stage
from iso_exchange.identity.names import is_identifier
from iso_exchange.publication import PricesDocument, prices_document
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.state import Auction, find_auction
from iso_exchange.services.access import Context
from iso_exchange.services.backend import NO_ENTRY, Backend, Pulse
from iso_exchange.services.errors import refuse
from iso_exchange.services.mutations import SignedRequest
from iso_exchange.services.pages import cut, page_of
from iso_exchange.services.periods import starts_within

C = TypeVar("C")


class AuctionService(AuctionServiceServicer):
    """Mutations are the operator's; everybody may read."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend
        # Published results never change, so what is shown of one is made once.
        self._documents: dict[str, PricesDocument] = {}
        self._prices: dict[str, tuple[price_pb2.Price, ...]] = {}

    async def GetSeedCommitment(
        self, request: auction_service_pb2.GetSeedCommitmentRequest, context: Context
    ) -> auction_service_pb2.GetSeedCommitmentResponse:
        """Commitment to the tie seed of an auction that is to be created."""
        self._backend.caller(context)
        if not is_identifier(request.auction_id):
            raise refuse(
                Code.INVALID_VALUE,
                "auction_id",
                "use 1 to 64 of a-z, 0-9, dot, dash and underscore",
                got=request.auction_id,
            )
        commitment = self._backend.mutations.secrets.seed_commitment(request.auction_id)
        return auction_service_pb2.GetSeedCommitmentResponse(
            seed_commitment=bytes.fromhex(commitment), ledger_size=self._backend.size
        )

    async def CreateAuction(
        self, request: auction_service_pb2.CreateAuctionRequest, context: Context
    ) -> auction_service_pb2.CreateAuctionResponse:
        """Create an auction."""
        command, receipt = await self._accept(request, context, CreateAuction)
        return auction_service_pb2.CreateAuctionResponse(
            receipt=receipt, auction=await self._view(command.auction_id)
        )

    async def HaltAuction(
        self, request: auction_service_pb2.HaltAuctionRequest, context: Context
    ) -> auction_service_pb2.HaltAuctionResponse:
        """Stop order entry."""
        command, receipt = await self._accept(request, context, HaltAuction)
        return auction_service_pb2.HaltAuctionResponse(
            receipt=receipt, auction=await self._view(command.auction_id)
        )

    async def ResumeAuction(
        self, request: auction_service_pb2.ResumeAuctionRequest, context: Context
    ) -> auction_service_pb2.ResumeAuctionResponse:
        """Take up order entry again."""
        command, receipt = await self._accept(request, context, ResumeAuction)
        return auction_service_pb2.ResumeAuctionResponse(
            receipt=receipt, auction=await self._view(command.auction_id)
        )

    async def GetAuction(
        self, request: auction_service_pb2.GetAuctionRequest, context: Context
    ) -> auction_service_pb2.GetAuctionResponse:
        """Read one auction."""
        self._backend.caller(context)
        self._known(request.auction_id)
        return auction_service_pb2.GetAuctionResponse(
            auction=await self._view(request.auction_id), ledger_size=self._backend.size
        )

    async def ListAuctions(
        self, request: auction_service_pb2.ListAuctionsRequest, context: Context
    ) -> auction_service_pb2.ListAuctionsResponse:
        """List auctions, latest gate closure first."""
        self._backend.caller(context)
        product = enums.AUCTION_PRODUCT.value(request.product)
        found, token = cut(
            page_of(request),
            (
                auction
                for auction in self._backend.state.auctions.values()
                if product in (None, auction.created.product)
                and request.state in (0, AUCTION_STATES[auction.state])
            ),
            lambda auction: (auction.created.close_time, auction.spec.auction_id),
            descending=True,
        )
        return auction_service_pb2.ListAuctionsResponse(
            auctions=[await self._view(auction.spec.auction_id) for auction in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def ListPrices(
        self, request: auction_service_pb2.ListPricesRequest, context: Context
    ) -> auction_service_pb2.ListPricesResponse:
        """List published prices by pool and interval."""
        self._backend.caller(context)
        state = self._backend.state
        if not request.auction_id and not request.pool_id:
            raise refuse(Code.INVALID_VALUE, "auction_id", "name an auction or a pool")
        if request.pool_id and request.pool_id not in state.pools:
            raise refuse(Code.UNKNOWN_POOL, "pool_id", "list the pools", got=request.pool_id)
        named = [self._known(request.auction_id)] if request.auction_id else None
        product = enums.AUCTION_PRODUCT.value(request.product)
        found, token = cut(
            page_of(request),
            (
                price
                for auction in (state.auctions.values() if named is None else named)
                if views.is_published(auction) and product in (None, auction.created.product)
                for price in self._auction_prices(auction)
                if request.pool_id in ("", price.pool_id)
                and starts_within(request, price.start_time.seconds)
            ),
            lambda price: (price.start_time.seconds, price.pool_id, price.auction_id),
        )
        return auction_service_pb2.ListPricesResponse(
            prices=found, next_page_token=token, ledger_size=self._backend.size
        )

    async def GetCurves(
        self, request: auction_service_pb2.GetCurvesRequest, context: Context
    ) -> auction_service_pb2.GetCurvesResponse:
        """Read anonymised curves of a published auction."""
        self._backend.caller(context)
        auction = self._known(request.auction_id)
        if not views.is_published(auction):
            raise refuse(
                Code.WRONG_STATE,
                "auction_id",
                "curves follow with the prices",
                got=auction.state.value,
                limit="PUBLISHED or SETTLED",
            )
        found, token = cut(
            page_of(request),
            (
                curve
                for curve in views.curve_views(self._document(auction))
                if starts_within(request, curve.start_time.seconds)
            ),
            lambda curve: (curve.start_time.seconds,),
        )
        return auction_service_pb2.GetCurvesResponse(
            curves=found, next_page_token=token, ledger_size=self._backend.size
        )

    async def WatchAuctions(
        self, request: auction_service_pb2.WatchAuctionsRequest, context: Context
    ) -> AsyncIterator[auction_service_pb2.WatchAuctionsResponse]:
        """Follow state changes of auctions from a log entry on."""
        self._backend.caller(context)
        journal = self._backend.journal
        start = self._backend.first_entry(request.start_entry_index)
        product = enums.AUCTION_PRODUCT.value(request.product)
        if request.auction_id:
            self._known(request.auction_id)
        next_index = start
        pulse = Pulse()
        async for size in journal.growth(start):
            # One pass over the stages: auctions have few, the log has many entries.
            changes = sorted(
                (
                    (stage.mark.entry_index, auction_id, stage)
                    for auction_id, stages in journal.stages.items()
                    if request.auction_id in ("", auction_id)
                    and (known := find_auction(self._backend.state, auction_id)) is not None
                    and product in (None, known.created.product)
                    for stage in stages
                    if next_index <= stage.mark.entry_index < size
                ),
                key=lambda change: change[:2],
            )
            for entry_index, auction_id, stage in changes:
                pulse.beat()
                yield auction_service_pb2.WatchAuctionsResponse(
                    auction=await self._view(auction_id, stage),
                    entry_index=entry_index,
                    next_entry_index=entry_index + 1,
                    ledger_size=self._backend.size,
                )
            next_index = max(next_index, size)
            if pulse.is_due():
                yield auction_service_pb2.WatchAuctionsResponse(
                    entry_index=NO_ENTRY,
                    next_entry_index=next_index,
                    ledger_size=self._backend.size,
                )

    async def _accept(
        self, request: SignedRequest, context: Context, kind: type[C]
    ) -> tuple[C, receipt_pb2.Receipt]:
        return await self._backend.mutations.one(self._backend.caller(context), request, kind)

    def _known(self, auction_id: str) -> Auction:
        auction = find_auction(self._backend.state, auction_id)
        if auction is None:
            raise refuse(Code.UNKNOWN_AUCTION, "auction_id", "list the auctions", got=auction_id)
        return auction

    async def _view(self, auction_id: str, stage: Stage | None = None) -> auction_pb2.Auction:
        """An auction as it stands, or as it stood after one of its entries."""
        journal = self._backend.journal
        await journal.refresh()
        auction = self._known(auction_id)
        shown = stage or journal.stage(auction_id)
        view = views.auction_view(
            replace(auction, state=shown.state),
            closed=shown.closed,
            published=shown.published,
            publish_time_us=shown.publish_time_us,
            state_time_us=shown.mark.time_us,
            halt_reason=shown.reason,
            entry_index=journal.stages[auction_id][0].mark.entry_index,
        )
        view.reason = shown.reason
        return view

    def _document(self, auction: Auction) -> PricesDocument:
        name = auction.spec.auction_id
        if name not in self._documents:
            assert auction.book is not None
            assert auction.outcome is not None
            self._documents[name] = prices_document(auction.book, auction.outcome)
        return self._documents[name]

    def _auction_prices(self, auction: Auction) -> tuple[price_pb2.Price, ...]:
        name = auction.spec.auction_id
        if name not in self._prices:
            self._prices[name] = views.auction_prices(auction)
        return self._prices[name]
