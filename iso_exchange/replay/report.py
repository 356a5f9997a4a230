"""What a market day came to, from the replayed and verified ledger: figures, then tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from clearing.outcome import Fill, Reason
from clearing.types import ServiceClass
from clearing.units import (
    PPM,
    SECONDS_PER_HOUR,
    divide_half_even,
)
from iso_exchange.publication import Volume, volumes
from iso_exchange.replay.parts import Scenario
from iso_exchange.sequencer.state import Auction, State
from settlement.ledger import accounts
from settlement.types import Phase, TransferCode


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """Prices of one chip class in one hour, micro-USD per chip-hour.

    Both are means over the class's pools with the same weights, the chips bought there, so
    that their difference is the price of NODE cover and nothing else. None where nothing was
    bought.
    """

    hour: int
    chip_class: str
    firm: int | None
    interruptible: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Node allocation of the pool: awarded chips (base load included) over installed chips.

    Attributes:
        load_ppm: Demand of the day over capacity; every allocation figure names it.
        mean_ppm: Mean over the hours.
        worst_ppm: Worst hour.
        worst_hour: Which one.
        delivered_ppm: Delivered chip-seconds over installed ones.
        silo_ppm: The same tenants in single-tenant silos, over the whole trace.
        silo_day_ppm: The same on this day, counting only what fits at once.
    """

    load_ppm: int
    mean_ppm: int
    worst_ppm: int
    worst_hour: int
    delivered_ppm: int
    silo_ppm: int
    silo_day_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyMoney:
    """Money of one participant over the day, micro-USD.

    Attributes:
        billed: Paid for orders, surcharge and fee included.
        received: Earned, credits for failures included.
        payout: Paid out at the close.
        balance: Cash left.
    """

    participant_id: str
    role: str
    billed: int
    received: int
    payout: int
    balance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityMoney:
    """Surcharge of one site."""

    site_id: str
    community_id: str
    delivered_chip_hours: int
    surcharge: int
    paid_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Rated compute delivered by one chip class, TFLOP of one precision, and its chip-seconds."""

    chip_class: str
    precision: str
    tflop: int
    chip_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """A contract-hour that was not delivered in full."""

    contract_id: str
    hour: int
    failed: int
    gap: int
    credited: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedOrder:
    """An order that got nothing, and why."""

    order_id: str
    participant_id: str
    reason: str
    shortfall: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeWhole:
    """A make-whole payment."""

    order_ids: tuple[str, ...]
    amount: int
    funder_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReport:
    """Everything that the demo prints; the same values are its JSON."""

    auction_id: str
    order_count: int
    certified_gap_ppb: int
    prices: tuple[PriceRow, ...]
    allocation: Allocation
    parties: tuple[PartyMoney, ...]
    communities: tuple[CommunityMoney, ...]
    operator_fee: int
    compute: tuple[Compute, ...]
    shortfalls: tuple[Shortfall, ...]
    reasons: tuple[tuple[str, int], ...]
    rejected: tuple[RejectedOrder, ...]
    made_whole: tuple[MadeWhole, ...]


def day_report(state: State, auction_id: str, scenario: Scenario) -> DayReport:
    """Draw up the report of a settled auction.

    Args:
        state: Replayed from the ledger.
        scenario: For the single-tenant comparison and the load.
    """
    auction = state.auctions[auction_id]
    assert auction.book is not None  # a settled auction has all three
    assert auction.outcome is not None
    found = volumes(auction.book, auction.outcome)
    reasons = Counter(order.reason.value for order in auction.outcome.orders)
    return DayReport(
        auction_id=auction_id,
        order_count=len(auction.outcome.orders),
        certified_gap_ppb=auction.certified_gap_ppb,
        prices=_prices(auction, found),
        allocation=_allocation(state, auction, found, scenario),
        parties=_parties(state),
        communities=_communities(state),
        operator_fee=state.books.balance(accounts.OPERATOR_FEE).posted
        + _paid_out(state, accounts.OPERATOR_FEE),
        compute=_compute(state, auction),
        shortfalls=_shortfalls(state, auction),
        reasons=tuple(sorted(reasons.items())),
        rejected=tuple(
            RejectedOrder(
                order_id=order.order_id,
                participant_id=order.participant_id,
                reason=order.reason.value,
                shortfall=order.shortfall,
                detail=order.detail,
            )
            for order in auction.outcome.orders
            if order.fill is Fill.NONE and order.reason is not Reason.BASE_SERVED
        ),
        made_whole=tuple(
            MadeWhole(order_ids=item.order_ids, amount=item.amount, funder_count=len(item.funding))
            for item in auction.outcome.make_whole
        ),
    )


def _prices(auction: Auction, found: tuple[Volume, ...]) -> tuple[PriceRow, ...]:
    assert auction.book is not None
    assert auction.outcome is not None
    classes = {pool.pool_id: pool.chip_class for pool in auction.book.pools}
    chips = {(item.pool_id, item.interval): item for item in found}
    sums: dict[tuple[int, str, ServiceClass], list[int]] = defaultdict(lambda: [0, 0])
    for price in auction.outcome.prices:
        volume = chips[(price.pool_id, price.interval)]
        quantity = volume.firm + volume.interruptible
        for service, level in (
            (ServiceClass.FIRM, price.firm),
            (ServiceClass.INTERRUPTIBLE, price.interruptible),
        ):
            cell = sums[(price.interval, classes[price.pool_id], service)]
            cell[0] += level * quantity
            cell[1] += quantity

    def mean(hour: int, chip_class: str, service: ServiceClass) -> int | None:
        total, quantity = sums[(hour, chip_class, service)]
        return divide_half_even(total, quantity) if quantity else None

    return tuple(
        PriceRow(
            hour=hour,
            chip_class=chip_class,
            firm=mean(hour, chip_class, ServiceClass.FIRM),
            interruptible=mean(hour, chip_class, ServiceClass.INTERRUPTIBLE),
        )
        for chip_class in sorted(set(classes.values()))
        for hour in range(len(auction.spec.intervals))
    )


def _allocation(
    state: State, auction: Auction, found: tuple[Volume, ...], scenario: Scenario
) -> Allocation:
    used: dict[int, int] = defaultdict(int)
    capacity: dict[int, int] = defaultdict(int)
    for volume in found:
        used[volume.interval] += volume.firm + volume.interruptible + volume.base_load
        capacity[volume.interval] += volume.capacity
    hours = sorted(capacity)
    worst = min(hours, key=lambda hour: (used[hour] * PPM // capacity[hour], hour))
    installed = sum(capacity[hour] * auction.spec.intervals[hour].duration_s for hour in hours)
    delivered = sum(
        item.delivered
        for interval in auction.spec.intervals
        for item in state.delivered[(auction.spec.auction_id, interval.start)]
    )
    return Allocation(
        load_ppm=scenario.load_ppm,
        mean_ppm=divide_half_even(sum(used.values()) * PPM, sum(capacity.values())),
        worst_ppm=divide_half_even(used[worst] * PPM, capacity[worst]),
        worst_hour=worst,
        delivered_ppm=divide_half_even(delivered * PPM, installed),
        silo_ppm=scenario.single_tenant.trace_allocation_ppm,
        silo_day_ppm=scenario.single_tenant.day_served_at_once_ppm,
    )


def _parties(state: State) -> tuple[PartyMoney, ...]:
    billed: dict[str, int] = defaultdict(int)
    received: dict[str, int] = defaultdict(int)
    payout: dict[str, int] = defaultdict(int)
    for issued in state.statements.values():
        if not (issued.account.startswith("p:") and issued.account.endswith(":cash")):
            continue
        for line in issued.lines:
            if line.amount < 0:
                billed[issued.party_id] -= line.amount
            else:
                received[issued.party_id] += line.amount
        payout[issued.party_id] += issued.payout
    return tuple(
        PartyMoney(
            participant_id=party_id,
            role="/".join(
                sorted(role.value.lower() for role in state.participants[party_id].roles)
            ),
            billed=billed[party_id],
            received=received[party_id],
            payout=payout[party_id],
            balance=state.books.balance(accounts.cash(party_id)).posted,
        )
        for party_id in sorted({*billed, *received}, key=lambda name: (-received[name], name))
    )


def _communities(state: State) -> tuple[CommunityMoney, ...]:
    rows = []
    for site_id, record in sorted(state.sites.items()):
        account = accounts.community(site_id)
        quantity = earned = 0
        for postings in state.postings.values():
            for transfer in postings.transfers:
                if (
                    transfer.code is TransferCode.SURCHARGE
                    and transfer.credit == account
                    and transfer.phase in (Phase.POSTED, Phase.POST_PENDING)
                ):
                    quantity += transfer.quantity
                    earned += transfer.amount
        rows.append(
            CommunityMoney(
                site_id=site_id,
                community_id=record.community_id,
                delivered_chip_hours=divide_half_even(quantity, SECONDS_PER_HOUR),
                surcharge=earned,
                paid_out=_paid_out(state, account),
            )
        )
    return tuple(rows)


def _paid_out(state: State, account: str) -> int:
    return sum(issued.payout for issued in state.statements.values() if issued.account == account)


def _compute(state: State, auction: Auction) -> tuple[Compute, ...]:
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for interval in auction.spec.intervals:
        for item in state.delivered[(auction.spec.auction_id, interval.start)]:
            contract = state.contracts[item.contract_id]
            cell = sums[(contract.chip_class, contract.precision)]
            cell[0] += item.compute
            cell[1] += item.delivered
    return tuple(
        Compute(chip_class=chip_class, precision=precision, tflop=tflop, chip_seconds=chip_seconds)
        for (chip_class, precision), (tflop, chip_seconds) in sorted(sums.items())
    )


def _shortfalls(state: State, auction: Auction) -> tuple[Shortfall, ...]:
    credited: dict[tuple[str, int], int] = defaultdict(int)
    for postings in state.postings.values():
        for transfer in postings.transfers:
            if transfer.code in (TransferCode.FAILURE_CREDIT, TransferCode.GAP_REFUND):
                credited[(transfer.contract_id, transfer.interval_start)] += transfer.amount
    return tuple(
        Shortfall(
            contract_id=item.contract_id,
            hour=index,
            failed=item.failed,
            gap=item.gap,
            credited=credited[(item.contract_id, interval.start)],
        )
        for index, interval in enumerate(auction.spec.intervals)
        for item in state.delivered[(auction.spec.auction_id, interval.start)]
        if item.failed or item.gap
    )
