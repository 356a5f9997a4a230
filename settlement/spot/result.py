"""What settlement takes from one spot interval: prices, and how positions moved.

A spot auction trades deviations: a position after it, less the position that the day-ahead
auction gave. ``SpotResult`` is those deviations by cause, because the money rules ask whose
doing a move was (SETTLEMENT R3-R7, R14). It is a frozen document like an assignment:
the exchange signs it, the hour is settled from it, the auditor recomputes with it.
``settlement.spot.positions`` fills it from a clearing outcome.

One result moves the contracts of one auction, in one metering interval; quantities are
chip-seconds inside it, so that a call in the middle of an interval is told exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from clearing.shapes import LATER
from clearing.types import Interval
from clearing.units import ChipSeconds, MicroUsd, MicroUsdPerChipHour, chip_seconds
from settlement.assignment import IntervalPrice
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.types import Contract


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaim:
    """Chips taken from an interruptible buyer (R4): it receives at least its contract price.

    Attributes:
        restart_credit: Micro-USD >= 0 that join the floor of the first reclaimed interval.
    """

    contract_id: str
    quantity: ChipSeconds
    restart_credit: MicroUsd = MicroUsd(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Chips that a buyer gives back by its own choice: sold at spot, without a floor (R4)."""

    contract_id: str
    quantity: ChipSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """New demand at spot.

    Attributes:
        contract: With this interval as its one hour, legs at spot prices.
        limit: Its bid less surcharge and fee, micro-USD per chip-hour: what a spike that makes
            others give way pays at most (R6 step 1).
    """

    contract: Contract
    limit: MicroUsdPerChipHour


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Released base load that its holder takes back (R7).

    Attributes:
        order_id: Release that it takes back from.
        contract: The holder's base load on it, with this interval as its one hour; energy is
            paid outside, the recall at spot here.
    """

    order_id: str
    contract: Contract


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplyMove:
    """A supplier that sells more at spot (> 0), or buys its own position back (< 0)."""

    participant_id: str
    order_id: str
    pool_id: str
    quantity: ChipSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """Chips of a contract that its supplier failed and that others serve (R5, R11, R12).

    Attributes:
        pool_id: Where they serve, hence whose price the failing supplier pays.
        site_id: Site of that pool: its community gets the surcharge.
        surcharge: Of that site, micro-USD per chip-hour.
        supplier_id: Who serves.
        order_id: Spare order that was called and earns spot for what it serves; empty for
            reclaimed chips and new supply, which are paid by their own moves.
    """

    contract_id: str
    pool_id: str
    site_id: str
    supplier_id: str
    quantity: ChipSeconds
    surcharge: MicroUsdPerChipHour
    order_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derate:
    """Chips of a contract lost to a declared derate of its site.

    Bought back at what is paid out, by the pool's suppliers by chip-seconds (R14).
    """

    contract_id: str
    quantity: ChipSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMove:
    """Flow that a derated link no longer carries: its owner buys it back at the spread (R14)."""

    link_id: str
    from_pool_id: str
    to_pool_id: str
    quantity: ChipSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Chips that a buyer returned to a spot market, whose runs pay for what they sell (R3).

    Nothing is received for them here. What was sold on is delivered as far as the meter says of
    the run's contract; the rest is a failure of this contract's supplier, who owes the buyer
    what the buyer owes the run.

    Attributes:
        sold_to: Contract of the run that has them; empty for what no run sold.
    """

    contract_id: str
    quantity: ChipSeconds
    sold_to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotResult:
    """Prices and moves of one auction's contracts in one metering interval.

    Attributes:
        auction_id: Auction whose contracts move.
        interval: The metering interval; only the first interval of a look-ahead binds (R3).
        prices: Per pool, at most one each, of exactly this interval. A pool without one uses
            its last one (R5).
    """

    auction_id: str
    interval: Interval
    prices: tuple[IntervalPrice, ...]
    reclaims: tuple[Reclaim, ...] = ()
    withdrawals: tuple[Withdrawal, ...] = ()
    purchases: tuple[Purchase, ...] = ()
    recalls: tuple[Recall, ...] = ()
    supply: tuple[SupplyMove, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    derates: tuple[Derate, ...] = ()
    links: tuple[LinkMove, ...] = ()
    returns: tuple[Return, ...] = field(default=(), metadata=LATER)

    @property
    def contracts(self) -> tuple[Contract, ...]:
        """Contracts that came into being at spot: purchases and recalls."""
        return (
            *(item.contract for item in self.purchases),
            *(item.contract for item in self.recalls),
        )


def within(results: Iterable[SpotResult], interval: Interval) -> tuple[SpotResult, ...]:
    """Results inside a delivery interval, ascending."""
    return tuple(
        sorted(
            (
                item
                for item in results
                if interval.start <= item.interval.start and item.interval.end <= interval.end
            ),
            key=lambda item: item.interval.start,
        )
    )


def check_result(result: SpotResult, contracts: Iterable[Contract]) -> None:
    """Refuse a result that contradicts itself or the positions it moves.

    Args:
        result: As published.
        contracts: The auction's contracts.

    Raises:
        SettlementError: ``SPOT_MOVE_INVALID`` with the first move at fault.
    """
    known = {item.contract_id: item for item in contracts}
    left = {
        item.contract_id: int(hour.chips) * result.interval.duration_s
        for item in known.values()
        for hour in item.hours
        if hour.interval.start <= result.interval.start and result.interval.end <= hour.interval.end
    }
    for subject, quantity in _moved_contracts(result):
        if subject not in left:
            raise _invalid(subject, "has no chips in this interval")
        if quantity <= 0:
            raise _invalid(subject, f"moves {quantity} chip-seconds")
        left[subject] -= quantity
        if left[subject] < 0:
            raise _invalid(subject, f"moves {-left[subject]} chip-seconds more than it has")
    for contract in result.contracts:
        if contract.contract_id in known:
            raise _invalid(contract.contract_id, "is a contract of the auction already")
        if [hour.interval for hour in contract.hours] != [result.interval]:
            raise _invalid(contract.contract_id, "is not of this interval alone")
        if contract.hours[0].chips <= 0:
            raise _invalid(contract.contract_id, "has no chips")
    names = [contract.contract_id for contract in result.contracts]
    names += [f"price {price.pool_id}" for price in result.prices]
    if len(set(names)) != len(names):
        raise _invalid(max(names, key=names.count), "is named twice")
    for pool_id, over in _balance(result, known).items():
        if over > 0:
            raise _invalid(pool_id, f"takes {over} chip-seconds more than it is given")
    for price in result.prices:
        if price.interval != result.interval:
            raise _invalid(price.pool_id, "has a price of another interval")
    for item in result.supply:
        if item.quantity == 0:
            raise _invalid(item.order_id, "does not move")
    for link in result.links:
        if link.quantity <= 0 or link.from_pool_id == link.to_pool_id:
            raise _invalid(link.link_id, "is derated by more than nothing, between two pools")


def _moved_contracts(result: SpotResult) -> Iterator[tuple[str, int]]:
    for moves in (
        result.reclaims,
        result.withdrawals,
        result.returns,
        result.replacements,
        result.derates,
    ):
        for item in moves:
            yield item.contract_id, item.quantity


def _balance(result: SpotResult, known: Mapping[str, Contract]) -> dict[str, int]:
    """Chip-seconds taken up less those given up, by pool (law 9 of SETTLEMENT D).

    Failed and replaced + recalled + bought = reclaimed + withdrawn + called + new supply.
    Less may be taken than was given: a gang gives way as a whole.
    """
    found: dict[str, int] = defaultdict(int)
    for contract in result.contracts:
        hour = contract.hours[0]
        found[contract.pool_id] += chip_seconds(hour.chips, hour.interval.duration_s)
    for item in result.replacements:
        found[item.pool_id] += 0 if item.order_id else item.quantity
    for reclaim in result.reclaims:
        found[known[reclaim.contract_id].pool_id] -= reclaim.quantity
    for withdrawal in result.withdrawals:
        found[known[withdrawal.contract_id].pool_id] -= withdrawal.quantity
    for move in result.supply:
        found[move.pool_id] -= move.quantity
    for link in result.links:
        found[link.from_pool_id] -= link.quantity
        found[link.to_pool_id] += link.quantity
    return found


def _invalid(subject: str, detail: str) -> SettlementError:
    return SettlementError(SettlementErrorCode.SPOT_MOVE_INVALID, subject, detail)
