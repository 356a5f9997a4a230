"""Delivery and settlement commands: readings, outages, hours, statements, community totals."""

from __future__ import annotations

from dataclasses import replace

from clearing.errors import InvariantError
from clearing.types import Interval
from clearing.units import MicroUsd
from iso_exchange.commands import (
    IssueStatement,
    PublishCommunityTotal,
    ReportOutage,
    Role,
    SettleHour,
    SubmitReadings,
)
from iso_exchange.sequencer.after_auction import (
    batches_of,
    correctable_pools,
    mark_due,
    served_there,
)
from iso_exchange.sequencer.allocation_record import note_delivery
from iso_exchange.sequencer.dispatch_wants import unknown_nodes
from iso_exchange.sequencer.effects import Accepted, Meta, document, post
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_moves import unposted
from iso_exchange.sequencer.spot_returns import forget_returns, pass_on
from iso_exchange.sequencer.spot_settlement import day_of, earn, pay_total, settle_run
from iso_exchange.sequencer.state import (
    Auction,
    AuctionState,
    SettledWith,
    State,
    find_auction,
)
from iso_exchange.sequencer.strips import delivery_intervals
from settlement.ledger import accounts
from settlement.metering.billable import METERING_INTERVAL_S
from settlement.postings.correction import CORRECTION_SECONDS_MAX
from settlement.postings.deposits import collateral_call_of, payable, payout
from settlement.statements import statement
from settlement.storage.store import AppliedTransfer
from settlement.types import USD, DeliveredHours, MeterBatch, Postings, Statement

NODES_SHOWN_LENGTH = 200
UNSTATED = -1
"""``SettleHour.batch_count`` of entries of before it was stated."""


def submit_readings(state: State, command: SubmitReadings, meta: Meta) -> Accepted | Rejected:
    """Take one signed meter batch: one per pool and metering interval, once."""
    batch = command.batch
    meter = state.meters.get(command.header.signer_id)
    if meter is None or batch.meter_id != command.header.signer_id:
        return Rejected(
            code=Code.NOT_OWNER,
            field="meter_id",
            advice="a meter sends its own readings",
            got=batch.meter_id,
        )
    if batch.interval.end <= state.read_from and batch.pool_id not in correctable_pools(
        state, batch.interval, meta.now
    ):
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="interval",
            advice="this interval is settled",
            got=str(batch.interval.end),
            limit=f"after {state.read_from}",
        )
    if batch.pool_id != meter.pool_id:
        return Rejected(
            code=Code.NOT_OWNER,
            field="pool_id",
            advice="the meter is registered for another pool",
            got=batch.pool_id,
            limit=meter.pool_id,
        )
    refused = _refuse_sequence(state, batch, meta)
    if refused:
        return refused
    aligned = (
        batch.interval.duration_s == METERING_INTERVAL_S
        and batch.interval.start % METERING_INTERVAL_S == 0
    )
    if not aligned or batch.interval.end > meta.now:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="interval",
            advice=f"read past intervals of {METERING_INTERVAL_S} s aligned to UTC",
            got=f"[{batch.interval.start}, {batch.interval.end})",
            limit=str(meta.now),
        )
    refused = _refuse_rows(state, command)
    if refused:
        return refused
    state.batches[(batch.pool_id, batch.interval.start)] = batch
    state.meter_sequence[batch.meter_id] = batch.sequence
    mark_due(state, batch.pool_id, batch.interval, meta.now)
    owners = state.pools[batch.pool_id].supplier_ids | {batch.meter_id}
    return Accepted(owners=tuple(sorted(owners)))


def _refuse_sequence(state: State, batch: MeterBatch, meta: Meta) -> Rejected | None:
    """A batch is new, or it corrects the one in force, in time."""
    last = state.meter_sequence.get(batch.meter_id, 0)
    known = state.batches.get((batch.pool_id, batch.interval.start))
    if batch.sequence <= last or (known is not None and not batch.corrects):
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="sequence",
            advice="this interval was read already; a correction names the batch it corrects",
            got=str(batch.sequence),
            limit=f"above {last}",
        )
    if batch.corrects and (known is None or known.sequence != batch.corrects):
        return Rejected(
            code=Code.NOT_FOUND,
            field="corrected_sequence_number",
            advice="name the batch of this interval that is in force",
            got=str(batch.corrects),
            limit=str(known.sequence if known else 0),
        )
    if batch.corrects and meta.now > batch.interval.end + CORRECTION_SECONDS_MAX:
        return Rejected(
            code=Code.WRONG_STATE,
            field="corrected_sequence_number",
            advice="readings are corrected up to 60 days after their interval",
            got=str(meta.now),
            limit=str(batch.interval.end + CORRECTION_SECONDS_MAX),
        )
    return None


def report_outage(state: State, command: ReportOutage, _: Meta) -> Accepted | Rejected:
    """Record that nodes of a pool are down."""
    record = state.pools.get(command.pool_id)
    if record is None:
        return Rejected(
            code=Code.UNKNOWN_POOL, field="pool_id", advice="list the pools", got=command.pool_id
        )
    signer = state.participants[command.header.signer_id]
    if Role.OPERATOR not in signer.roles and signer.participant_id not in record.supplier_ids:
        return Rejected(
            code=Code.NOT_OWNER,
            field="pool_id",
            advice="a supplier reports outages of its own pools",
            got=signer.participant_id,
        )
    unknown = unknown_nodes(state, command)
    if unknown:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="node_ids",
            advice="name nodes as instructions do: n0000, n0001, ... along the fabric",
            got=", ".join(unknown)[:NODES_SHOWN_LENGTH],
        )
    if command.outage_id in state.outages:
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="outage_id",
            advice="choose another identifier",
            got=command.outage_id,
        )
    if command.interval.end <= command.interval.start:
        return Rejected(
            code=Code.INVALID_VALUE, field="interval", advice="an outage ends after it starts"
        )
    state.outages[command.outage_id] = command
    return Accepted(owners=tuple(sorted(record.supplier_ids)))


def settle_hour(state: State, command: SettleHour, meta: Meta) -> Accepted | Rejected:
    """Post one delivery interval of an auction, once, after it ended."""
    auction = find_auction(state, command.auction_id)
    if auction is None or auction.state is not AuctionState.PUBLISHED:
        return Rejected(
            code=Code.WRONG_STATE,
            field="auction_id",
            advice="only a published auction is settled",
            got=auction.state.value if auction else "",
        )
    if command.interval not in delivery_intervals(auction) or command.interval.end > meta.now:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="interval",
            advice="settle delivery intervals of the auction that have ended",
            got=f"[{command.interval.start}, {command.interval.end})",
        )
    if command.interval.start in auction.settled:
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="interval",
            advice="this interval is settled",
            got=str(command.interval.start),
        )
    missing = unposted(state, auction, command.interval, meta.now)
    if missing is not None:
        return Rejected(
            code=Code.WRONG_STATE,
            field="interval",
            advice="post what runs say of it, and settle what they sold of it, first",
            got=str(missing.cell.start),
            limit=missing.auction_id,
        )
    pool_balance = state.books.balance(accounts.POOL).posted
    stale = _refuse_stale(state, auction, command, pool_balance)
    if stale:
        return stale
    delivered = document(meta, command.delivered_sha256, DeliveredHours)
    if isinstance(delivered, Rejected):
        return delivered
    postings = document(meta, command.postings_sha256, Postings)
    if isinstance(postings, Rejected):
        return postings
    applied = post(state, meta, postings)
    if isinstance(applied, Rejected):
        return applied
    auction.settled.add(command.interval.start)
    auction.settled_with[command.interval.start] = SettledWith(
        pool_balance=pool_balance, table_version=state.chip_table_version
    )
    state.postings[postings.postings_id] = postings
    state.delivered[(command.auction_id, command.interval.start)] = delivered.hours
    if auction.market_id:
        earn(state, auction, delivered, postings)
        note_delivery(state, auction, delivered)
        pass_on(state.markets[auction.market_id], delivered)
    if len(auction.settled) == len(delivery_intervals(auction)):
        auction.state = AuctionState.SETTLED
        forget_returns(state, command.auction_id)
        if auction.market_id:
            settle_run(state, auction)
        elif not _is_awaited(state, auction):
            auction.unstated = set(state.activity)
    return Accepted(transfers=applied)


def _refuse_stale(
    state: State, auction: Auction, command: SettleHour, pool_balance: int
) -> Rejected | None:
    """Refuse a settlement that was computed from something else than what is there now."""
    read = len(batches_of(state, auction, command.interval))
    for field, what, stated, now in (
        ("batch_count", "readings came meanwhile", command.batch_count, read),
        ("pool_balance", "the stop-loss pool moved meanwhile", command.pool_balance, pool_balance),
    ):
        if stated not in {now, UNSTATED}:
            return Rejected(
                code=Code.WRONG_STATE,
                field=field,
                advice=f"{what}: settle the interval again",
                got=str(stated),
                limit=str(now),
            )
    return None


def statement_period(auction: Auction) -> Interval:
    """Period of the statements that an auction brings: its delivery, or the day of a run."""
    if auction.market_id:
        return day_of(auction.spec.intervals[0].start)
    intervals = auction.spec.intervals
    return Interval(start=intervals[0].start, end=intervals[-1].end)


def period_of(state: State, auction_id: str) -> Interval:
    """Statement period of an auction, or of a run that may have left the state."""
    auction = find_auction(state, auction_id)
    if auction is not None:
        return statement_period(auction)
    return day_of(int(auction_id.rpartition("/")[2]))


def _is_awaited(state: State, auction: Auction) -> bool:
    """Whether another auction of the same delivery period is still to be settled.

    An account gets one statement per period; the last auction to be settled brings it.
    """
    return any(
        other.state in (AuctionState.CLEARED, AuctionState.PUBLISHED)
        and other.spec.intervals[0].start == auction.spec.intervals[0].start
        and other.spec.intervals[-1].end == auction.spec.intervals[-1].end
        for other in state.auctions.values()
    )


def issue_statement(state: State, command: IssueStatement, meta: Meta) -> Accepted | Rejected:
    """Issue the statement of one account, with the payout that it states.

    The statement must be exactly what moved the account since its last one.
    """
    auction = find_auction(state, command.auction_id)
    if auction is None or auction.state is not AuctionState.SETTLED:
        return Rejected(
            code=Code.WRONG_STATE,
            field="auction_id",
            advice="statements follow when every interval is settled",
            got=auction.state.value if auction else "",
        )
    if command.statement_id in state.statements:
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="statement_id",
            advice="it was issued already",
            got=command.statement_id,
        )
    issued = document(meta, command.statement_sha256, Statement)
    if isinstance(issued, Rejected):
        return issued
    due = due_statement(state, auction, issued.account, issued.asset, command.party_id)
    if due != issued or command.statement_id != issued.statement_id:
        return Rejected(
            code=Code.WRONG_STATE,
            field="statement_sha256",
            advice="the account moved meanwhile: draw the statement up again",
            got=issued.statement_id,
        )
    key = (issued.account, issued.asset)
    if key not in auction.unstated:
        return Rejected(
            code=Code.WRONG_STATE,
            field="statement_sha256",
            advice="no statement of this account is due for this auction",
            got=issued.statement_id,
        )
    auction.unstated.discard(key)
    state.activity.pop(key, None)
    state.openings[key] = issued.closing
    transfers: tuple[AppliedTransfer, ...] = ()
    if issued.payout:
        applied = post(state, meta, payout_postings(issued))
        if isinstance(applied, Rejected):
            message = f"payout of {issued.statement_id} refused: {applied}"
            raise InvariantError(message)
        transfers = applied
    # A day of a market has thousands of lines for each account: the document has them.
    kept = replace(issued, lines=()) if auction.market_id else issued
    state.statements[command.statement_id] = kept
    auction.statements.add(command.statement_id)
    return Accepted(owners=(command.party_id,), transfers=transfers)


def due_statement(
    state: State, auction: Auction, account: str, asset: str, party_id: str
) -> Statement:
    """Statement of an account as of now: everything since its last one."""
    payout_amount = called = MicroUsd(0)
    if asset == USD and not account.endswith(":collateral"):
        balance = state.books.balance(account)
        guarantee = None
        if account.startswith("p:"):
            guarantee = state.books.balance(accounts.collateral(party_id))
            called = collateral_call_of(balance, guarantee)
        payout_amount = payable(balance, guarantee)
    return statement(
        party_id=party_id,
        account=account,
        asset=asset,
        period=statement_period(auction),
        opening=state.openings.get((account, asset), MicroUsd(0)),
        applied=state.activity.get((account, asset), ()),
        payout=payout_amount,
        collateral_call=called,
    )


def payout_postings(issued: Statement) -> Postings:
    """Postings of the payout that a statement states."""
    return Postings(
        postings_id=f"payout/{issued.statement_id}",
        transfers=(payout(issued.account, issued.payout, issued.statement_id),),
    )


def publish_community_total(
    state: State, command: PublishCommunityTotal, _: Meta
) -> Accepted | Rejected:
    """Say in public what a community earned."""
    auction = find_auction(state, command.auction_id)
    if auction is None or auction.state is not AuctionState.SETTLED:
        return Rejected(
            code=Code.WRONG_STATE,
            field="auction_id",
            advice="totals follow when every interval is settled",
            got=auction.state.value if auction else "",
        )
    if command.site_id in auction.totals:
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="site_id",
            advice="the total was published already",
            got=command.site_id,
        )
    auction.totals.add(command.site_id)
    if auction.market_id:
        pay_total(state, auction, command.site_id)
    return Accepted()


def _refuse_rows(state: State, command: SubmitReadings) -> Rejected | None:
    seen: set[tuple[str, str]] = set()
    batch = command.batch
    known = state.batches.get((batch.pool_id, batch.interval.start))
    for reading in batch.readings:
        contract = state.contracts.get(reading.contract_id)
        if contract is None and _is_settled_run(state, reading.contract_id):
            if known is not None and reading in known.readings:
                continue  # a correction repeats what it does not correct
            return Rejected(
                code=Code.WRONG_STATE,
                field="readings.contract_id",
                advice="its spot run is settled and is not corrected: repeat the row as it was, or"
                " leave it out",
                got=reading.contract_id,
            )
        if contract is None or not served_there(state, contract, batch.pool_id, batch.interval):
            return Rejected(
                code=Code.NOT_FOUND,
                field="readings.contract_id",
                advice="read contracts of the meter's own pool",
                got=reading.contract_id,
            )
        if reading.healthy < 0 or reading.observed_tflop < 0 or reading.energy_joules < 0:
            return Rejected(
                code=Code.INVALID_VALUE,
                field="readings.healthy_chip_seconds",
                advice="readings are zero or more",
                got=str(reading.healthy),
            )
        limit = batch.interval.duration_s * state.pools[batch.pool_id].pool.chips_per_node
        if reading.healthy > limit:
            return Rejected(
                code=Code.INVALID_VALUE,
                field="readings.healthy_chip_seconds",
                advice="a node has no more chip-seconds than its chips times the interval",
                got=str(reading.healthy),
                limit=str(limit),
            )
        if (reading.contract_id, reading.node_id) in seen:
            return Rejected(
                code=Code.ALREADY_EXISTS,
                field="readings.node_id",
                advice="one row per contract and node",
                got=f"{reading.contract_id} {reading.node_id}",
            )
        seen.add((reading.contract_id, reading.node_id))
    return None


def _is_settled_run(state: State, contract_id: str) -> bool:
    """Whether a contract's name is that of a run that is settled and left the state."""
    market_id, _, rest = contract_id.partition("/")
    market, start = state.markets.get(market_id), rest.partition("/")[0]
    if market is None or not start.isdecimal():
        return False
    record = market.runs.get(int(start))
    return record is not None and record.state == AuctionState.SETTLED.value
