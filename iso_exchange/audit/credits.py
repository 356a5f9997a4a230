"""Audit of credits: rounds hold the bids of the log, are cleared rightly, and nobody overspends.

The replay refuses gates, postings and expiries that are not what the rules say. What it takes
on trust is looked at here: the root over the leaves, the outcome, and the contracts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clearing import codec
from clearing.outcome import Outcome
from clearing.verify import verify
from iso_exchange.audit.report import Record, Step
from iso_exchange.audit.results import EntryContext
from iso_exchange.commands import Command
from iso_exchange.credit_commands import BidCredits, CloseCreditRound, PublishCreditRound
from iso_exchange.sequencer.credit_rounds import round_seed
from iso_exchange.sequencer.state import State
from settlement.contracts import assign
from settlement.credits import asset_of, overspent
from settlement.ledger import accounts
from settlement.ledger.merkle import Frontier

IN_CREDITS = frozenset({BidCredits, CloseCreditRound, PublishCreditRound})
"""Commands that this audit looks at."""

END_OF_LOG = "end of the log"


@dataclass(slots=True, kw_only=True)
class CreditAudit:
    """What the audit keeps of credits besides the replayed state."""

    record: Record
    # Leaf of the latest entry of each bid, from the commands alone.
    _bids: dict[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)

    def before(self, state: State, command: Command, entry: EntryContext) -> None:
        """Check what an entry says against the state that it is about to change."""
        if isinstance(command, PublishCreditRound):
            with self.record.guard(Step.CERTIFICATES, entry.place):
                self._result(state, command, entry)

    def after(self, state: State, command: Command, entry: EntryContext) -> None:
        """Remember accepted bids; a gate's root is over their leaves."""
        if isinstance(command, BidCredits):
            self._bids[command.book_id, command.bid_id] = entry.index, entry.leaf_hash
        elif isinstance(command, CloseCreditRound):
            with self.record.guard(Step.BOOKS, entry.place):
                self._gate(state, command, entry)

    def finish(self, state: State) -> None:
        """What teams have is what they were given less what they spent, and never below zero."""
        with self.record.guard(Step.BALANCES, END_OF_LOG):
            for account in overspent(state.books.balances()):
                self.record.fail(Step.BALANCES, END_OF_LOG, f"{account} spent more than it had")
            for (organisation, team_id), team in state.credit_teams.items():
                asset = asset_of(organisation)
                held = state.books.balance(accounts.team(team_id), asset).posted
                due = sum(grant.amount for grant in team.grants) - team.spent
                if held != due:
                    detail = f"{team_id} holds {held} {asset}, its grants leave {due}"
                    self.record.fail(Step.BALANCES, END_OF_LOG, detail)

    def _gate(self, state: State, command: CloseCreditRound, entry: EntryContext) -> None:
        book = state.credit_books[command.book_id].rounds[command.start].book
        names = [bid.order_id for bid in book.step_bids]
        names.extend(bid.order_id for bid in book.block_bids)
        leaves = sorted(self._bids[command.book_id, name] for name in names)
        root = Frontier().extend(leaf for _, leaf in leaves).root().hex()
        if (command.bid_count, command.book_root) != (len(leaves), root):
            detail = f"the log has {len(leaves)} bids with root {root}"
            self.record.fail(Step.BOOKS, entry.place, detail)
        self.record.count(Step.BOOKS, "book roots")

    def _result(self, state: State, command: PublishCreditRound, entry: EntryContext) -> None:
        shared = state.credit_books.get(command.book_id)
        decided = shared.rounds.get(command.start) if shared else None
        if shared is None or decided is None:
            return  # refused on replay
        outcome = codec.decode(entry.documents.get(command.outcome_sha256, b""), Outcome)
        name = shared.round_id(command.start)
        for check in verify(decided.book, outcome).failures:
            detail = f"{name}: {check.name}: {check.detail}"
            self.record.fail(Step.CERTIFICATES, entry.place, detail)
        if outcome.seed != round_seed(name, decided.book_root).hex():
            self.record.fail(Step.CERTIFICATES, entry.place, f"{name}: the seed is not its bids'")
        self.record.count(Step.CERTIFICATES, "outcomes")
        pools = state.pools.values()
        assignment = assign(
            decided.book,
            outcome,
            derates={item.pool.pool_id: item.derate_ppm for item in pools},
            precisions={item.pool.chip_class: item.precision for item in pools},
            nomination_suppliers={},
        )
        if codec.encode(assignment) != entry.documents.get(command.assignment_sha256):
            detail = f"the contracts of {name} do not follow from its outcome"
            self.record.fail(Step.CONTRACTS, entry.place, detail)
        self.record.count(Step.CONTRACTS, "contracts", len(assignment.contracts))
