"""Audit of settlement: hours, statements, community totals and the books are recomputed.

Balances are added up here from the transfers, apart from the books that the rules keep.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from clearing import codec
from clearing.errors import InvariantError
from clearing.types import Interval
from clearing.units import MicroUsd, UnixSeconds, energy_charge
from iso_exchange.audit.report import Record, Step
from iso_exchange.audit.results import EntryContext
from iso_exchange.commands import Command, IssueStatement, PublishCommunityTotal, SettleHour
from iso_exchange.money_commands import CorrectHour, PublishSpot, RebatePool, RebateRents
from iso_exchange.sequencer.after_auction import batches_of
from iso_exchange.sequencer.effects import STATED_PREFIXES
from iso_exchange.sequencer.spot_returns import passed_of
from iso_exchange.sequencer.state import Auction, AuctionState, State, find_auction
from iso_exchange.sequencer.strips import delivery_intervals
from iso_exchange.settler.interval import settle_interval
from iso_exchange.settler.recomputation import (
    corrected,
    hours_of,
    pool_surplus,
    rebates,
    recomputed,
)
from settlement.invariants import Settled, check_all
from settlement.ledger import accounts
from settlement.ledger.accounts import AccountKind
from settlement.limits import highest_limits, linked_families
from settlement.metering.billable import MeteredHour
from settlement.metering.moved import delivered_at
from settlement.postings.deposits import collateral_call_of, payable
from settlement.postings.spot_holds import spot_postings
from settlement.spot.result import SpotResult
from settlement.statements import statement
from settlement.storage.store import AppliedTransfer
from settlement.types import USD, DeliveredHour, DeliveredHours, Phase, Postings, Statement

OPERATOR_ID = "operator"
END_OF_LOG = "end of the log"
SECONDS_PER_DAY = 86_400

_Key = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class MoneyAudit:
    """What the audit keeps of money besides the replayed state.

    Attributes:
        hours: Delivery hours recomputed.
        statements: Statements recomputed.
        meter_gaps: Contract-hours with a gap.
    """

    record: Record
    hours: int = 0
    statements: int = 0
    meter_gaps: int = 0
    _moved: list[AppliedTransfer] = field(default_factory=list)
    _added: int = 0
    _balances: dict[_Key, int] = field(default_factory=lambda: defaultdict(int))
    _unstated: dict[_Key, list[AppliedTransfer]] = field(default_factory=dict)
    _stated: dict[_Key, MicroUsd] = field(default_factory=dict)
    _runs: dict[str, Settled] = field(default_factory=dict)
    _earned: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def before(self, state: State, command: Command, entry: EntryContext) -> None:
        """Check what an entry says against the state that it is about to change."""
        if isinstance(command, SettleHour):
            with self.record.guard(Step.HOURS, entry.place):
                self._hour(state, command, entry)
        elif isinstance(command, PublishSpot):
            with self.record.guard(Step.HOURS, entry.place):
                self._spot(state, command, entry)
        elif isinstance(command, CorrectHour):
            with self.record.guard(Step.HOURS, entry.place):
                self._correction(state, command, entry)
        elif isinstance(command, RebateRents):
            with self.record.guard(Step.HOURS, entry.place):
                self._rebate(state, command, entry)
        elif isinstance(command, RebatePool):
            with self.record.guard(Step.HOURS, entry.place):
                where = f"pool rebate of {command.period.start}"
                due = (pool_surplus(state, command.period), command.postings_sha256, "postings")
                self._follows(entry, where, due)
        elif isinstance(command, IssueStatement):
            with self.record.guard(Step.STATEMENTS, entry.place):
                self._statement(state, command, entry)
        elif isinstance(command, PublishCommunityTotal):
            with self.record.guard(Step.COMMUNITIES, entry.place):
                self._total(state, command, entry)

    def after(self, transfers: Iterable[AppliedTransfer]) -> None:
        """Keep what an accepted entry moved."""
        self._moved += transfers

    def _add_up(self) -> None:
        """What moved since the last time, by account."""
        balances, unstated = self._balances, self._unstated
        for item in self._moved[self._added :]:
            transfer, applied = item.transfer, item.applied
            if not applied or transfer.phase is Phase.PENDING:
                continue
            debit, credit, asset = transfer.debit, transfer.credit, transfer.asset
            balances[debit, asset] -= applied
            balances[credit, asset] += applied
            for account in (debit, credit):
                if account.startswith(STATED_PREFIXES):
                    unstated.setdefault((account, asset), []).append(item)
        self._added = len(self._moved)

    def finish(self, state: State) -> None:
        """Check the books at the end of the log."""
        self._add_up()
        with self.record.guard(Step.BALANCES, END_OF_LOG):
            self._books(state)
            self._laws(state)

    def _hour(self, state: State, command: SettleHour, entry: EntryContext) -> None:
        auction = find_auction(state, command.auction_id)
        table = state.chip_table()
        if auction is None or auction.assignment is None or table is None:
            return  # refused on replay
        if command.interval not in delivery_intervals(auction):
            return  # the same; and its length could be anything
        settled = settle_interval(
            assignment=auction.assignment,
            interval=command.interval,
            batches=batches_of(state, auction, command.interval),
            table=table,
            pool_balance=state.books.balance(accounts.POOL).posted,
            earlier=hours_of(state, auction),
            results=auction.spot,
            upheld=state.upheld,
            passed=passed_of(state),
        )
        self._follows(
            entry,
            f"{command.auction_id} at {command.interval.start}",
            (settled.delivered, command.delivered_sha256, "delivered hours"),
            (settled.postings, command.postings_sha256, "postings"),
        )
        if auction.market_id:
            self._earn(auction, settled.delivered)
            self._keep_run(auction, settled.delivered)
        self.hours += 1
        self.meter_gaps += sum(1 for item in settled.delivered.hours if item.gap)
        self.record.count(Step.HOURS, "hours")

    def _spot(self, state: State, command: PublishSpot, entry: EntryContext) -> None:
        auction = state.auctions.get(command.auction_id)
        body = entry.documents.get(command.spot_sha256)
        if auction is None or auction.assignment is None or body is None:
            return  # refused on replay, or a finding of step DOCUMENTS
        result = codec.decode(body, SpotResult)
        self._follows(
            entry,
            f"spot of {command.auction_id} at {command.interval.start}",
            (spot_postings(auction.assignment, result), command.postings_sha256, "holds"),
        )
        self.record.count(Step.HOURS, "spot results")

    def _correction(self, state: State, command: CorrectHour, entry: EntryContext) -> None:
        auction = state.auctions.get(command.auction_id)
        if auction is None or command.interval.start not in auction.due:
            return  # refused on replay
        delivered, postings = corrected(state, auction, command.interval.start)
        self._follows(
            entry,
            f"correction of {command.auction_id} at {command.interval.start}",
            (delivered, command.delivered_sha256, "delivered hours"),
            (postings, command.postings_sha256, "postings"),
        )
        self.record.count(Step.HOURS, "corrections")

    def _rebate(self, state: State, command: RebateRents, entry: EntryContext) -> None:
        auction = state.auctions.get(command.auction_id)
        if auction is None or auction.state is not AuctionState.SETTLED:
            return  # refused on replay
        self._follows(
            entry,
            f"rebate of {command.auction_id}",
            (rebates(state, auction), command.postings_sha256, "postings"),
        )
        self.record.count(Step.HOURS, "rebates")

    def _follows(self, entry: EntryContext, where: str, *rows: tuple[object, str, str]) -> None:
        """Documents are, byte for byte, what the rules make of the readings."""
        for value, digest, what in rows:
            if hashlib.sha256(codec.encode(value)).hexdigest() != digest:
                detail = f"{what} of {where} do not follow from the readings"
                self.record.fail(Step.HOURS, entry.place, detail)

    def _earn(self, run: Auction, delivered: DeliveredHours) -> None:
        """What an interval of a run brought to the communities, by the readings."""
        assert run.assignment is not None  # looked at by the caller
        terms = {
            (contract.contract_id, hour.interval.start): (contract.site_id, hour.legs.surcharge)
            for contract in run.assignment.contracts
            for hour in contract.hours
        }
        for item in delivered.hours:
            site_id, price = terms[item.contract_id, item.interval.start]
            quantity, amount = self._earned.get((run.market_id, site_id), (0, 0))
            self._earned[run.market_id, site_id] = (
                quantity + item.delivered,
                amount + energy_charge(price, item.delivered),
            )

    def _keep_run(self, run: Auction, delivered: DeliveredHours) -> None:
        """What the laws need of a run, which leaves the state when it is settled."""
        assert run.assignment is not None  # looked at by the caller
        assert run.book is not None
        name = run.spec.auction_id
        before = self._runs.get(name) or Settled(
            assignment=run.assignment,
            closed=(),
            metered=(),
            limits=highest_limits(run.book),
            families=linked_families(run.book),
        )
        self._runs[name] = replace(
            before,
            closed=(*before.closed, delivered.interval),
            metered=(*before.metered, *_metered(delivered.hours)),
        )

    def _statement(self, state: State, command: IssueStatement, entry: EntryContext) -> None:
        auction = find_auction(state, command.auction_id)
        body = entry.documents.get(command.statement_sha256)
        if auction is None or body is None:
            return  # refused on replay, or a finding of step DOCUMENTS
        self._add_up()
        issued = codec.decode(body, Statement)
        key = (issued.account, issued.asset)
        party_id = _party(state, issued.account)
        if party_id != command.party_id:
            detail = f"{issued.account} belongs to {party_id}, not to {command.party_id}"
            self.record.fail(Step.STATEMENTS, entry.place, detail)
        due = statement(
            party_id=party_id,
            account=issued.account,
            asset=issued.asset,
            period=_period(auction),
            opening=self._stated.get(key, MicroUsd(0)),
            applied=self._unstated.pop(key, ()),
            payout=_payout(state, issued.account, issued.asset, party_id),
            collateral_call=_call(state, issued.account, issued.asset, party_id),
        )
        if codec.encode(due) != body:
            detail = f"{issued.statement_id} is not what moved the account and may be paid out"
            self.record.fail(Step.STATEMENTS, entry.place, detail)
        if due.closing != self._balances[key]:
            detail = f"{issued.statement_id} closes at {due.closing}, not {self._balances[key]}"
            self.record.fail(Step.STATEMENTS, entry.place, detail)
        self._stated[key] = due.closing
        self.statements += 1
        self.record.count(Step.STATEMENTS, "statements")

    def _total(self, state: State, command: PublishCommunityTotal, entry: EntryContext) -> None:
        auction = find_auction(state, command.auction_id)
        site = state.sites.get(command.site_id)
        if auction is None or auction.assignment is None or site is None:
            self.record.fail(Step.COMMUNITIES, entry.place, f"no site {command.site_id}")
            return
        if auction.market_id:
            key = auction.market_id, command.site_id
            quantity, amount = self._earned.pop(key, (0, 0))
            said = (command.community_id, command.delivered, command.surcharge)
            if said != (site.community_id, quantity, amount):
                detail = f"says {said}, the readings {site.community_id, quantity, amount}"
                self.record.fail(Step.COMMUNITIES, entry.place, detail)
            self.record.count(Step.COMMUNITIES, "totals")
            return
        elsewhere = {
            move.surcharge
            for result in auction.spot
            for move in result.replacements
            if move.site_id == command.site_id
        }
        quantity = amount = 0
        for start in auction.settled:
            for item in state.delivered[command.auction_id, start]:
                contract = state.contracts[item.contract_id]
                there = delivered_at(item, contract, command.site_id)
                quantity += there
                if contract.site_id == command.site_id:
                    legs = next(
                        (h.legs for h in contract.hours if h.interval.start == start),
                        contract.hours[0].legs,
                    )
                    amount += energy_charge(legs.surcharge, there)
                elif there:
                    amount += energy_charge(max(elsewhere), there)
        said = (command.community_id, command.delivered, command.surcharge)
        due = (site.community_id, quantity, amount)
        if said != due:
            self.record.fail(Step.COMMUNITIES, entry.place, f"says {said}, the readings {due}")
        self.record.count(Step.COMMUNITIES, "totals")

    def _books(self, state: State) -> None:
        try:
            state.books.check()
        except InvariantError as error:
            self.record.fail(Step.BALANCES, END_OF_LOG, str(error))
        totals: dict[str, int] = defaultdict(int)
        kept = {(item.account, item.asset): item.posted for item in state.books.balances()}
        for key, amount in self._balances.items():
            totals[key[1]] += amount
            if kept.get(key, 0) != amount:
                detail = f"{key[0]} holds {kept.get(key, 0)} {key[1]}, its transfers give {amount}"
                self.record.fail(Step.BALANCES, END_OF_LOG, detail)
        for asset, total in totals.items():
            if total:
                self.record.fail(Step.BALANCES, END_OF_LOG, f"{asset} sums to {total}")
        self.record.count(Step.BALANCES, "transfers", len(self._moved))

    def _laws(self, state: State) -> None:
        for finding in check_all([*_settled(state), *self._runs.values()], self._moved):
            if not finding.ok:
                detail = f"{finding.name}: {finding.detail}"
                self.record.fail(Step.BALANCES, END_OF_LOG, detail)


def _settled(state: State) -> Iterable[Settled]:
    for name, auction in state.auctions.items():
        if auction.assignment is None or auction.book is None:
            continue
        closed = tuple(
            item for item in delivery_intervals(auction) if item.start in auction.settled
        )
        yield Settled(
            assignment=auction.assignment,
            closed=closed,
            metered=tuple(
                item
                for interval in closed
                for item in _metered(state.delivered[name, interval.start])
            ),
            limits=highest_limits(auction.book),
            families=linked_families(auction.book),
            results=tuple(auction.spot),
            corrected=tuple(_corrected(state, auction)),
        )


def _period(auction: Auction) -> Interval:
    """Of the statements that an auction brings: its delivery; of a run its UTC day."""
    first, last = auction.spec.intervals[0], auction.spec.intervals[-1]
    if not auction.market_id:
        return Interval(start=first.start, end=last.end)
    begin = first.start - first.start % SECONDS_PER_DAY
    return Interval(start=UnixSeconds(begin), end=UnixSeconds(begin + SECONDS_PER_DAY))


def _metered(hours: Iterable[DeliveredHour]) -> Iterable[MeteredHour]:
    """Step HOURS recomputed them; the laws need the quantities only."""
    return (MeteredHour(delivered=item, failures=(), findings=()) for item in hours)


def _corrected(state: State, auction: Auction) -> Iterable[tuple[Postings, Postings]]:
    """First postings of corrected hours, and those that the latest readings give."""
    for start in sorted(auction.corrections):
        if start not in auction.due:
            again = recomputed(state, auction, start).postings
            yield state.postings[again.postings_id], again


def _party(state: State, account: str) -> str:
    parsed = accounts.parse(account)
    if parsed.kind is AccountKind.COMMUNITY:
        return state.sites[parsed.parts[0]].community_id
    if parsed.kind is AccountKind.OPERATOR_FEE:
        return OPERATOR_ID
    return parsed.parts[0]


def _payout(state: State, account: str, asset: str, party_id: str) -> MicroUsd:
    """Everything payable is paid out; collateral and compute are not."""
    if asset != USD or accounts.parse(account).kind is AccountKind.COLLATERAL:
        return MicroUsd(0)
    guarantee = None
    if accounts.parse(account).kind is AccountKind.CASH:
        guarantee = state.books.balance(accounts.collateral(party_id))
    return payable(state.books.balance(account), guarantee)


def _call(state: State, account: str, asset: str, party_id: str) -> MicroUsd:
    """What a participant's cash owes beyond its collateral."""
    if asset != USD or accounts.parse(account).kind is not AccountKind.CASH:
        return MicroUsd(0)
    guarantee = state.books.balance(accounts.collateral(party_id))
    return collateral_call_of(state.books.balance(account), guarantee)
