"""Postings of an hour whose positions moved at spot: entries, spot contracts, calls, meters away.

Called by ``settlement.postings.hour`` between the auction layer and the buyers' deliveries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clearing.types import Interval
from clearing.units import (
    ChipSeconds,
    MicroUsdPerChipHour,
    Seconds,
    divide_up,
    energy_charge,
    split_largest_remainder,
)
from settlement.assignment import Assignment
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.metering.billable import MeteredHour
from settlement.postings import reasons, terms
from settlement.postings.auction_layer import standby_transfer_id
from settlement.postings.compute import post_compute
from settlement.postings.draft import Draft
from settlement.postings.parts import Delivery, Part, only
from settlement.postings.spot_holds import spot_holds
from settlement.postings.spot_layer import Entry, SpotPart, reason_of
from settlement.spot.result import SpotResult
from settlement.types import Contract, ServedPart, SpareHour, TransferCode


def spot_contracts_of(results: Sequence[SpotResult]) -> tuple[Contract, ...]:
    """Contracts that came into being at spot, each over all of its metering intervals."""
    found: dict[str, Contract] = {}
    for result in results:
        for contract in result.contracts:
            known = found.get(contract.contract_id)
            found[contract.contract_id] = (
                contract if known is None else replace(known, hours=(*known.hours, *contract.hours))
            )
    return tuple(found[name] for name in sorted(found))


def spot_parts_of(
    interval: Interval, contracts: Sequence[Contract], readings: Mapping[str, MeteredHour]
) -> tuple[SpotPart, ...]:
    """Spot contracts with their readings; each must have one."""
    found = []
    for contract in contracts:
        metered = readings.get(contract.contract_id)
        if metered is None:
            raise SettlementError(
                SettlementErrorCode.READING_MISSING,
                contract.contract_id,
                f"no metered hour at {interval.start}",
            )
        read = metered.delivered
        position = sum(terms.position(hour) for hour in contract.hours)
        if (
            read.interval != interval
            or read.position != position
            or read.delivered + read.failed + read.gap != position
            or sum(item.failed for item in metered.gaps) != read.gap
        ):
            raise SettlementError(
                SettlementErrorCode.READING_MISMATCH,
                contract.contract_id,
                "the parts are not the position at spot",
            )
        found.append(
            SpotPart(part=Part(contract=contract, hour=contract.hours[0], metered=metered))
        )
    return tuple(found)


def _spot_gap(spot: SpotPart, *, most: bool) -> int:
    """Micro-USD that a spot contract's supplier gives up for a gap, or its buyer gets (R8)."""
    total = 0
    for item in spot.part.metered.gaps:
        hour = spot.at(item.interval.start)
        if hour is None:
            continue
        price = MicroUsdPerChipHour(max(0, hour.legs.contract))
        total += energy_charge(terms.gap_price(spot.contract, hour) if most else price, item.failed)
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotPosting:
    """What spot posts in one hour."""

    assignment: Assignment
    interval: Interval
    parts: Sequence[Part]
    spot_parts: Sequence[SpotPart]
    results: Sequence[SpotResult]
    draft: Draft

    @property
    def pot(self) -> str:
        """Account of the hour's pot."""
        return accounts.pot(self.assignment.auction_id, self.interval.start)

    @property
    def surcharges(self) -> Mapping[str, MicroUsdPerChipHour]:
        """Of the sites where others served, micro-USD per chip-hour."""
        return {item.site_id: item.surcharge for r in self.results for item in r.replacements}

    def spare_earnings(self) -> dict[str, dict[str, int]]:
        """What standing by earned, by chip class and supplier: R6 step 4 counts it too."""
        classes = {part.contract.pool_id: part.contract.chip_class for part in self.parts}
        paid = {
            item.transfer_id: item.amount
            for item in self.draft.transfers
            if item.code is TransferCode.SPARE
        }
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for held in self.assignment.spare_hours:
            if held.interval != self.interval:
                continue
            earned = paid.get(standby_transfer_id(held, reserve=False), 0)
            into = found[classes.get(held.pool_id, "")]
            into[held.supplier_id] = into.get(held.supplier_id, 0) + earned
        return found

    def post_away(self, part: Part, away: Sequence[ServedPart]) -> None:
        """Surcharge where the meter was: the buyer pays at most its own site's (R12)."""
        contract, hour = part.contract, part.hour
        by_site: dict[str, int] = defaultdict(int)
        for item in away:
            by_site[item.site_id] += item.quantity
        for site_id, quantity in sorted(by_site.items()):
            there = self.surcharges[site_id]
            due = energy_charge(there, ChipSeconds(quantity))
            own = energy_charge(min(there, hour.legs.surcharge), ChipSeconds(quantity))
            mine = min(there, hour.legs.surcharge)
            for noun, payer_id, amount, code, price in (
                (
                    "surcharge",
                    contract.payer_id or contract.buyer_id,
                    own,
                    TransferCode.SURCHARGE,
                    mine,
                ),
                (
                    "surcharge-difference",
                    contract.supplier_id,
                    due - own,
                    TransferCode.SURCHARGE_DIFFERENCE,
                    there - mine,
                ),
            ):
                self.draft.post(
                    f"{noun}/{terms.hour_key(contract, hour)}/{site_id}",
                    accounts.cash(payer_id),
                    accounts.community(site_id),
                    amount,
                    code,
                    contract_id=contract.contract_id,
                    start=self.interval.start,
                    quantity=quantity,
                    price=price,
                )

    def post_entries(self, entries: Sequence[tuple[str, Entry]], *, pays: bool) -> None:
        """Spot money of one direction, between the parties and the pot."""
        for name, entry in entries:
            if (entry.amount < 0) is pays:
                self.draft.post(
                    name,
                    entry.account if pays else self.pot,
                    self.pot if pays else entry.account,
                    abs(entry.amount),
                    entry.code,
                    reason=reason_of(entry),
                    contract_id=entry.contract_id,
                    start=self.interval.start,
                    quantity=entry.quantity,
                    price=only(entry.prices),
                )

    def post_spot_supplier(self, spot: SpotPart, failure: Delivery | None) -> None:
        """What the supplier of a spot contract owes for failed and unread chip-seconds."""
        contract, read = spot.contract, spot.part.metered
        for code, amount, quantity, price in (
            (
                TransferCode.FAILURE,
                failure.paid if failure else 0,
                failure.failed if failure else 0,
                only(failure.supply_prices) if failure else MicroUsdPerChipHour(0),
            ),
            (
                TransferCode.GAP,
                _spot_gap(spot, most=True),
                read.delivered.gap,
                MicroUsdPerChipHour(0),
            ),
        ):
            self.draft.post(
                f"{code.value.lower()}/{contract.contract_id}/{self.interval.start}",
                accounts.cash(contract.supplier_id),
                self.pot,
                amount,
                code,
                reason=reasons.METER_GAP if code is TransferCode.GAP else reasons.SUPPLIER_FAILURE,
                contract_id=contract.contract_id,
                start=self.interval.start,
                quantity=quantity,
                price=price,
            )

    def post_spot_buyer(self, spot: SpotPart, failure: Delivery | None) -> None:
        """Credits, surcharge, fee and compute of a spot contract: no hold stands for them."""
        contract, read = spot.contract, spot.part.metered.delivered
        key = f"{contract.contract_id}/{self.interval.start}"
        buyer = accounts.cash(contract.buyer_id)
        refund = _spot_gap(spot, most=False)
        rows = (
            (
                f"failure-credit/{key}",
                self.pot,
                buyer,
                failure.credited if failure else 0,
                TransferCode.FAILURE_CREDIT,
                reasons.SUPPLIER_FAILURE,
                read.failed,
                only(failure.product_prices) if failure else 0,
            ),
            (
                f"gap-refund/{key}",
                self.pot,
                buyer,
                refund,
                TransferCode.GAP_REFUND,
                reasons.METER_GAP,
                read.gap,
                0,
            ),
            (
                f"gap-residual/{key}",
                self.pot,
                accounts.POOL,
                _spot_gap(spot, most=True) - refund,
                TransferCode.RESIDUAL,
                reasons.METER_GAP,
                read.gap,
                0,
            ),
        )
        for name, debit, credit, amount, code, reason, quantity, price in rows:
            self.draft.post(
                name,
                debit,
                credit,
                amount,
                code,
                reason=reason,
                contract_id=contract.contract_id,
                start=self.interval.start,
                quantity=quantity,
                price=price,
            )
        self._post_spot_delivery(spot)

    def _post_spot_delivery(self, spot: SpotPart) -> None:
        """Surcharge and fee once for the clock hour, and the compute."""
        contract, read = spot.contract, spot.part.metered.delivered
        legs = spot.part.hour.legs
        key = f"{contract.contract_id}/{self.interval.start}"
        buyer = accounts.cash(contract.buyer_id)
        for noun, credit, code, price in (
            (
                "surcharge",
                accounts.community(contract.site_id),
                TransferCode.SURCHARGE,
                legs.surcharge,
            ),
            ("fee", accounts.OPERATOR_FEE, TransferCode.FEE, legs.fee),
        ):
            self.draft.post(
                f"{noun}/{key}",
                buyer,
                credit,
                energy_charge(price, read.delivered),
                code,
                contract_id=contract.contract_id,
                start=self.interval.start,
                quantity=read.delivered,
                price=price,
            )
        post_compute(self.draft, spot.part)

    def void_holds(self) -> None:
        """Holds of the spot results end: what they stood for is posted."""
        for result in self.results:
            for hold in spot_holds(self.assignment, result):
                self.draft.resolve(hold, f"void/{hold.transfer_id}", 0, hold.code)

    def post_unanswered(self) -> None:
        """A spare that was called and did not serve repays that hour's cover money (R11)."""
        served: dict[tuple[str, str, int], int] = defaultdict(int)
        for part in (*self.parts, *(spot.part for spot in self.spot_parts)):
            for item in part.metered.served:
                served[item.pool_id, item.order_id, item.interval.start] += item.served
        missing: dict[tuple[str, str], int] = defaultdict(int)
        for result in self.results:
            called: dict[tuple[str, str], int] = defaultdict(int)
            for move in result.replacements:
                if move.order_id:
                    called[move.pool_id, move.order_id] += move.quantity
            for (pool_id, order_id), quantity in called.items():
                lacking = quantity - served[pool_id, order_id, result.interval.start]
                chips = divide_up(max(0, lacking), Seconds(result.interval.duration_s))
                missing[pool_id, order_id] = max(missing[pool_id, order_id], chips)
        paid = {
            item.transfer_id: item.amount
            for item in self.draft.transfers
            if item.code is TransferCode.SPARE
        }
        for held in sorted(self.assignment.spare_hours, key=lambda h: (h.pool_id, h.order_id)):
            chips = missing.get((held.pool_id, held.order_id), 0)
            if held.interval != self.interval or not chips or not held.chips:
                continue
            earned = paid.get(standby_transfer_id(held, reserve=False), 0)
            self._repay(held, earned * min(chips, held.chips) // held.chips)

    def _repay(self, held: SpareHour, amount: int) -> None:
        """Cover money that a spare did not earn, back to the contracts that paid it."""
        covered = [
            part
            for part in self.parts
            if part.hour.legs.cover > 0
            and held.pool_id == (part.contract.backup_pool_id or part.contract.pool_id)
        ]
        if not covered:
            return
        shares = split_largest_remainder(
            amount,
            [part.hour.legs.cover * terms.position(part.hour) for part in covered],
            [part.contract.contract_id for part in covered],
        )
        for part, share in zip(covered, shares, strict=True):
            self.draft.post(
                f"call-failure/{held.order_id}/{held.pool_id}"
                f"/{terms.hour_key(part.contract, part.hour)}{'/site' if held.site else ''}",
                accounts.cash(held.supplier_id),
                accounts.cash(part.contract.buyer_id),
                share,
                TransferCode.CALL_FAILURE,
                reason=reasons.CALL_UNANSWERED,
                contract_id=part.contract.contract_id,
                start=self.interval.start,
            )
