"""The state machine: one command in, its effects or a refusal out.

Deterministic: the same commands with the same times and documents give the same state
on every host, which is how a restart rebuilds it and how an auditor replays it. No I/O,
no clock, no randomness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from clearing.errors import InvariantError
from iso_exchange import commands, credit_commands, money_commands, spot_commands
from iso_exchange.commands import Command
from iso_exchange.sequencer import (
    after_auction,
    allocation_record,
    auctions,
    base_load,
    base_load_release,
    credit_books,
    credit_rounds,
    deliveries,
    dispatch,
    dispatch_receipts,
    dispatch_reclaim,
    disputes,
    grants,
    keys,
    registry,
    release,
    spot,
    spot_entry,
    spot_returns,
    succession,
    webhook,
)
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import State

Handler = Callable[[State, Any, Meta], Accepted | Rejected]

HANDLERS: Final[dict[type, Handler]] = {
    commands.RegisterParticipant: registry.register_participant,
    commands.RevokeKey: registry.revoke_key,
    commands.RotateKey: keys.rotate_key,
    commands.RegisterRootKey: keys.register_root_key,
    commands.RotateLogKey: keys.rotate_log_key,
    commands.CloseLog: succession.close_log,
    commands.ContinueLog: succession.continue_log,
    commands.SuspendParticipant: registry.suspend_participant,
    commands.ReinstateParticipant: registry.reinstate_participant,
    commands.CancelAllOrders: spot_entry.cancel_all_orders,
    commands.RegisterSite: registry.register_site,
    commands.RegisterPool: registry.register_pool,
    commands.RegisterMeter: registry.register_meter,
    commands.PublishChipTable: registry.publish_chip_table,
    commands.RecordDeposit: registry.record_deposit,
    commands.CreateAuction: auctions.create_auction,
    commands.HaltAuction: auctions.halt_auction,
    commands.ResumeAuction: auctions.resume_auction,
    commands.SubmitOrder: spot_entry.submit_order,
    commands.CancelOrder: spot_entry.cancel_order,
    commands.OpenSpotMarket: spot.open_spot_market,
    commands.HaltSpotMarket: spot.halt_spot_market,
    commands.ResumeSpotMarket: spot.resume_spot_market,
    commands.CloseSpotMarket: spot.close_spot_market,
    commands.SetWebhook: webhook.set_webhook,
    commands.ReturnHours: spot_returns.return_hours,
    commands.CloseRun: spot.close_run,
    commands.GiveNotices: dispatch_reclaim.give_notices,
    spot_commands.ReportAllocation: allocation_record.report_allocation,
    commands.RegisterEntitlement: base_load.register_entitlement,
    commands.Nominate: base_load.nominate,
    commands.Release: base_load_release.release,
    commands.Recall: base_load_release.recall,
    commands.SubmitReadings: deliveries.submit_readings,
    commands.ReportOutage: deliveries.report_outage,
    commands.InstructSuppliers: dispatch.instruct_suppliers,
    commands.AcknowledgeBatch: dispatch_receipts.acknowledge_batch,
    commands.SignReceipt: dispatch_receipts.sign_receipt,
    commands.DeclareTimeout: dispatch_receipts.declare_timeout,
    commands.SetAccessKey: dispatch_receipts.set_access_key,
    commands.CloseAuction: auctions.close_auction,
    commands.PublishResult: auctions.publish_result,
    commands.PublishPrices: auctions.publish_prices,
    commands.NotifyAward: auctions.notify_award,
    commands.FailAuction: auctions.fail_auction,
    commands.SettleHour: deliveries.settle_hour,
    commands.IssueStatement: deliveries.issue_statement,
    commands.ReleaseBook: release.release_book,
    commands.PublishCommunityTotal: deliveries.publish_community_total,
    money_commands.PublishSpot: after_auction.publish_spot,
    money_commands.CorrectHour: after_auction.correct_hour,
    money_commands.RebateRents: after_auction.rebate_rents,
    money_commands.RebatePool: after_auction.rebate_pool,
    money_commands.DisputeHour: disputes.dispute_hour,
    money_commands.DecideDispute: disputes.decide_dispute,
    money_commands.RegisterGrant: grants.register_grant,
    credit_commands.OpenCredits: credit_books.open_credits,
    credit_commands.CloseCredits: credit_books.close_credits,
    credit_commands.GrantCredits: credit_books.grant_credits,
    credit_commands.BidCredits: credit_books.bid_credits,
    credit_commands.CancelCreditBid: credit_books.cancel_credit_bid,
    credit_commands.CloseCreditRound: credit_rounds.close_round,
    credit_commands.PublishCreditRound: credit_rounds.publish_round,
    credit_commands.DiscloseCreditRound: credit_rounds.disclose_round,
    credit_commands.ExpireCredits: credit_rounds.expire_credits,
}
"""One handler per command; total over ``Command`` (checked by a test)."""


KEEP_WANTS: Final = frozenset({commands.InstructSuppliers, commands.AcknowledgeBatch})
"""Commands that leave what was sold of a pool as it is."""


def apply(state: State, command: Command, meta: Meta) -> Accepted | Rejected:
    """Apply one command to the state, whole or not at all.

    Args:
        state: Changed only when the command is accepted.
        command: From ``iso_exchange.commands``; its signature was checked before.
        meta: Time, index and documents.

    Raises:
        InvariantError: a command without a handler; never for anything a client sent.
    """
    handler = HANDLERS.get(type(command))
    if handler is None:
        message = f"no handler for {type(command).__name__}"
        raise InvariantError(message)
    if command.header.origin != state.origin:
        return Rejected(
            code=Code.WRONG_ORIGIN,
            field="header.origin",
            advice="sign for this exchange",
            got=command.header.origin,
            limit=state.origin,
        )
    if state.closed and not isinstance(command, commands.ReleaseBook):
        return Rejected(
            code=Code.WRONG_STATE,
            field="header.origin",
            advice="this log is closed: use the one that continues it",
            got=state.origin,
            limit=state.closed,
        )
    if type(command) not in KEEP_WANTS:
        state.dispatch.forget()
    return handler(state, command, meta)
