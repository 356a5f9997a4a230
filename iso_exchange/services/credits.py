"""CreditService: markets of labs among their teams."""

from __future__ import annotations

from iso_exchange.api.v1 import credits_pb2, credits_service_pb2
from iso_exchange.api.v1.credits_service_pb2_grpc import CreditServiceServicer
from iso_exchange.convert import body_of
from iso_exchange.convert.views.credits import (
    credit_account_view,
    credit_allocation_views,
    credit_round_view,
    credits_book_view,
)
from iso_exchange.credit_commands import (
    BidCredits,
    CancelCreditBid,
    CloseCredits,
    GrantCredits,
    OpenCredits,
)
from iso_exchange.sequencer.credit_rounds import reserved_of
from iso_exchange.sequencer.credit_state import CreditBook
from iso_exchange.sequencer.refusals import Code
from iso_exchange.services.access import Context
from iso_exchange.services.backend import Backend
from iso_exchange.services.errors import refuse
from iso_exchange.services.pages import cut, page_of
from iso_exchange.services.periods import starts_within
from settlement.credits import asset_of
from settlement.ledger import accounts


class CreditService(CreditServiceServicer):
    """Credits."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend

    async def OpenCredits(
        self, request: credits_service_pb2.OpenCreditsRequest, context: Context
    ) -> credits_service_pb2.OpenCreditsResponse:
        """Open a book."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, OpenCredits)
        return credits_service_pb2.OpenCreditsResponse(
            receipt=receipt, book=credits_book_view(self._known(command.book_id))
        )

    async def CloseCredits(
        self, request: credits_service_pb2.CloseCreditsRequest, context: Context
    ) -> credits_service_pb2.CloseCreditsResponse:
        """End a book."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, CloseCredits)
        return credits_service_pb2.CloseCreditsResponse(
            receipt=receipt, book=credits_book_view(self._known(command.book_id))
        )

    async def GrantCredits(
        self, request: credits_service_pb2.GrantCreditsRequest, context: Context
    ) -> credits_service_pb2.GrantCreditsResponse:
        """Give a team credits."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, GrantCredits)
        return credits_service_pb2.GrantCreditsResponse(
            receipt=receipt, grant=credits_pb2.CreditGrant.FromString(body_of(command))
        )

    async def BidCredits(
        self, request: credits_service_pb2.BidCreditsRequest, context: Context
    ) -> credits_service_pb2.BidCreditsResponse:
        """Take a standing bid."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, BidCredits)
        return credits_service_pb2.BidCreditsResponse(
            receipt=receipt, bid=credits_pb2.CreditBid.FromString(body_of(command))
        )

    async def CancelCreditBid(
        self, request: credits_service_pb2.CancelCreditBidRequest, context: Context
    ) -> credits_service_pb2.CancelCreditBidResponse:
        """Withdraw a standing bid."""
        caller = self._backend.caller(context)
        _, receipt = await self._backend.mutations.one(caller, request, CancelCreditBid)
        return credits_service_pb2.CancelCreditBidResponse(receipt=receipt)

    async def ListCreditsBooks(
        self, request: credits_service_pb2.ListCreditsBooksRequest, context: Context
    ) -> credits_service_pb2.ListCreditsBooksResponse:
        """List books; they are public, as their opening is."""
        self._backend.caller(context)
        found, token = cut(
            page_of(request),
            self._backend.state.credit_books.values(),
            lambda book: (book.opened.book_id,),
        )
        return credits_service_pb2.ListCreditsBooksResponse(
            books=[credits_book_view(book) for book in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def ListCreditAccounts(
        self, request: credits_service_pb2.ListCreditAccountsRequest, context: Context
    ) -> credits_service_pb2.ListCreditAccountsResponse:
        """Own credits, and those of own teams."""
        caller = self._backend.caller(context)
        state = self._backend.state
        found, token = cut(
            page_of(request),
            (key for key in state.credit_teams if caller.participant_id in key),
            lambda key: key,
        )
        return credits_service_pb2.ListCreditAccountsResponse(
            accounts=[
                credit_account_view(
                    organisation,
                    team_id,
                    state.credit_teams[organisation, team_id],
                    state.books.balance(accounts.team(team_id), asset_of(organisation)).posted,
                    reserved_of(state, organisation, team_id),
                )
                for organisation, team_id in found
            ],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def ListCreditBids(
        self, request: credits_service_pb2.ListCreditBidsRequest, context: Context
    ) -> credits_service_pb2.ListCreditBidsResponse:
        """Own standing bids; nobody else's."""
        caller = self._backend.caller(context)
        book = self._known(request.book_id)
        found, token = cut(
            page_of(request),
            (bid for bid in book.bids.values() if bid.team_id == caller.participant_id),
            lambda bid: (bid.submitted.bid_id,),
        )
        return credits_service_pb2.ListCreditBidsResponse(
            bids=[credits_pb2.CreditBid.FromString(body_of(bid.submitted)) for bid in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def ListCreditRounds(
        self, request: credits_service_pb2.ListCreditRoundsRequest, context: Context
    ) -> credits_service_pb2.ListCreditRoundsResponse:
        """Rounds, latest first; their gates are public."""
        self._backend.caller(context)
        book = self._known(request.book_id)
        found, token = cut(
            page_of(request),
            book.rounds.values(),
            lambda decided: (decided.start,),
            descending=True,
        )
        return credits_service_pb2.ListCreditRoundsResponse(
            rounds=[credit_round_view(book, decided) for decided in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def ListCreditAllocations(
        self, request: credits_service_pb2.ListCreditAllocationsRequest, context: Context
    ) -> credits_service_pb2.ListCreditAllocationsResponse:
        """What published rounds gave, to whom it concerns."""
        caller = self._backend.caller(context)
        book = self._known(request.book_id)
        found, token = cut(
            page_of(request),
            (
                item
                for decided in book.rounds.values()
                for item in credit_allocation_views(book, decided)
                if caller.may_read((item.team_id, book.organisation))
                and starts_within(request, item.start_time.seconds)
            ),
            lambda item: (item.start_time.seconds, item.bid_id),
        )
        return credits_service_pb2.ListCreditAllocationsResponse(
            allocations=found, next_page_token=token, ledger_size=self._backend.size
        )

    def _known(self, book_id: str) -> CreditBook:
        book = self._backend.state.credit_books.get(book_id)
        if book is None:
            raise refuse(Code.NOT_FOUND, "book_id", "list the credits books", got=book_id)
        return book
