"""Everything that is posted for one delivery interval of one auction.

A pure function of the assignment, the metered hours and the spot prices: the auditor
calls it with the same arguments and compares bytes. In order: the auction layer pool by
pool, with SITE cover of all pools together (SETTLEMENT R0), then the delivery layer:
failures (R5, R6), gaps (R8), surcharge and fee on delivered chip-seconds, compute,
make-whole that is complete (R10).

With spot results their moves are settled by ``settlement.postings.spot_layer``. Without
them a contract's position is its award, and the day-ahead price stands in for spot prices
(reason ``SPOT_PRICE_PROVISIONAL``) unless spot prices are given.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from clearing.types import Interval
from clearing.units import ChipSeconds, UnixSeconds, energy_charge
from settlement.assignment import Assignment, IntervalPrice
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.metering.billable import MeteredHour
from settlement.postings import reasons, terms
from settlement.postings.auction_layer import PoolHour, post_auction_layer
from settlement.postings.compute import post_compute
from settlement.postings.draft import Draft
from settlement.postings.failure import Failure, settle_failures, spot_price_at
from settlement.postings.gap import post_gap
from settlement.postings.make_whole import post_make_whole
from settlement.postings.parts import Delivery, Found, Part, only
from settlement.postings.spot_layer import Entry, SpotPart, settle_spot
from settlement.postings.spot_posting import SpotPosting, spot_contracts_of, spot_parts_of
from settlement.spot.result import SpotResult, check_result, within
from settlement.types import (
    Contract,
    ContractHour,
    DeliveredHour,
    Postings,
    ServedPart,
    SpareHour,
    TransferCode,
)


def hour_postings(
    assignment: Assignment,
    interval: Interval,
    metered: Iterable[MeteredHour],
    *,
    pool_balance: int,
    spot: Sequence[IntervalPrice] = (),
    earlier: Iterable[DeliveredHour] = (),
    results: Sequence[SpotResult] = (),
) -> Postings:
    """Postings of one delivery interval, at its close.

    Every hold of the interval's contract-hours is resolved, pots and covers end at zero
    and ``pool`` stays >= 0. The result does not depend on the order of the arguments.

    Args:
        assignment: The auction.
        interval: One of its delivery intervals.
        metered: One per contract with chips in the interval, spot contracts of ``results``
            included (``settlement.metering.moved``).
        pool_balance: Posted balance of ``pool`` before these postings, >= 0.
        spot: Spot prices by pool, for any part of the interval; none: the auction's own
            prices stand in.
        earlier: Delivered hours of earlier intervals, at least for the contracts of
            make-whole families whose last hour this is. May hold more.
        results: Spot results of the auction; those inside the interval move its positions,
            earlier ones only lend their prices to pools without one. None: nothing moved.

    Returns:
        Postings ``hour/<auction>/<start>``.

    Raises:
        SettlementError: ``INTERVAL_UNKNOWN``, ``READING_MISSING``, ``READING_MISMATCH``,
            ``SPOT_PRICE_MISSING`` or ``SPOT_MOVE_INVALID``.
        InvariantError: the parts do not add up.
    """
    if interval not in assignment.intervals:
        raise SettlementError(
            SettlementErrorCode.INTERVAL_UNKNOWN,
            assignment.auction_id,
            f"{interval.start} starts no delivery interval",
        )
    work = _hour(
        assignment,
        interval,
        tuple(metered),
        prices=spot or stand_in_prices(assignment, interval),
        results=results,
        draft=Draft(pool_balance=pool_balance),
    )
    _post_residual_funding(work)
    earnings = work.post_auction()
    work.post_delivery(earnings)
    _post_make_whole(work, earlier)
    return Postings(
        postings_id=hour_postings_id(assignment.auction_id, interval),
        transfers=tuple(work.draft.transfers),
    )


def hour_postings_id(auction_id: str, interval: Interval) -> str:
    """Identifier of an hour's postings."""
    return f"hour/{auction_id}/{interval.start}"


def stand_in_prices(assignment: Assignment, interval: Interval) -> tuple[IntervalPrice, ...]:
    """The auction's own prices of an interval, marked as standing in for spot prices."""
    return tuple(
        replace(price, provisional=True)
        for price in assignment.prices
        if price.interval == interval
    )


def contract_hours(
    assignment: Assignment, interval: Interval
) -> tuple[tuple[Contract, ContractHour], ...]:
    """Contracts with chips in an interval, sorted by contract: those that must be metered."""
    found: list[tuple[Contract, ContractHour]] = []
    for contract in sorted(assignment.contracts, key=lambda contract: contract.contract_id):
        hours = contract.hours
        index = bisect_left(hours, interval.start, key=lambda hour: hour.interval.start)
        if index < len(hours) and hours[index].interval == interval and hours[index].chips:
            found.append((contract, hours[index]))
    return tuple(found)


@dataclass(slots=True, kw_only=True)
class _Hour:
    assignment: Assignment
    interval: Interval
    parts: tuple[Part, ...]
    spot: Mapping[str, Sequence[IntervalPrice]]
    draft: Draft
    results: Sequence[SpotResult] = ()
    spot_parts: Sequence[SpotPart] = ()
    last: Mapping[str, Sequence[IntervalPrice]] = field(default_factory=dict)

    @property
    def pot(self) -> str:
        return accounts.pot(self.assignment.auction_id, self.interval.start)

    def post_auction(self) -> dict[str, dict[str, int]]:
        """Auction layer of all pools; returns earnings by chip class and supplier."""
        prices = {p.pool_id: p for p in self.assignment.prices if p.interval == self.interval}
        classes: dict[str, str] = {}
        sites: dict[str, str] = {}
        by_pool: dict[str, list[tuple[Contract, ContractHour]]] = defaultdict(list)
        for part in self.parts:
            by_pool[part.contract.pool_id].append((part.contract, part.hour))
            classes[part.contract.pool_id] = part.contract.chip_class
            sites[part.contract.pool_id] = part.contract.site_id
        held = [
            _of_interval(items, self.interval)
            for items in (
                self.assignment.spare_hours,
                self.assignment.reserve_hours,
                self.assignment.idle_hours,
            )
        ]
        for items in held:
            sites.update({pool_id: found[0].site_id for pool_id, found in items.items()})
        hours = []
        for pool_id in sorted(sites):
            price = prices.get(pool_id)
            if price is None:
                raise SettlementError(
                    SettlementErrorCode.PRICE_MISSING, pool_id, f"at {self.interval.start}"
                )
            spare, reserve, idle = (tuple(items.get(pool_id, ())) for items in held)
            hours.append(
                PoolHour(
                    auction_id=self.assignment.auction_id,
                    pool_id=pool_id,
                    site_id=sites[pool_id],
                    interval=self.interval,
                    price=price,
                    contracts=tuple(by_pool[pool_id]),
                    spare=spare,
                    reserve=reserve,
                    idle=idle,
                )
            )
        earnings: dict[str, dict[str, int]] = defaultdict(dict)
        for group in _sharing_cover(hours):
            for pool_id, earned in post_auction_layer(self.draft, group).items():
                into = earnings[classes.get(pool_id, "")]
                for supplier_id, amount in earned.items():
                    into[supplier_id] = into.get(supplier_id, 0) + amount
        return earnings

    def post_delivery(self, earnings: Mapping[str, dict[str, int]]) -> None:
        """Delivery layer: who failed whom, then what was delivered."""
        entries: Sequence[tuple[str, Entry]] = ()
        results: Sequence[Found]
        spot = SpotPosting(
            assignment=self.assignment,
            interval=self.interval,
            parts=self.parts,
            spot_parts=self.spot_parts,
            results=self.results,
            draft=self.draft,
        )
        if self.results:
            for held_class, earned in spot.spare_earnings().items():
                into = earnings[held_class]
                for supplier_id, amount in earned.items():
                    into[supplier_id] = into.get(supplier_id, 0) + amount
            money = settle_spot(
                self.assignment,
                self.interval,
                self.parts,
                self.spot_parts,
                self.results,
                price_at=self.price_at,
                earnings=earnings,
                pool_balance=self.draft.pool_balance,
            )
            results, delivery, entries = money.found, money.deliveries, money.entries
        else:
            results, delivery = self._settle_failures(earnings)
        for part in self.parts:
            self._post_supplier(part, delivery.get(part.contract.contract_id))
        for item in self.spot_parts:
            spot.post_spot_supplier(item, delivery.get(item.contract.contract_id))
        spot.post_entries(entries, pays=True)
        self._post_found(results)
        spot.post_entries(entries, pays=False)
        for part in self.parts:
            away = self._post_buyer(part, delivery.get(part.contract.contract_id))
            spot.post_away(part, away)
        for item in self.spot_parts:
            spot.post_spot_buyer(item, delivery.get(item.contract.contract_id))
        spot.post_unanswered()
        spot.void_holds()

    def price_at(self, pool_id: str, cell: Interval) -> IntervalPrice:
        """Spot price of a pool: its own, its last one (R5), or the auction's that stands in.

        Raises:
            SettlementError: ``SPOT_PRICE_MISSING``, the auction has none either.
        """
        before = [p for p in self.last.get(pool_id, ()) if p.interval.start <= cell.start]
        if before:
            return before[-1]
        found = spot_price_at(self.spot, pool_id, cell)
        if found is None:
            raise SettlementError(
                SettlementErrorCode.SPOT_PRICE_MISSING, pool_id, f"at {cell.start}"
            )
        return found

    def _settle_failures(
        self, earnings: Mapping[str, dict[str, int]]
    ) -> tuple[Sequence[Found], dict[str, Delivery]]:
        """R5 and R6 per pool and metering interval, in that order."""
        cells: dict[tuple[str, int, int], list[Failure]] = defaultdict(list)
        for part in self.parts:
            for item in part.metered.failures:
                key = (part.contract.pool_id, item.interval.start, item.interval.end)
                cells[key].append(
                    Failure(contract=part.contract, hour=part.hour, failed=item.failed)
                )
        results: list[Found] = []
        delivery: dict[str, Delivery] = {}
        pool_balance = self.draft.pool_balance
        for (pool_id, start, end), failures in sorted(cells.items(), key=lambda cell: cell[0]):
            price = spot_price_at(self.spot, pool_id, _interval(start, end))
            if price is None:
                raise SettlementError(
                    SettlementErrorCode.SPOT_PRICE_MISSING, pool_id, f"at {start}"
                )
            earned = earnings[failures[0].contract.chip_class]
            result = settle_failures(
                self.assignment, failures, price, pool_balance=pool_balance, earnings=earned
            )
            pool_balance += result.to_pool
            for supplier_id, amount in result.from_suppliers.items():
                earned[supplier_id] -= amount
            results.append(
                Found(
                    key=f"{pool_id}/{start}",
                    to_pool=result.to_pool,
                    from_suppliers=result.from_suppliers,
                )
            )
            for failure, money in zip(failures, result.money, strict=True):
                entry = delivery.setdefault(failure.contract.contract_id, Delivery())
                entry.failed += failure.failed
                entry.paid += money.paid
                entry.credited += money.credited
                entry.supply_prices.add(money.supply_price)
                entry.product_prices.add(money.product_price)
                entry.provisional |= price.provisional
        return results, delivery

    def _post_supplier(self, part: Part, failure: Delivery | None) -> None:
        """Supplier's payments for failed and gap chip-seconds into the pot.

        First what it earned for them in the auction layer, then from its stop-loss hold.
        """
        contract, hour, read = part.contract, part.hour, part.metered.delivered
        key = terms.hour_key(contract, hour)
        hold = terms.stop_loss_hold(contract, hour)
        held = 0 if hold is None else hold.amount
        payments = []
        if failure is not None and failure.failed:
            reason = (
                reasons.SPOT_PRICE_PROVISIONAL if failure.provisional else reasons.SUPPLIER_FAILURE
            )
            price = only(failure.supply_prices)
            lost = ChipSeconds(failure.failed)
            payments.append((TransferCode.FAILURE, failure.paid, lost, price, reason))
        if read.gap:
            price = terms.gap_price(contract, hour)
            paid = energy_charge(price, read.gap)
            payments.append((TransferCode.GAP, paid, read.gap, price, reasons.METER_GAP))
        if not payments:
            self.draft.resolve(hold, f"stop-loss/{key}", 0, TransferCode.STOP_LOSS_HOLD)
        for index, (code, amount, quantity, price, reason) in enumerate(payments):
            from_hold = 0
            if index == 0:
                earned = energy_charge(hour.legs.energy, quantity)
                from_hold = min(held, max(0, amount - earned))
                self.draft.resolve(
                    hold,
                    f"stop-loss/{key}",
                    from_hold,
                    code,
                    reason=reason,
                    # Once: the statement adds up the quantities of a line.
                    quantity=quantity if from_hold == amount else 0,
                    price=price,
                )
            self.draft.post(
                f"{code.value.lower()}/{key}",
                accounts.cash(contract.supplier_id),
                self.pot,
                amount - from_hold,
                code,
                reason=reason,
                contract_id=contract.contract_id,
                start=self.interval.start,
                quantity=quantity,
                price=price,
            )

    def _post_found(self, results: Sequence[Found]) -> None:
        """Other suppliers' shares, and what ``pool`` receives or gives."""
        for result in results:
            name = f"{self.assignment.auction_id}/{result.key}"
            for supplier_id, amount in sorted(result.from_suppliers.items()):
                self.draft.post(
                    f"earnings-share/{name}/{supplier_id}",
                    accounts.cash(supplier_id),
                    self.pot,
                    amount,
                    TransferCode.RESIDUAL,
                    reason=reasons.EARNINGS_SHARE,
                    start=self.interval.start,
                )
            gives = result.to_pool < 0
            self.draft.post(
                f"failure-{'help' if gives else 'residual'}/{name}",
                accounts.POOL if gives else self.pot,
                self.pot if gives else accounts.POOL,
                abs(result.to_pool),
                TransferCode.RESIDUAL,
                reason=reasons.FAILURE_RESIDUAL,
                start=self.interval.start,
            )

    def _post_buyer(self, part: Part, failure: Delivery | None) -> list[ServedPart]:
        """Buyer's credits, surcharge and fee, and the compute it received.

        Returns:
            What other sites' meters say: their surcharge is still to be posted.
        """
        contract, hour, read = part.contract, part.hour, part.metered.delivered
        key = terms.hour_key(contract, hour)
        buyer = accounts.cash(contract.buyer_id)
        if failure is not None:
            self.draft.post(
                f"failure-credit/{key}",
                self.pot,
                buyer,
                failure.credited,
                TransferCode.FAILURE_CREDIT,
                reason=reasons.SPOT_PRICE_PROVISIONAL
                if failure.provisional
                else reasons.SUPPLIER_FAILURE,
                contract_id=contract.contract_id,
                start=self.interval.start,
                quantity=read.failed,
                price=only(failure.product_prices),
            )
        post_gap(self.draft, self.pot, part)
        away = [item for item in read.served if item.site_id != contract.site_id]
        home = ChipSeconds(read.delivered - sum(item.quantity for item in away))
        for name, code, hold, price, quantity in (
            (
                "surcharge",
                TransferCode.SURCHARGE,
                terms.surcharge_hold,
                hour.legs.surcharge,
                home,
            ),
            ("fee", TransferCode.FEE, terms.fee_hold, hour.legs.fee, read.delivered),
        ):
            self.draft.resolve(
                hold(contract, hour),
                f"{name}/{key}",
                energy_charge(price, quantity),
                code,
                quantity=quantity,
                price=price,
            )
        post_compute(self.draft, part)
        return away


def _hour(
    assignment: Assignment,
    interval: Interval,
    readings: Sequence[MeteredHour],
    *,
    prices: Sequence[IntervalPrice],
    results: Sequence[SpotResult],
    draft: Draft,
) -> _Hour:
    """Everything that is settled together, checked against one another."""
    moved = within(results, interval)
    for result in moved:
        check_result(result, assignment.contracts)
    spot_contracts = spot_contracts_of(moved)
    names = {contract.contract_id for contract in spot_contracts}
    return _Hour(
        assignment=assignment,
        interval=interval,
        parts=_parts(
            assignment,
            interval,
            (item for item in readings if item.delivered.contract_id not in names),
        ),
        spot=_by_pool(prices),
        draft=draft,
        results=moved,
        spot_parts=spot_parts_of(
            interval,
            spot_contracts,
            {m.delivered.contract_id: m for m in readings if m.delivered.contract_id in names},
        ),
        last=_by_pool(
            price for item in results if item.interval.end <= interval.end for price in item.prices
        ),
    )


def _sharing_cover(hours: Sequence[PoolHour]) -> tuple[Sequence[PoolHour], ...]:
    """Pools that must be posted together: all of them with SITE cover, else each by itself."""
    if any(contract.backup_pool_id for hour in hours for contract, _ in hour.contracts):
        return (hours,)
    return tuple((hour,) for hour in hours)


def _post_residual_funding(work: _Hour) -> None:
    """What funders give for a negative residual of the auction, before its pots need it."""
    for plan in work.assignment.make_whole:
        if not plan.family_id and plan.last == work.interval:
            post_make_whole(work.draft, work.assignment, plan, {})


def _post_make_whole(work: _Hour, earlier: Iterable[DeliveredHour]) -> None:
    """Post make-whole payments of the families whose last hour this is."""
    plans = [
        plan for plan in work.assignment.make_whole if plan.family_id and plan.last == work.interval
    ]
    if not plans:
        return
    needed = {name for plan in plans for name in plan.contract_ids}
    delivered: dict[tuple[str, int], ChipSeconds] = {
        (item.contract_id, item.interval.start): item.delivered
        for item in earlier
        if item.contract_id in needed and item.interval != work.interval
    }
    for part in work.parts:
        read = part.metered.delivered
        delivered[read.contract_id, work.interval.start] = read.delivered
    for contract in work.assignment.contracts:
        if contract.contract_id not in needed:
            continue
        for hour in contract.hours:
            if hour.chips and (contract.contract_id, hour.interval.start) not in delivered:
                raise SettlementError(
                    SettlementErrorCode.READING_MISSING,
                    contract.contract_id,
                    f"no delivered hour at {hour.interval.start}, which make-whole needs",
                )
    for plan in sorted(plans, key=lambda plan: plan.family_id):
        post_make_whole(work.draft, work.assignment, plan, delivered)


def _parts(
    assignment: Assignment, interval: Interval, metered: Iterable[MeteredHour]
) -> tuple[Part, ...]:
    """Contract-hours with their readings, sorted by contract; all of them, and no others."""
    readings: dict[str, MeteredHour] = {}
    for item in metered:
        if item.delivered.contract_id in readings:
            raise SettlementError(
                SettlementErrorCode.READING_MISMATCH, item.delivered.contract_id, "metered twice"
            )
        readings[item.delivered.contract_id] = item
    parts = []
    for contract, hour in contract_hours(assignment, interval):
        found = readings.pop(contract.contract_id, None)
        if found is None:
            raise SettlementError(
                SettlementErrorCode.READING_MISSING,
                contract.contract_id,
                f"no metered hour at {interval.start}",
            )
        _check_reading(hour, found)
        parts.append(Part(contract=contract, hour=hour, metered=found))
    if readings:
        raise SettlementError(
            SettlementErrorCode.READING_MISMATCH, min(readings), "has no chips in this interval"
        )
    return tuple(parts)


def _check_reading(hour: ContractHour, metered: MeteredHour) -> None:
    read = metered.delivered
    parts = (read.delivered, read.failed, read.gap, read.reclaimed, read.withdrawn)
    if (
        read.interval != hour.interval
        or read.position != terms.position(hour)
        or min(parts) < 0
        or sum(parts) != read.position
        or sum(item.failed for item in metered.failures) != read.failed
        or any(item.failed <= 0 for item in metered.failures)
    ):
        raise SettlementError(
            SettlementErrorCode.READING_MISMATCH,
            read.contract_id,
            "the parts are not the position, or the intervals differ",
        )


def _of_interval(hours: Iterable[SpareHour], interval: Interval) -> dict[str, list[SpareHour]]:
    found: dict[str, list[SpareHour]] = defaultdict(list)
    for item in sorted(hours, key=lambda item: (item.pool_id, item.order_id, item.site)):
        if item.interval == interval and item.chips:
            found[item.pool_id].append(item)
    return found


def _by_pool(prices: Iterable[IntervalPrice]) -> dict[str, list[IntervalPrice]]:
    found: dict[str, list[IntervalPrice]] = defaultdict(list)
    for price in sorted(prices, key=lambda price: (price.interval.start, price.interval.end)):
        found[price.pool_id].append(price)
    return found


def _interval(start: int, end: int) -> Interval:
    return Interval(start=UnixSeconds(start), end=UnixSeconds(end))
