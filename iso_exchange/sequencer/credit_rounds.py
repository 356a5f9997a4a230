"""Rounds of a credits book: the gate, the result, and credits that expire.

At the gate a team's bids go into the book from the dearest down, as far as its credits carry
their worst case: nobody spends what it was not given, and the dearest bids are what a team
cares most about. What is given is paid with the result.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from clearing import codec
from clearing.book import canonical
from clearing.outcome import Outcome
from clearing.types import (
    BlockBid,
    Book,
    Cover,
    Eligibility,
    Interval,
    Offer,
    Segment,
    ServiceClass,
    Step,
    StepBid,
)
from clearing.units import SECONDS_PER_HOUR, Chips, MicroUsdPerChipHour, UnixSeconds, divide_up
from iso_exchange.credit_commands import (
    CloseCreditRound,
    DiscloseCreditRound,
    ExpireCredits,
    PublishCreditRound,
)
from iso_exchange.sequencer.credit_books import open_book, spec_of
from iso_exchange.sequencer.credit_state import (
    CreditBid,
    CreditBook,
    CreditRound,
    RoundState,
    TeamCredits,
)
from iso_exchange.sequencer.effects import Accepted, Meta, document, post
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_base_load import nominated_at, released_at
from iso_exchange.sequencer.spot_curves import joined
from iso_exchange.sequencer.spot_market import SpotMarket
from iso_exchange.sequencer.state import State
from settlement.assignment import Assignment
from settlement.credits import asset_of, expired, round_postings, spent_of
from settlement.ledger import accounts
from settlement.ledger.merkle import Frontier
from settlement.types import Postings

SUPPLY_PREFIX = "entitlement:"
ROUNDS_KEPT_SECONDS = 7 * 86_400
"""Results stay in memory this long; their documents stay in the store for good."""

_SEED_LABEL = b"iso-exchange/credits/v1\n"


@dataclass(slots=True, kw_only=True)
class FrozenRound:
    """What the gate of a round freezes.

    Attributes:
        entries: Log index and leaf hash of each bid in the book, by index.
        reserved: What the bids of each team may cost.
        short: Chips of bids that their team cannot pay.
    """

    book: Book
    entries: tuple[tuple[int, bytes], ...]
    reserved: dict[str, int] = field(default_factory=dict)
    short: dict[str, int] = field(default_factory=dict)

    def count_and_root(self) -> tuple[int, str]:
        """Number of bids and hex Merkle root over their leaf hashes by log index."""
        root = Frontier().extend(leaf for _, leaf in self.entries).root()
        return len(self.entries), root.hex()


def round_seed(round_id: str, book_root: str) -> bytes:
    """Tie seed of a round: of its bids, so that nobody knows it before the gate closes."""
    return hashlib.sha256(_SEED_LABEL + f"{round_id}\n{book_root}".encode()).digest()


def freeze_round(state: State, shared: CreditBook, start: int, now: UnixSeconds) -> FrozenRound:
    """The order set of a round, as far as its teams can pay for it.

    Args:
        state: At the gate; not changed.
        shared: The book.
        start: Start of the round.
        now: Time of the gate: credits that expired by then buy nothing.
    """
    left = {
        team_id: spendable(state, shared.organisation, team_id, now)
        for team_id in {bid.team_id for bid in shared.bids.values()}
    }
    intervals = shared.intervals(start)
    bids = sorted(
        shared.bids.values(), key=lambda bid: (-bid.submitted.limit_price, bid.entry_index)
    )
    frozen = FrozenRound(book=Book(spec=spec_of(shared, start, ""), sites=(), pools=()), entries=())
    steps: list[StepBid] = []
    gangs: list[BlockBid] = []
    entries: list[tuple[int, bytes]] = []
    for bid in bids:
        places = _places(bid, intervals)
        if not places or state.participants[bid.team_id].suspended:
            continue
        node = state.pools[shared.pool_id].pool.chips_per_node
        chips = _affordable(bid, intervals, places, left[bid.team_id], node)
        if chips < bid.submitted.chips:
            frozen.short[bid.submitted.bid_id] = bid.submitted.chips - chips
        if not chips:
            continue
        cost = _worst(bid, intervals, places, chips)
        left[bid.team_id] -= cost
        frozen.reserved[bid.team_id] = frozen.reserved.get(bid.team_id, 0) + cost
        entries.append((bid.entry_index, bid.leaf_hash))
        if bid.submitted.whole:
            gangs.append(_gang(shared, bid, places))
        else:
            steps.append(_step(shared, bid, places, chips))
    entries.sort()
    frozen.entries = tuple(entries)
    _, root = frozen.count_and_root()
    seed = round_seed(shared.round_id(start), root)
    frozen.book = _book(state, shared, start, hashlib.sha256(seed).hexdigest(), steps, gangs)
    return frozen


def spendable(state: State, organisation: str, team_id: str, now: UnixSeconds) -> int:
    """Micro-credits that a team may bid: given, not spent, not reserved, and not expired."""
    team = state.credit_teams.get((organisation, team_id), TeamCredits())
    asset = asset_of(organisation)
    balance = state.books.balance(accounts.team(team_id), asset)
    gone = sum(item.amount for item in expired(team.grants, team.spent, balance, now))
    return max(0, balance.posted - gone - reserved_of(state, organisation, team_id))


def reserved_of(state: State, organisation: str, team_id: str) -> int:
    """Micro-credits that rounds between gate and result may cost a team."""
    return sum(
        item.reserved.get(team_id, 0)
        for book in state.credit_books.values()
        if book.organisation == organisation
        for item in book.rounds.values()
        if item.state is RoundState.CLOSED
    )


def close_round(state: State, command: CloseCreditRound, meta: Meta) -> Accepted | Rejected:
    """The gate of a round; the command's root and count must be what the state says."""
    shared = open_book(state, command.book_id)
    if isinstance(shared, Rejected):
        return dataclasses.replace(shared, code=Code.WRONG_STATE)
    if command.start != shared.next_start(meta.now) or not (
        shared.gate(command.start) <= meta.now < command.start
    ):
        return _wrong("start", "gates close at their time, one round after the other", command)
    frozen = freeze_round(state, shared, command.start, meta.now)
    count, root = frozen.count_and_root()
    if (command.bid_count, command.book_root) != (count, root):
        return _wrong("book_root", "bids changed meanwhile: freeze the round again", command)
    shared.last_start = command.start
    shared.rounds[command.start] = CreditRound(
        start=command.start,
        state=RoundState.CLOSED,
        book=frozen.book,
        bid_count=count,
        book_root=root,
        reserved=frozen.reserved,
        short=frozen.short,
        gate_index=meta.index,
    )
    end = command.start + shared.length
    for name in [name for name, bid in shared.bids.items() if bid.submitted.end <= end]:
        del shared.bids[name]
    for start in [start for start in shared.rounds if start < end - ROUNDS_KEPT_SECONDS]:
        del shared.rounds[start]
    return Accepted()


def publish_round(state: State, command: PublishCreditRound, meta: Meta) -> Accepted | Rejected:
    """Take a verified result: teams pay for what they got."""
    found = _round(state, command.book_id, command.start, RoundState.CLOSED)
    if isinstance(found, Rejected):
        return found
    shared, decided = found
    outcome = document(meta, command.outcome_sha256, Outcome)
    if isinstance(outcome, Rejected):
        return outcome
    assignment = document(meta, command.assignment_sha256, Assignment)
    if isinstance(assignment, Rejected):
        return assignment
    postings = document(meta, command.postings_sha256, Postings)
    if isinstance(postings, Rejected):
        return postings
    if not codec.digest(decided.book) == command.book_sha256 == outcome.book_sha256:
        return _wrong("book_sha256", "the result must be of the frozen book", command)
    if postings != round_postings(assignment, shared.organisation):
        return _wrong("postings_sha256", "the postings follow from the contracts", command)
    spent = spent_of(postings)
    for team_id, amount in spent.items():
        if amount > decided.reserved.get(team_id, 0):
            return _wrong("postings_sha256", f"{team_id} pays more than its bids", command)
    applied = post(state, meta, postings)
    if isinstance(applied, Rejected):
        return applied
    for team_id, amount in spent.items():
        state.credit_teams[shared.organisation, team_id].spent += amount
    decided.state, decided.assignment = RoundState.CLEARED, assignment
    return Accepted(owners=(shared.organisation,), transfers=applied)


def disclose_round(state: State, command: DiscloseCreditRound, _: Meta) -> Accepted | Rejected:
    """A round is decided, with a result or without one."""
    wanted = RoundState.CLOSED if command.failed else RoundState.CLEARED
    found = _round(state, command.book_id, command.start, wanted)
    if isinstance(found, Rejected):
        return found
    shared, decided = found
    decided.state = RoundState.FAILED if command.failed else RoundState.PUBLISHED
    decided.failed = command.failed
    shared.disclosed = max(shared.disclosed, decided.gate_index)
    return Accepted()


def expiry_postings(
    state: State, organisation: str, team_id: str, now: UnixSeconds
) -> Postings | None:
    """Postings of a team's grants that have expired; None when there is nothing to take off.

    While a round of the lab's is between its gate and its result nothing expires.
    """
    team = state.credit_teams.get((organisation, team_id))
    if team is None or not any(grant.expiry <= now for grant in team.grants):
        return None
    if any(
        item.state is RoundState.CLOSED
        for book in state.credit_books.values()
        if book.organisation == organisation
        for item in book.rounds.values()
    ):
        return None
    balance = state.books.balance(accounts.team(team_id), asset_of(organisation))
    gone = sorted(grant.grant_id for grant in team.grants if grant.expiry <= now)
    return Postings(
        postings_id=f"credit-expiry/{organisation}/{gone[0]}",
        transfers=expired(team.grants, team.spent, balance, now),
    )


def expire_credits(state: State, command: ExpireCredits, meta: Meta) -> Accepted | Rejected:
    """Take back what is left of a team's expired grants."""
    postings = document(meta, command.postings_sha256, Postings)
    if isinstance(postings, Rejected):
        return postings
    due = expiry_postings(state, command.organisation, command.team_id, meta.now)
    if due is None or postings != due:
        return Rejected(
            code=Code.WRONG_STATE,
            field="postings_sha256",
            advice="the team's credits changed meanwhile: work it out again",
            got=postings.postings_id,
        )
    applied = post(state, meta, postings)
    if isinstance(applied, Rejected):
        return applied
    team = state.credit_teams[command.organisation, command.team_id]
    for grant in sorted(team.grants, key=lambda item: (item.expiry, item.grant_id)):
        if grant.expiry <= meta.now:
            team.spent -= min(team.spent, grant.amount)
            team.grants.remove(grant)
    return Accepted(
        owners=tuple(sorted((command.organisation, command.team_id))), transfers=applied
    )


def _round(
    state: State, book_id: str, start: int, wanted: RoundState
) -> tuple[CreditBook, CreditRound] | Rejected:
    shared = state.credit_books.get(book_id)
    found = shared.rounds.get(start) if shared else None
    if shared is None or found is None or found.state is not wanted:
        return Rejected(
            code=Code.WRONG_STATE,
            field="start",
            advice="the round is not in a state that allows this",
            got=found.state.value if found else "",
            limit=wanted.value,
        )
    return shared, found


def _wrong(name: str, advice: str, command: CloseCreditRound | PublishCreditRound) -> Rejected:
    return Rejected(
        code=Code.WRONG_STATE,
        field=name,
        advice=advice,
        got=f"{command.book_id}/{command.start}",
    )


def _places(bid: CreditBid, intervals: tuple[Interval, ...]) -> range:
    """Positions of a round's intervals that a bid is for."""
    inside = [
        place
        for place, item in enumerate(intervals)
        if bid.submitted.start <= item.start and item.end <= bid.submitted.end
    ]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def _worst(bid: CreditBid, intervals: tuple[Interval, ...], places: range, chips: int) -> int:
    """Most that so many chips of a bid may cost in a round, each interval rounded by itself."""
    return sum(
        divide_up(bid.submitted.limit_price * chips * intervals[place].duration_s, SECONDS_PER_HOUR)
        for place in places
    )


def _affordable(
    bid: CreditBid, intervals: tuple[Interval, ...], places: range, left: int, node: int
) -> int:
    """Chips of a bid that its team can pay at its limit: whole nodes, a gang whole."""
    wanted = int(bid.submitted.chips)
    if _worst(bid, intervals, places, wanted) <= left:
        return wanted
    if bid.submitted.whole:
        return 0
    chips = wanted
    while chips and _worst(bid, intervals, places, chips) > left:
        chips -= node
    return max(0, chips)


def _where(shared: CreditBook) -> Eligibility:
    return Eligibility(pool_ids=(shared.pool_id,))


def _step(shared: CreditBook, bid: CreditBid, places: range, chips: int) -> StepBid:
    step = Step(price=bid.submitted.limit_price, chips=Chips(chips))
    return StepBid(
        order_id=bid.submitted.bid_id,
        participant_id=bid.team_id,
        where=_where(shared),
        segments=(Segment(first=places.start, stop=places.stop, steps=(step,)),),
        service_class=ServiceClass.FIRM,
        cover=Cover.NONE,
    )


def _gang(shared: CreditBook, bid: CreditBid, places: range) -> BlockBid:
    return BlockBid(
        order_id=bid.submitted.bid_id,
        participant_id=bid.team_id,
        where=_where(shared),
        earliest_start=places.start,
        latest_start=places.start,
        duration=len(places),
        chips=bid.submitted.chips,
        limit_price=bid.submitted.limit_price,
        service_class=ServiceClass.FIRM,
        cover=Cover.NONE,
    )


def _book(
    state: State,
    shared: CreditBook,
    start: int,
    commitment: str,
    steps: list[StepBid],
    gangs: list[BlockBid],
) -> Book:
    """The engine's book: one pool with what the lab uses of its entitlement, and no surcharge."""
    opened = shared.opened
    pool = state.pools[shared.pool_id].pool
    free = MicroUsdPerChipHour(0)
    site = dataclasses.replace(state.sites[pool.site_id].site, surcharge=free, power_limit=None)
    supply = joined(
        (Step(price=opened.reserve_price, chips=Chips(chips)),) if chips else ()
        for chips in _supply(state, shared, start)
    )
    offer = Offer(
        order_id=f"{SUPPLY_PREFIX}{opened.entitlement_id}",
        participant_id=shared.organisation,
        pool_id=shared.pool_id,
        segments=supply,
    )
    return canonical(
        Book(
            spec=spec_of(shared, start, commitment),
            sites=(site,),
            pools=(pool,),
            offers=(offer,) if supply else (),
            step_bids=tuple(steps),
            block_bids=tuple(gangs),
        )
    )


def _supply(state: State, shared: CreditBook, start: int) -> Iterator[int]:
    """Chips of the entitlement that the lab did not give up, by interval of a round."""
    entitlement_id = shared.opened.entitlement_id
    full = int(state.entitlements[entitlement_id].chips)
    for interval in shared.intervals(start):
        used = [full]
        for market in state.markets.values():
            numbers = range(market.number(interval.start), market.number(interval.end - 1) + 1)
            used.extend(_used(state, market, entitlement_id, number) for number in numbers)
        for auction_id, auction in state.auctions.items():
            record = state.nominations.get(f"{auction_id}/{entitlement_id}")
            if record is None:
                continue
            used.extend(
                nominated_at(record.nomination.segments, place, 0)
                for place, other in enumerate(auction.spec.intervals)
                if other.start < interval.end and interval.start < other.end
            )
        yield max(0, min(used))


def _used(state: State, market: SpotMarket, entitlement_id: str, number: int) -> int:
    """Chips of an entitlement that are not nominated away, released or returned in spot."""
    full = int(state.entitlements[entitlement_id].chips)
    unsaid = 0 if entitlement_id in state.grants else full
    record = state.nominations.get(f"{market.opened.market_id}/{entitlement_id}")
    if record is None:
        used = full
    elif record.released:
        used = full - released_at(record.released, number)
    else:
        used = nominated_at(record.nomination.segments, number, unsaid)
    returned = sum(
        item.chips_at(number)
        for item in market.returns.values()
        if item.contract_id.endswith(f"/{entitlement_id}")
    )
    return used - returned
