"""The books as their owners see them: balances, transfers, statements, payouts, totals."""

from __future__ import annotations

import hashlib

from clearing import codec
from iso_exchange.api.v1 import dispute_pb2, settlement_pb2
from iso_exchange.commands import PublishCommunityTotal
from iso_exchange.convert import enums
from iso_exchange.convert.disputes import write_dispute, write_dispute_decision
from iso_exchange.convert.fields import timestamp, timestamp_of_us
from iso_exchange.sequencer.state import Auction, Dispute
from settlement.storage.store import AppliedTransfer, Balance
from settlement.types import Statement, StatementLine


def balance_view(balance: Balance) -> settlement_pb2.Balance:
    """Balance of one account in one asset."""
    return settlement_pb2.Balance(
        account=balance.account,
        asset=balance.asset,
        posted=str(balance.posted),
        pending_debit=str(balance.pending_debit),
        pending_credit=str(balance.pending_credit),
    )


def transfer_view(item: AppliedTransfer) -> settlement_pb2.Transfer:
    """One movement as the books applied it."""
    transfer = item.transfer
    return settlement_pb2.Transfer(
        transfer_id=transfer.transfer_id,
        asset=transfer.asset,
        debit_account=transfer.debit,
        credit_account=transfer.credit,
        amount=str(transfer.amount),
        applied_amount=str(item.applied),
        phase=enums.PHASE.number(transfer.phase),
        code=enums.TRANSFER_CODE.number(transfer.code),
        pending_transfer_id=transfer.pending_id,
        reason=transfer.reason,
        contract_id=transfer.contract_id,
        hour_start_time=timestamp(transfer.interval_start) if transfer.interval_start else None,
        quantity_chip_seconds=transfer.quantity,
        price_micro_usd_per_chip_hour=transfer.price,
        corrected_transfer_id=transfer.corrects,
        entry_index=item.entry_index,
        position=item.position,
    )


def statement_view(
    statement: Statement, *, entry_index: int | None = None
) -> settlement_pb2.Statement:
    """A statement without its lines.

    Args:
        statement: The statement.
        entry_index: Log entry that issued it, None where it is not at hand.
    """
    return settlement_pb2.Statement(
        statement_id=statement.statement_id,
        party_id=statement.party_id,
        account=statement.account,
        asset=statement.asset,
        start_time=timestamp(statement.period.start),
        end_time=timestamp(statement.period.end),
        opening_amount=str(statement.opening),
        closing_amount=str(statement.closing),
        payout_amount=str(statement.payout),
        line_count=len(statement.lines),
        document_sha256=hashlib.sha256(codec.encode(statement)).digest(),
        entry_index=entry_index,
        collateral_call_amount=str(statement.collateral_call),
    )


def statement_line_view(line: StatementLine) -> settlement_pb2.StatementLine:
    """One line of a statement."""
    return settlement_pb2.StatementLine(
        code=enums.TRANSFER_CODE.number(line.code),
        contract_id=line.contract_id,
        hour_start_time=timestamp(line.interval_start) if line.interval_start else None,
        quantity_chip_seconds=line.quantity,
        price_micro_usd_per_chip_hour=line.price,
        amount=str(line.amount),
        counterparty=line.counterparty,
        transfer_ids=line.transfer_ids,
    )


def dispute_view(dispute: Dispute) -> dispute_pb2.DisputeView:
    """A dispute as it stands now."""
    decided = dispute.decision is not None
    return dispute_pb2.DisputeView(
        dispute=write_dispute(dispute.opened),
        state=dispute_pb2.DISPUTE_STATE_DECIDED if decided else dispute_pb2.DISPUTE_STATE_OPEN,
        frozen_micro_usd=dispute.frozen,
        decision=None if dispute.decision is None else write_dispute_decision(dispute.decision),
    )


def payout_view(
    statement: Statement, *, book_time_us: int | None = None, entry_index: int | None = None
) -> settlement_pb2.Payout:
    """Payout that a statement triggered; only for a statement whose ``payout`` is above zero.

    Args:
        statement: The statement; a payout has its identifier.
        book_time_us: When it was booked, None where that is not at hand.
        entry_index: Log entry that booked it, None where it is not at hand.
    """
    return settlement_pb2.Payout(
        payout_id=statement.statement_id,
        participant_id=statement.party_id,
        statement_id=statement.statement_id,
        amount_micro_usd=statement.payout,
        book_time=None if book_time_us is None else timestamp_of_us(book_time_us),
        entry_index=entry_index,
    )


def community_total_view(
    total: PublishCommunityTotal, auction: Auction, *, entry_index: int | None = None
) -> settlement_pb2.CommunityTotal:
    """What a site's community earned over an auction's delivery period."""
    intervals = auction.spec.intervals
    return settlement_pb2.CommunityTotal(
        auction_id=total.auction_id,
        site_id=total.site_id,
        community_id=total.community_id,
        start_time=timestamp(intervals[0].start),
        end_time=timestamp(intervals[-1].end),
        delivered_chip_seconds=total.delivered,
        surcharge_micro_usd=total.surcharge,
        entry_index=entry_index,
    )
