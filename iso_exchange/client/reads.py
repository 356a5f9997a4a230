"""Everything that can be asked: one method per question, answered by API messages.

Lists come complete, page after page, or cut at ``limit``. Times are seconds since the
epoch; enums of filters are those of ``iso_exchange.api.v1``, 0 for no filter.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from clearing.units import UnixSeconds
from iso_exchange.api.v1 import (
    allocation_pb2,
    auction_pb2,
    auction_service_pb2,
    auction_service_pb2_grpc,
    clock_service_pb2,
    clock_service_pb2_grpc,
    contract_pb2,
    credits_pb2,
    credits_service_pb2,
    credits_service_pb2_grpc,
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    dispatch_pb2,
    dispatch_service_pb2,
    dispatch_service_pb2_grpc,
    dispute_pb2,
    entitlement_pb2,
    entitlement_service_pb2,
    entitlement_service_pb2_grpc,
    ledger_pb2,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    market_service_pb2,
    market_service_pb2_grpc,
    metering_service_pb2_grpc,
    order_pb2,
    participant_pb2,
    pool_pb2,
    price_pb2,
    registry_service_pb2,
    registry_service_pb2_grpc,
    settlement_pb2,
    settlement_service_pb2,
    settlement_service_pb2_grpc,
    site_pb2,
    spot_pb2,
    spot_service_pb2,
    spot_service_pb2_grpc,
)
from iso_exchange.client.errors import UntrustedAnswer
from iso_exchange.client.retry import Retry, Sleep, call
from iso_exchange.client.signing import MICROSECONDS, NANOSECONDS_PER_MICROSECOND

PAGE_SIZE: Final = 1_000

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
T = TypeVar("T")


class _PagedRequest(Protocol):
    page_size: int
    page_token: str


class _PagedResponse(Protocol):
    next_page_token: str


PagedRequestT = TypeVar("PagedRequestT", bound=_PagedRequest)
PagedResponseT = TypeVar("PagedResponseT", bound=_PagedResponse)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeTime:
    """Clock of the exchange.

    Attributes:
        now_us: Microseconds since the epoch.
        simulated: Whether it moves only by ``advance_time``.
    """

    now_us: int
    simulated: bool

    @property
    def now_s(self) -> UnixSeconds:
        """Whole seconds since the epoch."""
        return UnixSeconds(self.now_us // MICROSECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementWithLines:
    """A statement and all of its lines, in the order of its document."""

    statement: settlement_pb2.Statement
    lines: tuple[settlement_pb2.StatementLine, ...]


class Reads:
    """Questions to an exchange over an open channel; ``Client`` adds what changes something.

    Every method raises ``Refused`` (such as ``NOT_FOUND``), ``Unavailable`` or ``ServerFault``.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        retry: Retry,
        timeout_s: float,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Keep the channel; ``timeout_s`` is the deadline of each attempt."""
        self._retry = retry
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._registry = registry_service_pb2_grpc.RegistryServiceStub(channel)
        self._auctions = auction_service_pb2_grpc.AuctionServiceStub(channel)
        self._spot = spot_service_pb2_grpc.SpotServiceStub(channel)
        self._credits = credits_service_pb2_grpc.CreditServiceStub(channel)
        self._market = market_service_pb2_grpc.MarketServiceStub(channel)
        self._entitlements = entitlement_service_pb2_grpc.EntitlementServiceStub(channel)
        self._delivery = delivery_service_pb2_grpc.DeliveryServiceStub(channel)
        self._dispatch = dispatch_service_pb2_grpc.DispatchServiceStub(channel)
        self._settlement = settlement_service_pb2_grpc.SettlementServiceStub(channel)
        self._metering = metering_service_pb2_grpc.MeteringServiceStub(channel)
        self._ledger = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        self._clock = clock_service_pb2_grpc.ClockServiceStub(channel)

    # Clock --------------------------------------------------------------------------

    async def time(self) -> ExchangeTime:
        """What time it is at the exchange."""
        answer = await self._ask(self._clock.GetTime, clock_service_pb2.GetTimeRequest())
        return ExchangeTime(now_us=microseconds(answer.current_time), simulated=answer.simulated)

    # Registry -----------------------------------------------------------------------

    async def participant(self, participant_id: str) -> participant_pb2.ParticipantView:
        """One participant."""
        request = registry_service_pb2.GetParticipantRequest(participant_id=participant_id)
        return (await self._ask(self._registry.GetParticipant, request)).participant

    async def participants(
        self, *, role: participant_pb2.Role.ValueType = participant_pb2.ROLE_UNSPECIFIED
    ) -> tuple[participant_pb2.ParticipantView, ...]:
        """Participants by identifier."""
        request = registry_service_pb2.ListParticipantsRequest(role=role)
        return await self._list(
            self._registry.ListParticipants, request, lambda page: page.participants
        )

    async def sites(self, *, region: str = "") -> tuple[site_pb2.Site, ...]:
        """Sites by identifier."""
        request = registry_service_pb2.ListSitesRequest(region=region)
        return await self._list(self._registry.ListSites, request, lambda page: page.sites)

    async def pools(self, *, site_id: str = "", chip_class: str = "") -> tuple[pool_pb2.Pool, ...]:
        """Pools by identifier."""
        request = registry_service_pb2.ListPoolsRequest(site_id=site_id, chip_class=chip_class)
        return await self._list(self._registry.ListPools, request, lambda page: page.pools)

    # Auctions -----------------------------------------------------------------------

    async def auction(self, auction_id: str) -> auction_pb2.Auction:
        """One auction with its public result, once it is published."""
        request = auction_service_pb2.GetAuctionRequest(auction_id=auction_id)
        return (await self._ask(self._auctions.GetAuction, request)).auction

    async def auctions(
        self,
        *,
        product: auction_pb2.AuctionProduct.ValueType = auction_pb2.AUCTION_PRODUCT_UNSPECIFIED,
        state: auction_pb2.AuctionState.ValueType = auction_pb2.AUCTION_STATE_UNSPECIFIED,
        limit: int | None = None,
    ) -> tuple[auction_pb2.Auction, ...]:
        """Auctions, latest gate closure first."""
        request = auction_service_pb2.ListAuctionsRequest(product=product, state=state)
        return await self._list(
            self._auctions.ListAuctions, request, lambda page: page.auctions, limit
        )

    async def prices(
        self,
        auction_id: str = "",
        *,
        pool_id: str = "",
        start: UnixSeconds | None = None,
        end: UnixSeconds | None = None,
        limit: int | None = None,
    ) -> tuple[price_pb2.Price, ...]:
        """Published prices by interval, pool and auction; name an auction or a pool."""
        request = auction_service_pb2.ListPricesRequest(
            auction_id=auction_id,
            pool_id=pool_id,
            start_time=timestamp(start),
            end_time=timestamp(end),
        )
        return await self._list(self._auctions.ListPrices, request, lambda page: page.prices, limit)

    async def curves(self, auction_id: str) -> tuple[price_pb2.Curve, ...]:
        """Anonymised supply and demand curves of a published auction."""
        request = auction_service_pb2.GetCurvesRequest(auction_id=auction_id)
        return await self._list(self._auctions.GetCurves, request, lambda page: page.curves)

    # Spot ---------------------------------------------------------------------------

    async def seed_anchor(self, market_id: str, chain_length: int) -> bytes:
        """Anchor of the tie seeds of a spot market that is to be opened."""
        request = spot_service_pb2.GetSeedAnchorRequest(
            market_id=market_id, chain_length=chain_length
        )
        return (await self._ask(self._spot.GetSeedAnchor, request)).seed_anchor

    async def spot_markets(self) -> tuple[spot_pb2.SpotMarket, ...]:
        """Spot markets, by identifier."""
        request = spot_service_pb2.ListSpotMarketsRequest()
        return await self._list(self._spot.ListSpotMarkets, request, lambda page: page.markets)

    async def runs(
        self,
        market_id: str,
        *,
        start: UnixSeconds | None = None,
        end: UnixSeconds | None = None,
        limit: int | None = None,
    ) -> tuple[spot_pb2.SpotRun, ...]:
        """Runs of a spot market, latest first."""
        request = spot_service_pb2.ListRunsRequest(
            market_id=market_id, start_time=timestamp(start), end_time=timestamp(end)
        )
        return await self._list(self._spot.ListRuns, request, lambda page: page.runs, limit)

    async def allocations(
        self,
        market_id: str,
        *,
        start: UnixSeconds | None = None,
        end: UnixSeconds | None = None,
        with_pools: bool = False,
        limit: int | None = None,
    ) -> tuple[allocation_pb2.Allocation, ...]:
        """Allocation of a spot market by the hour, and its alarms, latest first."""
        request = allocation_pb2.ListAllocationsRequest(
            market_id=market_id,
            start_time=timestamp(start),
            end_time=timestamp(end),
            include_pools=with_pools,
        )
        return await self._list(
            self._spot.ListAllocations, request, lambda page: page.allocations, limit
        )

    async def run_prices(
        self,
        market_id: str,
        *,
        pool_id: str = "",
        start: UnixSeconds | None = None,
        end: UnixSeconds | None = None,
        limit: int | None = None,
    ) -> tuple[price_pb2.Price, ...]:
        """Prices of the first intervals of published runs, by interval and pool."""
        request = spot_service_pb2.ListRunPricesRequest(
            market_id=market_id,
            pool_id=pool_id,
            start_time=timestamp(start),
            end_time=timestamp(end),
        )
        return await self._list(self._spot.ListRunPrices, request, lambda page: page.prices, limit)

    async def positions(
        self, market_id: str, *, order_id: str = ""
    ) -> tuple[spot_pb2.SpotPosition, ...]:
        """What runs bound of own orders and is not over."""
        request = spot_service_pb2.ListPositionsRequest(market_id=market_id, order_id=order_id)
        return await self._list(self._spot.ListPositions, request, lambda page: page.positions)

    async def returns(self, market_id: str) -> tuple[spot_pb2.ReturnedHours, ...]:
        """What is given back of own contracts, by contract."""
        request = spot_service_pb2.ListReturnsRequest(market_id=market_id)
        return await self._list(self._spot.ListReturns, request, lambda page: page.returns)

    async def notices(self, market_id: str) -> tuple[spot_pb2.SpotNotice, ...]:
        """Notices in force for own orders, by deadline."""
        request = spot_service_pb2.ListNoticesRequest(market_id=market_id)
        return await self._list(self._spot.ListNotices, request, lambda page: page.notices)

    # Credits ------------------------------------------------------------------------

    async def credits_books(self) -> tuple[credits_pb2.CreditsBookView, ...]:
        """Credits books by identifier."""
        request = credits_service_pb2.ListCreditsBooksRequest()
        return await self._list(self._credits.ListCreditsBooks, request, lambda page: page.books)

    async def credit_accounts(self) -> tuple[credits_pb2.CreditAccount, ...]:
        """Own credits, and those of own teams."""
        request = credits_service_pb2.ListCreditAccountsRequest()
        return await self._list(
            self._credits.ListCreditAccounts, request, lambda page: page.accounts
        )

    async def credit_bids(self, book_id: str) -> tuple[credits_pb2.CreditBid, ...]:
        """Own standing bids of a book."""
        request = credits_service_pb2.ListCreditBidsRequest(book_id=book_id)
        return await self._list(self._credits.ListCreditBids, request, lambda page: page.bids)

    async def credit_rounds(self, book_id: str) -> tuple[credits_pb2.CreditRound, ...]:
        """Rounds of a book in the last seven days, latest first."""
        request = credits_service_pb2.ListCreditRoundsRequest(book_id=book_id)
        return await self._list(self._credits.ListCreditRounds, request, lambda page: page.rounds)

    async def credit_allocations(
        self,
        book_id: str,
        *,
        start: UnixSeconds | None = None,
        end: UnixSeconds | None = None,
    ) -> tuple[credits_pb2.CreditAllocation, ...]:
        """What published rounds gave, by time and bid."""
        request = credits_service_pb2.ListCreditAllocationsRequest(
            book_id=book_id, start_time=timestamp(start), end_time=timestamp(end)
        )
        return await self._list(
            self._credits.ListCreditAllocations, request, lambda page: page.allocations
        )

    # Orders -------------------------------------------------------------------------

    async def order(self, order_id: str) -> order_pb2.OrderView:
        """An own order."""
        request = market_service_pb2.GetOrderRequest(order_id=order_id)
        return (await self._ask(self._market.GetOrder, request)).order

    async def orders(
        self,
        auction_id: str = "",
        *,
        state: order_pb2.OrderState.ValueType = order_pb2.ORDER_STATE_UNSPECIFIED,
        limit: int | None = None,
    ) -> tuple[order_pb2.OrderView, ...]:
        """Own orders, newest first."""
        request = market_service_pb2.ListOrdersRequest(auction_id=auction_id, state=state)
        return await self._list(self._market.ListOrders, request, lambda page: page.orders, limit)

    async def explain_order(self, order_id: str) -> market_service_pb2.ExplainOrderResponse:
        """What became of an own order in a published auction, pool by pool."""
        request = market_service_pb2.ExplainOrderRequest(order_id=order_id)
        return await self._ask(self._market.ExplainOrder, request)

    # Base load and delivery ---------------------------------------------------------

    async def entitlements(self, *, pool_id: str = "") -> tuple[entitlement_pb2.Entitlement, ...]:
        """Own entitlements, held or supplied."""
        request = entitlement_service_pb2.ListEntitlementsRequest(pool_id=pool_id)
        return await self._list(
            self._entitlements.ListEntitlements, request, lambda page: page.entitlements
        )

    async def contract(self, contract_id: str) -> contract_pb2.Contract:
        """An own contract."""
        request = delivery_service_pb2.GetContractRequest(contract_id=contract_id)
        return (await self._ask(self._delivery.GetContract, request)).contract

    async def contracts(
        self,
        auction_id: str = "",
        *,
        order_id: str = "",
        pool_id: str = "",
        state: contract_pb2.ContractState.ValueType = contract_pb2.CONTRACT_STATE_UNSPECIFIED,
        limit: int | None = None,
    ) -> tuple[contract_pb2.Contract, ...]:
        """Own contracts by start of delivery."""
        request = delivery_service_pb2.ListContractsRequest(
            auction_id=auction_id, order_id=order_id, pool_id=pool_id, state=state
        )
        return await self._list(
            self._delivery.ListContracts, request, lambda page: page.contracts, limit
        )

    async def nodes(self, pool_id: str = "") -> tuple[dispatch_pb2.NodeView, ...]:
        """Nodes of own pools, or nodes that serve own orders, by pool and node."""
        request = dispatch_service_pb2.ListNodesRequest(pool_id=pool_id)
        return await self._list(self._dispatch.ListNodes, request, lambda page: page.nodes)

    async def deliveries(self, contract_id: str = "") -> tuple[dispatch_pb2.Delivery, ...]:
        """How own contracts that deliver now stand, by contract."""
        request = dispatch_service_pb2.ListDeliveriesRequest(contract_id=contract_id)
        return await self._list(
            self._dispatch.ListDeliveries, request, lambda page: page.deliveries
        )

    async def sealed_access(
        self, receipt_entry_index: int
    ) -> dispatch_service_pb2.ReadAccessResponse:
        """Sealed access details of a receipt; ``iso_exchange.sealing.open_access`` opens them."""
        request = dispatch_service_pb2.ReadAccessRequest(receipt_entry_index=receipt_entry_index)
        return await self._ask(self._dispatch.ReadAccess, request)

    # Books --------------------------------------------------------------------------

    async def balance(
        self, participant_id: str = "", *, asset: str = ""
    ) -> settlement_service_pb2.GetBalanceResponse:
        """Balances, and the collateral free for new orders; empty for the caller's own."""
        request = settlement_service_pb2.GetBalanceRequest(
            participant_id=participant_id, asset=asset
        )
        return await self._ask(self._settlement.GetBalance, request)

    async def transfers(
        self, *, account: str = "", contract_id: str = "", limit: int | None = None
    ) -> tuple[settlement_pb2.Transfer, ...]:
        """Transfers that touch the caller's accounts, in the order of the books."""
        request = settlement_service_pb2.ListTransfersRequest(
            account=account, contract_id=contract_id
        )
        return await self._list(
            self._settlement.ListTransfers, request, lambda page: page.transfers, limit
        )

    async def statements(self, *, limit: int | None = None) -> tuple[settlement_pb2.Statement, ...]:
        """Own statements, newest first, without their lines."""
        request = settlement_service_pb2.ListStatementsRequest()
        return await self._list(
            self._settlement.ListStatements, request, lambda page: page.statements, limit
        )

    async def statement(self, statement_id: str) -> StatementWithLines:
        """An own statement with all of its lines."""
        request = settlement_service_pb2.GetStatementRequest(
            statement_id=statement_id, page_size=PAGE_SIZE
        )
        lines: list[settlement_pb2.StatementLine] = []
        while True:
            page = await self._ask(self._settlement.GetStatement, request)
            lines.extend(page.lines)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return StatementWithLines(statement=page.statement, lines=tuple(lines))

    async def disputes(self) -> tuple[dispute_pb2.DisputeView, ...]:
        """Disputes of own contracts; the operator and auditors see all."""
        request = settlement_service_pb2.ListDisputesRequest()
        return await self._list(
            self._settlement.ListDisputes, request, lambda page: page.disputes, None
        )

    async def grants(self) -> tuple[entitlement_pb2.Grant, ...]:
        """Granted capacity; public."""
        request = entitlement_service_pb2.ListGrantsRequest()
        return await self._list(
            self._entitlements.ListGrants, request, lambda page: page.grants, None
        )

    async def payouts(
        self, participant_id: str = "", *, limit: int | None = None
    ) -> tuple[settlement_pb2.Payout, ...]:
        """Payouts, newest first; empty for the caller's own."""
        request = settlement_service_pb2.ListPayoutsRequest(participant_id=participant_id)
        return await self._list(
            self._settlement.ListPayouts, request, lambda page: page.payouts, limit
        )

    async def community_totals(
        self, site_id: str = "", *, limit: int | None = None
    ) -> tuple[settlement_pb2.CommunityTotal, ...]:
        """What host communities earned, in the order of the log; empty for every site."""
        request = settlement_service_pb2.GetCommunityTotalsRequest(site_id=site_id)
        return await self._list(
            self._settlement.GetCommunityTotals, request, lambda page: page.totals, limit
        )

    # Log ----------------------------------------------------------------------------

    async def checkpoint(self) -> ledger_pb2.Checkpoint:
        """Latest published checkpoint; verify its note with the key of the log."""
        request = ledger_service_pb2.GetCheckpointRequest()
        return (await self._ask(self._ledger.GetCheckpoint, request)).checkpoint

    async def entry(self, entry_index: int) -> ledger_pb2.Entry:
        """One log entry, with its opening where the caller may see it."""
        request = ledger_service_pb2.GetEntryRequest(entry_index=entry_index)
        return (await self._ask(self._ledger.GetEntry, request)).entry

    async def entries(
        self, start: int = 0, *, kinds: Sequence[str] = (), limit: int | None = None
    ) -> tuple[ledger_pb2.Entry, ...]:
        """Log entries from ``start`` on, ascending."""
        request = ledger_service_pb2.ListEntriesRequest(start_entry_index=start, kinds=kinds)
        return await self._list(self._ledger.ListEntries, request, lambda page: page.entries, limit)

    async def inclusion_proof(
        self, entry_index: int, *, tree_size: int = 0
    ) -> ledger_service_pb2.GetInclusionProofResponse:
        """Proof that an entry is in the tree of a size, 0 for the latest published."""
        request = ledger_service_pb2.GetInclusionProofRequest(
            entry_index=entry_index, tree_size=tree_size
        )
        return await self._ask(self._ledger.GetInclusionProof, request)

    async def consistency_proof(
        self, first_size: int, second_size: int = 0
    ) -> ledger_service_pb2.GetConsistencyProofResponse:
        """Proof that a larger tree extends a smaller one."""
        request = ledger_service_pb2.GetConsistencyProofRequest(
            first_tree_size=first_size, second_tree_size=second_size
        )
        return await self._ask(self._ledger.GetConsistencyProof, request)

    async def document(self, sha256: bytes) -> bytes:
        """A document by its digest, checked against it.

        Raises:
            UntrustedAnswer: the bytes have another digest.
        """
        body = bytearray()
        while True:
            request = ledger_service_pb2.GetDocumentRequest(sha256=sha256, offset_bytes=len(body))
            piece = await self._ask(self._ledger.GetDocument, request)
            body.extend(piece.chunk)
            if len(body) >= piece.size_bytes or not piece.chunk:
                break
        if hashlib.sha256(body).digest() != sha256:
            message = f"the document of {sha256.hex()} has another digest"
            raise UntrustedAnswer(message)
        return bytes(body)

    # ----------------------------------------------------------------------------------

    async def _ask(
        self,
        method: Callable[..., Awaitable[ResponseT]],
        request: Any,  # noqa: ANN401 - gRPC checks it against the method
    ) -> ResponseT:
        return await call(
            lambda: method(request, timeout=self._timeout_s), self._retry, self._sleep
        )

    async def _list(
        self,
        method: Callable[..., Awaitable[PagedResponseT]],
        request: _PagedRequest,
        items: Callable[[PagedResponseT], Iterable[T]],
        limit: int | None = None,
    ) -> tuple[T, ...]:
        found: list[T] = []
        while limit is None or len(found) < limit:
            request.page_size = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(found))
            page = await self._ask(method, request)
            found.extend(items(page))
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return tuple(found)


def timestamp(seconds: int | None) -> Timestamp | None:
    """API timestamp of seconds since the epoch; None stays unset."""
    return None if seconds is None else Timestamp(seconds=seconds)


def microseconds(time: Timestamp) -> int:
    """Microseconds since the epoch of an API timestamp."""
    return time.seconds * MICROSECONDS + time.nanos // NANOSECONDS_PER_MICROSECOND
