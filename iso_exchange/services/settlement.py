"""SettlementService: own books for each participant, all for auditors, totals for everybody."""

from __future__ import annotations

from typing import Final

from clearing import codec
from iso_exchange.api.v1 import settlement_service_pb2
from iso_exchange.api.v1.settlement_service_pb2_grpc import SettlementServiceServicer
from iso_exchange.commands import Role
from iso_exchange.convert import enums, views
from iso_exchange.money_commands import DecideDispute, DisputeHour
from iso_exchange.sequencer.deliveries import period_of
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.state import Dispute
from iso_exchange.services.access import Caller, Context, subject_of
from iso_exchange.services.backend import Backend
from iso_exchange.services.book_accounts import accounts_of, is_account
from iso_exchange.services.errors import refuse
from iso_exchange.services.pages import Page, cut, page_of
from iso_exchange.services.periods import overlaps
from iso_exchange.services.sealed import is_sealed, sealed_holds, without_holds
from settlement.ledger import accounts
from settlement.storage.store import AppliedTransfer
from settlement.types import USD, Statement

SCAN_COUNT: Final = 1_000
ENTRY_INDEX_MAX: Final = 2**63 - 1
POSITION_MAX: Final = 2**31 - 1
"""What the database's columns hold; a forged token may name any number."""


class SettlementService(SettlementServiceServicer):
    """The books as their owners see them."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend

    async def GetBalance(
        self, request: settlement_service_pb2.GetBalanceRequest, context: Context
    ) -> settlement_service_pb2.GetBalanceResponse:
        """Read balances in every asset."""
        caller = self._backend.caller(context)
        subject = subject_of(caller, request.participant_id)
        state = self._backend.state
        owned = set(accounts_of(state, subject))
        # Others do not learn what sealed orders would cost.
        hidden = () if subject == caller.participant_id else sealed_holds(state)
        balances = [
            without_holds(balance, hidden)
            for account in sorted(owned)
            for balance in state.books.balances(account)
            if balance.account == account and request.asset in ("", balance.asset)
        ]
        balances.sort(key=lambda balance: (balance.asset, balance.account))
        cash = accounts.cash(subject)
        held = sum(hold.amount for hold in hidden if (hold.debit, hold.asset) == (cash, USD))
        return settlement_service_pb2.GetBalanceResponse(
            balances=[views.balance_view(balance) for balance in balances],
            available_micro_usd=state.books.available_to(subject) + held,
            ledger_size=self._backend.size,
        )

    async def ListTransfers(
        self, request: settlement_service_pb2.ListTransfersRequest, context: Context
    ) -> settlement_service_pb2.ListTransfersResponse:
        """List transfers in the order of the books."""
        caller = self._backend.caller(context)
        names = self._accounts(caller, request.account)
        state = self._backend.state
        own = set(names) <= set(accounts_of(state, caller.participant_id))
        page = page_of(request)
        start = _start_of(page)
        size = self._backend.size
        code = enums.TRANSFER_CODE.value(request.code)
        found: list[AppliedTransfer] = []
        while len(found) <= page.size:
            batch, start, done = await self._merged(names, start)
            found.extend(
                item
                for item in batch
                if request.contract_id in ("", item.transfer.contract_id)
                and code in (None, item.transfer.code)
                and (own or not is_sealed(state, item.transfer))
            )
            if done:
                break
        chosen = found[: page.size]
        more = len(found) > len(chosen)
        return settlement_service_pb2.ListTransfersResponse(
            transfers=[views.transfer_view(item) for item in chosen],
            next_page_token=page.token(_place(chosen[-1])) if more else "",
            ledger_size=size,
        )

    async def ListStatements(
        self, request: settlement_service_pb2.ListStatementsRequest, context: Context
    ) -> settlement_service_pb2.ListStatementsResponse:
        """List statements, newest first."""
        caller = self._backend.caller(context)
        await self._backend.journal.refresh()
        found, token = cut(
            page_of(request),
            (
                statement
                for statement in self._backend.state.statements.values()
                if caller.may_read((statement.party_id,))
                and request.asset in ("", statement.asset)
                and overlaps(request, statement.period.start, statement.period.end)
            ),
            lambda statement: (self._entry_index(statement),),
            descending=True,
        )
        return settlement_service_pb2.ListStatementsResponse(
            statements=[
                views.statement_view(
                    await self._whole(statement), entry_index=self._entry_index(statement)
                )
                for statement in found
            ],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def GetStatement(
        self, request: settlement_service_pb2.GetStatementRequest, context: Context
    ) -> settlement_service_pb2.GetStatementResponse:
        """Read one statement with its lines, page by page."""
        caller = self._backend.caller(context)
        statement = self._backend.state.statements.get(request.statement_id)
        if statement is None or not caller.may_read((statement.party_id,)):
            raise refuse(
                Code.NOT_FOUND, "statement_id", "list your statements", got=request.statement_id
            )
        await self._backend.journal.refresh()
        statement = await self._whole(statement)
        found, token = cut(
            page_of(request), enumerate(statement.lines), lambda numbered: (numbered[0],)
        )
        return settlement_service_pb2.GetStatementResponse(
            statement=views.statement_view(statement, entry_index=self._entry_index(statement)),
            lines=[views.statement_line_view(line) for _, line in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def _whole(self, statement: Statement) -> Statement:
        """A statement with its lines; of a spot market's its document alone has them."""
        if statement.lines:
            return statement
        issued = self._backend.journal.statements[statement.statement_id].command
        stored = await self._backend.store.document(bytes.fromhex(issued.statement_sha256))
        if stored is None:
            raise refuse(Code.UNAVAILABLE, "", "the statement is not stored yet: ask again")
        return codec.decode(stored.body, Statement)

    async def ListPayouts(
        self, request: settlement_service_pb2.ListPayoutsRequest, context: Context
    ) -> settlement_service_pb2.ListPayoutsResponse:
        """List payouts, newest first."""
        caller = self._backend.caller(context)
        subject = subject_of(caller, request.participant_id, operator=True)
        journal = self._backend.journal
        await journal.refresh()
        found, token = cut(
            page_of(request),
            (
                statement
                for statement in self._backend.state.statements.values()
                if statement.party_id == subject and statement.payout > 0
            ),
            lambda statement: (self._entry_index(statement),),
            descending=True,
        )
        return settlement_service_pb2.ListPayoutsResponse(
            payouts=[
                views.payout_view(
                    statement,
                    book_time_us=journal.statements[statement.statement_id].mark.time_us,
                    entry_index=self._entry_index(statement),
                )
                for statement in found
            ],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def GetCommunityTotals(
        self, request: settlement_service_pb2.GetCommunityTotalsRequest, context: Context
    ) -> settlement_service_pb2.GetCommunityTotalsResponse:
        """Read what host communities earned; public."""
        self._backend.caller(context)
        await self._backend.journal.refresh()
        state = self._backend.state
        matching = [
            total
            for total in self._backend.journal.totals
            if request.site_id in ("", total.command.site_id)
            and overlaps(
                request,
                (period := period_of(state, total.command.auction_id)).start,
                period.end,
            )
        ]
        found, token = cut(page_of(request), matching, lambda total: (total.mark.entry_index,))
        return settlement_service_pb2.GetCommunityTotalsResponse(
            totals=[
                views.community_total_view(
                    total.command,
                    period_of(state, total.command.auction_id),
                    entry_index=total.mark.entry_index,
                )
                for total in found
            ],
            surcharge_sum_micro_usd=str(sum(total.command.surcharge for total in matching)),
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def DisputeHour(
        self, request: settlement_service_pb2.DisputeHourRequest, context: Context
    ) -> settlement_service_pb2.DisputeHourResponse:
        """Contest one contract-hour and freeze the amount in question."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, DisputeHour)
        return settlement_service_pb2.DisputeHourResponse(
            receipt=receipt,
            dispute=views.dispute_view(self._backend.state.disputes[command.dispute_id]),
        )

    async def DecideDispute(
        self, request: settlement_service_pb2.DecideDisputeRequest, context: Context
    ) -> settlement_service_pb2.DecideDisputeResponse:
        """Decide a dispute; an upheld one corrects the hour."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, DecideDispute)
        return settlement_service_pb2.DecideDisputeResponse(
            receipt=receipt,
            dispute=views.dispute_view(self._backend.state.disputes[command.dispute_id]),
        )

    async def ListDisputes(
        self, request: settlement_service_pb2.ListDisputesRequest, context: Context
    ) -> settlement_service_pb2.ListDisputesResponse:
        """List disputes of the caller's contracts; the operator decides all of them."""
        caller = self._backend.caller(context)
        state = self._backend.state
        participant = state.participants.get(caller.participant_id)
        decides = participant is not None and Role.OPERATOR in participant.roles
        found, token = cut(
            page_of(request),
            (
                dispute
                for dispute in state.disputes.values()
                if decides or caller.may_read(self._parties(dispute))
                if request.state in (0, views.dispute_view(dispute).state)
            ),
            lambda dispute: (dispute.opened.dispute_id,),
        )
        return settlement_service_pb2.ListDisputesResponse(
            disputes=[views.dispute_view(dispute) for dispute in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    def _parties(self, dispute: Dispute) -> tuple[str, str]:
        contract = self._backend.state.contracts[dispute.opened.contract_id]
        return contract.buyer_id, contract.supplier_id

    def _accounts(self, caller: Caller, requested: str) -> tuple[str, ...]:
        own = accounts_of(self._backend.state, caller.participant_id)
        if not requested:
            return own
        if not is_account(requested):
            raise refuse(
                Code.INVALID_VALUE, "account", "name an account of the books", got=requested
            )
        if requested not in own and not caller.is_auditor:
            raise refuse(
                Code.NOT_OWNER, "account", "others' accounts are for auditors", got=requested
            )
        return (requested,)

    async def _merged(
        self, names: tuple[str, ...], start: tuple[int, int]
    ) -> tuple[list[AppliedTransfer], tuple[int, int], bool]:
        """Next transfers of several accounts in order, where to go on, and whether that was all."""
        merged: dict[tuple[int, int], AppliedTransfer] = {}
        ends = []
        for name in names:
            batch = await self._backend.store.transfers(name, start, SCAN_COUNT)
            merged.update({_place(item): item for item in batch})
            if len(batch) == SCAN_COUNT:
                ends.append(_place(batch[-1]))
        # Beyond the end of a full batch its account may have transfers that were not read yet.
        limit = min(ends, default=None)
        places = sorted(place for place in merged if limit is None or place <= limit)
        if limit is None:
            return [merged[place] for place in places], start, True
        return [merged[place] for place in places], (limit[0], limit[1] + 1), False

    def _entry_index(self, statement: Statement) -> int:
        return self._backend.journal.statements[statement.statement_id].mark.entry_index


def _place(item: AppliedTransfer) -> tuple[int, int]:
    return item.entry_index, item.position


def _start_of(page: Page) -> tuple[int, int]:
    if page.after is None:
        return 0, 0
    match page.after:
        case (int() as entry_index, int() as position) if (
            0 <= entry_index < ENTRY_INDEX_MAX and 0 <= position < POSITION_MAX
        ):
            return entry_index, position + 1
        case _:
            raise refuse(Code.INVALID_VALUE, "page_token", "send the token as it was given")
